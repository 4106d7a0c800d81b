//! Whether a value, all else being right, is a password or a token.

use super::extent::Quoting;
use super::name::{is_hash_name, is_sure, keys_something, name_is_plain};
use super::shape::{is_noise, is_number_like, is_public_form, is_uuid};
use super::words::{is_dull, is_identifier, looks_chosen, split_words};
use crate::check::{Candidate, entropy};

/// A value that a person chose: keep what has digits or punctuation, doubt plain words.
pub(super) fn password(
    value: &[u8],
    quoting: Quoting,
    c: &Candidate<'_>,
) -> Result<Option<&'static str>, &'static str> {
    let least = if quoting == Quoting::Quoted { 4 } else { 5 };
    if value.len() < least {
        return Err("too short");
    }
    if value.len() > 128 {
        return Err("too long for a password");
    }
    if value.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':' | b'-')) && value.len() < 5 {
        return Err("a number");
    }
    if is_number_like(value) && value.iter().any(|b| !b.is_ascii_digit()) {
        return Err("a number, date or version");
    }
    let digits = value.iter().any(u8::is_ascii_digit);
    let punctuation = value.iter().any(|b| b.is_ascii_punctuation() && !matches!(b, b'_' | b'-' | b'.'));
    let is_short_word = value.len() <= 6 && value.iter().all(u8::is_ascii_lowercase);
    if !digits && !punctuation && (is_identifier(value) || is_short_word) {
        let single_lower = value.iter().all(u8::is_ascii_lowercase);
        let several = split_words(value).count() > 1;
        return if several || !single_lower { Err("an identifier") } else { Ok(Some("a plain word")) };
    }
    // `Win32_System`: numbers at the end are chosen, numbers inside are part of a name.
    let is_name =
        |word_letters| is_identifier(value) && value.len() >= word_letters * split_words(value).count();
    if digits && !punctuation && !value.last().is_some_and(u8::is_ascii_digit) && is_name(5) {
        return Err("an identifier");
    }
    if is_uuid(value) {
        return Ok(Some("a UUID"));
    }
    let strong = entropy::classes(value) == 3 && punctuation;
    if !strong && (is_dull(value) || speaks_of_itself(value)) {
        return Ok(Some("a value as tests and documentation have it"));
    }
    if (c.file.is_test || c.file.is_doc)
        && entropy::classes(value) < 3
        && value.len() < 12
        && !is_mixed(value)
    {
        return Ok(Some("a simple value in a test or in documentation"));
    }
    if value.iter().all(u8::is_ascii_digit) && value.len() < 8 {
        return Ok(Some("a short number"));
    }
    Ok(None)
}

/// A value in a sentence: only what no word and no name looks like.
pub(super) fn told(value: &[u8], c: &Candidate<'_>) -> Result<Option<&'static str>, &'static str> {
    if looks_chosen(value) { password(value, Quoting::Quoted, c) } else { Err("a word of a sentence") }
}

/// A value that a machine made: long, mixed, no words.
pub(super) fn token(
    value: &[u8],
    name: &[u8],
    quoting: Quoting,
    c: &Candidate<'_>,
) -> Result<Option<&'static str>, &'static str> {
    if value.len() < 8 {
        return Err("too short for a token");
    }
    if name.ends_with(b"secret_key") && is_escaped_bytes(value) {
        return Ok(None);
    }
    if name.ends_with(b"secret") && value.len() < 16 && looks_chosen(value) {
        return password(value, quoting, c);
    }
    if !value.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=_-.~:@!$%^*#&|?".contains(b))
        && !is_noise(value)
    {
        return Err("characters that tokens do not have");
    }
    if is_identifier(value) {
        return Err("an identifier");
    }
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    if is_public_form(value) {
        return Err("a public value by its prefix");
    }
    if is_number_like(value) || is_numbered(value) {
        return Err("a number, date or version");
    }
    let bits = entropy::shannon(value);
    if is_uuid(value) {
        return Ok((!is_sure(name) || c.file.is_test).then_some("a UUID"));
    }
    if is_fingerprint(value, name) {
        return Err("the fingerprint of a key");
    }
    if c.file.is_test && (matches!(name, b"key" | b"keys") || name.ends_with(b"salt")) {
        return Ok(Some("a key or a salt in a test"));
    }
    if c.file.is_lock || is_hash_name(name) {
        return Err("a hash of a file");
    }
    if value.len() < 16 {
        return short_token(value, name, quoting);
    }
    if digits == 0 && (entropy::wordiness(value).is_some_and(|w| w >= 0.62) || entropy::classes(value) < 2) {
        return Err("words");
    }
    if keys_something(name) {
        return Err("the key of something else");
    }
    let hex = value.iter().all(u8::is_ascii_hexdigit);
    if !name_is_plain(name) && (value.len() < 20 || digits < 2 || !hex && entropy::classes(value) < 3) {
        return Err("its name does not say secret, and it is not random enough by itself");
    }
    let least = if hex { 2.8 } else { 3.0 };
    if bits < least {
        return Err("not random enough");
    }
    if !hex
        && digits * 8 < value.len()
        && entropy::wordiness(value).is_some_and(|w| w >= 0.75)
        && value.len() < 40
    {
        return Ok(Some("it reads like words"));
    }
    if is_dull(value) {
        return Ok(Some("a value as tests and documentation have it"));
    }
    Ok(None)
}

/// Fewer than sixteen bytes: what people choose, and what small services hand out.
fn short_token(value: &[u8], name: &[u8], quoting: Quoting) -> Result<Option<&'static str>, &'static str> {
    if !name_is_plain(name) || matches!(name, b"key" | b"keys") {
        return Err("its name does not say secret, and it is short");
    }
    if value.ends_with(b"_") || value.ends_with(b"-") {
        return Err("the beginning of a token");
    }
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let classes = entropy::classes(value);
    let random = classes >= 2 && digits >= 2 && entropy::shannon(value) >= 2.9 && value.len() >= 10;
    let chosen = is_sure(name) && classes == 3 && digits >= 1;
    if is_dull(value) {
        Err("too short and too simple for a token")
    } else if random || chosen {
        Ok(None)
    } else if quoting == Quoting::Quoted && digits > 0 {
        Ok(Some("a short value"))
    } else {
        Err("too short and too simple for a token")
    }
}

/// `generatedpassword1`: words alone, and one of them says what it is.
fn speaks_of_itself(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let end = lower.iter().rposition(u8::is_ascii_alphabetic).map_or(0, |i| i + 1);
    let digits = lower.iter().filter(|b| b.is_ascii_digit()).count();
    let words = ["password", "passwd", "secret", "anonymous", "passphrase", "credential"];
    digits <= 1
        && lower[..end].iter().all(|b| b.is_ascii_alphabetic() || b"_-.@ ".contains(b))
        && words.iter().any(|word| memchr::memmem::find(&lower, word.as_bytes()).is_some())
}

/// What names a public OpenPGP key: forty or sixteen digits of hexadecimal, in capitals.
fn is_fingerprint(value: &[u8], name: &[u8]) -> bool {
    matches!(value.len(), 16 | 40)
        && name.ends_with(b"key")
        && value.iter().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b))
        && value.iter().any(u8::is_ascii_uppercase)
}

/// Random bytes as a string literal writes them: `\\x8f{q\\xe1`.
fn is_escaped_bytes(value: &[u8]) -> bool {
    value.len() >= 12 && memchr::memmem::find_iter(value, b"\\x").count() >= 3
}

/// `evt_12345678`: what numbers things of a sort.
fn is_numbered(value: &[u8]) -> bool {
    let letters = value.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let rest = value[letters..].trim_ascii_start();
    let digits = rest.strip_prefix(b"_").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
    letters > 0 && value.len() < 24 && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Letters and digits taking turns, as words with a number behind do not.
fn is_mixed(value: &[u8]) -> bool {
    let turns = value.windows(2).filter(|w| w[0].is_ascii_digit() && w[1].is_ascii_alphabetic()).count();
    turns >= 2 && entropy::wordiness(value).is_none_or(|w| w < 0.7)
}
