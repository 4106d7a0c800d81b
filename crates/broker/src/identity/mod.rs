//! Who asks: tokens of configured issuers, verified.
//!
//! Only [`Verifier`](verifier::Verifier) makes an [`Identity`], and no policy is asked without one.

pub mod issuer;
pub mod keys;
pub mod rejection;
pub mod token;
pub mod verifier;

use claviger_audit::event::Who;
use jiff::Timestamp;

use crate::claims::Claims;
use crate::platform::Platform;

/// A verified identity: signature, issuer, audience and times were right when it was made.
#[derive(Debug, Clone)]
pub struct Identity {
    issuer: String,
    platform: &'static dyn Platform,
    subject: String,
    token_id: TokenId,
    expires: Timestamp,
    claims: Claims,
}

/// What makes a token once-only: its `jti`, or the SHA-256 of the whole token where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// The id as text: `jti:...` or `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Identity {
    /// Puts an identity together from what was verified: for the verifier, and for tests.
    pub(crate) fn assemble(
        issuer: &str,
        platform: &'static dyn Platform,
        claims: Claims,
        expires: Timestamp,
    ) -> Identity {
        let subject = claims.text("sub").unwrap_or_default().to_owned();
        let token_id = TokenId(match claims.text("jti") {
            Some(jti) => format!("jti:{jti}"),
            None => String::new(),
        });
        Identity { issuer: issuer.to_owned(), platform, subject, token_id, expires, claims }
    }

    /// The issuer's name in the configuration.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The CI that issued the token.
    pub fn platform(&self) -> &'static dyn Platform {
        self.platform
    }

    /// The token's `sub`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What makes the token once-only.
    pub fn token_id(&self) -> &TokenId {
        &self.token_id
    }

    /// When the token expires, without leeway.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// All claims, as verified.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Who that is, in the audit log's words.
    pub fn who(&self) -> Who {
        Who {
            issuer: Some(self.issuer.clone()),
            subject: Some(self.subject.clone()),
            ..self.platform.who(&self.claims)
        }
    }
}
