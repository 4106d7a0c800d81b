//! Why a token was refused: which claim, what was wanted, what it says. For the token's own bearer and for the log.

use std::fmt;

use claviger_audit::event::FailedClaim;
use serde_json::Value;

/// The longest value shown, in characters.
const SHOWN: usize = 160;

/// The kind of a refusal, with a name that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Not a token, or too long to be one.
    Malformed,
    /// The header says something that is not allowed, or lacks something.
    Header,
    /// The algorithm is not one of the issuer's, or the key is for another one.
    Algorithm,
    /// No such issuer is configured.
    UnknownIssuer,
    /// The issuer has no such key.
    UnknownKey,
    /// The issuer's keys could not be fetched. The only refusal that may be another next time.
    KeysUnavailable,
    /// The signature is wrong.
    Signature,
    /// A claim is missing or has the wrong type.
    ClaimType,
    /// The token has expired.
    Expired,
    /// The token is not valid yet, or says that it was issued in the future.
    NotYet,
    /// The token lives longer than the issuer's tokens may.
    TooLongLived,
    /// The token is meant for somebody else.
    Audience,
    /// The subject and the other claims contradict each other.
    Subject,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 13] = [
        Code::Malformed,
        Code::Header,
        Code::Algorithm,
        Code::UnknownIssuer,
        Code::UnknownKey,
        Code::KeysUnavailable,
        Code::Signature,
        Code::ClaimType,
        Code::Expired,
        Code::NotYet,
        Code::TooLongLived,
        Code::Audience,
        Code::Subject,
    ];

    /// The name, for answers, metrics and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Malformed => "malformed",
            Code::Header => "header",
            Code::Algorithm => "algorithm",
            Code::UnknownIssuer => "unknown-issuer",
            Code::UnknownKey => "unknown-key",
            Code::KeysUnavailable => "keys-unavailable",
            Code::Signature => "signature",
            Code::ClaimType => "claim-type",
            Code::Expired => "expired",
            Code::NotYet => "not-yet",
            Code::TooLongLived => "too-long-lived",
            Code::Audience => "audience",
            Code::Subject => "subject",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Code::Malformed => "this is not a token",
            Code::Header => "the token's header is refused",
            Code::Algorithm => "the token's algorithm is refused",
            Code::UnknownIssuer => "the token's issuer is not configured",
            Code::UnknownKey => "the token's issuer has no such key",
            Code::KeysUnavailable => "the issuer's keys could not be fetched; try again later",
            Code::Signature => "the token's signature is wrong",
            Code::ClaimType => "a claim is missing or has the wrong type",
            Code::Expired => "the token has expired",
            Code::NotYet => "the token is not valid yet",
            Code::TooLongLived => "the token lives too long",
            Code::Audience => "the token is meant for another audience",
            Code::Subject => "the token's subject contradicts its claims",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token that was refused.
///
/// What it shows of the token is cut to 160 characters and has no control characters, so that it can stand in a log
/// line. It never shows signature or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    code: Code,
    at: &'static str,
    wanted: String,
    seen: Option<String>,
}

impl Rejection {
    /// About the claim, header member or part `at`.
    pub(crate) fn new(code: Code, at: &'static str, wanted: impl Into<String>) -> Rejection {
        Rejection { code, at, wanted: wanted.into(), seen: None }
    }

    /// With what the token says there.
    #[must_use]
    pub(crate) fn seeing(mut self, seen: Option<&Value>) -> Rejection {
        self.seen = Some(seen.map_or_else(|| "nothing".to_owned(), shown));
        self
    }

    /// With what the token says there, as text.
    #[must_use]
    pub(crate) fn seeing_text(mut self, seen: &str) -> Rejection {
        self.seen = Some(escaped(seen));
        self
    }

    /// The kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The claim, `header.MEMBER`, or `token`.
    pub fn at(&self) -> &'static str {
        self.at
    }

    /// What is wanted there.
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// What the token says there, if that can be shown.
    pub fn seen(&self) -> Option<&str> {
        self.seen.as_deref()
    }

    /// Whether the same token may be accepted later.
    pub fn is_transient(&self) -> bool {
        self.code == Code::KeysUnavailable
    }

    /// The refusal as the audit log keeps it.
    pub fn failed_claim(&self) -> FailedClaim {
        FailedClaim {
            claim: self.at.to_owned(),
            expected: self.wanted.clone(),
            found: self.seen.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): `{}` must be {}", self.code.about(), self.code, self.at, self.wanted)?;
        match &self.seen {
            Some(seen) => write!(f, "; it is {seen}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejection {}

/// A value as JSON, fit for one line of a log.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", escaped(text)),
        other => escaped(&other.to_string()),
    }
}

/// Text without control characters, line breaks of any kind or marks that turn the direction of writing.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut left = text.chars();
    for c in left.by_ref().take(SHOWN) {
        let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || invisible {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    if left.next().is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn log_injection_is_escaped_and_cut() {
        let seen = shown(&json!("a\nlevel=info msg=\"granted\"\r\u{1b}[2K\u{202e}x"));
        assert!(!seen.chars().any(char::is_control), "{seen}");
        assert!(!seen.contains('\u{202e}'));
        assert_eq!(shown(&json!("x".repeat(9000))).len(), SHOWN + 5);
        assert!(!shown(&json!(["\n", { "\t": 1 }])).chars().any(char::is_control));
    }

    #[test]
    fn codes_are_distinct() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
