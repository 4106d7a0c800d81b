//! Values in a server's answer, any of which may be a secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::provider::Credential;
use crate::secret::Secret;

/// A JSON value whose texts are wiped from memory.
#[derive(Debug)]
pub(super) enum Datum {
    Null,
    Flag(bool),
    Number(serde_json::Number),
    Text(Secret),
    List(Vec<Datum>),
    Map(BTreeMap<String, Datum>),
}

/// The most fields that a credential is made of.
const MAX_FIELDS: usize = 64;

/// Fields that engines give beside a secret, and that may be shown: a user sees which user it is.
const PUBLIC: &[&str] = &[
    "ca_chain",
    "certificate",
    "expiration",
    "issuing_ca",
    "private_key_type",
    "serial_number",
    "signed_key",
    "username",
];

impl Datum {
    /// The member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Datum> {
        match self {
            Datum::Map(members) => members.get(name),
            _ => None,
        }
    }

    /// As text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Datum::Text(text) => text.expose_text(),
            _ => None,
        }
    }

    /// As a whole number.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Datum::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// Takes a member out.
    pub(super) fn take(self, name: &str) -> Option<Datum> {
        match self {
            Datum::Map(mut members) => members.remove(name),
            _ => None,
        }
    }

    /// A credential with a field for each member; a member that is no text becomes JSON. With `all_secret` nothing may
    /// be shown, whatever its name. `None` when this is no object, is empty or has too many members.
    pub(super) fn into_credential(self, all_secret: bool) -> Option<Credential> {
        let Datum::Map(members) = self else { return None };
        if members.is_empty() || members.len() > MAX_FIELDS {
            return None;
        }
        let mut credential = Credential::default();
        for (name, value) in members {
            let value = match value {
                Datum::Null => continue,
                Datum::Text(text) => text,
                other => Secret::new(serde_json::to_vec(&Exposed(&other)).ok()?),
            };
            let is_public = !all_secret && PUBLIC.contains(&name.as_str());
            credential = match value.expose_text() {
                Some(text) if is_public => credential.public(name, text),
                _ => credential.secret(name, value),
            };
        }
        Some(credential)
    }
}

/// A value that is written out on purpose.
struct Exposed<'a>(&'a Datum);

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Datum::Null => serializer.serialize_unit(),
            Datum::Flag(flag) => serializer.serialize_bool(*flag),
            Datum::Number(number) => number.serialize(serializer),
            Datum::Text(text) => crate::provider::http::expose(text, serializer),
            Datum::List(items) => serializer.collect_seq(items.iter().map(Exposed)),
            Datum::Map(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, Exposed(value))))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Datum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Datum, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Datum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Datum, E> {
        Ok(Datum::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Datum, E> {
        Ok(Datum::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Datum, E> {
        Ok(Datum::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Datum, E> {
        Ok(Datum::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Datum, E> {
        Ok(serde_json::Number::from_f64(number).map_or(Datum::Null, Datum::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Datum, E> {
        Ok(Datum::Text(Secret::text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Datum, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Datum::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Datum, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            members.insert(name, value);
        }
        Ok(Datum::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Datum {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn members_become_fields() {
        let datum = read(
            r#"{"username": "u", "password": "p", "ca_chain": ["a", "b"], "ttl": 5, "none": null, "o": {"x": 1.5}}"#,
        );
        assert!(!format!("{datum:?}").contains('p'.to_string().repeat(3).as_str()));
        let credential = datum.into_credential(false).unwrap();
        let shown: Vec<_> = credential
            .fields
            .iter()
            .map(|field| (field.name.as_ref(), field.value.expose_text().unwrap(), field.is_secret))
            .collect();
        assert_eq!(
            shown,
            [
                ("ca_chain", r#"["a","b"]"#, true),
                ("o", r#"{"x":1.5}"#, true),
                ("password", "p", true),
                ("ttl", "5", true),
                ("username", "u", false)
            ]
            .map(|(name, value, secret)| (name, value, secret && name != "ca_chain"))
        );
        assert!(read(r#"{"username": "u"}"#).into_credential(true).unwrap().fields[0].is_secret);
    }

    #[test]
    fn what_is_no_credential() {
        for bad in ["{}", "[]", "1", "null", "\"x\""] {
            assert!(read(bad).into_credential(false).is_none(), "{bad}");
        }
    }
}
