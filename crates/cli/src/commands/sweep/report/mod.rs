//! What a sweep says: a secret is one finding, in however many repositories it is.
//!
//! Findings are grouped by their fingerprint; values are not known here. The same state gives the same bytes.

mod csv;
mod html;
mod json;
mod markdown;
mod sarif;

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::model::{Held, Spot, Status};
use super::state::Record;

pub(super) use sarif::write as write_sarif;

/// What has changed since the sweep before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    /// No repository had it.
    New,
    /// It was known, and is there.
    Still,
    /// It was known, and no repository has it any more.
    Gone,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Change::New => "new",
            Change::Still => "still there",
            Change::Gone => "gone",
        }
    }
}

/// A secret's places in one repository.
#[derive(Debug, Serialize)]
pub(super) struct InRepository {
    pub(super) repository: String,
    pub(super) change: Change,
    pub(super) places: Vec<Spot>,
}

/// A secret.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) change: Change,
    pub(super) rule: String,
    pub(super) title: String,
    pub(super) severity: String,
    pub(super) confidence: String,
    pub(super) fingerprint: String,
    pub(super) preview: String,
    /// Owners of all its places.
    pub(super) owners: Vec<String>,
    pub(super) repositories: Vec<InRepository>,
}

impl Finding {
    fn places(&self) -> impl Iterator<Item = (&InRepository, &Spot)> {
        self.repositories.iter().flat_map(|one| one.places.iter().map(move |spot| (one, spot)))
    }

    fn is_in_head(&self) -> bool {
        self.places().any(|(_, spot)| spot.in_head)
    }
}

/// A repository of the sweep.
#[derive(Debug, Serialize)]
pub(super) struct Repository {
    pub(super) name: String,
    pub(super) status: Status,
    /// Why it was not scanned, or not wholly.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
    /// Secrets in it.
    pub(super) findings: usize,
}

/// What an owner has to deal with.
#[derive(Debug, Default, Serialize)]
pub(super) struct Share {
    pub(super) new: usize,
    pub(super) still: usize,
    pub(super) gone: usize,
}

/// A sweep's result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema_version: u32,
    pub(super) version: &'static str,
    pub(super) sweep: i64,
    /// Whether every repository was dealt with, wholly.
    pub(super) complete: bool,
    pub(super) started: String,
    pub(super) finished: String,
    pub(super) counts: Counts,
    /// By owner; the empty name is nobody's.
    pub(super) owners: BTreeMap<String, Share>,
    pub(super) repositories: Vec<Repository>,
    pub(super) findings: Vec<Finding>,
}

/// Numbers of a sweep.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) repositories: usize,
    /// Read in this sweep.
    pub(super) scanned: usize,
    pub(super) unchanged: usize,
    /// Not scanned, or not wholly.
    pub(super) incomplete: usize,
    pub(super) new: usize,
    pub(super) still: usize,
    pub(super) gone: usize,
}

impl Report {
    /// A report over what is known of these repositories. `times` are seconds since 1970.
    pub(super) fn new(sweep: i64, records: Vec<Record>, times: (i64, i64)) -> Report {
        let mut counts = Counts { repositories: records.len(), ..Counts::default() };
        let mut repositories = Vec::with_capacity(records.len());
        let mut groups: BTreeMap<String, Vec<(String, Held, Change)>> = BTreeMap::new();
        for record in records {
            match record.status {
                Status::Whole | Status::News => counts.scanned += 1,
                Status::Unchanged => counts.unchanged += 1,
                Status::Incomplete | Status::Failed => counts.incomplete += 1,
            }
            let findings = record.rows.iter().filter(|row| row.gone_sweep.is_none()).count();
            let name = record.name.clone();
            for row in record.rows {
                let change = match row.gone_sweep {
                    Some(_) => Change::Gone,
                    None if row.first_sweep == sweep => Change::New,
                    None => Change::Still,
                };
                let group = groups.entry(row.held.fingerprint.clone()).or_default();
                group.push((name.clone(), row.held, change));
            }
            repositories.push(Repository { name, status: record.status, why: record.why, findings });
        }
        let mut findings: Vec<Finding> = groups.into_iter().filter_map(|(f, g)| finding(f, g)).collect();
        let weight =
            |f: &Finding| ["critical", "high", "medium", "low"].iter().position(|s| *s == f.severity);
        findings.sort_by_key(|f| {
            (
                f.change,
                weight(f),
                !f.is_in_head(),
                std::cmp::Reverse(f.repositories.len()),
                f.fingerprint.clone(),
            )
        });
        let mut owners: BTreeMap<String, Share> = BTreeMap::new();
        for finding in &findings {
            let nobody = [String::new()];
            let of = if finding.owners.is_empty() { nobody.as_slice() } else { &finding.owners };
            for owner in of {
                let share = owners.entry(owner.clone()).or_default();
                *count(finding.change, &mut share.new, &mut share.still, &mut share.gone) += 1;
            }
            *count(finding.change, &mut counts.new, &mut counts.still, &mut counts.gone) += 1;
        }
        Report {
            schema_version: 1,
            version: env!("CARGO_PKG_VERSION"),
            sweep,
            complete: counts.incomplete == 0,
            started: date(times.0),
            finished: date(times.1),
            counts,
            owners,
            repositories,
            findings,
        }
    }

    /// Repositories that were not scanned, or not wholly.
    fn gaps(&self) -> impl Iterator<Item = &Repository> {
        self.repositories.iter().filter(|one| !one.status.is_complete())
    }

    /// The sweep in one line.
    pub(super) fn headline(&self) -> String {
        let c = &self.counts;
        format!(
            "{} repositories: {} scanned, {} unchanged, {} not or not wholly scanned. Findings: {} new, {} still there, {} gone.",
            c.repositories, c.scanned, c.unchanged, c.incomplete, c.new, c.still, c.gone
        )
    }
}

fn count<'a>(change: Change, new: &'a mut usize, still: &'a mut usize, gone: &'a mut usize) -> &'a mut usize {
    match change {
        Change::New => new,
        Change::Still => still,
        Change::Gone => gone,
    }
}

fn finding(fingerprint: String, group: Vec<(String, Held, Change)>) -> Option<Finding> {
    let change = if group.iter().all(|(.., change)| *change == Change::Gone) {
        Change::Gone
    } else if group.iter().any(|(.., change)| *change != Change::New) {
        Change::Still
    } else {
        Change::New
    };
    let mut owners: Vec<String> =
        group.iter().flat_map(|(_, held, _)| held.spots.iter().flat_map(|s| s.owners.clone())).collect();
    owners.sort();
    owners.dedup();
    let (_, head, _) = group.first()?;
    let (rule, title, severity) = (head.rule.clone(), head.title.clone(), head.severity.clone());
    let (confidence, preview) = (head.confidence.clone(), head.preview.clone());
    let one = |(repository, held, change): (String, Held, Change)| InRepository {
        repository,
        change,
        places: held.spots,
    };
    let repositories = group.into_iter().map(one).collect();
    Some(Finding { change, rule, title, severity, confidence, fingerprint, preview, owners, repositories })
}

/// A moment in UTC, RFC 3339.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}

/// Writes a report to `out`.
type Write = fn(&Report, &mut dyn io::Write) -> io::Result<()>;

/// A report format of sweeps.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Ending of files that get this format without being asked.
    pub(super) ending: &'static str,
    pub(super) write: Write,
}

/// Every format, in the order the help lists them; the first is the default.
pub(super) const FORMATS: &[Format] = &[
    Format { name: "markdown", help: "for an issue or a step summary", ending: "md", write: markdown::write },
    Format { name: "json", help: "one document", ending: "json", write: json::write },
    Format { name: "csv", help: "a row for each place", ending: "csv", write: csv::write },
    Format { name: "html", help: "one page that needs no other file", ending: "html", write: html::write },
];
