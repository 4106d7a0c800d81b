//! Answers of token services: one JSON object with the token in a member.

use serde_json::Value;

use super::env::TokenError;
use crate::fetch::{Call, Fetch};
use crate::secret::Secret;

/// Sends `call` and takes the token out of `member` of the answer.
pub(super) async fn token(http: &Fetch, call: Call, member: &str) -> Result<Secret, TokenError> {
    let answer = text(http, call).await?;
    let parsed: Value = serde_json::from_slice(answer.expose())
        .map_err(|_| TokenError::Refused("the token service's answer is not JSON".to_owned()))?;
    match take(parsed, member) {
        Some(token) if !token.is_empty() => Ok(Secret::text(token)),
        _ => Err(TokenError::Refused(format!("the token service's answer has no `{member}`"))),
    }
}

/// Sends `call` and gives the whole answer, which must be a success.
pub(super) async fn text(http: &Fetch, call: Call) -> Result<Secret, TokenError> {
    let answer = http.send(call).await.map_err(|e| {
        if e.is_transient() {
            TokenError::Unavailable(e.to_string())
        } else {
            TokenError::Refused(e.to_string())
        }
    })?;
    match answer.status() {
        200..=299 => Ok(answer.into_body()),
        status @ (408 | 425 | 429 | 500..) => {
            Err(TokenError::Unavailable(format!("the token service answered {status}")))
        }
        status => Err(TokenError::Refused(format!("the token service answered {status}"))),
    }
}

/// The text at a path of members, `status.token`.
fn take(mut value: Value, path: &str) -> Option<String> {
    for member in path.split('.') {
        value = value.as_object_mut()?.remove(member)?;
    }
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
