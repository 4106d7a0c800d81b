//! SPIFFE: workloads of a trust domain by their JWT-SVID. The deployment must set an issuer and `iat`, as a token without
//! them is refused.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::generic::{checked, given};
use super::subject::{Mismatch, Subject, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// See the module.
#[derive(Debug)]
pub struct Spiffe;

/// SPIFFE.
pub static SPIFFE: Spiffe = Spiffe;

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
/// The longest SPIFFE id, in bytes (SPIFFE-ID, section 2.3).
const MAX_ID: usize = 2048;

#[async_trait]
impl Platform for Spiffe {
    fn name(&self) -> &'static str {
        "spiffe"
    }

    fn about(&self) -> &'static str {
        "workloads of a SPIFFE trust domain"
    }

    fn max_life(&self) -> Ttl {
        Ttl::minutes(15)
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[Binding { claims: &["sub"], reach: Reach::Project }]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        match id(sub) {
            Some((domain, path)) => Ok(Subject::known([("trust_domain", domain), ("path", path)])),
            None => {
                let wanted = "`spiffe://TRUST-DOMAIN/PATH`".to_owned();
                Err(Mismatch { claim: "sub", wanted, seen: Some(sub.into()) })
            }
        }
    }

    fn who(&self, claims: &Claims) -> Who {
        Who { workflow: word(claims, "sub"), ..Who::default() }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get(SOCKET).is_some()
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        if let Some(token) = given(env, audience)? {
            return Ok(token);
        }
        let socket = env.get(SOCKET).unwrap_or_default();
        let path = socket.strip_prefix("unix://").or_else(|| socket.strip_prefix("unix:")).unwrap_or(&socket);
        let arguments = ["api", "fetch", "jwt", "-audience", audience, "-socketPath", path];
        let written = env
            .run("spire-agent", &arguments)
            .await
            .map_err(|e| TokenError::Refused(format!("`spire-agent api fetch jwt` failed: {e}")))?;
        // It prints a heading, the token, and then the keys to verify it with.
        let words = written.expose_text().unwrap_or_default().split_ascii_whitespace();
        let found = words.filter(|word| word.starts_with("eyJ")).find_map(|word| {
            checked(&Secret::text(word.to_owned()), "`spire-agent api fetch jwt`", audience).ok()
        });
        found.ok_or_else(|| TokenError::Refused("`spire-agent api fetch jwt` gave no token".to_owned()))
    }
}

/// Trust domain and path of a SPIFFE id of a workload.
fn id(text: &str) -> Option<(&str, &str)> {
    let (domain, _) = text.strip_prefix("spiffe://")?.split_once('/')?;
    let path = &text["spiffe://".len() + domain.len()..];
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let segments =
        path[1..].split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(in_path));
    let sound = text.len() <= MAX_ID && !domain.is_empty() && domain.bytes().all(in_domain) && segments;
    sound.then_some((domain, path))
}
