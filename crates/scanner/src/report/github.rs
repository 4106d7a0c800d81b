//! Workflow commands for GitHub Actions: lines on standard output that become annotations.
//!
//! GitHub shows ten errors and ten warnings of a step and drops the others in silence. So the worst come first, an
//! incomplete scan before them all, and a notice says how many there are. Everything is in the log in any case.

use std::io;

use super::veil::{Veil, prose};
use super::whereabouts::Whereabouts;
use super::{Allowed, Report, Style, location, summary};
use crate::finding::{Finding, PlaceKind};
use crate::rule::Severity;

/// Annotations of one level that GitHub shows for a step.
const SHOWN: usize = 10;
/// Allowed findings that are named.
const LISTED: usize = 20;

pub(super) fn write(report: &Report, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = Veil::over(report)?;
    let incomplete = summary::incomplete(report);
    if let Some(sentence) = incomplete {
        let gaps = summary::gaps(report);
        let text = [vec![sentence.to_owned()], gaps].concat().join("\n");
        writeln!(out, "::error title={}::{}", property("claviger: incomplete scan"), data(&text))?;
    }
    for severity in summary::SEVERITIES {
        if severity == Severity::Medium {
            self_allowed(report, &veil, out)?;
        }
        for finding in report.findings.iter().filter(|f| f.rule.severity == severity) {
            annotate(finding, &veil, out)?;
        }
    }
    writeln!(out, "::notice title=claviger::{}", data(&total(report, incomplete.is_some(), &veil)))
}

/// One warning for all that the change under scan allows itself: a reviewer must not miss it among others.
fn self_allowed(report: &Report, veil: &Veil<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    let own: Vec<&Allowed> = report.allowed.iter().filter(|a| a.added_by_change).collect();
    if own.is_empty() {
        return Ok(());
    }
    let many = summary::count(own.len() as u64, "finding is allowed", "findings are allowed");
    let mut lines = vec![format!("{many} by this change itself.")];
    lines.extend(own.iter().take(LISTED).map(|allowed| {
        let address = location::address(allowed.finding.place(), veil);
        let name = prose(&allowed.finding.rule.name);
        let reason = veil.text(allowed.by.reason());
        format!("{address}: {name}, by {} {reason}", allowed.by.as_str()).trim_end().to_owned()
    }));
    if own.len() > LISTED {
        lines.push(format!("and {} more", own.len() - LISTED));
    }
    writeln!(
        out,
        "::warning title={}::{}",
        property("claviger: allowed by this change"),
        data(&lines.join("\n"))
    )
}

fn annotate(finding: &Finding, veil: &Veil<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    let place = finding.place();
    let rule = &finding.rule;
    let command = if is_error(finding) { "error" } else { "warning" };
    let file = property(&veil.bytes(&location::from_root(place)));
    write!(out, "::{command} file={file},line={},endLine={}", place.line, place.end_line)?;
    // GitHub takes columns only within one line.
    if place.line == place.end_line && place.kind != PlaceKind::PathName {
        write!(out, ",col={},endColumn={}", place.column, place.end_column)?;
    }
    let title = format!("{} ({})", prose(&rule.name), prose(&rule.id));
    let whereabouts = Whereabouts::of(finding);
    let mut text = format!(
        "{} severity, {} confidence: {}\nat {}\n",
        rule.severity,
        finding.confidence,
        finding.secret.redacted(),
        location::address(place, veil)
    );
    if let Some((commit, _)) = whereabouts.introduced {
        text += &format!("introduced in {}\n", location::commit(commit, veil));
    }
    text += &format!("now {}\n{}", whereabouts.now(veil), prose(&rule.remediation));
    if !rule.rotate.is_empty() {
        text += &format!("\n{}", prose(&rule.rotate));
    }
    text += &format!("\nfingerprint {}", finding.fingerprint);
    writeln!(out, ",title={}::{}", property(&title), data(&text))
}

fn is_error(finding: &Finding) -> bool {
    finding.rule.severity >= Severity::High
}

fn total(report: &Report, incomplete: bool, veil: &Veil<'_>) -> String {
    let severe = report.findings.iter().filter(|f| is_error(f)).count();
    let errors = severe + usize::from(incomplete);
    let own = report.allowed.iter().any(|allowed| allowed.added_by_change);
    let warnings = report.findings.len() - severe + usize::from(own);
    let mut lines = vec![format!("{}.", summary::verdict(report))];
    if errors > SHOWN || warnings > SHOWN {
        lines.push(format!(
            "GitHub shows {SHOWN} errors and {SHOWN} warnings of a step; the log has all of them."
        ));
    }
    lines.push(format!("{}.", summary::read(report)));
    lines
        .extend(summary::allowed(report).into_iter().chain(summary::hidden(report)).map(|s| format!("{s}.")));
    lines.extend(report.notices.iter().map(|notice| veil.text(notice)));
    lines.join("\n")
}

/// A message as GitHub unescapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property as GitHub unescapes it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_escaped() {
        assert_eq!(data("50%\r\n::x"), "50%25%0D%0A::x");
        assert_eq!(property("a: b, c"), "a%3A b%2C c");
        // Nothing in the library's own escapes of paths can end a property either.
        assert_eq!(property("x\\u{1b}"), "x\\u{1b}");
    }
}
