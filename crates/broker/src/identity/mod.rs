//! Who asks: tokens of configured issuers, verified.
//!
//! Only [`Verifier`](verifier::Verifier) makes an [`Identity`], and no policy is asked without one.

pub mod issuer;
pub mod keys;
pub mod rejection;
pub mod source;
pub mod token;
pub mod verifier;

use std::sync::Arc;

use claviger_audit::event::Who;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use self::rejection::{Code, Rejection};
use crate::claims::Claims;
use crate::platform::{Hazard, Platform, Subject};

/// The longest `jti`, in bytes.
const MAX_JTI: usize = 512;

/// A verified identity: signature, issuer, audience and times were right when it was made.
#[derive(Debug, Clone)]
pub struct Identity(Verified);

/// What a verified token says. Made by the verifier, and for tests.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    pub(crate) issuer: Arc<str>,
    pub(crate) issuer_url: Arc<str>,
    pub(crate) platform: &'static dyn Platform,
    pub(crate) token_id: TokenId,
    pub(crate) expires: Timestamp,
    pub(crate) keep_until: Timestamp,
    pub(crate) claims: Claims,
}

/// What makes a token once-only: its `jti`, or a hash where there is none.
///
/// The hash is of the signed part, without the signature: an ECDSA signature can be rewritten into another that is as
/// good, and the token would count as a new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// The id of a token with these claims and this signed part.
    ///
    /// # Errors
    /// `jti` is there and is no text of 1 to 512 bytes.
    pub(crate) fn of(claims: &Claims, signed: &[u8]) -> Result<TokenId, Rejection> {
        let Some(jti) = claims.get("jti") else {
            return Ok(TokenId(format!("sha256:{}", hex::encode(Sha256::digest(signed)))));
        };
        match jti.as_str().filter(|jti| !jti.is_empty() && jti.len() <= MAX_JTI) {
            Some(jti) => Ok(TokenId(format!("jti:{jti}"))),
            None => Err(Rejection::new(Code::ClaimType, "jti", "a text of 1 to 512 bytes").seeing(Some(jti))),
        }
    }

    /// The id as text: `jti:...` or `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Identity {
    /// Puts an identity together from what was verified: for the verifier, and for tests.
    pub(crate) fn assemble(verified: Verified) -> Identity {
        Identity(verified)
    }

    /// The issuer's name in the configuration.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The issuer's name in its tokens: a URL.
    pub fn issuer_url(&self) -> &str {
        &self.0.issuer_url
    }

    /// The CI that issued the token.
    pub fn platform(&self) -> &'static dyn Platform {
        self.0.platform
    }

    /// The token's `sub`.
    pub fn subject(&self) -> &str {
        self.0.claims.text("sub").unwrap_or_default()
    }

    /// The token's `sub`, taken apart by the platform's grammar.
    pub fn subject_fields(&self) -> Subject<'_> {
        // The verifier has refused tokens whose subject disagrees.
        self.0.platform.subject(&self.0.claims).unwrap_or(Subject::Custom)
    }

    /// What makes the token once-only, within its issuer.
    pub fn token_id(&self) -> &TokenId {
        &self.0.token_id
    }

    /// When the token expires, without leeway.
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    /// Until when the token's use must be remembered: nobody accepts it any more from then on.
    pub fn keep_until(&self) -> Timestamp {
        self.0.keep_until
    }

    /// All claims, as verified.
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// Why a stranger may be behind this token. A role refuses each, unless it names it.
    pub fn hazards(&self) -> Vec<Hazard> {
        self.0.platform.hazards(&self.0.claims)
    }

    /// The id of the run, unique within the issuer.
    pub fn run_id(&self) -> Option<String> {
        self.0.platform.run_id(&self.0.claims)
    }

    /// Who that is, in the audit log's words.
    pub fn who(&self) -> Who {
        Who {
            issuer: Some(self.issuer().to_owned()),
            subject: Some(self.subject().to_owned()),
            ..self.0.platform.who(&self.0.claims)
        }
    }
}
