//! Reports: what a scan found, did and left out, in the formats people and tools read.
//!
//! One file per format, one line in [`FORMATS`]. A reporter gets a finished [`Report`] and writes. It leaves nothing
//! out on its own, unless its reader takes no more (SARIF, Markdown): then the report says so.
//!
//! What all formats hold to: a secret is shown only with [`Style::show_secrets`], and not even then in formats that are
//! made to be uploaded; texts from outside go through one veil, so that no control character gets out; commit
//! messages are never printed; a scan that did not see everything says it; the same scan gives the same bytes (GitLab's
//! schema alone asks for the time). Findings are written one by one: 100,000 of them take time and no more memory.

mod csv;
#[cfg(test)]
mod fixture;
mod github;
mod gitlab;
mod json;
mod jsonl;
mod junit;
mod location;
mod markdown;
mod sarif;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod veil;
mod whereabouts;

pub use self::csv::guarded;
pub use self::location::percent;

use std::io;

use crate::coverage::Coverage;
use crate::finding::Finding;

/// The result of a scan.
#[derive(Debug)]
pub struct Report {
    /// Version of claviger that made it.
    pub version: &'static str,
    /// Number of rules that ran.
    pub rules: usize,
    /// Digest of those rules, see [`crate::rule::RuleSet::digest`].
    pub rules_digest: String,
    /// The targets, as typed.
    pub targets: Vec<String>,
    /// What counts: sorted, new, not allowed, at or over the least confidence.
    pub findings: Vec<Finding>,
    /// What was found and is allowed by somebody.
    pub allowed: Vec<Allowed>,
    /// Findings under the least confidence; counted only.
    pub hidden: u64,
    /// Ignore entries that matched nothing or have expired, and other things the user should know. Printable.
    pub notices: Vec<String>,
    /// What was read and what was not.
    pub coverage: Coverage,
    /// Whether the scan was stopped before its end.
    pub interrupted: bool,
    /// When the scan began, in seconds since 1970 UTC.
    pub started: i64,
    /// When it ended, in seconds since 1970 UTC.
    pub finished: i64,
}

impl Report {
    /// Whether everything was read that had to be.
    pub fn is_complete(&self) -> bool {
        !self.interrupted && self.coverage.is_complete()
    }
}

/// A finding that somebody allowed.
#[derive(Debug)]
pub struct Allowed {
    /// The finding, with the allowed places only.
    pub finding: Finding,
    /// By what.
    pub by: AllowedBy,
    /// Whether the allowance itself was added by the change under scan.
    pub added_by_change: bool,
}

/// What allowed a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedBy {
    /// A marker beside it.
    Inline {
        /// The marker.
        marker: &'static str,
        /// Its reason, printable; may be empty.
        reason: String,
    },
    /// An entry of the ignore file.
    IgnoreFile {
        /// Line of the entry, from 1.
        line: u32,
        /// Its reason, printable.
        reason: String,
    },
    /// The baseline: it was there before.
    Baseline,
}

impl AllowedBy {
    /// Name in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            AllowedBy::Inline { .. } => "inline",
            AllowedBy::IgnoreFile { .. } => "ignore-file",
            AllowedBy::Baseline => "baseline",
        }
    }

    /// The reason given; may be empty.
    pub fn reason(&self) -> &str {
        match self {
            AllowedBy::Inline { reason, .. } | AllowedBy::IgnoreFile { reason, .. } => reason,
            AllowedBy::Baseline => "",
        }
    }
}

/// How a report is to look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
    /// OSC 8 hyperlinks to files.
    pub hyperlinks: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// Print secrets in full. Only ever true on an explicit flag.
    pub show_secrets: bool,
    /// List everything that was skipped.
    pub coverage: bool,
    /// Show allowed findings, notes on confidence and all places too.
    pub verbose: bool,
    /// In the text format: findings, and what makes a scan incomplete, but no summary.
    pub quiet: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style {
            color: false,
            hyperlinks: false,
            width: 80,
            show_secrets: false,
            coverage: false,
            verbose: false,
            quiet: false,
        }
    }
}

/// Writes a report to `out`.
type Write = fn(&Report, &Style, &mut dyn io::Write) -> io::Result<()>;

/// A report format.
#[derive(Clone, Copy)]
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for the help.
    pub help: &'static str,
    write: Write,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Format({})", self.name)
    }
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<Format> {
        FORMATS.iter().copied().find(|format| format.name == name)
    }

    /// Writes a report.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        (self.write)(report, style, out)
    }
}

/// Every format, in the order the help lists them.
pub const FORMATS: &[Format] = &[
    Format { name: "text", help: "for people, on a terminal", write: text::write },
    Format {
        name: "json",
        help: "one document with findings, allowed findings and coverage",
        write: json::write,
    },
    Format { name: "jsonl", help: "one finding a line, a summary last", write: jsonl::write },
    Format { name: "sarif", help: "SARIF 2.1.0, for code scanning", write: sarif::write },
    Format { name: "gitlab", help: "GitLab secret detection report", write: gitlab::write },
    Format { name: "csv", help: "a row for each place", write: csv::write },
    Format { name: "junit", help: "JUnit XML, for CI test views", write: junit::write },
    Format { name: "github", help: "GitHub workflow annotations", write: github::write },
    Format { name: "markdown", help: "for a step summary or a comment", write: markdown::write },
];
