//! Reading a log: any number of readers beside the one writer, in this process or another.
//!
//! A reader shows what the published head covers, and on request the tail of the journal behind it. It trusts no file:
//! [`verify`](crate::verify) recomputes; the reader only takes care that a head it hands out is signed.

use std::io;
use std::sync::Arc;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::files::Files;
use crate::journal::{self, Record};
use crate::log::{Meta, OpenError};
use crate::note::VerifyingKey;
use crate::publish::CHECKPOINT;
use crate::receipt::Receipt;
use crate::tree::tile::{Row, Tile, TileNodes, WIDTH, split_bundle, split_tile};
use crate::tree::{Hash, consistency_proof, inclusion_proof};

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Relative to the log.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what its name says: cut short, too long, not text.
    #[error("{path}: {why}")]
    Damaged {
        /// Relative to the log.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The published head was not accepted.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The directory is no log that this program can read.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// There is no such entry.
    #[error("entry {index} is not in the log of {size} entries")]
    NoEntry {
        /// The entry asked for.
        index: u64,
        /// The log's size.
        size: u64,
    },
}

impl ReadError {
    /// Is the file missing, rather than wrong?
    pub fn is_missing(&self) -> bool {
        matches!(self, ReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The bytes of a tile or bundle. A partial one that is gone is cut out of the full one, as the format allows.
pub(crate) fn fetch(files: &dyn Files, tile: Tile) -> Result<Vec<u8>, ReadError> {
    let at = |tile: Tile| {
        let path = tile.to_string();
        files.read(&path).map_err(|source| ReadError::Io { path, source })
    };
    match at(tile) {
        Err(e) if e.is_missing() && !tile.is_full() => {
            let Ok(mut bytes) = at(tile.full()) else { return Err(e) };
            bytes.truncate(length_of(&bytes, tile));
            Ok(bytes)
        }
        other => other,
    }
}

/// How many bytes of a full tile or bundle belong to its narrower self.
fn length_of(bytes: &[u8], tile: Tile) -> usize {
    match tile.row {
        Row::Level(_) => usize::from(tile.width) * 32,
        Row::Entries => split_bundle(bytes, WIDTH as u16).map_or(bytes.len(), |entries| {
            entries[..usize::from(tile.width)].iter().map(|entry| entry.len() + 2).sum()
        }),
    }
}

/// The hashes of a tile.
pub(crate) fn hashes(files: &dyn Files, tile: Tile) -> Result<Vec<Hash>, ReadError> {
    split_tile(&fetch(files, tile)?, tile.width)
        .ok_or_else(|| ReadError::Damaged { path: tile.to_string(), why: "has the wrong length" })
}

/// The nodes of the log of `size` entries, out of its tiles.
pub(crate) fn tile_nodes(
    files: &dyn Files,
    size: u64,
) -> TileNodes<impl Fn(Tile) -> Result<Vec<Hash>, ReadError>> {
    TileNodes { size, fetch: move |tile| hashes(files, tile) }
}

/// One entry of the log of `size` entries.
pub(crate) fn entry_at(files: &dyn Files, index: u64, size: u64) -> Result<Vec<u8>, ReadError> {
    let tile = Tile::at(Row::Entries, index / WIDTH, size).ok_or(ReadError::NoEntry { index, size })?;
    let bytes = fetch(files, tile)?;
    let entries = split_bundle(&bytes, tile.width).ok_or_else(|| broken_bundle(tile))?;
    Ok(entries[(index % WIDTH) as usize].to_vec())
}

pub(crate) fn broken_bundle(tile: Tile) -> ReadError {
    ReadError::Damaged { path: tile.to_string(), why: "is cut short or too long" }
}

/// A log open for reading, as of one published head.
#[derive(Clone)]
pub struct Reader {
    files: Arc<dyn Files>,
    meta: Meta,
    head: SignedCheckpoint,
}

impl Reader {
    /// Opens the log for reading. With `keys` empty, the log's own word is taken for who may sign. With a log's key
    /// among them, `log.json` may be missing, as in what a file server gives out: the key then says the origin.
    ///
    /// # Errors
    /// There is no log, or its head is not signed by one of the keys.
    pub fn open(files: Arc<dyn Files>, keys: &[VerifyingKey]) -> Result<Reader, ReadError> {
        let missing = || OpenError::Foreign { why: "log.json is missing".into() };
        let meta = Meta::read(&*files).map_err(Box::new)?.or_else(|| Meta::of_keys(keys));
        let meta = meta.ok_or_else(missing).map_err(Box::new)?;
        let trusted = if keys.is_empty() { &meta.keys } else { keys };
        let head = read_head(&*files, &meta.origin, trusted)?;
        Ok(Reader { files, meta, head })
    }

    /// Reads under a head that was verified before, whatever is published meanwhile.
    pub fn under(files: Arc<dyn Files>, head: SignedCheckpoint, keys: &[VerifyingKey]) -> Reader {
        let meta = Meta { origin: head.checkpoint().origin.clone(), keys: keys.to_vec() };
        Reader { files, meta, head }
    }

    /// Takes up the head that is published now.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn refresh(&mut self, keys: &[VerifyingKey]) -> Result<(), ReadError> {
        *self = Reader::open(Arc::clone(&self.files), keys)?;
        Ok(())
    }

    /// What `log.json` says, or the keys that it was opened with.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The published head.
    pub fn head(&self) -> &SignedCheckpoint {
        &self.head
    }

    /// The directory.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// How many entries the published head covers.
    pub fn size(&self) -> u64 {
        self.head.checkpoint().size
    }

    /// One entry.
    ///
    /// # Errors
    /// It is beyond the head, was pruned, or its bundle is damaged.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, ReadError> {
        entry_at(&*self.files, index, self.size())
    }

    /// The entries of bundle `number` (entries `256 * number ..`), in order.
    ///
    /// # Errors
    /// As [`Reader::entry`].
    pub fn bundle(&self, number: u64) -> Result<Bundle, ReadError> {
        let size = self.size();
        let tile = Tile::at(Row::Entries, number, size)
            .ok_or(ReadError::NoEntry { index: number.saturating_mul(WIDTH), size })?;
        let bytes = fetch(&*self.files, tile)?;
        if split_bundle(&bytes, tile.width).is_none() {
            return Err(broken_bundle(tile));
        }
        Ok(Bundle { first: number * WIDTH, width: tile.width, bytes })
    }

    /// How many bundles there are, the partial one included.
    pub fn bundles(&self) -> u64 {
        self.size().div_ceil(WIDTH)
    }

    /// A receipt for an entry under the published head.
    ///
    /// # Errors
    /// The entry is beyond the head, or tiles cannot be read.
    pub fn receipt(&self, index: u64) -> Result<Receipt, ReadError> {
        let size = self.size();
        if index >= size {
            return Err(ReadError::NoEntry { index, size });
        }
        let proof = inclusion_proof(&tile_nodes(&*self.files, size), index, size)?;
        Ok(Receipt { index, proof, checkpoint: self.head.to_string(), extra: None })
    }

    /// The proof that the published head extends the head of `old` entries.
    ///
    /// # Errors
    /// `old` is beyond the head, or tiles cannot be read.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, ReadError> {
        let size = self.size();
        if old > size {
            return Err(ReadError::NoEntry { index: old, size });
        }
        consistency_proof(&tile_nodes(&*self.files, size), old, size)
    }

    /// Entries behind the published head that are whole in the journal: the newest events, for following a log. They
    /// may still be lost by a power cut; only entries under a head are for ever.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn tail(&self) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        let size = self.size();
        let io = |path: &str| {
            let path = path.to_owned();
            move |source| ReadError::Io { path, source }
        };
        let mut tail = Vec::new();
        let names = self.files.list(journal::DIR).map_err(io(journal::DIR))?;
        for first in names.iter().filter_map(|name| journal::first_of(name)) {
            let path = journal::path(first);
            // The writer may have removed it meanwhile: then it is published.
            let bytes = match self.files.read(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(io(&path))?,
            };
            collect_whole(&bytes, size, &mut tail);
        }
        Ok(tail)
    }
}

/// Adds the entries of whole batches behind `size`.
fn collect_whole(bytes: &[u8], size: u64, tail: &mut Vec<(u64, Vec<u8>)>) {
    let mut at = journal::FIRST_RECORD;
    let mut batch = Vec::new();
    while let Some((record, behind)) = journal::read_record(bytes, at) {
        at = behind;
        match record {
            Record::Entry(index, entry) if index >= size => batch.push((index, entry.to_vec())),
            Record::Entry(..) => {}
            Record::Head(..) => tail.append(&mut batch),
        }
    }
}

pub(crate) fn read_head(
    files: &dyn Files,
    origin: &str,
    keys: &[VerifyingKey],
) -> Result<SignedCheckpoint, ReadError> {
    let path = CHECKPOINT.to_owned();
    let bytes = files.read(CHECKPOINT).map_err(|source| ReadError::Io { path: path.clone(), source })?;
    let note = String::from_utf8(bytes).map_err(|_| ReadError::Damaged { path, why: "is not text" })?;
    Ok(SignedCheckpoint::verify(&note, origin, keys)?)
}

/// The entries of one bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The index of the first.
    pub first: u64,
    width: u16,
    bytes: Vec<u8>,
}

impl Bundle {
    /// Each entry with its index.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let entries = split_bundle(&self.bytes, self.width).unwrap_or_default();
        (self.first..).zip(entries)
    }
}
