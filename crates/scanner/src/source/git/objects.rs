//! What the commits and trees of a repository say, in numbers.
//!
//! An object is a number and so is a name: what walks the history then works on arrays, whether they were filled from
//! packs in one go or through libgit2, object by object. Both ways give the same arrays.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use git2::{ObjectFormat, ObjectType, Oid};
use rayon::prelude::*;

use super::bits::Bits;
use super::object::{EntryKind, commit, entries, id_width};
use super::odb::Odb;
use super::pack::{self, Kind, Message, Packs};
use super::repo::{Pool, Repository, read};
use crate::coverage::{Coverage, Reason};
use crate::engine::Engine;
use crate::scan::Monitor;
use crate::source::SourceError;

/// Trees that a thread takes at a time.
const BATCH: usize = 128;
/// Trees whose bytes are in memory at a time.
const TREES: usize = 8192;
/// Nothing is known of an object.
const NONE: u32 = u32::MAX;

/// An entry of a tree: name and kind share a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    /// Number of the object that it names.
    pub(super) object: u32,
    packed: u32,
}

impl TreeEntry {
    /// # Panics
    /// With more names than fit (2^30): a repository of some hundred gigabytes of names.
    pub(super) fn new(object: u32, name: u32, kind: EntryKind) -> Self {
        assert!(name < 1 << 30, "names are counted in 30 bits");
        let kind = match kind {
            EntryKind::Tree => 0,
            EntryKind::Blob => 1,
            EntryKind::Submodule => 2,
        };
        TreeEntry { object, packed: name << 2 | kind }
    }

    /// Number of its name.
    pub(super) fn name(self) -> u32 {
        self.packed >> 2
    }

    pub(super) fn kind(self) -> EntryKind {
        match self.packed & 3 {
            0 => EntryKind::Tree,
            1 => EntryKind::Blob,
            _ => EntryKind::Submodule,
        }
    }
}

/// What the graph needs of a commit, in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) tree: u32,
    /// Seconds since 1970 of the committer's date.
    pub(super) time: i64,
    /// Bytes of its message and of the people it names; known for commits of packs only.
    pub(super) written: u32,
    /// Where its parents begin, and how many they are.
    pub(super) parents: (u32, u32),
}

/// Where the entries of a tree are.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: u32,
    start: u32,
    length: u32,
}

/// All that was read so far.
#[derive(Debug)]
pub(super) struct Objects {
    format: ObjectFormat,
    packs: Option<Packs>,
    /// Ids of objects that no pack has; their numbers follow those of the packs' entries.
    ids: Vec<Oid>,
    numbers: HashMap<Oid, u32>,
    names: Vec<Arc<[u8]>>,
    name_numbers: HashMap<Arc<[u8]>, u32>,
    /// For each number the index among `trees` or `heads`.
    slots: Vec<u32>,
    trees: Vec<Place>,
    parts: Vec<Vec<TreeEntry>>,
    heads: Vec<Head>,
    parents: Vec<u32>,
    messages: HashMap<u32, Message>,
    /// Trees that were tried through libgit2.
    tried: Bits,
}

impl Objects {
    /// Knows nothing yet.
    pub(super) fn new(format: ObjectFormat) -> Self {
        Objects {
            format,
            packs: None,
            ids: Vec::new(),
            numbers: HashMap::new(),
            names: Vec::new(),
            name_numbers: HashMap::new(),
            slots: Vec::new(),
            trees: Vec::new(),
            parts: Vec::new(),
            heads: Vec::new(),
            parents: Vec::new(),
            messages: HashMap::new(),
            tried: Bits::default(),
        }
    }

    /// Reads all commits and trees of the repository's packs, and scans the messages among them.
    pub(super) fn packed(repo: &Repository, engine: &Engine, now: i64, monitor: &Monitor) -> Self {
        let mut objects = Objects::new(repo.format());
        let folders: Vec<PathBuf> = repo.object_folders();
        let packs = Packs::open(&folders, id_width(repo.format()));
        if packs.len() == 0 {
            return objects;
        }
        monitor.phase("reading packs", 0);
        let read = pack::read(&packs, repo.format(), engine, now, monitor);
        objects.slots = vec![NONE; packs.len()];
        objects.numbers =
            read.ids.iter().enumerate().map(|(i, id)| (*id, (packs.len() + i) as u32)).collect();
        objects.ids = read.ids;
        objects.name_numbers =
            read.names.iter().enumerate().map(|(i, name)| (Arc::clone(name), i as u32)).collect();
        objects.names = read.names;
        for part in read.parts {
            objects.add(part);
        }
        objects.packs = Some(packs);
        objects
    }

    fn add(&mut self, part: pack::Part) {
        let mut start = 0;
        for (tree, length) in part.trees {
            self.slots[tree as usize] = self.trees.len() as u32;
            self.trees.push(Place { part: self.parts.len() as u32, start, length });
            start += length;
        }
        self.parts.push(part.entries);
        let first = self.parents.len() as u32;
        self.parents.extend(part.parents);
        for (commit, mut head) in part.heads {
            head.parents.0 += first;
            self.slots[commit as usize] = self.heads.len() as u32;
            self.heads.push(head);
        }
        self.messages.extend(part.messages);
    }

    pub(super) fn packs(&self) -> Option<&Packs> {
        self.packs.as_ref()
    }

    /// One more than the highest number given out so far.
    pub(super) fn count(&self) -> usize {
        self.in_packs() + self.ids.len()
    }

    fn in_packs(&self) -> usize {
        self.packs.as_ref().map_or(0, Packs::len)
    }

    /// The number of an object, which need not exist.
    pub(super) fn number(&mut self, id: Oid) -> u32 {
        if let Some(entry) = self.packs.as_ref().and_then(|packs| packs.find(id.as_bytes())) {
            return entry;
        }
        let next = self.count() as u32;
        *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            next
        })
    }

    /// The number of an object that has one.
    pub(super) fn find(&self, id: Oid) -> Option<u32> {
        let packed = self.packs.as_ref().and_then(|packs| packs.find(id.as_bytes()));
        packed.or_else(|| self.numbers.get(&id).copied())
    }

    /// The id of a numbered object.
    pub(super) fn id(&self, number: u32) -> Oid {
        match (number as usize).checked_sub(self.in_packs()) {
            Some(at) => self.ids[at],
            None => self.packs.as_ref().expect("it has a number below theirs").id(number),
        }
    }

    /// A name by its number.
    pub(super) fn name(&self, number: u32) -> &[u8] {
        &self.names[number as usize]
    }

    fn name_number(&mut self, name: &[u8]) -> u32 {
        if let Some(number) = self.name_numbers.get(name) {
            return *number;
        }
        let (name, number): (Arc<[u8]>, u32) = (name.into(), self.names.len() as u32);
        self.names.push(Arc::clone(&name));
        self.name_numbers.insert(name, number);
        number
    }

    fn slot(&self, number: u32, kind: Kind) -> Option<usize> {
        let packs = self.packs.as_ref().filter(|packs| (number as usize) < packs.len());
        if packs.is_some_and(|packs| packs.kind(number) != kind) {
            return None;
        }
        self.slots.get(number as usize).filter(|slot| **slot != NONE).map(|slot| *slot as usize)
    }

    fn set_slot(&mut self, number: u32, slot: usize) {
        if self.slots.len() <= number as usize {
            self.slots.resize(self.count().max(number as usize + 1), NONE);
        }
        self.slots[number as usize] = slot as u32;
    }

    /// What a commit of a pack says; `None` for commits elsewhere.
    pub(super) fn packed_head(&self, commit: u32) -> Option<&Head> {
        // Slots of commits elsewhere are never set.
        self.slot(commit, Kind::Commit).filter(|_| (commit as usize) < self.in_packs()).map(|at| &self.heads[at])
    }

    /// The matches in the message of a commit of a pack, once.
    pub(super) fn take_message(&mut self, commit: u32) -> Option<Message> {
        self.messages.remove(&commit)
    }

    /// What a commit says, read through libgit2 if need be; or a note in the ledger.
    pub(super) fn head(&mut self, odb: &Odb<'_>, number: u32, coverage: &mut Coverage) -> Option<Head> {
        if let Some(head) = self.packed_head(number) {
            return Some(*head);
        }
        let id = self.id(number);
        let object = read(odb, id, "commit", coverage)?;
        let Some(head) = commit(object.data(), self.format) else {
            coverage.skip(Reason::Corrupt, id.to_string().as_bytes(), "commit without a tree");
            return None;
        };
        let start = self.parents.len() as u32;
        for id in &head.parents {
            let parent = self.number(*id);
            self.parents.push(parent);
        }
        let parents = (start, head.parents.len() as u32);
        Some(Head { tree: self.number(head.tree), time: head.time, written: 0, parents })
    }

    /// Parents of a commit.
    pub(super) fn parents(&self, head: &Head) -> &[u32] {
        &self.parents[head.parents.0 as usize..][..head.parents.1 as usize]
    }

    /// The entries of a tree that was loaded; `None` for what is no tree or cannot be read.
    pub(super) fn tree(&self, number: u32) -> Option<&[TreeEntry]> {
        let place = self.trees[self.slot(number, Kind::Tree)?];
        Some(&self.parts[place.part as usize][place.start as usize..][..place.length as usize])
    }

    /// Reads those of these trees that are not there yet, through libgit2; or notes in the ledger why not.
    ///
    /// # Errors
    /// [`SourceError::Repository`] when the repository cannot be opened once more.
    pub(super) fn load(
        &mut self,
        trees: impl Iterator<Item = u32>,
        pool: &Pool,
        coverage: &mut Coverage,
    ) -> Result<(), SourceError> {
        let missing: Vec<u32> =
            trees.filter(|tree| self.tree(*tree).is_none() && self.tried.insert(*tree)).collect();
        for part in missing.chunks(TREES) {
            let ids: Vec<Oid> = part.iter().map(|tree| self.id(*tree)).collect();
            let read_batch = |batch: &[Oid]| pool.with(|odb| read_trees(odb, batch));
            let read: Vec<(Vec<Option<Vec<u8>>>, Coverage)> =
                ids.par_chunks(BATCH).map(read_batch).collect::<Result<_, _>>()?;
            let mut list = Vec::new();
            let mut trees = part.iter();
            for (contents, ledger) in read {
                coverage.merge(ledger);
                for (content, tree) in contents.into_iter().zip(trees.by_ref()) {
                    let Some(content) = content else { continue };
                    let start = list.len();
                    for entry in entries(&content, self.format) {
                        let (object, name) = (self.number(entry.id), self.name_number(entry.name));
                        list.push(TreeEntry::new(object, name, entry.kind));
                    }
                    let place = Place {
                        part: self.parts.len() as u32,
                        start: start as u32,
                        length: (list.len() - start) as u32,
                    };
                    self.set_slot(*tree, self.trees.len());
                    self.trees.push(place);
                }
            }
            self.parts.push(list);
        }
        Ok(())
    }

    /// The blob at a path below a tree, link by link, through trees that were loaded.
    pub(super) fn blob_at(&self, tree: u32, path: &[u8]) -> Option<u32> {
        let mut at = tree;
        let mut parts = path.split(|b| *b == b'/').peekable();
        while let Some(name) = parts.next() {
            let entry = self.tree(at)?.iter().find(|entry| self.name(entry.name()) == name)?;
            match (entry.kind(), parts.peek()) {
                (EntryKind::Blob, None) => return Some(entry.object),
                (EntryKind::Tree, Some(_)) => at = entry.object,
                _ => return None,
            }
        }
        None
    }
}

fn read_trees(odb: &Odb<'_>, batch: &[Oid]) -> (Vec<Option<Vec<u8>>>, Coverage) {
    let mut coverage = Coverage::default();
    let trees = batch
        .iter()
        .map(|id| {
            let object = read(odb, *id, "tree", &mut coverage)?;
            (object.kind() == ObjectType::Tree).then(|| object.data().to_vec())
        })
        .collect();
    (trees, coverage)
}
