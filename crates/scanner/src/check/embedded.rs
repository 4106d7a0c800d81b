//! Passwords inside a larger format: a URL, a connection string, a command line, a credential file.
//!
//! The pattern of such a rule knows where the value begins and ends and that a password belongs there. What is left to
//! ask: is it a password, or what stands in its place in code and documentation? The user and the host beside it help.

use std::borrow::Cow;

use super::file_kind::FileKind;
use super::{Candidate, Weight, entropy, placeholder, value};

/// Longest value in bytes.
const MAX_VALUE: usize = 4096;
/// How far from a password its host is looked for, in bytes.
const NEAR: usize = 256;

/// Judges the secret of a candidate; its `name` is the user, where the format has one.
pub(crate) fn judge(c: &Candidate<'_>) -> Result<Weight, &'static str> {
    let secret = percent_decoded(&c.text[c.span.clone()]);
    let user = c.name.clone().map(|name| &c.text[name]);
    let weight = weigh(&secret, user, c.file)?;
    Ok(match host(&c.text[c.span.end..]).or_else(|| server(c)) {
        Some(host) => at_host(weight, host),
        None => weight,
    })
}

/// Judges a password by itself, by its user and by the kind of file.
pub(crate) fn weigh(value: &[u8], user: Option<&[u8]>, file: FileKind) -> Result<Weight, &'static str> {
    if value.len() > MAX_VALUE {
        return Err("too long for a password");
    }
    if let Some(why) = no_password(value).or_else(|| placeholder::reason(value)) {
        return Err(why);
    }
    if file.is_locale {
        return Err("a text for people");
    }
    if let Some(why) = weak(value, user.unwrap_or_default()) {
        return Ok(Weight::Weak(why));
    }
    if is_strong(value) {
        return Ok(Weight::Strong);
    }
    if file.is_test || file.is_doc && !value::looks_chosen(value) {
        return Ok(Weight::Weak("a simple value in a test or in documentation"));
    }
    Ok(Weight::Fair("a simple value"))
}

/// What stands for a password: a reference, a name, a pattern, a word for it.
fn no_password(value: &[u8]) -> Option<&'static str> {
    if !value.iter().any(u8::is_ascii_alphanumeric) {
        return Some("no letters and no digits");
    }
    if value.len() < 3 {
        return Some("too short");
    }
    if value.iter().any(u8::is_ascii_control) {
        return Some("control characters");
    }
    if value::is_reference(value) || is_variable(value) {
        return Some("a reference to a value elsewhere");
    }
    if value::word_says_no(value, b"").is_some() || is_constant_name(value) {
        return Some("a word for a secret, not one");
    }
    let marks: [&[u8]; 10] =
        [b"...", b"[^", b".*", b".+", b"\\w", b"\\d", b"\\s", b"(?", b"***", "…".as_bytes()];
    marks.iter().any(|mark| memchr::memmem::find(value, mark).is_some()).then_some("left out, or a pattern")
}

/// `$name`, `:name`, `{name`, `<name`, `@name@`, `%name%`, `name}`: variables and what is left of templates.
fn is_variable(value: &[u8]) -> bool {
    let word = |text: &[u8]| {
        text.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
            && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b' '))
    };
    match value {
        [b'$' | b'{' | b'<' | b'[', rest @ ..] if word(rest) => true,
        [b'$', b'{' | b'(' | b'$', ..] | [b'{', b'{' | b'%', ..] | [b'<', b'%' | b'?', ..] => true,
        [rest @ .., b'}' | b'>' | b')' | b']'] if word(rest) => true,
        [b'{', rest @ .., b'}'] | [b'<', rest @ .., b'>'] | [b'[', rest @ .., b']'] => word(rest),
        _ => false,
    }
}

/// `PASSWORD`, `DB_PASS`, `YOUR_SECRET`: capitals that say what should stand here.
fn is_constant_name(value: &[u8]) -> bool {
    let shape = value.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-' | b' '));
    let word =
        ["PASS", "PWD", "PSW", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "VALUE", "HERE", "YOUR", "STRING"];
    shape && word.iter().any(|w| memchr::memmem::find(value, w.as_bytes()).is_some())
}

/// What tests, tutorials and default installations have.
fn weak(value: &[u8], user: &[u8]) -> Option<&'static str> {
    let lower = value.to_ascii_lowercase();
    let letters_end = lower.iter().rposition(|b| !b.is_ascii_digit() && *b != b'!').map_or(0, |i| i + 1);
    if !user.is_empty()
        && (value.eq_ignore_ascii_case(user) || lower[..letters_end].eq_ignore_ascii_case(user))
    {
        return Some("it repeats the user");
    }
    if value::is_dull(value) {
        return Some("a value as tests and documentation have it");
    }
    if value.len() < 5 {
        return Some("very short");
    }
    if value.iter().all(|b| b.is_ascii_digit() || b.is_ascii_punctuation()) && value.len() < 8 {
        return Some("a short number");
    }
    let speaks =
        ["password", "passwd", "passwort", "changeit", "letmein", "qwerty", "secret", "hunter2", "123456"]
            .iter()
            .any(|word| memchr::memmem::find(&lower, word.as_bytes()).is_some());
    if speaks && value.len() < 20 {
        return Some("a value as tests and documentation have it");
    }
    // `tiger_Lily88`, `tiger_lily88`: words, but put together as people put passwords together.
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let composed = (entropy::classes(value) >= 3 || digits >= 2) && value.len() >= 8;
    if !composed && (value::is_identifier(value) || is_word(value)) {
        return Some("a plain word");
    }
    None
}

/// Letters alone, and such as follow each other in words.
fn is_word(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_alphabetic)
        && (value.len() <= 6 || entropy::wordiness(value).is_none_or(|w| w >= 0.7))
}

/// Whether the value looks made by a machine or chosen with care.
fn is_strong(value: &[u8]) -> bool {
    let head = &value[..value.len().min(256)];
    let digits = head.iter().filter(|b| b.is_ascii_digit()).count();
    let marks = head.iter().filter(|b| b.is_ascii_punctuation()).count();
    let kinds = entropy::classes(head) + u32::from(marks > 0);
    if head.len() >= 16 {
        return kinds >= 2 && entropy::shannon(head) >= 3.0;
    }
    head.len() >= 8 && kinds >= 3 && digits + marks >= 2 && entropy::shannon(head) >= 2.7
}

/// The host behind an `@`.
fn host(after: &[u8]) -> Option<&[u8]> {
    let rest = after.strip_prefix(b"@")?;
    let rest = rest.strip_prefix(b"tcp(").unwrap_or(rest);
    let end = |b: &u8| {
        !(b.is_ascii_alphanumeric()
            || matches!(b, b'.' | b'-' | b'_' | b'$' | b'{' | b'}' | b'<' | b'>' | b'%'))
    };
    let length = rest.iter().take(256).position(end).unwrap_or(rest.len().min(256));
    Some(&rest[..length])
}

/// The host that a connection string names elsewhere: `Server=`, `//host`.
fn server<'a>(c: &Candidate<'a>) -> Option<&'a [u8]> {
    let start = c.line.start.max(c.span.start.saturating_sub(NEAR));
    let end = c.line.end.min(c.span.end + NEAR).max(c.span.end);
    let lower = c.text[start..end].to_ascii_lowercase();
    let keys: [&[u8]; 6] = [b"server=", b"data source=", b"host=", b"hostaddr=", b"address=", b"://"];
    let at = keys.iter().find_map(|key| memchr::memmem::find(&lower, key).map(|at| at + key.len()))?;
    let rest = &c.text[start + at..end];
    let rest = rest.strip_prefix(b"tcp:").unwrap_or(rest);
    let ends =
        |b: &u8| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$' | b'{' | b'<' | b'%'));
    let length = rest.iter().position(ends).unwrap_or(rest.len());
    (length > 0).then(|| &rest[..length])
}

/// Hosts that stand for any host.
const ANY_HOST: &[&str] = &[
    "host",
    "hostname",
    "myhost",
    "yourhost",
    "somehost",
    "server",
    "myserver",
    "yourserver",
    "servername",
    "domain",
    "domain.com",
    "domain.tld",
    "mydomain.com",
    "yourdomain.com",
    "server.com",
    "test.com",
    "foo.com",
    "bar.com",
    "foo",
    "bar",
    "site.com",
    "address",
    "ip",
    "ipaddress",
    "url",
    "endpoint",
    "proxy",
    "proxyserver",
    "myproxy",
    "proxy.com",
    "a.com",
    "b.com",
    "abc.com",
    "xyz.com",
    "foo.bar",
    "company.com",
    "mycompany.com",
    "yourcompany.com",
    "acme.com",
    "somewhere",
    "somewhere.com",
    "google.com",
    "www.google.com",
    "x",
    "h",
    "test",
    "fake",
];

/// A documentation host makes any password a sample; a host that stands for any one needs a strong password to be worth
/// a look, a local one a good one.
fn at_host(weight: Weight, host: &[u8]) -> Weight {
    let lower = host.to_ascii_lowercase();
    let reserved = ["example.com", "example.org", "example.net", "example", "invalid", "test", "fake"]
        .iter()
        .any(|name| {
            lower
                .strip_suffix(name.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with(b".") || rest.ends_with(b"-"))
        });
    if reserved || lower.starts_with(b"example.") {
        return Weight::Weak("at a host as documentation has it");
    }
    if ANY_HOST.iter().any(|h| lower == h.as_bytes()) {
        let why = "at a host that stands for any host";
        return if weight == Weight::Strong { Weight::Fair(why) } else { Weight::Weak(why) };
    }
    let local =
        ["localhost", "127.0.0.1", "0.0.0.0", "host.docker.internal"].iter().any(|h| lower == h.as_bytes());
    let open = matches!(lower.first(), None | Some(b'$' | b'{' | b'<' | b'%'));
    match weight {
        Weight::Fair(_) if local => Weight::Weak("a simple password of a local service"),
        Weight::Fair(_) if open => Weight::Weak("a simple password at a host filled in later"),
        other => other,
    }
}

/// `%40` as `@`; anything else as it is.
fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Confidence;

    fn judged(user: &str, password: &str, host: &str) -> &'static str {
        let text = format!("{user}:{password}@{host}/db");
        let start = user.len() + 1;
        let candidate = Candidate {
            text: text.as_bytes(),
            span: start..start + password.len(),
            name: Some(0..user.len()),
            line: 0..text.len(),
            file: FileKind::default(),
            confidence: Confidence::High,
            now: 0,
        };
        match judge(&candidate) {
            Err(_) => "drop",
            Ok(Weight::Weak(_)) => "weak",
            Ok(Weight::Fair(_)) => "fair",
            Ok(Weight::Strong) => "strong",
        }
    }

    #[test]
    fn passwords_in_urls() {
        for (user, password, host, want) in [
            ("app", "kX9vQ2mZ7pLw", "db.corp.net", "strong"),
            ("app", "Tr0ub4dor%263", "db.corp.net", "strong"),
            ("app", "hop4wave", "db.corp.net", "fair"),
            ("app", "hop4wave", "localhost", "weak"),
            ("app", "hop4wave", "${HOST}", "weak"),
            ("app", "kX9vQ2mZ7pLw", "localhost", "strong"),
            ("app", "kX9vQ2mZ7pLw", "www.example.com", "weak"),
            ("app", "kX9vQ2mZ7pLw", "host", "fair"),
            ("app", "hop4wave", "host", "weak"),
            ("app", "tiger_lily88", "db.corp.net", "strong"),
            ("app", "db_pass1", "db.corp.net", "weak"),
            ("postgres", "postgres", "db", "weak"),
            ("admin", "Admin123", "db", "weak"),
            ("root", "p4ssw0rd", "10.0.0.4", "weak"),
            ("joe", "letmein", "10.0.0.4", "weak"),
            ("user", "password", "host", "drop"),
            ("user", "passwd", "localhost", "drop"),
            ("user", "%s", "localhost", "drop"),
            ("user", "${PASS}", "localhost", "drop"),
            ("user", "$pass1", "localhost", "drop"),
            ("user", "{pw}", "localhost", "drop"),
            ("user", "<pw>", "localhost", "drop"),
            ("USER", "DB_PASSWORD", "localhost", "drop"),
            ("user", "***", "localhost", "drop"),
            ("(.*)", "(.*)", "(.*)", "drop"),
        ] {
            assert_eq!(judged(user, password, host), want, "{user}:{password}@{host}");
        }
    }

    #[test]
    fn hostile_values_end() {
        let _ = judged("", &"%".repeat(9000), "");
        let _ = judged("", &"%4".repeat(2000), "x");
        assert_eq!(percent_decoded(b"a%40b%zz%4"), &b"a@b%zz%4"[..]);
    }
}
