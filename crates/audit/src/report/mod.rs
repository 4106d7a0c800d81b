//! Reports: what the log says about a period, as data and as pages.
//!
//! [`Rows`] is the log as a table; [`Report::of`] counts it; the renderers write a report as text, Markdown, JSON and
//! one HTML page. Everything is deterministic: the same log and period give the same bytes.

mod anomaly;
mod chart;
mod html;
mod render;
mod rows;
mod rules;
mod tally;

use serde::Serialize;

pub use anomaly::{Anomaly, Config, RULES, Rule, Silence, find_anomalies};
pub use html::html;
pub use render::{json, markdown, terminal};
pub use rows::{Name, Row, Rows};

use crate::checkpoint::Checkpoint;

/// What a report covers, and what it is measured against.
#[derive(Debug, Clone)]
pub struct Period {
    /// Not before, in milliseconds since 1970.
    pub since_ms: i64,
    /// Before, in milliseconds since 1970; also the time at which "late" is judged.
    pub until_ms: i64,
    /// Roles that the policy has: those nobody asked for are reported.
    pub roles: Vec<String>,
    /// A static secret that was not rotated for so many days is long-lived.
    pub rotate_days: u32,
}

impl Period {
    /// Everything before `until_ms`, with secrets to be rotated every 90 days.
    pub fn until(until_ms: i64) -> Period {
        Period { since_ms: i64::MIN, until_ms, roles: Vec::new(), rotate_days: 90 }
    }
}

/// A report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// The signed size that the report is about.
    pub size: u64,
    /// The signed root, in base64.
    pub root: String,
    /// The time of the first event in the period, RFC 3339.
    pub from: String,
    /// The time of the last event in the period, RFC 3339.
    pub to: String,
    /// Events in the period.
    pub events: u64,
    /// How it went, over all.
    pub total: Usage,
    /// Usage by identity, the busiest first.
    pub identities: Vec<Usage>,
    /// Usage by provider.
    pub providers: Vec<Usage>,
    /// Usage by environment.
    pub environments: Vec<Usage>,
    /// How it went over time, without gaps.
    pub timeline: Vec<Slot>,
    /// Refusals by reason, the most frequent first.
    pub refusals: Vec<Refusal>,
    /// Who was granted what and never used it.
    pub unused: Vec<Unused>,
    /// Roles of the policy that nobody asked for.
    pub unused_roles: Vec<String>,
    /// Leases by length.
    pub lengths: Vec<Length>,
    /// Static secrets that were not rotated in time.
    pub secrets: Vec<StaticSecret>,
    /// Who used what for the first time in the period, in order.
    pub first_uses: Vec<FirstUse>,
    /// Leases whose revocation failed.
    pub revocations: Vec<Revocation>,
    /// What the rules found.
    pub anomalies: Vec<Anomaly>,
}

/// Counts for one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The identity, provider or environment.
    pub name: String,
    /// Credentials issued.
    pub issued: u64,
    /// Leases renewed.
    pub renewed: u64,
    /// Static secrets read.
    pub read: u64,
    /// Requests refused.
    pub refused: u64,
    /// What was allowed and did not work.
    pub failed: u64,
}

/// Counts for one hour or day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// When it begins, RFC 3339.
    pub start: String,
    /// Credentials issued, renewed and read.
    pub success: u64,
    /// Requests refused.
    pub refused: u64,
    /// What did not work.
    pub failed: u64,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason in the events.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// By how many identities.
    pub identities: u64,
    /// The last such event's index.
    pub last: u64,
}

/// Over-entitlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// Who.
    pub identity: String,
    /// The role.
    pub role: String,
    /// How many credentials were issued, none of which was used.
    pub issued: u64,
}

/// Leases of a length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Length {
    /// `up to 15 min`, ...
    pub label: String,
    /// How many.
    pub count: u64,
}

/// A static secret that is too old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaticSecret {
    /// Its name.
    pub name: String,
    /// When it was last made, changed or rotated, RFC 3339; empty if the log does not know.
    pub changed: String,
    /// How many days ago.
    pub age_days: i64,
    /// How many days its rotation is late.
    pub late_days: i64,
    /// How many identities read it in the period.
    pub readers: u64,
}

/// A first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstUse {
    /// When, RFC 3339.
    pub time: String,
    /// Who.
    pub identity: String,
    /// The role, or the static secret's name.
    pub what: String,
    /// The event's index.
    pub index: u64,
}

/// A revocation that failed at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// Whose lease.
    pub identity: String,
    /// At which provider.
    pub provider: String,
    /// Failed attempts.
    pub attempts: u64,
    /// The first failed attempt, RFC 3339.
    pub since: String,
    /// Was it confirmed or did it expire at last?
    pub ended: bool,
    /// The index of the last event about it.
    pub index: u64,
}

impl Report {
    /// Counts the log. `head` is the signed head that `rows` were read under.
    pub fn of(rows: &Rows, head: &Checkpoint, period: &Period, config: &Config) -> Report {
        tally::report(rows, head, period, config)
    }
}

/// RFC 3339 to the second, in UTC; empty for 0.
pub(crate) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) if ms != 0 => format!("{at:.0}"),
        _ => String::new(),
    }
}
