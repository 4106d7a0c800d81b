//! What is written to a program and read from it: one JSON object each way, version 1. `docs/exec-provider.md` is the
//! same for its authors.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::identity::Identity;
use crate::secret::Secret;

/// The version of this contract.
pub(crate) const VERSION: u32 = 1;

/// The members of an answer, at any depth.
const MEMBERS: [&str; 15] = [
    "version",
    "fields",
    "name",
    "value",
    "secret",
    "expires",
    "reference",
    "names",
    "checks",
    "what",
    "problem",
    "warning",
    "error",
    "class",
    "message",
];

/// What a program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Make a credential.
    Issue,
    /// Prolong one.
    Renew,
    /// End one.
    Revoke,
    /// List the names of all that exist.
    List,
    /// Look whether it could do all this.
    Check,
}

impl Operation {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Issue => "issue",
            Operation::Renew => "renew",
            Operation::Revoke => "revoke",
            Operation::List => "list",
            Operation::Check => "check",
        }
    }

    /// Whether it changes something, so that an unclear end may have done so.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Operation::Issue | Operation::Renew | Operation::Revoke)
    }
}

/// A call. What an operation does not need is left out.
#[derive(Serialize)]
pub(crate) struct Call<'a> {
    pub(crate) version: u32,
    pub(crate) operation: Operation,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "exposed_map")]
    pub(crate) secrets: &'a BTreeMap<String, Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Who<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub(crate) target_token: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub(crate) reference: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) now: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
}

/// Who asks.
#[derive(Serialize)]
pub(crate) struct Who<'a> {
    issuer: &'a str,
    platform: &'a str,
    subject: &'a str,
    claims: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Who<'a> {
    /// An identity as a program sees it.
    pub(crate) fn of(identity: &'a Identity) -> Who<'a> {
        Who {
            issuer: identity.issuer(),
            platform: identity.platform().name(),
            subject: identity.subject(),
            claims: identity.claims().iter().collect(),
        }
    }
}

impl<'a> Call<'a> {
    /// A call without particulars.
    pub(crate) fn new(operation: Operation, secrets: &'a BTreeMap<String, Secret>) -> Call<'a> {
        Call {
            version: VERSION,
            operation,
            secrets,
            lease: None,
            name: None,
            identity: None,
            parameters: None,
            input: None,
            target_token: None,
            reference: None,
            ttl_s: None,
            now: None,
            expires: None,
            until: None,
        }
    }

    /// As a program reads it: one line.
    ///
    /// # Errors
    /// A secret in it is not text.
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
        serde_json::to_writer(&mut *bytes, self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn exposed<S: Serializer>(secret: &Option<&Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_str(text_of(secret)?),
        None => serializer.serialize_none(),
    }
}

fn exposed_map<S: Serializer>(secrets: &BTreeMap<String, Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    let pairs = secrets.iter().map(|(name, secret)| Ok((name, text_of(secret)?)));
    let pairs: BTreeMap<_, _> = pairs.collect::<Result<_, S::Error>>()?;
    serializer.collect_map(pairs)
}

fn text_of<E: serde::ser::Error>(secret: &Secret) -> Result<&str, E> {
    secret.expose_text().ok_or_else(|| E::custom("a secret is not text"))
}

/// An answer. Members that nobody knows are refused: they would be a misspelling.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) fields: Vec<AnswerField>,
    #[serde(default)]
    pub(crate) expires: Option<String>,
    #[serde(default, deserialize_with = "optional_secret")]
    pub(crate) reference: Option<Secret>,
    #[serde(default)]
    pub(crate) names: Vec<String>,
    #[serde(default)]
    pub(crate) checks: Vec<AnswerCheck>,
    #[serde(default)]
    pub(crate) error: Option<AnswerError>,
}

/// A field of a credential.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerField {
    pub(crate) name: String,
    #[serde(deserialize_with = "secret")]
    pub(crate) value: Secret,
    #[serde(default = "yes")]
    pub(crate) secret: bool,
}

/// One thing that was looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerCheck {
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) problem: Option<String>,
    #[serde(default)]
    pub(crate) warning: bool,
}

/// Why it did not work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerError {
    pub(crate) class: Class,
    #[serde(default)]
    pub(crate) message: String,
}

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// The target or the input says no.
    Denied,
    /// Something the operator must mend.
    Misconfigured,
    /// Not at the moment, and nothing was done.
    Transient,
    /// It may have been done.
    Ambiguous,
    /// The target cannot do this.
    Unsupported,
    /// There is no such credential.
    Gone,
}

impl Class {
    /// What an exit status says where no answer does.
    pub(crate) fn of_status(code: i32) -> Option<Class> {
        match code {
            2 => Some(Class::Denied),
            3 => Some(Class::Misconfigured),
            4 => Some(Class::Transient),
            5 => Some(Class::Ambiguous),
            6 => Some(Class::Unsupported),
            7 => Some(Class::Gone),
            _ => None,
        }
    }
}

fn yes() -> bool {
    true
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::text)
}

fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::text))
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// Not one JSON object of this version; where in it, never what it holds.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Answer, String> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err("printed nothing".into());
        }
        // A derived reader takes an array for an object.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err("its answer is a list and no object".into());
        }
        // The parser's own words may quote what it read, which may be a secret: only the place is told.
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let answer: Answer = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| {
            let kind = match e.inner().classify() {
                serde_json::error::Category::Eof => "ends too early",
                serde_json::error::Category::Syntax => "is not JSON",
                _ => "is not what it should be",
            };
            let at = e.path().to_string();
            // A member's name comes from the program, too.
            let is_ours = at
                .split(['.', '[', ']'])
                .all(|step| MEMBERS.contains(&step) || step.bytes().all(|byte| byte.is_ascii_digit()));
            let at = if is_ours { at.as_str() } else { "a member that is not known" };
            format!("its answer {kind} (at `{at}`, line {}, column {})", e.inner().line(), e.inner().column())
        })?;
        deserializer.end().map_err(|_| "printed more than one JSON object".to_owned())?;
        if answer.version != VERSION {
            return Err(format!(
                "answers by version {} of the contract; this is version {VERSION}",
                answer.version
            ));
        }
        Ok(answer)
    }

    /// All texts in it that may be secret.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.iter().filter(|field| field.secret).map(|field| field.value.expose());
        fields.chain(self.reference.iter().map(Secret::expose))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_place_and_not_the_value() {
        let value = "v".repeat(20);
        for (bad, words) in [
            (String::new(), "printed nothing"),
            (" \n".into(), "printed nothing"),
            (value.clone(), "not JSON"),
            (format!("{{\"version\":1,\"fields\":[{{\"name\":\"a\",\"value\":\"{value}\""), "ends too early"),
            (format!("{{\"version\":1,\"fields\":\"{value}\"}}"), "`fields`"),
            (format!("{{\"version\":1,\"{value}\":1}}"), "not what it should be"),
            (format!("{{\"version\":1}} {value}"), "more than one"),
            (format!("{{\"version\":1}} {{\"version\":1,\"x\":\"{value}\"}}"), "more than one"),
            ("{\"version\":2}".into(), "version 2"),
            ("{\"version\":1,\"version\":1}".into(), "not what"),
            ("[1]".into(), "no object"),
            ("{}".into(), "not what"),
        ] {
            let said = Answer::parse(bad.as_bytes()).err().unwrap_or_else(|| panic!("accepted: {bad}"));
            assert!(said.contains(words) && !said.contains(&value[..10]), "{bad}: {said}");
        }
    }

    #[test]
    fn fields_are_secret_unless_they_say_otherwise() {
        let answer = Answer::parse(
            br#"{"version":1,"fields":[{"name":"a","value":"x"},{"name":"b","value":"y","secret":false}]}"#,
        );
        let answer = answer.unwrap();
        assert_eq!(answer.secrets().collect::<Vec<_>>(), [b"x"]);
    }
}
