//! What a change adds: staged files, a range of commits, a push, everything since a date.
//!
//! Of each commit only the entries are read that no parent has. A secret counts when the commit brings it to a path:
//! one that a parent has at the same path, or at a path that the commit takes away (a move), was there before and is
//! left out, so that nobody is stopped by what somebody else left behind. What a range adds and takes away again is
//! in its history all the same, and counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use git2::{Delta, DiffOptions, ObjectType, Oid, Sort};
use rayon::prelude::*;

use super::history::{HistoryOptions, scan_blob, scan_message};
use super::object::{EntryKind, commit, commit_info, entries, parse_id};
use super::odb::Odb;
use super::repo::{Repository, blob_at, read};
use crate::coverage::{Coverage, Reason};
use crate::engine::{Context, Engine};
use crate::finding::{CommitInfo, Match, Place, PlaceKind, Sighting};
use crate::path::RepoPath;
use crate::scan::{Harvest, Monitor};
use crate::source::SourceError;

/// Blobs that a thread takes at a time.
const BATCH: usize = 16;
/// Most paths that a commit takes away which are searched for moved secrets.
const MAX_REMOVED: usize = 2000;

/// What a change adds.
#[derive(Debug, Default)]
pub struct Change {
    /// What was found and read.
    pub harvest: Harvest,
    /// Secrets that the changed files hold, but held before.
    pub known: u64,
}

/// Where git keeps the objects of a push that is not accepted yet (git-receive-pack(1), "quarantine environment").
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    /// `GIT_OBJECT_DIRECTORY`.
    pub objects: Option<PathBuf>,
    /// `GIT_QUARANTINE_PATH`.
    pub quarantine: Option<PathBuf>,
    /// `GIT_ALTERNATE_OBJECT_DIRECTORIES`.
    pub alternates: Vec<PathBuf>,
}

/// A blob that a change puts at a path, and what stood in its place.
#[derive(Debug)]
struct Added {
    path: RepoPath,
    blob: Oid,
    /// Blobs at this path before.
    before: Vec<Oid>,
    /// Index of the commit among those of the change; `None` for the index.
    commit: Option<usize>,
}

/// What the commits of a change do, oldest first.
#[derive(Debug, Default)]
struct Edits {
    added: Vec<Added>,
    /// For each commit (or the index), blobs whose path it takes away.
    removed: BTreeMap<Option<usize>, Vec<Oid>>,
}

/// Scans what is staged and differs from HEAD. Reads the index and objects, never the work tree.
///
/// # Errors
/// [`SourceError`] when the repository or its index cannot be read.
pub fn staged(
    repo: &Repository,
    engine: &Engine,
    options: &HistoryOptions,
    target: &str,
    monitor: &Monitor,
) -> Result<Change, SourceError> {
    monitor.phase("scanning staged files", 0);
    let mut coverage = Coverage::default();
    let git = repo.git();
    let failed = |e: git2::Error| repo.damaged(&e);
    // An unborn HEAD is an empty tree: everything is new.
    let tree = git.head().ok().and_then(|head| head.peel_to_tree().ok());
    let index = match &options.index {
        Some(path) => open_index(path, repo).map_err(failed)?,
        None => git.index().map_err(failed)?,
    };
    let mut diff_options = DiffOptions::new();
    diff_options.ignore_submodules(true).include_typechange(true).skip_binary_check(true);
    let diff =
        git.diff_tree_to_index(tree.as_ref(), Some(&index), Some(&mut diff_options)).map_err(failed)?;
    let mut delta = Edits::default();
    for change in diff.deltas() {
        let (old, new) = (change.old_file(), change.new_file());
        let path = RepoPath::new(new.path_bytes().unwrap_or_default());
        match change.status() {
            Delta::Deleted => delta.removed.entry(None).or_default().push(old.id()),
            Delta::Unmodified | Delta::Ignored | Delta::Untracked => {}
            Delta::Conflicted => coverage.skip(Reason::Unreadable, path.as_bytes(), "a merge conflict"),
            _ if new.mode() == git2::FileMode::Commit => {
                coverage.skip(Reason::Submodule, path.as_bytes(), "")
            }
            // `git add --intent-to-add` promises content and has none yet.
            _ if new.id().is_zero() => {}
            _ if !options.filter.admits(&path) => coverage.skip(Reason::Excluded, path.as_bytes(), ""),
            _ => {
                let before = if old.id().is_zero() { Vec::new() } else { vec![old.id()] };
                delta.added.push(Added { path, blob: new.id(), before, commit: None });
            }
        }
    }
    let scan = Scan { repo, engine, options, target, monitor, kind: PlaceKind::Staged, with_known: false };
    scan.finish(&delta, &[], coverage)
}

/// An index file of another name than the repository's.
fn open_index(path: &Path, repo: &Repository) -> Result<git2::Index, git2::Error> {
    git2::Index::open_ext(path, repo.format())
}

/// Scans what the commits of `A..B` add, or of `A...B` those since the merge base. A single name stands for
/// everything that it reaches and HEAD does not.
///
/// # Errors
/// [`SourceError::Revision`] for names that mean nothing.
pub fn range(
    repo: &Repository,
    engine: &Engine,
    range: &str,
    options: &HistoryOptions,
    target: &str,
    monitor: &Monitor,
) -> Result<Change, SourceError> {
    let name = |text: &str| if text.is_empty() { "HEAD".to_owned() } else { text.to_owned() };
    let (from, to) = if let Some((a, b)) = range.split_once("...") {
        let (a, b) = (repo.resolve(&name(a))?, repo.resolve(&name(b))?);
        let base = repo.git().merge_base(a, b).map_err(|e| {
            let deeper = "; a shallow clone may lack it: fetch deeper";
            repo.revision(range, &format!("no merge base: {}{deeper}", e.message()))
        })?;
        (base, b)
    } else if let Some((a, b)) = range.split_once("..") {
        (repo.resolve(&name(a))?, repo.resolve(&name(b))?)
    } else {
        (repo.resolve("HEAD")?, repo.resolve(range)?)
    };
    let commits = commits(repo, &[to], &[from])?;
    let scan = Scan { repo, engine, options, target, monitor, kind: PlaceKind::Blob, with_known: false };
    scan.commits(&commits)
}

/// Scans what a push adds, from the `old new ref` lines that git gives a pre-receive hook.
///
/// # Errors
/// [`SourceError::Revision`] for lines of another form or objects that are not there.
pub fn pre_receive(
    repo: &Repository,
    engine: &Engine,
    lines: &str,
    quarantine: &Quarantine,
    options: &HistoryOptions,
    target: &str,
    monitor: &Monitor,
) -> Result<Change, SourceError> {
    let folders = [&quarantine.objects, &quarantine.quarantine].into_iter().flatten().cloned();
    let folders = folders.chain(quarantine.alternates.iter().cloned()).collect();
    let path = repo.git().path().to_owned();
    let quarantined =
        Repository::open(&path)?.ok_or(SourceError::NotARepository(path))?.with_objects(folders)?;
    let repo = &quarantined;
    let mut tips = Vec::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let ids = (words.next(), words.next(), words.next());
        let (Some(_), Some(new), Some(name)) = ids else {
            return Err(repo.revision(line, "a line must read `old new ref`"));
        };
        let new = parse_id(new.as_bytes(), repo.format())
            .ok_or_else(|| repo.revision(line, "the second word is no object id"))?;
        if !new.is_zero() {
            let object = repo.git().find_object(new, None).map_err(|e| repo.revision(name, e.message()))?;
            tips.push(object.id());
        }
    }
    let hidden: Vec<Oid> = super::graph::all_tips(repo, &mut Coverage::default())
        .into_iter()
        .filter(|tip| tip.required)
        .map(|tip| tip.id)
        .collect();
    let scan = Scan { repo, engine, options, target, monitor, kind: PlaceKind::Blob, with_known: false };
    let mut change = scan.commits(&commits(repo, &tips, &hidden)?)?;
    scan.tags(&tips, &mut change.harvest)?;
    Ok(change)
}

/// Scans what commits added since a date, or what a commit, branch or tag does not reach.
pub(super) fn since(
    repo: &Repository,
    engine: &Engine,
    since: &str,
    options: &HistoryOptions,
    target: &str,
    monitor: &Monitor,
) -> Result<Harvest, SourceError> {
    let tips: Vec<Oid> = if options.branches.is_empty() {
        super::graph::all_tips(repo, &mut Coverage::default())
            .into_iter()
            .filter(|t| t.required)
            .map(|t| t.id)
            .collect()
    } else {
        options.branches.iter().map(|name| repo.resolve(name)).collect::<Result<_, _>>()?
    };
    let commits = match date(since) {
        Some(after) => {
            let mut all = commits(repo, &tips, &[])?;
            all.retain(|id| repo.git().find_commit(*id).is_ok_and(|c| c.time().seconds() >= after));
            all
        }
        None => commits(repo, &tips, &[repo.resolve(since)?])?,
    };
    let scan = Scan { repo, engine, options, target, monitor, kind: PlaceKind::Blob, with_known: false };
    Ok(scan.commits(&commits)?.harvest)
}

/// Seconds of a date (`2024-05-31`, midnight UTC) or a moment of RFC 3339.
fn date(text: &str) -> Option<i64> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_second());
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    Some(
        jiff::tz::TimeZone::UTC
            .to_timestamp(day.to_datetime(jiff::civil::Time::midnight()))
            .ok()?
            .as_second(),
    )
}

/// Commits that the tips reach and the hidden ones do not, parents first. Tips that are no commits are left out.
pub(super) fn commits(repo: &Repository, tips: &[Oid], hidden: &[Oid]) -> Result<Vec<Oid>, SourceError> {
    let failed = |e: git2::Error| repo.damaged(&e);
    let mut walk = repo.git().revwalk().map_err(failed)?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(failed)?;
    let commit =
        |id: &Oid| repo.git().find_object(*id, None).and_then(|o| o.peel_to_commit()).map(|c| c.id()).ok();
    for tip in tips.iter().filter_map(commit) {
        walk.push(tip).map_err(failed)?;
    }
    for tip in hidden.iter().filter_map(commit) {
        walk.hide(tip).map_err(failed)?;
    }
    walk.collect::<Result<_, _>>().map_err(failed)
}

pub(super) struct Scan<'a> {
    pub(super) repo: &'a Repository,
    pub(super) engine: &'a Engine,
    pub(super) options: &'a HistoryOptions,
    pub(super) target: &'a str,
    pub(super) monitor: &'a Monitor,
    pub(super) kind: PlaceKind,
    /// Whether what was there before counts, too.
    pub(super) with_known: bool,
}

impl Scan<'_> {
    /// Scans what commits add, and their messages.
    pub(super) fn commits(&self, commits: &[Oid]) -> Result<Change, SourceError> {
        self.monitor.phase("reading commits", commits.len() as u64);
        let odb = self.repo.reader()?;
        let shallow: HashSet<Oid> = self.repo.shallow().into_iter().collect();
        let mut coverage = Coverage::default();
        let mut messages = Harvest::default();
        let mut delta = Edits::default();
        let mut infos = Vec::with_capacity(commits.len());
        for (at, id) in commits.iter().enumerate() {
            if self.monitor.is_cancelled() {
                coverage.skip(Reason::Interrupted, b"commits", "");
                break;
            }
            let Some(object) = read(&odb, *id, "commit", &mut coverage) else {
                infos.push(None);
                continue;
            };
            infos.push(Some(commit_info(*id, object.data())));
            scan_message(
                self.engine,
                &object,
                PlaceKind::CommitMessage,
                self.target,
                self.options.now,
                &mut messages,
            );
            let Some(head) = commit(object.data(), self.repo.format()) else { continue };
            coverage.commits += 1;
            let parents: Vec<Oid> = if shallow.contains(id) { Vec::new() } else { head.parents };
            let trees: Vec<Oid> = parents
                .iter()
                .filter_map(|parent| {
                    let object = read(&odb, *parent, "parent commit", &mut coverage)?;
                    commit(object.data(), self.repo.format()).map(|c| c.tree)
                })
                .collect();
            self.compare(&odb, at, head.tree, trees, &mut delta, &mut coverage);
            self.monitor.advance(0, 0);
        }
        let mut change = self.finish(&delta, &infos, coverage)?;
        change.harvest.merge(messages);
        Ok(change)
    }

    /// Walks a tree beside those of the parents; enters only what differs from all of them.
    fn compare(
        &self,
        odb: &Odb<'_>,
        at: usize,
        tree: Oid,
        parents: Vec<Oid>,
        delta: &mut Edits,
        coverage: &mut Coverage,
    ) {
        let mut stack = vec![(RepoPath::default(), tree, parents)];
        while let Some((path, tree, before)) = stack.pop() {
            if before.contains(&tree) {
                continue;
            }
            let Some(object) = read(odb, tree, "tree", coverage) else { continue };
            coverage.trees += 1;
            let mut old: HashMap<Vec<u8>, Vec<(EntryKind, Oid)>> = HashMap::new();
            for id in &before {
                let Some(parent) = read(odb, *id, "tree", coverage) else { continue };
                for entry in entries(parent.data(), self.repo.format()) {
                    old.entry(entry.name.to_vec()).or_default().push((entry.kind, entry.id));
                }
            }
            for entry in entries(object.data(), self.repo.format()) {
                let was = old.remove(entry.name).unwrap_or_default();
                if was.iter().any(|(_, id)| *id == entry.id) {
                    continue;
                }
                let child = path.join(entry.name);
                let of_kind =
                    |kind| was.iter().filter(|(k, _)| *k == kind).map(|(_, id)| *id).collect::<Vec<_>>();
                match entry.kind {
                    EntryKind::Tree => stack.push((child, entry.id, of_kind(EntryKind::Tree))),
                    EntryKind::Submodule => coverage.skip(Reason::Submodule, child.as_bytes(), ""),
                    EntryKind::Blob if !self.options.filter.admits(&child) => {
                        coverage.skip(Reason::Excluded, child.as_bytes(), "");
                    }
                    EntryKind::Blob => delta.added.push(Added {
                        path: child,
                        blob: entry.id,
                        before: of_kind(EntryKind::Blob),
                        commit: Some(at),
                    }),
                }
            }
            self.gone(odb, old, delta.removed.entry(Some(at)).or_default());
        }
    }

    /// Blobs below entries that are gone, as far as a move could have taken them.
    fn gone(&self, odb: &Odb<'_>, old: HashMap<Vec<u8>, Vec<(EntryKind, Oid)>>, removed: &mut Vec<Oid>) {
        let mut stack: Vec<(EntryKind, Oid)> = old.into_values().flatten().collect();
        stack.sort_by_key(|(_, id)| *id);
        while let Some((kind, id)) = stack.pop() {
            if removed.len() >= MAX_REMOVED {
                return;
            }
            match kind {
                EntryKind::Blob => removed.push(id),
                EntryKind::Tree => {
                    let Ok(object) = odb.read(id) else { continue };
                    stack.extend(entries(object.data(), self.repo.format()).map(|e| (e.kind, e.id)));
                }
                EntryKind::Submodule => {}
            }
        }
    }

    /// Scans the added blobs, each once, and makes places of what was not there before.
    fn finish(
        &self,
        delta: &Edits,
        infos: &[Option<CommitInfo>],
        mut coverage: Coverage,
    ) -> Result<Change, SourceError> {
        let mut first: BTreeMap<Oid, &RepoPath> = BTreeMap::new();
        for added in &delta.added {
            first.entry(added.blob).or_insert(&added.path);
        }
        let blobs: Vec<(Oid, &RepoPath)> = first.into_iter().collect();
        self.monitor.phase("scanning changes", blobs.len() as u64);
        let found = self.blobs(&blobs, &mut coverage)?;
        let mut change = Change::default();
        let odb = self.repo.reader()?;
        let head = self.head();
        for added in &delta.added {
            self.names(added, infos, &mut change.harvest);
            let Some(hits) = found.get(&added.blob) else { continue };
            for hit in hits {
                if !self.with_known && self.was_there(&odb, delta, added, hit) {
                    change.known += 1;
                    continue;
                }
                let place = self.place(&odb, hit, added, infos, head);
                change.harvest.sightings.push(Sighting { hit: hit.duplicate(), place });
            }
        }
        change.harvest.coverage = coverage;
        Ok(change)
    }

    fn blobs(
        &self,
        blobs: &[(Oid, &RepoPath)],
        coverage: &mut Coverage,
    ) -> Result<HashMap<Oid, Vec<Match>>, SourceError> {
        let Scan { engine, options, monitor, .. } = *self;
        let one = |odb: &Odb<'_>, batch: &[(Oid, &RepoPath)]| {
            let mut ledger = Coverage::default();
            let mut found = Vec::new();
            for (id, path) in batch {
                if monitor.is_cancelled() {
                    ledger.skip(Reason::Interrupted, path.as_bytes(), "");
                    continue;
                }
                let scanned = scan_blob(engine, odb, *id, || (*path).clone(), options, &mut ledger);
                if let Some((hits, bytes)) = scanned {
                    monitor.advance(bytes, hits.len() as u64);
                    if !hits.is_empty() {
                        found.push((*id, hits));
                    }
                }
            }
            (found, ledger)
        };
        // A hook's handful of files is done sooner than a second thread has opened the repository.
        let parts = if blobs.len() <= 2 * BATCH {
            vec![one(&self.repo.reader()?, blobs)]
        } else {
            let pool = self.repo.pool();
            blobs
                .par_chunks(BATCH)
                .map(|batch| pool.with(|odb| one(odb, batch)))
                .collect::<Result<Vec<_>, _>>()?
        };
        let mut all = HashMap::new();
        for (found, ledger) in parts {
            all.extend(found);
            coverage.merge(ledger);
        }
        Ok(all)
    }

    /// Whether what stood here before, or was taken away elsewhere, holds the secret already.
    fn was_there(&self, odb: &Odb<'_>, delta: &Edits, added: &Added, hit: &Match) -> bool {
        let removed = delta.removed.get(&added.commit).map(Vec::as_slice).unwrap_or_default();
        added.before.iter().chain(removed).any(|id| {
            odb.read(*id)
                .is_ok_and(|object| memchr::memmem::find(object.data(), hit.secret.expose()).is_some())
        })
    }

    fn names(&self, added: &Added, infos: &[Option<CommitInfo>], harvest: &mut Harvest) {
        if !added.before.is_empty() {
            return;
        }
        for hit in self.engine.scan(added.path.as_bytes(), &Context { path: None, now: self.options.now }) {
            let mut place = Place::of(&hit, PlaceKind::PathName, self.target, added.path.clone());
            place.introduced = added.commit.and_then(|at| infos.get(at).cloned().flatten());
            harvest.sightings.push(Sighting { hit, place });
        }
    }

    fn head(&self) -> Option<Oid> {
        self.repo.git().head().ok()?.peel_to_tree().ok().map(|tree| tree.id())
    }

    fn place(
        &self,
        odb: &Odb<'_>,
        hit: &Match,
        added: &Added,
        infos: &[Option<CommitInfo>],
        head: Option<Oid>,
    ) -> Place {
        let mut place = Place::of(hit, self.kind, self.target, added.path.clone());
        place.object = Some(added.blob.to_string());
        if let Some(at) = added.commit {
            place.introduced = infos.get(at).cloned().flatten();
            let now = head.and_then(|tree| blob_at(odb, self.repo.format(), tree, added.path.as_bytes()));
            place.in_head = now.is_some_and(|id| {
                id == added.blob
                    || odb
                        .read(id)
                        .is_ok_and(|o| memchr::memmem::find(o.data(), hit.secret.expose()).is_some())
            });
        }
        place
    }

    /// Tags of a push: their messages, and blobs they name.
    pub(super) fn tags(&self, tips: &[Oid], harvest: &mut Harvest) -> Result<(), SourceError> {
        let odb = self.repo.reader()?;
        for tip in tips {
            let Some(object) = read(&odb, *tip, "pushed object", &mut harvest.coverage) else { continue };
            match object.kind() {
                ObjectType::Tag => {
                    harvest.coverage.tags += 1;
                    scan_message(
                        self.engine,
                        &object,
                        PlaceKind::TagMessage,
                        self.target,
                        self.options.now,
                        harvest,
                    );
                }
                ObjectType::Blob => {
                    let mut ledger = Coverage::default();
                    let scanned =
                        scan_blob(self.engine, &odb, *tip, RepoPath::default, self.options, &mut ledger);
                    harvest.coverage.merge(ledger);
                    for hit in scanned.map(|(hits, _)| hits).unwrap_or_default() {
                        let mut place = Place::of(&hit, PlaceKind::Blob, self.target, RepoPath::default());
                        place.object = Some(tip.to_string());
                        harvest.sightings.push(Sighting { hit, place });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
