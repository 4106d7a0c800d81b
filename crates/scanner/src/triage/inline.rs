//! Markers beside a secret: `claviger:allow` and those of the tools that a project may have used before.
//!
//! ```text
//! claviger:allow                                  this place, whatever rule
//! claviger:allow stripe-key,github-* -- sandbox   this place, these rules only
//! gitleaks:allow, betterleaks:allow, kingfisher:ignore, trufflehog:ignore
//! pragma: allowlist secret, pragma: whitelist secret
//! // #nosec G101        # nosec B105              gosec's and Bandit's tests for credentials
//! ```
//!
//! A marker allows one place, not the secret: the same value elsewhere is found as before. It counts at word edges
//! only. Case counts: every one of these tools documents its marker in lower case, and a reader who searches for it
//! must find all. After any of them ` -- ` begins the reason.
//!
//! What follows `claviger:allow` must be rule ids (`*` stands for any characters) or a reason. Anything else, such as
//! a sentence, makes it no marker: an allowance that somebody meant for one rule must not grow to all of them.
//!
//! A bare `nosec` is not taken. It switches off every test of a line, mostly for reasons that have nothing to do with
//! credentials; only with the id of a credential test does it say what this scanner asks.
//!
//! On the line before, claviger's own marker counts, if that line is a comment and holds nothing else.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{is_rule_name, reason};
use crate::finding::InlineAllow;
use crate::rule::id_matches;

/// claviger's own marker.
const OWN: &str = "claviger:allow";

/// Markers looked at in one piece of a line. More are no work of people, and each costs a look at what follows.
const MAX_MARKERS: usize = 32;

/// How a marker goes on after its first word.
#[derive(Clone, Copy)]
enum Syntax {
    /// Rule ids or nothing.
    Own,
    /// Nothing.
    Plain,
    /// detect-secrets: `allowlist secret`.
    Pragma,
    /// gosec, Bandit: ids of tests.
    Nosec,
}

/// First words of all markers.
const MARKERS: &[(&str, Syntax)] = &[
    (OWN, Syntax::Own),
    ("gitleaks:allow", Syntax::Plain),
    ("betterleaks:allow", Syntax::Plain),
    ("kingfisher:ignore", Syntax::Plain),
    ("trufflehog:ignore", Syntax::Plain),
    ("pragma:", Syntax::Pragma),
    ("nosec", Syntax::Nosec),
];

/// What may follow `pragma:` and one space or none, and the marker's name.
const PRAGMAS: &[(&str, &str)] = &[
    ("allowlist secret", "pragma: allowlist secret"),
    ("allowlist-secret", "pragma: allowlist secret"),
    ("whitelist secret", "pragma: whitelist secret"),
    ("whitelist-secret", "pragma: whitelist secret"),
];

/// gosec's test for credentials in code.
const GOSEC: &[(&str, &str)] = &[("G101", "#nosec G101")];
/// Bandit's tests for passwords in assignments, arguments and defaults.
const BANDIT: &[(&str, &str)] =
    &[("B105", "# nosec B105"), ("B106", "# nosec B106"), ("B107", "# nosec B107")];

/// Ends of comments that have one.
const CLOSERS: &[&str] = &["-->", "*/", "}}", "#}", "%>", "*)", "-}", "]]"];
/// Beginnings of block comments, longest first, with their ends.
const BLOCKS: &[(&str, &str)] = &[
    ("<!--", "-->"),
    ("{{/*", "*/}}"),
    ("--[[", "]]"),
    ("<%--", "--%>"),
    ("{{!", "}}"),
    ("<%#", "%>"),
    ("/*", "*/"),
    ("{#", "#}"),
    ("(*", "*)"),
    ("{-", "-}"),
];
/// Beginnings of comments that end with the line, and of lines within a block.
const LINES: &[&str] =
    &["#", "//", "--", ";", "%", "'", "!", "*", "::", "REM ", "rem ", "@REM ", "@rem ", "dnl "];
/// What may stand right after a marker and ends it: the text goes on with something else.
const ENDERS: &[u8] = b"\"'`;)]}<>|";

/// One pass for all markers: this runs for every match, and hardly any line has one.
static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(MARKERS.iter().map(|(word, _)| word))
        .expect("a few short literals build")
});

/// The first marker in a piece of a line that allows this rule. The piece must not hold the secret itself.
pub(crate) fn marker(text: &[u8], rule_id: &str) -> Option<InlineAllow> {
    SEARCH.find_iter(text).take(MAX_MARKERS).find_map(|hit| {
        if !starts_word(text, hit.start()) {
            return None;
        }
        let rest = within(text, hit.start(), hit.end());
        let (word, syntax) = MARKERS[hit.pattern().as_usize()];
        match syntax {
            Syntax::Own => own(rest, rule_id, false),
            Syntax::Plain => plain(word, rest),
            Syntax::Pragma => {
                let rest = rest.strip_prefix(b" ").unwrap_or(rest);
                PRAGMAS.iter().find_map(|(tail, name)| plain(name, rest.strip_prefix(tail.as_bytes())?))
            }
            Syntax::Nosec => nosec(&text[..hit.start()], rest),
        }
    })
}

/// claviger's own marker on the line before the secret, if that line is a comment with nothing else in it.
pub(crate) fn marker_above(text: &[u8], rule_id: &str) -> Option<InlineAllow> {
    let text = text.trim_ascii();
    let block = BLOCKS
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open.as_bytes())?.strip_suffix(close.as_bytes()));
    let line = || LINES.iter().find_map(|open| text.strip_prefix(open.as_bytes()));
    // `##`, `///`, `/**`: as many as the style of the file wants.
    let decoration = |b: &u8| b"#/;%!*- \t".contains(b);
    let inside = block.or_else(line)?;
    let inside = &inside[inside.iter().take_while(|b| decoration(b)).count()..];
    own(inside.strip_prefix(OWN.as_bytes())?, rule_id, true)
}

/// Whether a word starts here. One `-` between letters joins them; two begin a comment.
fn starts_word(text: &[u8], at: usize) -> bool {
    match &text[..at] {
        [.., a, b'-'] => !is_word(*a),
        [.., a] => !is_word(*a),
        [] => true,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The text after a marker, up to the end of the comment or of the quotes that hold it.
fn within(text: &[u8], start: usize, end: usize) -> &[u8] {
    let rest = &text[end..];
    let quote = start.checked_sub(1).map(|i| text[i]).filter(|b| matches!(b, b'"' | b'\'' | b'`'));
    let rest = match quote.and_then(|quote| memchr::memchr(quote, rest)) {
        Some(end) => &rest[..end],
        None => rest,
    };
    let close = CLOSERS.iter().filter_map(|close| memchr::memmem::find(rest, close.as_bytes())).min();
    &rest[..close.unwrap_or(rest.len())]
}

/// A marker that takes nothing but a reason.
fn plain(name: &'static str, rest: &[u8]) -> Option<InlineAllow> {
    if rest.first().is_some_and(|&b| is_word(b) || b == b'-') {
        return None;
    }
    let at = memchr::memmem::find(rest, b" --");
    Some(InlineAllow { marker: name, reason: at.map(|at| after_dashes(&rest[at + 1..])).unwrap_or_default() })
}

fn after_dashes(text: &[u8]) -> String {
    reason(&text[text.iter().take_while(|&&b| b == b'-').count()..])
}

/// What follows `claviger:allow`. `is_alone`: nothing else may follow.
fn own(rest: &[u8], rule_id: &str, is_alone: bool) -> Option<InlineAllow> {
    let (ids, reason) = allowance(rest, is_alone)?;
    let chosen = ids.is_empty() || ids.iter().any(|id| id_matches(id, rule_id));
    chosen.then_some(InlineAllow { marker: OWN, reason })
}

/// Reads `[id[, id]...] [-- reason]`.
fn allowance(rest: &[u8], is_alone: bool) -> Option<(Vec<&str>, String)> {
    let mut ids = Vec::new();
    match rest.first() {
        None => return Some((ids, String::new())),
        Some(b) if b.is_ascii_whitespace() => {}
        Some(b) if ENDERS.contains(b) && !is_alone => return Some((ids, String::new())),
        Some(_) => return None,
    }
    let mut rest = rest.trim_ascii();
    // Ids are parted by commas; without one, only the reason may come.
    let mut more = true;
    while !rest.is_empty() && !rest.starts_with(b"--") {
        let end = rest.iter().position(|b| b.is_ascii_whitespace() || *b == b',' || ENDERS.contains(b));
        let (id, tail) = rest.split_at(end.unwrap_or(rest.len()));
        if !id.is_empty() {
            let id = std::str::from_utf8(id).ok().filter(|id| more && is_rule_name(id))?;
            ids.push(id);
            more = false;
        }
        let tail = tail.trim_ascii_start();
        rest = match tail.first() {
            Some(b',') => {
                more = true;
                tail[1..].trim_ascii_start()
            }
            Some(b) if ENDERS.contains(b) => {
                if is_alone {
                    return None;
                }
                return Some((ids, String::new()));
            }
            _ => tail,
        };
    }
    Some((ids, after_dashes(rest)))
}

/// `nosec` with the id of a test for credentials, in the comment's first word.
fn nosec(before: &[u8], rest: &[u8]) -> Option<InlineAllow> {
    let hash = before.trim_ascii_end().strip_suffix(b"#")?;
    let comment = hash.trim_ascii_end();
    let tests = if comment.ends_with(b"//") || comment.ends_with(b"/*") {
        // gosec wants its tag in one piece.
        before.ends_with(b"#").then_some(GOSEC)?
    } else {
        BANDIT
    };
    let mut list = rest.strip_prefix(b":").unwrap_or(rest);
    if !list.first().is_some_and(u8::is_ascii_whitespace) {
        return None;
    }
    let mut name = None;
    loop {
        list = &list[list.iter().take_while(|b| b.is_ascii_whitespace() || **b == b',').count()..];
        let Some((id, tail)) = list.split_at_checked(4).filter(|(id, tail)| is_test(id, tail)) else { break };
        name = name.or_else(|| tests.iter().find(|(test, _)| test.as_bytes() == id).map(|(_, name)| *name));
        list = tail;
    }
    let reason = if list.starts_with(b"--") { after_dashes(list) } else { String::new() };
    Some(InlineAllow { marker: name?, reason })
}

/// A letter and three digits, and the end of the word.
fn is_test(id: &[u8], tail: &[u8]) -> bool {
    id[0].is_ascii_uppercase()
        && id[1..].iter().all(u8::is_ascii_digit)
        && !tail.first().is_some_and(|&b| is_word(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marker's name and reason for rule `stripe-key`, or `-`.
    fn here(text: &str) -> String {
        shown(marker(text.as_bytes(), "stripe-key"))
    }

    fn above(text: &str) -> String {
        shown(marker_above(text.as_bytes(), "stripe-key"))
    }

    fn shown(allow: Option<InlineAllow>) -> String {
        match allow {
            None => "-".to_owned(),
            Some(InlineAllow { marker, reason }) if reason.is_empty() => marker.to_owned(),
            Some(InlineAllow { marker, reason }) => format!("{marker}|{reason}"),
        }
    }

    #[test]
    fn own_marker() {
        for (text, want) in [
            ("  # claviger:allow", OWN),
            ("# claviger:allow ", OWN),
            ("//claviger:allow -- a test key", "claviger:allow|a test key"),
            ("--claviger:allow", OWN),
            ("<!--claviger:allow-->", OWN),
            ("<!-- claviger:allow -- shown in the docs --> <b>", "claviger:allow|shown in the docs"),
            ("/* claviger:allow */; x -- y", OWN),
            ("{# claviger:allow stripe-key #}", OWN),
            ("# claviger:allow stripe-key", OWN),
            ("# claviger:allow other,stripe-key -- why", "claviger:allow|why"),
            ("# claviger:allow other, stripe-*", OWN),
            ("# claviger:allow other , stripe-key -- why", "claviger:allow|why"),
            ("# claviger:allow --- why", "claviger:allow|why"),
            ("\", \"comment\": \"claviger:allow\"}", OWN),
            ("\", \"comment\": \"claviger:allow -- dummy\", \"n\": 1}", "claviger:allow|dummy"),
            ("\", \"comment\": \"see claviger:allow\"}", OWN),
            ("\", \"comment\": \"see claviger:allow stripe-key\"}", OWN),
            ("# claviger:allow other claviger:allow stripe-key", "claviger:allow"),
            ("# claviger:allow other", "-"),
            ("# claviger:allow stripe", "-"),
            ("# claviger:allow this is a test key", "-"),
            ("# claviger:allow stripe-key because", "-"),
            ("# claviger:allow: stripe-key", "-"),
            ("# claviger:allow=stripe-key", "-"),
            ("# claviger:allow,stripe-key", "-"),
            ("# claviger:allow(stripe-key)", "-"),
            ("# claviger:allowed", "-"),
            ("# claviger:allow-list", "-"),
            ("# Claviger:allow", "-"),
            ("# xclaviger:allow", "-"),
            ("# not-claviger:allow", "-"),
            ("# claviger: allow", "-"),
            ("# claviger:allow \u{e9}", "-"),
            ("", "-"),
        ] {
            assert_eq!(here(text), want, "{text}");
        }
    }

    #[test]
    fn markers_of_others() {
        for (text, want) in [
            ("# gitleaks:allow", "gitleaks:allow"),
            ("# gitleaks:allow -- a test", "gitleaks:allow|a test"),
            ("// betterleaks:allow", "betterleaks:allow"),
            ("// kingfisher:ignore", "kingfisher:ignore"),
            ("// trufflehog:ignore", "trufflehog:ignore"),
            ("# pragma: allowlist secret", "pragma: allowlist secret"),
            ("# pragma: whitelist secret", "pragma: whitelist secret"),
            ("# pragma:allowlist-secret", "pragma: allowlist secret"),
            ("<!-- pragma: allowlist secret -->", "pragma: allowlist secret"),
            ("# pragma: allowlist secrets", "-"),
            ("# pragma: allowlist nextline secret", "-"),
            ("# Pragma: Allowlist Secret", "-"),
            ("# pragma: no cover", "-"),
            ("# GITLEAKS:ALLOW", "-"),
            ("# gitleaks:allowed", "-"),
            ("# mygitleaks:allow", "-"),
            ("// gitleaks:allow, claviger:allow", "gitleaks:allow"),
            ("// claviger:allow other -- x, gitleaks:allow", "gitleaks:allow"),
        ] {
            assert_eq!(here(text), want, "{text}");
        }
    }

    #[test]
    fn nosec_only_where_it_names_credentials() {
        for (text, want) in [
            ("// #nosec G101", "#nosec G101"),
            ("//#nosec G404 G101 -- not a credential", "#nosec G101|not a credential"),
            ("/* #nosec G101 */", "#nosec G101"),
            ("# nosec B105", "# nosec B105"),
            ("#nosec: B602, B106", "# nosec B106"),
            ("# nosec B107 -- default", "# nosec B107|default"),
            ("// #nosec", "-"),
            ("// #nosec G404", "-"),
            ("// #nosec G1012", "-"),
            ("// #nosec words G101", "-"),
            ("// nosec G101", "-"),
            ("// # nosec G101", "-"),
            ("# nosec", "-"),
            ("# nosec G101", "-"),
            ("// #nosec B105", "-"),
            ("# nosec hardcoded B105", "-"),
            ("# nosecB105", "-"),
        ] {
            assert_eq!(here(text), want, "{text}");
        }
    }

    #[test]
    fn the_line_before_must_be_a_comment_with_the_marker_alone() {
        for (text, want) in [
            ("# claviger:allow", OWN),
            ("   ## claviger:allow stripe-key -- why\r", "claviger:allow|why"),
            ("/// claviger:allow", OWN),
            ("/** claviger:allow -- why */", "claviger:allow|why"),
            (" * claviger:allow", OWN),
            ("<!-- claviger:allow -->", OWN),
            ("<%# claviger:allow %>", OWN),
            ("-- claviger:allow", OWN),
            ("' claviger:allow", OWN),
            ("rem claviger:allow", OWN),
            ("{{/* claviger:allow */}}", OWN),
            ("x = 1 # claviger:allow", "-"),
            ("claviger:allow", "-"),
            ("\"claviger:allow\",", "-"),
            ("'claviger:allow',", "-"),
            ("# see claviger:allow", "-"),
            ("/* claviger:allow */ x = 1", "-"),
            ("# claviger:allow other", "-"),
            ("# gitleaks:allow", "-"),
            ("# pragma: allowlist secret", "-"),
            ("", "-"),
        ] {
            assert_eq!(above(text), want, "{text}");
        }
    }

    #[test]
    fn reasons_are_printable_and_short() {
        assert_eq!(here("# claviger:allow -- a\x1b[31mb"), "claviger:allow|a\\u{1b}[31mb");
        let long = here(&format!("# claviger:allow -- {}", "é".repeat(5000)));
        assert_eq!(long.chars().count(), "claviger:allow|".len() + 200);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(bytes: Vec<u8>, word in 0..MARKERS.len(), tail in "[ a-zG0-9,:*#-]{0,20}") {
            let text = [&bytes, MARKERS[word].0.as_bytes(), tail.as_bytes(), &bytes].concat();
            marker(&text, "stripe-key");
            marker_above(&text, "stripe-key");
            marker_above(&[b"# ", &text[..]].concat(), "stripe-key");
        }
    }
}
