//! A token taken apart, with nothing believed yet.
//!
//! What can be refused without a key is refused here, the cheapest first: length before anything is decoded, the
//! header before any look-up. The payload is parsed once; after the signature over these very bytes was found right,
//! the same parsed claims are checked and used. There is no second reading that could differ.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::issuer::Algorithm;
use super::rejection::{Code, Rejection};
use crate::claims::Claims;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;
/// The longest header, in bytes as sent.
pub const MAX_HEADER: usize = 4 * 1024;
/// The longest `kid`, in bytes.
const MAX_KID: usize = 512;

/// Members of a header that name keys or change what the rest means. None of them is needed by any CI.
const REFUSED: [&str; 8] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "enc", "zip"];

/// A token whose signature has not been checked. Its claims are a stranger's words.
pub struct Unverified<'a> {
    compact: &'a str,
    header: Header,
    claims: Claims,
    /// Where the signed part ends, and the signature's part follows after a dot.
    signed: usize,
    signature: Vec<u8>,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The key's name: a key into a map, and nothing else.
    pub kid: String,
    /// `typ`, if it is there.
    pub kind: Option<String>,
}

impl std::fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is longer than 16 KiB, has not three parts of canonical base64url, a header longer than 4 KiB or with
    /// members that are refused, an algorithm that is not asymmetric, no `kid`, or claims that are not one JSON object
    /// without duplicates.
    pub fn parse(token: &'a [u8]) -> Result<Unverified<'a>, Rejection> {
        let no = |wanted: &'static str| Rejection::new(Code::Malformed, "token", wanted);
        if token.len() > MAX_TOKEN {
            return Err(no("at most 16384 bytes long"));
        }
        let compact = std::str::from_utf8(token).map_err(|_| no("ASCII"))?;
        let parts = || no("three parts, joined by dots");
        let (header, rest) = compact.split_once('.').ok_or_else(parts)?;
        let (payload, signature) = rest.split_once('.').ok_or_else(parts)?;
        if header.is_empty() || payload.is_empty() || signature.is_empty() || signature.contains('.') {
            return Err(parts());
        }
        if header.len() > MAX_HEADER {
            return Err(no("a header of at most 4096 bytes"));
        }
        let header = Header::parse(&decode(header)?)?;
        let claims = Claims::parse(&decode(payload)?)
            .map_err(|e| no("claims in one JSON object").seeing_text(&e.to_string()))?;
        let signed = compact.len() - signature.len() - 1;
        Ok(Unverified { compact, header, claims, signed, signature: decode(signature)? })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the claims say about the audience: all that are texts. Nobody has vouched for it: good for a hint, never
    /// for a decision.
    pub fn audience_hint(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(audience)) => vec![audience],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What the claims say about the subject. Nobody has vouched for it either.
    pub fn subject_hint(&self) -> Option<&str> {
        self.claims.text("sub")
    }

    /// All claims, which nobody has vouched for: for explanations, never for a decision.
    pub fn unverified_claims(&self) -> &Claims {
        &self.claims
    }

    /// What the claims say about the issuer: only good as a key into the configured issuers.
    pub(crate) fn issuer_hint(&self) -> Result<&str, Rejection> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            seen => Err(Rejection::new(Code::ClaimType, "iss", "a text").seeing(seen)),
        }
    }

    /// The bytes that are signed.
    pub(crate) fn signed(&self) -> &'a [u8] {
        &self.compact.as_bytes()[..self.signed]
    }

    /// The signature.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The signature as sent.
    pub(crate) fn written_signature(&self) -> &'a str {
        &self.compact[self.signed + 1..]
    }

    /// The claims. To be called once the signature was found right.
    pub(crate) fn into_claims(self) -> Claims {
        self.claims
    }
}

impl Header {
    fn parse(json: &[u8]) -> Result<Header, Rejection> {
        let members = Claims::parse(json).map_err(|e| {
            Rejection::new(Code::Malformed, "header", "one JSON object").seeing_text(&e.to_string())
        })?;
        for name in REFUSED {
            if members.get(name).is_some() {
                return Err(Rejection::new(Code::Header, "header", format!("without `{name}`")));
            }
        }
        let algorithm = members.text("alg").and_then(Algorithm::by_name).ok_or_else(|| {
            Rejection::new(Code::Algorithm, "header.alg", "an asymmetric algorithm")
                .seeing(members.get("alg"))
        })?;
        let kid =
            members.text("kid").filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID).ok_or_else(|| {
                Rejection::new(Code::Header, "header.kid", "a text of 1 to 512 bytes")
                    .seeing(members.get("kid"))
            })?;
        let kind = match members.get("typ") {
            None => None,
            Some(Value::String(kind)) => Some(kind.clone()),
            seen => return Err(Rejection::new(Code::Header, "header.typ", "a text").seeing(seen)),
        };
        Ok(Header { algorithm, kid: kid.to_owned(), kind })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Rejection::new(Code::Malformed, "token", "base64url without padding"))
}
