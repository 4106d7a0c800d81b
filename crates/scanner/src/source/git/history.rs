//! The plain path: every reachable blob once, whole, through libgit2, in parallel.
//!
//! Too simple to be wrong, and therefore the oracle of any faster path: both must report the same blobs, rules and
//! secrets. Memory holds ids and names of what is reachable, never content.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use git2::{ObjectType, Oid};
use rayon::prelude::*;

use super::attribute;
use super::graph::{Graph, Tip, all_tips};
use super::object::{EntryKind, entries};
use super::odb::{Object, Odb};
use super::repo::{Pool, Repository, read};
use crate::coverage::{Coverage, Reason};
use crate::engine::{Context, Engine};
use crate::finding::{Match, Place, PlaceKind, Sighting};
use crate::path::RepoPath;
use crate::scan::{Harvest, Monitor};
use crate::source::SourceError;
use crate::source::tree::PathFilter;

/// Largest object that is read without being asked, in bytes: libgit2 holds an object in memory as a whole.
const MAX_BLOB: u64 = 512 * 1024 * 1024;
/// Objects that a thread takes at a time: enough to find its delta bases in libgit2's cache again.
const BATCH: usize = 128;
/// Trees read before their names are put away.
const TREES: usize = 8192;

/// What of a history is read.
#[derive(Clone, Debug, Default)]
pub struct HistoryOptions {
    /// Only what these branches, tags or commits reach; empty for everything.
    pub branches: Vec<String>,
    /// Only what commits added after a date, or after what this commit, branch or tag reaches.
    pub since: Option<String>,
    /// Commits from a tip at most.
    pub max_depth: Option<u32>,
    /// Objects too that nothing reaches.
    pub unreachable: bool,
    /// Objects larger than this many bytes are left out; `None`: over 512 MiB, which makes the scan incomplete.
    pub max_blob: Option<u64>,
    /// Which paths to read.
    pub filter: PathFilter,
    /// The index to read for staged files, if not the repository's own: git hands hooks another one for a commit of
    /// named files (`GIT_INDEX_FILE`).
    pub index: Option<PathBuf>,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// Scans a repository's history, messages, names and configuration.
///
/// # Errors
/// [`SourceError`] when the repository cannot be read at all or a name resolves to nothing. Objects that cannot be
/// read are in the ledger.
pub fn history(
    repo: &Repository,
    engine: &Engine,
    options: &HistoryOptions,
    target: &str,
    monitor: &Monitor,
) -> Result<Harvest, SourceError> {
    if let Some(since) = &options.since {
        return super::change::since(repo, engine, since, options, target, monitor);
    }
    let mut coverage = Coverage::default();
    let tips = tips(repo, options, &mut coverage)?;
    let graph = Graph::walk(repo, &tips, options.max_depth, &mut coverage, monitor)?;
    let pool = repo.pool();
    let scan = Scan { engine, options, target, monitor, pool: &pool };
    let mut harvest = scan.messages(&graph)?;
    harvest.merge(scan.config(repo));
    let mut inventory = Inventory::new(&graph, options, &pool, monitor, &mut coverage)?;
    if options.branches.is_empty() && options.max_depth.is_none() {
        inventory.add_index(repo, options, &mut coverage);
    }
    if options.unreachable {
        inventory.add_unreachable(repo, &graph, &scan, &mut harvest)?;
    }
    harvest.merge(scan.names(&inventory));
    let (found, blobs) = scan.blobs(&inventory)?;
    coverage.merge(blobs);
    coverage.merge(std::mem::take(&mut harvest.coverage));
    coverage.commits = graph.commits.len() as u64;
    coverage.tags = graph.tags.len() as u64;
    harvest.coverage = coverage;
    if !found.is_empty() {
        let places = attribute::attribute(repo, &graph, &inventory, found, target, &pool, monitor)?;
        harvest.sightings.extend(places);
    }
    Ok(harvest)
}

fn tips(
    repo: &Repository,
    options: &HistoryOptions,
    coverage: &mut Coverage,
) -> Result<Vec<Tip>, SourceError> {
    if options.branches.is_empty() {
        return Ok(all_tips(repo, coverage));
    }
    options.branches.iter().map(|name| Ok(Tip { id: repo.resolve(name)?, required: true })).collect()
}

/// A node of the tree of first-seen paths.
#[derive(Debug)]
struct Node {
    parent: u32,
    name: Box<[u8]>,
}

/// No parent: the root of a tree.
const ROOT: u32 = u32::MAX;

/// A blob to read, and the first path it was seen at.
#[derive(Clone, Copy, Debug)]
struct BlobAt {
    id: Oid,
    node: u32,
}

/// Every tree and blob that is reachable, each once.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) trees: Vec<Oid>,
    blobs: Vec<BlobAt>,
    nodes: Vec<Node>,
    /// Nodes whose name no other node has had before.
    new_names: Vec<u32>,
    /// Those of `blobs` that only the index names.
    pub(super) staged: Range<usize>,
    seen: HashSet<Oid>,
}

impl Inventory {
    fn new(
        graph: &Graph,
        options: &HistoryOptions,
        pool: &Pool,
        monitor: &Monitor,
        coverage: &mut Coverage,
    ) -> Result<Self, SourceError> {
        monitor.phase("walking trees", 0);
        let mut inventory = Inventory::default();
        let mut names: HashSet<Box<[u8]>> = HashSet::new();
        let mut level: Vec<(Oid, u32)> = Vec::new();
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
                inventory.take(part, options, pool, &mut names, &mut next, monitor, coverage)?;
            }
            level = next;
        }
        for id in &graph.bare_blobs {
            if inventory.seen.insert(*id) {
                inventory.blobs.push(BlobAt { id: *id, node: ROOT });
            }
        }
        coverage.trees = inventory.trees.len() as u64;
        Ok(inventory)
    }

    /// Reads trees in parallel, then puts what they name away in order.
    #[expect(clippy::too_many_arguments, reason = "the walk's state, used here alone")]
    fn take(
        &mut self,
        part: &[(Oid, u32)],
        options: &HistoryOptions,
        pool: &Pool,
        names: &mut HashSet<Box<[u8]>>,
        next: &mut Vec<(Oid, u32)>,
        monitor: &Monitor,
        coverage: &mut Coverage,
    ) -> Result<(), SourceError> {
        let read_batch = |batch: &[(Oid, u32)]| pool.with(|odb| read_trees(odb, batch));
        let read: Vec<(Vec<Option<Vec<u8>>>, Coverage)> =
            part.par_chunks(BATCH).map(read_batch).collect::<Result<_, _>>()?;
        let mut trees = part.iter();
        for (contents, ledger) in read {
            coverage.merge(ledger);
            for (content, (id, node)) in contents.into_iter().zip(trees.by_ref()) {
                let Some(content) = content else { continue };
                self.trees.push(*id);
                monitor.advance(0, 0);
                for entry in entries(&content, pool.format()) {
                    if entry.kind == EntryKind::Submodule {
                        if self.seen.insert(entry.id) {
                            coverage.skip(Reason::Submodule, self.child(*node, entry.name).as_bytes(), "");
                        }
                        continue;
                    }
                    let new_name = names.insert(entry.name.into());
                    let is_new = self.seen.insert(entry.id);
                    if new_name {
                        self.new_names.push(self.nodes.len() as u32);
                    }
                    if is_new || new_name {
                        self.nodes.push(Node { parent: *node, name: entry.name.into() });
                    }
                    if is_new {
                        self.enter(&entry, options, next, coverage);
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts an object seen for the first time away, under the node made last.
    fn enter(
        &mut self,
        entry: &super::object::Entry<'_>,
        options: &HistoryOptions,
        next: &mut Vec<(Oid, u32)>,
        coverage: &mut Coverage,
    ) {
        let node = (self.nodes.len() - 1) as u32;
        match entry.kind {
            EntryKind::Tree => next.push((entry.id, node)),
            _ if options.filter.admits(&self.path(node)) => self.blobs.push(BlobAt { id: entry.id, node }),
            _ => coverage.skip(Reason::Excluded, self.path(node).as_bytes(), "in the history"),
        }
    }

    /// The path of a node.
    fn path(&self, node: u32) -> RepoPath {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = node;
        while at != ROOT {
            let node = &self.nodes[at as usize];
            parts.push(&node.name);
            at = node.parent;
        }
        parts.reverse();
        RepoPath::new(parts.join(&b'/'))
    }

    fn child(&self, node: u32, name: &[u8]) -> RepoPath {
        self.path(node).join(name)
    }

    /// The first path a blob was seen at; empty when only a tag or nothing names it.
    pub(super) fn path_of(&self, blob: usize) -> RepoPath {
        match self.blobs[blob].node {
            ROOT => RepoPath::default(),
            node => self.path(node),
        }
    }

    /// The id of a blob.
    pub(super) fn id_of(&self, blob: usize) -> Oid {
        self.blobs[blob].id
    }

    /// Adds blobs that are staged and in no commit: the next commit would bring them.
    fn add_index(&mut self, repo: &Repository, options: &HistoryOptions, coverage: &mut Coverage) {
        let start = self.blobs.len();
        self.staged = start..start;
        let index = match repo.git().index() {
            Ok(index) => index,
            Err(_) if repo.is_bare() => return,
            Err(e) => return coverage.skip(Reason::Corrupt, b"the index", e.message()),
        };
        for entry in index.iter() {
            // `git add --intent-to-add` promises content and has none yet.
            if entry.mode & 0o170_000 == 0o160_000 || entry.id.is_zero() || !self.seen.insert(entry.id) {
                continue;
            }
            let path = RepoPath::new(entry.path);
            if !options.filter.admits(&path) {
                coverage.skip(Reason::Excluded, path.as_bytes(), "staged");
                continue;
            }
            let node = self.nodes.len() as u32;
            self.nodes.push(Node { parent: ROOT, name: path.as_bytes().into() });
            self.blobs.push(BlobAt { id: entry.id, node });
        }
        self.staged = start..self.blobs.len();
    }

    /// Adds all objects of the repository that nothing reaches; scans the messages among them.
    fn add_unreachable(
        &mut self,
        repo: &Repository,
        graph: &Graph,
        scan: &Scan<'_>,
        harvest: &mut Harvest,
    ) -> Result<(), SourceError> {
        let odb = repo.reader()?;
        let mut lost: Vec<Oid> = Vec::new();
        let tags: HashSet<Oid> = graph.tags.iter().copied().collect();
        odb.foreach(|id| {
            let known = self.seen.contains(id) || graph.index.contains_key(id) || tags.contains(id);
            if !known {
                lost.push(*id);
            }
            true
        })
        .map_err(|e| repo.damaged(&e))?;
        lost.sort();
        for id in lost {
            match odb.read_header(id) {
                Ok((_, ObjectType::Blob)) => self.blobs.push(BlobAt { id, node: ROOT }),
                Ok((_, ObjectType::Commit)) => scan.message(&odb, id, PlaceKind::CommitMessage, harvest),
                Ok((_, ObjectType::Tag)) => scan.message(&odb, id, PlaceKind::TagMessage, harvest),
                Ok(_) => {}
                Err(e) => harvest.coverage.skip(Reason::Corrupt, id.to_string().as_bytes(), e.message()),
            }
        }
        Ok(())
    }
}

fn read_trees(odb: &Odb<'_>, batch: &[(Oid, u32)]) -> (Vec<Option<Vec<u8>>>, Coverage) {
    let mut coverage = Coverage::default();
    let trees = batch
        .iter()
        .map(|(id, _)| {
            let object = read(odb, *id, "tree", &mut coverage)?;
            (object.kind() == ObjectType::Tree).then(|| object.data().to_vec())
        })
        .collect();
    (trees, coverage)
}

/// Matches of one blob, by its index in the inventory.
pub(super) type Found = Vec<(usize, Vec<Match>)>;

/// What scanning needs, shared by all parts.
struct Scan<'a> {
    engine: &'a Engine,
    options: &'a HistoryOptions,
    target: &'a str,
    monitor: &'a Monitor,
    pool: &'a Pool,
}

impl Scan<'_> {
    /// Every blob, once. Blobs of one name are read one after the other: they are deltas of each other.
    fn blobs(&self, inventory: &Inventory) -> Result<(Found, Coverage), SourceError> {
        let name = |i: &usize| match inventory.blobs[*i].node {
            ROOT => &b""[..],
            node => &inventory.nodes[node as usize].name,
        };
        let mut order: Vec<usize> = (0..inventory.blobs.len()).collect();
        order.sort_by(|a, b| name(a).cmp(name(b)).then(a.cmp(b)));
        self.monitor.phase("scanning history", order.len() as u64);
        let parts: Vec<(Found, Coverage)> = order
            .par_chunks(BATCH)
            .map(|batch| self.pool.with(|odb| self.batch(odb, inventory, batch)))
            .collect::<Result<_, _>>()?;
        let (mut found, mut coverage) = (Found::new(), Coverage::default());
        for (part, ledger) in parts {
            found.extend(part);
            coverage.merge(ledger);
        }
        found.sort_by_key(|(blob, _)| *blob);
        Ok((found, coverage))
    }

    fn batch(&self, odb: &Odb<'_>, inventory: &Inventory, batch: &[usize]) -> (Found, Coverage) {
        let (mut found, mut coverage) = (Found::new(), Coverage::default());
        for &blob in batch {
            let id = inventory.blobs[blob].id;
            if self.monitor.is_cancelled() {
                coverage.skip(Reason::Interrupted, id.to_string().as_bytes(), "");
                continue;
            }
            if let Some(hits) = self.blob(odb, id, || inventory.path_of(blob), &mut coverage) {
                found.push((blob, hits));
            }
        }
        (found, coverage)
    }

    fn blob(
        &self,
        odb: &Odb<'_>,
        id: Oid,
        path: impl FnOnce() -> RepoPath,
        coverage: &mut Coverage,
    ) -> Option<Vec<Match>> {
        let hits = scan_blob(self.engine, odb, id, path, self.options, coverage)?;
        self.monitor.advance(hits.1, hits.0.len() as u64);
        (!hits.0.is_empty()).then_some(hits.0)
    }

    /// Messages of commits and tags, with the people they name.
    fn messages(&self, graph: &Graph) -> Result<Harvest, SourceError> {
        self.monitor.phase("reading messages", (graph.commits.len() + graph.tags.len()) as u64);
        let commits = graph.commits.iter().map(|c| (c.id, PlaceKind::CommitMessage));
        let all: Vec<(Oid, PlaceKind)> =
            commits.chain(graph.tags.iter().map(|id| (*id, PlaceKind::TagMessage))).collect();
        let parts: Vec<Harvest> = all
            .par_chunks(BATCH)
            .map(|batch| {
                self.pool.with(|odb| {
                    let mut harvest = Harvest::default();
                    for (id, kind) in batch {
                        self.message(odb, *id, *kind, &mut harvest);
                    }
                    harvest
                })
            })
            .collect::<Result<_, _>>()?;
        let mut harvest = Harvest::default();
        parts.into_iter().for_each(|part| harvest.merge(part));
        Ok(harvest)
    }

    fn message(&self, odb: &Odb<'_>, id: Oid, kind: PlaceKind, harvest: &mut Harvest) {
        if self.monitor.is_cancelled() {
            return;
        }
        // What cannot be read is in the ledger already: the walk has read it before.
        let Ok(object) = odb.read(id) else { return };
        scan_message(self.engine, &object, kind, self.target, self.options.now, harvest);
        self.monitor.advance(0, 0);
    }

    /// Names in trees, each once.
    fn names(&self, inventory: &Inventory) -> Harvest {
        self.monitor.phase("reading names", inventory.new_names.len() as u64);
        let context = Context { path: None, now: self.options.now };
        let sightings = inventory
            .new_names
            .par_iter()
            .flat_map_iter(|node| {
                let name = &inventory.nodes[*node as usize].name;
                self.engine.scan(name, &context).into_iter().map(|hit| {
                    let place = Place::of(&hit, PlaceKind::PathName, self.target, inventory.path(*node));
                    Sighting { hit, place }
                })
            })
            .collect();
        Harvest { sightings, coverage: Coverage::default() }
    }

    /// The repository's own configuration: remotes with passwords in their addresses.
    fn config(&self, repo: &Repository) -> Harvest {
        let mut harvest = Harvest::default();
        let common = repo.git().commondir();
        for (file, name) in [
            (common.join("config"), "config"),
            (repo.git().path().join("config.worktree"), "config.worktree"),
        ] {
            let Ok(meta) = std::fs::symlink_metadata(&file) else { continue };
            if !meta.is_file() || meta.len() > 16 * 1024 * 1024 {
                continue;
            }
            let path = RepoPath::new(if repo.is_bare() { name.to_owned() } else { format!(".git/{name}") });
            let Ok(bytes) = std::fs::read(&file) else {
                harvest.coverage.skip(Reason::Unreadable, path.as_bytes(), "");
                continue;
            };
            harvest.coverage.files += 1;
            harvest.coverage.bytes += bytes.len() as u64;
            let context = Context { path: Some(path.as_bytes()), now: self.options.now };
            for hit in self.engine.scan(&bytes, &context) {
                let place = Place::of(&hit, PlaceKind::GitConfig, self.target, path.clone());
                harvest.sightings.push(Sighting { hit, place });
            }
        }
        harvest
    }
}

/// Reads and scans a blob; the matches and its bytes.
pub(super) fn scan_blob(
    engine: &Engine,
    odb: &Odb<'_>,
    id: Oid,
    path: impl FnOnce() -> RepoPath,
    options: &HistoryOptions,
    coverage: &mut Coverage,
) -> Option<(Vec<Match>, u64)> {
    // The header costs an extra look-up, but without it a huge object would be in memory before it can be refused.
    if let Ok((size, _)) = odb.read_header(id) {
        let (limit, reason) = match options.max_blob {
            Some(limit) => (limit, Reason::SizeLimit),
            None => (MAX_BLOB, Reason::ObjectTooLarge),
        };
        if size as u64 > limit {
            coverage.skip(reason, path().as_bytes(), &format!("blob {id}, {size} bytes"));
            return None;
        }
    }
    let object = read(odb, id, "blob", coverage)?;
    let path = path();
    let context = Context { path: Some(path.as_bytes()), now: options.now };
    let bytes = object.data();
    coverage.blobs += 1;
    coverage.bytes += bytes.len() as u64;
    Some((engine.scan(bytes, &context), bytes.len() as u64))
}

/// Scans what people wrote into a commit or tag: everything but the ids of its headers.
pub(super) fn scan_message(
    engine: &Engine,
    object: &Object<'_>,
    kind: PlaceKind,
    target: &str,
    now: i64,
    harvest: &mut Harvest,
) {
    let bytes = object.data();
    let written = written(bytes);
    harvest.coverage.bytes += written.len() as u64;
    for hit in engine.scan(&bytes[written.clone()], &Context { path: None, now }) {
        let mut place = Place::of(&hit, kind, target, RepoPath::default());
        place.object = Some(object.id().to_string());
        if kind == PlaceKind::CommitMessage {
            place.introduced = Some(super::object::commit_info(object.id(), bytes));
        }
        harvest.sightings.push(Sighting { hit, place });
    }
}

/// From the first header that a person wrote (author, tagger) to the end.
fn written(bytes: &[u8]) -> Range<usize> {
    let mut at = 0;
    for line in bytes.split(|b| *b == b'\n') {
        let is_id = ["tree ", "parent ", "object ", "type "].iter().any(|h| line.starts_with(h.as_bytes()));
        if !is_id {
            break;
        }
        at += line.len() + 1;
    }
    at.min(bytes.len())..bytes.len()
}
