//! Packs read as they lie on the disk: every entry inflated once, each delta built from its base in memory.
//!
//! Asking for objects one by one costs a chain of deltas each. Here the entries of all packs form a *forest* (who is
//! whose base), which is walked from the roots by all threads; what a visitor does with each object is its own matter.
//!
//! Nothing in here is needed for an answer to be right. What a pack does not hold, what cannot be made out, what is
//! too large, what hangs on a base elsewhere: all that is left to libgit2, which either reads it or says what is wrong.
//!
//! - `map`, `index`, `entry`, `delta`: the formats, bounds-checked;
//! - `forest`: numbers for entries, and who is whose base;
//! - `walk`: the forest from its roots;
//! - `read`: what commits and trees say, as arrays of numbers;
//! - `blobs`: scanning;
//! - `floor`: what no scan can be faster than.

mod blobs;
mod delta;
mod entry;
mod floor;
mod forest;
mod index;
mod map;
mod read;
#[cfg(test)]
mod tests;
mod walk;

pub(super) use blobs::scan;
pub(super) use entry::Kind;
pub use floor::inflate_all;
pub(super) use forest::Packs;
pub(super) use read::{Message, Part, read};

/// Largest object that is built in memory here, in bytes. Larger ones, which are rare, libgit2 reads one at a time.
const MAX_OBJECT: usize = 32 * 1024 * 1024;
/// Bytes of objects that may wait in memory for what is built from them. Beyond, those are dropped that are needed
/// last, and built again.
const MAX_HELD: usize = 192 * 1024 * 1024;
/// No entry.
const NONE: u32 = u32::MAX;
