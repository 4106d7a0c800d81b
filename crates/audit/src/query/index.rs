//! The index: for each whole segment of 4,096 entries, which of them has which value in which field, and where in its
//! bundle each entry lies.
//!
//! A segment's file begins with the root of its 4,096 leaves: an index of other entries is not used. Whoever can write
//! the files can still make an index that hides something; a query without the index, and verification, do not use it.

use std::sync::Arc;

use super::filter::{FIELDS, Filter, Op};
use super::{Hit, scan};
use crate::event::Slim;
use crate::files::{Files, Group};
use crate::reader::{ReadError, Reader, tile_nodes};
use crate::tree::tile::{Row, Tile, WIDTH};
use crate::tree::{Hash, Nodes};

/// Entries in a segment: the leaves below one node of level 12.
pub const SEGMENT: u64 = 1 << LEVEL;
const LEVEL: u8 = 12;
const MAGIC: &[u8; 8] = b"clvgidx1";
const DIR: &str = "index";
/// Magic, root, number of terms.
const HEADER: usize = 44;
/// Offset of an entry in its bundle, and its length.
const PLACE: usize = 6;
const PLACES: usize = SEGMENT as usize * PLACE;
/// Hash of a term, and where its postings end.
const TERM: usize = 12;

/// Where index files are kept.
pub struct Index {
    files: Option<Arc<dyn Files>>,
}

impl Index {
    /// Kept in `index/` of this directory, usually the log's own. If it cannot be written, every query makes it anew.
    pub fn at(files: Arc<dyn Files>) -> Index {
        Index { files: Some(files) }
    }

    /// No index: every entry is looked at. Slower, and nothing that the operator wrote beside the log can hide an event.
    pub fn none() -> Index {
        Index { files: None }
    }

    /// The entries that may match; `None` if the filter has no condition that the index answers.
    pub(super) fn candidates(
        &self,
        reader: &Reader,
        segment: u64,
        filter: &Filter,
    ) -> Result<Option<Vec<Hit>>, ReadError> {
        let wanted: Vec<u64> = filter
            .terms
            .iter()
            .filter(|term| term.op == Op::Equal && FIELDS[term.field].indexed && !term.value.is_empty())
            .map(|term| term_hash(term.field, &term.value))
            .collect();
        let Some(files) = self.files.as_ref().filter(|_| !wanted.is_empty()) else { return Ok(None) };
        let root = tile_nodes(&**reader.files(), reader.size()).node(LEVEL, segment)?;
        let path = path(segment);
        let bytes = match files.read(&path).ok().filter(|bytes| is_index_of(bytes, &root)) {
            Some(bytes) => bytes,
            None => {
                let made = build(reader, segment, &root)?;
                // It is a cache: if it cannot be kept, the answer is the same.
                keep(&**files, &path, &made).ok();
                made
            }
        };
        let file = File(&bytes);
        let mut rows = file.postings(wanted[0]);
        for term in &wanted[1..] {
            let also = file.postings(*term);
            rows.retain(|row| also.binary_search(row).is_ok());
        }
        fetch(reader, segment, &file, &rows).map(Some)
    }
}

fn path(segment: u64) -> String {
    format!("{DIR}/{segment:08}.idx")
}

fn keep(files: &dyn Files, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut group = Group::new(files);
    group.dir(DIR)?;
    group.put(path, bytes)?;
    group.finish()
}

/// FNV-1a over the field's place and the value. Two values with one hash cost a look, not a wrong answer.
fn term_hash(field: usize, value: &str) -> u64 {
    let bytes = [field as u8].into_iter().chain(value.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn build(reader: &Reader, segment: u64, root: &Hash) -> Result<Vec<u8>, ReadError> {
    let mut places = vec![0; PLACES];
    let mut pairs: Vec<(u64, u16)> = Vec::with_capacity(SEGMENT as usize * 10);
    let mut offset = 0u32;
    for hit in scan(reader, segment, |_| true)? {
        let row = (hit.index % SEGMENT) as usize;
        if hit.index.is_multiple_of(WIDTH) {
            offset = 0;
        }
        places[row * PLACE..][..4].copy_from_slice(&(offset + 2).to_be_bytes());
        places[row * PLACE + 4..][..2].copy_from_slice(&(hit.entry.len() as u16).to_be_bytes());
        offset += hit.entry.len() as u32 + 2;
        let Some(event) = Slim::parse(&hit.entry) else { continue };
        for (number, field) in FIELDS.iter().enumerate().filter(|(_, field)| field.indexed) {
            let value = field.of(&event);
            if !value.is_empty() {
                pairs.push((term_hash(number, value), row as u16));
            }
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    let terms: Vec<&[(u64, u16)]> = pairs.chunk_by(|a, b| a.0 == b.0).collect();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&root.0);
    bytes.extend_from_slice(&(terms.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&places);
    let mut end = 0u32;
    for rows in &terms {
        end += rows.len() as u32;
        bytes.extend_from_slice(&rows[0].0.to_be_bytes());
        bytes.extend_from_slice(&end.to_be_bytes());
    }
    for (_, row) in &pairs {
        bytes.extend_from_slice(&row.to_be_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

fn is_index_of(bytes: &[u8], root: &Hash) -> bool {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return false };
    body.len() >= HEADER + PLACES
        && &body[..8] == MAGIC
        && body[8..40] == root.0
        && crc32fast::hash(body).to_be_bytes() == *crc
        && File(bytes).fits()
}

/// A whole index file.
struct File<'a>(&'a [u8]);

impl File<'_> {
    fn terms(&self) -> usize {
        self.u32(40) as usize
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// Do the counts fit the length?
    fn fits(&self) -> bool {
        let terms = HEADER + PLACES + self.terms() * TERM;
        let postings =
            if self.terms() == 0 { 0 } else { terms.checked_sub(4).map_or(0, |at| self.checked_u32(at)) };
        terms + postings as usize * 2 + 4 == self.0.len()
    }

    fn checked_u32(&self, at: usize) -> u32 {
        if at + 4 <= self.0.len() { self.u32(at) } else { u32::MAX }
    }

    fn term(&self, number: usize) -> (u64, usize) {
        let at = HEADER + PLACES + number * TERM;
        let hash = u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4));
        (hash, self.u32(at + 8) as usize)
    }

    /// The rows that have a term, in order.
    fn postings(&self, wanted: u64) -> Vec<u16> {
        let (mut low, mut high) = (0, self.terms());
        while low < high {
            let middle = (low + high) / 2;
            if self.term(middle).0 < wanted { low = middle + 1 } else { high = middle }
        }
        if low == self.terms() || self.term(low).0 != wanted {
            return Vec::new();
        }
        let start = if low == 0 { 0 } else { self.term(low - 1).1 };
        let base = HEADER + PLACES + self.terms() * TERM;
        let rows = self.0.get(base + start * 2..base + self.term(low).1 * 2).unwrap_or_default();
        rows.chunks_exact(2).map(|row| u16::from_be_bytes([row[0], row[1]])).collect()
    }

    fn place(&self, row: u16) -> (u64, usize) {
        let at = HEADER + usize::from(row) * PLACE;
        (u64::from(self.u32(at)), usize::from(u16::from_be_bytes([self.0[at + 4], self.0[at + 5]])))
    }
}

/// Reads a whole bundle when more rows of it than this are wanted.
const WHOLE_BUNDLE_FROM: usize = 24;

fn fetch(reader: &Reader, segment: u64, file: &File<'_>, rows: &[u16]) -> Result<Vec<Hit>, ReadError> {
    let mut hits = Vec::with_capacity(rows.len());
    let bundle_of = |row: u16| segment * (SEGMENT / WIDTH) + u64::from(row) / WIDTH;
    for rows in rows.chunk_by(|a, b| bundle_of(*a) == bundle_of(*b)) {
        let number = bundle_of(rows[0]);
        let index_of = |row: u16| segment * SEGMENT + u64::from(row);
        let path = Tile { row: Row::Entries, index: number, width: WIDTH as u16 }.to_string();
        if rows.len() >= WHOLE_BUNDLE_FROM {
            let bundle = match reader.bundle(number) {
                Err(e) if e.is_missing() => continue,
                other => other?,
            };
            let wanted = |index: u64| rows.binary_search(&((index % SEGMENT) as u16)).is_ok();
            hits.extend(
                bundle
                    .entries()
                    .filter(|(index, _)| wanted(*index))
                    .map(|(index, entry)| Hit { index, entry: entry.to_vec() }),
            );
            continue;
        }
        let parts: Vec<(u64, usize)> = rows.iter().map(|row| file.place(*row)).collect();
        match reader.files().read_parts(&path, &parts) {
            Ok(entries) => {
                let found = rows.iter().zip(entries);
                hits.extend(found.map(|(row, entry)| Hit { index: index_of(*row), entry }));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ReadError::Io { path, source }),
        }
    }
    Ok(hits)
}
