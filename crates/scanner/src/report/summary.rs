//! What every report says about the scan as a whole, in the same words.

use super::Report;
use crate::coverage::{Reason, Skip};
use crate::finding::Finding;
use crate::rule::Severity;

/// Severities, the worst first.
pub(super) const SEVERITIES: [Severity; 4] =
    [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];

/// `1 file`, `1,234 files`.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{out} {}", if n == 1 { one } else { many })
}

/// `12.3 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => count(bytes, "byte", "bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// `2 secrets found: 1 critical, 1 low`, or that there are none; never clean words for a scan with gaps.
pub(super) fn verdict(report: &Report) -> String {
    let nothing_read = report.coverage.is_empty();
    if report.findings.is_empty() {
        return match (report.is_complete(), nothing_read) {
            (false, true) => "Nothing was read, so nothing is known".to_owned(),
            (true, true) => "Nothing was scanned".to_owned(),
            (false, false) => "No secrets in the part that was read".to_owned(),
            (true, false) => "No secrets found".to_owned(),
        };
    }
    let many = count(report.findings.len() as u64, "secret", "secrets");
    let so_far = if report.is_complete() { "" } else { " in the part that was read" };
    format!("{many} found{so_far}: {}", by_severity(&report.findings))
}

fn by_severity(findings: &[Finding]) -> String {
    let parts: Vec<String> = SEVERITIES
        .iter()
        .map(|severity| (severity, findings.iter().filter(|f| f.rule.severity == *severity).count()))
        .filter(|(_, n)| *n > 0)
        .map(|(severity, n)| format!("{n} {severity}"))
        .collect();
    parts.join(", ")
}

/// What was read: `12 files, 340 blobs and 25 commits: 1.2 MB, with 150 rules`.
pub(super) fn read(report: &Report) -> String {
    let c = &report.coverage;
    let parts: Vec<String> = [
        (c.files, "file", "files"),
        (c.blobs, "blob", "blobs"),
        (c.commits, "commit", "commits"),
        (c.tags, "tag", "tags"),
    ]
    .into_iter()
    .filter(|(n, ..)| *n > 0)
    .map(|(n, one, many)| count(n, one, many))
    .collect();
    let what = match parts.split_last() {
        None => "Read nothing".to_owned(),
        Some((last, [])) => format!("Read {last}"),
        Some((last, first)) => format!("Read {} and {last}", first.join(", ")),
    };
    format!("{what}: {}, with {}", size(c.bytes), count(report.rules as u64, "rule", "rules"))
}

/// The one sentence for a scan that did not see everything; `None` when it did.
pub(super) fn incomplete(report: &Report) -> Option<&'static str> {
    match (report.interrupted, report.coverage.is_complete()) {
        (true, _) => Some("The scan was INTERRUPTED: it did not see everything, more secrets may be there."),
        (false, false) => {
            Some("The scan is INCOMPLETE: it did not see everything, more secrets may be there.")
        }
        (false, true) => None,
    }
}

/// Gaps that make the scan incomplete, one sentence each.
pub(super) fn gaps(report: &Report) -> Vec<String> {
    sentences(report, true)
}

/// What was left out because somebody asked for it or git says so, one sentence each.
pub(super) fn left_out(report: &Report) -> Vec<String> {
    sentences(report, false)
}

fn sentences(report: &Report, incomplete: bool) -> Vec<String> {
    report
        .coverage
        .counts()
        .filter(|(reason, _)| reason.is_incomplete() == incomplete)
        .map(|(reason, n)| sentence(reason, n))
        .collect()
}

/// `3 could not be read`.
pub(super) fn sentence(reason: Reason, n: u64) -> String {
    let (one, many) = match reason {
        Reason::Gitignored => ("entry ignored by git", "entries ignored by git"),
        Reason::Excluded => ("path excluded by a glob", "paths excluded by globs"),
        Reason::SizeLimit => {
            ("file over the size limit that was set", "files over the size limit that was set")
        }
        Reason::ObjectTooLarge => {
            ("git object over the built-in size limit", "git objects over the built-in size limit")
        }
        Reason::Symlink => ("symbolic link not followed", "symbolic links not followed"),
        Reason::Special => ("device, FIFO or socket", "devices, FIFOs or sockets"),
        Reason::Submodule => ("submodule", "submodules"),
        Reason::Depth => ("part beyond the depth limit", "parts beyond the depth limit"),
        Reason::Unreadable => ("thing could not be read", "things could not be read"),
        Reason::Changed => ("file changed while it was read", "files changed while they were read"),
        Reason::Corrupt => ("damaged git object", "damaged git objects"),
        Reason::Missing => ("git object is not there", "git objects are not there"),
        Reason::Shallow => {
            ("commit whose past this shallow clone lacks", "commits whose past this shallow clone lacks")
        }
        Reason::Interrupted => {
            ("part not reached before the interruption", "parts not reached before the interruption")
        }
    };
    count(n, one, many)
}

/// What the gaps are about, by name: those that make the scan incomplete.
pub(super) fn named_gaps(report: &Report) -> Vec<&Skip> {
    report.coverage.skipped().into_iter().filter(|skip| skip.reason.is_incomplete()).collect()
}

/// How many findings are allowed by what: `3 allowed: 2 inline, 1 baseline`; `None` without any.
pub(super) fn allowed(report: &Report) -> Option<String> {
    if report.allowed.is_empty() {
        return None;
    }
    let parts: Vec<String> = ["inline", "ignore-file", "baseline"]
        .into_iter()
        .map(|by| (by, report.allowed.iter().filter(|a| a.by.as_str() == by).count()))
        .filter(|(_, n)| *n > 0)
        .map(|(by, n)| format!("{n} {by}"))
        .collect();
    let many = count(report.allowed.len() as u64, "finding is allowed", "findings are allowed");
    Some(format!("{many}: {}", parts.join(", ")))
}

/// That findings were left out for their low confidence; `None` without any.
pub(super) fn hidden(report: &Report) -> Option<String> {
    (report.hidden > 0).then(|| {
        let many = count(report.hidden, "finding of lower confidence is", "findings of lower confidence are");
        format!("{many} not shown; --min-confidence low shows them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1_234_567, "file", "files"), "1,234,567 files");
        assert_eq!(
            (size(12), size(1_500), size(12_340_000)),
            ("12 bytes".into(), "1.5 kB".into(), "12.3 MB".into())
        );
    }
}
