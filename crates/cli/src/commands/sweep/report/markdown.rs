//! The report as Markdown, for an issue.
//!
//! What was not scanned comes first and is never cut; findings follow as far as an issue takes them, and a line says how
//! many did not fit. Outside texts are written as HTML entities and are never read as Markdown, mentions or links.

use std::fmt::Write as _;
use std::io;

use super::{Change, Finding, Report};

/// Most characters of an issue are 65,536 on GitHub; the head may take some of them.
const BUDGET: usize = 50_000;
/// Repositories that are listed one by one for each finding.
const LISTED: usize = 5;
/// Characters of an outside text.
const MAX_TEXT: usize = 200;

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut text =
        format!("## Secrets in {} repositories\n\n{}\n", report.counts.repositories, report.headline());
    let gaps: Vec<String> =
        report.gaps().map(|gap| format!("| {} | {} |\n", cell(&gap.name), cell(&gap.why))).collect();
    if !gaps.is_empty() {
        text += "\n### Not scanned, or not wholly\n\n| Repository | Why |\n| --- | --- |\n";
        text.extend(gaps);
    }
    if report.owners.len() > 1 || report.owners.keys().any(|owner| !owner.is_empty()) {
        text += "\n### Owners\n\n| Owner | New | Still there | Gone |\n| --- | --- | --- | --- |\n";
        for (owner, share) in &report.owners {
            let name = if owner.is_empty() { "nobody".to_owned() } else { cell(owner) };
            let _ = writeln!(text, "| {name} | {} | {} | {} |", share.new, share.still, share.gone);
        }
    }
    let mut left = BUDGET;
    let mut cut = 0;
    for (change, title) in [(Change::New, "New"), (Change::Still, "Still there"), (Change::Gone, "Gone")] {
        let of: Vec<&Finding> = report.findings.iter().filter(|finding| finding.change == change).collect();
        if of.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n### {title}\n\n| Severity | Secret | Where | Owners | Fingerprint |\n| --- | --- | --- | --- | --- |\n"
        );
        for finding in of {
            let row = row(finding);
            if cut > 0 || row.len() > left {
                cut += 1;
                continue;
            }
            left -= row.len();
            text += &row;
        }
    }
    if cut > 0 {
        let _ = writeln!(text, "\n{cut} more findings do not fit here; the other formats have all.");
    }
    out.write_all(text.as_bytes())
}

fn row(finding: &Finding) -> String {
    let places = finding.repositories.iter().take(LISTED).map(|one| {
        let spot = one.places.iter().find(|spot| spot.in_head).or(one.places.first());
        let at = spot.map(|spot| match spot.path.as_str() {
            "" => spot.kind.clone(),
            path => format!("{path}:{}{}", spot.line, if spot.in_head { "" } else { " (history)" }),
        });
        format!("{} {}", cell(&one.repository), cell(&at.unwrap_or_default()))
    });
    let mut places: Vec<String> = places.collect();
    if finding.repositories.len() > LISTED {
        places.push(format!("and {} more repositories", finding.repositories.len() - LISTED));
    }
    format!(
        "| {} | {} {} | {} | {} | {} |\n",
        cell(&finding.severity),
        cell(&finding.title),
        cell(&finding.preview),
        places.join("<br>"),
        cell(&finding.owners.join(" ")),
        cell(&finding.fingerprint),
    )
}

/// An outside text as entities: whatever is no letter, digit or blank.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(MAX_TEXT) {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, ' ' | '/' | ',') => out.push(c),
            c if c.is_ascii() || c.is_control() => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out
}
