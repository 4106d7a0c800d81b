//! What was read, and what was not: a result like the findings.

use std::collections::BTreeMap;

use crate::path::printable;

/// Most skipped things that are named one by one; beyond, only the counts grow.
const MAX_NAMED: usize = 10_000;

/// Why something was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// `.gitignore` or another ignore file of git's.
    Gitignored,
    /// An exclude glob, or not among the include globs, of the user.
    Excluded,
    /// Over the size limit that the user set.
    SizeLimit,
    /// Over the built-in limit for one git object.
    ObjectTooLarge,
    /// A symbolic link; its target text is read, what it points to is not.
    Symlink,
    /// FIFO, device or socket.
    Special,
    /// A submodule; scan it as a repository of its own, or with `--submodules`.
    Submodule,
    /// Folders or commits deeper than `--max-depth`.
    Depth,
    /// No permission, or another error of the system.
    Unreadable,
    /// Changed, shrank or vanished while it was read.
    Changed,
    /// A git object that is damaged.
    Corrupt,
    /// A git object that is not there (partial clone, pruned).
    Missing,
    /// Commits behind the boundary of a shallow clone.
    Shallow,
    /// The scan was interrupted before it came to this.
    Interrupted,
}

impl Reason {
    /// Whether a scan with such a gap may not call itself complete. Gaps that a user asked for, or that git itself
    /// knows of (ignored files, a shallow clone's past), do not count.
    pub fn is_incomplete(self) -> bool {
        matches!(
            self,
            Reason::ObjectTooLarge
                | Reason::Unreadable
                | Reason::Changed
                | Reason::Corrupt
                | Reason::Missing
                | Reason::Interrupted
        )
    }

    /// Name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Gitignored => "gitignored",
            Reason::Excluded => "excluded",
            Reason::SizeLimit => "size-limit",
            Reason::ObjectTooLarge => "object-too-large",
            Reason::Symlink => "symlink",
            Reason::Special => "special-file",
            Reason::Submodule => "submodule",
            Reason::Depth => "max-depth",
            Reason::Unreadable => "unreadable",
            Reason::Changed => "changed-while-read",
            Reason::Corrupt => "corrupt",
            Reason::Missing => "missing",
            Reason::Shallow => "shallow",
            Reason::Interrupted => "interrupted",
        }
    }
}

/// Something that was not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skip {
    /// Why.
    pub reason: Reason,
    /// Path or object id, printable.
    pub what: String,
    /// More on why: the system's error, a size. Printable.
    pub detail: String,
}

/// The ledger of a scan. Ledgers of parts add up with [`Coverage::merge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Files read from disk.
    pub files: u64,
    /// Git blobs read.
    pub blobs: u64,
    /// Commits whose message was read.
    pub commits: u64,
    /// Annotated tags whose message was read.
    pub tags: u64,
    /// Trees walked.
    pub trees: u64,
    /// Bytes scanned.
    pub bytes: u64,
    counts: BTreeMap<Reason, u64>,
    named: Vec<Skip>,
}

impl Coverage {
    /// Notes that something was not read. `what` and `detail` may hold anything; they are made printable.
    pub fn skip(&mut self, reason: Reason, what: &[u8], detail: &str) {
        *self.counts.entry(reason).or_default() += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(Skip { reason, what: printable(what), detail: printable(detail.as_bytes()) });
        }
    }

    /// Adds another ledger to this one.
    pub fn merge(&mut self, other: Coverage) {
        self.files += other.files;
        self.blobs += other.blobs;
        self.commits += other.commits;
        self.tags += other.tags;
        self.trees += other.trees;
        self.bytes += other.bytes;
        for (reason, count) in other.counts {
            *self.counts.entry(reason).or_default() += count;
        }
        let room = MAX_NAMED - self.named.len();
        self.named.extend(other.named.into_iter().take(room));
    }

    /// How often each reason applied, in a fixed order.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.counts.iter().map(|(reason, count)| (*reason, *count))
    }

    /// What was skipped, by reason and name; the first ten thousand of them.
    pub fn skipped(&self) -> Vec<&Skip> {
        let mut all: Vec<&Skip> = self.named.iter().collect();
        all.sort();
        all
    }

    /// Whether everything was read that a complete scan reads.
    pub fn is_complete(&self) -> bool {
        !self.counts.keys().any(|reason| reason.is_incomplete())
    }

    /// Whether nothing at all was read.
    pub fn is_empty(&self) -> bool {
        self.files + self.blobs + self.commits + self.tags == 0
    }
}
