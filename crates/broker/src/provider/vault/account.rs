//! The broker's own token at Vault: kept alive, or fetched anew with a token of the broker's platform.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::api::{Blame, Vault};
use super::direct;
use crate::provider::ProviderError;
use crate::provider::http::is_token;
use crate::secret::Secret;

/// A login with a JSON Web Token of the broker's platform.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtLogin {
    /// Where the engine for such logins is mounted.
    #[serde(default = "jwt_mount")]
    pub(super) mount: String,
    /// The role to log in as.
    pub(super) role: String,
    /// A file with the token. Read again for each login.
    token_file: PathBuf,
}

fn jwt_mount() -> String {
    "jwt".into()
}

/// Who the broker is.
pub(super) enum Account {
    /// A token from the configuration; renewed while it can be.
    Token { token: Arc<Secret>, look_at: Mutex<Option<Timestamp>> },
    /// Logs in.
    Jwt { login: JwtLogin, session: Mutex<Option<(Arc<Secret>, Timestamp)>> },
}

/// A token whose end is not known is looked at this often, in seconds.
const LOOK_S: i64 = 3600;
/// Half of a token's life is never counted as less than this, in seconds.
const MIN_HALF_S: i64 = 10;

impl Account {
    pub(super) fn token(token: Secret) -> Account {
        Account::Token { token: Arc::new(token), look_at: Mutex::new(None) }
    }

    pub(super) fn jwt(login: JwtLogin) -> Account {
        Account::Jwt { login, session: Mutex::new(None) }
    }

    /// The token to use now.
    pub(super) async fn current(&self, vault: &Vault, now: Timestamp) -> Result<Arc<Secret>, ProviderError> {
        match self {
            Account::Token { token, look_at } => {
                // Held during the look: whoever comes meanwhile waits for the renewed token.
                let mut look_at = look_at.lock().await;
                if look_at.is_none_or(|at| at <= now) {
                    let half = keep_alive(vault, token).await?;
                    *look_at = Some(now.checked_add(half).unwrap_or(Timestamp::MAX));
                }
                Ok(token.clone())
            }
            Account::Jwt { login, session } => {
                // Held during the login: whoever comes meanwhile wants the same token.
                let mut session = session.lock().await;
                if let Some((token, until)) = &*session
                    && *until > now
                {
                    return Ok(token.clone());
                }
                let jwt = read(&login.token_file).await?;
                let logged_in =
                    direct::login(vault, &login.mount, &login.role, &jwt, now).await.map_err(|error| {
                        match error {
                            ProviderError::Denied(what) => ProviderError::Misconfigured(what),
                            other => other,
                        }
                    })?;
                let life = logged_in.expires.duration_since(now);
                // The last third is for what is under way.
                let until = now.checked_add(life / 3 * 2).unwrap_or(Timestamp::MAX);
                let token = Arc::new(logged_in.token);
                *session = Some((token.clone(), until));
                Ok(token)
            }
        }
    }

    /// Told that `token` was refused. Whether there is another to try: a server that was set up anew has forgotten the
    /// token of an earlier login.
    pub(super) async fn is_replaceable(&self, token: &Arc<Secret>) -> bool {
        let Account::Jwt { session, .. } = self else { return false };
        let mut session = session.lock().await;
        if session.as_ref().is_some_and(|(kept, _)| Arc::ptr_eq(kept, token)) {
            *session = None;
        }
        true
    }
}

/// Looks at the broker's own token and renews it when half of its life is over; how long until the next look.
async fn keep_alive(vault: &Vault, token: &Secret) -> Result<SignedDuration, ProviderError> {
    #[derive(Serialize)]
    struct Nothing {}
    let what = "the broker's own token";
    let looked = vault
        .get("auth/token/lookup-self", Some(token))
        .await
        .map_err(|failure| failure.blame(Blame::Broker, what))?;
    let data = looked.data.as_ref();
    let number = |name: &str| data.and_then(|data| data.get(name)).and_then(super::datum::Datum::number);
    let (Some(left), Some(whole)) = (number("ttl"), number("creation_ttl")) else {
        return Err(ProviderError::Misconfigured(format!(
            "{what}: the answer is not that of Vault or OpenBao"
        )));
    };
    let is_renewable =
        matches!(data.and_then(|data| data.get("renewable")), Some(super::datum::Datum::Flag(true)));
    if left == 0 {
        return Ok(SignedDuration::from_secs(LOOK_S));
    }
    if !is_renewable || left > whole / 2 {
        return Ok(SignedDuration::from_secs((left / 2).max(MIN_HALF_S)));
    }
    let renewed = vault
        .post("auth/token/renew-self", Some(token), Nothing {})
        .await
        .map_err(|failure| failure.blame(Blame::Broker, what))?;
    let left = renewed.auth.map_or(left, |auth| i64::try_from(auth.lease_duration).unwrap_or(i64::MAX));
    Ok(SignedDuration::from_secs((left / 2).max(MIN_HALF_S)))
}

async fn read(path: &std::path::Path) -> Result<Secret, ProviderError> {
    let wrong = |what: String| ProviderError::Misconfigured(format!("{}: {what}", path.display()));
    let mut bytes = tokio::fs::read(path).await.map_err(|e| wrong(e.to_string()))?;
    bytes.truncate(bytes.trim_ascii_end().len());
    let token = Secret::new(bytes);
    if is_token(token.expose(), direct::MAX_JWT) { Ok(token) } else { Err(wrong("holds no token".into())) }
}
