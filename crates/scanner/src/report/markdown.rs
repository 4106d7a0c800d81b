//! The report as GitHub-flavoured Markdown, for the summary of a step.
//!
//! GitHub refuses a step summary over 1 MiB, and a refused one says nothing. So this one has a budget: what the scan
//! as a whole says comes first and is never cut, then the table, then details as far as they fit; a line says what did
//! not. Outside texts are written as HTML entities and are never read as Markdown, HTML, mentions or links.

use std::io;

use super::veil::{Veil, prose};
use super::whereabouts::{Whereabouts, further};
use super::{Report, Style, location, summary};
use crate::finding::Finding;

/// Most bytes; GitHub takes 1,048,576 for all summaries of a step.
const BUDGET: usize = 1_000_000;
/// Bytes that the table may take; the rest is for details.
const TABLE: usize = 600_000;
/// Bytes kept for the lines that say what was cut.
const RESERVE: usize = 1_000;
/// Notices, gaps, allowed findings and further places that are listed one by one.
const LISTED: usize = 20;
/// Characters of an outside text; paths can be of any length.
const MAX_TEXT: usize = 300;

pub(super) fn write(report: &Report, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = Veil::over(report)?;
    let head = head(report, &veil);
    out.write_all(head.as_bytes())?;
    let mut left = BUDGET.saturating_sub(head.len() + RESERVE);
    if !report.findings.is_empty() {
        let rows = report.findings.iter().map(|finding| row(finding, &veil));
        let title = "\n| Severity | Secret | Where | Introduced | Now |\n| --- | --- | --- | --- | --- |\n";
        let kept = fitting(title, rows, TABLE.min(left), out, &mut left)?;
        cut(report.findings.len() - kept, "is not in this table", "are not in this table", out)?;
        let blocks = report.findings.iter().map(|finding| block(finding, &veil));
        let kept = fitting("\n### What to do\n\n", blocks, left, out, &mut left)?;
        cut(report.findings.len() - kept, "has no details here", "have no details here", out)?;
    }
    Ok(())
}

/// Writes a title and as many parts as fit; how many did.
fn fitting(
    title: &str,
    parts: impl Iterator<Item = String>,
    budget: usize,
    out: &mut dyn io::Write,
    left: &mut usize,
) -> io::Result<usize> {
    let mut used = title.len();
    let mut kept = 0;
    out.write_all(title.as_bytes())?;
    for part in parts {
        if used + part.len() > budget {
            break;
        }
        out.write_all(part.as_bytes())?;
        used += part.len();
        kept += 1;
    }
    *left = left.saturating_sub(used);
    Ok(kept)
}

fn cut(n: usize, one: &str, many: &str, out: &mut dyn io::Write) -> io::Result<()> {
    if n == 0 {
        return Ok(());
    }
    let text = summary::count(n as u64, &format!("finding {one}"), &format!("findings {many}"));
    writeln!(out, "\n**{text}**: a step summary holds 1 MiB. Another format has them all.")
}

/// What the scan as a whole says.
fn head(report: &Report, veil: &Veil<'_>) -> String {
    let mut out = format!("## claviger: {}\n\n", summary::verdict(report));
    if let Some(sentence) = summary::incomplete(report) {
        out += &format!("> [!CAUTION]\n> **{sentence}**\n");
        for gap in summary::gaps(report) {
            out += &format!("> - {gap}\n");
        }
        let named = summary::named_gaps(report);
        for skip in named.iter().take(LISTED) {
            let what = format!("{} {}", skip.what, skip.detail);
            out += &format!(">   - {} {}\n", skip.reason.as_str(), code(&veil.text(what.trim_end())));
        }
        if named.len() > LISTED {
            out += &format!(">   - and {} more\n", named.len() - LISTED);
        }
        out += "\n";
    }
    out += &format!("{}.\n", summary::read(report));
    for sentence in summary::allowed(report).into_iter().chain(summary::hidden(report)) {
        out += &format!("- {sentence}.\n");
    }
    let left_out = summary::left_out(report);
    if !left_out.is_empty() {
        out += &format!("- Left out: {}.\n", left_out.join(", "));
    }
    let own: Vec<_> = report.allowed.iter().filter(|allowed| allowed.added_by_change).collect();
    for allowed in own.iter().take(LISTED) {
        let address = location::address(allowed.finding.place(), veil);
        let reason = veil.text(allowed.by.reason());
        out += &format!(
            "- **Allowed by this change itself** ({}): {} at {} {}\n",
            allowed.by.as_str(),
            entities(&prose(&allowed.finding.rule.name)),
            code(&address),
            entities(&reason)
        );
    }
    if own.len() > LISTED {
        out += &format!("- and {} more allowed by this change itself\n", own.len() - LISTED);
    }
    for notice in report.notices.iter().take(LISTED) {
        out += &format!("- {}\n", entities(&veil.text(notice)));
    }
    if report.notices.len() > LISTED {
        out += &format!("- and {} more notices\n", report.notices.len() - LISTED);
    }
    out
}

fn row(finding: &Finding, veil: &Veil<'_>) -> String {
    let whereabouts = Whereabouts::of(finding);
    let introduced = whereabouts
        .introduced
        .map(|(commit, _)| entities(&location::commit(commit, veil)))
        .unwrap_or_default();
    let more = further(finding).count();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "| {} | {} {} | {}{more} | {introduced} | {} |\n",
        finding.rule.severity,
        entities(&prose(&finding.rule.name)),
        code(&finding.secret.redacted()),
        code(&location::address(finding.place(), veil)),
        entities(&whereabouts.now(veil))
    )
}

fn block(finding: &Finding, veil: &Veil<'_>) -> String {
    let rule = &finding.rule;
    let place = finding.place();
    let address = code(&location::address(place, veil));
    let mut out = format!(
        "<details><summary>{}: {} at {address}</summary>\n\n",
        rule.severity,
        entities(&prose(&rule.name))
    );
    out += &format!("<pre>{}</pre>\n\n", entities(&veil.text(&place.excerpt)));
    out += &format!("- {}\n", entities(&prose(&rule.remediation)));
    if !rule.rotate.is_empty() {
        out += &format!("- {}\n", link(&prose(&rule.rotate)));
    }
    for (name, value) in &finding.details {
        out += &format!("- {name}: {}\n", code(&veil.text(value)));
    }
    let more: Vec<_> = further(finding).collect();
    for place in more.iter().take(LISTED) {
        out += &format!("- also at {}\n", code(&location::address(place, veil)));
    }
    if more.len() > LISTED {
        out += &format!("- and at {} more places\n", more.len() - LISTED);
    }
    out += &format!(
        "- rule {}, {} confidence, fingerprint {}\n\n</details>\n",
        code(&prose(&rule.id)),
        finding.confidence,
        code(finding.fingerprint.as_str())
    );
    out
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", entities(text))
}

/// An address that is nothing but one, as a link; anything else as text.
fn link(url: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/:?#=&%+".contains(c);
    if url.starts_with("https://") && url.chars().all(plain) { format!("<{url}>") } else { entities(url) }
}

/// Text in which Markdown and HTML see nothing to act on. The empty comment after `@` and `#` keeps GitHub from making
/// mentions and references of what looks like them once rendered.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for (at, c) in text.chars().enumerate() {
        if at == MAX_TEXT {
            out.push('…');
            break;
        }
        match c {
            '@' | '#' => out.push_str(&format!("&#{};<!---->", u32::from(c))),
            // Harmless inside a line, and the more readable for it.
            '-' | '/' | ',' | ';' | '=' | '+' | '(' | ')' => out.push(c),
            '.' if !out.ends_with("www") => out.push(c),
            c if c.is_ascii_punctuation() => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let text = entities("a|b `c` <img src=x> [l](u) **d** @me #1 http://x www.x.y \\");
        assert!(!text.contains(['|', '`', '[', '*', '@', '\\', ':']), "{text}");
        assert!(!text.contains("<img") && !text.contains("www."), "{text}");
        assert_eq!(entities("src/a-b.rs"), "src/a-b.rs");
        assert_eq!(entities(&"x".repeat(400)).chars().count(), MAX_TEXT + 1);
    }
}
