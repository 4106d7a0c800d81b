//! The report as JSON lines: a line for each finding, one for each allowed finding, and a summary last.
//!
//! Fields are those of [`super::json`], with `type` before them: `finding`, `allowed` or `summary`. A file whose last
//! line is no summary was cut off.

use std::io;

use serde::Serialize;

use super::json::{AllowedWire, CoverageWire, FindingWire, SCHEMA_VERSION, Tool, Wire};
use super::veil::Veil;
use super::{Report, Style};

pub(super) fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = if style.show_secrets { Veil::default() } else { Veil::over(report)? };
    let wire = Wire { veil: &veil, show_secrets: style.show_secrets };
    for finding in &report.findings {
        line(out, &Line::Finding(wire.finding(finding)))?;
    }
    for allowed in &report.allowed {
        line(out, &Line::Allowed(wire.allowed(allowed)))?;
    }
    line(
        out,
        &Line::Summary(Summary {
            schema_version: SCHEMA_VERSION,
            tool: Tool::of(report),
            targets: wire.texts(&report.targets),
            findings: report.findings.len(),
            allowed: report.allowed.len(),
            hidden: report.hidden,
            notices: wire.texts(&report.notices),
            coverage: wire.coverage(report, style),
        }),
    )
}

fn line(out: &mut dyn io::Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Finding(FindingWire),
    Allowed(AllowedWire),
    Summary(Summary<'a>),
}

#[derive(Serialize)]
struct Summary<'a> {
    schema_version: u32,
    tool: Tool<'a>,
    targets: Vec<String>,
    findings: usize,
    allowed: usize,
    hidden: u64,
    notices: Vec<String>,
    coverage: CoverageWire,
}
