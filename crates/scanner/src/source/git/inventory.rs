//! Every tree and blob that a graph reaches, each once, and the first path it was seen at.

use std::collections::HashSet;
use std::ops::Range;

use git2::{ObjectType, Oid};

use super::bits::Bits;
use super::graph::Graph;
use super::history::HistoryOptions;
use super::object::EntryKind;
use super::objects::{Objects, TreeEntry};
use super::repo::{Pool, Repository};
use crate::coverage::{Coverage, Reason};
use crate::path::RepoPath;
use crate::scan::Monitor;
use crate::source::SourceError;

/// Trees between two looks at whether to go on.
const TREES: usize = 8192;

/// A node of the tree of first-seen paths.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    name: u32,
}

/// No parent: the root of a tree.
const ROOT: u32 = u32::MAX;

/// A blob to read, and the first path it was seen at.
#[derive(Clone, Copy, Debug)]
struct BlobAt {
    object: u32,
    node: u32,
}

/// Every tree and blob that is reachable, each once, by number.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) trees: Vec<u32>,
    blobs: Vec<BlobAt>,
    nodes: Vec<Node>,
    /// Nodes whose name no other node has had before.
    new_names: Vec<u32>,
    /// Those of `blobs` that only the index names.
    pub(super) staged: Range<usize>,
    seen: Bits,
    /// Paths in the index that are not those of trees.
    staged_paths: Vec<RepoPath>,
}

impl Inventory {
    /// Walks from the commits' trees down.
    ///
    /// # Errors
    /// [`SourceError::Repository`] when the repository cannot be opened once more.
    pub(super) fn new(
        graph: &Graph,
        objects: &mut Objects,
        options: &HistoryOptions,
        pool: &Pool,
        monitor: &Monitor,
        coverage: &mut Coverage,
    ) -> Result<Self, SourceError> {
        monitor.phase("walking trees", 0);
        let mut inventory = Inventory { seen: Bits::new(objects.count()), ..Inventory::default() };
        let mut names = Bits::default();
        let mut level: Vec<(u32, u32)> = Vec::new();
        let roots = graph.commits.iter().map(|c| c.tree).chain(graph.bare_trees.iter().copied());
        for tree in roots {
            if inventory.seen.insert(tree) {
                level.push((tree, ROOT));
            }
        }
        // Level by level, not tree by tree: a level can be read in parallel, and no depth of folders overflows a stack.
        while !level.is_empty() {
            let mut next = Vec::new();
            for part in level.chunks(TREES) {
                if monitor.is_cancelled() {
                    coverage.skip(Reason::Interrupted, b"trees", "");
                    return Ok(inventory);
                }
                objects.load(part.iter().map(|(tree, _)| *tree), pool, coverage)?;
                for (tree, node) in part {
                    inventory.take(*tree, *node, objects, options, &mut names, &mut next, coverage);
                    monitor.advance(0, 0);
                }
            }
            level = next;
        }
        for object in &graph.bare_blobs {
            if inventory.seen.insert(*object) {
                inventory.blobs.push(BlobAt { object: *object, node: ROOT });
            }
        }
        coverage.trees = inventory.trees.len() as u64;
        Ok(inventory)
    }

    /// Puts away what a tree names.
    #[expect(clippy::too_many_arguments, reason = "the walk's state, used here alone")]
    fn take(
        &mut self,
        tree: u32,
        node: u32,
        objects: &Objects,
        options: &HistoryOptions,
        names: &mut Bits,
        next: &mut Vec<(u32, u32)>,
        coverage: &mut Coverage,
    ) {
        let Some(entries) = objects.tree(tree) else { return };
        self.trees.push(tree);
        for entry in entries {
            if entry.kind() == EntryKind::Submodule {
                if self.seen.insert(entry.object) {
                    let path = self.path(node, objects).join(objects.name(entry.name()));
                    coverage.skip(Reason::Submodule, path.as_bytes(), "");
                }
                continue;
            }
            let new_name = names.insert(entry.name());
            let is_new = self.seen.insert(entry.object);
            if new_name {
                self.new_names.push(self.nodes.len() as u32);
            }
            if is_new || new_name {
                self.nodes.push(Node { parent: node, name: entry.name() });
            }
            if is_new {
                self.enter(*entry, objects, options, next, coverage);
            }
        }
    }

    /// Puts an object seen for the first time away, under the node made last.
    fn enter(
        &mut self,
        entry: TreeEntry,
        objects: &Objects,
        options: &HistoryOptions,
        next: &mut Vec<(u32, u32)>,
        coverage: &mut Coverage,
    ) {
        let node = (self.nodes.len() - 1) as u32;
        if entry.kind() == EntryKind::Tree {
            next.push((entry.object, node));
            return;
        }
        if !options.filter.is_open() {
            let path = self.path(node, objects);
            if !options.filter.admits(&path) {
                return coverage.skip(Reason::Excluded, path.as_bytes(), "in the history");
            }
        }
        self.blobs.push(BlobAt { object: entry.object, node });
    }

    /// The path of a node.
    pub(super) fn path(&self, node: u32, objects: &Objects) -> RepoPath {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = node;
        while at != ROOT {
            let node = self.nodes[at as usize];
            parts.push(objects.name(node.name));
            at = node.parent;
        }
        parts.reverse();
        RepoPath::new(parts.join(&b'/'))
    }

    /// Number of blobs to scan.
    pub(super) fn len(&self) -> usize {
        self.blobs.len()
    }

    /// The number of a blob.
    pub(super) fn object(&self, blob: usize) -> u32 {
        self.blobs[blob].object
    }

    /// The first path a blob was seen at; empty when only a tag or nothing names it.
    pub(super) fn path_of(&self, blob: usize, objects: &Objects) -> RepoPath {
        if self.staged.contains(&blob) {
            return self.staged_paths[blob - self.staged.start].clone();
        }
        self.path(self.blobs[blob].node, objects)
    }

    /// The last part of a blob's path, as a number; blobs without a path share one.
    pub(super) fn name_of(&self, blob: usize) -> u32 {
        self.nodes.get(self.blobs[blob].node as usize).map_or(u32::MAX, |node| node.name)
    }

    /// Nodes of names that were seen there first.
    pub(super) fn new_names(&self) -> &[u32] {
        &self.new_names
    }

    /// The name of a node.
    pub(super) fn name<'a>(&self, node: u32, objects: &'a Objects) -> &'a [u8] {
        objects.name(self.nodes[node as usize].name)
    }

    /// Adds blobs that are staged and in no commit: the next commit would bring them.
    pub(super) fn add_index(
        &mut self,
        repo: &Repository,
        objects: &mut Objects,
        options: &HistoryOptions,
        coverage: &mut Coverage,
    ) {
        let start = self.blobs.len();
        self.staged = start..start;
        let index = match repo.git().index() {
            Ok(index) => index,
            Err(_) if repo.is_bare() => return,
            Err(e) => return coverage.skip(Reason::Corrupt, b"the index", e.message()),
        };
        for entry in index.iter() {
            // `git add --intent-to-add` promises content and has none yet.
            if entry.mode & 0o170_000 == 0o160_000 || entry.id.is_zero() {
                continue;
            }
            let object = objects.number(entry.id);
            if !self.seen.insert(object) {
                continue;
            }
            let path = RepoPath::new(entry.path);
            if !options.filter.admits(&path) {
                coverage.skip(Reason::Excluded, path.as_bytes(), "staged");
                continue;
            }
            self.staged_paths.push(path);
            self.blobs.push(BlobAt { object, node: ROOT });
        }
        self.staged = start..self.blobs.len();
    }

    /// Adds all blobs of the repository that nothing reaches; the other objects among them.
    ///
    /// # Errors
    /// [`SourceError::Repository`] when the objects cannot be listed.
    pub(super) fn add_unreachable(
        &mut self,
        repo: &Repository,
        graph: &Graph,
        objects: &mut Objects,
        coverage: &mut Coverage,
    ) -> Result<Vec<(Oid, ObjectType)>, SourceError> {
        let odb = repo.reader()?;
        let tags: HashSet<Oid> = graph.tags.iter().copied().collect();
        let mut all: Vec<Oid> = Vec::new();
        odb.foreach(|id| {
            all.push(*id);
            true
        })
        .map_err(|e| repo.damaged(&e))?;
        all.sort_unstable();
        all.dedup();
        let mut others = Vec::new();
        for id in all {
            let object = objects.number(id);
            if self.seen.contains(object) || graph.holds(object) || tags.contains(&id) {
                continue;
            }
            match odb.read_header(id) {
                Ok((_, ObjectType::Blob)) => self.blobs.push(BlobAt { object, node: ROOT }),
                Ok((_, kind)) => others.push((id, kind)),
                Err(e) => coverage.skip(Reason::Corrupt, id.to_string().as_bytes(), e.message()),
            }
        }
        Ok(others)
    }
}
