//! The report as comma-separated values: a row for each place of each finding.
//!
//! The first column says what a row is: `finding`, `allowed`, or, so that a table cannot look complete that is not,
//! `incomplete` with the reason in the column `note`. A `complete` row ends the table of a whole scan. Cells that a
//! spreadsheet would take for a formula begin with an apostrophe. The column `secret` is there only when asked for.

use std::io;

use super::veil::{Veil, prose};
use super::{AllowedBy, Report, Style, location, summary};
use crate::finding::{CommitInfo, Finding, Place};
use crate::path::printable;

/// The columns; `secret` may follow.
const COLUMNS: [&str; 27] = [
    "type",
    "rule",
    "name",
    "severity",
    "confidence",
    "fingerprint",
    "preview",
    "kind",
    "target",
    "path",
    "line",
    "column",
    "end_line",
    "end_column",
    "object",
    "commit",
    "author",
    "email",
    "date",
    "removed_commit",
    "removed_date",
    "in_head",
    "branches",
    "tags",
    "excerpt",
    "allowed_by",
    "note",
];

pub(super) fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = if style.show_secrets { Veil::default() } else { Veil::over(report)? };
    let mut table = Table { out: csv::Writer::from_writer(out), veil: &veil, secrets: style.show_secrets };
    let mut head: Vec<String> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    if style.show_secrets {
        head.push("secret".to_owned());
    }
    table.out.write_record(&head)?;
    for finding in &report.findings {
        table.finding("finding", finding, "", &finding.notes.join(" "))?;
    }
    for allowed in &report.allowed {
        let by = match &allowed.by {
            AllowedBy::Inline { marker, .. } => format!("inline {marker}"),
            AllowedBy::IgnoreFile { line, .. } => format!("ignore-file line {line}"),
            AllowedBy::Baseline => "baseline".to_owned(),
        };
        let added = if allowed.added_by_change { "added by the change under scan; " } else { "" };
        let note = format!("{added}{}", allowed.by.reason());
        table.finding("allowed", &allowed.finding, &by, note.trim_end_matches("; "))?;
    }
    match summary::incomplete(report) {
        None => table.remark("complete", &summary::read(report))?,
        Some(sentence) => {
            table.remark("incomplete", sentence)?;
            for gap in summary::gaps(report) {
                table.remark("incomplete", &gap)?;
            }
        }
    }
    table.out.flush()
}

struct Table<'a> {
    out: csv::Writer<&'a mut dyn io::Write>,
    veil: &'a Veil<'a>,
    secrets: bool,
}

impl Table<'_> {
    fn finding(&mut self, kind: &str, finding: &Finding, by: &str, note: &str) -> io::Result<()> {
        for place in &finding.places {
            let mut row = self.row(kind, finding, place);
            row.push(by.to_owned());
            row.push(self.veil.text(note));
            if self.secrets {
                row.push(printable(finding.secret.expose()));
            }
            self.write(row)?;
        }
        Ok(())
    }

    fn row(&self, kind: &str, finding: &Finding, place: &Place) -> Vec<String> {
        let veil = self.veil;
        let rule = &finding.rule;
        let commit = |c: &Option<CommitInfo>, text: fn(&CommitInfo) -> String| {
            c.as_ref().map(text).unwrap_or_default()
        };
        let date = |c: &CommitInfo| location::rfc3339(c.time).unwrap_or_default();
        vec![
            kind.to_owned(),
            prose(&rule.id),
            prose(&rule.name),
            rule.severity.to_string(),
            finding.confidence.to_string(),
            finding.fingerprint.to_string(),
            finding.secret.redacted(),
            place.kind.as_str().to_owned(),
            veil.text(&place.target),
            veil.bytes(place.path.as_bytes()),
            place.line.to_string(),
            place.column.to_string(),
            place.end_line.to_string(),
            place.end_column.to_string(),
            place.object.clone().unwrap_or_default(),
            commit(&place.introduced, |c| c.id.clone()),
            veil.text(&commit(&place.introduced, |c| c.author.clone())),
            veil.text(&commit(&place.introduced, |c| c.email.clone())),
            commit(&place.introduced, date),
            commit(&place.removed, |c| c.id.clone()),
            commit(&place.removed, date),
            place.in_head.to_string(),
            veil.text(&place.branches.join(" ")),
            veil.text(&place.tags.join(" ")),
            veil.text(&place.excerpt),
        ]
    }

    /// A row that is about the scan.
    fn remark(&mut self, kind: &str, note: &str) -> io::Result<()> {
        let mut row = vec![String::new(); COLUMNS.len() + usize::from(self.secrets)];
        row[0] = kind.to_owned();
        row[COLUMNS.len() - 1] = note.to_owned();
        self.write(row)
    }

    fn write(&mut self, row: Vec<String>) -> io::Result<()> {
        Ok(self.out.write_record(row.into_iter().map(guarded))?)
    }
}

/// A cell that no spreadsheet takes for a formula: one that begins like one gets an apostrophe.
pub fn guarded(cell: String) -> String {
    let acts = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠');
    // A spreadsheet may drop leading blanks.
    if cell.trim_start_matches(' ').starts_with(acts) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_guarded() {
        for cell in ["=1+1", "+1", "-1", "@x", "\tx", " =x", "＝x"] {
            assert_eq!(guarded(cell.to_owned()), format!("'{cell}"));
        }
        assert_eq!(guarded("a=b".to_owned()), "a=b");
    }
}
