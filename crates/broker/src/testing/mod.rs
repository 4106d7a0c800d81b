//! What tests need: identities without a token, and an issuer that mints tokens with keys of its own. Not part of the
//! product: behind the feature `testing`.

pub mod claims;
mod env;
mod issuer;
mod keys;

use jiff::Timestamp;
use serde_json::Value;

pub use self::env::TestEnv;
pub use self::issuer::{AUDIENCE, Document, Fault, TestIssuer};
pub use self::keys::TestKey;
use crate::claims::Claims;
use crate::identity::{Identity, TokenId, Verified};
use crate::platform::generic::GENERIC;
use crate::platform::{self, Platform};

/// An identity with these claims, as if a token of the generic platform had been verified.
///
/// # Panics
/// The claims are not one JSON object.
pub fn identity(claims: Value) -> Identity {
    assemble(&GENERIC, claims)
}

/// An identity with these claims, as if a token of this platform had been verified: `identity_of("github", ...)`. The
/// issuer's name in the configuration is the platform's.
///
/// # Panics
/// There is no such platform, or the claims are not one JSON object.
pub fn identity_of(platform: &str, claims: Value) -> Identity {
    assemble(platform::by_name(platform).expect("the name of a platform"), claims)
}

fn assemble(platform: &'static dyn Platform, claims: Value) -> Identity {
    let signed = claims.to_string();
    let Value::Object(map) = claims else { panic!("claims are an object") };
    let claims = Claims::from(map);
    let name = if platform.name() == GENERIC.name() { "test" } else { platform.name() };
    Identity::assemble(Verified {
        issuer: name.into(),
        issuer_url: platform.issuer().unwrap_or("https://issuer.test").into(),
        platform,
        token_id: TokenId::of(&claims, signed.as_bytes()).expect("`jti` is a text"),
        expires: Timestamp::MAX,
        keep_until: Timestamp::MAX,
        claims,
    })
}
