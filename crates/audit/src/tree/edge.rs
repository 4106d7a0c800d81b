//! The growing edge of a tree: just enough hashes to add leaves, and to prove the ones added last.

use super::{Hash, Nodes, leaf_hash, node_hash, root_of};

/// The right edge of a tree and every node completed since it was last [trimmed](Edge::trim).
///
/// Invariant: level `l` holds the complete subtrees `base .. size >> l`, where `base` is at most the last odd one; so
/// the root, each inclusion proof for an entry added since the trim, and the consistency proof from the trimmed size
/// can be computed from it alone.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    size: u64,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Default)]
struct Level {
    base: u64,
    nodes: Vec<Hash>,
}

/// A node that the edge no longer holds, or does not hold yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the edge holds no node {index} at level {level}")]
pub struct NotHeld {
    level: u8,
    index: u64,
}

impl Edge {
    /// The edge of a tree of `size` entries, with hashes from `nodes`.
    pub fn load<N: Nodes>(nodes: &N, size: u64) -> Result<Edge, N::Error> {
        let mut levels = Vec::new();
        for level in 0..(64 - size.leading_zeros()) as u8 {
            let count = size >> level;
            let held = if count & 1 == 1 { vec![nodes.node(level, count - 1)?] } else { Vec::new() };
            levels.push(Level { base: count - held.len() as u64, nodes: held });
        }
        Ok(Edge { size, levels })
    }

    /// The roots of the complete subtrees that the tree is made of, the smallest first: with the size, all that has to
    /// be kept to go on.
    pub fn peaks(&self) -> Vec<Hash> {
        let odd = self.levels.iter().filter(|level| (level.base + level.nodes.len() as u64) & 1 == 1);
        odd.filter_map(|level| level.nodes.last().copied()).collect()
    }

    /// The edge of a tree of `size` entries out of its [peaks](Edge::peaks); `None` if their number does not fit.
    pub fn from_peaks(size: u64, peaks: &[Hash]) -> Option<Edge> {
        let mut rest = peaks.iter();
        let mut levels = Vec::new();
        for level in 0..(64 - size.leading_zeros()) {
            let count = size >> level;
            let nodes = if count & 1 == 1 { vec![*rest.next()?] } else { Vec::new() };
            levels.push(Level { base: count - nodes.len() as u64, nodes });
        }
        rest.next().is_none().then_some(Edge { size, levels })
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds one entry.
    pub fn push(&mut self, entry: &[u8]) {
        self.push_hash(leaf_hash(entry));
    }

    /// Adds one entry by its leaf hash.
    pub fn push_hash(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut level = 0;
        loop {
            if self.levels.len() == level {
                self.levels.push(Level::default());
            }
            let at = &mut self.levels[level];
            at.nodes.push(hash);
            let count = at.base + at.nodes.len() as u64;
            if count & 1 == 1 {
                break;
            }
            // The even sibling is held: it was the last odd node when the edge was trimmed, or came after.
            let left = at.nodes[at.nodes.len() - 2];
            hash = node_hash(&left, &hash);
            level += 1;
        }
        self.size += 1;
    }

    /// Forgets every node that adding leaves does not need.
    pub fn trim(&mut self) {
        for level in &mut self.levels {
            let count = level.base + level.nodes.len() as u64;
            let keep = (count & 1) as usize;
            level.nodes.drain(..level.nodes.len() - keep);
            level.base = count - keep as u64;
        }
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        root_of(self, self.size).expect("the edge holds every node that its own root needs")
    }
}

impl Nodes for Edge {
    type Error = NotHeld;

    fn node(&self, level: u8, index: u64) -> Result<Hash, NotHeld> {
        let missing = NotHeld { level, index };
        let at = self.levels.get(usize::from(level)).ok_or(missing)?;
        let offset = index.checked_sub(at.base).ok_or(missing)?;
        at.nodes.get(usize::try_from(offset).map_err(|_| missing)?).copied().ok_or(missing)
    }
}
