//! `claviger audit ...`, one file per verb.

mod anomalies;
mod export;
mod import;
mod init;
mod key;
mod query;
mod receipt;
mod report;
mod screen;
mod serve;
mod transport;
mod verify;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::files::{Directory, Files};
use claviger_audit::note::{KeyKind, VerifyingKey};
use claviger_audit::query::{Filter, Op};
use claviger_audit::reader::Reader;

use crate::Outcome;
use crate::args_audit::{Audit, AuditVerb, Span, Trust};

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
    }
}

/// The files of a log that is there. That something is wrong with a directory is said only of one that is a log's.
fn log_files(dir: &Path) -> anyhow::Result<Arc<dyn Files>> {
    let files = directory(dir)?;
    let ours = ["log.json", "checkpoint", "journal", "tile"];
    if !ours.iter().any(|name| dir.join(name).symlink_metadata().is_ok()) {
        bail!("{}: not a log of claviger; `claviger audit init` makes one", dir.display());
    }
    Ok(files)
}

/// A directory that is there.
fn directory(dir: &Path) -> anyhow::Result<Arc<dyn Files>> {
    refuse_url(dir)?;
    let meta = std::fs::metadata(dir).with_context(|| format!("{}", dir.display()))?;
    ensure!(meta.is_dir(), "{}: not a directory", dir.display());
    Ok(Arc::new(Directory::new(dir)))
}

fn refuse_url(dir: &Path) -> anyhow::Result<()> {
    let text = dir.to_string_lossy();
    let Some((scheme, _)) = text.split_once("://") else { return Ok(()) };
    // The rest may hold a password, so it is not repeated.
    match scheme {
        "http" | "https" => {
            bail!(
                "a log is read from a directory, not over {scheme}: copy it with any mirroring tool and name the copy"
            )
        }
        "postgres" | "postgresql" => {
            bail!("this build reads logs from directories only, not from PostgreSQL")
        }
        _ => bail!("a log is a directory, not a URL"),
    }
}

/// Opens a log whose head is signed by one of the keys; without keys, by one that the log itself names.
fn open(dir: &Path, trust: &Trust) -> anyhow::Result<Reader> {
    let keys = keys(&trust.key)?;
    let reader = Reader::open(log_files(dir)?, &keys).with_context(|| format!("{}", dir.display()))?;
    let found = &reader.meta().origin;
    if let Some(expected) = origin(trust, &keys) {
        ensure!(*found == expected, "{}: the log is `{found}`, not `{expected}`", dir.display());
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
