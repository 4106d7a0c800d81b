//! What a role wants of one claim.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use super::glob::Glob;

/// Most values or patterns for one claim.
pub const MAX_PATTERNS: usize = 1000;
/// Longest value, in bytes.
const MAX_TEXT: usize = 4096;

/// What a claim is held against. In YAML: a value; `{one_of: [...]}`; `{glob: "..."}`; or `{contains: ...}` with any of
/// these for claims that are lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Matcher {
    /// The claim is a list, of which one element must match.
    pub(crate) is_list: bool,
    /// One of these must match. Never empty.
    pub(crate) patterns: Vec<Pattern>,
}

/// One value or pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pattern {
    /// This text, byte by byte.
    Text(String),
    /// This number. Never equal to a text.
    Number(Number),
    /// This truth value. Never equal to a text.
    Bool(bool),
    /// A text of this shape.
    Glob(Glob),
}

/// How a claim and a matcher compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The claim matches.
    Matches,
    /// The claim is there, is of the right type, and does not match.
    Differs,
    /// The claim is missing, null, or of another type. It matches nothing, and does not count as different either.
    Incomparable,
}

impl Matcher {
    /// Exactly this text.
    pub(crate) fn text(text: &str) -> Matcher {
        Matcher { is_list: false, patterns: vec![Pattern::Text(text.to_owned())] }
    }

    /// Compares.
    pub fn compare(&self, claim: Option<&Value>) -> Verdict {
        match (self.is_list, claim) {
            (_, None | Some(Value::Null)) => Verdict::Incomparable,
            (false, Some(value)) => any(self.patterns.iter().map(|pattern| pattern.compare(value))),
            (true, Some(Value::Array(items))) => {
                let each = items.iter().map(|item| any(self.patterns.iter().map(|p| p.compare(item))));
                any(each)
            }
            (true, Some(_)) => Verdict::Incomparable,
        }
    }

    /// The values that it stands for, if it holds no pattern with a star.
    pub(crate) fn exact_texts(&self) -> Option<Vec<&str>> {
        if self.is_list {
            return None;
        }
        self.patterns.iter().map(Pattern::exact_text).collect()
    }

    /// Whether every value that matches is one of finitely many.
    pub(crate) fn is_exact(&self) -> bool {
        let is_open = |pattern: &Pattern| matches!(pattern, Pattern::Glob(glob) if !glob.is_literal());
        !self.is_list && !self.patterns.iter().any(is_open)
    }

    /// The patterns with a star.
    pub(crate) fn globs(&self) -> impl Iterator<Item = &Glob> {
        self.patterns.iter().filter_map(|pattern| match pattern {
            Pattern::Glob(glob) if !glob.is_literal() => Some(glob),
            _ => None,
        })
    }

    /// Whether everything that matches this one matches `other`. `false` when that cannot be told easily.
    pub(crate) fn implies(&self, other: &Matcher) -> bool {
        self.is_list == other.is_list
            && self.patterns.iter().all(|mine| {
                other.patterns.iter().any(|theirs| match (mine, theirs) {
                    (Pattern::Text(text), Pattern::Glob(glob)) => glob.matches(text),
                    _ => mine == theirs,
                })
            })
    }
}

/// Alternatives: one match is enough; different only if different from all of them.
fn any(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let mut all = Verdict::Differs;
    for verdict in verdicts {
        match verdict {
            Verdict::Matches => return Verdict::Matches,
            Verdict::Incomparable => all = Verdict::Incomparable,
            Verdict::Differs => {}
        }
    }
    all
}

impl Pattern {
    fn compare(&self, value: &Value) -> Verdict {
        let is_match = match (self, value) {
            (Pattern::Text(wanted), Value::String(seen)) => wanted == seen,
            (Pattern::Glob(glob), Value::String(seen)) => glob.matches(seen),
            (Pattern::Number(wanted), Value::Number(seen)) => wanted == seen,
            (Pattern::Bool(wanted), Value::Bool(seen)) => wanted == seen,
            _ => return Verdict::Incomparable,
        };
        if is_match { Verdict::Matches } else { Verdict::Differs }
    }

    fn exact_text(&self) -> Option<&str> {
        match self {
            Pattern::Text(text) => Some(text),
            Pattern::Glob(glob) if glob.is_literal() => Some(glob.as_str()),
            _ => None,
        }
    }

    fn parse(value: Value) -> Result<Pattern, String> {
        match value {
            Value::String(text) if text.len() > MAX_TEXT => {
                Err(format!("a value has at most {MAX_TEXT} bytes"))
            }
            Value::String(text) if text.is_empty() => {
                Err("an empty text; platforms write it for claims that do not apply, so it binds nothing"
                    .into())
            }
            Value::String(text) if text.chars().any(char::is_control) => {
                Err("a value cannot hold a line end or another control character".into())
            }
            Value::String(text) => Ok(Pattern::Text(text)),
            Value::Number(number) => Ok(Pattern::Number(number)),
            Value::Bool(truth) => Ok(Pattern::Bool(truth)),
            Value::Object(mut map) if map.len() == 1 && map.contains_key("glob") => {
                match map.remove("glob") {
                    Some(Value::String(source)) => {
                        Glob::parse(&source).map(Pattern::Glob).map_err(|e| e.to_string())
                    }
                    _ => Err("`glob` wants a text".into()),
                }
            }
            Value::Null => Err("nothing stands here; a missing claim can never be asked for".into()),
            _ => Err("write a text, a number, true, false, or `{glob: \"...\"}`".into()),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Pattern::Text(text) => json!(text),
            Pattern::Number(number) => json!(number),
            Pattern::Bool(truth) => json!(truth),
            Pattern::Glob(glob) => json!({ "glob": glob.as_str() }),
        }
    }
}

fn patterns(values: Vec<Value>) -> Result<Vec<Pattern>, String> {
    if values.is_empty() {
        return Err("an empty list matches nothing".into());
    }
    if values.len() > MAX_PATTERNS {
        return Err(format!("more than {MAX_PATTERNS} values; write several roles"));
    }
    values.into_iter().map(Pattern::parse).collect()
}

const SHAPES: &str = "write a value, `{one_of: [...]}`, `{glob: \"...\"}` or `{contains: ...}`";

impl TryFrom<Value> for Matcher {
    type Error = String;

    fn try_from(value: Value) -> Result<Matcher, String> {
        let Value::Object(map) = value else {
            if value.is_array() {
                return Err("a list here is unclear; write `{one_of: [...]}`".into());
            }
            return Ok(Matcher { is_list: false, patterns: vec![Pattern::parse(value)?] });
        };
        let mut members = map.into_iter();
        let (Some((name, value)), None) = (members.next(), members.next()) else {
            return Err(format!("exactly one member: {SHAPES}"));
        };
        let patterns = match (name.as_str(), value) {
            ("one_of", Value::Array(values)) => patterns(values)?,
            ("one_of", _) => return Err("`one_of` wants a list".into()),
            ("glob", Value::Array(sources)) => {
                let each = sources.into_iter().map(|source| json!({ "glob": source }));
                patterns(each.collect())?
            }
            ("glob", source) => patterns(vec![json!({ "glob": source })])?,
            ("contains", inner) => {
                let inner = Matcher::try_from(inner)?;
                if inner.is_list {
                    return Err("`contains` inside `contains`".into());
                }
                return Ok(Matcher { is_list: true, ..inner });
            }
            _ => return Err(format!("unknown: {SHAPES}")),
        };
        Ok(Matcher { is_list: false, patterns })
    }
}

impl From<Matcher> for Value {
    fn from(matcher: Matcher) -> Value {
        let inner = match matcher.patterns.as_slice() {
            [one] => one.to_value(),
            many => json!({ "one_of": many.iter().map(Pattern::to_value).collect::<Vec<Value>>() }),
        };
        if matcher.is_list { json!({ "contains": inner }) } else { inner }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self
            .patterns
            .iter()
            .map(|pattern| match pattern {
                Pattern::Glob(glob) => format!("the shape {}", json!(glob.as_str())),
                other => other.to_value().to_string(),
            })
            .collect();
        let contains = if self.is_list { "a list with " } else { "" };
        write!(f, "{contains}{}", each.join(" or "))
    }
}

impl schemars::JsonSchema for Matcher {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Matcher".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let glob = json!({ "type": "string", "minLength": 1, "not": { "pattern": "\\*\\*" } });
        let member = |name: &str, schema: Value| {
            let properties: Map<String, Value> = [(name.to_owned(), schema)].into_iter().collect();
            json!({ "type": "object", "properties": properties, "required": [name], "additionalProperties": false })
        };
        let value = json!({ "type": ["string", "number", "boolean"] });
        let item = json!({ "anyOf": [value, member("glob", glob.clone())] });
        let plain = json!([
            value,
            member("one_of", json!({ "type": "array", "minItems": 1, "items": item })),
            member("glob", json!({ "anyOf": [glob, { "type": "array", "minItems": 1, "items": glob }] })),
        ]);
        let mut all = plain.as_array().cloned().unwrap_or_default();
        all.push(member("contains", json!({ "anyOf": plain })));
        schemars::json_schema!({
            "description": "What a claim must be: a value, one of several, a pattern whose * stays in one segment, or a list that contains it.",
            "anyOf": all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(value: Value) -> Matcher {
        Matcher::try_from(value).expect("a matcher")
    }

    #[test]
    fn types_are_kept_apart() {
        for (wanted, claim, verdict) in [
            (json!("1"), json!("1"), Verdict::Matches),
            (json!("1"), json!(1), Verdict::Incomparable),
            (json!(1), json!("1"), Verdict::Incomparable),
            (json!(1), json!(1), Verdict::Matches),
            (json!(1), json!(2), Verdict::Differs),
            (json!(true), json!("true"), Verdict::Incomparable),
            (json!(true), json!(true), Verdict::Matches),
            (json!("x"), Value::Null, Verdict::Incomparable),
            (json!("x"), json!(["x"]), Verdict::Incomparable),
            (json!({"contains": "x"}), json!(["y", "x"]), Verdict::Matches),
            (json!({"contains": "x"}), json!(["y"]), Verdict::Differs),
            (json!({"contains": "x"}), json!([]), Verdict::Differs),
            (json!({"contains": "x"}), json!(["y", 1]), Verdict::Incomparable),
            (json!({"contains": "x"}), json!("x"), Verdict::Incomparable),
            (json!({"one_of": ["a", {"glob": "b*"}]}), json!("bc"), Verdict::Matches),
            (json!({"glob": ["a*", "b*"]}), json!("bc"), Verdict::Matches),
        ] {
            assert_eq!(matcher(wanted.clone()).compare(Some(&claim)), verdict, "{wanted} {claim}");
        }
    }

    #[test]
    fn reads_back_and_refuses_what_is_unclear() {
        for good in [
            json!("a"),
            json!({"one_of": ["a", 1, true, {"glob": "x*"}]}),
            json!({"contains": {"one_of": ["a", "b"]}}),
            json!({"glob": "x*"}),
        ] {
            assert_eq!(Value::from(matcher(good.clone())), good);
        }
        for bad in [
            json!(null),
            json!(""),
            json!("a\nb"),
            json!(["a"]),
            json!({}),
            json!({"one_of": []}),
            json!({"one_of": "a"}),
            json!({"one_of": ["a"], "glob": "b"}),
            json!({"regex": "a"}),
            json!({"glob": "**"}),
            json!({"glob": 1}),
            json!({"contains": {"contains": "a"}}),
            json!({"one_of": [["a"]]}),
        ] {
            assert!(Matcher::try_from(bad.clone()).is_err(), "{bad}");
        }
    }
}
