//! The one writer: takes what waits, gives it an order, signs, syncs once, answers everybody.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{AppendError, MAX_ENTRY, STAMP_ROOM, Stamp};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::clock::Clock;
use crate::files::{Files, Writer};
use crate::journal;
use crate::note::SigningKey;
use crate::tree::{Edge, consistency_proof};

/// A batch that is durable.
#[derive(Debug)]
pub(super) struct Commit {
    /// The index of its first entry.
    pub(super) first: u64,
    /// The tree after it, holding every node that its entries' proofs need.
    pub(super) edge: Edge,
    /// The head after it.
    pub(super) signed: SignedCheckpoint,
    /// The journal's bytes, and where the entries are in them.
    buffer: Vec<u8>,
    entries: Vec<Range<usize>>,
}

impl Commit {
    /// The state of a log before anything is appended.
    pub(super) fn initial(edge: Edge, signed: SignedCheckpoint) -> Commit {
        Commit { first: edge.size(), edge, signed, buffer: Vec::new(), entries: Vec::new() }
    }

    pub(super) fn entry(&self, slot: usize) -> &[u8] {
        &self.buffer[self.entries[slot].clone()]
    }
}

/// Where the callers of one batch wait.
#[derive(Default)]
pub(super) struct Cell {
    done: Mutex<Option<Result<Arc<Commit>, AppendError>>>,
    told: Condvar,
}

impl Cell {
    pub(super) fn wait(&self) -> Result<Arc<Commit>, AppendError> {
        let mut done = lock(&self.done);
        loop {
            if let Some(result) = &*done {
                return result.clone();
            }
            done = self.told.wait(done).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn tell(&self, result: Result<Arc<Commit>, AppendError>) {
        *lock(&self.done) = Some(result);
        self.told.notify_all();
    }
}

/// What waits for the next batch.
#[derive(Default)]
struct Pool {
    entries: Vec<Vec<u8>>,
    cell: Arc<Cell>,
    closed: bool,
    failed: Option<AppendError>,
}

/// What callers, sequencer and publisher share. No lock is held across I/O.
pub(super) struct Shared {
    pool: Mutex<Pool>,
    /// There is something in the pool, or it was closed.
    filled: Condvar,
    /// The pool was taken.
    room: Condvar,
    durable: Mutex<Arc<Commit>>,
    signers: Mutex<Vec<SigningKey>>,
    stamp: Stamp,
    batch_entries: usize,
}

/// A panic under one of these locks leaves whole values: each section is a few assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        initial: Commit,
        signers: Vec<SigningKey>,
        stamp: Stamp,
        batch_entries: usize,
    ) -> Shared {
        Shared {
            pool: Mutex::default(),
            filled: Condvar::new(),
            room: Condvar::new(),
            durable: Mutex::new(Arc::new(initial)),
            signers: Mutex::new(signers),
            stamp,
            batch_entries: batch_entries.max(1),
        }
    }

    /// Puts an entry into the next batch.
    pub(super) fn enqueue(&self, entry: Vec<u8>) -> Result<(Arc<Cell>, usize), AppendError> {
        let room = if self.stamp == Stamp::Event { STAMP_ROOM } else { 0 };
        if entry.len() + room > MAX_ENTRY {
            return Err(AppendError::Refused("it is too long"));
        }
        match self.stamp {
            Stamp::Event if entry.len() < 3 || entry[0] != b'{' => {
                return Err(AppendError::Refused("it is not a JSON object with members"));
            }
            Stamp::Nothing if entry.is_empty() => return Err(AppendError::Refused("it is empty")),
            _ => {}
        }
        let mut pool = lock(&self.pool);
        while pool.entries.len() >= self.batch_entries && pool.failed.is_none() && !pool.closed {
            pool = self.room.wait(pool).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if let Some(failed) = &pool.failed {
            return Err(failed.clone());
        }
        if pool.closed {
            return Err(AppendError::Closed);
        }
        pool.entries.push(entry);
        if pool.entries.len() == 1 {
            self.filled.notify_one();
        }
        Ok((Arc::clone(&pool.cell), pool.entries.len() - 1))
    }

    pub(super) fn durable(&self) -> Arc<Commit> {
        Arc::clone(&lock(&self.durable))
    }

    pub(super) fn signers(&self) -> MutexGuard<'_, Vec<SigningKey>> {
        lock(&self.signers)
    }

    pub(super) fn failure(&self) -> Option<AppendError> {
        lock(&self.pool).failed.clone()
    }

    pub(super) fn close(&self) {
        lock(&self.pool).closed = true;
        self.filled.notify_all();
        self.room.notify_all();
    }

    /// Ends the log: whoever waits and whoever comes is told. The first failure is the one that is told.
    pub(super) fn fail(&self, why: &str) -> AppendError {
        let mut pool = lock(&self.pool);
        let failure = pool.failed.get_or_insert_with(|| AppendError::Failed(why.into())).clone();
        let waiting = std::mem::take(&mut pool.cell);
        pool.entries.clear();
        drop(pool);
        waiting.tell(Err(failure.clone()));
        self.filled.notify_all();
        self.room.notify_all();
        failure
    }

    /// The next batch, or `None` when the log is closed and nothing waits. Waits up to `gather` for as many entries as
    /// the `last` batch had.
    fn take(&self, last: usize, gather: Duration) -> Option<(Vec<Vec<u8>>, Arc<Cell>)> {
        let mut pool = lock(&self.pool);
        while pool.entries.is_empty() {
            if pool.closed || pool.failed.is_some() {
                return None;
            }
            pool = self.filled.wait(pool).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let until = Instant::now() + gather;
        while !gather.is_zero() && pool.entries.len() < last && !pool.closed && Instant::now() < until {
            drop(pool);
            std::thread::sleep(gather / 8);
            pool = lock(&self.pool);
        }
        if pool.entries.is_empty() {
            return None; // the log failed meanwhile
        }
        let batch = (std::mem::take(&mut pool.entries), std::mem::take(&mut pool.cell));
        drop(pool);
        self.room.notify_all();
        Some(batch)
    }
}

/// Why a batch was not committed.
pub(super) enum Failure {
    /// The log is over: what is on disk is no longer known.
    Log(String),
    /// Only this batch: it may or may not be in the log, and the next one will know.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only a database comes back"))]
    Batch(String),
    /// Nothing is wrong with the log, but its head is not published yet.
    Late(String),
}

/// Where batches become durable.
pub(super) trait Store: Send {
    /// How long a batch waits for those who were answered a moment ago, when a commit costs much more than that.
    const GATHER: Duration = Duration::ZERO;

    /// Makes a batch durable, together with its signed head.
    fn commit(&mut self, shared: &Shared, entries: &[Vec<u8>]) -> Result<Commit, Failure>;
}

/// The writing thread's life: takes what waits, commits it, answers everybody.
pub(super) fn run<S: Store>(shared: &Shared, mut store: S) {
    let mut last = 0;
    while let Some((entries, cell)) = shared.take(last, S::GATHER) {
        last = entries.len();
        match store.commit(shared, &entries) {
            Ok(commit) => {
                let commit = Arc::new(commit);
                *lock(&shared.durable) = Arc::clone(&commit);
                cell.tell(Ok(commit));
            }
            Err(Failure::Batch(why) | Failure::Late(why)) => {
                cell.tell(Err(AppendError::Unavailable(why.into())));
            }
            Err(Failure::Log(why)) => {
                let failure = shared.fail(&why);
                cell.tell(Err(failure));
                return;
            }
        }
    }
}

impl Commit {
    /// Puts entries behind a head, in order, and signs the new head: everything but making it durable.
    pub(super) fn prepare(
        shared: &Shared,
        head: &Checkpoint,
        mut edge: Edge,
        entries: &[Vec<u8>],
        stamp: Timestamp,
    ) -> Result<Commit, String> {
        let first = head.size;
        let stamp = format!("{stamp:.6}");
        edge.trim();
        let mut buffer =
            Vec::with_capacity(entries.iter().map(|entry| entry.len() + 120).sum::<usize>() + 512);
        let mut ranges = Vec::with_capacity(entries.len());
        for (entry, index) in entries.iter().zip(first..) {
            let range = journal::put_entry(&mut buffer, index, |buffer| {
                fill(buffer, shared.stamp, entry, index, &stamp);
            });
            edge.push(&buffer[range.clone()]);
            ranges.push(range);
        }
        let next = Checkpoint { origin: head.origin.clone(), size: edge.size(), root: edge.root() };
        let proof = consistency_proof(&edge, first, next.size).map_err(|e| e.to_string())?;
        let signed = next.sign_after(head, &proof, &shared.signers()).map_err(|e| e.to_string())?;
        Ok(Commit { first, edge, signed, buffer, entries: ranges })
    }

    /// The entries' bytes, in order.
    #[cfg(feature = "postgres")]
    pub(super) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|range| &self.buffer[range.clone()])
    }
}

fn fill(buffer: &mut Vec<u8>, stamping: Stamp, entry: &[u8], index: u64, stamp: &str) {
    match stamping {
        Stamp::Nothing => buffer.extend_from_slice(entry),
        Stamp::Event => {
            let mut head = String::with_capacity(STAMP_ROOM);
            write!(head, "{{\"seq\":{index},\"logged\":\"{stamp}\",").expect("strings grow");
            buffer.extend_from_slice(head.as_bytes());
            buffer.extend_from_slice(&entry[1..]);
        }
    }
}

/// The journal on disk; the writing thread alone touches it.
pub(super) struct Journal {
    pub(super) files: Arc<dyn Files>,
    pub(super) segment: Segment,
    pub(super) segment_bytes: u64,
    pub(super) clock: Arc<dyn Clock>,
    /// The stamp of the last entry: stamps never go backwards.
    pub(super) last_stamp: Timestamp,
}

/// The journal segment being written.
pub(super) struct Segment {
    writer: Box<dyn Writer>,
    length: u64,
}

impl Segment {
    /// Begins a segment at entry `first`; its name is durable when this returns.
    pub(super) fn begin(files: &dyn Files, first: u64) -> io::Result<Segment> {
        let mut writer = files.create(&journal::path(first))?;
        let header = journal::header(first);
        writer.write(&header)?;
        writer.sync()?;
        files.sync_dir(journal::DIR)?;
        Ok(Segment { writer, length: header.len() as u64 })
    }
}

impl Store for Journal {
    /// Whatever fails here ends the log: part of the batch may be in the file.
    fn commit(&mut self, shared: &Shared, entries: &[Vec<u8>]) -> Result<Commit, Failure> {
        let last = shared.durable();
        let head = last.signed.checkpoint();
        let failed = |what: &str, e: io::Error| Failure::Log(format!("{what}: {e}"));
        if self.segment.length > self.segment_bytes {
            // Stop here: an empty segment behind a whole one, which opening takes as it is.
            self.segment = Segment::begin(&*self.files, head.size).map_err(|e| failed("new segment", e))?;
        }
        self.last_stamp = self.last_stamp.max(self.clock.now());
        let mut commit = Commit::prepare(shared, head, last.edge.clone(), entries, self.last_stamp)
            .map_err(Failure::Log)?;
        journal::put_head(&mut commit.buffer, commit.edge.size(), &commit.signed.to_string());
        self.segment.writer.write(&commit.buffer).map_err(|e| failed("journal", e))?;
        // Stop here: nobody was answered. Opening finds the whole batch, or cuts it.
        self.segment.writer.sync().map_err(|e| failed("journal", e))?;
        // Stop here: the batch is durable with its head; opening publishes it.
        self.segment.length += commit.buffer.len() as u64;
        Ok(commit)
    }
}
