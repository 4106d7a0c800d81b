//! Triage: which findings somebody has dealt with, and by what.
//!
//! Three ways, asked in this order for every place of a finding:
//!
//! | way | says | kept in | covers |
//! | --- | --- | --- | --- |
//! | [`inline`] marker | "this line is fine" | the scanned text | one place |
//! | [`ignore_file`] entry | "this value is fine here, says NAME, until DATE" | `.clavigerignore` | one value, under a rule, at paths |
//! | [`baseline`] | "it was there before we began" | a JSON file | one value, under a rule, anywhere |
//!
//! Nothing is dropped: what is allowed goes into the report as such, with the reason given. A finding of which some
//! places are allowed is split; what is left of it counts.
//!
//! # What the fingerprints in these files resist
//!
//! Ignore file and baseline are committed, so whoever reads the repository reads them. They hold no secrets, only
//! fingerprints ([`crate::fingerprint`]) made from rule and value:
//!
//! - **With a key** (`k1:`): HMAC-SHA-256. Without the key nothing can be guessed, not even `hunter2`. Who has the
//!   key can check guesses quickly.
//! - **With a salt** (`s1:`), values people choose: scrypt. Nobody can reverse it, and no table made for another
//!   project helps; but whoever has the file can try words at some 100 a second and core. A word from a list of
//!   thousands is found in minutes, a random one of 12 characters never. One try tests all entries of a rule at once.
//! - **With a salt, random values** of 24 characters or more: HMAC with the salt. Quick to check, and there is
//!   nothing to guess.
//! - In every way: equal values under one rule have equal fingerprints within one file, and length, path and rule are
//!   not hidden. The same secret in the ignore files of two projects can be linked only if they share salt or key; in
//!   two baselines never, as each has a salt of its own, unless they share the key.
//!
//! A fingerprint depends on nothing but rule and value, so moved lines, renamed files, squashed and rewritten
//! histories change nothing, and another secret on an allowed line is found.

pub mod baseline;
pub mod ignore_file;
pub mod inline;
mod mask;
mod path_glob;
mod word;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::finding::{Finding, Place};
use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::path::printable;
use crate::report::{Allowed, AllowedBy};
use crate::scan::Hidden;

/// Most characters of a reason.
const MAX_REASON: usize = 200;
/// Most secrets of low confidence that entries are held against before they may be called stale; each takes some 10 ms.
const MAX_UNSHOWN: usize = 500;
/// Most notices of one sort; a forgotten file must not bury the findings.
const MAX_NOTICES: usize = 20;

/// Why triage is not possible.
#[derive(Debug, thiserror::Error)]
pub enum TriageError {
    /// The file could not be read.
    #[error("{}: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is larger than any of its sort should be.
    #[error("{}: larger than {most} bytes", shown(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        most: u64,
    },
    /// The file says something that cannot be understood.
    #[error("{}:{line}: {why}", shown(path))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What is wrong and what to write; never a part of the line, which may hold a secret.
        why: String,
    },
    /// The baseline was made with a key, and none is given.
    #[error(
        "{}: made with a fingerprint key; set CLAVIGER_FINGERPRINT_KEY to it, or write a new baseline",
        shown(path)
    )]
    KeyMissing {
        /// The baseline.
        path: PathBuf,
    },
    /// The baseline was made with another key.
    #[error(
        "{}: made with another fingerprint key than the one in CLAVIGER_FINGERPRINT_KEY; set that one, or write a \
         new baseline",
        shown(path)
    )]
    KeyOther {
        /// The baseline.
        path: PathBuf,
    },
    /// The key is too short to be one.
    #[error(transparent)]
    WeakKey(#[from] crate::fingerprint::WeakKey),
    /// The system gives no random bytes for a salt.
    #[error("no random bytes for a salt: {0}")]
    Random(getrandom::Error),
}

/// What findings are held against.
pub struct Triage<'a> {
    /// The ignore file, if there is one.
    pub ignore: Option<ignore_file::IgnoreFile>,
    /// The baseline, if there is one.
    pub baseline: Option<baseline::Baseline>,
    /// The fingerprint key, if one is in use.
    pub key: Option<&'a [u8]>,
    /// Today in UTC; entries that expire today still hold.
    pub today: jiff::civil::Date,
    /// Whether only a change was scanned, so that markers beside findings came with it.
    pub is_change: bool,
    /// Whether all was scanned, with all rules, so that what was not found is gone.
    pub is_whole: bool,
    /// What was found too, and is not shown for the low confidence in it: entries about it are not stale.
    pub unshown: Option<Unshown<'a>>,
}

/// Secrets that were found and are not shown.
#[derive(Clone, Copy, Debug)]
pub struct Unshown<'a> {
    /// The secrets.
    pub secrets: &'a [Hidden],
    /// The maker of the findings' fingerprints.
    pub fingerprinter: &'a Fingerprinter,
}

impl Unshown<'_> {
    /// The fingerprints of those under rules of interest, made by `maker`; `None` when there are too many of them to
    /// make fingerprints of all.
    fn fingerprints(
        &self,
        maker: &Fingerprinter,
        is_of_interest: impl Fn(&str) -> bool,
    ) -> Option<Vec<Fingerprint>> {
        let chosen: Vec<&Hidden> = self.secrets.iter().filter(|h| is_of_interest(&h.rule)).collect();
        if chosen.len() > MAX_UNSHOWN {
            return None;
        }
        Some(chosen.par_iter().map(|hidden| maker.fingerprint(&hidden.rule, &hidden.secret)).collect())
    }
}

impl fmt::Debug for Triage<'_> {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Triage")
            .field("ignore", &self.ignore)
            .field("baseline", &self.baseline)
            .field("is_keyed", &self.key.is_some())
            .field("today", &self.today)
            .field("is_change", &self.is_change)
            .field("is_whole", &self.is_whole)
            .field("unshown", &self.unshown.map_or(0, |unshown| unshown.secrets.len()))
            .finish()
    }
}

/// Findings, sorted out.
#[derive(Debug, Default)]
pub struct Triaged {
    /// What nobody allowed, in the order of reports.
    pub findings: Vec<Finding>,
    /// What is allowed, and by what; in the same order.
    pub allowed: Vec<Allowed>,
    /// What the user should know of the files: expired and stale entries and the like. Printable.
    pub notices: Vec<String>,
}

/// Sorts findings out. Takes time linear in findings, places and entries.
///
/// # Errors
/// [`TriageError::KeyMissing`] and [`TriageError::KeyOther`] when the baseline cannot be compared with;
/// [`TriageError::Invalid`] for a path glob that is too large to compile.
pub fn apply(findings: Vec<Finding>, triage: &Triage<'_>) -> Result<Triaged, TriageError> {
    let known = triage.baseline.as_ref().map(|b| b.compare(&findings, triage.key)).transpose()?;
    let mut entries = triage.ignore.as_ref().map(|file| ignore_file::Matcher::new(file, triage.today));
    let mut out = Triaged::default();
    for (at, finding) in findings.into_iter().enumerate() {
        let ignored = match &mut entries {
            Some(entries) => entries.look_up(&finding)?,
            None => None,
        };
        let is_known = known.as_ref().is_some_and(|known| known.is_known[at]);
        sort_out(finding, ignored.as_deref(), is_known, triage, &mut out);
    }
    out.findings.sort_by(|a, b| a.order().cmp(&b.order()));
    out.allowed.sort_by(|a, b| a.finding.order().cmp(&b.finding.order()));
    if let Some(entries) = &mut entries {
        if let Some(unshown) = triage.unshown.filter(|_| triage.is_whole) {
            entries.excuse(&unshown, triage.key.is_some());
        }
        out.notices.extend(entries.notices(triage.key.is_some(), triage.is_whole));
    }
    if let (Some(known), Some(baseline)) = (known, &triage.baseline)
        && triage.is_whole
    {
        let gone = match &triage.unshown {
            Some(unshown) => baseline.gone_for_good(&known, unshown, triage.key)?,
            None => known.gone.len(),
        };
        out.notices.extend(baseline.gone_notice(gone));
    }
    Ok(out)
}

/// Parts one finding by what allows its places. `ignored` holds the ignore file's answer for each place.
fn sort_out(
    mut finding: Finding,
    ignored: Option<&[Option<&ignore_file::Entry>]>,
    is_known: bool,
    triage: &Triage<'_>,
    out: &mut Triaged,
) {
    if !is_known && ignored.is_none() && finding.places.iter().all(|place| place.allow.is_none()) {
        return out.findings.push(finding);
    }
    let mut open = Vec::new();
    let mut parts: Vec<(AllowedBy, Vec<Place>)> = Vec::new();
    // Where the part of an allowance stands; there may be as many as places.
    let mut index: HashMap<(&'static str, u32, String), usize> = HashMap::new();
    for (at, place) in std::mem::take(&mut finding.places).into_iter().enumerate() {
        let entry = ignored.and_then(|ignored| ignored[at]);
        let (key, by) = if let Some(allow) = &place.allow {
            let by = AllowedBy::Inline { marker: allow.marker, reason: allow.reason.clone() };
            ((allow.marker, 0, allow.reason.clone()), by)
        } else if let Some(entry) = entry {
            let by = AllowedBy::IgnoreFile { line: entry.line, reason: entry.reason.clone() };
            (("", entry.line, String::new()), by)
        } else if is_known {
            (("", 0, String::new()), AllowedBy::Baseline)
        } else {
            open.push(place);
            continue;
        };
        let part = *index.entry(key).or_insert_with(|| {
            parts.push((by, Vec::new()));
            parts.len() - 1
        });
        parts[part].1.push(place);
    }
    let mut allow = |by: AllowedBy, finding| {
        let added_by_change = triage.is_change && matches!(by, AllowedBy::Inline { .. });
        out.allowed.push(Allowed { finding, by, added_by_change });
    };
    // Only a finding that is split needs copies.
    let last = if open.is_empty() { parts.pop() } else { None };
    for (by, places) in parts {
        allow(by, part(&finding, places));
    }
    if let Some((by, places)) = last {
        finding.places = places;
        allow(by, finding);
    } else {
        finding.places = open;
        out.findings.push(finding);
    }
}

/// The same finding with some of its places.
fn part(finding: &Finding, places: Vec<Place>) -> Finding {
    Finding {
        rule: finding.rule.clone(),
        secret: finding.secret.duplicate(),
        fingerprint: finding.fingerprint.clone(),
        confidence: finding.confidence,
        notes: finding.notes.clone(),
        details: finding.details.clone(),
        places,
    }
}

/// A reason as it may be printed: one line, nothing a terminal acts on, 200 characters at most.
fn reason(text: &[u8]) -> String {
    // Escapes only make it longer, so more bytes than this are never needed.
    let text = printable(&text[..text.len().min(4 * MAX_REASON + 3)]);
    let text = text.trim();
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => text[..end].trim_end().to_owned(),
        None => text.to_owned(),
    }
}

/// Whether a text can choose rules: an id, or one with `*` in it. Both come from scanned text, and matching takes
/// time that grows with every star.
fn is_rule_name(text: &str) -> bool {
    let well_formed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b));
    well_formed && (1..=100).contains(&text.len()) && text.matches('*').count() <= 4
}

/// Reads a file of at most so many bytes as text. Anything but a regular file is refused before it is opened: a FIFO
/// would be waited for.
fn read(path: &Path, most: u64) -> Result<String, TriageError> {
    use std::io::Read as _;
    let failed = |source| TriageError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(TriageError::TooLarge { path: path.to_owned(), most });
    }
    String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        invalid(path, line, "not UTF-8; save the file as UTF-8")
    })
}

/// Refuses a text that is too large.
fn bound(text: &str, path: &Path, most: u64) -> Result<(), TriageError> {
    if text.len() as u64 > most {
        return Err(TriageError::TooLarge { path: path.to_owned(), most });
    }
    Ok(())
}

fn invalid(path: &Path, line: usize, why: impl Into<String>) -> TriageError {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    TriageError::Invalid { path: path.to_owned(), line, why: why.into() }
}

/// The first lines of a list and how many more there are.
fn shortened(mut notices: Vec<String>, what: &str) -> Vec<String> {
    if notices.len() > MAX_NOTICES {
        let more = notices.len() - MAX_NOTICES;
        notices.truncate(MAX_NOTICES);
        notices.push(format!("and {more} more {what}"));
    }
    notices
}

/// A path as notices print it.
fn shown(path: &Path) -> String {
    crate::path::RepoPath::from_path(path).to_string()
}

#[cfg(test)]
mod tests;
