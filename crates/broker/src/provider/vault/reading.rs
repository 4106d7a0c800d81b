//! Reading a path with a token, and what came of it.

use jiff::Timestamp;

use super::api::{Ask, Blame, Response, Vault, end};
use super::datum::Datum;
use super::parameters::{Plan, Shape};
use crate::provider::{Credential, ProviderError};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// What a path gave.
#[derive(Debug)]
pub(super) enum Got {
    /// Vault ends it with its lease, and with the token that read it.
    Leased { credential: Credential, lease: String, expires: Timestamp },
    /// It ends by itself if at all: a certificate, or a static secret.
    Unleased { credential: Credential, expires: Option<Timestamp> },
    /// It waits in Vault.
    Wrapped { credential: Credential },
}

/// Makes the call of a plan.
pub(super) async fn carry_out(
    vault: &Vault,
    token: &Secret,
    plan: &Plan,
    wrap: Option<Ttl>,
    blame: Blame,
    now: Timestamp,
) -> Result<Got, ProviderError> {
    let blame = if plan.has_input { Blame::Caller } else { blame };
    let ask = Ask {
        method: plan.method.clone(),
        path: &plan.address,
        token: Some(token),
        body: plan.body.as_ref(),
        wrap,
    };
    let response = vault.ask(ask).await.map_err(|failure| failure.blame(blame, &plan.path))?;
    understand(vault, response, plan, wrap.is_some(), now)
}

fn understand(
    vault: &Vault,
    response: Response,
    plan: &Plan,
    is_wrapped: bool,
    now: Timestamp,
) -> Result<Got, ProviderError> {
    let nothing = || ProviderError::Misconfigured(format!("{}: the answer holds no credential", plan.path));
    if is_wrapped {
        let wrap = response.wrap_info.ok_or_else(nothing)?;
        let credential =
            Credential::default().secret("wrapping_token", wrap.token).public("address", vault.address());
        return Ok(Got::Wrapped { credential });
    }
    let data = response.data.ok_or_else(nothing)?;
    if plan.shape == Shape::Kv {
        // A deleted version answers with its metadata and without data.
        let credential = data.take("data").and_then(|data| data.into_credential(true)).ok_or_else(nothing)?;
        return Ok(Got::Unleased { credential, expires: None });
    }
    // The engine for certificates says when one ends, in seconds since 1970.
    let own_end =
        data.get("expiration").and_then(Datum::number).and_then(|at| Timestamp::from_second(at).ok());
    let credential = data.into_credential(false).ok_or_else(nothing)?;
    if response.lease_id.is_empty() {
        return Ok(Got::Unleased { credential, expires: own_end });
    }
    let expires = end(now, response.lease_duration);
    Ok(Got::Leased { credential, lease: response.lease_id, expires })
}

/// A token as a credential.
pub(super) fn of_token(vault: &Vault, token: Secret) -> Credential {
    Credential::default().secret("token", token).public("address", vault.address())
}
