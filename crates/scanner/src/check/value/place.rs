//! What stands around a name and its value.

use std::ops::Range;

use super::name::is_hash_name;
use super::words::looks_chosen;
use crate::check::Candidate;
use crate::check::file_kind::{FileKind, Syntax};

/// How far around a lone `key` a word for cryptography or an API is looked for, in bytes.
const NEAR_KEY: usize = 160;

/// What stands between the name and the value, and around them.
pub(super) fn says_no(c: &Candidate<'_>, value: &Range<usize>, name: &[u8]) -> Option<&'static str> {
    if name.ends_with(b"salt") && is_own_salt(c) {
        return Some("the salt of fingerprints, which is public");
    }
    let name_span = c.name.clone()?;
    let before = &c.text[..name_span.start];
    // `AWS::SecretsManager::Secret`: a type.
    if before.ends_with(b"::") {
        return Some("its name is a type");
    }
    // `arn:aws:...:secret:x`, but Ruby's `:secret`.
    if before
        .strip_suffix(b":")
        .is_some_and(|rest| rest.last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'}'))
    {
        return Some("part of a longer name");
    }
    if in_query(before) && memchr::memmem::find(address_before(before), b".svg?").is_some() {
        return Some("the token of a badge");
    }
    if &c.text[name_span.clone()] == b"PASS" && c.text[name_span.end..].starts_with(b":") {
        return Some("the result of a test");
    }
    if before.ends_with(b"/") && is_hash_name(&word_before(before).to_ascii_lowercase()) {
        return Some("a hash of a file");
    }
    if matches!(name, b"key" | b"keys") && !is_about_keys(c, value) {
        return Some("a key of something else");
    }
    let between = &c.text[name_span.end..value.start.max(name_span.end)];
    let separator = between.iter().copied().find(|b| matches!(b, b'=' | b':' | b',' | b'(' | b'>'))?;
    match separator {
        b',' if memchr::memmem::find(between, b"efault").is_some() => None,
        b',' => in_list(c, value, before, between),
        b'(' if !between.starts_with(b".") => call_says_no(name),
        _ => None,
    }
}

/// The word that ends here, with slashes and dots.
fn word_before(text: &[u8]) -> &[u8] {
    let start = text.len().saturating_sub(48);
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    &text[text[start..].iter().rposition(|b| !word(b)).map_or(start, |i| start + i + 1)..]
}

/// The address that ends here, as far as it has no space or quote.
fn address_before(text: &[u8]) -> &[u8] {
    let start = text.len().saturating_sub(256);
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'(' | b'<');
    &text[text[start..].iter().rposition(ends).map_or(start, |i| start + i + 1)..]
}

/// `("password", "x")` sets one; `["password", "x"]` lists names, `from(password, "utf8")` says how to read one.
fn in_list(
    c: &Candidate<'_>,
    value: &Range<usize>,
    before_name: &[u8],
    between: &[u8],
) -> Option<&'static str> {
    let chosen = looks_chosen(&c.text[value.clone()]);
    let is_name_whole = match between.first() {
        Some(quote @ (b'"' | b'\'' | b'`')) => {
            before_name.ends_with(b"=")
                || before_name.iter().rfind(|b| !b"-#.".contains(b)).is_some_and(|b| b == quote)
        }
        _ => chosen || [&b"cmp("[..], b"quals(", b"ompare("].iter().any(|call| before_name.ends_with(call)),
    };
    let rest = c.text.get(value.end..).unwrap_or_default();
    match rest.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\\' | b'"' | b'\'' | b'`')) {
        _ if !is_name_whole => Some("an entry of a list"),
        Some(b')' | b'}' | b';') => None,
        None | Some(b'\n' | b'\r') => None,
        Some(b',') if chosen && is_argument(before_name) => None,
        _ => Some("an entry of a list"),
    }
}

/// Whether the text ends among the first arguments of a call.
fn is_argument(before: &[u8]) -> bool {
    let recent = &before[before.len().saturating_sub(64)..];
    let open = recent.iter().rposition(|b| matches!(b, b'(' | b'[' | b'{' | b'\n'));
    open.is_some_and(|at| recent[at] == b'(')
}

/// A call that sets a secret has the secret's name at the end of its own, and no word that asks for it before.
fn call_says_no(name: &[u8]) -> Option<&'static str> {
    let compared =
        [&b".equals"[..], b".equalsignorecase", b".compareto"].iter().find_map(|m| name.strip_suffix(*m));
    let method = compared.unwrap_or(name).rsplit(|b| *b == b'.').next().unwrap_or_default();
    let sets = ["password", "passwd", "passphrase", "secret", "token", "key", "credential", "credentials"]
        .iter()
        .any(|word| method.ends_with(word.as_bytes()));
    let asks = [
        "get", "find", "read", "fetch", "has", "is", "check", "verify", "validate", "reset", "delete", "by",
        "from", "should", "expect", "describe", "it",
    ]
    .iter()
    .any(|word| method.starts_with(word.as_bytes()));
    (!sets || asks).then_some("the argument of a call that sets no secret")
}

/// Whether something near says that a lone `key` opens, signs or encrypts.
fn is_about_keys(c: &Candidate<'_>, value: &Range<usize>) -> bool {
    let start = value.start.saturating_sub(NEAR_KEY);
    let end = (value.end + NEAR_KEY).min(c.text.len());
    let around = [&c.text[start..value.start], b" ", &c.text[value.end..end]].concat().to_ascii_lowercase();
    [
        "crypt",
        "cipher",
        "\"aes",
        "hmac",
        "jwt",
        "secret",
        "signing",
        "signature",
        "api.",
        "apikey",
        "api_key",
        "getbytes",
    ]
    .iter()
    .any(|word| memchr::memmem::find(&around, word.as_bytes()).is_some())
}

/// `?name=` and `&name=`: a parameter of an address.
pub(super) fn in_query(before_name: &[u8]) -> bool {
    before_name.ends_with(b"?") || before_name.ends_with(b"&") || before_name.ends_with(b"&amp;")
}

/// Whether the text from the line's start to a name ends in a comment.
pub(super) fn in_comment(file: FileKind, before_name: &[u8]) -> bool {
    if file.syntax == Syntax::Unknown {
        return false;
    }
    let line = before_name.trim_ascii_start();
    let opens = |mark: &str| line.starts_with(mark.as_bytes());
    let hash = matches!(file.syntax, Syntax::Code | Syntax::Data);
    if ["//", "/*", "* ", "--", "<!--", ";;"].iter().any(|mark| opens(mark)) || hash && opens("#") {
        return !opens("#define") && !opens("--password");
    }
    [&b" // "[..], b" # ", b"\t// ", b";  //", b" <!-- "]
        .iter()
        .any(|mark| memchr::memmem::find(line, mark).is_some())
}

/// Whether this is the salt of our own baselines, configuration and ignore files: it stands beside what it salts.
fn is_own_salt(c: &Candidate<'_>) -> bool {
    let Some(name) = &c.name else { return false };
    let before = &c.text[name.start.saturating_sub(64)..name.start];
    let last = before.trim_ascii_end().strip_suffix(b"\"").unwrap_or(before).trim_ascii_end();
    let last = last.strip_suffix(b"{").unwrap_or(last).trim_ascii_end();
    let is_setting = last.ends_with(b"fingerprint:");
    let is_marker = c.text[name.clone()].ends_with(b"claviger:salt");
    let is_baseline = c.text.starts_with(b"{\n\"version\":")
        && memchr::memmem::find(&c.text[..c.text.len().min(256)], b"\"findings\": [").is_some();
    is_setting || is_marker || is_baseline
}
