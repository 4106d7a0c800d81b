//! The Merkle tree of RFC 6962: hashes, proofs, the growing edge, and how the tree is cut into tiles.
//!
//! A tree of `n > 1` leaves splits at the largest power of two *smaller* than `n`; nothing is duplicated or padded.
//! Everything here is arithmetic on hashes. It knows neither files nor events.

mod edge;
mod hash;
mod proof;
pub mod tile;

pub use edge::Edge;
pub use hash::{Hash, empty_root, leaf_hash, node_hash};
pub use proof::{
    MAX_PROOF, Nodes, ProofError, consistency_proof, inclusion_proof, root_of, verify_consistency,
    verify_inclusion,
};
