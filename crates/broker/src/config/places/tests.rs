//! The parser itself is the oracle: it is asked where a member stands by failing at it.

use std::fmt;

use proptest::prelude::*;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::*;

/// Asks the parser itself: reads as far as the member and fails there.
struct Ask<'p>(&'p [String]);

/// Fails on the key that is looked for.
struct Key<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Ask<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            return deserializer.deserialize_ignored_any(de::IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ask<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a collection")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let wanted: usize = self.0[0].parse().expect("an index");
        for _ in 0..wanted {
            seq.next_element::<de::IgnoredAny>()?;
        }
        if self.0.len() == 1 {
            seq.next_element_seed(Key("\u{0}"))?;
        } else {
            seq.next_element_seed(Ask(&self.0[1..]))?;
        }
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wanted = if self.0.len() == 1 { self.0[0].as_str() } else { "" };
        while let Some(name) = map.next_key_seed(Key(wanted))? {
            let rest: &[String] = if name == self.0[0] { &self.0[1..] } else { &[] };
            map.next_value_seed(Ask(rest))?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        if self.0 == "\u{0}" {
            // Any item will do: the place is that of its beginning.
            return deserializer.deserialize_u8(Never).map(|()| String::new());
        }
        deserializer.deserialize_str(self)
    }
}

struct Never;

impl Visitor<'_> for Never {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        if name == self.0 { Err(E::custom("here")) } else { Ok(name.to_owned()) }
    }
}

fn parsers_place(text: &str, pointer: &str) -> Option<(usize, usize)> {
    let path: Vec<String> =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let error = Ask(&path).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.location().map(|at| (at.line(), at.column()))
}

/// Every member of a value, as a pointer.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (step_of(name), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, value)| (format!("/{i}"), value)).collect(),
        _ => return,
    };
    for (step, value) in members {
        out.push(format!("{at}{step}"));
        pointers(value, &format!("{at}{step}"), out);
    }
}

fn check(text: &str) {
    let value: Value = serde_yaml::from_str(text).expect(text);
    let places = Places::of(text);
    let mut all = Vec::new();
    pointers(&value, "", &mut all);
    for pointer in all {
        assert_eq!(places.at.get(&pointer).copied(), parsers_place(text, &pointer), "{pointer} in\n{text}");
    }
}

#[test]
fn agrees_with_the_parser_on_what_people_write() {
    check(
        "# a comment: with a colon\n---\na: 1\nb:   # nothing yet\n  c: [x, {d: 1, 'e f': [2, 3]}]\n  \"q: r\": {glob: \"a:b\"}\n\
         list:\n- one\n- two: 2\n  three: 3\n- - nested\n  - again\ntext: |\n  not: a key\n  - nor item\n\nplain: goes\n  \
         on here\nquoted: \"over\n  two: lines\"\nflow: [\n  a, # c\n  {b: 1,\n   c: 2}\n]\nurl: http://x:80/y\né: {ü: 1, z: 2}\nlast: ok\n",
    );
}

fn values() -> impl Strategy<Value = Value> {
    let word = "[a-z]{1,4}|[a-z]+: [a-z]|#x|- y|'|\"q\"|a/b|é|\\PC{0,5}";
    let leaf = prop_oneof![word.prop_map(Value::from), any::<i16>().prop_map(Value::from), Just(json!(true))];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}|[a-z]: |é\"", inner, 1..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_the_parser_on_block_and_flow(value in values()) {
        let value = json!({ "root": value, "end": [1] });
        check(&serde_yaml::to_string(&value).expect("serializes"));
        check(&serde_json::to_string(&value).expect("serializes").replace(',', ", ").replace("\":", "\": "));
    }

    #[test]
    fn takes_any_text(text in "([ -]*[a-z:#'\"\\[\\]{},|>&*é\n]*){0,20}") {
        Places::of(&text);
    }
}
