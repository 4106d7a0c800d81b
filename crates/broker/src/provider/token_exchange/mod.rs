//! Any OAuth server that exchanges tokens (RFC 8693): the caller's token becomes one for a resource.
//!
//! The caller sends a token for the server along; the broker presents it with its own client credentials, asks for
//! what the role says and nothing else, and refuses an answer that gives less or more. A job without a broker calls
//! [`client::Server::exchange`] itself. Where the server revokes (RFC 7009), the token is given back; the broker keeps it
//! sealed for that.

pub mod authentication;
pub mod client;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::authentication::{Client, ClientSettings};
use self::client::{Asked, Server};
use super::http::Reach;
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError,
};
use crate::secret::Secret;
use crate::ttl::Ttl;

pub(crate) static KIND: Kind = Kind {
    name: "token_exchange",
    about: "OAuth servers that exchange tokens (RFC 8693)",
    variables: &[],
    example: "\
token_endpoint: https://login.example.com/oauth2/token
revocation_endpoint: https://login.example.com/oauth2/revoke
client: {id: claviger, authentication: basic, secret: {env: BROKER_OAUTH_SECRET}}
caller_token: {audience: 'https://login.example.com'}
",
    parameters: "\
audience: ['https://billing.example.com']
scope: [invoices:read]
",
    build: |settings| Ok(Arc::new(TokenExchange::build(settings)?)),
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where tokens are exchanged.
    token_endpoint: String,
    /// Where tokens are given back (RFC 7009), if the server does that.
    #[serde(default)]
    revocation_endpoint: Option<String>,
    /// How it is reached.
    #[serde(default)]
    connection: Reach,
    /// Who the broker is there.
    client: ClientSettings,
    /// The token that callers send along.
    caller_token: CallerToken,
    /// How long tokens live when the server does not say it.
    #[serde(default)]
    lifetime: Option<Ttl>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CallerToken {
    /// The audience that the server expects in it.
    audience: String,
}

/// A role's parameters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Names of the services that the token is for, as the server knows them.
    #[serde(default)]
    audience: Vec<String>,
    /// Their addresses.
    #[serde(default)]
    resource: Vec<String>,
    /// What the token may do there.
    #[serde(default)]
    scope: Vec<String>,
    /// The type of the caller's token; that of JWTs if absent.
    #[serde(default)]
    subject_token_type: Option<String>,
    /// The type of token that is wanted; the server's choice if absent.
    #[serde(default)]
    requested_token_type: Option<String>,
    /// A token that may do less than `scope` is taken too.
    #[serde(default)]
    less_is_enough: bool,
}

impl Parameters {
    fn parse(value: &Value) -> Result<Parameters, SettingsError> {
        let it: Parameters = SettingsError::parse(value)?;
        if it.audience.is_empty() && it.resource.is_empty() && it.scope.is_empty() {
            return Err(SettingsError::new(
                "",
                "write `audience`, `resource` or `scope`: without them the server decides",
            ));
        }
        it.asked().check().map_err(|(at, what)| SettingsError::new(at, what))?;
        Ok(it)
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            audience: &self.audience,
            resource: &self.resource,
            scope: &self.scope,
            subject_token_type: self.subject_token_type.as_deref().unwrap_or(client::JWT),
            requested_token_type: self.requested_token_type.as_deref(),
            less_is_enough: self.less_is_enough,
        }
    }
}

struct TokenExchange {
    server: Server,
    audience: String,
}

impl TokenExchange {
    fn build(settings: &super::Settings<'_>) -> Result<TokenExchange, SettingsError> {
        let it: Settings = SettingsError::parse(settings.value)?;
        let revocation = it.revocation_endpoint.as_deref();
        let token_endpoint = endpoint(&it.connection, "token_endpoint", &it.token_endpoint)?;
        let server = Server {
            fetch: it.connection.fetch("connection")?,
            client: Client::read(it.client, &token_endpoint, settings.secrets)?,
            token_endpoint,
            revocation_endpoint: revocation
                .map(|url| endpoint(&it.connection, "revocation_endpoint", url))
                .transpose()?,
            lifetime: it.lifetime,
        };
        Ok(TokenExchange { server, audience: it.caller_token.audience })
    }

    fn is_revocable(&self) -> bool {
        self.server.revocation_endpoint.is_some()
    }
}

/// An address of the server, as written: a slash at its end may matter.
fn endpoint(reach: &Reach, at: &str, text: &str) -> Result<String, SettingsError> {
    reach.base(at, text).map(|_| text.to_owned())
}

/// The longest time a token may live, in seconds: a day is more than any job needs.
const MAX_LIFE_S: u32 = 86_400;

#[async_trait]
impl Provider for TokenExchange {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: false,
            expires_itself: true,
            leaves_nothing: true,
            revocable: self.is_revocable(),
            renewable: false,
            listable: false,
            ttl: (1, MAX_LIFE_S),
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        Parameters::parse(parameters).map(drop)
    }

    fn target_audience(&self, _: &Value) -> Option<String> {
        Some(self.audience.clone())
    }

    async fn issue(&self, request: &Request<'_>, notes: &dyn Notes) -> Result<Issued, ProviderError> {
        let parameters = Parameters::parse(request.parameters)
            .map_err(|error| ProviderError::Misconfigured(error.to_string()))?;
        let subject = request.target_token.ok_or_else(|| {
            ProviderError::Denied(format!(
                "send a token for the audience `{}` along: `target_token`",
                self.audience
            ))
        })?;
        let granted = self.server.exchange(subject, &parameters.asked(), request.now).await?;
        // Stop here: the token is known to this process alone; it ends by itself.
        if self.is_revocable() {
            notes.keep(granted.token.expose()).await?;
        }
        granted.check(&parameters.asked())?;
        let mut expires = granted.expires;
        if expires > request.expires {
            if !self.is_revocable() {
                return Err(ProviderError::Misconfigured(format!(
                    "the server's token lives until {expires}, longer than {} and it cannot be given back: let the \
                     role's `ttl` be as long as the server's, or set `revocation_endpoint`",
                    request.expires
                )));
            }
            expires = request.expires;
        }
        let reference = self.is_revocable().then(|| granted.token.duplicate());
        let mut credential = Credential::default().secret("token", granted.token);
        credential = credential.public("token_type", granted.token_type);
        if let Some(scope) = granted.scope {
            credential = credential.public("scope", scope.join(" "));
        }
        Ok(Issued { credential, expires, reference })
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        match held.reference {
            Some(token) => self.server.revoke(token, held.now).await,
            None => Err(ProviderError::Unsupported(
                "the server's answer was lost; what it gave ends by itself".into(),
            )),
        }
    }

    async fn check(&self) -> Vec<Check> {
        // A token that cannot be right: the server has to know the client before it looks at the token.
        let nothing = Secret::text("e30.e30.none".into());
        let asked = Asked { subject_token_type: client::JWT, ..Asked::default() };
        let what = "the server knows the client and exchanges tokens";
        let mut checks = Vec::new();
        checks.push(match self.server.exchange(&nothing, &asked, jiff::Timestamp::now()).await {
            Ok(_) => Check::bad(what, "it takes a token that nobody signed: anybody gets what it gives"),
            Err(ProviderError::Denied(_)) => Check::good(what),
            Err(error) => Check::bad(what, error.to_string()),
        });
        if !self.is_revocable() {
            checks.push(Check::warn(
                "tokens can be given back",
                "no `revocation_endpoint`: a token lives until the server ends it, also when its job is done",
            ));
        }
        checks
    }
}
