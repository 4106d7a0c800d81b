//! The one writer: takes what waits, gives it an order, signs, syncs once, answers everybody.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

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

    /// The next batch, or `None` when the log is closed and nothing waits.
    fn take(&self) -> Option<(Vec<Vec<u8>>, Arc<Cell>)> {
        let mut pool = lock(&self.pool);
        while pool.entries.is_empty() {
            if pool.closed || pool.failed.is_some() {
                return None;
            }
            pool = self.filled.wait(pool).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let batch = (std::mem::take(&mut pool.entries), std::mem::take(&mut pool.cell));
        drop(pool);
        self.room.notify_all();
        Some(batch)
    }
}

/// The state of the writing thread; it alone touches the journal.
pub(super) struct Sequencer {
    pub(super) shared: Arc<Shared>,
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

impl Sequencer {
    pub(super) fn run(mut self) {
        while let Some((entries, cell)) = self.shared.take() {
            match self.commit(&entries) {
                Ok(commit) => {
                    let commit = Arc::new(commit);
                    *lock(&self.shared.durable) = Arc::clone(&commit);
                    cell.tell(Ok(commit));
                }
                Err(why) => {
                    let failure = self.shared.fail(&why);
                    cell.tell(Err(failure));
                    return;
                }
            }
        }
    }

    /// Makes one batch durable. Whatever fails here ends the log: part of the batch may be in the file.
    fn commit(&mut self, entries: &[Vec<u8>]) -> Result<Commit, String> {
        let last = self.shared.durable();
        let head = last.signed.checkpoint();
        let first = head.size;
        if self.segment.length > self.segment_bytes {
            // Stop here: an empty segment behind a whole one, which opening takes as it is.
            self.segment = Segment::begin(&*self.files, first).map_err(|e| format!("new segment: {e}"))?;
        }
        let mut edge = last.edge.clone();
        edge.trim();
        let stamp = self.stamp();
        let mut buffer =
            Vec::with_capacity(entries.iter().map(|entry| entry.len() + 120).sum::<usize>() + 512);
        let mut ranges = Vec::with_capacity(entries.len());
        for (entry, index) in entries.iter().zip(first..) {
            let range = journal::put_entry(&mut buffer, index, |buffer| {
                self.fill(buffer, entry, index, &stamp);
            });
            edge.push(&buffer[range.clone()]);
            ranges.push(range);
        }
        let next = Checkpoint { origin: head.origin.clone(), size: edge.size(), root: edge.root() };
        let proof = consistency_proof(&edge, first, next.size).map_err(|e| e.to_string())?;
        let signed = next.sign_after(head, &proof, &self.shared.signers()).map_err(|e| e.to_string())?;
        journal::put_head(&mut buffer, next.size, &signed.to_string());

        self.segment.writer.write(&buffer).map_err(|e| format!("journal: {e}"))?;
        // Stop here: nobody was answered. Opening finds the whole batch, or cuts it.
        self.segment.writer.sync().map_err(|e| format!("journal: {e}"))?;
        // Stop here: the batch is durable with its head; opening publishes it.
        self.segment.length += buffer.len() as u64;
        Ok(Commit { first, edge, signed, buffer, entries: ranges })
    }

    fn stamp(&mut self) -> String {
        self.last_stamp = self.last_stamp.max(self.clock.now());
        format!("{:.6}", self.last_stamp)
    }

    fn fill(&self, buffer: &mut Vec<u8>, entry: &[u8], index: u64, stamp: &str) {
        match self.shared.stamp {
            Stamp::Nothing => buffer.extend_from_slice(entry),
            Stamp::Event => {
                let mut head = String::with_capacity(STAMP_ROOM);
                write!(head, "{{\"seq\":{index},\"logged\":\"{stamp}\",").expect("strings grow");
                buffer.extend_from_slice(head.as_bytes());
                buffer.extend_from_slice(&entry[1..]);
            }
        }
    }
}
