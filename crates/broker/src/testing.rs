//! What tests need: identities without a token. Not part of the product: behind the feature `testing`.

use jiff::Timestamp;
use serde_json::Value;

use crate::claims::Claims;
use crate::identity::Identity;
use crate::platform::generic::GENERIC;

/// An identity with these claims, as if a token of the generic platform had been verified.
///
/// # Panics
/// The claims are not one JSON object.
pub fn identity(claims: Value) -> Identity {
    let Value::Object(map) = claims else { panic!("claims are an object") };
    let claims = Claims::from(map);
    Identity::assemble("test", &GENERIC, claims, Timestamp::MAX)
}
