//! AWS: credentials of a role's session, from STS.
//!
//! Either the broker's own account assumes the role, and labels the session with the lease's name and with claims; or
//! the caller's token does, where the account trusts the CI itself. In both a session policy can narrow what the role
//! may do. A job without a broker does the latter by [`sts::assume_role_with_web_identity`].
//!
//! A session cannot be ended before its time: AWS knows only the role-wide denial of everything that was issued before
//! an instant, which hits every other session of the role too. So the lease says that it only expires.

mod account;
pub mod endpoint;
mod failure;
pub mod kms;
mod parameters;
pub mod sigv4;
pub mod sts;
mod xml;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::account::{Account, CallerToken, Credentials, WebIdentity};
use self::endpoint::Endpoint;
use self::parameters::Parameters;
use self::sts::{Labels, SESSION_S, Wanted};
use super::http::Reach;
use super::{Abilities, Check, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError};
use crate::fetch::Fetch;

pub(crate) static KIND: Kind = Kind {
    name: "aws",
    about: "AWS roles: temporary credentials from STS",
    variables: &[
        ("access_key_id", "AWS_ACCESS_KEY_ID"),
        ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        ("session_token", "AWS_SESSION_TOKEN"),
        ("region", "AWS_REGION"),
    ],
    example: "\
region: eu-central-1
credentials:
  access_key_id: {env: BROKER_AWS_ACCESS_KEY_ID}
  secret_access_key: {file: /etc/claviger/aws-secret-access-key}
accounts: ['123456789012']
",
    parameters: "\
role: arn:aws:iam::123456789012:role/deploy
policy:
  Version: '2012-10-17'
  Statement:
    - {Effect: Allow, Action: 's3:PutObject', Resource: 'arn:aws:s3:::site/*'}
tags: {Repository: '{repository}'}
",
    build: |settings| Ok(Arc::new(Aws::build(settings)?)),
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Whose STS is asked; sessions work in all regions.
    region: String,
    /// Another address of STS, for example an interface endpoint in a private network.
    #[serde(default)]
    endpoint: Option<String>,
    /// How it is reached.
    #[serde(default)]
    connection: Reach,
    /// The broker's own keys.
    #[serde(default)]
    credentials: Option<Credentials>,
    /// A role that the broker assumes with a token of its own platform.
    #[serde(default)]
    web_identity: Option<WebIdentity>,
    /// The caller's own token assumes the roles.
    #[serde(default)]
    caller_token: Option<CallerToken>,
    /// The accounts that roles may belong to; all if empty.
    #[serde(default)]
    accounts: Vec<String>,
}

struct Aws {
    fetch: Fetch,
    endpoint: Endpoint,
    account: Account,
    accounts: Vec<String>,
}

impl Aws {
    fn build(settings: &super::Settings<'_>) -> Result<Aws, SettingsError> {
        let it: Settings = SettingsError::parse(settings.value)?;
        let endpoint = match &it.endpoint {
            None => Endpoint::regional("sts", &it.region)?,
            Some(url) => Endpoint::at("sts", &it.region, &it.connection.base("endpoint", url)?)?,
        };
        let account = Account::new(it.credentials, it.web_identity, it.caller_token, settings.secrets)?;
        Ok(Aws { fetch: it.connection.fetch("connection")?, endpoint, account, accounts: it.accounts })
    }

    fn parameters(&self, value: &Value) -> Result<Parameters, SettingsError> {
        Parameters::parse(value, matches!(self.account, Account::Caller { .. }), &self.accounts)
    }
}

#[async_trait]
impl Provider for Aws {
    fn abilities(&self) -> Abilities {
        let most = if self.account.is_chained() { sts::CHAINED_S } else { SESSION_S.1 };
        Abilities {
            local: false,
            expires_itself: true,
            leaves_nothing: true,
            revocable: false,
            renewable: false,
            listable: false,
            ttl: (SESSION_S.0, most),
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        self.parameters(parameters).map(drop)
    }

    fn target_audience(&self, _: &Value) -> Option<String> {
        match &self.account {
            Account::Caller { audience } => Some(audience.clone()),
            Account::Keys(_) | Account::WebIdentity { .. } => None,
        }
    }

    async fn issue(&self, request: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        let wrong = |error: SettingsError| ProviderError::Misconfigured(error.to_string());
        let parameters = self.parameters(request.parameters).map_err(wrong)?;
        let policy = parameters.session_policy().map_err(wrong)?;
        let wanted = Wanted {
            role_arn: &parameters.role,
            session_name: request.name,
            seconds: request.ttl.seconds(),
            policy: policy.as_deref(),
            policy_arns: &parameters.policy_arns,
        };
        let (fetch, endpoint, now) = (&self.fetch, &self.endpoint, request.now);
        let session = match self.account.keys(fetch, endpoint, now).await? {
            Some(keys) => {
                let claims = request.identity.claims();
                let source_identity = parameters.source_identity(claims)?;
                let labels = Labels {
                    tags: &parameters.tags(claims)?,
                    transitive: &parameters.transitive_tags,
                    external_id: parameters.external_id.as_deref(),
                    source_identity: source_identity.as_deref(),
                };
                sts::assume_role(fetch, endpoint, &wanted, &labels, &keys, now).await?
            }
            None => {
                let token = request.target_token.ok_or_else(|| {
                    ProviderError::Denied("send a token for AWS along: `target_token`".into())
                })?;
                sts::assume_role_with_web_identity(fetch, endpoint, &wanted, token, now).await?
            }
        };
        let expires = session.expires;
        Ok(Issued { credential: session.into_credential(endpoint.region()), expires, reference: None })
    }

    async fn revoke(&self, _: &Held<'_>) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("AWS cannot end one session; it ends by itself".into()))
    }

    async fn check(&self) -> Vec<Check> {
        let (fetch, endpoint, now) = (&self.fetch, &self.endpoint, Timestamp::now());
        let keys = match self.account.keys(fetch, endpoint, now).await {
            Ok(keys) => keys,
            Err(error) => return vec![Check::bad("assumes its own role", error.to_string())],
        };
        let Some(keys) = keys else {
            let what = "STS answers";
            return vec![match sts::probe(fetch, endpoint).await {
                Ok(()) => Check::good(what),
                Err(error) => Check::bad(what, error.to_string()),
            }];
        };
        match sts::get_caller_identity(fetch, endpoint, &keys, now).await {
            Ok(arn) => {
                let root = arn.ends_with(":root").then(|| {
                    Check::warn(
                        "is no root user",
                        "these are keys of the account's root; make a user for the broker",
                    )
                });
                let mut checks = vec![Check::good(format!("STS knows the keys as {arn}"))];
                checks.extend(root);
                checks.push(chained(self.account.is_chained()));
                checks
            }
            Err(error) => vec![Check::bad("STS knows the keys", error.to_string())],
        }
    }
}

/// Says how long sessions may live: AWS does not say it before one is asked for.
fn chained(is_chained: bool) -> Check {
    Check::good(if is_chained {
        "sessions of up to an hour: the keys are a session's themselves"
    } else {
        "sessions of up to the role's own maximum"
    })
}
