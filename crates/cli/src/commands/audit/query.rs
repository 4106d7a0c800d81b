//! `claviger audit query`: which events match, as they stream out.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::query::{self, Filter, FilterError, Format, Index, Op, Output};
use claviger_audit::reader::Reader;
use claviger_scanner::path::printable;

use super::screen::Screen;
use super::{keys, open, with_span};
use crate::Outcome;
use crate::args_audit::{OutcomeName, Query, QueryFormat};

/// Time between two looks at a log that is followed.
pub(super) const POLL: Duration = Duration::from_millis(300);

pub(super) fn run(args: &Query) -> anyhow::Result<Outcome> {
    let filter = filter(args)?;
    ensure!(
        !(args.follow && args.format == QueryFormat::Json),
        "--follow never ends, and a JSON document must; use --format jsonl"
    );
    let mut reader = open(&args.dir, &args.trust)?;
    let index = if args.no_index { Index::none() } else { Index::at(reader.files().clone()) };
    let mut stream = Stream { left: args.limit.unwrap_or(u64::MAX), failed: None, output: output(args) };
    let mut from = args.from;
    loop {
        stream.pass(&reader, &index, &filter, from)?;
        if !args.follow || stream.left == 0 {
            stream.output.finish().context("standard output")?;
            return Ok(Outcome::Clean);
        }
        from = from.max(reader.size());
        wait_for_more(&mut reader, args)?;
    }
}

/// Returns when the log has more entries than the reader knows.
fn wait_for_more(reader: &mut Reader, args: &Query) -> anyhow::Result<()> {
    let keys = keys(&args.trust.key)?;
    let before = reader.size();
    loop {
        std::thread::sleep(POLL);
        reader.refresh(&keys).with_context(|| format!("{}", args.dir.display()))?;
        if reader.size() < before {
            bail!(
                "the log shrank from {before} to {} entries; `claviger audit verify` says more",
                reader.size()
            );
        }
        if reader.size() > before {
            return Ok(());
        }
    }
}

struct Stream {
    output: Output<Screen>,
    /// Hits that may still be written.
    left: u64,
    failed: Option<std::io::Error>,
}

impl Stream {
    fn pass(&mut self, reader: &Reader, index: &Index, filter: &Filter, from: u64) -> anyhow::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        query::run(reader, index, filter, from, |hit| {
            if let Err(e) = self.output.write(&hit) {
                self.failed = Some(e);
                return ControlFlow::Break(());
            }
            self.left -= 1;
            if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.failed.take().map_or(Ok(()), |e| Err(e).context("standard output"))
    }
}

fn output(args: &Query) -> Output<Screen> {
    let format = match args.format {
        QueryFormat::Table => Format::Table,
        QueryFormat::Json => Format::Json,
        QueryFormat::Jsonl => Format::JsonLines,
        QueryFormat::Csv => Format::Csv,
    };
    Output::new(if args.follow { Screen::live() } else { Screen::new() }, format)
}

fn filter(args: &Query) -> anyhow::Result<Filter> {
    let text = args.filter.join(" ");
    let mut filter = Filter::parse(&text).map_err(|e| pointed_at(&text, &e))?;
    filter = with_span(filter, &args.span)?;
    let outcome = args.outcome.map(|outcome| match outcome {
        OutcomeName::Success => "success".to_owned(),
        OutcomeName::Refused => "refused".to_owned(),
        OutcomeName::Failed => "failed".to_owned(),
    });
    let flags = [
        ("identity", &args.identity),
        ("provider", &args.provider),
        ("environment", &args.environment),
        ("outcome", &outcome),
        ("lease", &args.lease),
    ];
    for (field, value) in flags {
        if let Some(value) = value {
            filter = filter.with(field, Op::Equal, value)?;
        }
    }
    Ok(filter)
}

/// The error with the filter below it, and a mark where it is wrong.
fn pointed_at(text: &str, error: &FilterError) -> anyhow::Error {
    let before: String = text.chars().take(error.position - 1).collect();
    let indent = printable(before.as_bytes()).chars().count();
    anyhow::anyhow!("filter, {error}\n  {}\n  {:indent$}^", printable(text.as_bytes()), "")
}
