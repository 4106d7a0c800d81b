//! All packs of an object store: numbers for their entries, and who is built from whom.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use git2::Oid;
use rayon::prelude::*;

use super::NONE;
use super::entry::{Form, Header, Kind, header};
use super::index::Index;
use super::map::Map;
use crate::source::git::bits::Bits;
use crate::source::git::odb::alternates;

/// Alternates of alternates that are followed, as git does.
const MAX_ALTERNATES: u32 = 5;
/// Bytes of a pack before its first entry.
const HEADER: u64 = 12;
/// Entries that a thread takes at a time.
const BATCH: usize = 4096;

/// A pack and its index.
#[derive(Debug)]
struct Pack {
    map: Map,
    index: Index,
    /// Number of its first entry.
    first: u32,
    /// Number of the entry at each position of the index.
    entries: Vec<u32>,
}

/// The entries of all packs, numbered pack by pack in the order of their offsets.
#[derive(Debug)]
pub(in super::super) struct Packs {
    packs: Vec<Pack>,
    /// Bytes of an object id.
    width: usize,
    /// Where in its pack each entry begins.
    offsets: Vec<u64>,
    /// Position of each entry in its pack's index.
    positions: Vec<u32>,
    /// The entry that each is built from; [`NONE`] for whole objects and where it cannot be told.
    bases: Vec<u32>,
    kinds: Vec<Kind>,
    /// Where in `children` those of an entry begin; they end where those of the next begin.
    starts: Vec<u32>,
    children: Vec<u32>,
    /// Entries whose kind is known, bases before what is built from them.
    order: Vec<u32>,
}

impl Packs {
    /// Opens the packs below these object folders and their alternates. What is no sound pack is left out.
    pub(in super::super) fn open(folders: &[PathBuf], width: usize) -> Packs {
        let mut all = Vec::new();
        for folder in folders {
            object_folders(folder, 0, &mut all);
        }
        let mut found: Vec<(Map, Index)> =
            all.iter().flat_map(|folder| pack_files(folder)).filter_map(|p| open(&p, width)).collect();
        // Most look-ups end in the first.
        found.sort_by_key(|(_, index)| std::cmp::Reverse(index.count()));
        let mut packs = Packs {
            packs: Vec::new(),
            width,
            offsets: Vec::new(),
            positions: Vec::new(),
            bases: Vec::new(),
            kinds: Vec::new(),
            starts: Vec::new(),
            children: Vec::new(),
            order: Vec::new(),
        };
        for (map, index) in found {
            packs.add(map, index);
        }
        packs.link();
        packs
    }

    /// Numbers the entries of a pack.
    fn add(&mut self, map: Map, index: Index) {
        let first = self.offsets.len();
        // The highest number means that there is none.
        if first + index.count() >= NONE as usize {
            return;
        }
        let mut places: Vec<(u64, u32)> =
            (0..index.count()).map(|at| (index.offset(at).unwrap_or(u64::MAX), at as u32)).collect();
        places.par_sort_unstable();
        let mut entries = vec![NONE; index.count()];
        for (entry, (offset, position)) in places.into_iter().enumerate() {
            entries[position as usize] = (first + entry) as u32;
            self.offsets.push(offset);
            self.positions.push(position);
        }
        self.packs.push(Pack { map, index, first: first as u32, entries });
    }

    /// Reads all headers and links entries with their bases.
    fn link(&mut self) {
        let count = self.offsets.len();
        let mut links = vec![(NONE, Kind::Unknown); count];
        links.par_chunks_mut(BATCH).enumerate().for_each(|(chunk, links)| {
            for (at, link) in links.iter_mut().enumerate() {
                *link = self.base((chunk * BATCH + at) as u32);
            }
        });
        let mut starts = vec![0_u32; count + 1];
        for (base, _) in links.iter().filter(|(base, _)| *base != NONE) {
            starts[*base as usize + 1] += 1;
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut children = vec![0_u32; starts[count] as usize];
        for (entry, (base, _)) in links.iter().enumerate().filter(|(_, (base, _))| *base != NONE) {
            let slot = &mut next[*base as usize];
            children[*slot as usize] = entry as u32;
            *slot += 1;
        }
        let (bases, mut kinds): (Vec<u32>, Vec<Kind>) = links.into_iter().unzip();
        // Kinds spread from the roots. What hangs on a circle or on a damaged entry is never reached.
        let mut order: Vec<u32> =
            (0..count as u32).filter(|e| kinds[*e as usize] != Kind::Unknown).collect();
        let mut at = 0;
        while at < order.len() {
            let entry = order[at] as usize;
            let range = starts[entry] as usize..starts[entry + 1] as usize;
            for &child in &children[range] {
                kinds[child as usize] = kinds[entry];
                order.push(child);
            }
            at += 1;
        }
        (self.bases, self.kinds, self.starts, self.children, self.order) = (bases, kinds, starts, children, order);
    }

    /// The base of an entry, or the kind of a whole object.
    fn base(&self, entry: u32) -> (u32, Kind) {
        let Some((header, pack)) = self.header(entry) else { return (NONE, Kind::Unknown) };
        let base = match header.form {
            Form::Whole(kind) => return (NONE, kind),
            Form::Offset(back) => {
                let first = pack.first as usize;
                let own = &self.offsets[first..entry as usize];
                let wanted = self.offsets[entry as usize].checked_sub(back);
                wanted.and_then(|offset| own.binary_search(&offset).ok()).map(|at| (first + at) as u32)
            }
            Form::Reference(id) => pack.index.find(id).map(|at| pack.entries[at]).filter(|base| *base != entry),
        };
        (base.unwrap_or(NONE), Kind::Unknown)
    }

    fn pack(&self, entry: u32) -> &Pack {
        let at = self.packs.partition_point(|pack| pack.first <= entry);
        &self.packs[at - 1]
    }

    /// Reads an entry's header; the pack that it is in.
    fn header(&self, entry: u32) -> Option<(Header<'_>, &Pack)> {
        let pack = self.pack(entry);
        Some((header(self.stored(entry, pack)?, self.width)?, pack))
    }

    /// The bytes of an entry up to where the next begins.
    fn stored<'a>(&self, entry: u32, pack: &'a Pack) -> Option<&'a [u8]> {
        let end = (pack.map.len() - self.width) as u64;
        let entry = entry as usize;
        let is_last = entry + 1 == pack.first as usize + pack.entries.len();
        let next = if is_last { end } else { self.offsets[entry + 1].min(end) };
        let start = self.offsets[entry];
        // Inverted ranges, of offsets outside of the file, give nothing.
        (start >= HEADER).then(|| pack.map.get(start as usize..next as usize)).flatten()
    }

    /// Size of an entry's packed content and its compressed bytes.
    pub(super) fn content(&self, entry: u32) -> Option<(u64, &[u8])> {
        let pack = self.pack(entry);
        let stored = self.stored(entry, pack)?;
        let header = header(stored, self.width)?;
        Some((header.size, &stored[header.length..]))
    }

    /// Number of entries.
    pub(in super::super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The number of the entry that holds an object; the first, if several packs have it.
    pub(in super::super) fn find(&self, id: &[u8]) -> Option<u32> {
        self.packs.iter().find_map(|pack| pack.index.find(id).map(|at| pack.entries[at]))
    }

    /// The id of an entry's object.
    pub(in super::super) fn id(&self, entry: u32) -> Oid {
        let pack = self.pack(entry);
        let bytes = pack.index.id(self.positions[entry as usize] as usize);
        Oid::from_bytes(bytes).expect("an index's ids have the length of ids")
    }

    /// What an entry's object is.
    pub(in super::super) fn kind(&self, entry: u32) -> Kind {
        self.kinds[entry as usize]
    }

    /// The entry that another is built from; `None` for whole objects.
    pub(super) fn base_of(&self, entry: u32) -> Option<u32> {
        Some(self.bases[entry as usize]).filter(|base| *base != NONE)
    }

    /// Entries that are built from this one.
    pub(super) fn children(&self, entry: u32) -> &[u32] {
        let entry = entry as usize;
        &self.children[self.starts[entry] as usize..self.starts[entry + 1] as usize]
    }

    /// The wanted entries and all that they are built from.
    pub(super) fn with_bases(&self, wanted: impl Fn(u32) -> bool) -> Bits {
        let mut needed = Bits::new(self.len());
        for &entry in self.order.iter().rev() {
            if wanted(entry) || needed.contains(entry) {
                needed.insert(entry);
                if let Some(base) = self.base_of(entry) {
                    needed.insert(base);
                }
            }
        }
        needed
    }

    /// For each entry what it and everything below it costs, in units of about 64 packed bytes; 0 where not needed.
    pub(super) fn weights(&self, needed: &Bits) -> Vec<u32> {
        let mut weights = vec![0_u32; self.len()];
        for &entry in self.order.iter().rev().filter(|entry| needed.contains(**entry)) {
            let packed = self.stored(entry, self.pack(entry)).map_or(0, <[u8]>::len);
            let own = u32::try_from(2 + packed / 64).unwrap_or(u32::MAX);
            let sum = weights[entry as usize].saturating_add(own);
            weights[entry as usize] = sum;
            if let Some(base) = self.base_of(entry) {
                let base = &mut weights[base as usize];
                *base = base.saturating_add(sum);
            }
        }
        weights
    }
}

/// An object folder and its alternates, each once.
fn object_folders(folder: &Path, depth: u32, out: &mut Vec<PathBuf>) {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    if out.contains(&folder) {
        return;
    }
    out.push(folder.clone());
    if depth >= MAX_ALTERNATES {
        return;
    }
    for other in alternates(&folder) {
        object_folders(&other, depth + 1, out);
    }
}

/// The indexes of packs in an object folder.
fn pack_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(folder.join("pack")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        list.flatten().map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "idx")).collect();
    paths.sort();
    paths
}

/// Opens a pack by its index; `None` if the two do not belong together or are of an unknown version.
fn open(index: &Path, width: usize) -> Option<(Map, Index)> {
    let pack = Map::open(&index.with_extension("pack")).ok()?;
    let index = Index::new(Map::open(index).ok()?, width)?;
    let (magic, rest) = pack.split_at_checked(4)?;
    let (version, rest) = rest.split_at_checked(4)?;
    let count = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    let trailer: Range<usize> = pack.len().checked_sub(width)?..pack.len();
    let is_sound = magic == b"PACK"
        && matches!(version, [0, 0, 0, 2 | 3])
        && count as usize == index.count()
        && trailer.start >= HEADER as usize
        && pack[trailer] == *index.pack_hash();
    is_sound.then_some((pack, index))
}
