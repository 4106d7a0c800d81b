//! A token's claims: parsed once, and what was parsed is what is checked and used.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::map::{Entry, Map};

/// The most members an object of claims may have, nested ones included.
pub const MAX_MEMBERS: usize = 512;
/// How deep claims may nest.
pub const MAX_DEPTH: usize = 8;

/// The claims of a token: one JSON object without duplicate names at any depth.
///
/// Names are compared byte by byte: `Sub` and `sub` are two claims, and only one of them is looked up.
// All names lie in one text, which spares an allocation for each: half of the time of reading a token.
#[derive(Clone, Default)]
pub struct Claims {
    names: String,
    /// In the order of the names, each of them once.
    members: Vec<Member>,
}

/// A claim; its name is `names[start..end]`.
#[derive(Clone)]
struct Member {
    start: usize,
    end: usize,
    value: Value,
}

impl Claims {
    /// Reads claims from JSON.
    ///
    /// # Errors
    /// Not one object; a name appears twice (also when written with escapes); deeper than [`MAX_DEPTH`] or with more
    /// than [`MAX_MEMBERS`] members; a number that is not an integer of 64 bits or a finite fraction.
    pub fn parse(json: &[u8]) -> Result<Claims, serde_json::Error> {
        // Checked as a whole, which is faster than string by string.
        let text = std::str::from_utf8(json).map_err(de::Error::custom)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let claims = deserializer.deserialize_map(Top { length: text.len() })?;
        deserializer.end()?;
        Ok(claims)
    }

    /// The claim of this name. A name that begins with `/` is a JSON pointer (RFC 6901) into nested claims.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match name.strip_prefix('/') {
            None => self.member(name),
            Some(path) => {
                let mut steps = path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
                let first = self.member(&steps.next()?)?;
                steps.try_fold(first, |value, step| value.as_object()?.get(&step))
            }
        }
    }

    /// The claim as text; `None` when it is absent or no string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// All claims by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|member| (self.name(member), &member.value))
    }

    /// The same claims without one. For tests and for `policy explain`.
    #[must_use]
    pub fn without(&self, name: &str) -> Claims {
        let mut less = self.clone();
        less.members.retain(|member| &self.names[member.start..member.end] != name);
        less
    }

    fn name(&self, member: &Member) -> &str {
        &self.names[member.start..member.end]
    }

    fn member(&self, name: &str) -> Option<&Value> {
        let place = self.members.binary_search_by(|member| self.name(member).cmp(name)).ok()?;
        Some(&self.members[place].value)
    }

    /// Adds a claim at the end; to be followed by [`settle`](Claims::settle).
    fn push(&mut self, name: &str, value: Value) {
        let start = self.names.len();
        self.names.push_str(name);
        self.members.push(Member { start, end: self.names.len(), value });
    }

    /// Puts the members in order. Whether each name is there once.
    fn settle(&mut self) -> bool {
        let names = self.names.as_str();
        let name = |member: &Member| &names[member.start..member.end];
        self.members.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        self.members.windows(2).all(|pair| name(&pair[0]) != name(&pair[1]))
    }
}

impl PartialEq for Claims {
    fn eq(&self, other: &Claims) -> bool {
        self.iter().eq(other.iter())
    }
}

impl From<Map<String, Value>> for Claims {
    fn from(map: Map<String, Value>) -> Claims {
        let mut claims = Claims::default();
        for (name, value) in map {
            claims.push(&name, value);
        }
        claims.settle();
        claims
    }
}

impl fmt::Debug for Claims {
    /// Names only: values of claims belong into answers to their owner and into the audit log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Reads a JSON value, refusing what [`Claims::parse`] says.
struct Strict<'a> {
    depth: usize,
    members: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict<'_> {
    fn inner<E: de::Error>(&mut self) -> Result<Strict<'_>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("claims nest too deep"))?;
        *self.members =
            self.members.checked_sub(1).ok_or_else(|| E::custom("claims have too many members"))?;
        Ok(Strict { depth, members: self.members })
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
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
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
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
        while let Some(name) = map.next_key::<String>()? {
            let Entry::Vacant(place) = object.entry(name) else {
                return Err(de::Error::custom("a claim appears twice"));
            };
            place.insert(map.next_value_seed(self.inner()?)?);
        }
        Ok(Value::Object(object))
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Claims, D::Error> {
        deserializer.deserialize_map(Top { length: 0 })
    }
}

/// Reads the outermost object.
struct Top {
    /// How long the JSON is: room is made for what usually comes of it.
    length: usize,
}

impl<'de> Visitor<'de> for Top {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims in one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut left = MAX_MEMBERS;
        let mut outermost = Strict { depth: MAX_DEPTH, members: &mut left };
        let (names, members) = (self.length / 3, self.length / 40);
        let mut claims =
            Claims { names: String::with_capacity(names), members: Vec::with_capacity(members + 4) };
        loop {
            let start = claims.names.len();
            if map.next_key_seed(Name(&mut claims.names))?.is_none() {
                break;
            }
            let end = claims.names.len();
            let value = map.next_value_seed(outermost.inner()?)?;
            claims.members.push(Member { start, end, value });
        }
        if claims.settle() { Ok(claims) } else { Err(de::Error::custom("a claim appears twice")) }
    }
}

/// Appends a name to a text.
struct Name<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        self.0.push_str(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_up_by_name_and_by_pointer() {
        let claims = Claims::parse(br#"{"a/b":"1","kubernetes.io":{"pod":{"name":"p"}}}"#).expect("parses");
        assert_eq!(claims.text("a/b"), Some("1"));
        assert_eq!(claims.text("/kubernetes.io/pod/name"), Some("p"));
        assert_eq!(claims.text("/a~1b"), Some("1"));
        assert_eq!(claims.get("pod"), None);
        assert_eq!(claims.without("a/b").text("a/b"), None);
        assert_eq!(claims.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a/b", "kubernetes.io"]);
    }

    /// However many, in whatever order: each name finds its own value, as in a plain map.
    #[test]
    fn agrees_with_a_plain_map() {
        use proptest::prelude::*;
        let names = prop::collection::hash_map("\\PC{0,12}", any::<i32>(), 0..80);
        proptest!(|(map in names)| {
            let plain: Map<String, Value> = map.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
            let shuffled: Vec<String> =
                map.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
            let claims = Claims::parse(format!("{{{}}}", shuffled.join(",")).as_bytes()).expect("parses");
            prop_assert_eq!(&claims, &Claims::from(plain));
            for (name, value) in &map {
                prop_assert_eq!(claims.member(name), Some(&Value::from(*value)));
                prop_assert!(claims.without(name).member(name).is_none());
            }
            prop_assert_eq!(claims.member("absent, as it is too long"), None);
        });
    }

    #[test]
    fn refuses_duplicates_depth_and_breadth() {
        assert!(Claims::parse(br#"{"sub":"a","sub":"b"}"#).is_err());
        assert!(Claims::parse(br#"{"sub":"a","s\u0075b":"b"}"#).is_err());
        assert!(Claims::parse(br#"{"x":{"a":1,"a":2}}"#).is_err());
        assert!(Claims::parse(br#"{"x":[[[[[[[[[1]]]]]]]]]}"#).is_err());
        let wide: String = (0..600).map(|n| format!("\"c{n}\":1,")).collect();
        assert!(Claims::parse(format!("{{{wide}\"z\":1}}").as_bytes()).is_err());
        for other in ["[]", "1", "null", "{} {}", ""] {
            assert!(Claims::parse(other.as_bytes()).is_err(), "{other}");
        }
    }
}
