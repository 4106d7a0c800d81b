//! How a value is written: a text, a reference, a path, a pattern, a name in code.

use super::extent::Quoting;
use super::words::{is_identifier, is_wordy, looks_chosen};
use crate::check::file_kind::Syntax;
use crate::check::{Candidate, entropy};

/// What the way it is written says.
pub(super) fn says_no(value: &[u8], quoting: Quoting, c: &Candidate<'_>) -> Option<&'static str> {
    if value.iter().any(|b| b.is_ascii_control()) {
        return Some("control characters");
    }
    if quoting != Quoting::Quoted && bare_is_code(value, quoting, c) {
        return Some("a name or a call in code");
    }
    if is_text(value) || c.file.is_locale {
        return Some("a text for people");
    }
    if is_reference(value) {
        return Some("a reference to a value elsewhere");
    }
    if [&b"\\n"[..], b"\\r", b"\\t"].iter().any(|escape| value.starts_with(escape)) {
        return Some("what follows on the next line");
    }
    if memchr::memmem::find(value, b"...").is_some() || memchr::memmem::find(value, "…".as_bytes()).is_some()
    {
        return Some("something is left out");
    }
    if is_path_or_url(value) {
        return Some("a path or an address");
    }
    let is_between =
        matches!(value.first(), Some(b',' | b'+' | b')')) && value.iter().any(|b| b"\"'(".contains(b));
    if is_between && !is_noise(value) {
        return Some("code between two strings");
    }
    if is_markup(value) || is_validation(value) {
        return Some("markup, a selector or a pattern");
    }
    if is_password_hash(value) {
        return Some("the hash of a password");
    }
    if quoting != Quoting::Quoted && followed_by_words(c, value.len()) {
        return Some("a sentence");
    }
    None
}

/// In code a bare word is a name; elsewhere it is one when it looks like a call or a member.
fn bare_is_code(value: &[u8], quoting: Quoting, c: &Candidate<'_>) -> bool {
    let name_like = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'_' | b'.' | b':' | b'$' | b'>' | b'-' | b'!' | b'?' | b'&' | b'*')
    };
    let open = value.iter().position(|b| *b == b'(');
    let calls = value.windows(2).any(|w| w[0] == b'(' && matches!(w[1], b')' | b'"' | b'\''))
        || open.is_some_and(|at| value[..at].iter().all(name_like));
    let indexed = memchr::memmem::find(value, b"].").is_some();
    let sets = value.strip_suffix(b"=").is_some_and(is_identifier);
    let calls = calls || indexed || sets;
    let ternary = matches!(value.first(), Some(b'(' | b'[' | b'{' | b'!'));
    if quoting == Quoting::Comment {
        return calls || ternary || !looks_chosen(value) || value.contains(&b'/') && value.len() < 32;
    }
    match c.file.syntax {
        Syntax::Code | Syntax::Data if is_shell_line(c) => calls || ternary,
        Syntax::Code | Syntax::Data => true,
        Syntax::Config | Syntax::Shell => calls || ternary,
        Syntax::Unknown => {
            calls || ternary || value.iter().all(name_like) && !value.iter().any(u8::is_ascii_digit)
        }
    }
}

/// `export NAME=value` in a file of something else: a script inside a string.
fn is_shell_line(c: &Candidate<'_>) -> bool {
    let Some(name) = &c.name else { return false };
    c.text[c.line.start.min(name.start)..name.start].trim_ascii_start() == b"export "
        && c.text[name.end..].starts_with(b"=")
}

/// `required|min:8`: rules for an input field.
fn is_validation(value: &[u8]) -> bool {
    let part = |part: &[u8]| {
        let word = part.split(|b| *b == b':').next().unwrap_or_default();
        !word.is_empty() && word.iter().all(|b| b.is_ascii_lowercase() || *b == b'_')
    };
    value.contains(&b'|') && value.split(|b| *b == b'|').all(part)
}

/// What a hash function for passwords gives.
fn is_password_hash(value: &[u8]) -> bool {
    [
        "$2a$",
        "$2b$",
        "$2y$",
        "$argon2",
        "$6$",
        "$5$",
        "$1$",
        "$apr1$",
        "$pbkdf2",
        "pbkdf2_",
        "pbkdf2:",
        "scrypt:",
        "bcrypt$",
        "bcrypt_sha256$",
        "argon2$",
        "{ssha}",
        "{ssha512}",
        "{sha}",
        "{bcrypt}",
        "{crypt}",
        "{pbkdf2}",
        "sha1$",
        "sha256$",
    ]
    .iter()
    .any(|p| value.len() >= p.len() && value[..p.len()].eq_ignore_ascii_case(p.as_bytes()))
}

/// Words with spaces between, or letters beyond ASCII as in translated texts.
pub(super) fn is_text(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return true };
    if is_app_password(value) {
        return false;
    }
    let words = text.split_whitespace().count();
    let is_word = text.chars().all(char::is_alphabetic) && !text.is_ascii();
    let foreign = text.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()).count();
    words >= 2
        && text
            .split_whitespace()
            .filter(|w| w.bytes().filter(u8::is_ascii_alphabetic).count() * 2 > w.len())
            .count()
            >= 1
        || is_word
        || foreign * 4 > text.chars().count()
        || text.ends_with("...")
        || text.ends_with('…')
        || words >= 2 && text.contains(" + ")
}

/// Google's app passwords are shown as four groups of four letters, and pasted like that.
pub(super) fn is_app_password(value: &[u8]) -> bool {
    value.len() == 19
        && value.iter().enumerate().all(|(i, b)| if i % 5 == 4 { *b == b' ' } else { b.is_ascii_lowercase() })
        && value.split(|b| *b == b' ').any(|group| !is_wordy(group))
}

/// References in the middle of the value: interpolation in any of the usual syntaxes.
pub(in crate::check) fn is_reference(value: &[u8]) -> bool {
    const SURE: &[&str] = &["${", "{{", "<%", "{0}", "{1}", "process.env", "os.environ", "secrets."];
    // Two characters that random punctuation has by chance.
    const LIKELY: &[&str] = &[
        "#{", "}}", "%(", "$(", "%s", "%d", "%v", "' +", "\" +", "'+", "\"+", "`+", "+'", "->", "::", "=>",
        "&&", "||",
    ];
    let holds =
        |marks: &[&str]| marks.iter().any(|mark| memchr::memmem::find(value, mark.as_bytes()).is_some());
    holds(SURE) || interpolates(value) || holds(LIKELY) && !is_noise(value)
}

/// Random characters of all sorts, punctuation among them: what generators of keys and passwords make.
pub(super) fn is_noise(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let mut marks: Vec<u8> = value.iter().copied().filter(u8::is_ascii_punctuation).collect();
    marks.sort_unstable();
    marks.dedup();
    value.len() >= 16
        && value.is_ascii()
        && digits >= 2
        && marks.len() >= 4
        && !value.contains(&b' ')
        && entropy::shannon(value) >= 3.6
        && entropy::wordiness(value).is_none_or(|w| w < 0.72)
}

/// `{name}` (Python, C#, Ruby) and `$name` (PHP, shell) inside.
pub(super) fn interpolates(value: &[u8]) -> bool {
    let Some(open) = value.iter().position(|b| *b == b'{') else { return false };
    let Some(length) = value[open..].iter().position(|b| *b == b'}') else { return false };
    let inner = &value[open + 1..open + length];
    length > 1
        && inner.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'_' | b'.' | b':' | b'[' | b']' | b'(' | b')' | b' ' | b'!')
        })
}

pub(super) fn is_path_or_url(value: &[u8]) -> bool {
    let starts = |p: &str| value.len() >= p.len() && value[..p.len()].eq_ignore_ascii_case(p.as_bytes());
    let address = [
        "http://",
        "https://",
        "ftp://",
        "ws://",
        "wss://",
        "file:",
        "urn:",
        "arn:",
        "mailto:",
        "./",
        "../",
        "~/",
        "c:\\",
        "/etc/",
        "/var/",
        "/run/",
        "/usr/",
        "/home/",
        "/opt/",
        "/tmp/",
        "/mnt/",
        "/api/",
        "/v1/",
        "data:",
        "jdbc:",
        "application/",
        "text/",
        "refs/",
    ]
    .iter()
    .any(|p| starts(p));
    let slashes = value.iter().filter(|b| **b == b'/').count();
    let parts_are_words = || value.split(|b| *b == b'/').all(|p| p.is_empty() || is_wordy(p));
    let extension = value.iter().rposition(|b| *b == b'.').map(|at| &value[at + 1..]);
    let is_file = extension.is_some_and(|e| {
        [
            "txt",
            "pem",
            "key",
            "crt",
            "cer",
            "json",
            "yml",
            "yaml",
            "xml",
            "p12",
            "pfx",
            "jks",
            "conf",
            "cfg",
            "ini",
            "env",
            "properties",
            "html",
            "htm",
            "php",
            "js",
            "ts",
            "py",
            "java",
            "go",
            "rb",
            "com",
            "org",
            "net",
            "io",
            "svg",
            "png",
            "jsp",
            "aspx",
            "md",
            "log",
            "gpg",
            "asc",
            "keystore",
            "dev",
            "local",
            "cs",
            "css",
        ]
        .iter()
        .any(|x| e.eq_ignore_ascii_case(x.as_bytes()))
    }) && value.iter().all(|b| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b'\\' | b'@' | b'*' | b'%')
    });
    let below_variable = value.first() == Some(&b'$')
        && slashes >= 1
        && value[1..].first().is_some_and(u8::is_ascii_alphabetic);
    is_host_and_port(value)
        || address
        || below_variable && parts_are_words()
        || slashes >= 1 && parts_are_words()
        || is_file
        || value.first() == Some(&b'/') && slashes >= 2
}

/// `localhost:8080`, `db.corp.net:5432`.
fn is_host_and_port(value: &[u8]) -> bool {
    let Some(colon) = value.iter().rposition(|b| *b == b':') else { return false };
    let (host, port) = (&value[..colon], &value[colon + 1..]);
    (2..=5).contains(&port.len())
        && port.iter().all(u8::is_ascii_digit)
        && host.iter().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(b))
        && (host.contains(&b'.') || host == b"localhost")
}

pub(super) fn is_markup(value: &[u8]) -> bool {
    let selector = matches!(value.first(), Some(b'#' | b'.'))
        && value[1..].iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_'));
    let pattern = value.starts_with(b"^") && value.ends_with(b"$")
        || memchr::memmem::find(value, b"[a-z").is_some()
        || memchr::memmem::find(value, b"[A-Z").is_some()
        || memchr::memmem::find(value, b"[0-9").is_some()
        || memchr::memmem::find(value, b"\\w").is_some()
        || memchr::memmem::find(value, b"\\d{").is_some()
        || memchr::memmem::find(value, b"(?").is_some()
        || memchr::memmem::find(value, b"[^").is_some() && !is_noise(value)
        || memchr::memmem::find(value, b"{0,").is_some()
        || memchr::memmem::find(value, b"{1,").is_some()
        || memchr::memmem::find(value, b".*").is_some();
    let markup = value.first() == Some(&b'<') && value.contains(&b'>')
        || memchr::memmem::find(value, b"</").is_some()
        || value.starts_with(b"//")
        || memchr::memmem::find(value, b"[name=").is_some()
        || memchr::memmem::find(value, b"[type=").is_some();
    selector || pattern || markup
}

/// Bare words in a row are prose. A comment behind the value, or an operator, is not.
pub(super) fn followed_by_words(c: &Candidate<'_>, length: usize) -> bool {
    let after = c.span.start + length;
    let end = c.line.end.max(after).min(after + 80).min(c.text.len());
    let rest = c.text[after..end].trim_ascii();
    if matches!(c.file.syntax, Syntax::Shell) {
        return false;
    }
    let letters = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    letters >= 2
        && rest.get(letters).is_none_or(|b| matches!(b, b' ' | b',' | b'.' | b':' | b'\''))
        && c.text.get(after) == Some(&b' ')
}

pub(super) fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value
            .iter()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Prefixes of values that are meant to be seen.
pub(super) fn is_public_form(value: &[u8]) -> bool {
    #[rustfmt::skip]
    const PREFIXES: &[&str] = &[
        "pk_live_", "pk_test_", "pk.eyj", "sb_publishable_", "ssh-rsa", "ssh-ed25519", "ecdsa-sha2", "age1",
        "-----begin public", "-----begin cert", "sha256-", "sha384-", "sha512-", "sha1-", "sha256:", "sha512:",
        "gtm-", "phc_",
        // Public keys: SubjectPublicKeyInfo in base64, and OpenSSH's form.
        "miibijanbgkq", "miibojanbgkq", "miicijanbgkq", "migfma0gcsqg", "mfkwewyhkoz", "mhywegyhkoz", "mcowbqydk2",
        "mfwwdqyjkoz", "aaaab3nz", "aaaac3nz", "aaaae2vj",
    ];
    // A DER sequence that begins with another: a certificate or a request for one.
    let certificate = value.len() >= 64 && value.starts_with(b"MII") && &value[6..8] == b"CC";
    // An Ethereum address.
    let address = value.len() == 42 && value.starts_with(b"0x");
    certificate
        || address
        || is_password_hash(value)
        || PREFIXES
            .iter()
            .any(|p| value.len() >= p.len() && value[..p.len()].eq_ignore_ascii_case(p.as_bytes()))
}

pub(super) fn is_number_like(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let others = value.len() - digits;
    others == 0 && value.len() < 16
        || value.iter().all(|b| {
            b.is_ascii_digit()
                || matches!(b, b'.' | b'-' | b':' | b'/' | b'_' | b'+' | b'T' | b'Z' | b'v' | b' ')
        }) && others > 0
}
