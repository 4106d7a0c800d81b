//! Words, identifiers made of words, and what everybody writes where no secret is needed.

use crate::check::entropy;

/// Words that are values of types, settings and form fields, and never secrets.
#[rustfmt::skip]
const PLAIN: &[&str] = &[
    "true", "false", "null", "nil", "none", "undefined", "string", "str", "text", "bool", "boolean", "int",
    "integer", "number", "bytes", "object", "required", "optional", "disabled", "enabled", "default",
    "unset", "unknown", "empty", "hidden", "utf8", "utf", "base64", "hex", "ascii", "latin1", "binary", "scram", "input", "bearer", "basic", "oauth", "oauth2", "header", "query",
    "cookie", "session", "auto", "any", "all", "yes", "no", "on", "off", "n/a", "env", "file", "vault",
    "prompt", "interactive", "masked", "encrypted", "plain", "hash", "sha256", "sha512", "md5", "bcrypt",
    "aes", "rsa", "hmac", "jwt", "saml", "ldap", "kerberos", "token", "tokens", "password", "passwords",
    "passwd", "passphrase", "pwd", "pass", "secret", "secrets", "key", "keys", "apikey", "credential",
    "credentials", "username", "user", "login", "email", "e-mail", "name", "value", "values", "id", "type",
    "authorization", "auth", "authentication", "access", "refresh", "client", "server", "api",
    "application", "web", "new", "old", "current", "confirm", "private", "public", "my", "the", "your",
    "some", "an", "a", "here", "this", "that", "is", "not", "set", "get", "reset", "change", "forgot",
    "update", "save", "invalid", "wrong", "incorrect", "missing", "repeat", "again",
];

pub(in crate::check) fn word_says_no(value: &[u8], name: &[u8]) -> Option<&'static str> {
    let lower = value.to_ascii_lowercase();
    let letters = |t: &[u8]| -> Vec<u8> { t.iter().copied().filter(u8::is_ascii_alphanumeric).collect() };
    if !name.is_empty() && letters(&lower) == letters(name) {
        return Some("it repeats its name");
    }
    let mut parts = split_words(value);
    if !parts.is_empty() && parts.all(|part| PLAIN.iter().any(|w| part.eq_ignore_ascii_case(w.as_bytes()))) {
        return Some("a word for a secret, not one");
    }
    None
}

/// The words of `snake_case`, `kebab-case`, `dotted.names` and `camelCase`.
pub(super) fn split_words(value: &[u8]) -> Words<'_> {
    Words { rest: value }
}

pub(super) struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let skip = self.rest.iter().position(|b| b.is_ascii_alphanumeric())?;
        let text = &self.rest[skip..];
        let end = (1..text.len())
            .find(|&i| {
                !text[i].is_ascii_alphanumeric()
                    || text[i].is_ascii_uppercase() && !text[i - 1].is_ascii_uppercase()
            })
            .unwrap_or(text.len());
        self.rest = &text[end..];
        Some(&text[..end])
    }
}

/// Whether the text reads like a word or an identifier made of words.
pub(super) fn is_wordy(text: &[u8]) -> bool {
    let digits = text.iter().filter(|b| b.is_ascii_digit()).count();
    if digits * 5 > text.len() {
        return false;
    }
    text.len() <= 3 || entropy::wordiness(text).is_some_and(|w| w >= 0.72)
}

/// Whether the text is an identifier of words as programmers write them: no digits inside words, humps or separators
/// at most every few letters.
pub(in crate::check) fn is_identifier(value: &[u8]) -> bool {
    let shape = value.iter().all(|b| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'/' | b' ' | b'$' | b'@')
    });
    if !shape {
        return false;
    }
    let (mut count, mut letters, mut digits) = (0, 0, 0);
    for word in split_words(value) {
        let word_digits = word.iter().filter(|b| b.is_ascii_digit()).count();
        // Digits at the end of a word are a version (`oauth2`); elsewhere they are noise.
        if word_digits > 0 && !word[word.len() - word_digits..].iter().all(u8::is_ascii_digit) {
            return false;
        }
        count += 1;
        letters += word.len() - word_digits;
        digits += word_digits;
    }
    count > 0
        && letters / count >= 3
        && digits <= 3
        && digits * 4 <= letters
        && entropy::wordiness(value).is_none_or(|w| w >= 0.70)
}

/// `test1234`, `password1`, `secret123`, `admin`: what everybody writes where no secret is needed.
pub(in crate::check) fn is_dull(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    is_dull_word(&lower) || lower.iter().any(u8::is_ascii_alphabetic) && is_dull_word(&undo_leet(&lower))
}

/// `p4ssw0rd` and the like, as words.
fn undo_leet(lower: &[u8]) -> Vec<u8> {
    let plain = |b: u8| match b {
        b'4' | b'@' => b'a',
        b'3' => b'e',
        b'1' => b'i',
        b'0' => b'o',
        b'5' | b'$' => b's',
        _ => b,
    };
    let end = lower.iter().rposition(u8::is_ascii_alphabetic).map_or(0, |i| i + 1);
    lower[..end].iter().copied().map(plain).collect()
}

fn is_dull_word(lower: &[u8]) -> bool {
    let core: &[u8] = {
        let end = lower.iter().rposition(|b| b.is_ascii_alphabetic()).map_or(0, |i| i + 1);
        &lower[..end]
    };
    let dull = [
        "test",
        "password",
        "passwd",
        "secret",
        "admin",
        "root",
        "user",
        "guest",
        "pass",
        "pw",
        "foo",
        "bar",
        "baz",
        "demo",
        "default",
        "abc",
        "mypassword",
        "mypass",
        "mysecret",
        "somepassword",
        "testpassword",
        "testpass",
        "password-",
        "hello",
        "temp",
        "token",
        "key",
        "supersecret",
        "hunter",
        "dummy",
        "username",
        "newpassword",
        "oldpassword",
        "wrongpassword",
        "badpassword",
        "invalid",
        "correct",
        "secretpassword",
        "secretpass",
    ];
    core.is_empty() && lower.len() < 8
        || dull.iter().any(|w| core == w.as_bytes())
        || ["test", "dummy", "fake", "mock", "sample", "wrong", "invalid"]
            .iter()
            .any(|w| core.starts_with(w.as_bytes()) || core.ends_with(w.as_bytes()))
}

/// Whether the value looks chosen or made to be secret, where its place alone does not say so: letters with digits or
/// punctuation among them, and no name or version.
pub(in crate::check) fn looks_chosen(value: &[u8]) -> bool {
    let letters = value.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let marks = value.iter().filter(|b| b"!@#$%^&*+?~".contains(b)).count();
    let brackets = value.iter().any(|b| b"()[]{}<>,;\"'`\\|".contains(b));
    (6..=128).contains(&value.len())
        && letters >= 3
        && (digits >= 2 || digits >= 1 && marks >= 1)
        && !brackets
        && !is_identifier(value)
        && !is_dull(value)
}
