//! An issuer's public keys: what a JWK set (RFC 7517) holds that this program may use.
//!
//! Keys of other kinds and for other uses are passed over, as sets may hold what others need. A key that is usable but
//! weak, and a name that two keys bear, are left out too: no token can choose them.
//!
//! RSA keys, which nearly all CIs use, are kept as the cryptographic library parsed them: jsonwebtoken builds such a
//! key anew for each token, an eighth of the time of the whole check.

use std::collections::HashMap;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::issuer::Algorithm;
use super::token::Unverified;
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
pub(crate) enum Key {
    /// RSA, parsed for each algorithm that it may verify.
    Rsa(Vec<(Algorithm, ParsedPublicKey)>),
    /// A curve, which has one algorithm.
    Curve(Algorithm, DecodingKey),
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
    /// Reads a JWK set, for tokens signed with `algorithms`.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub(crate) fn parse(json: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, KeySetError> {
        let malformed = |e: &str| KeySetError::Malformed(e.to_owned());
        let set: Value = serde_json::from_slice(json).map_err(|e| malformed(&e.to_string()))?;
        let listed =
            set.get("keys").and_then(Value::as_array).ok_or_else(|| malformed("`keys` is no list"))?;
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(listed.len()));
        }
        let mut keys: HashMap<String, Option<Key>> = HashMap::new();
        for (kid, key) in listed.iter().filter_map(|jwk| read(jwk, algorithms)) {
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
        match self {
            Key::Rsa(parsed) => parsed.iter().any(|(own, _)| *own == algorithm),
            Key::Curve(own, _) => *own == algorithm,
        }
    }

    /// Whether it signed this token.
    pub(crate) fn verifies(&self, token: &Unverified<'_>) -> bool {
        let algorithm = token.header().algorithm;
        match self {
            Key::Rsa(parsed) => {
                let key = parsed.iter().find(|(own, _)| *own == algorithm);
                key.is_some_and(|(_, key)| key.verify_sig(token.signed(), token.signature()).is_ok())
            }
            Key::Curve(own, key) => {
                let verify =
                    |own| jsonwebtoken::crypto::verify(token.written_signature(), token.signed(), key, own);
                *own == algorithm && matches!(library(*own).map(verify), Some(Ok(true)))
            }
        }
    }
}

/// The curves' algorithms in the library's words.
fn library(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    match algorithm {
        Algorithm::ES256 => Some(jsonwebtoken::Algorithm::ES256),
        Algorithm::ES384 => Some(jsonwebtoken::Algorithm::ES384),
        Algorithm::EdDSA => Some(jsonwebtoken::Algorithm::EdDSA),
        _ => None,
    }
}

/// RSA's algorithms in the library's words, from 2048 to 8192 bits.
fn parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => None,
    }
}

/// A key of the set, if it may be used.
fn read(jwk: &Value, algorithms: &[Algorithm]) -> Option<(String, Key)> {
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
    // The one algorithm that the set names for it.
    let only = match jwk.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::by_name(name.as_str()?)?),
    };
    let allowed = |algorithm: Algorithm| only.is_none_or(|only| only == algorithm);
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let mut may = algorithms.to_vec();
            // Kept although no token may use it: so that one that tries hears of the algorithm, not of the key.
            may.extend(only);
            may.retain(|algorithm| allowed(*algorithm));
            may.dedup();
            rsa(text("n")?, text("e")?, &may)?
        }
        ("EC", Some("P-256")) => Key::Curve(Algorithm::ES256, curve(text("x")?, text("y")?, 32)?),
        ("EC", Some("P-384")) => Key::Curve(Algorithm::ES384, curve(text("x")?, text("y")?, 48)?),
        ("OKP", Some("Ed25519")) => {
            let x = URL_SAFE_NO_PAD.decode(text("x")?).ok().filter(|x| x.len() == 32)?;
            Key::Curve(Algorithm::EdDSA, DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    match key {
        Key::Curve(own, _) if !allowed(own) => None,
        key => Some((kid.to_owned(), key)),
    }
}

fn rsa(n: &str, e: &str, algorithms: &[Algorithm]) -> Option<Key> {
    let (n, e) = (URL_SAFE_NO_PAD.decode(n).ok()?, URL_SAFE_NO_PAD.decode(e).ok()?);
    let n = &n[n.iter().position(|byte| *byte != 0)?..];
    let e = &e[e.iter().position(|byte| *byte != 0)?..];
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    // An even exponent is none; 1 would let everybody sign.
    let sound = e.last()? & 1 == 1 && *e != [1];
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) || !sound {
        return None;
    }
    let parse = |algorithm: &Algorithm| {
        let key = PublicKeyComponents { n, e }.to_parsed_public_key(parameters(*algorithm)?).ok()?;
        Some((*algorithm, key))
    };
    let parsed: Vec<_> = algorithms.iter().filter_map(parse).collect();
    (!parsed.is_empty()).then_some(Key::Rsa(parsed))
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
