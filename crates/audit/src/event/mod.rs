//! Events: what the broker and the scanner say happened.
//!
//! An event is built field by field, never by redacting a request, and names a secret only by keyed fingerprint. It is
//! stored as one JSON object; the bytes stored are what is hashed, and nothing ever serialises them again. Members
//! that this version does not know survive being read and written.

mod action;
mod limit;
mod slim;

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;

pub use action::*;
pub use limit::{MAX_EVENT, MAX_FIELD};
pub use slim::Slim;
pub(crate) use slim::millis;

/// The version this program writes.
pub const VERSION: u32 = 1;

/// Members of a newer version.
pub type Extra = BTreeMap<String, Value>;

/// Why an event could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The bytes are not an event.
    #[error("not an event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Even with long fields replaced by their hashes it is too long.
    #[error("the event is {bytes} bytes long, more than {MAX_EVENT}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

/// Did what was attempted succeed?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did.
    #[default]
    Success,
    /// It was not allowed.
    Refused,
    /// It was allowed and did not work.
    Failed,
    /// A newer version's word.
    #[serde(other)]
    Other,
}

impl Outcome {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Other => "other",
        }
    }
}

/// Who acted: what a verified token says. All fields may be missing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    /// The token's issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The token's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The repository or project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The branch or tag.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The workflow or pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The job in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The run's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The person or account that started the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Members of a newer version.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which system it was for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// The provider's name in the broker's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The environment the provider belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The role asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the credential may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Members of a newer version.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A secret's keyed fingerprint: the same secret has the same one under the same key, and nobody without the key can
/// guess.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Which key.
    pub key: String,
    /// HMAC-SHA-256 of the secret, in hex.
    pub mac: String,
}

impl Fingerprint {
    /// The fingerprint of a secret under a key, which is kept outside the log.
    pub fn of(secret: &[u8], key_id: &str, key: &[u8; 32]) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(secret);
        Fingerprint { key: key_id.to_owned(), mac: hex::encode(mac.finalize().into_bytes()) }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The version of the program that wrote it.
    pub version: u32,
    /// Its index in the log, put in by the log.
    pub sequence: Option<u64>,
    /// When the log took it: never earlier than the entry before it.
    pub logged: Option<Timestamp>,
    /// When it happened, by the writer's clock.
    pub time: Timestamp,
    /// What happened.
    pub action: Action,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// Why it did not, or by what it was decided. Never a secret, never a stranger's text unbounded.
    pub reason: Option<String>,
    /// Who.
    pub who: Who,
    /// For which system.
    pub target: Target,
    /// The network address that the request came from.
    pub source: Option<String>,
    /// The lease.
    pub lease: Option<String>,
    /// How long the credential lives, in seconds.
    pub ttl_s: Option<u64>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// Ties the events of one request together.
    pub correlation: Option<String>,
    /// The secret.
    pub fingerprint: Option<Fingerprint>,
    /// Was it taken over from elsewhere, perhaps long after it happened?
    pub imported: bool,
    /// Members of a newer version.
    pub extra: Map<String, Value>,
}

impl Event {
    /// An event that happened at `time`, with nothing else said.
    pub fn new(time: Timestamp, action: Action, outcome: Outcome) -> Event {
        Event {
            version: VERSION,
            sequence: None,
            logged: None,
            time,
            action,
            outcome,
            reason: None,
            who: Who::default(),
            target: Target::default(),
            source: None,
            lease: None,
            ttl_s: None,
            expires: None,
            correlation: None,
            fingerprint: None,
            imported: false,
            extra: Map::new(),
        }
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// It is not an event. Unknown types and members are no error.
    pub fn parse(entry: &[u8]) -> Result<Event, EventError> {
        let wire: Wire = serde_json::from_slice(entry)?;
        Ok(Event {
            version: wire.v,
            sequence: wire.seq,
            logged: wire.logged.map(|at| at.0),
            time: wire.time.0,
            action: Action::from_parts(wire.kind, wire.detail),
            outcome: wire.outcome,
            reason: wire.reason,
            who: wire.who,
            target: wire.target,
            source: wire.source,
            lease: wire.lease,
            ttl_s: wire.ttl_s,
            expires: wire.expires.map(|at| at.0),
            correlation: wire.correlation,
            fingerprint: wire.fingerprint,
            imported: wire.imported,
            extra: wire.extra,
        })
    }

    /// The bytes to append. Strings longer than [`MAX_FIELD`] become their hash.
    ///
    /// # Errors
    /// It is too long all the same.
    pub fn encode(&self) -> Result<Vec<u8>, EventError> {
        let (kind, detail) = self.action.to_parts()?;
        let wire = Wire {
            seq: None,
            logged: None,
            v: self.version,
            time: At(self.time),
            kind,
            outcome: self.outcome,
            reason: self.reason.clone(),
            who: self.who.clone(),
            target: self.target.clone(),
            source: self.source.clone(),
            lease: self.lease.clone(),
            ttl_s: self.ttl_s,
            expires: self.expires.map(At),
            correlation: self.correlation.clone(),
            fingerprint: self.fingerprint.clone(),
            imported: self.imported,
            detail,
            extra: self.extra.clone(),
        };
        let bytes = serde_json::to_vec(&wire)?;
        if bytes.len() <= MAX_FIELD { Ok(bytes) } else { limit::shorten(&bytes) }
    }
}

/// An event as JSON.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logged: Option<At>,
    v: u32,
    time: At,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default)]
    who: Who,
    #[serde(default)]
    target: Target,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<At>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    detail: Map<String, Value>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// A time as RFC 3339 text in UTC.
#[derive(Clone, Copy)]
struct At(Timestamp);

impl Serialize for At {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.6}", self.0))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<At, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(At).map_err(serde::de::Error::custom)
    }
}
