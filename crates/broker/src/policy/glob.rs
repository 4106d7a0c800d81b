//! Patterns with `*`, which stays inside one segment.
//!
//! `/` and `:` separate segments. `*` stands for any number of characters of one segment, also none; but a segment that
//! is `*` alone wants at least one. Everything else stands for itself, byte by byte: there are no classes, no
//! alternatives, no escapes and no `**`. A pattern covers the whole value. No `*` ever covers a control character, so a
//! value with a line end in it matches no pattern there.

use std::fmt;

/// Longest pattern, in bytes.
pub const MAX_GLOB: usize = 1024;

/// A pattern; see the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    source: String,
    segments: Vec<Segment>,
}

/// What stands between two separators: the literal pieces around its stars. One piece means no star.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Segment {
    pieces: Vec<String>,
    /// The separator behind it; `None` for the last.
    end: Option<char>,
}

/// A pattern that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is empty.
    #[error("an empty pattern matches nothing anybody means; write the value itself, or leave the claim out")]
    Empty,
    /// It is too long.
    #[error("a pattern has at most {MAX_GLOB} bytes")]
    TooLong,
    /// It has two stars in a row.
    #[error("`**` is not supported: `*` stays inside one segment, so write `*/*` for two")]
    DoubleStar,
    /// It has a control character.
    #[error("a pattern cannot hold a line end or another control character")]
    Control,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// See [`GlobError`].
    pub fn parse(source: &str) -> Result<Glob, GlobError> {
        if source.is_empty() {
            return Err(GlobError::Empty);
        }
        if source.len() > MAX_GLOB {
            return Err(GlobError::TooLong);
        }
        if source.contains("**") {
            return Err(GlobError::DoubleStar);
        }
        if source.chars().any(char::is_control) {
            return Err(GlobError::Control);
        }
        let segments = segments(source)
            .map(|(text, end)| Segment { pieces: text.split('*').map(str::to_owned).collect(), end })
            .collect();
        Ok(Glob { source: source.to_owned(), segments })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it has no star and so stands for one value.
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| segment.pieces.len() == 1)
    }

    /// Whether anything may stand where it matters most: some segment is `*` alone, or the pattern begins with `*`, or
    /// the first of several segments has a star.
    pub fn is_wide(&self) -> bool {
        let has_star = |segment: &Segment| segment.pieces.len() > 1;
        let is_lone = |segment: &Segment| has_star(segment) && segment.pieces.iter().all(String::is_empty);
        let begins = self
            .segments
            .first()
            .is_some_and(|first| has_star(first) && (first.pieces[0].is_empty() || self.segments.len() > 1));
        begins || self.segments.iter().any(is_lone)
    }

    /// Whether it covers the whole of `value`. Linear in the length of both.
    pub fn matches(&self, value: &str) -> bool {
        let mut wanted = self.segments.iter();
        for (text, end) in segments(value) {
            match wanted.next() {
                Some(segment) if segment.end == end && segment.matches(text) => {}
                _ => return false,
            }
        }
        wanted.next().is_none()
    }
}

impl Segment {
    fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.pieces.split_first() else { return false };
        let Some((last, middle)) = others.split_last() else { return first == text };
        if text.chars().any(char::is_control) || text.is_empty() {
            return false;
        }
        let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
        // The leftmost place of each piece leaves the most for those behind it.
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// The segments of a text, each with the separator behind it.
fn segments(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        match now.find(['/', ':']) {
            Some(at) => {
                rest = Some(&now[at + 1..]);
                Some((&now[..at], now[at..].chars().next()))
            }
            None => {
                rest = None;
                Some((now, None))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(source: &str) -> Glob {
        Glob::parse(source).expect(source)
    }

    #[test]
    fn a_star_stays_in_its_segment() {
        for (pattern, value, is_match) in [
            ("refs/heads/*", "refs/heads/main", true),
            ("refs/heads/*", "refs/heads/", false),
            ("refs/heads/*", "refs/heads/a/b", false),
            ("refs/heads/*", "refs/heads/a:b", false),
            ("refs/heads/v*", "refs/heads/v", true),
            ("refs/heads/v*.*", "refs/heads/v1.2", true),
            ("refs/heads/v*.*", "refs/heads/v12", false),
            ("refs/heads/main", "xrefs/heads/main", false),
            ("refs/heads/main", "refs/heads/main2", false),
            ("main", "refs/heads/main", false),
            ("repo:acme/*:ref", "repo:acme/shop:ref", true),
            ("repo:acme/*:ref", "repo:acme/shop/x:ref", false),
            ("repo:acme/*:ref", "repo:acme:shop:ref", false),
            ("repo:acme*", "repo:acme/shop", false),
            ("*ab*ab*", "xabyabz", true),
            ("*ab*ab*", "xabyaz", false),
            ("a*a", "a", false),
            ("*", "x", true),
            ("*", "x\ny", false),
            ("Main", "main", false),
        ] {
            assert_eq!(glob(pattern).matches(value), is_match, "{pattern} {value:?}");
        }
    }

    /// Named after the brokers whose half-anchored expressions let `a|b` through.
    #[test]
    fn glob_alternation() {
        assert!(!glob("main|release").matches("main"));
        assert!(glob("main|release").matches("main|release"));
        assert!(!glob("ma.n").matches("main"));
        assert!(!glob("[a-z]*").matches("main"));
        assert!(glob("dependabot[bot]").matches("dependabot[bot]"));
        assert!(!glob("main").matches("main\n"));
        assert!(!glob("ma?n").matches("main"));
        assert!(!glob("\\*").matches("*"));
        assert!(glob("\\*").matches("\\x"));
        assert_eq!(Glob::parse("refs/**"), Err(GlobError::DoubleStar));
        assert_eq!(Glob::parse("a\nb"), Err(GlobError::Control));
        assert_eq!(Glob::parse(""), Err(GlobError::Empty));
    }

    #[test]
    fn long_values_take_no_time() {
        let pattern = glob(&"*a".repeat(500));
        let value = "a".repeat(16_000) + "b";
        let start = std::time::Instant::now();
        for _ in 0..100 {
            assert!(!pattern.matches(&value));
        }
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    /// The rule as one would explain it to somebody: try every length for each star.
    fn naive(pattern: &[char], value: &[char]) -> bool {
        let Some((first, rest)) = pattern.split_first() else { return value.is_empty() };
        if *first != '*' {
            return value.first() == Some(first) && naive(rest, &value[1..]);
        }
        let reach = value.iter().take_while(|c| !matches!(c, '/' | ':') && !c.is_control()).count();
        (0..=reach).any(|length| naive(rest, &value[length..]))
    }

    proptest! {
        #[test]
        fn agrees_with_trying_everything(pattern in "[ab/:]{0,3}\\*?[ab/:]{0,3}\\*?[ab]{0,2}", value in "[ab/:\n]{0,9}") {
            prop_assume!(Glob::parse(&pattern).is_ok());
            let is_alone = |p: &str, v: &str| {
                // A segment that is `*` alone wants at least one character, and no star a control character.
                let (p, v): (Vec<&str>, Vec<&str>) = (p.split(['/', ':']).collect(), v.split(['/', ':']).collect());
                p.len() == v.len() && p.iter().zip(&v).any(|(p, v)| p.contains('*') && (v.is_empty() || v.contains('\n')))
            };
            let (p, v): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
            let expected = naive(&p, &v) && !is_alone(&pattern, &value);
            prop_assert_eq!(glob(&pattern).matches(&value), expected, "{} {:?}", pattern, value);
        }
    }
}
