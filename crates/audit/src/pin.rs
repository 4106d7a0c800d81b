//! Anti-rollback: the last head seen, kept where the log's operator cannot reach it, and compared before anything is
//! appended. Whoever controls the log's host can cut log and checkpoint together; they cannot cut the pin.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::note::VerifyingKey;
use crate::tree::{Nodes, root_of};

/// Why a log does not fit its pin.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The pin cannot be read or written. Without it a rollback would go unseen, so nothing is appended.
    #[error("the pin {at} cannot be used: {source}")]
    Io {
        /// Where it is.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// The pinned checkpoint is of another log, or of a key that this log does not have.
    #[error("the pinned checkpoint does not belong to this log: {0}")]
    Foreign(#[from] CheckpointError),
    /// The log has fewer entries than it once had: truncated, restored from a backup, or a lagging replica.
    #[error(
        "the log shrank: it once had the pinned head and now has another\npinned:\n{pinned}\nfound:\n{found}"
    )]
    Shrunk {
        /// The pinned checkpoint, as a note.
        pinned: String,
        /// The log's checkpoint, as a note.
        found: String,
    },
    /// The log's first entries are not what they once were.
    #[error("the log forked: its head does not extend the pinned one\npinned:\n{pinned}\nfound:\n{found}")]
    Forked {
        /// The pinned checkpoint, as a note.
        pinned: String,
        /// The log's checkpoint, as a note.
        found: String,
    },
    /// The log's tiles could not be read to compare.
    #[error("the log could not be compared with its pin: {0}")]
    Unchecked(String),
}

/// Keeps the last checkpoint, in one place or several.
pub trait Pin: Send + Sync {
    /// The notes kept, one a place; none before the first. A log must extend each of them.
    ///
    /// # Errors
    /// One of them cannot be read.
    fn load(&self) -> Result<Vec<String>, PinError>;

    /// Keeps this one from now on; durable when it returns.
    ///
    /// # Errors
    /// It cannot be written.
    fn store(&self, head: &SignedCheckpoint) -> Result<(), PinError>;
}

/// A pin in a file, which should be on another machine or in a repository.
#[derive(Debug, Clone)]
pub struct FilePin {
    path: PathBuf,
}

impl FilePin {
    /// The pin at `path`.
    pub fn new(path: impl Into<PathBuf>) -> FilePin {
        FilePin { path: path.into() }
    }

    fn error(&self, source: io::Error) -> PinError {
        PinError::Io { at: self.path.display().to_string(), source }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        match self.path.parent().filter(|dir| !dir.as_os_str().is_empty() && !cfg!(windows)) {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Pin for FilePin {
    fn load(&self) -> Result<Vec<String>, PinError> {
        match fs::read_to_string(&self.path) {
            Ok(note) => Ok(vec![note]),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(self.error(e)),
        }
    }

    fn store(&self, head: &SignedCheckpoint) -> Result<(), PinError> {
        self.write(&head.to_string()).map_err(|e| self.error(e))
    }
}

/// Several places: whoever rolls a log back must reach all of them.
impl<P: Pin> Pin for Vec<P> {
    fn load(&self) -> Result<Vec<String>, PinError> {
        let notes: Result<Vec<_>, _> = self.iter().map(Pin::load).collect();
        Ok(notes?.concat())
    }

    fn store(&self, head: &SignedCheckpoint) -> Result<(), PinError> {
        self.iter().try_for_each(|pin| pin.store(head))
    }
}

/// Compares a log with every head that a pin keeps.
///
/// # Errors
/// The pin cannot be read, or see [`compare`].
pub fn check<N: Nodes<Error: std::fmt::Display>>(
    pin: &dyn Pin,
    found: &SignedCheckpoint,
    keys: &[VerifyingKey],
    nodes: &N,
) -> Result<(), PinError> {
    pin.load()?.iter().try_for_each(|pinned| compare(pinned, found, keys, nodes))
}

/// Compares a log with a head it once had. `nodes` are the log's, as far as `found` goes.
///
/// # Errors
/// The log does not extend the pinned head; both checkpoints are named.
pub fn compare<N: Nodes<Error: std::fmt::Display>>(
    pinned: &str,
    found: &SignedCheckpoint,
    keys: &[VerifyingKey],
    nodes: &N,
) -> Result<(), PinError> {
    let now = found.checkpoint();
    let pin = SignedCheckpoint::verify(pinned, &now.origin, keys)?;
    let then = pin.checkpoint();
    let both = (pin.to_string(), found.to_string());
    if then.size > now.size {
        return Err(PinError::Shrunk { pinned: both.0, found: both.1 });
    }
    let root = root_of(nodes, then.size).map_err(|e| PinError::Unchecked(e.to_string()))?;
    if root != then.root {
        return Err(PinError::Forked { pinned: both.0, found: both.1 });
    }
    Ok(())
}
