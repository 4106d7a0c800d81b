//! `log.json`: what kind of directory this is. Not trusted: verifiers bring origin and keys of their own.

use std::io;

use serde::{Deserialize, Serialize};

use super::OpenError;
use crate::files::{Files, Group};
use crate::note::{KeyKind, VerifyingKey};

/// Where it lies.
pub(crate) const PATH: &str = "log.json";
/// The format this program writes.
const FORMAT: u32 = 1;

/// What `log.json` says.
#[derive(Debug, Clone)]
pub struct Meta {
    /// The log's name.
    pub origin: String,
    /// Every key that has signed a head of this log, the oldest first.
    pub keys: Vec<VerifyingKey>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    format: u32,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    keys: Vec<String>,
}

impl Meta {
    /// Reads it; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is not one, or is of a newer version.
    pub fn read(files: &dyn Files) -> Result<Option<Meta>, OpenError> {
        let bytes = match files.read(PATH) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| OpenError::Io { path: PATH.into(), source })?,
        };
        Meta::parse(&bytes).map(Some)
    }

    /// What stands in the file.
    fn parse(bytes: &[u8]) -> Result<Meta, OpenError> {
        let foreign = |why: String| OpenError::Foreign { why };
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|e| foreign(format!("{PATH} is not ours: {e}")))?;
        if wire.format > FORMAT {
            return Err(OpenError::Version { found: wire.format, known: FORMAT });
        }
        let keys = wire
            .keys
            .iter()
            .map(|key| key.parse())
            .collect::<Result<_, _>>()
            .map_err(|e| foreign(format!("{PATH}: {e}")))?;
        Ok(Meta { origin: wire.origin, keys })
    }

    /// The log of the first log's key, for a place that has no `log.json`. `None` if there are witnesses' keys only.
    pub(crate) fn of_keys(keys: &[VerifyingKey]) -> Option<Meta> {
        let logs: Vec<VerifyingKey> =
            keys.iter().filter(|key| key.kind() == KeyKind::Ed25519).cloned().collect();
        Some(Meta { origin: logs.first()?.name().to_owned(), keys: logs })
    }

    pub(super) fn write(&self, files: &dyn Files) -> io::Result<()> {
        let wire = Wire {
            format: FORMAT,
            origin: self.origin.clone(),
            keys: self.keys.iter().map(ToString::to_string).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&wire)?;
        bytes.push(b'\n');
        let mut group = Group::new(files);
        group.put(PATH, &bytes)?;
        group.finish()
    }
}
