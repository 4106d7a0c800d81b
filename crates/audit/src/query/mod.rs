//! Questions: which events match, in order, streamed.
//!
//! Equality on the fields that people ask by goes through an [`Index`] of 4,096-entry segments, which is a cache:
//! made when missing, thrown away when it does not fit the log. What it finds is checked against the entry again.

mod filter;
mod index;
mod output;

use std::ops::ControlFlow;

use rayon::prelude::*;

pub use filter::{FIELDS, Field, Filter, FilterError, Op, Term};
pub use index::{Index, SEGMENT};
pub(crate) use output::printable;
pub use output::{Format, Output};

use crate::reader::{ReadError, Reader};

/// An event that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its index in the log.
    pub index: u64,
    /// The entry, as stored.
    pub entry: Vec<u8>,
}

/// So many segments are searched at once; their hits are held in memory until they are handed on.
const AT_ONCE: u64 = 16;

/// Hands every matching entry from `from` on to `sink`, in order, until it breaks. Entries behind the published head
/// are not looked at; [`Reader::tail`] and [`Filter::matches`] serve for following a log.
///
/// # Errors
/// A bundle cannot be read. Pruned ones are skipped.
pub fn run(
    reader: &Reader,
    index: &Index,
    filter: &Filter,
    from: u64,
    mut sink: impl FnMut(Hit) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let segments = from / SEGMENT..reader.size().div_ceil(SEGMENT);
    for start in segments.clone().step_by(AT_ONCE as usize) {
        let end = segments.end.min(start + AT_ONCE);
        let found: Vec<Result<Vec<Hit>, ReadError>> =
            (start..end).into_par_iter().map(|segment| search(reader, index, filter, segment)).collect();
        for hits in found {
            for hit in hits?.into_iter().filter(|hit| hit.index >= from) {
                if sink(hit).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn search(reader: &Reader, index: &Index, filter: &Filter, segment: u64) -> Result<Vec<Hit>, ReadError> {
    let whole = (segment + 1) * SEGMENT <= reader.size();
    if whole && let Some(candidates) = index.candidates(reader, segment, filter)? {
        let check = |hit: &Hit| filter.matches(&hit.entry);
        return Ok(candidates.into_iter().filter(check).collect());
    }
    scan(reader, segment, |entry| filter.matches(entry))
}

/// Reads a segment's bundles and keeps what matches.
fn scan(reader: &Reader, segment: u64, matches: impl Fn(&[u8]) -> bool) -> Result<Vec<Hit>, ReadError> {
    let per_segment = SEGMENT / crate::tree::tile::WIDTH;
    let first = segment * per_segment;
    let mut hits = Vec::new();
    for number in first..(first + per_segment).min(reader.bundles()) {
        let bundle = match reader.bundle(number) {
            Err(e) if e.is_missing() => continue,
            other => other?,
        };
        for (index, entry) in bundle.entries().filter(|(_, entry)| matches(entry)) {
            hits.push(Hit { index, entry: entry.to_vec() });
        }
    }
    Ok(hits)
}
