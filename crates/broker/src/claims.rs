//! A token's claims: parsed once, and what was parsed is what is checked and used.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most members an object of claims may have, nested ones included.
pub const MAX_MEMBERS: usize = 512;
/// How deep claims may nest.
pub const MAX_DEPTH: usize = 8;

/// The claims of a token: one JSON object without duplicate names at any depth.
///
/// Names are compared byte by byte: `Sub` and `sub` are two claims, and only one of them is looked up.
#[derive(Clone, PartialEq, Default)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Reads claims from JSON.
    ///
    /// # Errors
    /// Not one object; a name appears twice (also when written with escapes); deeper than [`MAX_DEPTH`] or with more
    /// than [`MAX_MEMBERS`] members; a number that is not an integer of 64 bits or a finite fraction.
    pub fn parse(json: &[u8]) -> Result<Claims, serde_json::Error> {
        let mut members = MAX_MEMBERS;
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = Strict { depth: MAX_DEPTH, members: &mut members }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        match value {
            Value::Object(map) => Ok(Claims(map)),
            _ => Err(de::Error::custom("claims are not a JSON object")),
        }
    }

    /// The claim of this name. A name that begins with `/` is a JSON pointer (RFC 6901) into nested claims.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match name.strip_prefix('/') {
            None => self.0.get(name),
            Some(path) => {
                let mut steps = path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
                let first = self.0.get(&steps.next()?)?;
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
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The same claims without one. For tests and for `policy explain`.
    #[must_use]
    pub fn without(&self, name: &str) -> Claims {
        let mut map = self.0.clone();
        map.remove(name);
        Claims(map)
    }
}

impl From<Map<String, Value>> for Claims {
    fn from(map: Map<String, Value>) -> Claims {
        Claims(map)
    }
}

impl fmt::Debug for Claims {
    /// Names only: values of claims belong into answers to their owner and into the audit log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
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
            if object.contains_key(&name) {
                return Err(de::Error::custom("a claim appears twice"));
            }
            let value = map.next_value_seed(self.inner()?)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Claims, D::Error> {
        let mut members = MAX_MEMBERS;
        match (Strict { depth: MAX_DEPTH, members: &mut members }).deserialize(deserializer)? {
            Value::Object(map) => Ok(Claims(map)),
            _ => Err(de::Error::custom("claims are not an object")),
        }
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
