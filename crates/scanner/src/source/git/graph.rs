//! Which commits there are, and what names them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use git2::{ObjectType, Oid};

use super::bits::Bits;
use super::object::{self, parse_id};
use super::objects::Objects;
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
    /// Its number, as that of its tree.
    pub(super) object: u32,
    pub(super) tree: u32,
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
    /// Place in `commits` of each commit's number.
    index: HashMap<u32, u32>,
    pub(super) tags: Vec<Oid>,
    /// Trees and blobs that refs or tags name without a commit, by number.
    pub(super) bare_trees: Vec<u32>,
    pub(super) bare_blobs: Vec<u32>,
    /// What tags name in the end: the numbers of commits.
    peeled: HashMap<Oid, u32>,
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
        objects: &mut Objects,
        tips: &[Tip],
        max_depth: Option<u32>,
        coverage: &mut Coverage,
        monitor: &Monitor,
    ) -> Result<Self, SourceError> {
        let odb = repo.reader()?;
        let shallow = repo.shallow();
        let mut walk = Walk {
            repo,
            odb: &odb,
            shallow: shallow.into_iter().map(|id| objects.number(id)).collect(),
            objects,
            graph: Graph::default(),
            parents: Lists::default(),
            seen: Bits::default(),
            coverage,
        };
        let mut level: Vec<u32> = Vec::new();
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
        let Walk { graph, parents, objects, .. } = walk;
        Ok(graph.ordered(&parents, objects))
    }

    /// Fills in the parents' indices and puts parents before children; among commits that may come next, the oldest.
    /// `parents` are the numbers of each commit's.
    fn ordered(mut self, parents: &Lists, objects: &Objects) -> Self {
        let count = self.commits.len();
        let index = &self.index;
        let known = |child: usize| parents.of(child).iter().filter_map(|number| index.get(number).copied());
        let mut below = Lists::default();
        let mut waiting = vec![0_u32; count];
        let mut edges: Vec<(u32, u32)> = Vec::with_capacity(parents.items.len());
        for (child, waits) in waiting.iter_mut().enumerate() {
            for parent in known(child) {
                edges.push((parent, child as u32));
                *waits += 1;
            }
        }
        edges.sort_unstable();
        let mut edges_left = edges.as_slice();
        for parent in 0..count as u32 {
            let (own, rest) = edges_left.split_at(edges_left.partition_point(|(p, _)| *p == parent));
            below.push(own.iter().map(|(_, child)| *child));
            edges_left = rest;
        }
        let key = |i: u32| {
            let commit = &self.commits[i as usize];
            Reverse((commit.time, objects.id(commit.object), i))
        };
        let mut ready: BinaryHeap<_> =
            (0..count as u32).filter(|i| waiting[*i as usize] == 0).map(key).collect();
        let mut order: Vec<u32> = Vec::with_capacity(count);
        while let Some(Reverse((_, _, at))) = ready.pop() {
            order.push(at);
            for &child in below.of(at as usize) {
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
            commit.parents = known(*old as usize).map(|i| place[i as usize]).collect();
            commits.push(commit);
        }
        self.index = commits.iter().enumerate().map(|(i, c)| (c.object, i as u32)).collect();
        self.commits = commits;
        self
    }

    /// The commit that an id of a ref means: itself, or what a tag names.
    pub(super) fn commit_of(&self, id: Oid, objects: &Objects) -> Option<u32> {
        let object = self.peeled.get(&id).copied().or_else(|| objects.find(id))?;
        self.index.get(&object).copied()
    }

    /// Whether a number is that of a commit of the graph.
    pub(super) fn holds(&self, object: u32) -> bool {
        self.index.contains_key(&object)
    }
}

/// Lists of numbers, one after the other.
#[derive(Debug, Default)]
struct Lists {
    items: Vec<u32>,
    ends: Vec<usize>,
}

impl Lists {
    fn push(&mut self, list: impl IntoIterator<Item = u32>) {
        self.items.extend(list);
        self.ends.push(self.items.len());
    }

    fn of(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[start..self.ends[at]]
    }
}

struct Walk<'a> {
    repo: &'a Repository,
    odb: &'a Odb<'a>,
    objects: &'a mut Objects,
    shallow: HashSet<u32>,
    graph: Graph,
    /// Parents' numbers, in the order of `graph.commits`.
    parents: Lists,
    seen: Bits,
    coverage: &'a mut Coverage,
}

impl Walk<'_> {
    /// A tip of any kind; commits go to the first level of the walk.
    fn tip(&mut self, tip: &Tip, level: &mut Vec<u32>) {
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
                    let number = self.objects.number(id);
                    self.graph.peeled.insert(tip.id, number);
                    if self.seen.insert(number) {
                        level.push(number);
                    }
                    return;
                }
                ObjectType::Tag => {
                    let Some(object) = read(self.odb, id, "tag", self.coverage) else { return };
                    if self.seen.insert(self.objects.number(id)) {
                        self.graph.tags.push(id);
                    }
                    let Some(target) = object::tag_target(object.data(), self.repo.format()) else { return };
                    id = target;
                }
                ObjectType::Tree | ObjectType::Blob => {
                    let number = self.objects.number(id);
                    if self.seen.insert(number) {
                        let trees = kind == ObjectType::Tree;
                        let graph = &mut self.graph;
                        if trees { &mut graph.bare_trees } else { &mut graph.bare_blobs }.push(number);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    fn commit(&mut self, object: u32, next: &mut Vec<u32>) {
        let Some(head) = self.objects.head(self.odb, object, self.coverage) else { return };
        let is_boundary = self.shallow.contains(&object);
        let parents = if is_boundary { &[] } else { self.objects.parents(&head) };
        if is_boundary {
            let id = self.objects.id(object).to_string();
            self.coverage.skip(Reason::Shallow, id.as_bytes(), "commits before this one are not here");
        }
        next.extend(parents.iter().copied().filter(|parent| self.seen.insert(*parent)));
        self.graph.index.insert(object, self.graph.commits.len() as u32);
        self.parents.push(parents.iter().copied());
        self.graph.commits.push(Commit {
            object,
            tree: head.tree,
            parents: Vec::new(),
            time: head.time,
            is_boundary,
        });
    }
}
