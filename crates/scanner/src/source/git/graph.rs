//! Which commits there are, and what names them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use git2::{ObjectType, Oid};

use super::object::{self, parse_id};
use super::odb::Odb;
use super::repo::{Repository, read};
use crate::coverage::{Coverage, Reason};
use crate::path::printable;
use crate::scan::Monitor;
use crate::source::SourceError;

/// Largest reflog that is read, in bytes.
const MAX_LOG: u64 = 64 * 1024 * 1024;
/// Longest chain of tags of tags.
const MAX_TAGS: usize = 1000;

/// Where a walk begins.
#[derive(Clone, Debug)]
pub(super) struct Tip {
    pub(super) id: Oid,
    /// Whether it must be there: what a ref names must, what a reflog remembers may be gone.
    pub(super) required: bool,
}

/// A branch or tag, and what it names in the end.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_tag: bool,
    pub(super) id: Oid,
}

/// A commit of the graph.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) id: Oid,
    pub(super) tree: Oid,
    /// Indices of the parents that the walk reached.
    pub(super) parents: Vec<u32>,
    pub(super) time: i64,
    /// Whether its parents are cut off by a shallow clone.
    pub(super) is_boundary: bool,
}

/// Commits in an order in which parents come before their children, and what else the tips lead to.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) commits: Vec<Commit>,
    pub(super) index: HashMap<Oid, u32>,
    pub(super) tags: Vec<Oid>,
    /// Trees and blobs that refs or tags name without a commit.
    pub(super) bare_trees: Vec<Oid>,
    pub(super) bare_blobs: Vec<Oid>,
    /// What tags name in the end.
    peeled: HashMap<Oid, Oid>,
}

/// Everything that some ref or reflog names, in a fixed order: refs by name, HEADs, reflogs.
pub(super) fn all_tips(repo: &Repository, coverage: &mut Coverage) -> Vec<Tip> {
    let mut tips: Vec<Tip> = Vec::new();
    let mut add = |id: Oid, required: bool| tips.push(Tip { id, required });
    if let Ok(references) = repo.git().references() {
        let mut named: Vec<(Vec<u8>, Oid)> = Vec::new();
        for reference in references {
            match reference {
                Ok(reference) => {
                    named.extend(reference.target().map(|id| (reference.name_bytes().to_vec(), id)))
                }
                Err(e) => coverage.skip(Reason::Corrupt, b"a ref", e.message()),
            }
        }
        named.sort();
        named.iter().for_each(|(_, id)| add(*id, true));
    }
    if let Ok(head) = repo.git().head()
        && let Some(id) = head.target()
    {
        add(id, true);
    }
    for id in remembered(repo) {
        add(id, false);
    }
    let mut seen = HashSet::new();
    tips.retain(|tip| seen.insert(tip.id));
    tips
}

/// Ids in reflogs, in the heads of linked work trees and in heads that git leaves behind (`ORIG_HEAD`, `MERGE_HEAD`).
fn remembered(repo: &Repository) -> Vec<Oid> {
    let common = repo.git().commondir();
    let mut ids = Vec::new();
    let mut folders = vec![common.to_owned()];
    if let Ok(list) = fs::read_dir(common.join("worktrees")) {
        let mut trees: Vec<_> = list.flatten().map(|entry| entry.path()).collect();
        trees.sort();
        folders.extend(trees);
    }
    for folder in folders {
        for name in ["HEAD", "ORIG_HEAD", "MERGE_HEAD", "FETCH_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"] {
            let text = small_file(&folder.join(name));
            let first =
                |line: &[u8]| line.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default().to_vec();
            ids.extend(text.split(|b| *b == b'\n').filter_map(|line| parse_id(&first(line), repo.format())));
        }
        reflogs(repo, &folder.join("logs"), 0, &mut ids);
    }
    ids.retain(|id| !id.is_zero());
    ids
}

fn small_file(path: &Path) -> Vec<u8> {
    let fits = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_LOG);
    if fits { fs::read(path).unwrap_or_default() } else { Vec::new() }
}

fn reflogs(repo: &Repository, folder: &Path, depth: u32, ids: &mut Vec<Oid>) {
    let Ok(list) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = list.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() && depth < 64 {
            reflogs(repo, &path, depth + 1, ids);
        } else if meta.is_file() {
            let text = small_file(&path);
            for line in text.split(|b| *b == b'\n') {
                let mut words = line.split(|b| *b == b' ');
                ids.extend(words.next().and_then(|id| parse_id(id, repo.format())));
                ids.extend(words.next().and_then(|id| parse_id(id, repo.format())));
            }
        }
    }
}

/// Branches, local and remote, and tags.
pub(super) fn named(repo: &Repository) -> Vec<Named> {
    let Ok(references) = repo.git().references() else { return Vec::new() };
    let mut out: Vec<Named> = references
        .flatten()
        .filter_map(|reference| {
            let name = printable(reference.name_bytes());
            let id = reference.target()?;
            let branch = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/remotes/"));
            match (branch, name.strip_prefix("refs/tags/")) {
                (Some(branch), _) => Some(Named { name: branch.to_owned(), is_tag: false, id }),
                (_, Some(tag)) => Some(Named { name: tag.to_owned(), is_tag: true, id }),
                _ => None,
            }
        })
        .collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

impl Graph {
    /// Walks from the tips to the roots. `max_depth` counts commits from a tip.
    pub(super) fn walk(
        repo: &Repository,
        tips: &[Tip],
        max_depth: Option<u32>,
        coverage: &mut Coverage,
        monitor: &Monitor,
    ) -> Result<Self, SourceError> {
        let odb = repo.reader()?;
        let shallow: HashSet<Oid> = repo.shallow().into_iter().collect();
        let mut walk = Walk {
            repo,
            odb: &odb,
            shallow,
            graph: Graph::default(),
            parents: Vec::new(),
            seen: HashSet::new(),
            coverage,
        };
        let mut level: Vec<Oid> = Vec::new();
        for tip in tips {
            walk.tip(tip, &mut level);
        }
        monitor.phase("reading commits", 0);
        let mut depth = 0;
        while !level.is_empty() {
            if monitor.is_cancelled() {
                walk.coverage.skip(Reason::Interrupted, b"commits", "");
                break;
            }
            if max_depth.is_some_and(|max| depth >= max) {
                walk.coverage.skip(Reason::Depth, b"commits", "deeper than --max-depth");
                break;
            }
            let mut next = Vec::new();
            for id in level {
                walk.commit(id, &mut next);
                monitor.advance(0, 0);
            }
            level = next;
            depth += 1;
        }
        let Walk { graph, parents, .. } = walk;
        Ok(graph.ordered(&parents))
    }

    /// Fills in the parents' indices and puts parents before children; among commits that may come next, the oldest.
    fn ordered(mut self, parents: &[Vec<Oid>]) -> Self {
        let count = self.commits.len();
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); count];
        let mut waiting = vec![0_u32; count];
        for (child, ids) in parents.iter().enumerate() {
            for parent in ids.iter().filter_map(|id| self.index.get(id)) {
                children[*parent as usize].push(child as u32);
                waiting[child] += 1;
            }
        }
        let key = |i: u32| Reverse((self.commits[i as usize].time, self.commits[i as usize].id, i));
        let mut ready: BinaryHeap<_> =
            (0..count as u32).filter(|i| waiting[*i as usize] == 0).map(key).collect();
        let mut order: Vec<u32> = Vec::with_capacity(count);
        while let Some(Reverse((_, _, at))) = ready.pop() {
            order.push(at);
            for &child in &children[at as usize] {
                waiting[child as usize] -= 1;
                if waiting[child as usize] == 0 {
                    ready.push(key(child));
                }
            }
        }
        let mut place = vec![0_u32; count];
        for (new, old) in order.iter().enumerate() {
            place[*old as usize] = new as u32;
        }
        let mut commits: Vec<Commit> = Vec::with_capacity(count);
        for old in &order {
            let mut commit = self.commits[*old as usize].clone();
            let ids = &parents[*old as usize];
            commit.parents =
                ids.iter().filter_map(|id| self.index.get(id)).map(|i| place[*i as usize]).collect();
            commits.push(commit);
        }
        self.index = commits.iter().enumerate().map(|(i, c)| (c.id, i as u32)).collect();
        self.commits = commits;
        self
    }

    /// The commit that an id of a ref means: itself, or what a tag names.
    pub(super) fn commit_of(&self, id: Oid) -> Option<u32> {
        let id = self.peeled.get(&id).copied().unwrap_or(id);
        self.index.get(&id).copied()
    }
}

struct Walk<'a> {
    repo: &'a Repository,
    odb: &'a Odb<'a>,
    shallow: HashSet<Oid>,
    graph: Graph,
    /// Parents' ids, in the order of `graph.commits`.
    parents: Vec<Vec<Oid>>,
    seen: HashSet<Oid>,
    coverage: &'a mut Coverage,
}

impl Walk<'_> {
    /// A tip of any kind; commits go to the first level of the walk.
    fn tip(&mut self, tip: &Tip, level: &mut Vec<Oid>) {
        let mut id = tip.id;
        for _ in 0..MAX_TAGS {
            let kind = match self.odb.read_header(id) {
                Ok((_, kind)) => kind,
                Err(_) if !tip.required => return,
                // Header reading may fail where reading says better why.
                Err(_) => {
                    read(self.odb, id, "named by a ref", self.coverage);
                    return;
                }
            };
            match kind {
                ObjectType::Commit => {
                    self.graph.peeled.insert(tip.id, id);
                    if self.seen.insert(id) {
                        level.push(id);
                    }
                    return;
                }
                ObjectType::Tag => {
                    let Some(object) = read(self.odb, id, "tag", self.coverage) else { return };
                    if self.seen.insert(id) {
                        self.graph.tags.push(id);
                    }
                    let Some(target) = object::tag_target(object.data(), self.repo.format()) else { return };
                    id = target;
                }
                ObjectType::Tree if self.seen.insert(id) => return self.graph.bare_trees.push(id),
                ObjectType::Blob if self.seen.insert(id) => return self.graph.bare_blobs.push(id),
                _ => return,
            }
        }
    }

    fn commit(&mut self, id: Oid, next: &mut Vec<Oid>) {
        let Some(object) = read(self.odb, id, "commit", self.coverage) else { return };
        let Some(head) = object::commit(object.data(), self.repo.format()) else {
            self.coverage.skip(Reason::Corrupt, id.to_string().as_bytes(), "commit without a tree");
            return;
        };
        let is_boundary = self.shallow.contains(&id);
        let parents = if is_boundary { Vec::new() } else { head.parents };
        if is_boundary {
            self.coverage.skip(
                Reason::Shallow,
                id.to_string().as_bytes(),
                "commits before this one are not here",
            );
        }
        next.extend(parents.iter().copied().filter(|parent| self.seen.insert(*parent)));
        self.graph.index.insert(id, self.graph.commits.len() as u32);
        self.graph.commits.push(Commit {
            id,
            tree: head.tree,
            parents: Vec::new(),
            time: head.time,
            is_boundary,
        });
        self.parents.push(parents);
    }
}
