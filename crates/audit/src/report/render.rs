//! A report as text for a terminal, as Markdown for a step summary, and as JSON.

use std::fmt::Write;

use super::{Report, Usage};
use crate::query::printable;

/// One table of a report, as every page shows it.
pub(super) struct Section {
    /// For links within a page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What an empty table means.
    pub(super) empty: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
}

/// The columns of a usage table.
const USAGE: &[&str] = &["Name", "Issued", "Renewed", "Read", "Refused", "Failed"];

/// Every table, in the order of the page: what needs a person first.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let section = |id, title, empty, columns, rows| Section { id, title, empty, columns, rows };
    let rows = |cells: Vec<Vec<String>>| cells;
    vec![
        section(
            "anomalies",
            "Anomalies",
            "No rule raised anything.",
            &["Time", "Rule", "About", "What", "Events", "To silence"],
            rows(
                report
                    .anomalies
                    .iter()
                    .map(|a| {
                        let evidence = a.evidence.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
                        vec![
                            a.time.clone(),
                            a.rule.into(),
                            a.subject.clone(),
                            a.what.clone(),
                            evidence,
                            a.silence.clone(),
                        ]
                    })
                    .collect(),
            ),
        ),
        section(
            "revocations",
            "Revocations that failed",
            "Every revocation was confirmed at once.",
            &["Since", "Identity", "Provider", "Failed attempts", "Ended", "Last event"],
            rows(
                report
                    .revocations
                    .iter()
                    .map(|r| {
                        let ended = if r.ended { "yes" } else { "no" };
                        vec![
                            r.since.clone(),
                            r.identity.clone(),
                            r.provider.clone(),
                            r.attempts.to_string(),
                            ended.into(),
                            r.index.to_string(),
                        ]
                    })
                    .collect(),
            ),
        ),
        section(
            "secrets",
            "Static secrets that are too old",
            "Every static secret was rotated in time.",
            &["Secret", "Last changed", "Age (days)", "Late (days)", "Readers"],
            rows(
                report
                    .secrets
                    .iter()
                    .map(|s| {
                        let (changed, age) = match s.changed.as_str() {
                            "" => ("before this log".to_owned(), "unknown".to_owned()),
                            at => (at.to_owned(), s.age_days.to_string()),
                        };
                        vec![s.name.clone(), changed, age, s.late_days.to_string(), s.readers.to_string()]
                    })
                    .collect(),
            ),
        ),
        section(
            "refusals",
            "Refusals by reason",
            "Nothing was refused.",
            &["Reason", "Count", "Identities", "Last event"],
            rows(
                report
                    .refusals
                    .iter()
                    .map(|r| {
                        vec![
                            r.reason.clone(),
                            r.count.to_string(),
                            r.identities.to_string(),
                            r.last.to_string(),
                        ]
                    })
                    .collect(),
            ),
        ),
        section(
            "unused",
            "Granted and never used",
            "Every grant was used, or uses are not logged.",
            &["Identity", "Role", "Credentials issued"],
            rows(
                report
                    .unused
                    .iter()
                    .map(|u| vec![u.identity.clone(), u.role.clone(), u.issued.to_string()])
                    .chain(
                        report
                            .unused_roles
                            .iter()
                            .map(|role| vec!["nobody".into(), role.clone(), "0".into()]),
                    )
                    .collect(),
            ),
        ),
        section(
            "first-uses",
            "First uses",
            "Nobody used anything for the first time, or the period begins with the log.",
            &["Time", "Identity", "Role or secret", "Event"],
            rows(
                report
                    .first_uses
                    .iter()
                    .map(|f| vec![f.time.clone(), f.identity.clone(), f.what.clone(), f.index.to_string()])
                    .collect(),
            ),
        ),
        section("identities", "Usage by identity", "No usage.", USAGE, usage(&report.identities)),
        section("providers", "Usage by provider", "No usage.", USAGE, usage(&report.providers)),
        section("environments", "Usage by environment", "No usage.", USAGE, usage(&report.environments)),
        section(
            "lengths",
            "Leases by length",
            "No lease was issued.",
            &["Length", "Leases"],
            rows(report.lengths.iter().map(|l| vec![l.label.clone(), l.count.to_string()]).collect()),
        ),
    ]
}

fn usage(all: &[Usage]) -> Vec<Vec<String>> {
    let cells = |u: &Usage| {
        let counts = [u.issued, u.renewed, u.read, u.refused, u.failed];
        std::iter::once(u.name.clone()).chain(counts.iter().map(u64::to_string)).collect()
    };
    all.iter().map(cells).collect()
}

/// The numbers at the top of every page.
pub(super) fn headline(report: &Report) -> Vec<(&'static str, String)> {
    let total = &report.total;
    vec![
        ("Events", grouped(report.events)),
        ("Credentials issued", grouped(total.issued)),
        ("Secrets read", grouped(total.read)),
        ("Refused", grouped(total.refused)),
        ("Failed", grouped(total.failed)),
        ("Anomalies", grouped(report.anomalies.len() as u64)),
    ]
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The report as JSON.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has only text, numbers and lists");
    text.push('\n');
    text
}

/// The report for a terminal, each table cut after `limit` rows.
pub fn terminal(report: &Report, limit: usize) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&format!("{} from {} to {}", report.origin, report.from, report.to));
    line(&format!("{} entries, root {}", report.size, report.root));
    for (name, value) in headline(report) {
        line(&format!("  {name:<20}{value:>12}"));
    }
    for section in sections(report) {
        line("");
        line(&format!("{} ({})", section.title, section.rows.len()));
        if section.rows.is_empty() {
            line(&format!("  {}", section.empty));
            continue;
        }
        let shown: Vec<Vec<String>> = section
            .rows
            .iter()
            .take(limit)
            .map(|row| row.iter().map(|cell| printable(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = shown.iter().map(|row| row[column].chars().count());
            cells.chain([section.columns[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..section.columns.len()).map(width).collect();
        let pad = |cells: &mut dyn Iterator<Item = &str>| {
            cells.zip(&widths).map(|(cell, width)| format!("  {cell:<width$}")).collect::<String>()
        };
        line(&pad(&mut section.columns.iter().copied()));
        for row in &shown {
            line(&pad(&mut row.iter().map(String::as_str)));
        }
        if section.rows.len() > limit {
            line(&format!("  ... and {} more", section.rows.len() - limit));
        }
    }
    out
}

/// The report as Markdown, each table cut after `limit` rows.
pub fn markdown(report: &Report, limit: usize) -> String {
    let mut out = String::new();
    let mut add = |text: String| writeln!(out, "{text}").expect("strings grow");
    add(format!("# Credentials: {}\n", cell(&report.origin)));
    add(format!("{} to {}, {} entries, root `{}`\n", report.from, report.to, report.size, report.root));
    let numbers = headline(report);
    add(format!("| {} |", numbers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" | ")));
    add(format!("|{}", " ---: |".repeat(numbers.len())));
    add(format!("| {} |", numbers.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" | ")));
    for section in sections(report) {
        add(format!("\n## {}\n", section.title));
        if section.rows.is_empty() {
            add(section.empty.to_owned());
            continue;
        }
        add(format!("| {} |", section.columns.join(" | ")));
        add(format!("|{}", " --- |".repeat(section.columns.len())));
        for row in section.rows.iter().take(limit) {
            add(format!("| {} |", row.iter().map(|text| cell(text)).collect::<Vec<_>>().join(" | ")));
        }
        if section.rows.len() > limit {
            add(format!("\n... and {} more", section.rows.len() - limit));
        }
    }
    out
}

/// Text that is only text in a Markdown table: no markup, no HTML, no mention, no link.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '@' => safe.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' | '>' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}
