//! What verification may find, and what it may not be able to say.

use std::io;

use crate::checkpoint::CheckpointError;
use crate::pin::PinError;
use crate::reader::ReadError;
use crate::tree::Hash;

/// Something that must not be.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The head is not signed, or is of another log.
    #[error("checkpoint: {0}")]
    Checkpoint(CheckpointError),
    /// A file that the head speaks of is not there.
    #[error("{path}: is missing")]
    Missing {
        /// Relative to the log.
        path: String,
    },
    /// A file is cut short or too long, or is no file.
    #[error("{path}: {why}")]
    Malformed {
        /// Relative to the log.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// An entry is not what was logged.
    #[error("entry {index} in {bundle} does not have the hash that {tile} has for it")]
    Entry {
        /// Its index.
        index: u64,
        /// The file it is in.
        bundle: String,
        /// The file with its hash.
        tile: String,
    },
    /// A tile does not follow from the tiles below.
    #[error("{path}: hash {position} is not the root of {below}")]
    Tile {
        /// The tile.
        path: String,
        /// Which of its hashes.
        position: u64,
        /// The tile it should be the root of.
        below: String,
    },
    /// The entries do not lead to the signed root.
    #[error("the {size} entries have the root {computed}, but {signed} was signed")]
    Root {
        /// How many entries.
        size: u64,
        /// The root they have.
        computed: Hash,
        /// The root in the checkpoint.
        signed: Hash,
    },
    /// Entries are missing without an event that says so.
    #[error("entries before {missing} are missing, but the log allows this only before {allowed}")]
    Pruned {
        /// The first entry that is there.
        missing: u64,
        /// What the log's own events allow.
        allowed: u64,
    },
    /// An entry is no event.
    #[error("entry {index}: {why}")]
    Event {
        /// Its index.
        index: u64,
        /// What is wrong.
        why: String,
    },
    /// The journal contradicts the head or itself.
    #[error("{path}: byte {offset}: {why}")]
    Journal {
        /// The segment.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// The log does not extend a checkpoint seen before.
    #[error("{place}: {source}")]
    Rollback {
        /// Where the checkpoint was kept.
        place: String,
        /// What is wrong.
        source: PinError,
    },
}

/// Why a log did not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was tampered with or is damaged. This is the first thing found, from the first entry on.
    #[error("the log does not verify: {0}")]
    Tampered(#[from] Box<Fault>),
    /// It could not be checked: nothing is said about it.
    #[error("the log could not be checked: {0}")]
    Unchecked(#[from] ReadError),
}

impl From<Fault> for VerifyError {
    fn from(fault: Fault) -> VerifyError {
        VerifyError::Tampered(Box::new(fault))
    }
}

/// A file that is gone or no regular file is a fault; a disk that cannot be read is not.
pub(super) fn judge(error: ReadError) -> VerifyError {
    match error {
        ReadError::Io { path, source } => match source.kind() {
            io::ErrorKind::NotFound => Fault::Missing { path }.into(),
            io::ErrorKind::InvalidData => Fault::Malformed { path, why: source.to_string() }.into(),
            _ => ReadError::Io { path, source }.into(),
        },
        ReadError::Damaged { path, why } => Fault::Malformed { path, why: why.to_owned() }.into(),
        ReadError::Checkpoint(e) => Fault::Checkpoint(e).into(),
        other => other.into(),
    }
}
