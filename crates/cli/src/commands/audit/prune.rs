//! `claviger audit prune`: old entries go, their hashes stay.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use claviger_audit::event::Event;
use claviger_audit::files::{Directory, Files};
use claviger_audit::query::{Filter, Op};
use claviger_audit::reader::Reader;

use super::init::writer;
use super::key;
use crate::Outcome;
use crate::args_audit::Prune;
use crate::commands::print;

pub(super) fn run(args: &Prune) -> anyhow::Result<Outcome> {
    let archive = match &args.archive {
        Some(dir) => {
            ensure!(
                !key::is_inside(&dir.join("x"), &args.dir),
                "{}: an archive does not belong into the log's directory",
                dir.display()
            );
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            Some((Directory::new(dir), dir.display().to_string()))
        }
        None => None,
    };
    let recorder = writer(&args.dir, &args.writer)?;
    let head = recorder.log().publish()?;
    let keys: Vec<_> = Reader::open(Arc::clone(recorder.log().files()), &[])?.meta().keys.clone();
    let reader = Reader::under(Arc::clone(recorder.log().files()), head, &keys);
    let index = index(&reader, &args.before)?;
    let archive = archive.as_ref().map(|(files, name)| (files as &dyn Files, name.as_str()));
    let kept = recorder.prune(index, archive)?;
    recorder.close().context("the entries are gone, but not all is published; the next writer does that")?;
    print(&format!(
        "entries before {kept} are gone{}\n",
        match archive {
            Some((_, name)) => format!("; they are in {name}"),
            None => String::new(),
        }
    ))?;
    Ok(Outcome::Clean)
}

/// The first entry to keep: a number, or the first that was logged at that time or later.
fn index(reader: &Reader, before: &str) -> anyhow::Result<u64> {
    if let Ok(index) = before.parse() {
        return Ok(index);
    }
    let filter = Filter::default()
        .with("until", Op::Equal, before)
        .map_err(|e| anyhow::anyhow!("--before: {}", e.why))?;
    let time = filter.until_ms.context("--before: no time")?;
    // The log's own times never go backwards.
    let (mut low, mut high) = (0, reader.size());
    while low < high {
        let middle = low + (high - low) / 2;
        let is_before = match reader.entry(middle) {
            // Pruned already.
            Err(e) if e.is_missing() => true,
            other => {
                let logged = Event::parse(&other?)?.logged;
                logged.is_none_or(|logged| logged.as_millisecond() < time)
            }
        };
        if is_before { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}
