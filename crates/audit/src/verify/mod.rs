//! Verification: recompute everything from the entries up, in parallel, and name the first thing that is wrong.
//!
//! Nothing in the directory is trusted: origin and keys come from the caller, hashes are recomputed from entries, and
//! the result must be the root that a known key signed.

mod chain;
mod fault;
mod journal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

pub use chain::{ChainError, verify_chain};
use fault::judge;
pub use fault::{Fault, VerifyError};

use crate::checkpoint::SignedCheckpoint;
use crate::event::{Action, Event};
use crate::files::Files;
use crate::log::{Meta, OpenError, meta};
use crate::note::{VerifyingKey, Vouched};
use crate::pin::{self, PinError};
use crate::publish::CHECKPOINT;
use crate::reader::{ReadError, fetch, read_head, tile_nodes};
use crate::tree::tile::{Row, Tile, WIDTH, fold, levels, row_len, split_bundle, split_tile};
use crate::tree::{Edge, Hash, leaf_hash};

/// How a log is verified.
#[derive(Default)]
pub struct Options {
    /// The log's name; empty: what the log calls itself.
    pub origin: String,
    /// Who may sign, and witnesses. Empty: who the log itself says, which shows integrity but not authenticity.
    pub keys: Vec<VerifyingKey>,
    /// Checkpoints seen before, each of which the log must extend.
    pub seen: Vec<Seen>,
    /// Where pruned bundles are kept.
    pub archive: Option<Arc<dyn Files>>,
    /// Must every entry be an event that this program can read?
    pub events: bool,
}

/// A checkpoint seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it was kept, for the message when the log does not extend it.
    pub place: String,
    /// The checkpoint, as a note.
    pub note: String,
}

/// What was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The signed head; everything below is under it.
    pub head: SignedCheckpoint,
    /// Was the signature checked against keys that the caller brought?
    pub authentic: bool,
    /// Entries whose bytes were hashed.
    pub entries: u64,
    /// Entries before this one were pruned, as an event of the log allows; their hashes were used.
    pub pruned_below: u64,
    /// Bytes of entries that were hashed.
    pub bytes: u64,
    /// Entries in the journal behind the head, under signed heads of their own.
    pub tail: u64,
    /// Bytes at the journal's end that a crash left of an unfinished batch.
    pub torn_bytes: u64,
    /// Witnesses that cosigned the head.
    pub witnesses: Vec<Vouched>,
}

/// Verifies the log in a directory.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(files: &Arc<dyn Files>, options: &Options) -> Result<Verified, VerifyError> {
    let meta = own_word(&**files, options)?;
    let origin = if options.origin.is_empty() { &meta.origin } else { &options.origin };
    let keys = if options.keys.is_empty() { &meta.keys } else { &options.keys };
    let head = read_head(&**files, origin, keys).map_err(judge)?;
    let size = head.checkpoint().size;
    let check =
        Check { files: &**files, options, size, bytes: AtomicU64::new(0), present: AtomicU64::new(0) };

    let (bottom, pruned_below) = while_reading(|| check.bottom())?;
    let root = check.upper(bottom)?;
    if root != head.checkpoint().root {
        return Err(Fault::Root { size, computed: root, signed: head.checkpoint().root }.into());
    }
    check.stale_partials()?;
    for Seen { place, note } in &options.seen {
        pin::compare(note, &head, keys, &tile_nodes(&**files, size)).map_err(|e| match e {
            PinError::Unchecked(why) => Fault::Malformed { path: "tile".into(), why },
            source => Fault::Rollback { place: place.clone(), source },
        })?;
    }
    let journal = journal::check(&**files, &head, &meta.keys, keys)?;
    let witnesses = head.witnesses(keys).map_err(|e| Fault::Checkpoint(e.into()))?;
    Ok(Verified {
        authentic: !options.keys.is_empty(),
        entries: check.present.into_inner(),
        pruned_below,
        bytes: check.bytes.into_inner(),
        tail: journal.entries,
        torn_bytes: journal.torn_bytes,
        witnesses,
        head,
    })
}

/// What the log says of itself: its name, and who signs. With origin and keys of the caller, nothing depends on it; a
/// wrong one is a fault all the same.
fn own_word(files: &dyn Files, options: &Options) -> Result<Meta, VerifyError> {
    let path = || meta::PATH.to_owned();
    let brought = !options.origin.is_empty() && !options.keys.is_empty();
    match Meta::read(files) {
        Ok(Some(meta)) if !options.origin.is_empty() && meta.origin != options.origin => {
            let why = format!("names `{}`, not `{}`", meta.origin, options.origin);
            Err(Fault::Malformed { path: path(), why }.into())
        }
        Ok(Some(meta)) => Ok(meta),
        // A file server gives out the log and nothing beside it; who brings origin and keys needs no more.
        Ok(None) if brought => Ok(Meta { origin: options.origin.clone(), keys: Vec::new() }),
        Ok(None) => Err(Fault::Missing { path: path() }.into()),
        Err(OpenError::Io { path, source }) => Err(judge(ReadError::Io { path, source })),
        // Beside a checkpoint it was a log's; alone it is another tool's file.
        Err(OpenError::Foreign { why }) if files.read(CHECKPOINT).is_ok() => {
            Err(Fault::Malformed { path: path(), why }.into())
        }
        Err(e) => Err(ReadError::Open(Box::new(e)).into()),
    }
}

/// Runs work with more threads than processors: part of the time each waits for the disk or the network.
fn while_reading<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let threads = (2 * rayon::current_num_threads()).max(4);
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

struct Check<'a> {
    files: &'a dyn Files,
    options: &'a Options,
    size: u64,
    bytes: AtomicU64,
    present: AtomicU64,
}

/// What one level-0 tile came to.
enum Bottom {
    Checked(Vec<Hash>),
    /// The bundle is gone; these are the tile's hashes.
    NoBundle(Vec<Hash>),
}

impl Check<'_> {
    /// Checks every entry against its level-0 tile. Gives the hashes in the order of the log, full tiles folded, and
    /// the first entry that is there.
    fn bottom(&self) -> Result<(Vec<Hash>, u64), VerifyError> {
        let count = self.size.div_ceil(WIDTH);
        let tiles: Vec<Result<(bool, Vec<Hash>), VerifyError>> = (0..count)
            .into_par_iter()
            .map(|index| {
                Ok(match self.bundle(index)? {
                    Bottom::Checked(hashes) => (true, self.folded(hashes)),
                    Bottom::NoBundle(hashes) => (false, self.folded(hashes)),
                })
            })
            .collect();
        let (mut hashes, mut missing) = (Vec::new(), 0);
        for (index, tile) in (0..).zip(tiles) {
            let (there, row) = tile?;
            if !there && missing != index {
                let tile = Tile { row: Row::Entries, index, width: WIDTH as u16 };
                return Err(Fault::Missing { path: tile.to_string() }.into());
            }
            missing += u64::from(!there);
            hashes.extend(row);
        }
        if missing > 0 {
            self.check_pruned(missing)?;
        }
        Ok((hashes, missing * WIDTH))
    }

    fn folded(&self, hashes: Vec<Hash>) -> Vec<Hash> {
        if hashes.len() as u64 == WIDTH { vec![fold(&hashes)] } else { hashes }
    }

    fn bundle(&self, index: u64) -> Result<Bottom, VerifyError> {
        let at = |row| Tile::at(row, index, self.size).expect("only tiles of the log are asked for");
        let (bundle, tile) = (at(Row::Entries), at(Row::Level(0)));
        let hashes = self.hashes(tile)?;
        let archived = || self.options.archive.as_ref().map(|archive| fetch(&**archive, bundle));
        let bytes = match fetch(self.files, bundle) {
            Err(e) if e.is_missing() => match archived() {
                Some(Ok(bytes)) => bytes,
                Some(Err(e)) if !e.is_missing() => return Err(judge(e)),
                _ if bundle.is_full() => return Ok(Bottom::NoBundle(hashes)),
                _ => return Err(judge(e)),
            },
            other => other.map_err(judge)?,
        };
        let malformed =
            || Fault::Malformed { path: bundle.to_string(), why: "is cut short or too long".into() };
        let entries = split_bundle(&bytes, bundle.width).ok_or_else(malformed)?;
        for ((entry, hash), index) in entries.iter().zip(&hashes).zip(index * WIDTH..) {
            if leaf_hash(entry) != *hash {
                return Err(Fault::Entry { index, bundle: bundle.to_string(), tile: tile.to_string() }.into());
            }
            if self.options.events
                && let Err(e) = Event::parse(entry)
            {
                return Err(Fault::Event { index, why: e.to_string() }.into());
            }
        }
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.present.fetch_add(entries.len() as u64, Ordering::Relaxed);
        Ok(Bottom::Checked(hashes))
    }

    fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, VerifyError> {
        let bytes = fetch(self.files, tile).map_err(judge)?;
        let malformed = || Fault::Malformed { path: tile.to_string(), why: "has the wrong length".into() };
        Ok(split_tile(&bytes, tile.width).ok_or_else(malformed)?)
    }

    /// Checks each level of tiles against the one below, and gives the root. `below` holds the roots of the full
    /// tiles of the level below, and then the hashes of its partial tile.
    fn upper(&self, mut below: Vec<Hash>) -> Result<Hash, VerifyError> {
        let mut open: Vec<(u8, Vec<Hash>)> = Vec::new();
        for level in 0..levels(self.size) {
            let full = (row_len(Row::Level(level), self.size) / WIDTH) as usize;
            open.push((level, below.split_off(full)));
            if below.is_empty() {
                break;
            }
            let row = Row::Level(level + 1);
            let mut next = Vec::new();
            for (index, expected) in (0..).zip(below.chunks(WIDTH as usize)) {
                let tile = Tile::at(row, index, self.size).expect("full tiles below have a tile above");
                let hashes = self.hashes(tile)?;
                if let Some(position) = hashes.iter().zip(expected).position(|(has, should)| has != should) {
                    let position = position as u64;
                    let child =
                        Tile { row: Row::Level(level), index: index * WIDTH + position, width: WIDTH as u16 };
                    return Err(
                        Fault::Tile { path: tile.to_string(), position, below: child.to_string() }.into()
                    );
                }
                next.extend(self.folded(hashes));
            }
            below = next;
        }
        Ok(root_of_open(&open, self.size))
    }

    /// Partial tiles that older heads needed must be beginnings of what is there now.
    fn stale_partials(&self) -> Result<(), VerifyError> {
        let rows = std::iter::once(Row::Entries).chain((0..levels(self.size)).map(Row::Level));
        for tile in rows.filter_map(|row| Tile::at(row, row_len(row, self.size) / WIDTH, self.size)) {
            let whole = fetch(self.files, tile).map_err(judge)?;
            let dir = tile.partial_dir();
            let names =
                self.files.list(&dir).map_err(|source| ReadError::Io { path: dir.clone(), source })?;
            for name in names {
                let path = format!("{dir}/{name}");
                // Wider than the head: written before a checkpoint that did not come to be.
                let Some(stale) = Tile::parse(&path).filter(|stale| stale.width < tile.width) else {
                    continue;
                };
                let bytes = fetch(self.files, stale).map_err(judge)?;
                let shape = match stale.row {
                    Row::Entries => split_bundle(&bytes, stale.width).is_some(),
                    Row::Level(_) => split_tile(&bytes, stale.width).is_some(),
                };
                if !shape || !whole.starts_with(&bytes) {
                    let why = format!("is not the beginning of {tile}");
                    return Err(Fault::Malformed { path, why }.into());
                }
            }
        }
        Ok(())
    }

    /// Finds the newest event that allows bundles to be missing, in what was verified.
    fn check_pruned(&self, bundles: u64) -> Result<(), VerifyError> {
        let missing = bundles * WIDTH;
        let mut allowed = 0;
        for index in (bundles..self.size.div_ceil(WIDTH)).rev() {
            let tile = Tile::at(Row::Entries, index, self.size).expect("only tiles of the log are asked for");
            let bytes = fetch(self.files, tile).map_err(judge)?;
            for entry in split_bundle(&bytes, tile.width).unwrap_or_default() {
                if let Ok(Event { action: Action::Pruned(pruned), .. }) = Event::parse(entry) {
                    allowed = allowed.max(pruned.minimum);
                }
            }
            if allowed >= missing {
                return Ok(());
            }
        }
        Err(Fault::Pruned { missing, allowed }.into())
    }
}

/// The root out of the open ends of each level.
fn root_of_open(open: &[(u8, Vec<Hash>)], size: u64) -> Hash {
    struct Open<'a>(&'a [(u8, Vec<Hash>)]);
    impl crate::tree::Nodes for Open<'_> {
        type Error = std::convert::Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
            let (row, inside) = (&self.0[usize::from(level / 8)].1, level % 8);
            let start = ((index << inside) % WIDTH) as usize;
            Ok(fold(&row[start..start + (1 << inside)]))
        }
    }
    let Ok(edge) = Edge::load(&Open(open), size);
    edge.root()
}
