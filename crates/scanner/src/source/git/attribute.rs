//! Which commits and paths a blob with findings belongs to, by looking up and not down.
//!
//! A diff of every commit would tell, at the price of reading all trees once for each commit. Instead: which trees
//! name a blob with findings, which trees name those, up to the roots of commits. Only these few trees are followed
//! down again, and what a root holds is a small sorted set of *keys*, one for each path and secret. Then one walk over
//! the commits, parents first, compares sets: a key that no parent has was introduced, a key that only a parent has
//! was removed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::bits::Bits;
use super::graph::{Graph, named};
use super::history::Found;
use super::inventory::Inventory;
use super::object::{EntryKind, commit_info};
use super::objects::Objects;
use super::repo::Repository;
use crate::finding::{CommitInfo, Match, Place, PlaceKind, Sighting};
use crate::path::RepoPath;
use crate::scan::Monitor;
use crate::source::SourceError;

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
    objects: &Objects,
    found: &Found,
    target: &str,
    monitor: &Monitor,
) -> Result<Vec<Sighting>, SourceError> {
    monitor.phase("attributing", 0);
    let blobs: HashMap<u32, u32> =
        found.iter().enumerate().map(|(i, (blob, _))| (inventory.object(*blob), i as u32)).collect();
    let trees = Trees::new(inventory, objects, &blobs);
    let mut keys = Keys::new(found);
    let sets = keys.sets(graph, &trees);
    let lives = Lives::new(graph, &sets, keys.list.len());
    let refs = Refs::new(repo, graph, objects, &sets, keys.list.len());
    let writer = Writer {
        repo,
        graph,
        objects,
        found,
        blobs: &blobs,
        trees: &trees,
        keys: &keys,
        lives: &lives,
        refs: &refs,
        target,
    };
    let mut out = writer.all()?;
    out.extend(orphans(inventory, objects, found, &keys, target));
    Ok(out)
}

/// The trees on the way from roots to blobs with findings.
struct Trees {
    /// By the tree's number.
    holdings: HashMap<u32, Arc<Holdings>>,
    tails: Vec<Tail>,
    /// Names of tails, by the numbers that tree entries have.
    names: HashMap<u32, Box<[u8]>>,
}

impl Trees {
    fn new(inventory: &Inventory, objects: &Objects, blobs: &HashMap<u32, u32>) -> Self {
        let mut wanted = Bits::new(objects.count());
        for blob in blobs.keys() {
            wanted.insert(*blob);
        }
        let mut is_tree = Bits::new(objects.count());
        for tree in &inventory.trees {
            is_tree.insert(*tree);
        }
        // Edges from a tree to the trees that name it.
        let above = Above::new(inventory, objects, &is_tree);
        let names_blob = |tree: &&u32| {
            let entries = objects.tree(**tree).unwrap_or_default();
            entries.iter().any(|e| e.kind() == EntryKind::Blob && wanted.contains(e.object))
        };
        let mut level: Vec<u32> = inventory.trees.par_iter().filter(names_blob).copied().collect();
        let mut on_the_way = Bits::new(objects.count());
        for tree in &level {
            on_the_way.insert(*tree);
        }
        while let Some(tree) = level.pop() {
            level.extend(above.of(tree).iter().filter(|parent| on_the_way.insert(**parent)));
        }
        Self::below(inventory, objects, &on_the_way, blobs)
    }

    /// Works out, children first, what each tree on the way holds.
    fn below(inventory: &Inventory, objects: &Objects, on_the_way: &Bits, blobs: &HashMap<u32, u32>) -> Self {
        let mut trees = Trees { holdings: HashMap::new(), tails: Vec::new(), names: HashMap::new() };
        let mut tails: HashMap<Tail, u32> = HashMap::new();
        let ids: Vec<u32> =
            inventory.trees.iter().copied().filter(|tree| on_the_way.contains(*tree)).collect();
        for tree in children_first(&ids, objects, on_the_way) {
            let mut holdings = Holdings::new();
            let mut put = |trees: &mut Trees, name: u32, below: u32, blob: u32| {
                let tail = Tail { name, below };
                let tail = *tails.entry(tail).or_insert_with(|| {
                    trees.names.entry(name).or_insert_with(|| objects.name(name).into());
                    trees.tails.push(tail);
                    (trees.tails.len() - 1) as u32
                });
                holdings.push((tail, blob));
            };
            let entries = objects.tree(tree).unwrap_or_default();
            for entry in entries.iter().filter(|e| e.kind() == EntryKind::Blob) {
                if let Some(blob) = blobs.get(&entry.object) {
                    put(&mut trees, entry.name(), END, *blob);
                }
            }
            for entry in entries.iter().filter(|e| e.kind() == EntryKind::Tree) {
                if !on_the_way.contains(entry.object) {
                    continue;
                }
                let Some(below) = trees.holdings.get(&entry.object).cloned() else { continue };
                for (tail, blob) in below.iter() {
                    put(&mut trees, entry.name(), *tail, *blob);
                }
            }
            trees.holdings.insert(tree, Arc::new(holdings));
        }
        trees
    }

    fn path(&self, tail: u32) -> RepoPath {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = tail;
        while at != END {
            let tail = self.tails[at as usize];
            parts.push(&self.names[&tail.name]);
            at = tail.below;
        }
        RepoPath::new(parts.join(&b'/'))
    }
}

/// For each tree, the trees that name it.
struct Above {
    /// Where the list of each number begins; it ends where the next begins.
    starts: Vec<u32>,
    trees: Vec<u32>,
}

impl Above {
    fn new(inventory: &Inventory, objects: &Objects, is_tree: &Bits) -> Self {
        let edges = |tree: u32| {
            let entries = objects.tree(tree).unwrap_or_default();
            entries.iter().filter(|e| e.kind() == EntryKind::Tree && is_tree.contains(e.object))
        };
        let mut starts = vec![0_u32; objects.count() + 1];
        for tree in &inventory.trees {
            edges(*tree).for_each(|entry| starts[entry.object as usize + 1] += 1);
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut trees = vec![0_u32; starts.last().map_or(0, |n| *n as usize)];
        let mut next = starts.clone();
        for tree in &inventory.trees {
            for entry in edges(*tree) {
                let slot = &mut next[entry.object as usize];
                trees[*slot as usize] = *tree;
                *slot += 1;
            }
        }
        Above { starts, trees }
    }

    fn of(&self, tree: u32) -> &[u32] {
        let tree = tree as usize;
        &self.trees[self.starts[tree] as usize..self.starts[tree + 1] as usize]
    }
}

/// The trees in an order in which subtrees come first. Iterative: folders nest as deep as somebody likes.
fn children_first(trees: &[u32], objects: &Objects, on_the_way: &Bits) -> Vec<u32> {
    let mut order = Vec::with_capacity(trees.len());
    let mut done = Bits::new(objects.count());
    let mut entered = Bits::new(objects.count());
    for tree in trees {
        let mut stack = vec![(*tree, false)];
        while let Some((at, children_done)) = stack.pop() {
            if children_done {
                if done.insert(at) {
                    order.push(at);
                }
            } else if entered.insert(at) {
                stack.push((at, true));
                let below = objects.tree(at).unwrap_or_default().iter();
                let below = below.filter(|e| e.kind() == EntryKind::Tree && on_the_way.contains(e.object));
                stack.extend(below.filter(|e| !entered.contains(e.object)).map(|e| (e.object, false)));
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
        let mut by_root: HashMap<u32, Arc<Vec<u32>>> = HashMap::new();
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
    fn new(repo: &Repository, graph: &Graph, objects: &Objects, sets: &[Arc<Vec<u32>>], keys: usize) -> Self {
        let head = repo.git().head().ok().and_then(|h| graph.commit_of(h.target()?, objects));
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
            let Some(tip) = graph.commit_of(reference.id, objects) else { continue };
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
    objects: &'a Objects,
    found: &'a Found,
    /// Place in `found` of each blob, by its number.
    blobs: &'a HashMap<u32, u32>,
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
            let Some(blob) = self.objects.blob_at(tree, path.as_bytes()) else { continue };
            let mut info = |at: Option<u32>| {
                let at = at?;
                let id = self.objects.id(self.graph.commits[at as usize].object);
                if let Some(info) = infos.get(&at) {
                    return Some(info.clone());
                }
                let info = commit_info(id, odb.read(id).ok()?.data());
                infos.insert(at, info.clone());
                Some(info)
            };
            let introduced = self.lives.introduced[key];
            let shallow = introduced.is_some_and(|at| self.graph.commits[at as usize].is_boundary);
            let introduced = if shallow { None } else { info(introduced) };
            let removed = if in_head { None } else { info(self.lives.removed[key]) };
            for hit in self.matches(blob, *secret) {
                let mut place = Place::of(hit, PlaceKind::Blob, self.target, path.clone());
                place.object = Some(self.objects.id(blob).to_string());
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
    fn matches(&self, blob: u32, secret: SecretId) -> impl Iterator<Item = &Match> {
        let (first_blob, first_match) = self.keys.first[secret as usize];
        let wanted = &self.found[first_blob as usize].1[first_match as usize];
        let at = self.blobs.get(&blob);
        at.into_iter()
            .flat_map(|at| self.found[*at as usize].1.iter())
            .filter(move |hit| hit.rule == wanted.rule && hit.secret == wanted.secret)
    }
}

/// Blobs that no commit holds: staged ones, tags of blobs and trees, objects that nothing reaches.
fn orphans(
    inventory: &Inventory,
    objects: &Objects,
    found: &Found,
    keys: &Keys,
    target: &str,
) -> Vec<Sighting> {
    let mut out = Vec::new();
    for (at, (blob, hits)) in found.iter().enumerate() {
        if keys.held.contains(&(at as u32)) {
            continue;
        }
        let kind = if inventory.staged.contains(blob) { PlaceKind::Staged } else { PlaceKind::Blob };
        for hit in hits {
            let mut place = Place::of(hit, kind, target, inventory.path_of(*blob, objects));
            place.object = Some(objects.id(inventory.object(*blob)).to_string());
            out.push(Sighting { hit: hit.duplicate(), place });
        }
    }
    out
}
