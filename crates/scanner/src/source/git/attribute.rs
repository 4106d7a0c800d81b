//! Which commits and paths a blob with findings belongs to, by looking up and not down.
//!
//! A diff of every commit would tell, at the price of reading all trees once for each commit. Instead: which trees
//! name a blob with findings, which trees name those, up to the roots of commits. Only these few trees are followed
//! down again, and what a root holds is a small sorted set of *keys*, one for each path and secret. Then one walk over
//! the commits, parents first, compares sets: a key that no parent has was introduced, a key that only a parent has
//! was removed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use git2::{ObjectFormat, Oid};
use rayon::prelude::*;

use super::graph::{Graph, named};
use super::history::{Found, Inventory};
use super::object::{EntryKind, commit_info, entries};
use super::odb::Odb;
use super::repo::{Pool, Repository, blob_at};
use crate::finding::{CommitInfo, Match, Place, PlaceKind, Sighting};
use crate::path::RepoPath;
use crate::scan::Monitor;
use crate::source::SourceError;

/// Trees that a thread takes at a time.
const BATCH: usize = 256;

/// A path, as a name and the rest of the path below it: shared by all trees that hold the same below.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Tail {
    name: u32,
    below: u32,
}

/// No rest: the last name of a path.
const END: u32 = u32::MAX;

/// What a tree holds: tails of paths, and the blobs at their ends.
type Holdings = Vec<(u32, u32)>;

/// A secret under a rule; matches of it may be in many blobs.
type SecretId = u32;

/// Turns the matches of blobs into places, one for each path, secret and occurrence.
pub(super) fn attribute(
    repo: &Repository,
    graph: &Graph,
    inventory: &Inventory,
    found: Found,
    target: &str,
    pool: &Pool,
    monitor: &Monitor,
) -> Result<Vec<Sighting>, SourceError> {
    monitor.phase("attributing", inventory.trees.len() as u64);
    let blobs: HashMap<Oid, u32> =
        found.iter().enumerate().map(|(i, (blob, _))| (inventory.id_of(*blob), i as u32)).collect();
    let trees = Trees::new(inventory, &blobs, pool, monitor)?;
    let mut keys = Keys::new(&found);
    let sets = keys.sets(graph, &trees);
    let lives = Lives::new(graph, &sets, keys.list.len());
    let refs = Refs::new(repo, graph, &sets, keys.list.len());
    let writer = Writer {
        repo,
        graph,
        found: &found,
        blobs: &blobs,
        trees: &trees,
        keys: &keys,
        lives: &lives,
        refs: &refs,
        target,
    };
    let mut out = writer.all()?;
    out.extend(orphans(inventory, &found, &keys, target));
    Ok(out)
}

/// The trees on the way from roots to blobs with findings.
struct Trees {
    holdings: HashMap<Oid, Arc<Holdings>>,
    tails: Vec<Tail>,
    names: Vec<Box<[u8]>>,
}

/// What one tree says: blobs with findings by name, and its subtrees.
struct Said {
    blobs: Vec<(Box<[u8]>, u32)>,
    subtrees: Vec<Oid>,
}

impl Trees {
    fn new(
        inventory: &Inventory,
        blobs: &HashMap<Oid, u32>,
        pool: &Pool,
        monitor: &Monitor,
    ) -> Result<Self, SourceError> {
        let place: HashMap<Oid, u32> =
            inventory.trees.iter().enumerate().map(|(i, id)| (*id, i as u32)).collect();
        let read = |batch: &[Oid]| pool.with(|odb| say(odb, pool.format(), batch, blobs, &place, monitor));
        let parts: Vec<Vec<(Vec<u32>, bool)>> =
            inventory.trees.par_chunks(BATCH).map(read).collect::<Result<_, _>>()?;
        // Edges from a tree to the trees that name it.
        let mut above: Vec<(u32, u32)> = Vec::new();
        let mut level: Vec<u32> = Vec::new();
        for (tree, (subtrees, holds)) in parts.into_iter().flatten().enumerate() {
            above.extend(subtrees.into_iter().map(|child| (child, tree as u32)));
            if holds {
                level.push(tree as u32);
            }
        }
        above.sort_unstable();
        let mut wanted: HashSet<u32> = level.iter().copied().collect();
        while let Some(tree) = level.pop() {
            let from = above.partition_point(|(child, _)| *child < tree);
            for (_, parent) in above[from..].iter().take_while(|(child, _)| *child == tree) {
                if wanted.insert(*parent) {
                    level.push(*parent);
                }
            }
        }
        let mut wanted: Vec<u32> = wanted.into_iter().collect();
        wanted.sort_unstable();
        let ids: Vec<Oid> = wanted.into_iter().map(|tree| inventory.trees[tree as usize]).collect();
        Self::below(&ids, blobs, pool)
    }

    /// Reads the wanted trees again and works out, children first, what each holds.
    fn below(ids: &[Oid], blobs: &HashMap<Oid, u32>, pool: &Pool) -> Result<Self, SourceError> {
        let wanted: HashSet<Oid> = ids.iter().copied().collect();
        let mut trees = Trees { holdings: HashMap::new(), tails: Vec::new(), names: Vec::new() };
        let mut children: HashMap<Oid, Vec<(Box<[u8]>, Oid)>> = HashMap::new();
        let mut own: HashMap<Oid, Said> = HashMap::new();
        pool.with(|odb| {
            for id in ids {
                let Ok(object) = odb.read(*id) else { continue };
                let mut said = Said { blobs: Vec::new(), subtrees: Vec::new() };
                let mut list = Vec::new();
                for entry in entries(object.data(), pool.format()) {
                    match entry.kind {
                        EntryKind::Blob => {
                            said.blobs.extend(blobs.get(&entry.id).map(|b| (entry.name.into(), *b)))
                        }
                        EntryKind::Tree if wanted.contains(&entry.id) => {
                            list.push((entry.name.into(), entry.id));
                            said.subtrees.push(entry.id);
                        }
                        _ => {}
                    }
                }
                children.insert(*id, list);
                own.insert(*id, said);
            }
        })?;
        let mut interned: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut tails: HashMap<Tail, u32> = HashMap::new();
        for id in children_first(ids, &own) {
            let mut holdings = Holdings::new();
            let mut put = |trees: &mut Trees, name: &[u8], below: u32, blob: u32| {
                let name = *interned.entry(name.into()).or_insert_with(|| {
                    trees.names.push(name.into());
                    (trees.names.len() - 1) as u32
                });
                let tail = Tail { name, below };
                let tail = *tails.entry(tail).or_insert_with(|| {
                    trees.tails.push(tail);
                    (trees.tails.len() - 1) as u32
                });
                holdings.push((tail, blob));
            };
            for (name, blob) in own.get(&id).map(|s| s.blobs.as_slice()).unwrap_or_default() {
                put(&mut trees, name, END, *blob);
            }
            for (name, child) in children.get(&id).map(Vec::as_slice).unwrap_or_default() {
                let Some(below) = trees.holdings.get(child).cloned() else { continue };
                for (tail, blob) in below.iter() {
                    put(&mut trees, name, *tail, *blob);
                }
            }
            trees.holdings.insert(id, Arc::new(holdings));
        }
        Ok(trees)
    }

    fn path(&self, tail: u32) -> RepoPath {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = tail;
        while at != END {
            let tail = self.tails[at as usize];
            parts.push(&self.names[tail.name as usize]);
            at = tail.below;
        }
        RepoPath::new(parts.join(&b'/'))
    }
}

/// For each tree of a batch: the indices of its subtrees, and whether it names a blob with findings.
fn say(
    odb: &Odb<'_>,
    format: ObjectFormat,
    batch: &[Oid],
    blobs: &HashMap<Oid, u32>,
    place: &HashMap<Oid, u32>,
    monitor: &Monitor,
) -> Vec<(Vec<u32>, bool)> {
    batch
        .iter()
        .map(|id| {
            monitor.advance(0, 0);
            let (mut subtrees, mut holds) = (Vec::new(), false);
            // What cannot be read is in the ledger already.
            let Ok(object) = odb.read(*id) else { return (subtrees, holds) };
            for entry in entries(object.data(), format) {
                match entry.kind {
                    EntryKind::Tree => subtrees.extend(place.get(&entry.id)),
                    EntryKind::Blob => holds |= blobs.contains_key(&entry.id),
                    EntryKind::Submodule => {}
                }
            }
            (subtrees, holds)
        })
        .collect()
}

/// The trees in an order in which subtrees come first. Iterative: folders nest as deep as somebody likes.
fn children_first(ids: &[Oid], own: &HashMap<Oid, Said>) -> Vec<Oid> {
    let mut order = Vec::with_capacity(ids.len());
    let mut done: HashSet<Oid> = HashSet::new();
    let mut entered: HashSet<Oid> = HashSet::new();
    for id in ids {
        let mut stack = vec![(*id, false)];
        while let Some((at, children_done)) = stack.pop() {
            if children_done {
                if done.insert(at) {
                    order.push(at);
                }
            } else if entered.insert(at) {
                stack.push((at, true));
                let below = own.get(&at).map(|s| s.subtrees.as_slice()).unwrap_or_default();
                stack.extend(below.iter().filter(|c| !entered.contains(*c)).map(|c| (*c, false)));
            }
        }
    }
    order
}

/// Path and secret, numbered.
struct Keys {
    list: Vec<(u32, SecretId)>,
    numbers: HashMap<(u32, SecretId), u32>,
    /// For each blob with findings: its secrets, each once.
    secrets: Vec<Vec<SecretId>>,
    /// For each secret: rule and value, as an index of blob and match that holds it.
    first: Vec<(u32, u32)>,
    /// Blobs that some commit holds.
    held: HashSet<u32>,
}

impl Keys {
    fn new(found: &Found) -> Self {
        let mut numbers: HashMap<(usize, &[u8]), SecretId> = HashMap::new();
        let mut first = Vec::new();
        let mut secrets = Vec::with_capacity(found.len());
        for (blob, (_, hits)) in found.iter().enumerate() {
            let mut list: Vec<SecretId> = Vec::new();
            for (at, hit) in hits.iter().enumerate() {
                let id = *numbers.entry((hit.rule, hit.secret.expose())).or_insert_with(|| {
                    first.push((blob as u32, at as u32));
                    (first.len() - 1) as SecretId
                });
                if !list.contains(&id) {
                    list.push(id);
                }
            }
            secrets.push(list);
        }
        Keys { list: Vec::new(), numbers: HashMap::new(), secrets, first, held: HashSet::new() }
    }

    fn number(&mut self, tail: u32, secret: SecretId) -> u32 {
        let Keys { list, numbers, .. } = self;
        *numbers.entry((tail, secret)).or_insert_with(|| {
            list.push((tail, secret));
            (list.len() - 1) as u32
        })
    }

    /// The keys that each commit's tree holds, sorted. Equal sets are one allocation, so that the many commits that
    /// change nothing of interest cost a pointer each.
    fn sets(&mut self, graph: &Graph, trees: &Trees) -> Vec<Arc<Vec<u32>>> {
        let mut by_root: HashMap<Oid, Arc<Vec<u32>>> = HashMap::new();
        let mut by_content: HashMap<Vec<u32>, Arc<Vec<u32>>> = HashMap::new();
        let empty = Arc::new(Vec::new());
        graph
            .commits
            .iter()
            .map(|commit| {
                if let Some(set) = by_root.get(&commit.tree) {
                    return Arc::clone(set);
                }
                let Some(holdings) = trees.holdings.get(&commit.tree) else { return Arc::clone(&empty) };
                let mut set: Vec<u32> = Vec::with_capacity(holdings.len());
                for (tail, blob) in holdings.iter() {
                    self.held.insert(*blob);
                    for at in 0..self.secrets[*blob as usize].len() {
                        let secret = self.secrets[*blob as usize][at];
                        set.push(self.number(*tail, secret));
                    }
                }
                set.sort_unstable();
                set.dedup();
                let set = Arc::clone(by_content.entry(set).or_insert_with_key(|set| Arc::new(set.clone())));
                by_root.insert(commit.tree, Arc::clone(&set));
                set
            })
            .collect()
    }
}

/// When each key came and went: indices of commits.
struct Lives {
    introduced: Vec<Option<u32>>,
    removed: Vec<Option<u32>>,
}

impl Lives {
    fn new(graph: &Graph, sets: &[Arc<Vec<u32>>], keys: usize) -> Self {
        let mut lives = Lives { introduced: vec![None; keys], removed: vec![None; keys] };
        for (at, commit) in graph.commits.iter().enumerate() {
            let here = &sets[at];
            let same = |parent: &u32| Arc::ptr_eq(&sets[*parent as usize], here);
            if !commit.parents.is_empty() && commit.parents.iter().all(same) {
                continue;
            }
            let in_parent =
                |key: u32| commit.parents.iter().any(|p| sets[*p as usize].binary_search(&key).is_ok());
            for &key in here.iter() {
                if lives.introduced[key as usize].is_none() && !in_parent(key) {
                    lives.introduced[key as usize] = Some(at as u32);
                }
            }
            for &parent in &commit.parents {
                for &key in sets[parent as usize].iter() {
                    if here.binary_search(&key).is_err() {
                        // Commits come oldest first: the last one to say so is the last to remove.
                        lives.removed[key as usize] = Some(at as u32);
                    }
                }
            }
        }
        lives
    }
}

/// Which branches and tags hold each key now.
struct Refs {
    head: Option<u32>,
    in_head: Vec<bool>,
    branches: Vec<Vec<Arc<str>>>,
    tags: Vec<Vec<Arc<str>>>,
}

impl Refs {
    fn new(repo: &Repository, graph: &Graph, sets: &[Arc<Vec<u32>>], keys: usize) -> Self {
        let head = repo.git().head().ok().and_then(|h| graph.commit_of(h.target()?));
        let mut refs = Refs {
            head,
            in_head: vec![false; keys],
            branches: vec![Vec::new(); keys],
            tags: vec![Vec::new(); keys],
        };
        if let Some(head) = head {
            for key in sets[head as usize].iter() {
                refs.in_head[*key as usize] = true;
            }
        }
        for reference in named(repo) {
            let Some(tip) = graph.commit_of(reference.id) else { continue };
            let name: Arc<str> = reference.name.into();
            let lists = if reference.is_tag { &mut refs.tags } else { &mut refs.branches };
            for key in sets[tip as usize].iter() {
                lists[*key as usize].push(Arc::clone(&name));
            }
        }
        refs
    }
}

struct Writer<'a> {
    repo: &'a Repository,
    graph: &'a Graph,
    found: &'a Found,
    /// Place in `found` of each blob.
    blobs: &'a HashMap<Oid, u32>,
    trees: &'a Trees,
    keys: &'a Keys,
    lives: &'a Lives,
    refs: &'a Refs,
    target: &'a str,
}

impl Writer<'_> {
    fn all(&self) -> Result<Vec<Sighting>, SourceError> {
        let odb = self.repo.reader()?;
        let mut infos: BTreeMap<u32, CommitInfo> = BTreeMap::new();
        let mut out = Vec::new();
        for (key, (tail, secret)) in self.keys.list.iter().enumerate() {
            let path = self.trees.path(*tail);
            let in_head = self.refs.in_head[key];
            let source = if in_head { self.refs.head } else { self.lives.introduced[key] };
            let Some(source) = source else { continue };
            let tree = self.graph.commits[source as usize].tree;
            let Some(blob) = blob_at(&odb, self.repo.format(), tree, path.as_bytes()) else { continue };
            let mut info = |at: Option<u32>| {
                let at = at?;
                let id = self.graph.commits[at as usize].id;
                let read = || odb.read(id).map(|object| commit_info(id, object.data())).ok();
                if !infos.contains_key(&at) {
                    infos.insert(at, read()?);
                }
                infos.get(&at).cloned()
            };
            let introduced = self.lives.introduced[key];
            let shallow = introduced.is_some_and(|at| self.graph.commits[at as usize].is_boundary);
            let introduced = if shallow { None } else { info(introduced) };
            let removed = if in_head { None } else { info(self.lives.removed[key]) };
            for hit in self.matches(blob, *secret) {
                let mut place = Place::of(hit, PlaceKind::Blob, self.target, path.clone());
                place.object = Some(blob.to_string());
                place.introduced.clone_from(&introduced);
                place.removed.clone_from(&removed);
                place.in_head = in_head;
                place.branches = self.refs.branches[key].iter().map(ToString::to_string).collect();
                place.tags = self.refs.tags[key].iter().map(ToString::to_string).collect();
                place.shallow = shallow;
                out.push(Sighting { hit: hit.duplicate(), place });
            }
        }
        Ok(out)
    }

    /// The matches of a secret in a blob.
    fn matches(&self, blob: Oid, secret: SecretId) -> impl Iterator<Item = &Match> {
        let (first_blob, first_match) = self.keys.first[secret as usize];
        let wanted = &self.found[first_blob as usize].1[first_match as usize];
        let at = self.blobs.get(&blob);
        at.into_iter()
            .flat_map(|at| self.found[*at as usize].1.iter())
            .filter(move |hit| hit.rule == wanted.rule && hit.secret == wanted.secret)
    }
}

/// Blobs that no commit holds: staged ones, tags of blobs and trees, objects that nothing reaches.
fn orphans(inventory: &Inventory, found: &Found, keys: &Keys, target: &str) -> Vec<Sighting> {
    let mut out = Vec::new();
    for (at, (blob, hits)) in found.iter().enumerate() {
        if keys.held.contains(&(at as u32)) {
            continue;
        }
        let kind = if inventory.staged.contains(blob) { PlaceKind::Staged } else { PlaceKind::Blob };
        for hit in hits {
            let mut place = Place::of(hit, kind, target, inventory.path_of(*blob));
            place.object = Some(inventory.id_of(*blob).to_string());
            out.push(Sighting { hit: hit.duplicate(), place });
        }
    }
    out
}
