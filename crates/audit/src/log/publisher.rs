//! Brings the published files up to a durable head: bundles, tiles from the lowest level up, then `checkpoint`.
//!
//! It reads the entries back from the journal and hashes what it read: a file that does not hold what was signed is
//! found before anybody is shown a head over it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::sequencer::Failure;
use crate::checkpoint::SignedCheckpoint;
use crate::files::{Files, Group};
use crate::journal::{self, Record};
use crate::pin::Pin;
use crate::publish::{Builder, put_checkpoint, remove_partials};
use crate::reader::tile_nodes;
use crate::tree::consistency_proof;
use crate::witness::{CosignError, Cosigners};

/// Brings what readers see up to a durable head.
pub(super) trait Publishing: Send + Sync {
    /// Publishes everything up to `head`, which must be durable.
    fn publish(&self, head: &SignedCheckpoint) -> Result<(), Failure>;
}

/// Asks the witnesses for a head whose tiles are in `files`; gives it with their lines.
pub(super) fn cosigned(
    head: &SignedCheckpoint,
    cosigners: Option<&dyn Cosigners>,
    files: &dyn Files,
) -> Result<SignedCheckpoint, CosignError> {
    let mut head = head.clone();
    if let Some(cosigners) = cosigners {
        let size = head.checkpoint().size;
        let prove = |old| consistency_proof(&tile_nodes(files, size), old, size);
        let lines = cosigners.cosign(&head, &prove)?;
        head.add_signatures(lines);
    }
    Ok(head)
}

impl From<CosignError> for Failure {
    fn from(error: CosignError) -> Failure {
        match error {
            CosignError::Contradicted { .. } => Failure::Log(error.to_string()),
            CosignError::Late { .. } => Failure::Late(error.to_string()),
        }
    }
}

/// Publishes a log. The lock is held across a whole publication; nobody on the way of an append takes it.
pub(super) struct Publisher {
    files: Arc<dyn Files>,
    state: Mutex<State>,
    /// Asked before each head is published.
    cosigners: Option<Box<dyn Cosigners>>,
    /// Told of each head that was published.
    pin: Option<Box<dyn Pin>>,
}

struct State {
    builder: Builder,
    cursor: Cursor,
    /// The size of the published head; the builder may be ahead while witnesses are waited for.
    published: u64,
    /// A publication failed half way: the builder no longer knows what is on disk.
    broken: bool,
}

/// The place in the journal up to which entries were published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// The segment's first entry.
    pub(super) segment: u64,
    /// The next record in it.
    pub(super) offset: u64,
}

/// How much of the journal is read at once, in bytes.
const READ: usize = 4 << 20;

impl Publishing for Publisher {
    fn publish(&self, head: &SignedCheckpoint) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |e: io::Error| Failure::Log(e.to_string());
        let (from, size) = (state.published, head.checkpoint().size);
        if state.broken {
            return Err(Failure::Log("an earlier publication failed".into()));
        }
        if size <= from {
            return Ok(());
        }
        state.broken = true;
        self.advance(&mut state, head).map_err(failed)?;
        let head = match cosigned(head, self.cosigners.as_deref(), &*self.files).map_err(Failure::from) {
            Err(late @ Failure::Late(_)) => {
                // The tiles are there, the head follows when the witnesses do.
                state.broken = false;
                return Err(late);
            }
            other => other?,
        };
        put_checkpoint(&*self.files, &head).map_err(failed)?;
        // Stop here: the pin is older than the log, which it may be.
        self.pin.as_ref().map_or(Ok(()), |pin| pin.store(&head)).map_err(|e| Failure::Log(e.to_string()))?;
        state.published = size;
        state.broken = false;
        remove_partials(&*self.files, from, size);
        // Stop here: segments that are not needed stay; the next opening replays and removes them.
        self.remove_segments(state.cursor.segment).map_err(failed)
    }
}

impl Publisher {
    pub(super) fn new(
        files: Arc<dyn Files>,
        builder: Builder,
        cursor: Cursor,
        cosigners: Option<Box<dyn Cosigners>>,
        pin: Option<Box<dyn Pin>>,
    ) -> Publisher {
        let published = builder.size();
        let state = Mutex::new(State { builder, cursor, published, broken: false });
        Publisher { files, state, cosigners, pin }
    }

    /// The tree and the place in the journal, after recovery; nothing is published concurrently then.
    pub(super) fn into_builder(self) -> Builder {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).builder
    }

    /// Writes tiles up to `head`, which must be durable in the journal.
    pub(super) fn write_tiles(&self, head: &SignedCheckpoint) -> io::Result<()> {
        self.advance(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), head)
    }

    fn advance(&self, state: &mut State, head: &SignedCheckpoint) -> io::Result<()> {
        let wanted = head.checkpoint();
        if wanted.size <= state.builder.size() {
            return Ok(());
        }
        let mut group = Group::new(&*self.files);
        while state.builder.size() < wanted.size {
            self.read_some(state, wanted.size, &mut group)?;
        }
        if state.builder.edge().root() != wanted.root {
            return Err(io::Error::other("the journal does not hold what was signed"));
        }
        state.builder.write_partial(&mut group)?;
        // Stop here: files that no checkpoint speaks of yet; the next publication writes the same ones again.
        group.finish()
    }

    /// Reads one stretch of the journal into the builder.
    fn read_some(&self, state: &mut State, until: u64, group: &mut Group<'_>) -> io::Result<()> {
        let cursor = state.cursor;
        let bytes = self.files.read_at(&journal::path(cursor.segment), cursor.offset, READ)?;
        let mut at = 0;
        while let Some((record, behind)) = journal::read_record(&bytes, at) {
            match record {
                // After an opening the first segment begins before the published size.
                Record::Entry(index, _) if index < state.builder.size() => {}
                Record::Entry(index, entry) if index == state.builder.size() && index < until => {
                    state.builder.push(entry, group)?;
                }
                Record::Entry(index, _) if index >= until => break,
                Record::Entry(..) => return Err(io::Error::other("the journal skips an entry")),
                Record::Head(..) => {}
            }
            at = behind;
        }
        state.cursor.offset += at as u64;
        if at == 0 {
            self.next_segment(state)?;
        }
        Ok(())
    }

    fn next_segment(&self, state: &mut State) -> io::Result<()> {
        let next = segments(&*self.files)?.into_iter().find(|first| *first > state.cursor.segment);
        let Some(segment) = next.filter(|first| *first <= state.builder.size()) else {
            return Err(io::Error::other("the journal ends before the signed head"));
        };
        state.cursor = Cursor { segment, offset: journal::FIRST_RECORD as u64 };
        Ok(())
    }

    fn remove_segments(&self, before: u64) -> io::Result<()> {
        let old: Vec<u64> = segments(&*self.files)?.into_iter().filter(|first| *first < before).collect();
        old.iter().try_for_each(|first| self.files.remove(&journal::path(*first)))
    }
}

/// The first entries of all segments, in order.
pub(super) fn segments(files: &dyn Files) -> io::Result<Vec<u64>> {
    Ok(files.list(journal::DIR)?.iter().filter_map(|name| journal::first_of(name)).collect())
}
