//! Whose identity a role is assumed with.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::parameters;
use super::sigv4::Keys;
use super::sts::{self, Wanted};
use crate::fetch::Fetch;
use crate::provider::http::is_token;
use crate::provider::{ProviderError, SecretSource, SettingsError};
use crate::secret::Secret;

/// Keys of the broker's own account.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// Where the access key's id is read from.
    access_key_id: Value,
    /// Where the secret access key is read from.
    secret_access_key: Value,
    /// Where the session token is read from, for keys that expire.
    #[serde(default)]
    session_token: Option<Value>,
}

/// A role that the broker itself assumes with a token of its own platform.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebIdentity {
    /// The role.
    role: String,
    /// A file with the token. Read again each time: platforms write a new one before it expires.
    token_file: PathBuf,
}

/// The token of whoever asks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallerToken {
    /// The audience that AWS expects in it; `sts.amazonaws.com` if absent.
    #[serde(default = "sts_audience")]
    pub(super) audience: String,
}

fn sts_audience() -> String {
    "sts.amazonaws.com".into()
}

/// The broker's account, with the keys it has at the moment.
pub(super) enum Account {
    /// None: the caller's own token assumes the role.
    Caller { audience: String },
    /// Keys from the configuration.
    Keys(Arc<Keys>),
    /// Keys that are fetched with a token, and fetched anew before they end.
    WebIdentity { identity: WebIdentity, cached: Mutex<Option<(Arc<Keys>, Timestamp)>> },
}

/// Keys are replaced this long before they end, in seconds: longer than one issue may take.
const RENEW_BEFORE_S: i64 = 300;
/// How long the broker's own keys live, in seconds.
const OWN_SESSION_S: u64 = 3600;
/// How the broker calls its own session.
const OWN_SESSION: &str = "claviger";

impl Account {
    /// The account of which exactly one of the three is configured.
    pub(super) fn new(
        credentials: Option<Credentials>,
        web_identity: Option<WebIdentity>,
        caller: Option<CallerToken>,
        secrets: &dyn SecretSource,
    ) -> Result<Account, SettingsError> {
        match (credentials, web_identity, caller) {
            (Some(credentials), None, None) => Ok(Account::Keys(Arc::new(credentials.read(secrets)?))),
            (None, Some(identity), None) => {
                parameters::check_role(&identity.role)
                    .map_err(|what| SettingsError::new("web_identity.role", what))?;
                Ok(Account::WebIdentity { identity, cached: Mutex::new(None) })
            }
            (None, None, Some(CallerToken { audience })) => Ok(Account::Caller { audience }),
            _ => Err(SettingsError::new(
                "",
                "write one of `credentials`, `web_identity` and `caller_token`: whose identity assumes the roles",
            )),
        }
    }

    /// Whether the keys belong to a session: roles assumed with it live at most an hour.
    pub(super) fn is_chained(&self) -> bool {
        match self {
            Account::Caller { .. } => false,
            Account::Keys(keys) => keys.session_token.is_some(),
            Account::WebIdentity { .. } => true,
        }
    }

    /// The keys to sign with; `None` when the caller's token is used.
    pub(super) async fn keys(
        &self,
        fetch: &Fetch,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<Option<Arc<Keys>>, ProviderError> {
        let (identity, cached) = match self {
            Account::Caller { .. } => return Ok(None),
            Account::Keys(keys) => return Ok(Some(keys.clone())),
            Account::WebIdentity { identity, cached } => (identity, cached),
        };
        // Held while new keys are fetched: whoever comes meanwhile wants the same ones.
        let mut cached = cached.lock().await;
        if let Some((keys, expires)) = &*cached
            && expires.duration_since(now) > SignedDuration::from_secs(RENEW_BEFORE_S)
        {
            return Ok(Some(keys.clone()));
        }
        let token = token_of(&identity.token_file).await?;
        let wanted = Wanted {
            role_arn: &identity.role,
            session_name: OWN_SESSION,
            seconds: OWN_SESSION_S,
            policy: None,
            policy_arns: &[],
        };
        // The token is the broker's own: what AWS has against it is for the operator to mend.
        let session = sts::assume_role_with_web_identity(fetch, endpoint, &wanted, &token, now)
            .await
            .map_err(|error| match error {
                ProviderError::Denied(what) => ProviderError::Misconfigured(what),
                other => other,
            })?;
        let keys = Arc::new(session.keys);
        *cached = Some((keys.clone(), session.expires));
        Ok(Some(keys))
    }
}

impl Credentials {
    fn read(&self, secrets: &dyn SecretSource) -> Result<Keys, SettingsError> {
        let read = |at: &str, reference: &Value| {
            let at = format!("credentials.{at}");
            let value = secrets.read(reference).map_err(|what| SettingsError::new(&at, what))?;
            if is_token(value.expose(), 16 * 1024) {
                Ok(value)
            } else {
                Err(SettingsError::new(&at, "holds white space or what is no ASCII"))
            }
        };
        let id = read("access_key_id", &self.access_key_id)?;
        Ok(Keys {
            access_key_id: id.expose_text().unwrap_or_default().to_owned(),
            secret_access_key: read("secret_access_key", &self.secret_access_key)?,
            session_token: self.session_token.as_ref().map(|it| read("session_token", it)).transpose()?,
        })
    }
}

/// Reads a token file, without the line end that some platforms write.
async fn token_of(path: &std::path::Path) -> Result<Secret, ProviderError> {
    let read = tokio::fs::read(path).await;
    let mut bytes = read.map_err(|e| ProviderError::Misconfigured(format!("{}: {e}", path.display())))?;
    bytes.truncate(bytes.trim_ascii_end().len());
    Ok(Secret::new(bytes))
}
