//! The whole history: every reachable blob once, every message, every name, the configuration.
//!
//! Commits, trees and blobs of packs are read by [`super::pack`]; everything else, and everything when
//! [`HistoryOptions::plain`] asks for it, through libgit2, object by object. That plain path is too simple to be wrong
//! and therefore the oracle of the other: both must report the same. Memory holds numbers and names of what is
//! reachable, never the content of all of it.

use std::path::PathBuf;

use git2::{ObjectType, Oid};
use rayon::prelude::*;

use super::attribute;
use super::graph::{Graph, Tip, all_tips};
use super::inventory::Inventory;
use super::object::written;
use super::objects::Objects;
use super::odb::{Object, Odb};
use super::pack;
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
    /// Read every object by itself through libgit2, packs or not. Slow; the report is the same.
    pub plain: bool,
}

impl HistoryOptions {
    /// The largest blob that is read, in bytes, and what it means that a larger one is not.
    pub(super) fn limit(&self) -> (u64, Reason) {
        match self.max_blob {
            Some(limit) => (limit, Reason::SizeLimit),
            None => (MAX_BLOB, Reason::ObjectTooLarge),
        }
    }
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
    let mut objects = if options.plain {
        Objects::new(repo.format())
    } else {
        Objects::packed(repo, engine, options.now, monitor)
    };
    let graph = Graph::walk(repo, &mut objects, &tips, options.max_depth, &mut coverage, monitor)?;
    let pool = repo.pool();
    let scan = Scan { engine, options, target, monitor, pool: &pool };
    let mut harvest = scan.messages(&graph, &mut objects)?;
    harvest.merge(scan.config(repo));
    let mut inventory = Inventory::new(&graph, &mut objects, options, &pool, monitor, &mut coverage)?;
    if options.branches.is_empty() && options.max_depth.is_none() {
        inventory.add_index(repo, &mut objects, options, &mut coverage);
    }
    if options.unreachable {
        let others = inventory.add_unreachable(repo, &graph, &mut objects, &mut coverage)?;
        scan.others(repo, &others, &mut harvest)?;
    }
    harvest.merge(scan.names(&inventory, &objects));
    let (found, blobs) = scan.blobs(&inventory, &objects)?;
    coverage.merge(blobs);
    coverage.merge(std::mem::take(&mut harvest.coverage));
    coverage.commits = graph.commits.len() as u64;
    coverage.tags = graph.tags.len() as u64;
    harvest.coverage = coverage;
    if !found.is_empty() {
        let places = attribute::attribute(repo, &graph, &inventory, &objects, &found, target, monitor)?;
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

/// Matches of one blob, by its index in the inventory.
pub(super) type Found = Vec<(usize, Vec<Match>)>;

/// What scanning needs, shared by all parts.
pub(super) struct Scan<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: &'a HistoryOptions,
    target: &'a str,
    pub(super) monitor: &'a Monitor,
    pool: &'a Pool,
}

impl Scan<'_> {
    /// Every blob, once: those of packs in the packs' order, the others one by one.
    fn blobs(&self, inventory: &Inventory, objects: &Objects) -> Result<(Found, Coverage), SourceError> {
        self.monitor.phase("scanning history", inventory.len() as u64);
        let (mut found, mut coverage) = (Found::new(), Coverage::default());
        let mut rest: Vec<usize> = match objects.packs() {
            Some(packs) => {
                let part = pack::scan(packs, inventory, objects, self);
                (found, coverage) = (part.found, part.coverage);
                part.rest
            }
            None => (0..inventory.len()).collect(),
        };
        // Blobs of one name are read one after the other: they are deltas of each other.
        rest.sort_by_key(|blob| (inventory.name_of(*blob), *blob));
        let parts: Vec<(Found, Coverage)> = rest
            .par_chunks(BATCH)
            .map(|batch| self.pool.with(|odb| self.batch(odb, inventory, objects, batch)))
            .collect::<Result<_, _>>()?;
        for (part, ledger) in parts {
            found.extend(part);
            coverage.merge(ledger);
        }
        found.sort_by_key(|(blob, _)| *blob);
        Ok((found, coverage))
    }

    fn batch(
        &self,
        odb: &Odb<'_>,
        inventory: &Inventory,
        objects: &Objects,
        batch: &[usize],
    ) -> (Found, Coverage) {
        let (mut found, mut coverage) = (Found::new(), Coverage::default());
        for &blob in batch {
            let id = objects.id(inventory.object(blob));
            if self.monitor.is_cancelled() {
                coverage.skip(Reason::Interrupted, id.to_string().as_bytes(), "");
                continue;
            }
            let path = || inventory.path_of(blob, objects);
            let Some((hits, bytes)) = scan_blob(self.engine, odb, id, path, self.options, &mut coverage)
            else {
                continue;
            };
            self.monitor.advance(bytes, hits.len() as u64);
            if !hits.is_empty() {
                found.push((blob, hits));
            }
        }
        (found, coverage)
    }

    /// Messages of commits and tags, with the people they name.
    fn messages(&self, graph: &Graph, objects: &mut Objects) -> Result<Harvest, SourceError> {
        self.monitor.phase("reading messages", (graph.commits.len() + graph.tags.len()) as u64);
        let mut harvest = Harvest::default();
        let mut rest: Vec<(Oid, PlaceKind)> = Vec::new();
        for commit in &graph.commits {
            let Some(head) = objects.packed_head(commit.object) else {
                rest.push((objects.id(commit.object), PlaceKind::CommitMessage));
                continue;
            };
            harvest.coverage.bytes += u64::from(head.written);
            if let Some(message) = objects.take_message(commit.object) {
                for hit in message.hits {
                    let place =
                        message_place(&hit, PlaceKind::CommitMessage, self.target, message.info.id.clone());
                    let place = Place { introduced: Some(message.info.clone()), ..place };
                    harvest.sightings.push(Sighting { hit, place });
                }
            }
        }
        rest.extend(graph.tags.iter().map(|id| (*id, PlaceKind::TagMessage)));
        let parts: Vec<Harvest> = rest
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
        parts.into_iter().for_each(|part| harvest.merge(part));
        Ok(harvest)
    }

    /// Messages of commits and tags that nothing reaches.
    fn others(
        &self,
        repo: &Repository,
        others: &[(Oid, ObjectType)],
        harvest: &mut Harvest,
    ) -> Result<(), SourceError> {
        let odb = repo.reader()?;
        for (id, kind) in others {
            match kind {
                ObjectType::Commit => self.message(&odb, *id, PlaceKind::CommitMessage, harvest),
                ObjectType::Tag => self.message(&odb, *id, PlaceKind::TagMessage, harvest),
                _ => {}
            }
        }
        Ok(())
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
    fn names(&self, inventory: &Inventory, objects: &Objects) -> Harvest {
        self.monitor.phase("reading names", inventory.new_names().len() as u64);
        let context = Context { path: None, now: self.options.now };
        let sightings = inventory
            .new_names()
            .par_iter()
            .flat_map_iter(|node| {
                let name = inventory.name(*node, objects);
                self.engine.scan(name, &context).into_iter().map(|hit| {
                    let place =
                        Place::of(&hit, PlaceKind::PathName, self.target, inventory.path(*node, objects));
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
        let (limit, reason) = options.limit();
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
    let text = written(bytes);
    harvest.coverage.bytes += text.len() as u64;
    for hit in engine.scan(&bytes[text], &Context { path: None, now }) {
        let mut place = message_place(&hit, kind, target, object.id().to_string());
        if kind == PlaceKind::CommitMessage {
            place.introduced = Some(super::object::commit_info(object.id(), bytes));
        }
        harvest.sightings.push(Sighting { hit, place });
    }
}

fn message_place(hit: &Match, kind: PlaceKind, target: &str, object: String) -> Place {
    Place { object: Some(object), ..Place::of(hit, kind, target, RepoPath::default()) }
}
