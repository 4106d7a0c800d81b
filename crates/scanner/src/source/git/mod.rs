//! Git repositories: objects, not patches.
//!
//! Content that a patch does not show is read like any other: what only a merge, a stash, a note, a tag or a reflog
//! holds. Nothing of the repository's configuration, hooks, filters or attributes is ever run; objects are bytes.
//!
//! - `repo`: opening, and reading single objects;
//! - `odb`: loose objects by own code, packed ones through libgit2;
//! - `object`: commits, trees and tags out of their bytes;
//! - `objects`: what commits and trees say, in numbers;
//! - `graph`: which commits there are, from which refs and reflogs;
//! - `inventory`: which trees and blobs these reach;
//! - `pack`: packs read as they lie on the disk;
//! - `history`: the whole history, from packs or, as the oracle of that, object by object;
//! - `attribute`: which commits and paths a blob with findings belongs to;
//! - `change`: what a commit, a range or a push adds;
//! - `news`: what a repository has that it had not when it was scanned last.

mod attribute;
mod bits;
mod change;
mod graph;
mod history;
mod inventory;
mod news;
mod object;
mod objects;
mod odb;
mod pack;
mod repo;
mod setup;
#[cfg(test)]
mod tests;

pub use change::{Change, Quarantine, pre_receive, range, staged};
pub use history::{HistoryOptions, history};
pub use news::{news, tips};
pub use pack::inflate_all;
pub use repo::Repository;
