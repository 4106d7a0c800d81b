//! Checks: what a match must pass after its pattern, and how sure that makes us.
//!
//! Each check says one of three things: drop the match, change its confidence, or nothing. What it says is kept as a
//! sentence, for `explain` and for reports.

pub mod checksum;
pub mod decode;
pub mod embedded;
pub mod entropy;
pub mod file_kind;
pub mod manifest;
pub mod placeholder;
pub mod private_key;
pub mod value;

use std::ops::Range;

use crate::rule::{Boundary, Checks, Confidence, ValueKind};

use file_kind::FileKind;

/// What the checks made of a match.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Not a secret; why.
    Drop(String),
    /// A secret.
    Keep(Kept),
}

/// A match that passed.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The secret's span, perhaps corrected by the value analysis.
    pub(crate) span: Range<usize>,
    pub(crate) confidence: Confidence,
    pub(crate) notes: Vec<String>,
    pub(crate) details: Vec<(&'static str, String)>,
}

/// A match on its way through the checks.
pub(crate) struct Candidate<'a> {
    /// The whole text.
    pub(crate) text: &'a [u8],
    /// The secret in it.
    pub(crate) span: Range<usize>,
    /// The span of the name before it, where the pattern captures one.
    pub(crate) name: Option<Range<usize>>,
    /// Start and end of the lines the secret is on, line ends left out.
    pub(crate) line: Range<usize>,
    pub(crate) file: FileKind,
    /// What the pattern alone is worth.
    pub(crate) confidence: Confidence,
    pub(crate) now: i64,
}

/// How much a check believes in a secret that it lets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nothing against it.
    #[default]
    Strong,
    /// One level less sure; why.
    Fair(&'static str),
    /// Hardly a live secret; why.
    Weak(&'static str),
}

impl Weight {
    /// What a confidence becomes under this weight.
    fn of(self, confidence: Confidence) -> Confidence {
        match self {
            Weight::Strong => confidence,
            Weight::Fair(_) => confidence.lowered(),
            Weight::Weak(_) => Confidence::Low,
        }
    }

    fn why(self) -> Option<String> {
        match self {
            Weight::Strong => None,
            Weight::Fair(why) | Weight::Weak(why) => Some(format!("{why}: less sure")),
        }
    }
}

/// Patterns of a rule's checks, compiled.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    pub(crate) not: Vec<regex::bytes::Regex>,
    pub(crate) not_line: Vec<regex::bytes::Regex>,
    pub(crate) near: Vec<regex::bytes::Regex>,
}

/// Longest line, in bytes to both sides of the secret, that `not_line` looks at: minified files have one line.
const LINE_WINDOW: usize = 512;

/// Runs all checks of a rule over a candidate, the cheap ones first.
pub(crate) fn run(checks: &Checks, patterns: &Patterns, mut c: Candidate<'_>) -> Verdict {
    let mut notes = Vec::new();
    let mut details = Vec::new();
    let mut confidence = c.confidence;

    if let Some(kind @ (ValueKind::Embedded | ValueKind::KubernetesSecret)) = checks.value {
        let judged =
            if kind == ValueKind::Embedded { embedded::judge(&c) } else { manifest::kubernetes_secret(&c) };
        match judged {
            Err(why) => return Verdict::Drop(format!("not a secret value: {why}")),
            Ok(weight) => {
                confidence = weight.of(confidence);
                notes.extend(weight.why());
            }
        }
    } else if let Some(kind) = checks.value {
        match value::analyse(kind, &c) {
            value::Analysis::Drop(why) => return Verdict::Drop(why),
            value::Analysis::Keep { span, weaker, why } => {
                c.span = span;
                if weaker {
                    confidence = Confidence::Low;
                }
                notes.extend(why);
            }
        }
    }
    let secret = &c.text[c.span.clone()];

    if checks.placeholder
        && let Some(why) = placeholder::reason(secret)
    {
        return Verdict::Drop(format!("placeholder: {why}"));
    }
    if let Some(why) = composition(checks, secret) {
        return Verdict::Drop(why);
    }
    if let Some(pattern) = patterns.not.iter().find(|p| p.is_match(secret)) {
        return Verdict::Drop(format!("the secret matches `not: {pattern}`"));
    }
    let line = &c.text[c.span.start.saturating_sub(LINE_WINDOW).max(c.line.start)
        ..(c.span.end + LINE_WINDOW).min(c.line.end).max(c.span.end)];
    if let Some(pattern) = patterns.not_line.iter().find(|p| p.is_match(line)) {
        return Verdict::Drop(format!("the line matches `not_line: {pattern}`"));
    }
    if let Some(near) = &checks.near {
        let within = near.within as usize;
        let around = &c.text[c.span.start.saturating_sub(within)..(c.span.end + within).min(c.text.len())];
        if !patterns.near.iter().any(|p| p.is_match(around)) {
            if !near.lower {
                return Verdict::Drop(format!("nothing of `near` within {within} bytes"));
            }
            confidence = confidence.lowered();
            notes.push(format!("nothing of `near` within {within} bytes: less sure"));
        }
    }
    if let Some(decoder) = checks.decode {
        match decode::decode(decoder, secret, c.now) {
            Err(why) => return Verdict::Drop(format!("does not decode: {why}")),
            Ok(decoded) => {
                details.extend(decoded.details);
                confidence = decoded.weight.of(confidence);
                notes.extend(decoded.weight.why());
            }
        }
    }
    if let Some(sum) = checks.checksum {
        match checksum::verify(sum, secret) {
            Some(true) => {
                confidence = Confidence::High;
                notes.push("its checksum is right".into());
            }
            Some(false) => {
                confidence = confidence.lowered();
                notes.push("its checksum is wrong: less sure".into());
            }
            None => notes.push("it has a form without a checksum".into()),
        }
    }
    Verdict::Keep(Kept { span: c.span, confidence, notes, details })
}

/// Entropy, digits and classes.
fn composition(checks: &Checks, secret: &[u8]) -> Option<String> {
    if checks.digits > 0 {
        let digits = secret.iter().filter(|b| b.is_ascii_digit()).count();
        if digits < checks.digits as usize {
            return Some(format!("{digits} digits, {} needed", checks.digits));
        }
    }
    if checks.classes > 0 {
        let classes = entropy::classes(secret);
        if classes < checks.classes {
            return Some(format!("{classes} classes of characters, {} needed", checks.classes));
        }
    }
    let least = checks.entropy?;
    let bits = entropy::shannon(secret);
    (bits < least).then(|| format!("entropy {bits:.2} bits per byte, {least} needed"))
}

/// Whether what stands before and after the secret allows it to be a word of its own.
pub(crate) fn boundary_holds(boundary: Boundary, text: &[u8], span: &Range<usize>) -> bool {
    match boundary {
        Boundary::None => true,
        Boundary::Word => {
            ends_elsewhere(text, span.start) && !text.get(span.end).copied().is_some_and(is_word)
        }
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the byte before `at` belongs to something else: no word byte, or the end of an escape.
fn ends_elsewhere(text: &[u8], at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|i| text.get(i)) else { return true };
    if !is_word(before) {
        return true;
    }
    let back = |n: usize| at.checked_sub(n).map(|i| text[i]);
    let hex = |n: usize| back(n).is_some_and(|b| b.is_ascii_hexdigit());
    matches!(before, b'n' | b'r' | b't' | b'f' | b'v' | b'b' | b'0') && back(2) == Some(b'\\')
        || hex(1) && hex(2) && back(3) == Some(b'%')
        || hex(1) && hex(2) && back(3) == Some(b'x') && back(4) == Some(b'\\')
        || hex(1) && hex(2) && hex(3) && hex(4) && back(5) == Some(b'u') && back(6) == Some(b'\\')
        // ANSI colour sequences in captured logs: ESC [ ... m
        || before == b'm' && text[at.saturating_sub(8)..at].contains(&0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_end_before_a_secret() {
        for (text, at, holds) in [
            (&b"xKEY"[..], 1, false),
            (b"=KEY", 1, true),
            (b"\\nKEY", 2, true),
            (b"%3DKEY", 3, true),
            (b"\\u003dKEY", 6, true),
            (b"\\x3dKEY", 4, true),
            (b"_KEY", 1, false),
            (b"\x1b[31mKEY", 5, true),
        ] {
            let span = at..text.len();
            assert_eq!(boundary_holds(Boundary::Word, text, &span), holds, "{}", text.escape_ascii());
        }
        assert!(!boundary_holds(Boundary::Word, b"KEYx", &(0..3)));
    }
}
