//! Events out to other systems: in order, each at least once, a restart included.
//!
//! A format turns entries into what another system reads; a [`Sink`] carries it (the transport is the caller's); a
//! [`Cursor`] remembers how far it came. Exporting never holds up an append. Receivers tell doubles by origin and index,
//! which every format carries.

mod cef;
mod ocsf;
mod otlp;
mod syslog;
mod webhook;

use std::path::PathBuf;
use std::{fs, io};

pub use cef::cef;
pub use ocsf::ocsf;
pub use otlp::otlp;
pub use syslog::{Syslog, syslog};
pub use webhook::{cloud_events, signature};

use crate::event::{Event, EventError};
use crate::reader::{ReadError, Reader};
use crate::tree::{Hash, leaf_hash};

/// An event on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The log's name.
    pub origin: String,
    /// The entry's index.
    pub index: u64,
    /// The entry's leaf hash: what a receipt proves.
    pub leaf: Hash,
    /// The entry, as stored.
    pub entry: Vec<u8>,
    /// The event.
    pub event: Event,
}

impl Outgoing {
    /// Reads an entry.
    ///
    /// # Errors
    /// It is not an event.
    pub fn new(origin: &str, index: u64, entry: &[u8]) -> Result<Outgoing, EventError> {
        Ok(Outgoing {
            origin: origin.to_owned(),
            index,
            leaf: leaf_hash(entry),
            entry: entry.to_vec(),
            event: Event::parse(entry)?,
        })
    }

    /// The identity that acted; `unknown` if the event does not say.
    fn identity(&self) -> &str {
        let who = &self.event.who;
        who.repository.as_deref().or(who.subject.as_deref()).unwrap_or("unknown")
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The receiver is away or busy: the same batch again, later.
    #[error("try again: {0}")]
    Again(String),
    /// The receiver refuses this for good: a person must look.
    #[error("refused: {0}")]
    Refused(String),
}

/// Carries batches to a receiver.
pub trait Sink {
    /// Delivers a batch, whole. It may have been delivered before.
    ///
    /// # Errors
    /// See [`SinkError`]; any part of the batch may have arrived.
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError>;
}

/// Why exporting stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The cursor could not be read or written.
    #[error("cursor {path}: {source}")]
    Cursor {
        /// Where it is.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The cursor is of another log, or beyond this one: the log was exchanged or went backwards.
    #[error("the cursor stands at entry {next} of `{origin}`, which is not in this log")]
    Foreign {
        /// The origin in the cursor.
        origin: String,
        /// The next entry in the cursor.
        next: u64,
    },
    /// The receiver did not take a batch.
    #[error("entry {index}: {source}")]
    Sink {
        /// The first entry of the batch.
        index: u64,
        /// What the sink said.
        source: SinkError,
    },
}

/// How far an export came, kept in a file: the origin and the next index.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
}

impl Cursor {
    /// The cursor at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Cursor {
        Cursor { path: path.into() }
    }

    fn error(&self, source: io::Error) -> ExportError {
        ExportError::Cursor { path: self.path.display().to_string(), source }
    }

    /// The next index to export from a log of `size` entries.
    ///
    /// # Errors
    /// It cannot be read, or is not of this log.
    pub fn load(&self, origin: &str, size: u64) -> Result<u64, ExportError> {
        let text = match fs::read_to_string(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other.map_err(|e| self.error(e))?,
        };
        let parsed = text.trim_end().split_once(' ').and_then(|(o, next)| Some((o, next.parse().ok()?)));
        let (found, next): (&str, u64) = parsed
            .ok_or_else(|| self.error(io::Error::new(io::ErrorKind::InvalidData, "is not a cursor")))?;
        if found != origin || next > size {
            return Err(ExportError::Foreign { origin: found.to_owned(), next });
        }
        Ok(next)
    }

    fn store(&self, origin: &str, next: u64) -> Result<(), ExportError> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".tmp");
        // Lost by a power cut, it is an older cursor: entries are delivered twice, none is left out.
        let write = || {
            fs::write(&temporary, format!("{origin} {next}\n"))?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|e| self.error(e))
    }
}

/// Delivers everything from the cursor to the published head, bundle by bundle. Gives the number of events delivered.
/// Entries that are no events are passed over.
///
/// # Errors
/// See [`ExportError`]. The cursor stands behind the last batch that was delivered.
pub fn export(reader: &Reader, cursor: &Cursor, sink: &mut dyn Sink) -> Result<u64, ExportError> {
    let (origin, size) = (reader.head().checkpoint().origin.clone(), reader.size());
    let mut next = cursor.load(&origin, size)?;
    let mut delivered = 0;
    while next < size {
        let bundle = reader.bundle(next / crate::tree::tile::WIDTH)?;
        let fresh = bundle.entries().filter(|(index, _)| *index >= next);
        let batch: Vec<Outgoing> =
            fresh.filter_map(|(index, entry)| Outgoing::new(&origin, index, entry).ok()).collect();
        if !batch.is_empty() {
            sink.deliver(&batch).map_err(|source| ExportError::Sink { index: batch[0].index, source })?;
        }
        delivered += batch.len() as u64;
        next = bundle.entries().last().map_or(size, |(index, _)| index + 1);
        cursor.store(&origin, next)?;
    }
    Ok(delivered)
}

/// How bad an event is, from 0 (nothing) to 4 (act now); each format has its own scale.
fn weight(event: &Event) -> usize {
    use crate::event::{Action, Outcome};
    match (&event.action, event.outcome) {
        (Action::LeakMatched(_), _) => 4,
        (Action::Revoked(_), Outcome::Failed) => 3,
        (Action::FindingRecorded(_), _) => 2,
        (_, Outcome::Failed) => 2,
        (_, Outcome::Refused) => 1,
        _ => 0,
    }
}
