//! The log on disk: one writer, one sync per batch, tiles derived from the journal.
//!
//! ```text
//! append -> pool -> sequencer: entries + signed head -> journal, one sync -> every caller of the batch is answered
//!                                                         \-> publisher: bundles, tiles, then `checkpoint`
//! ```
//!
//! What is acknowledged is in the journal; the published files may lag it, never lead it. Opening replays the journal
//! into tiles and begins a new segment, so that nothing depends on pages that a failed sync may have dropped.
//! Any I/O error closes the log for good: the process opens it anew, or ends.

pub(crate) mod meta;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
mod publisher;
mod sequencer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use meta::Meta;
pub use open::{Recovery, TornTail};
#[cfg(feature = "postgres")]
pub use postgres::{Connections, Database};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::clock::{Clock, SystemClock};
use crate::files::Files;
use crate::note::{SigningKey, VerifyingKey};
use crate::pin::{Pin, PinError};
use crate::receipt::Receipt;
use crate::tree::inclusion_proof;
use crate::witness::{CosignError, Cosigners};
use publisher::Publishing;
use sequencer::{Commit, Failure, Shared, Store};

/// The largest entry, in bytes, stamps included. The format would allow 65,535.
pub const MAX_ENTRY: usize = 32 * 1024;
/// What stamping adds to an entry at most: `"seq":<20 digits>,"logged":"<30 characters>",`.
pub(crate) const STAMP_ROOM: usize = 80;

/// When bundles, tiles and the checkpoint file follow the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// A thread publishes what has become durable, this often.
    Every(Duration),
    /// Only [`Log::publish`] and [`Log::close`] do.
    OnDemand,
}

/// Whether the log puts sequence number and time into each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Entries are JSON objects; `seq` and `logged` become their first members.
    Event,
    /// Entries are taken as they are.
    Nothing,
}

/// How a log is opened.
pub struct Options {
    /// When tiles follow.
    pub publish: Publish,
    /// Whether entries are stamped.
    pub stamp: Stamp,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The last head seen, kept elsewhere; compared before anything is appended.
    pub pin: Option<Box<dyn Pin>>,
    /// Witnesses: asked for the last head before anything is appended, and for each head before it is published.
    pub cosigners: Option<Box<dyn Cosigners>>,
    /// A journal segment is ended when it is longer than this, in bytes.
    pub segment_bytes: u64,
    /// The most entries in one batch.
    pub batch_entries: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            publish: Publish::Every(Duration::from_millis(500)),
            stamp: Stamp::Event,
            clock: Arc::new(SystemClock),
            pin: None,
            cosigners: None,
            segment_bytes: 16 << 20,
            batch_entries: 1024,
        }
    }
}

/// Why a log could not be created or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be read or written: try again when the disk is well.
    #[error("{path}: {source}")]
    Io {
        /// Relative to the log.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes to this log.
    #[error("another process has this log open for writing")]
    Locked,
    /// There is a log already where one was to be created.
    #[error("there is a log here already, of origin `{origin}`")]
    Exists {
        /// Its origin.
        origin: String,
    },
    /// The directory holds something else.
    #[error("not a log of claviger: {why}")]
    Foreign {
        /// What was found.
        why: String,
    },
    /// A newer program made this log.
    #[error("the log has format {found}, this program knows up to {known}: use a newer one")]
    Version {
        /// The format of the log.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The published head is wrong, or of another log or key.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The files contradict the signed head or each other. Nothing is repaired: keep the directory as evidence.
    #[error("{path}: {why}")]
    Damaged {
        /// Relative to the log.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The database could not be reached, or is set up so that it may lose what it acknowledged.
    #[error("database: {0}")]
    Database(String),
    /// The log went backwards, or is another one.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A witness contradicts the log, or too few of them answer.
    #[error(transparent)]
    Witness(#[from] CosignError),
}

/// Why an entry was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The entry is empty, too long, or no JSON object where it must be one. Others may go through.
    #[error("the entry cannot be logged: {0}")]
    Refused(&'static str),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The database did not take the batch. It may be in the log all the same; the log goes on.
    #[error("the log's database did not answer: {0}")]
    Unavailable(Arc<str>),
    /// Everything is durable, but the head is not published: too few witnesses cosigned. They are asked again.
    #[error("the head is not published yet: {0}")]
    Unpublished(Arc<str>),
    /// Writing failed now or before: the log takes nothing until it is opened anew.
    #[error("the log failed and takes no more entries: {0}")]
    Failed(Arc<str>),
}

/// A log open for writing. Share it by reference; every method may be called from any thread.
pub struct Log {
    files: Arc<dyn Files>,
    shared: Arc<Shared>,
    publisher: Arc<dyn Publishing>,
    /// Told to the threads below.
    closing: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    recovery: Recovery,
    /// Released last.
    _lock: Box<dyn Send + Sync>,
}

impl Log {
    /// Appends one entry; returns when it is durable.
    ///
    /// # Errors
    /// See [`AppendError`]. After any error the entry may or may not be found in the log.
    pub fn append(&self, entry: Vec<u8>) -> Result<Appended, AppendError> {
        let (cell, slot) = self.shared.enqueue(entry)?;
        Ok(Appended { commit: cell.wait()?, slot })
    }

    /// Appends entries in order; returns when all are durable. They may be spread over several batches.
    ///
    /// # Errors
    /// See [`AppendError`]; any number of the entries may be found in the log then.
    pub fn append_all(
        &self,
        entries: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Vec<Appended>, AppendError> {
        let mut waiting = Vec::new();
        for entry in entries {
            waiting.push(self.shared.enqueue(entry)?);
        }
        waiting.into_iter().map(|(cell, slot)| Ok(Appended { commit: cell.wait()?, slot })).collect()
    }

    /// The last durable head.
    pub fn head(&self) -> SignedCheckpoint {
        self.shared.durable().signed.clone()
    }

    /// Brings the published files up to the last durable head.
    ///
    /// # Errors
    /// A file could not be written, or what was read back is not what was signed. The log has failed then.
    pub fn publish(&self) -> Result<SignedCheckpoint, AppendError> {
        publish(&*self.publisher, &self.shared)
    }

    /// Signs from now on with `key` too. Both keys' names are in `log.json` before the first head has both lines.
    /// Log the change as an event, and [retire](Log::retire_key) the old key after an overlap.
    ///
    /// # Errors
    /// `log.json` could not be written.
    pub fn add_key(&self, key: SigningKey) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: meta::PATH.into(), source };
        let mut meta =
            Meta::read(&*self.files)?.ok_or(OpenError::Foreign { why: "log.json is gone".into() })?;
        let public = key.verifying_key();
        if public.name() != meta.origin {
            return Err(OpenError::Foreign { why: format!("the key is of `{}`", public.name()) });
        }
        if !meta.keys.contains(public) {
            meta.keys.push(public.clone());
            meta.write(&*self.files).map_err(io)?;
        }
        self.shared.signers().push(key);
        Ok(())
    }

    /// Stops signing with a key. The last one stays.
    pub fn retire_key(&self, key: &VerifyingKey) {
        let mut signers = self.shared.signers();
        if signers.len() > 1 {
            signers.retain(|signer| signer.verifying_key() != key);
        }
    }

    /// What opening found: a torn tail, entries that were not published yet.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The directory.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Writes what waits, publishes, and releases the lock.
    ///
    /// # Errors
    /// As [`Log::publish`].
    pub fn close(mut self) -> Result<SignedCheckpoint, AppendError> {
        self.stop();
        self.publish()
    }

    fn stop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.shared.close();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            thread.join().ok();
        }
    }

    fn start(
        files: Arc<dyn Files>,
        shared: Arc<Shared>,
        store: impl Store + 'static,
        publisher: impl Publishing + 'static,
        every: Publish,
        recovery: Recovery,
        lock: Box<dyn Send + Sync>,
    ) -> Log {
        let publisher: Arc<dyn Publishing> = Arc::new(publisher);
        let closing = Arc::new(AtomicBool::new(false));
        let writing = Arc::clone(&shared);
        let mut threads = vec![std::thread::spawn(move || sequencer::run(&writing, store))];
        if let Publish::Every(interval) = every {
            let (shared, publisher, closing) =
                (Arc::clone(&shared), Arc::clone(&publisher), Arc::clone(&closing));
            threads.push(std::thread::spawn(move || {
                while !closing.load(Ordering::Acquire) {
                    std::thread::park_timeout(interval);
                    // A database that is away comes back; a log that failed does not.
                    if matches!(publish(&*publisher, &shared), Err(AppendError::Failed(_))) {
                        return;
                    }
                }
            }));
        }
        Log { files, shared, publisher, closing, threads, recovery, _lock: lock }
    }
}

fn publish(publisher: &dyn Publishing, shared: &Shared) -> Result<SignedCheckpoint, AppendError> {
    if let Some(failure) = shared.failure() {
        return Err(failure);
    }
    let head = shared.durable().signed.clone();
    publisher.publish(&head).map_err(|failure| match failure {
        Failure::Log(why) => shared.fail(&why),
        Failure::Batch(why) => AppendError::Unavailable(why.into()),
        Failure::Late(why) => AppendError::Unpublished(why.into()),
    })?;
    Ok(head)
}

impl Drop for Log {
    /// Stops the threads. What was acknowledged is durable; publishing is left to the next opening.
    fn drop(&mut self) {
        self.stop();
    }
}

/// An entry that is durable.
#[derive(Debug, Clone)]
pub struct Appended {
    commit: Arc<Commit>,
    slot: usize,
}

impl Appended {
    /// Its index in the log.
    pub fn index(&self) -> u64 {
        self.commit.first + self.slot as u64
    }

    /// The bytes as stored, stamps included: what a receipt is checked against.
    pub fn entry(&self) -> &[u8] {
        self.commit.entry(self.slot)
    }

    /// The head that was signed over it.
    pub fn head(&self) -> &SignedCheckpoint {
        &self.commit.signed
    }

    /// The proof that it is in the log, to be kept by whoever must not trust the log later.
    pub fn receipt(&self) -> Receipt {
        let size = self.commit.signed.checkpoint().size;
        let proof = inclusion_proof(&self.commit.edge, self.index(), size)
            .expect("the edge of a batch proves each of its entries");
        Receipt { index: self.index(), proof, checkpoint: self.commit.signed.to_string(), extra: None }
    }
}
