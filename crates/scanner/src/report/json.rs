//! STUB
use super::{Report, Style};
use std::io;
pub(super) fn write(report: &Report, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    for f in &report.findings {
        let p = f.place();
        writeln!(out, "{}:{}:{} {} {} {}", p.path, p.line, p.column, f.rule.id, f.confidence, p.excerpt)?;
    }
    Ok(())
}
