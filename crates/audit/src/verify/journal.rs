//! The journal beside a published head: what is under the head must agree with it, what is behind must be signed.

use super::{Fault, VerifyError, judge};
use crate::checkpoint::SignedCheckpoint;
use crate::files::Files;
use crate::journal::{self, Record};
use crate::note::VerifyingKey;
use crate::reader::{ReadError, hashes, read_head, tile_nodes};
use crate::tree::tile::{Row, Tile, WIDTH};
use crate::tree::{Edge, Hash, leaf_hash};

/// What the journal holds behind the head.
pub(super) struct Tail {
    pub(super) entries: u64,
    pub(super) torn_bytes: u64,
}

/// Walks all segments. A reader beside a running writer sees a batch that is being written as a torn one.
pub(super) fn check(
    files: &dyn Files,
    head: &SignedCheckpoint,
    own: &[VerifyingKey],
    keys: &[VerifyingKey],
) -> Result<Tail, VerifyError> {
    let size = head.checkpoint().size;
    let io = |path: &str, source| ReadError::Io { path: path.to_owned(), source };
    let names = files.list(journal::DIR).map_err(|e| io(journal::DIR, e))?;
    let segments: Vec<u64> = names.iter().filter_map(|name| journal::first_of(name)).collect();
    if segments.first().is_some_and(|first| *first > size) {
        // A writer published meanwhile and removed what was published: then there is a newer head.
        let now = read_head(files, &head.checkpoint().origin, keys).map_err(judge)?;
        if segments.first().is_some_and(|first| *first > now.checkpoint().size) {
            return Err(fault(journal::DIR, 0, "the segment behind the published head is missing"));
        }
        return Ok(Tail { entries: 0, torn_bytes: 0 });
    }
    let mut walk = Walk {
        files,
        origin: &head.checkpoint().origin,
        keys: own.iter().chain(keys).cloned().collect(),
        size,
        edge: Edge::load(&tile_nodes(files, size), size).map_err(judge)?,
        tile: None,
        next: segments.first().copied(),
    };
    let mut torn_bytes = 0;
    for first in &segments {
        let path = journal::path(*first);
        // The writer may have removed it meanwhile: then it is published.
        let bytes = match files.read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|e| io(&path, e))?,
        };
        let whole = walk.segment(&bytes, &path, *first)?;
        if whole < bytes.len() {
            let last = segments.last() == Some(first);
            // A batch under the head was whole once.
            if !last || walk.next.is_some_and(|next| next < size) || !journal::is_torn_tail(&bytes, whole) {
                return Err(fault(&path, whole, "is damaged"));
            }
            torn_bytes = (bytes.len() - whole) as u64;
        }
    }
    Ok(Tail { entries: walk.edge.size() - size, torn_bytes })
}

fn fault(path: &str, offset: usize, why: &str) -> VerifyError {
    Fault::Journal { path: path.to_owned(), offset: offset as u64, why: why.to_owned() }.into()
}

struct Walk<'a> {
    files: &'a dyn Files,
    origin: &'a str,
    keys: Vec<VerifyingKey>,
    size: u64,
    /// The tree behind the published head.
    edge: Edge,
    /// The level-0 tile looked at last.
    tile: Option<(u64, Vec<Hash>)>,
    next: Option<u64>,
}

impl Walk<'_> {
    /// Gives the length of the whole batches.
    fn segment(&mut self, bytes: &[u8], path: &str, first: u64) -> Result<usize, VerifyError> {
        match journal::read_header(bytes) {
            Some(named) if named == first && self.next == Some(first) => {}
            Some(_) => return Err(fault(path, 0, "does not follow the segment before it")),
            None => return Ok(0),
        }
        let (mut whole, mut at, mut next) = (journal::FIRST_RECORD, journal::FIRST_RECORD, first);
        let mut batch = self.edge.clone();
        while let Some((record, behind)) = journal::read_record(bytes, at) {
            match record {
                Record::Entry(index, entry) if index == next => {
                    if index < self.size {
                        self.published(index, entry)
                            .map_err(|_| fault(path, at, "entry differs from its tile"))?;
                    } else {
                        batch.push(entry);
                    }
                    next += 1;
                }
                Record::Head(size, note) if size == next => {
                    self.head(size, note, &batch).map_err(|why| fault(path, at, &why))?;
                    batch.trim();
                    self.edge = batch.clone();
                    (whole, self.next) = (behind, Some(next));
                }
                _ => return Err(fault(path, at, "entries are out of order")),
            }
            at = behind;
        }
        Ok(whole)
    }

    fn published(&mut self, index: u64, entry: &[u8]) -> Result<(), ()> {
        let number = index / WIDTH;
        if self.tile.as_ref().is_none_or(|(held, _)| *held != number) {
            let tile = Tile::at(Row::Level(0), number, self.size).ok_or(())?;
            self.tile = Some((number, hashes(self.files, tile).map_err(|_| ())?));
        }
        let (_, row) = self.tile.as_ref().ok_or(())?;
        if row[(index % WIDTH) as usize] == leaf_hash(entry) { Ok(()) } else { Err(()) }
    }

    fn head(&self, size: u64, note: &[u8], batch: &Edge) -> Result<(), String> {
        let note = std::str::from_utf8(note).map_err(|_| "a head is not text")?;
        let signed = SignedCheckpoint::verify(note, self.origin, &self.keys).map_err(|e| e.to_string())?;
        let head = signed.checkpoint();
        if head.size != size {
            return Err("a head speaks of another size than its place".into());
        }
        // Heads inside the published part are compared with the tiles.
        let root = if size > self.size {
            batch.root()
        } else {
            crate::tree::root_of(&tile_nodes(self.files, self.size), size).map_err(|e| e.to_string())?
        };
        if root == head.root { Ok(()) } else { Err("a signed head contradicts the log".into()) }
    }
}
