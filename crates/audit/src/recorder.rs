//! Events into a log: opening and closing say so, and rotation, key change and pruning are events too.

use std::sync::Arc;

use jiff::Timestamp;

use crate::checkpoint::SignedCheckpoint;
use crate::clock::Clock;
use crate::event::{Action, Event, EventError, KeyRotated, LogClosed, LogOpened, Outcome, Pruned};
use crate::files::{Files, Group};
use crate::log::{AppendError, Appended, Log, OpenError, Options, Stamp};
use crate::note::{SigningKey, VerifyingKey};
use crate::reader::entry_at;
use crate::tree::tile::{Row, Tile, WIDTH};

/// Why an event was not recorded. In each case nothing may be issued on the strength of it.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The event cannot be written down.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The log did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Bundles could not be archived or dropped.
    #[error("pruning: {path}: {source}")]
    Prune {
        /// Relative to the log or the archive.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log is not that long.
    #[error("cannot prune up to entry {minimum}: only {published} are published")]
    PruneBeyond {
        /// What was asked for.
        minimum: u64,
        /// How many entries are in tiles.
        published: u64,
    },
}

/// When a log is ended and the next one begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// With the month, in UTC.
    Monthly,
    /// At so many entries.
    Entries(u64),
}

/// The origin of the log of `base` that begins now: `<base>/2026-11`, or `<base>/2026-11-24T102030Z` when logs are
/// ended by size, since two may begin in one month.
pub fn origin_for(base: &str, rotation: Rotation, now: Timestamp) -> String {
    let format = match rotation {
        Rotation::Monthly => "%Y-%m",
        Rotation::Entries(_) => "%Y-%m-%dT%H%M%SZ",
    };
    format!("{base}/{}", now.strftime(format))
}

/// A log of events, open for writing.
pub struct Recorder {
    log: Log,
    clock: Arc<dyn Clock>,
    /// When the log's first entry was logged; unknown if that was pruned.
    began: Option<Timestamp>,
}

impl Recorder {
    /// Creates a log. Its first event commits to the final checkpoint of the one before it, if there is one.
    ///
    /// # Errors
    /// See [`OpenError`], [`AppendError`].
    pub fn create(
        files: Arc<dyn Files>,
        key: SigningKey,
        options: Options,
        previous: Option<&SignedCheckpoint>,
    ) -> Result<Recorder, RecordError> {
        let clock = Options { clock: Arc::clone(&options.clock), ..Options::default() };
        let log = Log::create(files, key, Options { stamp: Stamp::Event, ..options })?;
        Recorder::begin(log, &clock, previous)
    }

    /// Opens a log. What recovery found becomes an event.
    ///
    /// # Errors
    /// See [`OpenError`], [`AppendError`].
    pub fn open(
        files: Arc<dyn Files>,
        keys: Vec<SigningKey>,
        options: Options,
    ) -> Result<Recorder, RecordError> {
        let clock = Arc::clone(&options.clock);
        Recorder::over(Log::open(files, keys, Options { stamp: Stamp::Event, ..options })?, clock)
    }

    /// Records into a log that was opened elsewhere, with [`Stamp::Event`]; says that it was opened.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn on(log: Log, options: &Options) -> Result<Recorder, RecordError> {
        Recorder::over(log, Arc::clone(&options.clock))
    }

    /// Records into an empty log that was opened elsewhere, as [`Recorder::create`] does on disk.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn begin(
        log: Log,
        options: &Options,
        previous: Option<&SignedCheckpoint>,
    ) -> Result<Recorder, RecordError> {
        let clock = Arc::clone(&options.clock);
        let recorder = Recorder { began: Some(clock.now()), log, clock };
        recorder.opened(previous.map(ToString::to_string))?;
        Ok(recorder)
    }

    fn over(log: Log, clock: Arc<dyn Clock>) -> Result<Recorder, RecordError> {
        let first = entry_at(&**log.files(), 0, log.head().checkpoint().size).ok();
        let began = first.and_then(|entry| Event::parse(&entry).ok()?.logged);
        let recorder = Recorder { log, clock, began };
        recorder.opened(None)?;
        Ok(recorder)
    }

    /// Is it time to [rotate](Recorder::rotate)?
    pub fn is_rotation_due(&self, rotation: Rotation) -> bool {
        match rotation {
            Rotation::Entries(most) => self.log.head().checkpoint().size >= most,
            Rotation::Monthly => self.began.is_some_and(|began| {
                let month = |at: Timestamp| at.strftime("%Y-%m").to_string();
                month(self.now()) > month(began)
            }),
        }
    }

    fn opened(&self, previous: Option<String>) -> Result<Appended, RecordError> {
        let recovery = self.log.recovery();
        let detail = LogOpened {
            program: Some(env!("CARGO_PKG_VERSION").to_owned()),
            previous,
            replayed: recovery.replayed,
            torn_bytes: recovery.torn.as_ref().map_or(0, |torn| torn.bytes),
            ..LogOpened::default()
        };
        self.happened(Action::LogOpened(detail))
    }

    fn happened(&self, action: Action) -> Result<Appended, RecordError> {
        self.record(&Event::new(self.now(), action, Outcome::Success))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Appends an event; returns when it is durable. Until then nothing that depends on it may be handed out.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn record(&self, event: &Event) -> Result<Appended, RecordError> {
        Ok(self.log.append(event.encode()?)?)
    }

    /// Appends events in order; returns when all are durable.
    ///
    /// # Errors
    /// See [`RecordError`]; any number of the events may be found in the log then.
    pub fn record_all(&self, events: &[Event]) -> Result<Vec<Appended>, RecordError> {
        let entries = events.iter().map(Event::encode).collect::<Result<Vec<_>, _>>()?;
        Ok(self.log.append_all(entries)?)
    }

    /// The log below.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Signs from now on with `new` too, and says so with both keys named. When every verifier knows the new key,
    /// [`Recorder::retire_key`] ends the overlap.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn rotate_key(&self, old: &VerifyingKey, new: SigningKey) -> Result<Appended, RecordError> {
        let detail = KeyRotated {
            old: old.to_string(),
            new: new.verifying_key().to_string(),
            ..KeyRotated::default()
        };
        self.log.add_key(new)?;
        self.happened(Action::KeyRotated(detail))
    }

    /// Ends the overlap of two keys: says so, signed by both, and signs with `new` alone from the next head on.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn retire_key(&self, old: &VerifyingKey, new: &VerifyingKey) -> Result<Appended, RecordError> {
        let detail =
            KeyRotated { old: old.to_string(), new: new.to_string(), retired: true, ..KeyRotated::default() };
        let done = self.happened(Action::KeyRotated(detail))?;
        self.log.retire_key(old);
        Ok(done)
    }

    /// Ends this log and begins the next, whose first event commits to the final checkpoint of this one.
    ///
    /// # Errors
    /// See [`RecordError`]. If the next log cannot be begun, this one is closed all the same.
    pub fn rotate(
        self,
        files: Arc<dyn Files>,
        key: SigningKey,
        options: Options,
    ) -> Result<Recorder, RecordError> {
        let last = self.end(Some(key.verifying_key().name().to_owned()))?;
        // Stop here: this log is closed and names the next one, which is created anew.
        Recorder::create(files, key, options, Some(&last))
    }

    /// Says that the log is closed, publishes, and releases it.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn close(self) -> Result<SignedCheckpoint, RecordError> {
        self.end(None)
    }

    fn end(self, next: Option<String>) -> Result<SignedCheckpoint, RecordError> {
        self.happened(Action::LogClosed(LogClosed { next, ..LogClosed::default() }))?;
        Ok(self.log.close()?)
    }

    /// Drops the bundles that lie wholly before entry `minimum`, after copying them to `archive` if one is given. The
    /// tiles stay, so that every root and proof can still be computed. Gives the first entry whose bundle is kept.
    ///
    /// # Errors
    /// See [`RecordError`]. Bundles are dropped only when their archive copies and the event are durable.
    pub fn prune(&self, minimum: u64, archive: Option<(&dyn Files, &str)>) -> Result<u64, RecordError> {
        let published = self.log.publish()?.checkpoint().size;
        if minimum > published {
            return Err(RecordError::PruneBeyond { minimum, published });
        }
        let kept = minimum / WIDTH;
        let files = self.log.files();
        let bundles: Vec<String> = (0..kept)
            .map(|index| Tile { row: Row::Entries, index, width: WIDTH as u16 }.to_string())
            .collect();
        if let Some((target, _)) = archive {
            for path in &bundles {
                copy(&**files, target, path)
                    .map_err(|source| RecordError::Prune { path: path.clone(), source })?;
            }
        }
        let detail = Pruned {
            minimum: kept * WIDTH,
            archive: archive.map(|(_, name)| name.to_owned()),
            ..Pruned::default()
        };
        self.happened(Action::Pruned(detail))?;
        self.log.publish()?;
        // Stop here: the event allows what is missing; pruning again drops the rest.
        for path in bundles {
            match files.remove(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RecordError::Prune { path, source });
                }
                _ => {}
            }
        }
        Ok(kept * WIDTH)
    }
}

/// Copies a bundle durably. One that is gone was pruned, and archived, before.
fn copy(from: &dyn Files, to: &dyn Files, path: &str) -> std::io::Result<()> {
    let bytes = match from.read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut group = Group::new(to);
    group.dir(crate::files::parent(path))?;
    group.put(path, &bytes)?;
    group.finish()
}
