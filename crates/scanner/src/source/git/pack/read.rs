//! What the commits and trees of packs say, as arrays of numbers.
//!
//! A tree is mostly what its delta base was: entries whose bytes stand in the base are taken over with their numbers,
//! and only the others cost a look-up. Messages are scanned on the way, while their bytes are there.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use git2::{ObjectFormat, Oid};

use super::entry::Kind;
use super::forest::Packs;
use super::walk::{Base, Visitor, walk};
use crate::engine::{Context, Copied, Engine};
use crate::finding::{CommitInfo, Match};
use crate::scan::Monitor;
use crate::source::git::object::{self, commit, commit_info, written};
use crate::source::git::objects::{Head, TreeEntry};

/// Locks over the names, so that threads seldom meet.
const SHARDS: usize = 32;

/// The matches of a commit's message.
#[derive(Debug)]
pub(in super::super) struct Message {
    pub(in super::super) hits: Vec<Match>,
    pub(in super::super) info: CommitInfo,
}

/// A part of what was read.
#[derive(Debug, Default)]
pub(in super::super) struct Part {
    /// Number of each tree, and how many of `entries` are its own.
    pub(in super::super) trees: Vec<(u32, u32)>,
    pub(in super::super) entries: Vec<TreeEntry>,
    /// Commits; the parents of each begin so far into `parents`.
    pub(in super::super) heads: Vec<(u32, Head)>,
    pub(in super::super) parents: Vec<u32>,
    pub(in super::super) messages: Vec<(u32, Message)>,
}

/// All that was read.
#[derive(Debug)]
pub(in super::super) struct Read {
    pub(in super::super) parts: Vec<Part>,
    /// Objects that are named and in no pack; their numbers follow those of the entries.
    pub(in super::super) ids: Vec<Oid>,
    /// Names of tree entries, by number.
    pub(in super::super) names: Vec<Arc<[u8]>>,
}

/// Reads every commit and every tree of the packs. What cannot be read is left out.
pub(in super::super) fn read(
    packs: &Packs,
    format: ObjectFormat,
    engine: &Engine,
    now: i64,
    monitor: &Monitor,
) -> Read {
    let reader = Reader {
        packs,
        format,
        engine,
        now,
        monitor,
        ids: Mutex::new((HashMap::new(), Vec::new())),
        names: Names::default(),
    };
    let needed = packs.with_bases(|entry| matches!(packs.kind(entry), Kind::Commit | Kind::Tree));
    let parts = walk(packs, &needed, &reader, monitor);
    let (_, ids) = reader.ids.into_inner().unwrap_or_else(PoisonError::into_inner);
    Read { parts, ids, names: reader.names.list() }
}

struct Reader<'a> {
    packs: &'a Packs,
    format: ObjectFormat,
    engine: &'a Engine,
    now: i64,
    monitor: &'a Monitor,
    /// Held for a look-up of an object that no pack has.
    ids: Mutex<(HashMap<Oid, u32>, Vec<Oid>)>,
    names: Names,
}

/// What is kept of a tree: its entries, and where in its bytes each ends.
#[derive(Default)]
struct Held {
    entries: Vec<TreeEntry>,
    ends: Vec<u32>,
}

impl Visitor for Reader<'_> {
    type Held = Held;
    type Job = Part;

    fn visit(
        &self,
        part: &mut Part,
        entry: u32,
        bytes: &[u8],
        base: Option<Base<'_, Held>>,
        _: bool,
    ) -> Held {
        self.monitor.advance(0, 0);
        if self.packs.kind(entry) == Kind::Commit {
            self.commit(part, entry, bytes);
            return Held::default();
        }
        let held = self.tree(bytes, base.as_ref());
        part.trees.push((entry, held.entries.len() as u32));
        part.entries.extend_from_slice(&held.entries);
        held
    }

    fn size(held: &Held) -> usize {
        size_of_val(held.entries.as_slice()) + size_of_val(held.ends.as_slice())
    }

    fn fail(&self, _: &mut Part, _: u32) {}
}

impl Reader<'_> {
    fn commit(&self, part: &mut Part, entry: u32, bytes: &[u8]) {
        // One without a tree is left to libgit2's path, which says so.
        let Some(head) = commit(bytes, self.format) else { return };
        let start = part.parents.len() as u32;
        part.parents.extend(head.parents.iter().map(|id| self.number(id)));
        let text = written(bytes);
        let head = Head {
            tree: self.number(&head.tree),
            time: head.time,
            written: text.len() as u32,
            parents: (start, head.parents.len() as u32),
        };
        part.heads.push((entry, head));
        let hits = self.engine.scan(&bytes[text], &Context { path: None, now: self.now });
        if !hits.is_empty() {
            let info = commit_info(self.packs.id(entry), bytes);
            part.messages.push((entry, Message { hits, info }));
        }
    }

    fn tree(&self, bytes: &[u8], base: Option<&Base<'_, Held>>) -> Held {
        let mut held = Held::default();
        let mut old = base.map(Old::new);
        if let Some(base) = base {
            held.entries.reserve(base.held.entries.len() + 1);
            held.ends.reserve(base.held.entries.len() + 1);
        }
        let mut at = 0;
        while at < bytes.len() {
            if let Some(length) = old.as_mut().and_then(|old| old.copied(at, &mut held)) {
                at += length;
                continue;
            }
            let (entry, end) = match old.as_mut().and_then(|old| old.same(&bytes[at..])) {
                Some((entry, length)) => (entry, at + length),
                None => {
                    let Some((raw, rest)) = object::entry(&bytes[at..], self.format) else { break };
                    let name = old.as_mut().and_then(|old| old.advance_to(raw.name));
                    let name = name.unwrap_or_else(|| self.names.number(raw.name));
                    let entry = TreeEntry::new(self.number(&raw.id), name, raw.kind);
                    (entry, bytes.len() - rest.len())
                }
            };
            held.entries.push(entry);
            held.ends.push(end as u32);
            at = end;
        }
        held
    }

    fn number(&self, id: &Oid) -> u32 {
        if let Some(entry) = self.packs.find(id.as_bytes()) {
            return entry;
        }
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let (numbers, list) = &mut *ids;
        *numbers.entry(*id).or_insert_with(|| {
            list.push(*id);
            (self.packs.len() + list.len() - 1) as u32
        })
    }
}

/// The tree that another is built from, read along with it: both are sorted by name.
struct Old<'a> {
    bytes: &'a [u8],
    held: &'a Held,
    /// What was copied of it, as far as it is still to come.
    runs: &'a [Copied],
    /// The entry that is next.
    next: usize,
}

impl<'a> Old<'a> {
    fn new(base: &Base<'a, Held>) -> Self {
        Old { bytes: base.bytes, held: base.held, runs: base.runs, next: 0 }
    }

    /// Where an entry begins.
    fn start(&self, entry: usize) -> usize {
        entry.checked_sub(1).map_or(0, |before| self.held.ends[before] as usize)
    }

    fn raw(&self, at: usize) -> Option<&'a [u8]> {
        self.held.ends.get(at).map(|end| &self.bytes[self.start(at)..*end as usize])
    }

    /// If the new tree goes on at `at` with a copy of the old one's next entries: takes those over that the copy holds
    /// as a whole, and says how many bytes they have.
    fn copied(&mut self, at: usize, held: &mut Held) -> Option<usize> {
        while self.runs.first().is_some_and(|run| run.range().end <= at) {
            self.runs = &self.runs[1..];
        }
        let run = self.runs.first().filter(|run| run.to <= at)?;
        let start = self.start(self.next);
        if run.from + (at - run.to) != start {
            return None;
        }
        let ends = &self.held.ends[self.next..];
        let count = ends.partition_point(|end| *end as usize <= run.from + run.length);
        let length = *ends[..count].last()? as usize - start;
        held.entries.extend_from_slice(&self.held.entries[self.next..self.next + count]);
        held.ends.extend(ends[..count].iter().map(|end| (*end as usize - start + at) as u32));
        self.next += count;
        Some(length)
    }

    /// If the new tree goes on with the old one's next entry: that, and its length in bytes.
    fn same(&mut self, rest: &[u8]) -> Option<(TreeEntry, usize)> {
        let raw = self.raw(self.next)?;
        rest.starts_with(raw).then(|| {
            self.next += 1;
            (self.held.entries[self.next - 1], raw.len())
        })
    }

    /// Goes on to the first entry that does not come before this name; its number, if it has the very name.
    fn advance_to(&mut self, name: &[u8]) -> Option<u32> {
        loop {
            let raw = self.raw(self.next)?;
            let start = memchr::memchr(b' ', raw)? + 1;
            let end = start + memchr::memchr(0, &raw[start..])?;
            match raw[start..end].cmp(name) {
                std::cmp::Ordering::Less => self.next += 1,
                std::cmp::Ordering::Greater => return None,
                std::cmp::Ordering::Equal => {
                    self.next += 1;
                    return Some(self.held.entries[self.next - 1].name());
                }
            }
        }
    }
}

/// Numbers for names, given out by many threads.
#[derive(Default)]
struct Names {
    hasher: RandomState,
    next: AtomicU32,
    /// Held for one look-up each.
    shards: [Mutex<HashMap<Arc<[u8]>, u32>>; SHARDS],
}

impl Names {
    fn number(&self, name: &[u8]) -> u32 {
        let shard = self.hasher.hash_one(name) as usize % SHARDS;
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = shard.get(name) {
            return *number;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        shard.insert(name.into(), number);
        number
    }

    fn list(self) -> Vec<Arc<[u8]>> {
        let mut all: Vec<(u32, Arc<[u8]>)> = Vec::new();
        for shard in self.shards {
            let shard = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.into_iter().map(|(name, number)| (number, name)));
        }
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, name)| name).collect()
    }
}
