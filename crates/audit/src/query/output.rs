//! Hits written down, one by one: a table, JSON, JSON lines, CSV.

use std::io::{self, Write};

use super::Hit;
use crate::event::Slim;

/// How hits are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for a terminal.
    Table,
    /// One JSON array of entries as stored.
    Json,
    /// One entry a line, as stored.
    JsonLines,
    /// RFC 4180, safe to open in a spreadsheet.
    Csv,
}

type Column = (&'static str, usize, for<'a> fn(&Hit, &Slim<'a>) -> String);

/// Columns with their width in a table.
const COLUMNS: &[Column] = &[
    ("index", 8, |hit, _| hit.index.to_string()),
    ("time", 27, |_, e| e.time.to_string()),
    ("type", 14, |_, e| e.kind.to_string()),
    ("outcome", 8, |_, e| e.outcome.as_str().to_owned()),
    ("identity", 32, |_, e| e.identity().to_owned()),
    ("provider", 16, |_, e| e.target.provider.to_string()),
    ("environment", 12, |_, e| e.target.environment.to_string()),
    ("role", 20, |_, e| e.target.role.to_string()),
    ("lease", 20, |_, e| e.lease.to_string()),
    ("reason", 0, |_, e| e.reason.to_string()),
];

/// Writes hits in one format.
pub struct Output<W: Write> {
    to: W,
    format: Format,
    written: u64,
}

impl<W: Write> Output<W> {
    /// Writes to `to`, which should be buffered.
    pub fn new(to: W, format: Format) -> Output<W> {
        Output { to, format, written: 0 }
    }

    /// Writes one hit.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, hit: &Hit) -> io::Result<()> {
        let first = self.written == 0;
        self.written += 1;
        match self.format {
            Format::Json => {
                self.to.write_all(if first { b"[\n" } else { b",\n" })?;
                self.to.write_all(&hit.entry)
            }
            Format::JsonLines => {
                self.to.write_all(&hit.entry)?;
                self.to.write_all(b"\n")
            }
            Format::Csv => {
                if first {
                    self.row(COLUMNS.iter().map(|(name, ..)| (*name).to_owned()).collect())?;
                }
                let event = Slim::parse(&hit.entry).unwrap_or_default();
                self.row(COLUMNS.iter().map(|(.., value)| guard(value(hit, &event))).collect())
            }
            Format::Table => {
                if first {
                    self.line(|(name, ..)| (*name).to_owned())?;
                }
                let event = Slim::parse(&hit.entry).unwrap_or_default();
                self.line(|(.., value)| value(hit, &event))
            }
        }
    }

    /// Ends the document; gives the number of hits.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<u64> {
        if self.format == Format::Json {
            self.to.write_all(if self.written == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.to.flush()?;
        Ok(self.written)
    }

    fn row(&mut self, cells: Vec<String>) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(&mut self.to);
        writer.write_record(cells).map_err(io::Error::other)?;
        writer.flush()
    }

    fn line(&mut self, cell: impl Fn(&Column) -> String) -> io::Result<()> {
        let mut line = String::new();
        for column in COLUMNS {
            let text = printable(&cell(column));
            line.push_str(&format!("{text:<width$}  ", width = column.1));
        }
        writeln!(self.to, "{}", line.trim_end())
    }
}

/// Control characters, which could drive a terminal, are shown as `\u{..}`.
pub(crate) fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(hidden) {
        return text.to_owned();
    }
    text.chars().map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// A cell that a spreadsheet would take for a formula gets a `'` before it.
fn guard(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}
