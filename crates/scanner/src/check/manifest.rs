//! Entries of Kubernetes Secret manifests, which hold their values in base64.
//!
//! A value is one only below `data:` or `stringData:` of a document whose kind is Secret. So the lines around it are
//! read, by indentation, as far as needed; YAML and indented JSON look alike there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use zeroize::Zeroizing;

use super::{Candidate, Weight, embedded, entropy, private_key};

/// How far up and down a document is read, in bytes.
const DOCUMENT: usize = 32 * 1024;

/// Keys whose values are no secrets, by their last word.
const OPEN: &[&str] = &[
    "user",
    "username",
    "host",
    "hostname",
    "port",
    "database",
    "dbname",
    "db",
    "name",
    "email",
    "url",
    "endpoint",
    "region",
    "bucket",
    "namespace",
    "crt",
    "cert",
    "cer",
    "ca",
    "pub",
    "public",
    "type",
    "kind",
    "version",
    "id",
    "login",
    "schema",
    "enabled",
    "issuer",
];

/// Judges one `key: value` line of a Secret; the candidate's `name` is the key.
pub(crate) fn kubernetes_secret(c: &Candidate<'_>) -> Result<Weight, &'static str> {
    let (parent, document) = surroundings(c.text, c.line.start).ok_or("not below a key of a manifest")?;
    if !is_secret(document) {
        return Err("the document's kind is not Secret");
    }
    let value = &c.text[c.span.clone()];
    let name = c.name.clone().map(|name| c.text[name].to_ascii_lowercase()).unwrap_or_default();
    let last = name.rsplit(|b| !b.is_ascii_alphanumeric()).next().unwrap_or_default();
    if OPEN.iter().any(|w| last == w.as_bytes()) {
        return Err("its key names something public");
    }
    match parent {
        b"stringData" => embedded::weigh(value, None, c.file),
        b"data" => {
            let inner = STANDARD.decode(value).map_err(|_| "no base64")?;
            encoded(&Zeroizing::new(inner), c)
        }
        _ => Err("not below `data:` or `stringData:`"),
    }
}

/// Judges what was in the base64.
fn encoded(inner: &[u8], c: &Candidate<'_>) -> Result<Weight, &'static str> {
    let inner = inner.trim_ascii();
    if memmem::find(inner, b"-----BEGIN").is_some() {
        return private_key::armoured(inner).map(|key| key.weight);
    }
    let text = inner.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
    if !text {
        // Random bytes: an encryption key. A short one is no base64 at all, but a word that looks so.
        let random = inner.len() >= 16 && entropy::shannon(inner) >= 3.5;
        return if random { Ok(Weight::Fair("bytes of unknown meaning")) } else { Err("no text inside") };
    }
    if inner.contains(&b'\n') || inner.starts_with(b"{") {
        let lower = inner.to_ascii_lowercase();
        let speaks = ["password", "secret", "token", "\"auth\"", "private_key", "apikey", "api_key"]
            .iter()
            .any(|word| memmem::find(&lower, word.as_bytes()).is_some());
        return if speaks {
            Ok(Weight::Fair("a whole file"))
        } else {
            Ok(Weight::Weak("a whole file, without a word for a secret"))
        };
    }
    embedded::weigh(inner, None, c.file)
}

/// The key under which the line stands, and the document around it.
fn surroundings(text: &[u8], line: usize) -> Option<(&[u8], &[u8])> {
    let low = line.saturating_sub(DOCUMENT);
    let high = (line + DOCUMENT).min(text.len());
    let start = memmem::rfind(&text[low..line], b"\n---").map_or(low, |i| low + i + 4);
    let end = memmem::find(&text[line..high], b"\n---").map_or(high, |i| line + i);
    let own = indentation(&text[line..]);
    let parent = text[start..line]
        .rsplit(|b| *b == b'\n')
        .filter(|l| !l.trim_ascii().is_empty() && !l.trim_ascii().starts_with(b"#"))
        .find(|l| indentation(l) < own)?;
    let key = parent.trim_ascii().strip_suffix(b"{").unwrap_or(parent).trim_ascii();
    let key = key.strip_suffix(b":")?.trim_ascii();
    Some((key.strip_prefix(b"\"").and_then(|k| k.strip_suffix(b"\"")).unwrap_or(key), &text[start..end]))
}

fn indentation(line: &[u8]) -> usize {
    line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

fn is_secret(document: &[u8]) -> bool {
    memmem::find_iter(document, b"kind").any(|at| {
        let rest = document[at + 4..].iter().skip_while(|b| matches!(b, b'"' | b'\'' | b':' | b' ')).take(7);
        let word: Vec<u8> = rest.copied().collect();
        word.starts_with(b"Secret") && !word.get(6).is_some_and(u8::is_ascii_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::file_kind::FileKind;
    use crate::rule::{Confidence, fill};

    fn judged(template: &str) -> Result<Weight, &'static str> {
        let marked = fill(template, "seed").expect("the template is good");
        let start = marked.find('§').expect("the sample marks the value");
        let text = marked.replace('§', "");
        let end = text[start..].find(['\n', '"']).map_or(text.len(), |i| start + i);
        let line = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let key = text[line..start].find(|b: char| b.is_ascii_alphanumeric()).map_or(line, |i| line + i);
        let key_end = text[key..].find([':', '"']).map_or(start, |i| key + i);
        kubernetes_secret(&Candidate {
            text: text.as_bytes(),
            span: start..end,
            name: Some(key..key_end),
            line: line..end,
            file: FileKind::default(),
            confidence: Confidence::High,
            now: 0,
        })
    }

    #[test]
    fn values_below_data_of_a_secret() {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\ndata:\n  a: Yg==\n";
        assert_eq!(
            judged(&format!("{secret}  password: §{{{{b64of kX9vQ2mZ7pLw4RtY}}}}\n")),
            Ok(Weight::Strong)
        );
        assert!(judged(&format!("{secret}  username: §{{{{b64of kX9vQ2mZ7pLw4RtY}}}}\n")).is_err());
        assert!(judged(&format!("{secret}  tls.key: §{{{{b64of {{{{pem PRIVATE KEY}}}}}}}}\n")).is_ok());
        assert!(judged(&format!("{secret}  k: §{{{{b64of changeme}}}}\n")).is_err());
        assert!(judged("kind: ConfigMap\ndata:\n  password: §{{b64of kX9vQ2mZ7pLw4RtY}}\n").is_err());
        assert!(judged("kind: SecretStore\ndata:\n  password: §{{b64of kX9vQ2mZ7pLw4RtY}}\n").is_err());
        assert!(
            judged("kind: Secret\n---\nkind: ConfigMap\ndata:\n  p: §{{b64of kX9vQ2mZ7pLw4RtY}}\n").is_err()
        );
        assert!(judged("kind: Secret\nmetadata:\n  name: §{{b64of kX9vQ2mZ7pLw4RtY}}\n").is_err());
        assert_eq!(judged("stringData:\n  pw: §kX9vQ2mZ7pLw4RtY\nkind: Secret\n"), Ok(Weight::Strong));
        let json =
            "{\n  \"kind\": \"Secret\",\n  \"data\": {\n    \"pw\": \"§{{b64of kX9vQ2mZ7pLw4RtY}}\"\n  }\n}";
        assert_eq!(judged(json), Ok(Weight::Strong));
    }
}
