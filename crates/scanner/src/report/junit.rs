//! The report as JUnit XML: a failed test for each finding, a skipped one for each allowed finding, and one test that
//! asks whether the scan saw everything. The suite is never empty, and an incomplete scan never passes.

use std::io;

use super::veil::{Veil, prose};
use super::whereabouts::{Whereabouts, further};
use super::{Report, Style, location, summary};
use crate::finding::Finding;

/// Further places that are listed by name.
const PLACES: usize = 20;

pub(super) fn write(report: &Report, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = Veil::over(report)?;
    let incomplete = summary::incomplete(report);
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        report.findings.len() + report.allowed.len() + 1,
        report.findings.len(),
        u8::from(incomplete.is_some()),
        report.allowed.len()
    );
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites name=\"claviger\" {counts}>")?;
    writeln!(out, "  <testsuite name=\"claviger\" {counts}>")?;
    properties(report, &veil, out)?;
    for finding in &report.findings {
        case(finding, &veil, out)?;
        let rule = &finding.rule;
        let message = format!("{}: {}", prose(&rule.name), finding.secret.redacted());
        writeln!(
            out,
            "      <failure type=\"{}\" message=\"{}\">{}</failure>",
            escape(rule.severity.as_str()),
            escape(&message),
            escape(&story(finding, &veil))
        )?;
        writeln!(out, "    </testcase>")?;
    }
    for allowed in &report.allowed {
        case(&allowed.finding, &veil, out)?;
        let added = if allowed.added_by_change { ", added by the change under scan" } else { "" };
        let message =
            format!("allowed by {}{added}: {}", allowed.by.as_str(), veil.text(allowed.by.reason()));
        writeln!(out, "      <skipped message=\"{}\"/>", escape(message.trim_end_matches(": ")))?;
        writeln!(out, "    </testcase>")?;
    }
    completeness(report, incomplete, &veil, out)?;
    writeln!(out, "  </testsuite>")?;
    writeln!(out, "</testsuites>")
}

fn properties(report: &Report, veil: &Veil<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "    <properties>")?;
    let mut property = |name: &str, value: &str| {
        writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", escape(value))
    };
    property("version", report.version)?;
    property("rules_digest", &report.rules_digest)?;
    property("coverage", &summary::read(report))?;
    if let Some(hidden) = summary::hidden(report) {
        property("hidden", &hidden)?;
    }
    for notice in &report.notices {
        property("notice", &veil.text(notice))?;
    }
    writeln!(out, "    </properties>")
}

/// Opens the test case of a finding. Its name must be unique, and the same when lines move.
fn case(finding: &Finding, veil: &Veil<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    let place = finding.place();
    let name = format!("{} {}", location::name(place, veil), finding.fingerprint);
    writeln!(
        out,
        "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\">",
        escape(&prose(&finding.rule.id)),
        escape(&name),
        escape(&veil.bytes(&location::from_root(place))),
        place.line
    )
}

fn story(finding: &Finding, veil: &Veil<'_>) -> String {
    let place = finding.place();
    let rule = &finding.rule;
    let whereabouts = Whereabouts::of(finding);
    let mut lines = vec![
        format!("at {}", location::address(place, veil)),
        format!("    {}", veil.text(&place.excerpt)),
        format!("severity {}, confidence {}", rule.severity, finding.confidence),
    ];
    if let Some((commit, _)) = whereabouts.introduced {
        lines.push(format!("introduced in {}", location::commit(commit, veil)));
    }
    lines.push(format!("now {}", whereabouts.now(veil)));
    let more: Vec<_> = further(finding).collect();
    lines.extend(more.iter().take(PLACES).map(|place| format!("also at {}", location::address(place, veil))));
    if more.len() > PLACES {
        lines.push(format!("and at {} more places", more.len() - PLACES));
    }
    lines.extend(finding.details.iter().map(|(name, value)| format!("{name}: {}", veil.text(value))));
    lines.push(prose(&rule.remediation));
    if !rule.rotate.is_empty() {
        lines.push(prose(&rule.rotate));
    }
    lines.push(format!("fingerprint {}", finding.fingerprint));
    lines.join("\n")
}

/// The test that an incomplete scan fails.
fn completeness(
    report: &Report,
    incomplete: Option<&str>,
    veil: &Veil<'_>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    write!(out, "    <testcase classname=\"claviger\" name=\"the scan saw everything\"")?;
    let Some(sentence) = incomplete else {
        return writeln!(out, "/>");
    };
    let mut lines = summary::gaps(report);
    let named = summary::named_gaps(report);
    let name = |skip: &&crate::coverage::Skip| {
        format!("{}: {} {}", skip.reason.as_str(), veil.text(&skip.what), veil.text(&skip.detail))
    };
    lines.extend(named.iter().take(PLACES).map(name));
    if named.len() > PLACES {
        lines.push(format!("and {} more", named.len() - PLACES));
    }
    writeln!(out, ">")?;
    writeln!(
        out,
        "      <error type=\"incomplete\" message=\"{}\">{}</error>",
        escape(sentence),
        escape(&lines.join("\n"))
    )?;
    writeln!(out, "    </testcase>")
}

/// Text for XML 1.0, in content and in attributes. Control characters are escapes already; the two non-characters that
/// XML forbids and printing does not mind become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
