//! An issuer's public keys: what a JWK set (RFC 7517) holds that this program may use.
//!
//! Keys of other kinds and for other uses are passed over, as sets may hold what others need. A key that is usable but
//! weak, and a name that two keys bear, are left out too: no token can choose them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::issuer::Algorithm;
use crate::claims::Claims;

/// The most keys a set may hold.
pub const MAX_KEYS: usize = 64;
/// The fewest bits of an RSA key.
const MIN_RSA_BITS: usize = 2048;
/// The most bits of an RSA key that the verification takes.
const MAX_RSA_BITS: usize = 8192;

/// Keys by name.
#[derive(Default)]
pub(crate) struct KeySet {
    keys: HashMap<String, Key>,
}

/// A key and what it may verify.
pub(crate) struct Key {
    family: Family,
    /// The one algorithm that the set names for it.
    only: Option<Algorithm>,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A key set that cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not a JWK set.
    #[error("not a JWK set: {0}")]
    Malformed(String),
    /// It has too many keys.
    #[error("{0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
    /// It has no key that may be used.
    #[error("no usable key: RSA from 2048 bits, P-256, P-384 or Ed25519, each with a `kid`, for signatures")]
    Empty,
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub(crate) fn parse(json: &[u8]) -> Result<KeySet, KeySetError> {
        let malformed = |e: &str| KeySetError::Malformed(e.to_owned());
        let set: Value = serde_json::from_slice(json).map_err(|e| malformed(&e.to_string()))?;
        let listed =
            set.get("keys").and_then(Value::as_array).ok_or_else(|| malformed("`keys` is no list"))?;
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(listed.len()));
        }
        let mut keys: HashMap<String, Option<Key>> = HashMap::new();
        for (kid, key) in listed.iter().filter_map(read) {
            // Two keys of one name: no telling which is meant.
            keys.entry(kid).and_modify(|known| *known = None).or_insert(Some(key));
        }
        let keys: HashMap<String, Key> =
            keys.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect();
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(KeySet { keys }) }
    }

    /// The key of this name.
    pub(crate) fn get(&self, kid: &str) -> Option<&Key> {
        self.keys.get(kid)
    }
}

impl Key {
    /// Whether it may verify this algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        family(algorithm) == self.family && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is this key's over `signed`.
    pub(crate) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, signed, &self.key, library(algorithm)).unwrap_or(false)
    }
}

fn family(algorithm: Algorithm) -> Family {
    match algorithm {
        Algorithm::ES256 => Family::P256,
        Algorithm::ES384 => Family::P384,
        Algorithm::EdDSA => Family::Ed25519,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Family::Rsa,
    }
}

fn library(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}

/// A key of the set, if it may be used.
fn read(jwk: &Value) -> Option<(String, Key)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let kid = text("kid").filter(|kid| !kid.is_empty())?;
    let for_signatures = jwk.get("use").is_none_or(|use_| use_.as_str() == Some("sig"));
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(ops) => ops.as_array()?.iter().any(|op| op.as_str() == Some("verify")),
    };
    if !for_signatures || !verifies {
        return None;
    }
    let (family, key) = match (text("kty")?, text("crv")) {
        ("RSA", _) => (Family::Rsa, rsa(text("n")?, text("e")?)?),
        ("EC", Some("P-256")) => (Family::P256, curve(text("x")?, text("y")?, 32)?),
        ("EC", Some("P-384")) => (Family::P384, curve(text("x")?, text("y")?, 48)?),
        ("OKP", Some("Ed25519")) => {
            let x = URL_SAFE_NO_PAD.decode(text("x")?).ok().filter(|x| x.len() == 32)?;
            (Family::Ed25519, DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    let only = match jwk.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::by_name(name.as_str()?)?),
    };
    if only.is_some_and(|only| self::family(only) != family) {
        return None;
    }
    Some((kid.to_owned(), Key { family, only, key }))
}

fn rsa(n: &str, e: &str) -> Option<DecodingKey> {
    let (n, e) = (URL_SAFE_NO_PAD.decode(n).ok()?, URL_SAFE_NO_PAD.decode(e).ok()?);
    let n = &n[n.iter().position(|byte| *byte != 0)?..];
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    // An even exponent is none; 1 would let everybody sign.
    let sound =
        e.last()? & 1 == 1 && !(e.iter().rev().skip(1).all(|byte| *byte == 0) && e.last() == Some(&1));
    ((MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) && sound)
        .then(|| DecodingKey::from_rsa_raw_components(n, &e))
}

fn curve(x: &str, y: &str, width: usize) -> Option<DecodingKey> {
    let fits = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok_and(|bytes| bytes.len() == width);
    if !fits(x) || !fits(y) {
        return None;
    }
    DecodingKey::from_ec_components(x, y).ok()
}

/// What a discovery document says that matters here.
pub(crate) struct Discovery {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
}

impl Discovery {
    /// Reads a discovery document; `None` if it is none.
    pub(crate) fn parse(json: &[u8]) -> Option<Discovery> {
        // Duplicate names are refused, as the document decides whose keys are used.
        let document = Claims::parse(json).ok()?;
        Some(Discovery {
            issuer: document.text("issuer")?.to_owned(),
            jwks_uri: document.text("jwks_uri")?.to_owned(),
        })
    }
}
