//! Keeps events short: a stranger's ten megabytes must not become an entry, and must not vanish either.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::EventError;
use crate::log::{MAX_ENTRY, STAMP_ROOM};

/// The longest event, in bytes of JSON.
pub const MAX_EVENT: usize = MAX_ENTRY - STAMP_ROOM;
/// A longer string becomes `sha256:<hex> (<n> bytes)`.
pub const MAX_FIELD: usize = 4096;
/// If long strings alone do not explain the length, shorter ones are replaced too, in these steps.
const STEPS: [usize; 4] = [MAX_FIELD, 1024, 256, 100];

/// Replaces long strings until the event fits; then the whole `detail`.
pub(super) fn shorten(bytes: &[u8]) -> Result<Vec<u8>, EventError> {
    let mut event: Map<String, Value> = serde_json::from_slice(bytes)?;
    let mut length = bytes.len();
    for limit in STEPS {
        event.values_mut().for_each(|value| replace(value, limit));
        let shorter = serde_json::to_vec(&event)?;
        if shorter.len() <= MAX_EVENT {
            return Ok(shorter);
        }
        length = shorter.len();
    }
    if let Some(detail) = event.get_mut("detail") {
        let whole = serde_json::to_vec(detail)?;
        *detail = Value::Object([("oversize".to_owned(), Value::String(hash(&whole)))].into_iter().collect());
        let shorter = serde_json::to_vec(&event)?;
        if shorter.len() <= MAX_EVENT {
            return Ok(shorter);
        }
        length = shorter.len();
    }
    Err(EventError::TooLong { bytes: length })
}

fn replace(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) if text.len() > limit => *text = hash(text.as_bytes()),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, limit)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, limit)),
        _ => {}
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{} ({} bytes)", hex::encode(Sha256::digest(bytes)), bytes.len())
}
