//! The floor under every scan of a history: inflating each entry of the packs once.

use libdeflater::Decompressor;
use rayon::prelude::*;

use super::MAX_OBJECT;
use super::entry::inflate;
use super::forest::Packs;
use crate::source::git::object::id_width;
use crate::source::git::repo::Repository;

/// Entries that a thread takes at a time.
const BATCH: usize = 1024;

/// Inflates every entry of a repository's packs once, in all threads, and throws the bytes away: no deltas are applied,
/// nothing is scanned. What benchmarks compare a scan to. Number of entries and of inflated bytes.
pub fn inflate_all(repo: &Repository) -> (u64, u64) {
    let packs = Packs::open(&repo.object_folders(), id_width(repo.format()));
    let entries: Vec<u32> = (0..packs.len() as u32).collect();
    entries
        .par_chunks(BATCH)
        .map(|batch| {
            let (mut zlib, mut out) = (Decompressor::new(), Vec::new());
            batch.iter().fold((0, 0), |(count, bytes), entry| {
                let content = packs.content(*entry).filter(|(size, _)| *size <= MAX_OBJECT as u64);
                match content {
                    Some((size, packed)) if inflate(&mut zlib, packed, size as usize, &mut out) => {
                        (count + 1, bytes + size)
                    }
                    _ => (count, bytes),
                }
            })
        })
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
}
