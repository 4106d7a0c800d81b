//! Inclusion and consistency proofs: making them (RFC 6962 §2.1.1, 2.1.2) and checking them (RFC 9162 §2.1.3.2, 2.1.4.2).
//!
//! A proof does not authenticate the size of the tree: a proof for entry 0 of a tree of 7 also verifies with the
//! claimed sizes 5, 6 and 8. Callers take size and root together from a verified checkpoint, never from a receipt.

use std::collections::VecDeque;

use super::{Hash, empty_root, node_hash};

/// The most hashes a proof may hold; longer ones are refused before anything is hashed.
pub const MAX_PROOF: usize = 63;

/// Why a proof was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The entry is not in a tree of that size.
    #[error("entry {index} is outside a tree of {size} entries")]
    IndexBeyondSize {
        /// The entry asked about.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("the tree shrank from {old} to {new} entries")]
    Shrunk {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// Too few, too many or more than [`MAX_PROOF`] hashes.
    #[error("the proof has {found} hashes, which does not fit this tree")]
    Length {
        /// How many hashes the proof had.
        found: usize,
    },
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the signed root")]
    Mismatch,
}

/// Where hashes of complete subtrees come from.
pub trait Nodes {
    /// Why a hash could not be had.
    type Error;

    /// The root of the complete subtree over entries `index << level .. (index + 1) << level`.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the entries `start..end`. `start` must be a multiple of the range's size rounded up to a power of two,
/// as it is for every range that the proofs below split off.
fn range_root<N: Nodes>(nodes: &N, start: u64, end: u64) -> Result<Hash, N::Error> {
    let count = end - start;
    if count == 0 {
        return Ok(empty_root());
    }
    if count.is_power_of_two() {
        let level = count.trailing_zeros() as u8;
        return nodes.node(level, start >> level);
    }
    let split = start + largest_power_below(count);
    Ok(node_hash(&range_root(nodes, start, split)?, &range_root(nodes, split, end)?))
}

/// The largest power of two smaller than `n`; `n` must be at least 2.
fn largest_power_below(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The root of the tree of the first `size` entries.
pub fn root_of<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    range_root(nodes, 0, size)
}

/// The proof that entry `index` is in the tree of `size` entries, leaf side first. `index < size` must hold.
pub fn inclusion_proof<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let split = start + largest_power_below(end - start);
        if index < split {
            proof.push(range_root(nodes, split, end)?);
            end = split;
        } else {
            proof.push(range_root(nodes, start, split)?);
            start = split;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` entries is a prefix of the tree of `new` entries. `old <= new` must hold.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut start, mut end) = (0, new);
    let mut proof = VecDeque::new();
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    while end != old {
        let split = start + largest_power_below(end - start);
        if old <= split {
            proof.push_front(range_root(nodes, split, end)?);
            end = split;
        } else {
            proof.push_front(range_root(nodes, start, split)?);
            start = split;
        }
    }
    if start > 0 {
        proof.push_front(range_root(nodes, start, end)?);
    }
    Ok(proof.into())
}

/// Checks that `leaf` is entry `index` of the tree of `size` entries under `root`.
///
/// `size` and `root` must both come from one verified checkpoint.
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::IndexBeyondSize { index, size });
    }
    let length = ProofError::Length { found: proof.len() };
    if proof.len() > MAX_PROOF {
        return Err(length);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for step in proof {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if hash == *root => Ok(()),
        0 => Err(ProofError::Mismatch),
        _ => Err(length),
    }
}

/// Checks that the tree `(old, old_root)` is a prefix of the tree `(new, new_root)`.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrunk { old, new });
    }
    let length = ProofError::Length { found: proof.len() };
    if old == new || old == 0 {
        let expected = if old == 0 { empty_root() } else { *new_root };
        let zero_to_zero = new != 0 || *new_root == empty_root();
        return match proof.is_empty() {
            false => Err(length),
            true if *old_root == expected && zero_to_zero => Ok(()),
            true => Err(ProofError::Mismatch),
        };
    }
    if proof.is_empty() || proof.len() > MAX_PROOF {
        return Err(length);
    }
    let (first, rest) = if old.is_power_of_two() { (*old_root, proof) } else { (proof[0], &proof[1..]) };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (first, first);
    for step in rest {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(step, &from_old);
            from_new = node_hash(step, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, step);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if from_old == *old_root && from_new == *new_root => Ok(()),
        0 => Err(ProofError::Mismatch),
        _ => Err(length),
    }
}
