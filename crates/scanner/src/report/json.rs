//! The whole report as one JSON document.
//!
//! ```text
//! schema_version  1; grows only when a field goes or changes its meaning, not when one is added
//! tool            name, version, rules (how many ran), rules_digest (which ones)
//! targets         as typed
//! findings        one for each rule and secret, see below
//! allowed         by (inline, ignore-file, baseline), marker or line, reason, added_by_change, finding
//! hidden          how many findings were under the least confidence
//! notices         sentences
//! coverage        complete, interrupted; files, blobs, commits, tags, trees, bytes that were read;
//!                 not_read: reason, count, incomplete; skipped (with --coverage): reason, what, detail
//!
//! finding         rule, name, provider, severity, confidence, fingerprint, secret_preview, notes, details,
//!                 remediation, rotate, replace, places; with --show-secrets also secret, or secret_base64 for a value
//!                 that is not plain text
//! place           kind, target, path (printable; path_base64 has the exact bytes where they differ), line, column,
//!                 end_line, end_column, start, end, object, excerpt, introduced, removed, in_head, branches, tags,
//!                 shallow, allow
//! commit          commit, author, email, date (RFC 3339, UTC)
//! ```
//!
//! Lines and columns count from 1, columns in bytes, and ends are exclusive; `start` and `end` are byte offsets from 0.
//! What does not apply is `null` or empty, never missing, but for the fields named "with".

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::veil::{Veil, prose};
use super::{Allowed, AllowedBy, Report, Style, location};
use crate::finding::{CommitInfo, Finding, InlineAllow, Place};
use crate::path::printable;
use crate::secret::Secret;

/// Version of the format.
pub(super) const SCHEMA_VERSION: u32 = 1;

pub(super) fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = if style.show_secrets { Veil::default() } else { Veil::over(report)? };
    let wire = Wire { veil: &veil, show_secrets: style.show_secrets };
    let document = Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::of(report),
        targets: wire.texts(&report.targets),
        findings: Each(&report.findings, |f| wire.finding(f)),
        allowed: Each(&report.allowed, |a| wire.allowed(a)),
        hidden: report.hidden,
        notices: wire.texts(&report.notices),
        coverage: wire.coverage(report, style),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// A list that is turned into its wire form one by one, so that the whole never is in memory twice.
pub(super) struct Each<'a, T, F>(pub(super) &'a [T], pub(super) F);

impl<'a, T, F: Fn(&'a T) -> W, W: Serialize> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

#[derive(Serialize)]
struct Document<'a, F: Serialize, A: Serialize> {
    schema_version: u32,
    tool: Tool<'a>,
    targets: Vec<String>,
    findings: F,
    allowed: A,
    hidden: u64,
    notices: Vec<String>,
    coverage: CoverageWire,
}

#[derive(Serialize)]
pub(super) struct Tool<'a> {
    name: &'static str,
    version: &'a str,
    rules: usize,
    rules_digest: &'a str,
}

impl<'a> Tool<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        Tool {
            name: "claviger",
            version: report.version,
            rules: report.rules,
            rules_digest: &report.rules_digest,
        }
    }
}

#[derive(Serialize)]
pub(super) struct FindingWire {
    rule: String,
    name: String,
    provider: String,
    severity: &'static str,
    confidence: &'static str,
    fingerprint: String,
    secret_preview: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_base64: Option<String>,
    notes: Vec<String>,
    details: BTreeMap<&'static str, String>,
    remediation: String,
    rotate: Option<String>,
    replace: Option<String>,
    places: Vec<PlaceWire>,
}

#[derive(Serialize)]
struct PlaceWire {
    kind: &'static str,
    target: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    start: usize,
    end: usize,
    object: Option<String>,
    excerpt: String,
    introduced: Option<CommitWire>,
    removed: Option<CommitWire>,
    in_head: bool,
    branches: Vec<String>,
    tags: Vec<String>,
    shallow: bool,
    allow: Option<AllowWire>,
}

#[derive(Serialize)]
struct CommitWire {
    commit: String,
    author: String,
    email: String,
    date: Option<String>,
}

#[derive(Serialize)]
struct AllowWire {
    marker: &'static str,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct AllowedWire {
    by: &'static str,
    marker: Option<&'static str>,
    line: Option<u32>,
    reason: String,
    added_by_change: bool,
    finding: FindingWire,
}

#[derive(Serialize)]
pub(super) struct CoverageWire {
    complete: bool,
    interrupted: bool,
    files: u64,
    blobs: u64,
    commits: u64,
    tags: u64,
    trees: u64,
    bytes: u64,
    not_read: Vec<NotRead>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<Vec<SkipWire>>,
}

#[derive(Serialize)]
struct NotRead {
    reason: &'static str,
    count: u64,
    incomplete: bool,
}

#[derive(Serialize)]
struct SkipWire {
    reason: &'static str,
    what: String,
    detail: String,
}

/// Makes the wire forms.
pub(super) struct Wire<'a> {
    pub(super) veil: &'a Veil<'a>,
    pub(super) show_secrets: bool,
}

impl Wire<'_> {
    pub(super) fn texts(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.veil.text(text)).collect()
    }

    pub(super) fn finding(&self, finding: &Finding) -> FindingWire {
        let rule = &finding.rule;
        let (secret, secret_base64) = if self.show_secrets { exposed(&finding.secret) } else { (None, None) };
        FindingWire {
            rule: prose(&rule.id),
            name: prose(&rule.name),
            provider: prose(&rule.provider),
            severity: rule.severity.as_str(),
            confidence: finding.confidence.as_str(),
            fingerprint: finding.fingerprint.to_string(),
            secret_preview: finding.secret.redacted(),
            secret,
            secret_base64,
            notes: self.texts(&finding.notes),
            details: finding.details.iter().map(|(name, value)| (*name, self.veil.text(value))).collect(),
            remediation: prose(&rule.remediation),
            rotate: given(&rule.rotate),
            replace: given(&rule.replace),
            places: finding.places.iter().map(|place| self.place(place)).collect(),
        }
    }

    fn place(&self, place: &Place) -> PlaceWire {
        let path = place.path.as_bytes();
        let shown = self.veil.bytes(path);
        let is_exact = shown.as_bytes() == path || *self.veil.hide(path) != *path;
        PlaceWire {
            kind: place.kind.as_str(),
            target: self.veil.text(&place.target),
            path: shown,
            path_base64: (!is_exact).then(|| STANDARD.encode(path)),
            line: place.line,
            column: place.column,
            end_line: place.end_line,
            end_column: place.end_column,
            start: place.span.start,
            end: place.span.end,
            object: place.object.clone(),
            excerpt: self.veil.text(&place.excerpt),
            introduced: place.introduced.as_ref().map(|c| self.commit(c)),
            removed: place.removed.as_ref().map(|c| self.commit(c)),
            in_head: place.in_head,
            branches: self.texts(&place.branches),
            tags: self.texts(&place.tags),
            shallow: place.shallow,
            allow: place.allow.as_ref().map(|allow| self.allow(allow)),
        }
    }

    /// A commit without its summary, which could hold a secret.
    fn commit(&self, commit: &CommitInfo) -> CommitWire {
        CommitWire {
            commit: commit.id.clone(),
            author: self.veil.text(&commit.author),
            email: self.veil.text(&commit.email),
            date: location::rfc3339(commit.time),
        }
    }

    fn allow(&self, allow: &InlineAllow) -> AllowWire {
        AllowWire { marker: allow.marker, reason: self.veil.text(&allow.reason) }
    }

    pub(super) fn allowed(&self, allowed: &Allowed) -> AllowedWire {
        let (marker, line) = match &allowed.by {
            AllowedBy::Inline { marker, .. } => (Some(*marker), None),
            AllowedBy::IgnoreFile { line, .. } => (None, Some(*line)),
            AllowedBy::Baseline => (None, None),
        };
        AllowedWire {
            by: allowed.by.as_str(),
            marker,
            line,
            reason: self.veil.text(allowed.by.reason()),
            added_by_change: allowed.added_by_change,
            finding: self.finding(&allowed.finding),
        }
    }

    pub(super) fn coverage(&self, report: &Report, style: &Style) -> CoverageWire {
        let c = &report.coverage;
        let skip = |skip: &crate::coverage::Skip| SkipWire {
            reason: skip.reason.as_str(),
            what: self.veil.text(&skip.what),
            detail: self.veil.text(&skip.detail),
        };
        let not_read = |(reason, count): (crate::coverage::Reason, u64)| NotRead {
            reason: reason.as_str(),
            count,
            incomplete: reason.is_incomplete(),
        };
        CoverageWire {
            complete: report.is_complete(),
            interrupted: report.interrupted,
            files: c.files,
            blobs: c.blobs,
            commits: c.commits,
            tags: c.tags,
            trees: c.trees,
            bytes: c.bytes,
            not_read: c.counts().map(not_read).collect(),
            skipped: style.coverage.then(|| c.skipped().into_iter().map(skip).collect()),
        }
    }
}

/// The value as text when it is plain text, else as base64: never a control character that JSON would pass on.
pub(super) fn exposed(secret: &Secret) -> (Option<String>, Option<String>) {
    let bytes = secret.expose();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.split(['\n', '\r', '\t']).all(|part| printable(part.as_bytes()) == part) => {
            (Some(text.to_owned()), None)
        }
        _ => (None, Some(STANDARD.encode(bytes))),
    }
}

/// A text of a rule, if there is one.
fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| prose(text))
}
