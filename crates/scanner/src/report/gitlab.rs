//! GitLab's secret detection report, schema 15.0.7: old enough for every GitLab since 16, and still taken by the newest.
//!
//! One vulnerability for each finding, at its first place; the others are among its details. Its id and its tracking
//! signature come from the fingerprint, so that GitLab knows it again when lines move. An incomplete scan has the
//! status `failure`. Commits come without their message. The secret itself (`raw_source_code_extract`) is only there
//! with `--show-secrets`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::json::{Each, exposed};
use super::veil::{Veil, prose};
use super::whereabouts::{Whereabouts, further};
use super::{Report, Style, location, summary};
use crate::finding::{Finding, Place, PlaceKind};
use crate::path::printable;
use crate::rule::Severity;

/// The schema's version.
const VERSION: &str = "15.0.7";
/// Stands for a commit that nobody knows: the schema wants one.
const NO_COMMIT: &str = "0000000";
/// Further places in the details of a vulnerability.
const PLACES: usize = 50;
/// Longest name, in characters: the schema's limit.
const MAX_NAME: usize = 255;
/// Longest solution, in characters: the schema's limit.
const MAX_SOLUTION: usize = 7_000;

pub(super) fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = if style.show_secrets { Veil::default() } else { Veil::over(report)? };
    let product = || Product {
        id: "claviger",
        name: "claviger",
        url: env!("CARGO_PKG_REPOSITORY"),
        version: report.version,
        vendor: Vendor { name: "claviger" },
    };
    let document = Document {
        version: VERSION,
        scan: Scan {
            analyzer: product(),
            scanner: product(),
            kind: "secret_detection",
            start_time: moment(report.started),
            end_time: moment(report.finished),
            status: if report.is_complete() { "success" } else { "failure" },
            messages: messages(report, &veil),
        },
        vulnerabilities: Each(&report.findings, |finding| vulnerability(finding, style, &veil)),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a, V: Serialize> {
    version: &'static str,
    scan: Scan<'a>,
    vulnerabilities: V,
}

#[derive(Serialize)]
struct Scan<'a> {
    analyzer: Product<'a>,
    scanner: Product<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
    start_time: String,
    end_time: String,
    status: &'static str,
    messages: Vec<Message>,
}

#[derive(Serialize)]
struct Product<'a> {
    id: &'static str,
    name: &'static str,
    url: &'static str,
    version: &'a str,
    vendor: Vendor,
}

#[derive(Serialize)]
struct Vendor {
    name: &'static str,
}

#[derive(Serialize)]
struct Message {
    level: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Vulnerability {
    id: String,
    name: String,
    description: String,
    severity: &'static str,
    solution: String,
    identifiers: [Identifier; 1],
    links: Vec<Link>,
    location: Location,
    details: BTreeMap<&'static str, Detail>,
    tracking: Tracking,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_source_code_extract: Option<String>,
}

#[derive(Serialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    value: String,
}

#[derive(Serialize)]
struct Link {
    name: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Location {
    file: String,
    start_line: u32,
    end_line: u32,
    commit: Commit,
}

#[derive(Serialize)]
struct Commit {
    sha: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
}

#[derive(Serialize)]
struct Detail {
    name: Cow<'static, str>,
    #[serde(flatten)]
    value: Value,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Value {
    Text { value: String },
    List { items: Vec<Value> },
    FileLocation { file_name: String, line_start: u32, line_end: u32 },
}

#[derive(Serialize)]
struct Tracking {
    #[serde(rename = "type")]
    kind: &'static str,
    items: [TrackingItem; 1],
}

#[derive(Serialize)]
struct TrackingItem {
    file: String,
    start_line: u32,
    end_line: u32,
    signatures: [Signature; 1],
}

#[derive(Serialize)]
struct Signature {
    algorithm: &'static str,
    value: String,
}

/// A moment as the schema wants it: UTC without saying so.
fn moment(seconds: i64) -> String {
    let text = location::rfc3339(seconds).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
    text.trim_end_matches('Z').to_owned()
}

fn messages(report: &Report, veil: &Veil<'_>) -> Vec<Message> {
    let message = |level: &'static str, value: String| Message { level, value };
    let mut out = Vec::new();
    if let Some(sentence) = summary::incomplete(report) {
        out.push(message("fatal", sentence.to_owned()));
        out.extend(summary::gaps(report).into_iter().map(|gap| message("warn", format!("{gap}."))));
    }
    out.push(message("info", format!("{}.", summary::read(report))));
    let own = report.allowed.iter().filter(|allowed| allowed.added_by_change).count();
    if own > 0 {
        out.push(message("warn", format!("{own} allowed by the change under scan itself.")));
    }
    let counted = summary::allowed(report).into_iter().chain(summary::hidden(report));
    out.extend(counted.map(|text| message("info", format!("{text}."))));
    out.extend(report.notices.iter().filter(|n| !n.is_empty()).map(|n| message("info", veil.text(n))));
    out
}

fn vulnerability(finding: &Finding, style: &Style, veil: &Veil<'_>) -> Vulnerability {
    let rule = &finding.rule;
    let place = finding.place();
    let name = prose(&rule.name);
    let id = prose(&rule.id);
    let description = match prose(&rule.description) {
        text if text.is_empty() => name.clone(),
        text => text,
    };
    let whereabouts = Whereabouts::of(finding);
    let commit = whereabouts.introduced.map(|(commit, _)| Commit {
        sha: commit.id.clone(),
        author: Some(veil.text(&commit.author)),
        date: location::rfc3339(commit.time),
    });
    let file = file(place, veil);
    let url = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    Vulnerability {
        id: uuid(finding),
        name: name.chars().take(MAX_NAME).collect(),
        description,
        severity: match rule.severity {
            Severity::Critical => "Critical",
            Severity::High => "High",
            Severity::Medium => "Medium",
            Severity::Low => "Low",
        },
        solution: prose(&rule.remediation).chars().take(MAX_SOLUTION).collect(),
        identifiers: [Identifier {
            kind: "claviger_rule_id",
            name: format!("claviger rule {id}"),
            value: id.clone(),
        }],
        links: [("Rotation", &rule.rotate), ("Format", &rule.docs)]
            .into_iter()
            .filter(|(_, link)| url(link))
            .map(|(name, link)| Link { name, url: prose(link) })
            .collect(),
        location: Location {
            file: file.clone(),
            start_line: place.line,
            end_line: place.end_line,
            commit: commit.unwrap_or_else(|| Commit { sha: NO_COMMIT.to_owned(), author: None, date: None }),
        },
        details: details(finding, &whereabouts, veil),
        tracking: Tracking {
            kind: "source",
            items: [TrackingItem {
                file,
                start_line: place.line,
                end_line: place.end_line,
                signatures: [Signature {
                    algorithm: "rule_value",
                    value: format!("{id}:{}", finding.fingerprint),
                }],
            }],
        },
        raw_source_code_extract: style.show_secrets.then(|| {
            let (text, _) = exposed(&finding.secret);
            text.unwrap_or_else(|| printable(finding.secret.expose()))
        }),
    }
}

fn file(place: &Place, veil: &Veil<'_>) -> String {
    veil.bytes(&location::from_root(place))
}

fn details(
    finding: &Finding,
    whereabouts: &Whereabouts<'_>,
    veil: &Veil<'_>,
) -> BTreeMap<&'static str, Detail> {
    let text = |name: &'static str, value: String| Detail { name: name.into(), value: Value::Text { value } };
    let mut out = BTreeMap::from([
        ("confidence", text("Confidence", finding.confidence.to_string())),
        ("fingerprint", text("Fingerprint", finding.fingerprint.to_string())),
        ("now", text("Now", whereabouts.now(veil))),
        ("preview", text("Preview", veil.text(&finding.place().excerpt))),
    ]);
    let facts: Vec<Value> = finding
        .details
        .iter()
        .map(|(name, value)| Value::Text { value: format!("{name}: {}", veil.text(value)) })
        .collect();
    if !facts.is_empty() {
        out.insert(
            "facts",
            Detail { name: "Read from the secret".into(), value: Value::List { items: facts } },
        );
    }
    let more: Vec<&Place> = further(finding).collect();
    if !more.is_empty() {
        let name = format!("Also at ({})", more.len());
        let items = more.iter().take(PLACES).map(|place| spot(place, veil)).collect();
        out.insert("places", Detail { name: name.into(), value: Value::List { items } });
    }
    out
}

fn spot(place: &Place, veil: &Veil<'_>) -> Value {
    match place.kind {
        PlaceKind::CommitMessage | PlaceKind::TagMessage | PlaceKind::PathName | PlaceKind::Stdin => {
            Value::Text { value: location::address(place, veil) }
        }
        _ => Value::FileLocation {
            file_name: file(place, veil),
            line_start: place.line,
            line_end: place.end_line,
        },
    }
}

/// A UUID (RFC 9562, version 8) that is the same in every scan that finds the secret.
fn uuid(finding: &Finding) -> String {
    let mut hash = Sha256::new();
    hash.update(finding.rule.id.as_bytes());
    hash.update([0]);
    hash.update(finding.fingerprint.as_str().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
