//! Private keys in any armour: PEM, OpenPGP, PuTTY, SSH2, or the bare base64 of DER.
//!
//! The armour is undone as far as needed to answer two questions: is there a key at all, and is it encrypted? Keys stand in
//! source code, JSON, YAML and environment variables, so line ends may be escapes, and quotes, indentation, comment
//! marks and concatenation may stand around each line. Lengths inside are checked before use; nothing is allocated by
//! what the input claims.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;
use zeroize::Zeroizing;

use super::{Weight, entropy, placeholder};

const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Fewest base64 characters of a body; an Ed25519 key has 64.
const MIN_BODY: usize = 40;
/// Characters of a body that are looked at to tell a key from text.
const HEAD: usize = 4096;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The label of its armour, or the kind of key.
    pub(crate) kind: String,
    /// Whether a passphrase protects it.
    pub(crate) encrypted: bool,
    /// Whether the inside is what the armour promises.
    pub(crate) weight: Weight,
}

/// Reads armoured private keys, also where the whole armour is in base64 once more.
pub(crate) fn armoured(secret: &[u8]) -> Result<Key, &'static str> {
    if memmem::find(secret, b"PuTTY-User-Key-File-").is_some() {
        return putty(&unescaped(secret));
    }
    if memmem::find(secret, b"-- BEGIN").is_none() && memmem::find(secret, b"--BEGIN").is_none() {
        let inner = STANDARD.decode(base64_only(secret)).map_err(|_| "no BEGIN line and no base64")?;
        let inner = Zeroizing::new(inner);
        return armour(&unescaped(&inner));
    }
    armour(&unescaped(secret))
}

/// Reads the bare base64 of a key.
pub(crate) fn bare(secret: &[u8]) -> Result<Key, &'static str> {
    let encoded = base64_only(&unescaped(secret));
    is_body(&encoded)?;
    let bytes = decode_whole(&encoded)?;
    let (kind, encrypted) = inside(&bytes).ok_or("no private key inside")?;
    Ok(Key { kind: kind.into(), encrypted, weight: whole_der(&bytes) })
}

/// PEM (RFC 7468), OpenPGP (RFC 9580) and SSH2 (RFC 4716's armour) blocks.
fn armour(text: &[u8]) -> Result<Key, &'static str> {
    // Other blocks may stand first: OpenSSL writes `EC PARAMETERS` before the key.
    let mut labels = memmem::find_iter(text, b"BEGIN").filter_map(|begin| {
        let rest = &text[begin + 5..];
        let label_end = memmem::find(rest, b"--")?;
        Some((rest, label_end, rest[..label_end].trim_ascii()))
    });
    let (rest, label_end, label) = labels
        .find(|(_, _, label)| label.len() <= 64 && memmem::find(label, b"PRIVATE KEY").is_some())
        .ok_or("no BEGIN line of a private key")?;
    let body = &rest[label_end..];
    let body = &body[body.iter().position(|b| *b != b'-').unwrap_or(body.len())..];
    let body = &body[..memmem::find(body, b"--").unwrap_or(body.len())];
    if memmem::find(body, b"...").is_some() || memmem::find(body, "…".as_bytes()).is_some() {
        return Err("the body is left out");
    }
    let encoded = body_of(body);
    is_body(&encoded)?;
    let bytes = decode_whole(&encoded)?;
    let kind = String::from_utf8_lossy(label).into_owned();
    let header_says = memmem::find(body, b"ENCRYPTED").is_some() || label.starts_with(b"ENCRYPTED");
    if label.starts_with(b"PGP") {
        return Ok(match openpgp_encrypted(&bytes) {
            Some(encrypted) => Key { kind, encrypted, weight: Weight::Strong },
            None => Key { kind, encrypted: false, weight: ODD },
        });
    }
    if label.starts_with(b"SSH2") {
        // Always labelled ENCRYPTED: the cipher inside says whether it is.
        return Ok(match ssh2_cipher(&bytes) {
            Some(cipher) => Key { kind, encrypted: cipher != b"none", weight: Weight::Strong },
            None => Key { kind, encrypted: true, weight: ODD },
        });
    }
    let weight = if header_says || bytes.starts_with(OPENSSH) {
        Weight::Strong
    } else if bytes.first() == Some(&0x30) {
        whole_der(&bytes)
    } else {
        ODD
    };
    let encrypted = header_says || inside(&bytes).is_some_and(|(_, encrypted)| encrypted);
    Ok(Key { kind, encrypted, weight })
}

const ODD: Weight = Weight::Fair("the body does not begin as such a key does");
const OPENSSH: &[u8] = b"openssh-key-v1\0";

/// PuTTY's own format, versions 1 to 3.
fn putty(text: &[u8]) -> Result<Key, &'static str> {
    let field = |name: &[u8]| {
        let at = memmem::find(text, name)? + name.len();
        let rest = &text[at..];
        Some(rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())].trim_ascii())
    };
    let cipher = field(b"Encryption:").ok_or("no `Encryption:` line")?;
    let private = memmem::find(text, b"Private-Lines:").ok_or("no `Private-Lines:` line")?;
    let body = &text[private..];
    let body = &body[..memmem::find(body, b"Private-MAC").unwrap_or(body.len())];
    let encoded = body_of(body);
    // An Ed25519 key has 44 characters, 48 when it is padded for encryption.
    is_body(&encoded)?;
    let version =
        text.iter().skip_while(|b| **b != b'-').find(|b| b.is_ascii_digit()).map_or('?', |b| char::from(*b));
    let encrypted = !cipher.eq_ignore_ascii_case(b"none");
    Ok(Key { kind: format!("PuTTY version {version}"), encrypted, weight: Weight::Strong })
}

/// The base64 of an armour's body: header fields, checksum, quotes, comment marks and operators left out.
fn body_of(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let many = body.iter().filter(|b| **b == b'\n').count() > 2;
    for line in body.split(|b| *b == b'\n') {
        if many && memmem::find(line, b": ").is_some() {
            continue;
        }
        for part in line.split(u8::is_ascii_whitespace) {
            let run = longest_run(part);
            let lone_comma = part.iter().position(|b| *b == b',').is_some_and(|at| at + 2 < part.len());
            if part.contains(&b':') || lone_comma && run.len() < 48 || run.starts_with(b"=") {
                continue;
            }
            if run.iter().any(u8::is_ascii_alphanumeric) {
                out.extend(run.iter().filter(|b| **b != b'='));
            }
        }
    }
    out
}

/// The longest stretch of base64 characters.
fn longest_run(part: &[u8]) -> &[u8] {
    part.split(|b| !is_base64(*b)).max_by_key(|run| run.len()).unwrap_or_default()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn base64_only(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        if b == b'\\' && matches!(bytes.peek(), Some(b'n' | b'r')) {
            bytes.next();
        } else if b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/') {
            out.push(b);
        }
    }
    out
}

/// Whether this is the base64 of key material, not a few words in its place.
fn is_body(encoded: &[u8]) -> Result<(), &'static str> {
    let head = &encoded[..encoded.len().min(HEAD)];
    if encoded.len() < MIN_BODY {
        return Err("the key has no body");
    }
    if placeholder::reason(&head[..head.len().min(128)]).is_some() {
        return Err("the body is a placeholder");
    }
    if entropy::shannon(head) < 4.0 || entropy::wordiness(head).is_some_and(|w| w >= 0.62) {
        return Err("the body is not random enough for a key");
    }
    Ok(())
}

fn decode_whole(encoded: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let whole = encoded.len() - usize::from(encoded.len() % 4 == 1);
    STANDARD.decode(&encoded[..whole]).map(Zeroizing::new).map_err(|_| "the body is no base64")
}

/// The text with the escapes of string literals and of URLs undone, as far as armour needs it.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') && !text.contains(&b'%') && !text.contains(&b'&') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let known: [(&[u8], u8); 14] = [
            (b"\\\\n", b'\n'),
            (b"\\\\r", b'\n'),
            (b"\\n", b'\n'),
            (b"\\r", b'\n'),
            (b"\\t", b'\n'),
            (b"\\u000a", b'\n'),
            (b"%0A", b'\n'),
            (b"%0D", b'\n'),
            (b"%0a", b'\n'),
            (b"%20", b' '),
            (b"%2B", b'+'),
            (b"%2F", b'/'),
            (b"&#10;", b'\n'),
            (b"&#xA;", b'\n'),
        ];
        match known.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, byte)) => {
                out.push(*byte);
                at += escape.len();
            }
            None => {
                if rest[0] != b'\\' {
                    out.push(rest[0]);
                }
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// A DER element: its tag, its content, and what follows. `None` when the length does not fit.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        (rest[..count].iter().fold(0, |n, b| n << 8 | usize::from(*b)), &rest[count..])
    };
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

/// One level less sure when the outermost element does not end where the body ends: cut off, or not a key.
fn whole_der(bytes: &[u8]) -> Weight {
    match element(bytes) {
        Some((0x30, _, rest)) if rest.len() < 4 => Weight::Strong,
        None if bytes.starts_with(OPENSSH) => Weight::Strong,
        _ => Weight::Fair("the key is cut off or altered"),
    }
}

/// What private key these bytes are, and whether encrypted. Lenient about where the key ends.
fn inside(bytes: &[u8]) -> Option<(&'static str, bool)> {
    if let Some(rest) = bytes.strip_prefix(OPENSSH) {
        return Some(("OpenSSH", !rest.starts_with(b"\0\0\0\x04none")));
    }
    let header = match bytes {
        [0x30, 0x82, _, _, rest @ ..] | [0x30, 0x81, _, rest @ ..] => rest,
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        _ => return None,
    };
    match header {
        // PKCS #12: version 3, then ContentInfo.
        [0x02, 0x01, 0x03, 0x30, ..] => Some(("PKCS #12", true)),
        // PKCS #8: version 0 or 1, then AlgorithmIdentifier.
        [0x02, 0x01, 0x00 | 0x01, 0x30, ..] => Some(("PKCS #8", false)),
        // PKCS #1 and DSA: version 0, then a large integer.
        [0x02, 0x01, 0x00, 0x02, ..] => Some(("RSA or DSA", false)),
        // SEC 1: version 1, then the octets of the scalar.
        [0x02, 0x01, 0x01, 0x04, ..] => Some(("EC", false)),
        // EncryptedPrivateKeyInfo: an algorithm of PKCS #5 or PKCS #12 first.
        [0x30, ..]
            if memmem::find(&header[..header.len().min(24)], b"\x2a\x86\x48\x86\xf7\x0d\x01\x05")
                .is_some()
                || memmem::find(&header[..header.len().min(24)], b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c")
                    .is_some() =>
        {
            Some(("PKCS #8, encrypted", true))
        }
        _ => None,
    }
}

/// Whether the first packet is a secret key, and its S2K usage octet. `None` if it is not understood.
fn openpgp_encrypted(bytes: &[u8]) -> Option<bool> {
    let (&tag, rest) = bytes.split_first()?;
    let (kind, body) = if tag & 0x40 != 0 {
        let skip = match *rest.first()? {
            0..=191 => 1,
            192..=223 => 2,
            255 => 5,
            _ => return None,
        };
        (tag & 0x3f, rest.get(skip..)?)
    } else {
        (tag >> 2 & 0x0f, rest.get([1, 2, 4, 0][usize::from(tag & 3)]..)?)
    };
    if tag & 0x80 == 0 || kind != 5 {
        return None;
    }
    let (&version, body) = body.split_first()?;
    let skip = match version {
        3 => 6,
        4 => 4,
        // Versions 5 and 6 say how long the public part is.
        5 | 6 => {
            let count = body.get(5..9)?.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b));
            return body.get(9..)?.get(count).map(|usage| *usage != 0);
        }
        _ => return None,
    };
    let (&algorithm, mut rest) = body.get(skip..)?.split_first()?;
    let integer = |rest: &[u8]| -> Option<usize> {
        let bits = usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?);
        Some(2 + bits.div_ceil(8))
    };
    let (curve, integers, kdf) = match algorithm {
        1..=3 => (false, 2, false),
        16 => (false, 3, false),
        17 => (false, 4, false),
        18 => (true, 1, true),
        19 | 22 => (true, 1, false),
        25 | 27 => return rest.get(32).map(|usage| *usage != 0),
        _ => return None,
    };
    if curve {
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    }
    for _ in 0..integers {
        rest = rest.get(integer(rest)?..)?;
    }
    if kdf {
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    }
    rest.first().map(|usage| *usage != 0)
}

/// The cipher of ssh.com's key format: magic, length, key type, cipher.
fn ssh2_cipher(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"\x3f\x6f\xf9\xeb")?.get(4..)?;
    let text = |rest: &'_ [u8]| -> Option<(usize, usize)> {
        let count = rest.get(..4)?.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b));
        (count <= 256).then_some((4, 4 + count))
    };
    let (_, end) = text(rest)?;
    let rest = rest.get(end..)?;
    let (start, end) = text(rest)?;
    rest.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::fill;

    fn read(template: &str) -> Result<Key, &'static str> {
        armoured(fill(template, "seed").expect("the template is good").as_bytes())
    }

    #[test]
    fn armour_in_all_its_dresses() {
        for template in [
            "{{pem RSA PRIVATE KEY}}",
            "{{pem PRIVATE KEY}}",
            "{{pem OPENSSH PRIVATE KEY}}",
            "{{escaped {{pem EC PRIVATE KEY}}}}",
            "{{escaped {{escaped {{pem EC PRIVATE KEY}}}}}}",
            "{{b64of {{pem RSA PRIVATE KEY}}}}",
            "{{around     '|' + {{pem PRIVATE KEY}}}}",
            "{{around   # | {{pem PRIVATE KEY}}}}",
            "{{around \"|\\n\", {{pem PRIVATE KEY}}}}",
            "-----BEGIN RSA PRIVATE KEY----- MIIE{{b64 300}} -----END RSA PRIVATE KEY-----",
        ] {
            let key = read(template);
            assert!(key.as_ref().is_ok_and(|k| !k.encrypted), "{template}: {key:?}");
        }
    }

    #[test]
    fn encrypted_keys_are_told_apart() {
        for template in [
            "{{pem ENCRYPTED PRIVATE KEY}}",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{{HEX 32}}\n\n{{b64 64}}\n{{b64 64}}\n-----END RSA PRIVATE KEY-----",
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: aes256-cbc\nComment: me\nPublic-Lines: 1\n{{b64 64}}\nPrivate-Lines: 1\n{{b64 64}}\nPrivate-MAC: {{hex 64}}",
        ] {
            let key = read(template);
            assert!(key.as_ref().is_ok_and(|k| k.encrypted), "{template}: {key:?}");
        }
        let key = read(
            "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nComment: me\nPublic-Lines: 1\n{{b64 64}}\nPrivate-Lines: 1\n{{b64 64}}\nPrivate-MAC: {{hex 40}}",
        );
        assert_eq!(key, Ok(Key { kind: "PuTTY version 2".into(), encrypted: false, weight: Weight::Strong }));
    }

    #[test]
    fn the_usage_octet_of_openpgp_keys() {
        // A version-4 EdDSA key: tag and length, version, time, algorithm, curve, one integer, usage.
        let mut packet = vec![0xc5, 60, 4, 0, 0, 0, 0, 22, 2, 0x2b, 0x06, 0, 9, 1, 2];
        assert_eq!(openpgp_encrypted(&packet), None);
        packet.push(0);
        assert_eq!(openpgp_encrypted(&packet), Some(false));
        packet.pop();
        packet.push(254);
        assert_eq!(openpgp_encrypted(&packet), Some(true));
        assert_eq!(openpgp_encrypted(&[0x99, 1, 0, 4]), None, "a public key");
    }

    #[test]
    fn no_key_in_it() {
        for template in [
            "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA{{b64 48}}\n...\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nput the private key of your service account here please\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\n{{repeat A 64}}\n-----END RSA PRIVATE KEY-----",
            "{{pem CERTIFICATE}}",
            "{{pem PUBLIC KEY}}",
            "{{b64of {{pem CERTIFICATE}}}}",
        ] {
            assert!(read(template).is_err(), "{template}");
        }
    }

    #[test]
    fn bare_keys() {
        let filled = |t: &str| fill(t, "seed").expect("the template is good");
        assert!(bare(filled("{{der PKCS8}}").as_bytes()).is_ok_and(|k| !k.encrypted));
        assert!(bare(filled("{{der PKCS12}}").as_bytes()).is_ok_and(|k| k.encrypted));
        assert!(bare(filled("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A{{b64 300}}").as_bytes()).is_err());
    }

    #[test]
    fn lengths_that_lie_are_harmless() {
        for bytes in
            [&b"\x30\x84\xff\xff\xff\xff"[..], b"\x30\x80", b"\x30", b"", b"\xc5\xff\xff\xff\xff\xff\x04"]
        {
            let _ = (element(bytes), inside(bytes), openpgp_encrypted(bytes), ssh2_cipher(bytes));
        }
        for cut in 0..40 {
            let mut bytes = vec![0xff; cut];
            let _ = (element(&bytes), openpgp_encrypted(&bytes), ssh2_cipher(&bytes));
            bytes.splice(..0, *b"\x3f\x6f\xf9\xeb\0\0\0\0");
            let _ = ssh2_cipher(&bytes);
            bytes.splice(..8, *b"\xc5\x30\x04\0\0\0\0\x12");
            let _ = openpgp_encrypted(&bytes);
        }
    }
}
