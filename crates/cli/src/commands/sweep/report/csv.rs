//! The report as comma-separated values: a row for each place, and for each repository that was not wholly scanned.
//!
//! The first column says what a row is: `new`, `still there`, `gone`, or `incomplete` with the reason in `note`. Cells
//! that a spreadsheet would take for a formula begin with an apostrophe.

use std::io;

use claviger_scanner::report::guarded;

use super::{Report, date};

const COLUMNS: [&str; 17] = [
    "type",
    "repository",
    "change",
    "rule",
    "title",
    "severity",
    "confidence",
    "fingerprint",
    "preview",
    "kind",
    "path",
    "line",
    "commit",
    "date",
    "in_head",
    "owners",
    "note",
];

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS)?;
    for finding in &report.findings {
        for (one, spot) in finding.places() {
            let row = [
                finding.change.as_str(),
                &one.repository,
                one.change.as_str(),
                &finding.rule,
                &finding.title,
                &finding.severity,
                &finding.confidence,
                &finding.fingerprint,
                &finding.preview,
                &spot.kind,
                &spot.path,
                &spot.line.to_string(),
                spot.commit.as_deref().unwrap_or_default(),
                &spot.time.map(date).unwrap_or_default(),
                if spot.in_head { "true" } else { "false" },
                &spot.owners.join(" "),
                "",
            ];
            table.write_record(row.map(|cell| guarded(cell.to_owned())))?;
        }
    }
    for gap in report.gaps() {
        let mut row = [""; COLUMNS.len()];
        (row[0], row[1], row[COLUMNS.len() - 1]) = ("incomplete", &gap.name, &gap.why);
        table.write_record(row.map(|cell| guarded(cell.to_owned())))?;
    }
    table.flush()
}
