//! Findings: one secret under one rule, with every place where it was seen.

use std::ops::Range;

use crate::fingerprint::Fingerprint;
use crate::path::RepoPath;
use crate::rule::{Confidence, Rule};
use crate::secret::Secret;

/// What one rule found in one piece of bytes. Made by [`crate::engine::Engine`] alone.
#[derive(Debug)]
pub struct Match {
    /// Index into the engine's rules.
    pub rule: usize,
    /// The secret's bytes in the scanned bytes; `start < end`.
    pub span: Range<usize>,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Column of the first byte, from 1, counted in bytes.
    pub column: u32,
    /// Line of the last byte.
    pub end_line: u32,
    /// Column after the last byte.
    pub end_column: u32,
    /// The value.
    pub secret: Secret,
    /// The line around it, shortened, secrets redacted, safe to print.
    pub excerpt: String,
    /// How sure.
    pub confidence: Confidence,
    /// Why the confidence is what it is: one sentence per check that said something.
    pub notes: Vec<String>,
    /// Facts read from the secret itself (algorithm, expiry). Names and printable values; never secret.
    pub details: Vec<(&'static str, String)>,
    /// The inline marker that allows it, if its line or the line before has one.
    pub allow: Option<InlineAllow>,
}

impl Match {
    /// A second, equally guarded copy: one blob may stand at many paths.
    pub(crate) fn duplicate(&self) -> Self {
        Match {
            rule: self.rule,
            span: self.span.clone(),
            line: self.line,
            column: self.column,
            end_line: self.end_line,
            end_column: self.end_column,
            secret: self.secret.duplicate(),
            excerpt: self.excerpt.clone(),
            confidence: self.confidence,
            notes: self.notes.clone(),
            details: self.details.clone(),
            allow: self.allow.clone(),
        }
    }
}

/// An inline marker that allows a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineAllow {
    /// The marker as its tool calls it: `claviger:allow`, `gitleaks:allow`, ...
    pub marker: &'static str,
    /// The reason given, printable; may be empty.
    pub reason: String,
}

/// The kind of thing that held a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceKind {
    /// A file on disk.
    File,
    /// A blob in the index that differs from HEAD.
    Staged,
    /// A blob in the history.
    Blob,
    /// Standard input.
    Stdin,
    /// A commit's message or its author and committer lines.
    CommitMessage,
    /// An annotated tag's message.
    TagMessage,
    /// A name in a tree, or of a file on disk.
    PathName,
    /// The repository's own configuration.
    GitConfig,
}

impl PlaceKind {
    /// Name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            PlaceKind::File => "file",
            PlaceKind::Staged => "staged",
            PlaceKind::Blob => "history",
            PlaceKind::Stdin => "stdin",
            PlaceKind::CommitMessage => "commit-message",
            PlaceKind::TagMessage => "tag-message",
            PlaceKind::PathName => "path-name",
            PlaceKind::GitConfig => "git-config",
        }
    }
}

/// A commit, as far as reports need it. All texts are printable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitInfo {
    /// Seconds since 1970 UTC of the author's date; orders commits that are otherwise equal.
    pub time: i64,
    /// Object id in hex.
    pub id: String,
    /// Author's name.
    pub author: String,
    /// Author's address.
    pub email: String,
    /// First line of the message, secrets not redacted by anybody: reports must not print it.
    pub summary: String,
}

/// Where a secret was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What held it.
    pub kind: PlaceKind,
    /// What its path counts from: a target of the command line, or the top of the work tree that the target is in.
    pub target: String,
    /// Path below that. For messages: empty.
    pub path: RepoPath,
    /// Byte span in the file or blob.
    pub span: Range<usize>,
    /// From 1.
    pub line: u32,
    /// From 1, in bytes.
    pub column: u32,
    /// From 1.
    pub end_line: u32,
    /// From 1, in bytes, after the last byte.
    pub end_column: u32,
    /// The line, redacted and printable.
    pub excerpt: String,
    /// Object id in hex of the blob, commit or tag, where there is one.
    pub object: Option<String>,
    /// First commit that brought it to this path. None outside of history, and behind a shallow boundary.
    pub introduced: Option<CommitInfo>,
    /// Last commit that took it away from this path, if it is not in HEAD.
    pub removed: Option<CommitInfo>,
    /// Whether the path at HEAD still holds it.
    pub in_head: bool,
    /// Branches (local and remote) that still hold it at this path; sorted.
    pub branches: Vec<String>,
    /// Tags that hold it at this path; sorted.
    pub tags: Vec<String>,
    /// Whether the history ends in a shallow boundary before its introduction.
    pub shallow: bool,
    /// The inline marker beside it.
    pub allow: Option<InlineAllow>,
}

impl Place {
    /// A place of a match, outside of any history.
    pub fn of(hit: &Match, kind: PlaceKind, target: &str, path: RepoPath) -> Self {
        Place {
            kind,
            target: target.to_owned(),
            path,
            span: hit.span.clone(),
            line: hit.line,
            column: hit.column,
            end_line: hit.end_line,
            end_column: hit.end_column,
            excerpt: hit.excerpt.clone(),
            object: None,
            introduced: None,
            removed: None,
            in_head: false,
            branches: Vec::new(),
            tags: Vec::new(),
            shallow: false,
            allow: hit.allow.clone(),
        }
    }

    /// Sort key: what is on disk first, then the earliest introduction.
    fn order(&self) -> impl Ord + '_ {
        let time = self.introduced.as_ref().map(|c| (c.time, &c.id));
        (time, self.kind, &self.target, &self.path, self.span.start, &self.object)
    }
}

/// A match and one place of it: what sources hand over.
#[derive(Debug)]
pub struct Sighting {
    /// The match.
    pub hit: Match,
    /// Where.
    pub place: Place,
}

/// One secret under one rule.
#[derive(Debug)]
pub struct Finding {
    /// The rule that found it.
    pub rule: Rule,
    /// The value.
    pub secret: Secret,
    /// Keyed or slow hash of rule family and value; stable when lines move.
    pub fingerprint: Fingerprint,
    /// The highest confidence of any place.
    pub confidence: Confidence,
    /// Why, for the place with that confidence.
    pub notes: Vec<String>,
    /// Facts read from the secret.
    pub details: Vec<(&'static str, String)>,
    /// Where it was seen; the first introduction first. Never empty.
    pub places: Vec<Place>,
}

impl Finding {
    /// The place to show when only one is shown.
    pub fn place(&self) -> &Place {
        &self.places[0]
    }

    /// Puts the places into their order and drops doubles.
    pub(crate) fn arrange(&mut self) {
        self.places.sort_by(|a, b| a.order().cmp(&b.order()));
        self.places.dedup();
    }

    /// Sort key of a report: by path and line of the first place.
    pub(crate) fn order(&self) -> impl Ord + '_ {
        let place = self.place();
        (
            &place.target,
            &place.path,
            place.span.start,
            &self.rule.id,
            self.fingerprint.as_str(),
            &place.object,
        )
    }
}
