//! Decoders: values whose inside tells a secret from noise, and what to say about it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::path::printable;
use crate::rule::Decode;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Longest JSON inside a token that is parsed, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// What a decoder read.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// Facts for the finding; never the secret.
    pub(crate) details: Vec<(&'static str, String)>,
    /// Why the finding is less sure than its pattern says.
    pub(crate) weaker: Option<String>,
}

/// Decodes the secret, or says why it is none. `now` is in seconds since 1970.
pub(crate) fn decode(kind: Decode, secret: &[u8], now: i64) -> Result<Decoded, String> {
    match kind {
        Decode::Jwt => jwt(secret, now),
        Decode::Base64 => base64(secret),
        Decode::Base64Json => base64_json(secret),
        Decode::Basic => basic(secret),
        Decode::Pem => pem(secret),
        Decode::Discord => discord(secret),
        Decode::AzureStorage => azure_storage(secret),
        Decode::Macaroon => macaroon(secret),
    }
}

fn any_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let compact: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    STANDARD.decode(&compact).or_else(|_| URL.decode(&compact)).map_err(|_| "no base64".to_owned())
}

fn json_object(bytes: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    if bytes.len() > MAX_JSON {
        return Err("the JSON inside is too long".into());
    }
    serde_json::from_slice(bytes).map_err(|_| "no JSON object inside".to_owned())
}

/// RFC 7519: header and payload must be JSON objects; an unsigned token is no secret.
fn jwt(secret: &[u8], now: i64) -> Result<Decoded, String> {
    let mut parts = secret.split(|b| *b == b'.');
    let mut part = || parts.next().ok_or("not three parts");
    let (header, payload, signature) = (part()?, part()?, part()?);
    let header = json_object(&URL.decode(header).map_err(|_| "the header is no base64url")?)?;
    let algorithm = header.get("alg").and_then(|v| v.as_str()).ok_or("the header names no `alg`")?;
    let mut out = Decoded::default();
    out.details.push(("alg", short(algorithm)));
    if signature.is_empty() || algorithm.eq_ignore_ascii_case("none") {
        return Err("an unsigned token".into());
    }
    if header.contains_key("enc") {
        out.details.push(("kind", "JWE".into()));
        return Ok(out);
    }
    let claims = json_object(&URL.decode(payload).map_err(|_| "the payload is no base64url")?)?;
    for (name, key) in [("iss", "issuer"), ("sub", "subject"), ("aud", "audience"), ("role", "role")] {
        if let Some(text) = claims.get(name).and_then(|v| v.as_str()) {
            out.details.push((key, short(text)));
        }
    }
    if let Some(expiry) = claims.get("exp").and_then(serde_json::Value::as_f64) {
        let expiry = expiry as i64;
        if let Ok(time) = jiff::Timestamp::from_second(expiry) {
            out.details.push(("expires", time.to_string()));
        }
        if expiry < now {
            out.weaker = Some("the token has expired: less sure".into());
        }
    }
    let public = claims.get("role").and_then(|v| v.as_str()) == Some("anon");
    if public {
        return Err("a public token (role `anon`)".into());
    }
    Ok(out)
}

fn short(text: &str) -> String {
    printable(text.as_bytes()).chars().take(120).collect()
}

fn base64(secret: &[u8]) -> Result<Decoded, String> {
    let bytes = any_base64(secret)?;
    if bytes.len() < 8 { Err("fewer than 8 bytes inside".into()) } else { Ok(Decoded::default()) }
}

/// A JSON object in base64, after whatever prefix stands before its `eyJ`.
fn base64_json(secret: &[u8]) -> Result<Decoded, String> {
    let start = memchr::memmem::find(secret, b"eyJ").unwrap_or(0);
    json_object(&any_base64(&secret[start..])?).map(|_| Decoded::default())
}

/// RFC 7617: `user:password`, printable.
fn basic(secret: &[u8]) -> Result<Decoded, String> {
    let bytes = zeroize::Zeroizing::new(any_base64(secret)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| "no text inside")?;
    let (user, password) = text.split_once(':').ok_or("no colon inside")?;
    if text.chars().any(char::is_control) {
        return Err("control characters inside".into());
    }
    if password.is_empty() && user.len() < 16 {
        return Err("an empty password".into());
    }
    if let Some(why) = super::placeholder::reason(password.as_bytes()) {
        return Err(format!("the password inside is a placeholder: {why}"));
    }
    let mut out = Decoded { details: vec![("user", short(user))], weaker: None };
    if is_dull(user) && is_dull(password) {
        out.weaker = Some("a user and password as documentation has them: less sure".into());
    }
    Ok(out)
}

fn is_dull(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    ["user", "username", "pass", "password", "passwd", "test", "admin", "foo", "bar", "login", "guest", "me", "demo", "secret"]
        .iter()
        .any(|w| lower.trim_end_matches(|c: char| c.is_ascii_digit()) == *w)
        || lower.is_empty()
}

/// A private key: enough of a body, and the beginning of what its label promises (DER SEQUENCE, OpenSSH magic).
fn pem(secret: &[u8]) -> Result<Decoded, String> {
    let text = unescaped(secret);
    let after = memchr::memmem::find(&text, b"KEY-----")
        .map(|at| at + 8)
        .or_else(|| memchr::memmem::find(&text, b"BLOCK-----").map(|at| at + 10))
        .ok_or("no BEGIN line")?;
    let label_start = memchr::memmem::find(&text, b"-----BEGIN ").map(|at| at + 11).ok_or("no BEGIN line")?;
    let label = text.get(label_start..after.saturating_sub(5)).unwrap_or_default();
    let body = &text[after..];
    let body = &body[..memchr::memmem::find(body, b"-----END").unwrap_or(body.len())];
    let mut out = Decoded { details: vec![("kind", short(&String::from_utf8_lossy(label)))], weaker: None };
    let encrypted_header = memchr::memmem::find(body, b"ENCRYPTED").is_some();
    let encoded: Vec<u8> = body
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.contains(&b':') && !line.starts_with(b"="))
        .flatten()
        .copied()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        .collect();
    if encoded.len() < 40 {
        return Err("the key has no body".into());
    }
    if super::placeholder::reason(&encoded[..encoded.len().min(128)]).is_some() {
        return Err("the body is a placeholder".into());
    }
    if super::entropy::shannon(&encoded) < 4.0 {
        return Err("the body is not random enough for a key".into());
    }
    let whole = encoded.len() / 4 * 4;
    let bytes = zeroize::Zeroizing::new(STANDARD.decode(&encoded[..whole]).map_err(|_| "the body is no base64")?);
    let openssh = bytes.starts_with(b"openssh-key-v1\0");
    let encrypted = encrypted_header
        || label.starts_with(b"ENCRYPTED")
        || openssh && !bytes.get(15..).is_some_and(|b| b.starts_with(b"\0\0\0\x04none"));
    let plausible = encrypted
        || openssh
        || bytes.first() == Some(&0x30)
        || label.starts_with(b"PGP")
        || label.starts_with(b"SSH2");
    if encrypted {
        out.details.push(("encrypted", "yes".into()));
        out.weaker = Some("the key is encrypted: only as safe as its passphrase".into());
    } else if !plausible {
        out.weaker = Some("the body does not begin as such a key does: less sure".into());
    }
    Ok(out)
}

/// The text with the escapes of string literals (`\n`, `\r`) undone.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        match (b, bytes.peek()) {
            (b'\\', Some(b'n' | b'r' | b't')) => {
                bytes.next();
                out.push(b'\n');
            }
            (b'\\', _) => {}
            _ => out.push(b),
        }
    }
    out
}

/// The first part of a Discord bot token is the base64 of a decimal snowflake.
fn discord(secret: &[u8]) -> Result<Decoded, String> {
    let first = secret.split(|b| *b == b'.').next().unwrap_or_default();
    let id = any_base64(first)?;
    let is_id = (15..=20).contains(&id.len()) && id.iter().all(u8::is_ascii_digit);
    if is_id { Ok(Decoded::default()) } else { Err("the first part is no user id".into()) }
}

fn azure_storage(secret: &[u8]) -> Result<Decoded, String> {
    let bytes = any_base64(secret)?;
    if bytes.len() == 64 { Ok(Decoded::default()) } else { Err(format!("{} bytes inside, not 64", bytes.len())) }
}

/// Version 2 of the binary macaroon format: a version byte and a location field.
fn macaroon(secret: &[u8]) -> Result<Decoded, String> {
    let start = secret.iter().position(|b| *b == b'-').map_or(0, |at| at + 1);
    let bytes = any_base64(&secret[start..])?;
    if bytes.first() == Some(&2) { Ok(Decoded::default()) } else { Err("no version-2 macaroon inside".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::fill;

    fn check(kind: Decode, template: &str, good: bool) {
        let text = fill(template, "seed").unwrap();
        let result = decode(kind, text.as_bytes(), 1_700_000_000);
        assert_eq!(result.is_ok(), good, "{template}: {result:?}");
    }

    #[test]
    fn what_decodes_and_what_does_not() {
        check(Decode::Jwt, "{{jwt sub=a exp=1800000000}}", true);
        check(Decode::Jwt, "{{jwt role=anon}}", false);
        check(Decode::Jwt, "{{jwt alg=none}}", false);
        check(Decode::Jwt, "eyJhbGciOi.notjson.sig", false);
        check(Decode::Basic, "{{b64of deploy:{{alnum 12}}}}", true);
        check(Decode::Basic, "{{b64of nocolon}}", false);
        check(Decode::Pem, "{{pem RSA PRIVATE KEY}}", true);
        check(Decode::Pem, "{{pem OPENSSH PRIVATE KEY}}", true);
        check(Decode::Pem, "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----", false);
        check(Decode::Discord, "{{b64of {{digit 18}}}}.abcdef.{{b64url 27}}", true);
        check(Decode::Discord, "{{alnum 24}}.abcdef.{{b64url 27}}", false);
    }

    #[test]
    fn an_expired_token_is_less_sure() {
        let text = fill("{{jwt exp=1600000000}}", "seed").unwrap();
        let decoded = decode(Decode::Jwt, text.as_bytes(), 1_700_000_000).unwrap();
        assert!(decoded.weaker.is_some());
        assert!(decoded.details.iter().any(|(k, v)| *k == "expires" && v.starts_with("2020-09-13")));
    }
}
