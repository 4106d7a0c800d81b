//! Texts with claims in them: `spiffe://ci.example/repo/{repository_id}`.
//!
//! A claim only ever fills a place that the operator left for it. What it may look like is said by the caller, one
//! alphabet per use, and anything else is refused rather than escaped: a claim never becomes a separator, a pattern or
//! a second name. There are no conditions, defaults or functions.

use serde_json::Value;

use super::ProviderError;
use crate::claims::Claims;

/// The most bytes a claim may put into a text.
const MAX_CLAIM: usize = 128;

/// A text with places for claims, read from configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Claim(String),
}

impl Template {
    /// Reads a text in which `{name}` stands for a claim, and `{/a/b}` for a nested one.
    ///
    /// # Errors
    /// A brace without its partner, or an empty name; in words for the operator.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(at);
            let name = tail.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            match name {
                Some((name, after)) if !name.is_empty() && !name.contains('{') => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(literal.to_owned()));
                    }
                    parts.push(Part::Claim(name.to_owned()));
                    rest = after;
                }
                _ => return Err("braces stand around the name of a claim: `{repository_id}`".into()),
            }
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// The text with each claim in its place.
    ///
    /// # Errors
    /// `Denied`: a claim is missing, neither text nor a whole number, empty, too long, or holds a character that
    /// `allowed` does not let in. The claim's value is not repeated.
    pub(crate) fn fill(&self, claims: &Claims, allowed: fn(char) -> bool) -> Result<String, ProviderError> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Claim(name) => out.push_str(&claim(claims, name, allowed)?),
            }
        }
        Ok(out)
    }

    /// The text as it would be with `sample` for each claim: to look at the rest of it when configuration is loaded.
    pub(crate) fn with_sample(&self, sample: &str) -> String {
        let pieces = self.0.iter().map(|part| match part {
            Part::Literal(text) => text.as_str(),
            Part::Claim(_) => sample,
        });
        pieces.collect()
    }

    /// Whether a claim stands before the first `end` in the text.
    pub(crate) fn has_claim_before(&self, start: &str, end: char) -> bool {
        match self.0.first() {
            Some(Part::Literal(text)) => match text.strip_prefix(start) {
                Some(after) => !after.contains(end) && self.0.len() > 1,
                None => true,
            },
            Some(Part::Claim(_)) => true,
            None => false,
        }
    }
}

/// A claim's value as text, if it may stand in one.
fn claim(claims: &Claims, name: &str, allowed: fn(char) -> bool) -> Result<String, ProviderError> {
    let text = match claims.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(_) => {
            return Err(ProviderError::Denied(format!("claim `{name}` is neither text nor a whole number")));
        }
        None => return Err(ProviderError::Denied(format!("the token has no claim `{name}`"))),
    };
    if text.is_empty() || text.len() > MAX_CLAIM {
        return Err(ProviderError::Denied(format!("claim `{name}` must have 1 to {MAX_CLAIM} bytes here")));
    }
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(ProviderError::Denied(format!(
            "claim `{name}` holds {bad:?}, which may not stand in a name; bind the role to an id instead"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "takes `json!` as it comes")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        Claims::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn fills_claims_of_any_depth() {
        let template = Template::parse("a/{repository_id}/{/k/name}-{n}").unwrap();
        let filled = template
            .fill(&claims(json!({"repository_id": "7", "k": {"name": "x"}, "n": 12})), |c| {
                c.is_ascii_alphanumeric()
            });
        assert_eq!(filled.as_deref(), Ok("a/7/x-12"));
        assert_eq!(template.with_sample("s"), "a/s/s-s");
    }

    #[test]
    fn refuses_stray_braces() {
        for bad in ["{", "}", "{}", "a{b", "a}b", "{a{b}}", "{a}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Template::parse("").unwrap().with_sample("x"), "");
    }

    #[test]
    fn refuses_claims_that_are_missing_or_no_text() {
        let template = Template::parse("{c}").unwrap();
        for value in
            [json!({}), json!({"c": null}), json!({"c": true}), json!({"c": ["a"]}), json!({"c": ""})]
        {
            assert!(template.fill(&claims(value.clone()), |_| true).is_err(), "{value}");
        }
        for value in [json!({"c": -1}), json!({"c": 1.5}), json!({"c": "x".repeat(129)})] {
            assert!(template.fill(&claims(value.clone()), |_| true).is_err(), "{value}");
        }
    }

    #[test]
    fn knows_where_claims_stand() {
        let at = |text: &str| Template::parse(text).unwrap().has_claim_before("s://", '/');
        assert!(at("s://{a}/b") && at("{a}") && at("s://x{a}/b"));
        assert!(!at("s://x/{a}") && !at("s://x"));
    }

    proptest! {
        /// Whatever a claim holds, the text has as many separators as its template.
        #[test]
        fn a_claim_never_adds_a_separator(value in ".{0,40}") {
            let template = Template::parse("p/{c}/q").unwrap();
            let filled = template.fill(&claims(json!({"c": value})), |c| c.is_ascii_alphanumeric() || c == '-');
            if let Ok(text) = filled {
                prop_assert_eq!(text.matches('/').count(), 2);
                prop_assert!(text.is_ascii());
            }
        }
    }
}
