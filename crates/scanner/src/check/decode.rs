//! Decoders: values whose inside tells a secret from noise, and what to say about it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::file_kind::FileKind;
use super::{Weight, embedded, private_key};
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
    /// How much what it read speaks for a live secret.
    pub(crate) weight: Weight,
}

/// Decodes the secret, or says why it is none. `now` is in seconds since 1970.
pub(crate) fn decode(kind: Decode, secret: &[u8], now: i64) -> Result<Decoded, String> {
    match kind {
        Decode::Jwt => jwt(secret, now),
        Decode::Base64 => base64(secret),
        Decode::Base64Json => base64_json(secret),
        Decode::Basic => basic(secret),
        Decode::Pem => key(&private_key::armoured(secret)?, false),
        Decode::PemEncrypted => key(&private_key::armoured(secret)?, true),
        Decode::Der => key(&private_key::bare(secret)?, false),
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
    let payload = URL.decode(payload).map_err(|_| "the payload is no base64url")?;
    let Ok(claims) = json_object(&payload) else {
        out.weight = Weight::Fair("the payload is no JSON object");
        return Ok(out);
    };
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
            out.weight = Weight::Fair("the token has expired");
        }
    }
    let public = claims.get("role").and_then(|v| v.as_str()) == Some("anon");
    if public {
        return Err("a public token (role `anon`)".into());
    }
    if is_sample(&claims, &payload) {
        out.weight = Weight::Weak("a token as documentation has it");
    }
    Ok(out)
}

/// The claims that jwt.io, the RFCs and the documentation of libraries use.
fn is_sample(claims: &serde_json::Map<String, serde_json::Value>, payload: &[u8]) -> bool {
    let texts: [&[u8]; 9] = [
        b"\"1234567890\"",
        b"John Doe",
        b"Jane Doe",
        b"\"joe\"",
        b"example.com",
        b"example.org",
        b"\"foo\"",
        b"\"bar\"",
        b"\"hello\"",
    ];
    let issued =
        ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "scopes", "role", "roles", "permissions"];
    let subject = claims.get("sub").and_then(serde_json::Value::as_i64);
    subject == Some(1_234_567_890)
        || texts.iter().any(|text| memchr::memmem::find(payload, text).is_some())
        || claims.len() <= 2
            && !claims
                .keys()
                .any(|name| issued.contains(&name.as_str()) || name.to_lowercase().contains("id"))
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
    // The JSON key of a service account, as container registries take it, has lines.
    if text.chars().any(char::is_control) && !password.starts_with('{') {
        return Err("control characters inside".into());
    }
    if password.is_empty() && user.len() < 16 {
        return Err("an empty password".into());
    }
    let mut out = Decoded { details: vec![("user", short(user))], weight: Weight::Strong };
    // `KEY:` alone: the user is the secret, as many HTTP interfaces have it.
    let (value, beside) = if password.is_empty() { (user, "") } else { (password, user) };
    out.weight = embedded::weigh(value.as_bytes(), Some(beside.as_bytes()), FileKind::default())
        .map_err(|why| format!("the password inside: {why}"))?;
    if user == "Aladdin" {
        out.weight = Weight::Weak("the example of RFC 7617");
    }
    Ok(out)
}

/// A private key, if it is encrypted or not as the rule wants it.
fn key(key: &private_key::Key, encrypted: bool) -> Result<Decoded, String> {
    match (key.encrypted, encrypted) {
        (true, false) => Err("the key is encrypted".into()),
        (false, true) => Err("the key is not encrypted".into()),
        _ => {
            let protection = if encrypted { "passphrase" } else { "none" };
            let details = vec![("kind", short(&key.kind)), ("protection", protection.into())];
            Ok(Decoded { details, weight: key.weight })
        }
    }
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
    if bytes.len() == 64 {
        Ok(Decoded::default())
    } else {
        Err(format!("{} bytes inside, not 64", bytes.len()))
    }
}

/// Version 2 of the binary macaroon format: a version byte and a location field.
fn macaroon(secret: &[u8]) -> Result<Decoded, String> {
    let start = secret.iter().position(|b| *b == b'-').map_or(0, |at| at + 1);
    let bytes = any_base64(&secret[start..])?;
    if bytes.first() == Some(&2) {
        Ok(Decoded::default())
    } else {
        Err("no version-2 macaroon inside".into())
    }
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
        check(Decode::Jwt, "{{jwt sub=1234567890}}", true);
        check(Decode::Basic, "{{b64of deploy:{{alnum 12}}}}", true);
        check(Decode::Basic, "{{b64of user:password}}", false);
        check(Decode::Basic, "{{b64of nocolon}}", false);
        check(Decode::Pem, "{{pem RSA PRIVATE KEY}}", true);
        check(Decode::Pem, "{{pem OPENSSH PRIVATE KEY}}", true);
        check(Decode::Pem, "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----", false);
        check(Decode::Pem, "{{pem ENCRYPTED PRIVATE KEY}}", false);
        check(Decode::PemEncrypted, "{{pem ENCRYPTED PRIVATE KEY}}", true);
        check(Decode::Der, "{{der PKCS8}}", true);
        check(Decode::Discord, "{{b64of {{digit 18}}}}.abcdef.{{b64url 27}}", true);
        check(Decode::Discord, "{{alnum 24}}.abcdef.{{b64url 27}}", false);
    }

    #[test]
    fn tokens_of_documentation_are_weak() {
        for (template, weak) in [
            ("{{jwt sub=1234567890 name=Jo}}", true),
            ("{{jwt some=payload}}", true),
            ("{{jwt iss=https://auth.example.com sub=u1}}", true),
            ("{{jwt iss=https://login.corp.net sub=8823 exp=1800000000}}", false),
        ] {
            let text = fill(template, "seed").unwrap();
            let decoded = decode(Decode::Jwt, text.as_bytes(), 1_700_000_000).unwrap();
            assert_eq!(matches!(decoded.weight, Weight::Weak(_)), weak, "{template}");
        }
    }

    #[test]
    fn an_expired_token_is_less_sure() {
        let text = fill("{{jwt exp=1600000000}}", "seed").unwrap();
        let decoded = decode(Decode::Jwt, text.as_bytes(), 1_700_000_000).unwrap();
        assert!(matches!(decoded.weight, Weight::Fair(_)));
        assert!(decoded.details.iter().any(|(k, v)| *k == "expires" && v.starts_with("2020-09-13")));
    }
}
