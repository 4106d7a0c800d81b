//! Values without a format: is what stands behind `password =` a password?
//!
//! A rule for such values knows a name and a place. This module looks at the rest: how the value is written, whether
//! it refers to something, is a text for people, a name in code, a type, a path, a hash, a word. It prefers to be
//! silent: what a person would not call a secret at a glance is dropped, what is weak gets low confidence.

use std::ops::Range;

use super::file_kind::Syntax;
use super::{Candidate, entropy, placeholder};
use crate::rule::ValueKind;

/// Longest value in bytes.
const MAX_VALUE: usize = 512;

/// The result of the analysis.
pub(crate) enum Analysis {
    /// No secret; why.
    Drop(String),
    /// A secret.
    Keep {
        /// Where it really begins and ends.
        span: Range<usize>,
        /// Whether its confidence is low.
        weaker: bool,
        /// What made it so.
        why: Option<String>,
    },
}

/// How the value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Quoted,
    Bare,
}

/// Analyses the value that a generic rule found.
pub(crate) fn analyse(kind: ValueKind, c: &Candidate<'_>) -> Analysis {
    let (span, quoting) = match extent(c) {
        Ok(found) => found,
        Err(why) => return Analysis::Drop(why.into()),
    };
    let value = &c.text[span.clone()];
    let name = c.name.as_ref().map(|n| c.text[n.clone()].to_ascii_lowercase()).unwrap_or_default();
    let drop = name_says_no(&name)
        .or_else(|| place_says_no(c, &span, &name))
        .or_else(|| shape_says_no(value, quoting, c))
        .or_else(|| placeholder::reason(value))
        .or_else(|| word_says_no(value, &name));
    if let Some(why) = drop {
        return Analysis::Drop(format!("not a secret value: {why}"));
    }
    let judged = match kind {
        ValueKind::Password => password(value, quoting, c),
        ValueKind::Token if names_password(&name) => password(value, quoting, c),
        ValueKind::Token => token(value, &name, quoting, c),
        ValueKind::Embedded | ValueKind::KubernetesSecret => Ok(None),
    };
    match judged {
        Err(why) => Analysis::Drop(format!("not a secret value: {why}")),
        Ok(None) => Analysis::Keep { span, weaker: false, why: None },
        Ok(Some(why)) => Analysis::Keep { span, weaker: true, why: Some(format!("{why}: less sure")) },
    }
}

/// Whether a person chooses such values: one rule's names may be of both sorts.
fn names_password(name: &[u8]) -> bool {
    ["passw", "passphrase", "pwd", "_pass", "-pass", ".pass"]
        .iter()
        .any(|word| memchr::memmem::find(name, word.as_bytes()).is_some())
        || name == b"pass"
}

/// Finds where the value ends: at the closing quote, or where a bare word ends.
fn extent(c: &Candidate<'_>) -> Result<(Range<usize>, Quoting), &'static str> {
    let start = c.span.start;
    let before = start.checked_sub(1).map(|i| c.text[i]);
    let line_end = c.line.end.max(start).min(start + MAX_VALUE);
    let rest = &c.text[start..line_end];
    // `${NAME:value}`, `${NAME:-value}`: what a setting is when nobody sets it.
    if c.name.as_ref().is_some_and(|name| c.text[..name.start].ends_with(b"${")) {
        let skip = usize::from(rest.first() == Some(&b'-'));
        let length = memchr::memchr(b'}', rest).ok_or("its reference is not closed on the line")?;
        let is_empty = length <= skip || matches!(rest[skip], b'?' | b'+' | b'$');
        return if is_empty {
            Err("a reference without a default")
        } else {
            Ok((start + skip..start + length, Quoting::Quoted))
        };
    }
    if let Some(quote @ (b'"' | b'\'' | b'`')) = before {
        let escaped = start >= 2 && c.text[start - 2] == b'\\';
        let length = closing_quote(rest, quote, escaped).ok_or("its quote is not closed on the line")?;
        return Ok((start..start + length, Quoting::Quoted));
    }
    let xml = before == Some(b'>') || c.text[..start].ends_with(b"[CDATA[");
    let ends = |b: &u8| {
        if xml {
            *b == b'<' || *b == b']'
        } else {
            b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>')
        }
    };
    let end = rest.iter().position(ends);
    if xml && end.is_none() {
        return Err("its element is not closed on the line");
    }
    let mut length = end.unwrap_or(rest.len());
    while length > 0
        && matches!(rest[length - 1], b',' | b';' | b')' | b']' | b'}' | b'\\')
        && !balanced(&rest[..length])
    {
        length -= 1;
    }
    if length == 0 {
        return Err("it is empty");
    }
    if rest.get(length) == Some(&b'"') || rest.get(length) == Some(&b'\'') {
        return Err("a quote follows in the middle");
    }
    Ok((start..start + length, Quoting::Bare))
}

/// Offset of the quote that ends a string; `escaped` for strings inside strings (`\"`).
fn closing_quote(rest: &[u8], quote: u8, escaped: bool) -> Option<usize> {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' if escaped && rest.get(at + 1) == Some(&quote) => return Some(at),
            b'\\' => at += 2,
            b if b == quote => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Whether the trailing bracket has its partner inside.
fn balanced(value: &[u8]) -> bool {
    let open = match value.last() {
        Some(b')') => b'(',
        Some(b']') => b'[',
        Some(b'}') => b'{',
        _ => return false,
    };
    value.contains(&open)
}

/// Ends of names whose value is about a secret and not one.
const ABOUT: &[&str] = &[
    "url",
    "uri",
    "path",
    "file",
    "filename",
    "filepath",
    "dir",
    "name",
    "names",
    "type",
    "types",
    "field",
    "fields",
    "label",
    "length",
    "len",
    "size",
    "count",
    "expiry",
    "expires",
    "expiration",
    "expire",
    "expiresin",
    "expiresat",
    "ttl",
    "timeout",
    "lifetime",
    "header",
    "headers",
    "regex",
    "regexp",
    "pattern",
    "policy",
    "hint",
    "placeholder",
    "error",
    "errors",
    "message",
    "messages",
    "msg",
    "title",
    "text",
    "help",
    "helper",
    "required",
    "enabled",
    "disabled",
    "version",
    "algorithm",
    "alg",
    "algo",
    "format",
    "endpoint",
    "ref",
    "arn",
    "class",
    "page",
    "form",
    "input",
    "prompt",
    "dialog",
    "description",
    "desc",
    "template",
    "reset",
    "resetlink",
    "strength",
    "validator",
    "validation",
    "rule",
    "rules",
    "manager",
    "provider",
    "service",
    "handler",
    "factory",
    "builder",
    "issuer",
    "audience",
    "scope",
    "scopes",
    "status",
    "state",
    "mode",
    "limit",
    "limits",
    "index",
    "idx",
    "position",
    "offset",
    "kind",
    "encoder",
    "encoding",
    "source",
    "store",
    "storage",
    "column",
    "table",
    "view",
    "screen",
    "button",
    "link",
    "icon",
    "test",
    "tests",
    "id",
    "ids",
    "keyid",
    "schema",
    "param",
    "params",
    "parameter",
    "attribute",
    "attr",
    "property",
    "prop",
    "env",
    "envvar",
    "variable",
    "var",
    "suffix",
    "separator",
    "selector",
    "xpath",
    "css",
    "locator",
    "element",
    "updated",
    "changed",
    "created",
    "date",
    "time",
    "timestamp",
    "at",
    "event",
    "action",
    "method",
    "function",
    "callback",
    "command",
    "cmd",
    "option",
    "options",
    "flag",
    "plugin",
    "module",
    "package",
    "repo",
    "repository",
    "image",
    "tag",
    "digest",
    "checksum",
    "sha",
    "sha1",
    "sha256",
    "md5",
    "integrity",
    "fingerprint",
    "usage",
    "used",
    "budget",
    "price",
    "cost",
    "symbol",
    "address",
    "contract",
    "balance",
    "confirmation",
    "confirm",
    "invalid",
    "mismatch",
    "match",
    "matches",
    "notmatch",
    "not",
    "missing",
    "empty",
    "forgotten",
    "forgot",
    "change",
    "create",
    "update",
    "delete",
    "remove",
    "rotate",
    "rotation",
    "generator",
    "prefix",
    "example",
    "is",
    "has",
    "verify",
    "verified",
    "verifier",
    "check",
    "checker",
    "exists",
    "found",
    "set",
    "list",
    "map",
    "array",
    "dict",
    "model",
    "object",
    "interface",
    "dto",
    "request",
    "response",
    "result",
    "resource",
];

/// Ends of names that are public by nature.
const PUBLIC: &[&str] = &[
    "publickey",
    "publictoken",
    "publishablekey",
    "sitekey",
    "csrftoken",
    "csrf",
    "xsrftoken",
    "nexttoken",
    "pagetoken",
    "nextpagetoken",
    "continuationtoken",
    "synctoken",
    "primarykey",
    "foreignkey",
    "partitionkey",
    "sortkey",
    "cachekey",
    "hotkey",
    "tokenizer",
    "tokens",
    "maxtokens",
    "keywords",
    "secretsmanager",
    "anonkey",
    "lockkey",
    "sequencetoken",
    "forwardtoken",
    "backwardtoken",
    "clienttoken",
    "requesttoken",
    "idempotencytoken",
    "clientrequesttoken",
    "amzcredential",
    "amzsecuritytoken",
    "lockfilekey",
    "tokenmint",
    "cancellationtoken",
    "starttoken",
    "endtoken",
    "eostoken",
    "bostoken",
    "padtoken",
    "unktoken",
    "masktoken",
    "septoken",
    "clstoken",
    "stoptoken",
    "updatetoken",
    "resumetoken",
];

fn name_says_no(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        return None;
    }
    let last =
        name.rsplit(|b| matches!(b, b'_' | b'-' | b'.' | b' ' | b'/' | b':')).next().unwrap_or_default();
    let parts = name.iter().filter(|b| matches!(b, b'_' | b'-' | b'.')).count();
    let joined: Vec<u8> = name.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    if parts > 0 && ABOUT.iter().any(|word| last == word.as_bytes()) {
        return Some("its name is about a secret");
    }
    // camelCase names arrive in lower case: look for the longer endings only, where chance is small.
    let camel = ABOUT.iter().any(|word| {
        joined.len() > word.len()
            && joined.ends_with(word.as_bytes())
            && ends_after_secret(&joined[..joined.len() - word.len()])
    });
    if camel {
        return Some("its name is about a secret");
    }
    PUBLIC.iter().any(|word| joined.ends_with(word.as_bytes())).then_some("its name says it is public")
}

/// What stands between the name and the value, and around them.
fn place_says_no(c: &Candidate<'_>, value: &Range<usize>, name: &[u8]) -> Option<&'static str> {
    let name_span = c.name.clone()?;
    // `AWS::SecretsManager::Secret`: a type.
    if c.text[..name_span.start].ends_with(b"::") {
        return Some("its name is a type");
    }
    let between = &c.text[name_span.end..value.start.max(name_span.end)];
    let separator = between.iter().copied().find(|b| matches!(b, b'=' | b':' | b',' | b'(' | b'>'))?;
    match separator {
        b',' => {
            let next =
                c.text[(value.end + 1).min(c.text.len())..].iter().find(|b| !matches!(b, b' ' | b'\t'));
            (!matches!(next, Some(b')' | b'}' | b';'))).then_some("an entry of a list")
        }
        b'(' => {
            let method = name.rsplit(|b| *b == b'.').next().unwrap_or_default();
            let sets =
                ["password", "passwd", "passphrase", "secret", "token", "key", "credential", "credentials"]
                    .iter()
                    .any(|word| method.ends_with(word.as_bytes()));
            let asks = [
                "get", "find", "read", "fetch", "has", "is", "check", "verify", "validate", "reset",
                "delete", "by", "from", "should", "expect", "describe", "it",
            ]
            .iter()
            .any(|word| method.starts_with(word.as_bytes()));
            (!sets || asks).then_some("the argument of a call that sets no secret")
        }
        _ => None,
    }
}

/// Whether the rest of a name, its last word taken away, still ends in a word for a secret.
fn ends_after_secret(name: &[u8]) -> bool {
    ["password", "passwd", "pwd", "secret", "token", "key", "credential", "credentials", "passphrase", "auth"]
        .iter()
        .any(|word| name.ends_with(word.as_bytes()))
}

/// What the way it is written says.
fn shape_says_no(value: &[u8], quoting: Quoting, c: &Candidate<'_>) -> Option<&'static str> {
    if value.iter().any(|b| b.is_ascii_control()) {
        return Some("control characters");
    }
    if quoting == Quoting::Bare && bare_is_code(value, c) {
        return Some("a name or a call in code");
    }
    if is_text(value) || c.file.is_locale {
        return Some("a text for people");
    }
    if is_reference(value) {
        return Some("a reference to a value elsewhere");
    }
    if is_path_or_url(value) {
        return Some("a path or an address");
    }
    if is_markup(value) {
        return Some("markup, a selector or a pattern");
    }
    if quoting == Quoting::Bare && followed_by_words(c, value.len()) {
        return Some("a sentence");
    }
    None
}

/// In code a bare word is a name; elsewhere it is one when it looks like a call or a member.
fn bare_is_code(value: &[u8], c: &Candidate<'_>) -> bool {
    let name_like = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'_' | b'.' | b':' | b'$' | b'>' | b'-' | b'!' | b'?' | b'&' | b'*')
    };
    let calls = value.windows(2).any(|w| w[0] == b'(' && (w[1] == b')' || w[1] == b'"' || w[1] == b'\''))
        || (value.contains(&b'(')
            && value[..value.iter().position(|b| *b == b'(').unwrap_or(0)].iter().all(name_like));
    let ternary = value.starts_with(b"(")
        || value.starts_with(b"[")
        || value.starts_with(b"{")
        || value.starts_with(b"!");
    match c.file.syntax {
        Syntax::Code => true,
        Syntax::Data => true,
        Syntax::Config | Syntax::Shell => calls || ternary,
        Syntax::Unknown => {
            calls || ternary || value.iter().all(name_like) && !value.iter().any(u8::is_ascii_digit)
        }
    }
}

/// Words with spaces between, or letters beyond ASCII as in translated texts.
fn is_text(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return true };
    if is_app_password(value) {
        return false;
    }
    let words = text.split_whitespace().count();
    let foreign = text.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()).count();
    words >= 2
        && text
            .split_whitespace()
            .filter(|w| w.bytes().filter(u8::is_ascii_alphabetic).count() * 2 > w.len())
            .count()
            >= 1
        || foreign * 4 > text.chars().count()
        || text.ends_with("...")
        || text.ends_with('…')
        || words >= 2 && text.contains(" + ")
}

/// Google's app passwords are shown as four groups of four letters, and pasted like that.
fn is_app_password(value: &[u8]) -> bool {
    value.len() == 19
        && value.iter().enumerate().all(|(i, b)| if i % 5 == 4 { *b == b' ' } else { b.is_ascii_lowercase() })
        && value.split(|b| *b == b' ').any(|group| !is_wordy(group))
}

/// References in the middle of the value: interpolation in any of the usual syntaxes.
pub(super) fn is_reference(value: &[u8]) -> bool {
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
        && digits >= 2
        && marks.len() >= 4
        && !value.contains(&b' ')
        && entropy::shannon(value) >= 3.6
        && entropy::wordiness(value).is_none_or(|w| w < 0.72)
}

/// `{name}` (Python, C#, Ruby) and `$name` (PHP, shell) inside.
fn interpolates(value: &[u8]) -> bool {
    let Some(open) = value.iter().position(|b| *b == b'{') else { return false };
    let Some(length) = value[open..].iter().position(|b| *b == b'}') else { return false };
    let inner = &value[open + 1..open + length];
    length > 1
        && inner.iter().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'[' | b']' | b'(' | b')' | b' ')
        })
}

fn is_path_or_url(value: &[u8]) -> bool {
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
    }) && value
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b'\\' | b'@' | b'*'));
    address || slashes >= 1 && parts_are_words() || is_file || value.first() == Some(&b'/') && slashes >= 2
}

fn is_markup(value: &[u8]) -> bool {
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
fn followed_by_words(c: &Candidate<'_>, length: usize) -> bool {
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

/// Words that are values of types, settings and form fields, and never secrets.
const PLAIN: &[&str] = &[
    "true",
    "false",
    "null",
    "nil",
    "none",
    "undefined",
    "string",
    "str",
    "text",
    "bool",
    "boolean",
    "int",
    "integer",
    "number",
    "bytes",
    "object",
    "required",
    "optional",
    "disabled",
    "enabled",
    "default",
    "unset",
    "unknown",
    "empty",
    "hidden",
    "input",
    "bearer",
    "basic",
    "oauth",
    "oauth2",
    "header",
    "query",
    "cookie",
    "session",
    "auto",
    "any",
    "all",
    "yes",
    "no",
    "on",
    "off",
    "n/a",
    "env",
    "file",
    "vault",
    "prompt",
    "interactive",
    "masked",
    "encrypted",
    "plain",
    "hash",
    "sha256",
    "sha512",
    "md5",
    "bcrypt",
    "aes",
    "rsa",
    "hmac",
    "jwt",
    "saml",
    "ldap",
    "kerberos",
    "token",
    "tokens",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "pass",
    "secret",
    "secrets",
    "key",
    "keys",
    "apikey",
    "credential",
    "credentials",
    "username",
    "user",
    "login",
    "email",
    "e-mail",
    "name",
    "value",
    "values",
    "id",
    "type",
    "authorization",
    "auth",
    "authentication",
    "access",
    "refresh",
    "client",
    "server",
    "api",
    "application",
    "web",
    "new",
    "old",
    "current",
    "confirm",
    "private",
    "public",
    "my",
    "the",
    "your",
    "some",
    "an",
    "a",
    "here",
    "this",
    "that",
    "is",
    "not",
    "set",
    "get",
    "reset",
    "change",
    "forgot",
    "update",
    "save",
    "invalid",
    "wrong",
    "incorrect",
    "missing",
    "repeat",
    "again",
];

pub(super) fn word_says_no(value: &[u8], name: &[u8]) -> Option<&'static str> {
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
fn split_words(value: &[u8]) -> Words<'_> {
    Words { rest: value }
}

struct Words<'a> {
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
                    || text[i].is_ascii_uppercase() && text[i - 1].is_ascii_lowercase()
            })
            .unwrap_or(text.len());
        self.rest = &text[end..];
        Some(&text[..end])
    }
}

/// Whether the text reads like a word or an identifier made of words.
fn is_wordy(text: &[u8]) -> bool {
    let digits = text.iter().filter(|b| b.is_ascii_digit()).count();
    if digits * 5 > text.len() {
        return false;
    }
    text.len() <= 3 || entropy::wordiness(text).is_some_and(|w| w >= 0.72)
}

/// Whether the text is an identifier of words as programmers write them: no digits inside words, humps or separators
/// at most every few letters.
pub(super) fn is_identifier(value: &[u8]) -> bool {
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

/// A value that a person chose: keep what has digits or punctuation, doubt plain words.
fn password(value: &[u8], quoting: Quoting, c: &Candidate<'_>) -> Result<Option<&'static str>, &'static str> {
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
    if !digits && !punctuation && is_identifier(value) {
        let single_lower = value.iter().all(u8::is_ascii_lowercase);
        let several = split_words(value).count() > 1;
        return if several || !single_lower { Err("an identifier") } else { Ok(Some("a plain word")) };
    }
    if is_uuid(value) {
        return Ok(Some("a UUID"));
    }
    let strong = entropy::classes(value) == 3 && punctuation;
    if !strong && is_dull(value) {
        return Ok(Some("a value as tests and documentation have it"));
    }
    if (c.file.is_test || c.file.is_doc) && entropy::classes(value) < 3 && value.len() < 12 {
        return Ok(Some("a simple value in a test or in documentation"));
    }
    if value.iter().all(u8::is_ascii_digit) && value.len() < 8 {
        return Ok(Some("a short number"));
    }
    Ok(None)
}

/// `test1234`, `password1`, `secret123`, `admin`: what everybody writes where no secret is needed.
pub(super) fn is_dull(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
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

/// A value that a machine made: long, mixed, no words.
fn token(
    value: &[u8],
    name: &[u8],
    quoting: Quoting,
    c: &Candidate<'_>,
) -> Result<Option<&'static str>, &'static str> {
    if value.len() < 8 {
        return Err("too short for a token");
    }
    let charset = value.iter().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'+' | b'/'
                    | b'='
                    | b'_'
                    | b'-'
                    | b'.'
                    | b'~'
                    | b':'
                    | b'@'
                    | b'!'
                    | b'$'
                    | b'%'
                    | b'^'
                    | b'*'
                    | b'#'
                    | b'&'
                    | b'|'
                    | b'?'
            )
    });
    if !charset {
        return Err("characters that tokens do not have");
    }
    if is_identifier(value) {
        return Err("an identifier");
    }
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    if is_public_form(value) {
        return Err("a public value by its prefix");
    }
    if is_number_like(value) {
        return Err("a number, date or version");
    }
    let bits = entropy::shannon(value);
    if is_uuid(value) {
        return Ok(Some("a UUID"));
    }
    if c.file.is_lock || is_hash_name(name) {
        return Err("a hash of a file");
    }
    if value.len() < 16 {
        if !name_is_plain(name) {
            return Err("its name does not say secret, and it is short");
        }
        let mixed = entropy::classes(value) >= 2 && digits >= 2 && bits >= 2.9;
        let strong = mixed && (value.len() >= 10) && !is_dull(value);
        return if strong {
            Ok(None)
        } else if quoting == Quoting::Quoted && !is_dull(value) && digits > 0 {
            Ok(Some("a short value"))
        } else {
            Err("too short and too simple for a token")
        };
    }
    if digits == 0 && (entropy::wordiness(value).is_some_and(|w| w >= 0.62) || entropy::classes(value) < 2) {
        return Err("words");
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

/// Whether a name says by itself that its value is a secret. Other keys index maps, rows and caches. A rule that
/// captures no name knows the place well enough without.
fn name_is_plain(name: &[u8]) -> bool {
    if name.is_empty() {
        return true;
    }
    const WORDS: &[&str] = &[
        "secret",
        "token",
        "credential",
        "passw",
        "api",
        "access",
        "account",
        "admin",
        "app",
        "auth",
        "client",
        "consumer",
        "crypt",
        "cipher",
        "aes",
        "hmac",
        "jwt",
        "license",
        "licence",
        "master",
        "private",
        "service",
        "session",
        "shared",
        "sign",
        "storage",
        "subscription",
        "deploy",
        "webhook",
        "secur",
        "merchant",
        "partner",
        "bot",
        "salt",
    ];
    const NOT: &[&str] = &[
        "cache",
        "sort",
        "primary",
        "foreign",
        "partition",
        "index",
        "lookup",
        "map",
        "object",
        "lock",
        "state",
        "query",
        "route",
        "event",
        "config",
        "storage_key",
        "session_key_name",
        "i18n",
        "translation",
        "message",
        "react",
        "row",
        "column",
        "group",
        "public",
    ];
    WORDS.iter().any(|w| memchr::memmem::find(name, w.as_bytes()).is_some())
        && !NOT.iter().any(|w| memchr::memmem::find(name, w.as_bytes()).is_some())
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value
            .iter()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() })
}

fn is_hash_name(name: &[u8]) -> bool {
    [
        "sha",
        "md5",
        "hash",
        "digest",
        "checksum",
        "integrity",
        "etag",
        "commit",
        "revision",
        "fingerprint",
        "thumbprint",
    ]
    .iter()
    .any(|w| memchr::memmem::find(name, w.as_bytes()).is_some())
}

/// Prefixes of values that are meant to be seen.
fn is_public_form(value: &[u8]) -> bool {
    ["pk_live_", "pk_test_", "pk.eyj", "sb_publishable_", "ssh-rsa", "ssh-ed25519", "ecdsa-sha2", "age1", "-----begin public", "-----begin cert", "sha256-", "sha384-", "sha512-", "sha1-", "sha256:", "sha512:", "$2a$", "$2b$", "$2y$", "$argon2", "$6$", "$5$", "$1$", "gtm-", "phc_"]
        .iter()
        .any(|p| value.len() >= p.len() && value[..p.len()].eq_ignore_ascii_case(p.as_bytes()))
        // An Ethereum address.
        || value.len() == 42 && value.starts_with(b"0x")
}

fn is_number_like(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let others = value.len() - digits;
    others == 0 && value.len() < 16
        || value.iter().all(|b| {
            b.is_ascii_digit()
                || matches!(b, b'.' | b'-' | b':' | b'/' | b'_' | b'+' | b'T' | b'Z' | b'v' | b' ')
        }) && others > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::file_kind::FileKind;
    use crate::rule::Confidence;

    fn judge(kind: ValueKind, path: &str, name: &str, text: &str) -> &'static str {
        let start = text.find('§').expect("the sample marks the value's start");
        let plain = text.replace('§', "");
        let candidate = Candidate {
            text: plain.as_bytes(),
            span: start..start + 1,
            name: plain.to_lowercase().find(name).map(|at| at..at + name.len()),
            line: 0..plain.len(),
            file: FileKind::of(path.as_bytes()),
            confidence: Confidence::Medium,
            now: 0,
        };
        match analyse(kind, &candidate) {
            Analysis::Drop(_) => "drop",
            Analysis::Keep { weaker: true, .. } => "low",
            Analysis::Keep { .. } => "keep",
        }
    }

    #[test]
    fn passwords() {
        let check =
            |path, text, want| assert_eq!(judge(ValueKind::Password, path, "password", text), want, "{text}");
        check("a.py", "password = \"§Tr0ub4dor&3\"", "keep");
        check("a.py", "password = §get_password()", "drop");
        check("a.yml", "password: §Zk9!vb2Q", "keep");
        check("a.yml", "password: §must be at least eight characters", "drop");
        check("a.json", "\"password\": \"§Forgot your password?\"", "drop");
        check("a.js", "password: '§confirmPassword'", "drop");
        check("a.js", "password: '§#password-field'", "drop");
        check("a.yml", "password: §postgres", "low");
        check("a.py", "password = '§test1234'", "low");
        check("a.py", "password = f\"§{user}-x\"", "drop");
        check("i18n/de.json", "\"password\": \"§Passwort1\"", "drop");
        check("a.xml", "<password>§s3cr3t&amp;Pw</password>", "keep");
    }

    #[test]
    fn tokens() {
        let check =
            |name, text, want| assert_eq!(judge(ValueKind::Token, "a.py", name, text), want, "{text}");
        check("api_key", "api_key = '§kX9vQ2mZ7pLw4RtYbN3c'", "keep");
        check("api_key", "api_key = '§authentication_token_name'", "drop");
        check("token_url", "token_url = '§kX9vQ2mZ7pLw4RtYbN3c'", "drop");
        check("secret", "secret = '§8f14e45f-ceea-467a-9575-1c2d3e4f5a6b'", "low");
        check("public_key", "public_key = '§kX9vQ2mZ7pLw4RtYbN3c'", "drop");
        check("token", "token = '§2024-01-31T10:20:30Z'", "drop");
        check("token", "token = §tokenizer.next(x1)", "drop");
    }
}
