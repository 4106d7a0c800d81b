//! SARIF 2.1.0, within the limits that GitHub documents for code scanning.
//!
//! **Columns.** SARIF counts UTF-16 units or code points, claviger counts bytes, and nobody converts one to the other
//! without the text. Columns are given as they are: right on every line whose part before the secret is ASCII, a
//! little too far right on others. Files also get `byteOffset` and `byteLength`, which are always exact.
//!
//! **What is no file** (messages, standard input) gets an address that no tracked file can have, see
//! [`location::from_root`], and a logical location that says what it is.
//!
//! Secrets are never in here, whatever the flags: these files are made to be uploaded. Times are left out, so that two
//! scans of the same give the same file.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::json::Each;
use super::veil::{Veil, prose};
use super::whereabouts::{Whereabouts, further};
use super::{Allowed, AllowedBy, Report, Style, location, summary};
use crate::finding::{Finding, Place, PlaceKind};
use crate::rule::{Confidence, Rule, Severity};

/// Results that GitHub accepts for a run.
const MAX_RESULTS: usize = 25_000;
/// Further places of a result. GitHub shows 100, but 25,000 results must stay under 10 MB of gzip.
const MAX_RELATED: usize = 20;
/// Bytes of a description that GitHub shows.
const MAX_DESCRIPTION: usize = 1_000;

pub(super) fn write(report: &Report, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = Veil::over(report)?;
    let chosen = chosen(report);
    let mut rules: BTreeMap<&str, &Rule> = BTreeMap::new();
    rules.extend(chosen.iter().map(|(finding, _)| (&*finding.rule.id, &finding.rule)));
    let index: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(at, id)| (*id, at)).collect();
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver: driver(report, &rules) },
            invocations: [Invocation {
                execution_successful: report.is_complete(),
                tool_execution_notifications: notifications(report, chosen.len(), &veil),
            }],
            column_kind: "utf16CodeUnits",
            results: Each(&chosen, |(finding, allowed): &Chosen<'_>| {
                result(finding, *allowed, index[&*finding.rule.id], &veil)
            }),
            properties: RunProperties {
                columns: "counted in bytes",
                rules_run: report.rules,
                rules_digest: &report.rules_digest,
                coverage: summary::read(report),
            },
        }],
    };
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

type Chosen<'a> = (&'a Finding, Option<&'a Allowed>);

/// What goes in: everything that counts and what is allowed, or, if that is too much, the worst of it, in the order of
/// the report.
fn chosen(report: &Report) -> Vec<Chosen<'_>> {
    let findings = report.findings.iter().map(|finding| (finding, None));
    let allowed = report.allowed.iter().map(|allowed| (&allowed.finding, Some(allowed)));
    let mut all: Vec<(usize, Chosen<'_>)> = findings.chain(allowed).enumerate().collect();
    if all.len() > MAX_RESULTS {
        all.sort_by_key(|(at, (finding, allowed))| {
            (allowed.is_some(), std::cmp::Reverse(finding.rule.severity), *at)
        });
        all.truncate(MAX_RESULTS);
        all.sort_by_key(|(at, _)| *at);
    }
    all.into_iter().map(|(_, chosen)| chosen).collect()
}

#[derive(Serialize)]
struct Log<'a, R: Serialize> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a, R>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a, R: Serialize> {
    tool: Tool<'a>,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: R,
    properties: RunProperties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunProperties<'a> {
    columns: &'static str,
    rules_run: usize,
    rules_digest: &'a str,
    coverage: String,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'static str,
    organization: &'static str,
    version: &'a str,
    semantic_version: &'a str,
    information_uri: &'static str,
    rules: Vec<Descriptor>,
    notifications: Vec<NotificationDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: String,
    name: String,
    short_description: Text,
    full_description: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<String>,
    help: Help,
    default_configuration: Configuration,
    properties: RuleProperties,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
struct Help {
    text: String,
    markdown: String,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct RuleProperties {
    tags: Vec<String>,
    precision: &'static str,
    #[serde(rename = "problem.severity")]
    problem_severity: &'static str,
    #[serde(rename = "security-severity")]
    security_severity: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NotificationDescriptor {
    id: &'static str,
    short_description: Text,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    descriptor: DescriptorReference,
    level: &'static str,
    message: Text,
}

#[derive(Serialize)]
struct DescriptorReference {
    id: &'static str,
    index: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultWire {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: [Location; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    suppressions: Vec<Suppression>,
    properties: ResultProperties,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_offset: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_length: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultProperties {
    severity: &'static str,
    confidence: &'static str,
    preview: String,
    places: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<&'static str, String>,
}

fn driver<'a>(report: &'a Report, rules: &BTreeMap<&str, &Rule>) -> Driver<'a> {
    Driver {
        name: "claviger",
        organization: "claviger",
        version: report.version,
        semantic_version: report.version,
        information_uri: env!("CARGO_PKG_REPOSITORY"),
        rules: rules.values().map(|rule| descriptor(rule)).collect(),
        notifications: NOTES
            .iter()
            .map(|(id, text)| NotificationDescriptor {
                id,
                short_description: Text { text: (*text).to_owned() },
            })
            .collect(),
    }
}

fn descriptor(rule: &Rule) -> Descriptor {
    let remediation = prose(&rule.remediation);
    let links: Vec<(&str, String)> = [("Rotation", &rule.rotate), ("Format", &rule.docs)]
        .into_iter()
        .filter(|(_, url)| is_url(url))
        .map(|(name, url)| (name, prose(url)))
        .collect();
    let plain: String = links.iter().map(|(name, url)| format!("\n{name}: {url}")).collect();
    let linked: String = links.iter().map(|(name, url)| format!("\n- [{name}]({url})")).collect();
    let name = prose(&rule.name);
    let description = match prose(&rule.description) {
        text if text.is_empty() => format!("{name}."),
        text => text,
    };
    Descriptor {
        id: prose(&rule.id),
        name: pascal(&rule.id),
        short_description: Text { text: format!("{name}.") },
        full_description: Text { text: cut(&description, MAX_DESCRIPTION) },
        help_uri: [&rule.rotate, &rule.docs].into_iter().find(|url| is_url(url)).map(|url| prose(url)),
        help: Help {
            text: format!("{remediation}{plain}"),
            markdown: format!("**{name}**\n\n{description}\n\n{remediation}\n{linked}"),
        },
        default_configuration: Configuration { level: level(rule.severity) },
        properties: RuleProperties {
            tags: vec![
                "security".to_owned(),
                "secret".to_owned(),
                "external/cwe/cwe-798".to_owned(),
                format!("provider/{}", prose(&rule.provider)),
            ],
            precision: match rule.confidence {
                Confidence::High => "high",
                Confidence::Medium => "medium",
                Confidence::Low => "low",
            },
            problem_severity: match rule.severity {
                Severity::Critical | Severity::High => "error",
                Severity::Medium => "warning",
                Severity::Low => "recommendation",
            },
            security_severity: match rule.severity {
                Severity::Critical => "9.5",
                Severity::High => "8.0",
                Severity::Medium => "5.5",
                Severity::Low => "3.0",
            },
        },
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// `github-pat` as SARIF likes names: `GithubPat`.
fn pascal(id: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    prose(&id.split(['-', '_', '.']).map(word).collect::<String>())
}

/// At most so many bytes, ending with a whole character.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

const INCOMPLETE: usize = 0;
const CUT: usize = 1;
const ALLOWED_BY_CHANGE: usize = 2;
const LEFT_OUT: usize = 3;
const NOTICE: usize = 4;

/// Notifications: id and meaning, at the indices above.
const NOTES: [(&str, &str); 5] = [
    ("incomplete", "Something that a complete scan reads was not read."),
    ("cut", "There are more results than this format may hold."),
    ("allowed-by-change", "The change under scan allows findings of its own."),
    ("left-out", "Something was left out, as asked for or as git has it."),
    ("notice", "Something the user should know."),
];

fn notifications(report: &Report, kept: usize, veil: &Veil<'_>) -> Vec<Notification> {
    let note = |index: usize, level: &'static str, text: String| Notification {
        descriptor: DescriptorReference { id: NOTES[index].0, index },
        level,
        message: Text { text },
    };
    let mut out = Vec::new();
    if let Some(sentence) = summary::incomplete(report) {
        out.push(note(INCOMPLETE, "error", sentence.to_owned()));
        out.extend(summary::gaps(report).into_iter().map(|gap| note(INCOMPLETE, "error", format!("{gap}."))));
    }
    let all = report.findings.len() + report.allowed.len();
    if kept < all {
        let text = format!(
            "Only {kept} of {all} results are in this file, the worst first: code scanning takes no more. \
             Another format has them all."
        );
        out.push(note(CUT, "error", text));
    }
    let own = report.allowed.iter().filter(|allowed| allowed.added_by_change).count();
    if own > 0 {
        let text = format!(
            "{} by the change under scan itself.",
            summary::count(own as u64, "finding is allowed", "findings are allowed")
        );
        out.push(note(ALLOWED_BY_CHANGE, "warning", text));
    }
    let left_out = summary::left_out(report).into_iter().chain(summary::hidden(report));
    out.extend(left_out.map(|text| note(LEFT_OUT, "note", format!("{text}."))));
    out.extend(report.notices.iter().map(|text| note(NOTICE, "note", veil.text(text))));
    out
}

fn result(finding: &Finding, allowed: Option<&Allowed>, rule_index: usize, veil: &Veil<'_>) -> ResultWire {
    let more: Vec<&Place> = further(finding).collect();
    let related = more.iter().take(MAX_RELATED).enumerate().map(|(at, place)| {
        let mut related = location(place, veil);
        related.id = Some(at + 1);
        related.message = Some(Text { text: no_links(location::address(place, veil)) });
        related
    });
    ResultWire {
        rule_id: prose(&finding.rule.id),
        rule_index,
        level: level(finding.rule.severity),
        message: Text { text: no_links(message(finding, more.len(), veil)) },
        locations: [location(finding.place(), veil)],
        related_locations: related.collect(),
        partial_fingerprints: BTreeMap::from([("claviger/v1", finding.fingerprint.to_string())]),
        suppressions: allowed.map(|allowed| suppression(allowed, veil)).into_iter().collect(),
        properties: ResultProperties {
            severity: finding.rule.severity.as_str(),
            confidence: finding.confidence.as_str(),
            preview: finding.secret.redacted(),
            places: finding.places.len(),
            details: finding.details.iter().map(|(name, value)| (*name, veil.text(value))).collect(),
        },
    }
}

fn message(finding: &Finding, further: usize, veil: &Veil<'_>) -> String {
    let whereabouts = Whereabouts::of(finding);
    let mut text = format!("{} '{}'", prose(&finding.rule.name), finding.secret.redacted());
    if let Some((commit, _)) = whereabouts.introduced {
        text += &format!(", introduced in {}", location::commit(commit, veil));
    }
    text += &format!(". It is {}.", whereabouts.now(veil));
    if further > 0 {
        text += &format!(" Also at {}.", summary::count(further as u64, "more place", "more places"));
    }
    text
}

/// A message in which nothing is taken for a link of SARIF's: `[text](1)`.
fn no_links(text: String) -> String {
    if !text.contains("](") {
        return text;
    }
    text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]")
}

fn location(place: &Place, veil: &Veil<'_>) -> Location {
    let is_message =
        matches!(place.kind, PlaceKind::CommitMessage | PlaceKind::TagMessage | PlaceKind::Stdin);
    let logical = is_message.then(|| LogicalLocation {
        fully_qualified_name: location::name(place, veil),
        kind: place.kind.as_str(),
    });
    // A name is at no line; code scanning wants one. Offsets count in the file; of messages only a part is scanned.
    let is_name = place.kind == PlaceKind::PathName;
    let is_content = !is_message && !is_name;
    let region = Region {
        start_line: if is_name { 1 } else { place.line },
        start_column: if is_name { 1 } else { place.column },
        end_line: if is_name { 1 } else { place.end_line },
        end_column: if is_name { 1 } else { place.end_column },
        byte_offset: is_content.then_some(place.span.start),
        byte_length: is_content.then_some(place.span.len()),
    };
    Location {
        id: None,
        physical_location: PhysicalLocation {
            artifact_location: ArtifactLocation { uri: location::uri(place, veil) },
            region,
        },
        logical_locations: logical.into_iter().collect(),
        message: None,
    }
}

fn suppression(allowed: &Allowed, veil: &Veil<'_>) -> Suppression {
    let (kind, by) = match &allowed.by {
        AllowedBy::Inline { marker, .. } => ("inSource", format!("inline marker {marker}")),
        AllowedBy::IgnoreFile { line, .. } => ("external", format!("ignore file, line {line}")),
        AllowedBy::Baseline => ("external", "baseline".to_owned()),
    };
    let reason = veil.text(allowed.by.reason());
    Suppression {
        kind,
        // What a change allows itself is for its reviewer to accept.
        status: if allowed.added_by_change { "underReview" } else { "accepted" },
        justification: if reason.is_empty() { by } else { format!("{by}: {reason}") },
    }
}
