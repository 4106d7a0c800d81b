//! `claviger audit ...`, one file per verb.

mod anomalies;
mod bench;
mod export;
mod http;
mod import;
mod init;
mod key;
mod keys;
mod pin;
mod place;
mod prune;
mod query;
mod receipt;
mod remote;
mod report;
mod screen;
mod serve;
mod transport;
mod verify;
mod witness;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use claviger_audit::note::{KeyKind, VerifyingKey};
use claviger_audit::query::{Filter, Op};
use claviger_audit::reader::Reader;

use crate::Outcome;
use crate::args_audit::{Audit, AuditVerb, Span, Trust};
use place::Place;

/// Largest file with keys, receipts, checkpoints or thresholds that is read, in bytes.
const MAX_SMALL_FILE: u64 = 2 << 20;

pub(crate) fn run(args: &Audit) -> anyhow::Result<Outcome> {
    match &args.verb {
        AuditVerb::Init(init) => init::run(init),
        AuditVerb::Import(import) => import::run(import),
        AuditVerb::Verify(verify) => verify::run(verify),
        AuditVerb::Query(query) => query::run(query),
        AuditVerb::Report(report) => report::run(report),
        AuditVerb::Anomalies(anomalies) => anomalies::run(anomalies),
        AuditVerb::Export(export) => export::run(export),
        AuditVerb::Receipt(receipt) => receipt::run(receipt),
        AuditVerb::Serve(serve) => serve::run(serve),
        AuditVerb::Key(key) => keys::run(key),
        AuditVerb::Prune(prune) => prune::run(prune),
        AuditVerb::Witness(witness) => witness::run(witness),
        AuditVerb::Bench(bench) => bench::run(bench),
    }
}

/// How a log is called in messages.
fn name(log: &Path) -> String {
    log.display().to_string()
}

/// Opens a log whose head is signed by one of the keys; without keys, by one that the log itself names.
fn open(log: &Path, trust: &Trust) -> anyhow::Result<Reader> {
    let keys = keys(&trust.key)?;
    let origin = origin(trust, &keys);
    let files = Place::of(log)?.files(origin.as_deref())?;
    let reader = Reader::open(files, &keys).with_context(|| name(log))?;
    let found = &reader.meta().origin;
    if let Some(expected) = origin {
        ensure!(*found == expected, "{}: the log is `{found}`, not `{expected}`", name(log));
    }
    Ok(reader)
}

/// The origin that the user expects, if any.
fn origin(trust: &Trust, keys: &[VerifyingKey]) -> Option<String> {
    let of_key = || keys.iter().find(|key| key.kind() == KeyKind::Ed25519).map(|key| key.name().to_owned());
    trust.origin.clone().or_else(of_key)
}

/// Public keys, as typed or from files.
fn keys(given: &[String]) -> anyhow::Result<Vec<VerifyingKey>> {
    let mut keys = Vec::new();
    for text in given {
        if let Ok(key) = text.parse() {
            keys.push(key);
            continue;
        }
        ensure!(!text.starts_with("PRIVATE+KEY+"), "--key takes a public key; this is a private one");
        let path = Path::new(text);
        let content = read_small(path).with_context(|| "--key: neither a key nor a file with keys")?;
        let lines = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = keys.len();
        for line in lines {
            ensure!(!line.starts_with("PRIVATE+KEY+"), "{}: holds a private key, not public ones", text);
            keys.push(line.parse().with_context(|| path.display().to_string())?);
        }
        ensure!(keys.len() > before, "{}: no key in it", path.display());
    }
    Ok(keys)
}

/// A small text file.
fn read_small(path: &Path) -> anyhow::Result<String> {
    let name = || format!("{}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(name)?;
    file.take(MAX_SMALL_FILE + 1).read_to_end(&mut bytes).with_context(name)?;
    ensure!(bytes.len() as u64 <= MAX_SMALL_FILE, "{}: longer than {MAX_SMALL_FILE} bytes", path.display());
    String::from_utf8(bytes).with_context(|| format!("{}: not text", path.display()))
}

/// The ends of a span, in milliseconds since 1970.
fn span(span: &Span) -> anyhow::Result<(Option<i64>, Option<i64>)> {
    let filter = with_span(Filter::default(), span)?;
    Ok((filter.since_ms, filter.until_ms))
}

fn with_span(mut filter: Filter, span: &Span) -> anyhow::Result<Filter> {
    for (name, value) in [("since", &span.since), ("until", &span.until)] {
        if let Some(value) = value {
            filter = filter
                .with(name, Op::Equal, value)
                .map_err(|e| anyhow::anyhow!("{}", e.why))
                .with_context(|| format!("--{name}"))?;
        }
    }
    Ok(filter)
}
