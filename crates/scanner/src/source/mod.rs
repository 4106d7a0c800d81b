//! Sources: where bytes come from. One file each; each hands back a [`crate::scan::Harvest`].

pub mod file;
pub mod git;
pub mod tree;

use std::path::PathBuf;

/// Why a source could not be read at all. Single files and objects that fail are entries of the ledger instead.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The target is not there.
    #[error("{}: no such file or directory", .0.display())]
    NotFound(PathBuf),
    /// The target cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The target.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The target is no git repository, and a repository is needed.
    #[error("{}: not a git repository; `--no-history` scans the files alone", .0.display())]
    NotARepository(PathBuf),
    /// The repository uses something that is not supported, or is damaged beyond reading.
    #[error("{}: the repository cannot be read: {why}", path.display())]
    Repository {
        /// The repository.
        path: PathBuf,
        /// libgit2's reason, printable.
        why: String,
    },
    /// A revision, range or date that does not resolve. Never an empty scan.
    #[error("`{name}` is no commit, branch, tag, range or date in {}: {why}", path.display())]
    Revision {
        /// What was asked for.
        name: String,
        /// The repository.
        path: PathBuf,
        /// Why it does not resolve, printable.
        why: String,
    },
    /// A glob that cannot be read.
    #[error("`{glob}` is no valid glob: {why}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        why: String,
    },
}
