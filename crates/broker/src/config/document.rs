//! A YAML file, read strictly: no duplicates, no anchors' bombs, no surprises; and every error with its place.
//!
//! The text becomes one JSON value first, of which everything else is read. So there is one rule for all files: names
//! are texts and appear once, numbers are plain, depth and breadth have bounds. Where a member stands is looked up
//! only when somebody asks; see `places.rs`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::places::Places;

/// Largest file of the broker's own configuration, in bytes.
pub const MAX_FILE: usize = 4 << 20;
/// How deep values may nest.
pub const MAX_DEPTH: usize = 24;
/// The most values in one file, nested ones included. 10,000 roles of 40 members each fit.
pub const MAX_VALUES: usize = 500_000;
/// How many brackets may be open at once, in text as in values. The YAML parser's time grows with the product of its
/// length and this.
const MAX_BRACKETS: usize = 100;

/// A place in a file, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1; 0 means the whole file.
    pub line: usize,
    /// The column in characters, from 1; 0 means the whole line.
    pub column: usize,
}

impl Place {
    /// A whole file.
    pub fn file(name: &str) -> Place {
        Place { file: name.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// Something wrong in a file: where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub at: Place,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// A file that was read.
pub struct Document {
    name: Arc<str>,
    text: String,
    value: Value,
    places: OnceLock<Places>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Document {
    /// Reads `text`; `name` is for messages.
    ///
    /// # Errors
    /// It is no YAML, or not the plain kind that the module describes.
    pub fn parse(name: &str, text: String) -> Result<Document, Problem> {
        let at = |line, column| Place { file: name.into(), line, column };
        if text.len() > MAX_FILE {
            let what = format!("larger than {} MiB; move roles to files of their own", MAX_FILE >> 20);
            return Err(Problem { at: at(0, 0), what });
        }
        if let Some(line) = too_many_brackets(&text) {
            let what = format!("more than {MAX_BRACKETS} brackets are open here");
            return Err(Problem { at: at(line, 0), what });
        }
        let mut left = MAX_VALUES;
        let strict = Strict { depth: MAX_DEPTH, left: &mut left };
        let value = strict.deserialize(serde_yaml::Deserializer::from_str(&text)).map_err(|e| {
            let (line, column) = e.location().map_or((0, 0), |it| (it.line(), it.column()));
            Problem { at: at(line, column), what: reason(&e) }
        })?;
        Ok(Document { name: name.into(), text, value, places: OnceLock::new() })
    }

    /// Forgets what stands in it and keeps its text, for places: values take many times the room.
    pub(crate) fn forget(&mut self) {
        self.value = Value::Null;
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What stands in it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Reads a structure out of the value at `pointer` (RFC 6901; empty for the whole).
    ///
    /// # Errors
    /// A member is missing, unknown or of the wrong type.
    pub fn read<T: DeserializeOwned>(&self, pointer: &str) -> Result<T, Problem> {
        let empty = Value::Object(Map::new());
        let value = match self.value.pointer(pointer).unwrap_or(&Value::Null) {
            Value::Null => &empty,
            value => value,
        };
        serde_path_to_error::deserialize(value).map_err(|e| {
            let mut below = pointer.to_owned();
            for step in e.path() {
                match step {
                    serde_path_to_error::Segment::Seq { index } => below.push_str(&format!("/{index}")),
                    serde_path_to_error::Segment::Map { key } => below.push_str(&step_of(key)),
                    _ => {}
                }
            }
            self.problem(&below, format!("{}{}", named(&below), with_hint(&e.inner().to_string())))
        })
    }

    /// A problem with what stands at `pointer`.
    pub fn problem(&self, pointer: &str, what: impl Into<String>) -> Problem {
        Problem { at: self.place(pointer), what: what.into() }
    }

    /// Where the member at `pointer` stands; the nearest one around it if that cannot be told.
    pub fn place(&self, pointer: &str) -> Place {
        let places = self.places.get_or_init(|| Places::of(&self.text));
        let (line, column) = places.find(pointer);
        Place { file: Arc::clone(&self.name), line, column }
    }
}

/// One step of a JSON pointer.
pub fn step_of(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A pointer in the words of a configuration: `` `providers.db.url`: ``.
fn named(pointer: &str) -> String {
    let steps: Vec<String> =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    if steps.is_empty() { String::new() } else { format!("`{}`: ", steps.join(".")) }
}

/// An error of the YAML reader without the place, which is told apart.
fn reason(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) if error.location().is_some() => text[..at].to_owned(),
        _ => text,
    }
}

/// Adds "did you mean" to serde's words about an unknown member.
pub(crate) fn with_hint(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown ") => {
            match closest(unknown, known.iter().copied()) {
                Some(hint) => format!("{message}; did you mean `{hint}`?"),
                None => message.to_owned(),
            }
        }
        _ => message.to_owned(),
    }
}

/// The known name that `typed` is most likely meant to be: at most a third of it differs.
pub fn closest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.chars().take(64).collect();
    let near = known.into_iter().map(|name| (distance(&typed, name), name)).min()?;
    (near.0 > 0 && near.0 * 3 <= typed.len().max(3)).then_some(near.1)
}

/// Levenshtein's distance, one row at a time.
fn distance(left: &[char], right: &str) -> usize {
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (i, r) in right.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, l) in left.iter().enumerate() {
            let replaced = diagonal + usize::from(*l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[left.len()]
}

/// The line on which more brackets are open than any configuration needs. Brackets in quotes and comments count too,
/// which only makes it stricter.
fn too_many_brackets(text: &str) -> Option<usize> {
    let (mut open, mut line) = (0_usize, 1);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b'\n' => line += 1,
            _ => {}
        }
        if open > MAX_BRACKETS {
            return Some(line);
        }
    }
    None
}

/// Reads a value, refusing what the module says.
struct Strict<'a> {
    depth: usize,
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict<'_> {
    fn inner<E: de::Error>(&mut self) -> Result<Strict<'_>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("too many values in one file"))?;
        Ok(Strict { depth, left: self.left })
    }
}

/// The name of a member: text, and nothing that acts on a terminal.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name as text; put it in quotes")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        if name == "<<" {
            return Err(E::custom("merging with `<<` is not supported; write the members out"));
        }
        if name.chars().any(char::is_control) {
            return Err(E::custom("a name holds a control character"));
        }
        Ok(name.to_owned())
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value without a tag")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(value).map(Value::Number);
        number.ok_or_else(|| E::custom("not a finite number; put it in quotes if it is a text"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format!("`{name}` appears twice")));
            }
            let value = map.next_value_seed(self.inner()?)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Document::parse("x.yaml", text.to_owned()).expect_err(text).to_string()
    }

    #[test]
    fn errors_say_where_and_what() {
        let twice = wrong("a: 1\nb:\n  c: 1\n  c: 2\n");
        assert!(twice.starts_with("x.yaml:") && twice.contains("`c` appears twice"), "{twice}");
        assert!(wrong("a: [1\nb: 2\n").starts_with("x.yaml:2"), "{}", wrong("a: [1\nb: 2\n"));
        for (text, word) in [
            ("1: a\n", "quotes"),
            ("a: .nan\n", "finite"),
            ("a: !secret x\n", "plain"),
            ("x: &x {a: 1}\ny: {<<: *x}\n", "<<"),
            ("a: 1\n---\nb: 2\n", "document"),
            ("\"a\\u0007\": 1\n", "control"),
        ] {
            assert!(wrong(text).contains(word), "{text}: {}", wrong(text));
        }
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let start = std::time::Instant::now();
        let mut bomb = format!("a0: &a0 [{}]\n", "x,".repeat(50));
        for level in 1..10 {
            bomb += &format!("a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(50));
        }
        assert!(wrong(&bomb).contains("too many values"), "{}", wrong(&bomb));
        // Few anchors, each large: no nesting that a limit on jumps would see.
        let flat = format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(200_000), "*a,".repeat(200_000));
        assert!(wrong(&flat).contains("too many values"));
        assert!(wrong(&"[".repeat(MAX_FILE)).contains("brackets"));
        assert!(wrong(&"- ".repeat(MAX_FILE / 2)).contains("too deep"));
        assert!(wrong(&format!("{}1{}", "{a: ".repeat(30), "}".repeat(30))).contains("too deep"));
        assert!(wrong(&" ".repeat(MAX_FILE + 1)).contains("larger than 4 MiB"));
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }

    #[test]
    fn hints() {
        assert_eq!(closest("provder", ["provider", "parameters"]), Some("provider"));
        assert_eq!(closest("x", ["provider", "parameters"]), None);
        let hint = with_hint("unknown field `polcy`, expected one of `policy`, `roles`");
        assert!(hint.ends_with("did you mean `policy`?"), "{hint}");
    }
}
