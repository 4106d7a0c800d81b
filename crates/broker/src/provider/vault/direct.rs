//! Vault without a broker: a job logs in with its CI's token, reads, and revokes its own token at the end, with which
//! Vault revokes everything that was read by it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::api::{Blame, Vault, end};
use super::parameters::{Facts, Parameters};
use super::reading::{self, Got};
use crate::claims::Claims;
use crate::lease::LeaseId;
use crate::provider::http::{self, is_token};
use crate::provider::{Credential, Issued, ProviderError, SettingsError};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// The longest token that is sent for a login, in bytes.
pub(super) const MAX_JWT: usize = 16 * 1024;

/// A login.
#[derive(Debug)]
pub struct Session {
    /// The token for everything else.
    pub token: Secret,
    /// Names the token without being it.
    pub accessor: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// Logs in with a JSON Web Token as `role` of the engine at `mount`.
///
/// # Errors
/// See [`ProviderError`]; `Denied` when the token does not fit the role.
pub async fn login(
    vault: &Vault,
    mount: &str,
    role: &str,
    jwt: &Secret,
    now: Timestamp,
) -> Result<Session, ProviderError> {
    #[derive(Serialize)]
    struct Login<'a> {
        role: &'a str,
        #[serde(serialize_with = "http::expose")]
        jwt: &'a Secret,
    }
    // A mount is a path of its own, below `auth/`.
    super::path::check(mount).map_err(ProviderError::Misconfigured)?;
    if !is_token(jwt.expose(), MAX_JWT) {
        return Err(ProviderError::Denied("the token for the login has no form of a token".into()));
    }
    let response = vault
        .post(&format!("auth/{mount}/login"), None, Login { role, jwt })
        .await
        .map_err(|failure| failure.blame(Blame::Caller, "login"))?;
    let auth = response
        .auth
        .filter(|auth| is_token(auth.client_token.expose(), MAX_JWT))
        .ok_or_else(|| ProviderError::Misconfigured("login: the answer holds no token".into()))?;
    Ok(Session { token: auth.client_token, accessor: auth.accessor, expires: end(now, auth.lease_duration) })
}

/// What a job asks for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// As a role's parameters of the provider `vault`; `policies` are those of the login and not set here.
    pub parameters: &'a Value,
    /// What goes into `{input: NAME}`.
    pub input: &'a BTreeMap<String, String>,
    /// What goes into `{lease: ttl}`.
    pub ttl: Ttl,
}

/// Looks at what a job's configuration asks for.
///
/// # Errors
/// It cannot be asked for like this.
pub fn validate(parameters: &Value) -> Result<(), SettingsError> {
    let parameters = Parameters::parse(parameters, &anything(parameters))?;
    if parameters.policies.is_empty() {
        return Ok(());
    }
    Err(SettingsError::new("policies", "a job's token has those of its login"))
}

/// Reads what is wanted. The [reference](Issued::reference) is the session's token, for [`end_session`].
///
/// # Errors
/// See [`ProviderError`]. The session is still open then: end it.
pub async fn read(
    vault: &Vault,
    session: &Session,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Issued, ProviderError> {
    validate(wanted.parameters).map_err(|error| ProviderError::Misconfigured(error.to_string()))?;
    let allowed = anything(wanted.parameters);
    let parameters = Parameters::parse(wanted.parameters, &allowed)
        .map_err(|error| ProviderError::Misconfigured(error.to_string()))?;
    let claims = Claims::default();
    let name = LeaseId::new().object_name();
    let facts = Facts { claims: &claims, input: wanted.input, name: &name, ttl: wanted.ttl };
    let reference = Some(session.token.duplicate());
    let Some(plan) = parameters.plan(&allowed, &facts)? else {
        let credential = reading::of_token(vault, session.token.duplicate());
        return Ok(Issued { credential, expires: session.expires, reference });
    };
    let got = reading::carry_out(vault, &session.token, &plan, parameters.wrap, Blame::Caller, now).await?;
    let (credential, expires): (Credential, _) = match got {
        Got::Leased { credential, expires, .. } => (credential, expires.min(session.expires)),
        Got::Unleased { credential, expires } => (credential, expires.unwrap_or(session.expires)),
        Got::Wrapped { credential } => (credential, session.expires),
    };
    Ok(Issued { credential, expires, reference })
}

/// Ends a session and everything that was leased by it. One that is over already counts as ended.
///
/// # Errors
/// See [`ProviderError`].
pub async fn end_session(vault: &Vault, token: &Secret) -> Result<(), ProviderError> {
    #[derive(Serialize)]
    struct Nothing {}
    match vault.post("auth/token/revoke-self", Some(token), Nothing {}).await {
        Ok(_) => Ok(()),
        // The token is all that is shown: a refusal means that it is none any more.
        Err(failure) if failure.status() == Some(403) => Ok(()),
        Err(failure) => Err(failure.blame(Blame::Caller, "ending the session")),
    }
}

/// In direct mode the login's policies say what may be reached: the only path that is needed is allowed.
fn anything(parameters: &Value) -> Vec<String> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_owned);
    let kv = parameters
        .get("kv")
        .and_then(|kv| Some(format!("{}/data/{}", kv.get("mount")?.as_str()?, kv.get("path")?.as_str()?)));
    [text("read"), text("write"), kv].into_iter().flatten().collect()
}
