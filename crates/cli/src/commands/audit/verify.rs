//! `claviger audit verify`: is this the log that was signed, and does it extend what was seen before?

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use claviger_audit::checkpoint::SignedCheckpoint;
use claviger_audit::files::Files;
use claviger_audit::note::VerifyingKey;
use claviger_audit::pin::{FilePin, Pin as _, PinError};
use claviger_audit::reader::{ReadError, Reader};
use claviger_audit::receipt::Receipt;
use claviger_audit::tree::verify_consistency;
use claviger_audit::verify::{Fault, Options, Verified, VerifyError, verify, verify_chain};
use serde_json::{Value, json};

use super::{directory, keys, log_files, origin, read_small};
use crate::Outcome;
use crate::args_audit::Verify;
use crate::commands::print;
use crate::warn;

/// What was found, in words.
enum Verdict {
    Good { text: String, document: Value },
    Tampered(String),
}

pub(super) fn run(args: &Verify) -> anyhow::Result<Outcome> {
    let keys = keys(&args.trust.key)?;
    let verdict = match &args.dir {
        Some(dir) => log(args, dir, &keys)?,
        None => offline(args, &keys)?,
    };
    match verdict {
        Verdict::Good { text, document } => {
            print(&if args.json { format!("{document:#}\n") } else { text })?;
            Ok(Outcome::Clean)
        }
        Verdict::Tampered(why) => {
            let safe: Vec<String> =
                why.lines().map(|line| claviger_scanner::path::printable(line.as_bytes())).collect();
            let why = safe.join("\n");
            print(&if args.json {
                format!("{:#}\n", json!({ "verified": false, "fault": why }))
            } else {
                format!("NOT VERIFIED: {why}\n")
            })?;
            Ok(Outcome::Findings)
        }
    }
}

fn log(args: &Verify, dir: &Path, keys: &[VerifyingKey]) -> anyhow::Result<Verdict> {
    let files = log_files(dir)?;
    let archive = args.archive.as_deref().map(directory).transpose().context("--archive")?;
    // Everything that must be there is read before the long work begins.
    let mut seen = Vec::new();
    for path in &args.from {
        seen.push((format!("--from {}", path.display()), read_small(path).context("--from")?));
    }
    let pin = args.pin.as_ref().map(FilePin::new);
    if let Some(pin) = &pin
        && let Some(note) = pin.load()?
    {
        seen.push(("--pin".to_owned(), note));
    }
    let mut receipts = Vec::new();
    for path in &args.receipt {
        let receipt: Receipt = match read_small(path).context("--receipt")?.parse() {
            Ok(receipt) => receipt,
            Err(e) => return Ok(Verdict::Tampered(format!("{}: {e}", path.display()))),
        };
        seen.push((format!("--receipt {}", path.display()), receipt.checkpoint.clone()));
        receipts.push((path, receipt));
    }

    let options = Options {
        origin: origin(&args.trust, keys).unwrap_or_default(),
        keys: keys.to_vec(),
        from: seen.first().map(|(_, note)| note.clone()),
        archive,
        events: args.events,
    };
    let verified = match verify(&files, &options) {
        Ok(verified) => verified,
        Err(VerifyError::Tampered(fault)) => {
            let whence = seen.first().filter(|_| matches!(*fault, Fault::Rollback(_)));
            let whence = whence.map(|(whence, _)| format!("{whence}: ")).unwrap_or_default();
            return Ok(Verdict::Tampered(format!("{whence}{fault}")));
        }
        Err(e) => return Err(e).with_context(|| format!("{}", dir.display())),
    };
    if (seen.len() > 1 || !receipts.is_empty() || args.previous.is_some())
        && let Err(why) = beyond(args, dir, &Reading { files, keys, head: &verified.head }, &seen, &receipts)?
    {
        return Ok(Verdict::Tampered(why));
    }
    if let Some(pin) = pin {
        pin.store(&verified.head)?;
    }
    if !verified.authentic {
        warn(
            "the signature was checked against the keys that the log itself names; give --key to know whose it is",
        );
    }
    Ok(good(&verified, receipts.len(), seen.len() - receipts.len()))
}

/// A log that was verified.
struct Reading<'a> {
    files: Arc<dyn Files>,
    keys: &'a [VerifyingKey],
    head: &'a SignedCheckpoint,
}

/// Compares what was seen before, receipts and the log before with tiles that were just verified. The inner error is
/// what is wrong.
fn beyond(
    args: &Verify,
    dir: &Path,
    log: &Reading<'_>,
    seen: &[(String, String)],
    receipts: &[(&PathBuf, Receipt)],
) -> anyhow::Result<Result<(), String>> {
    let reader =
        Reader::open(Arc::clone(&log.files), log.keys).with_context(|| format!("{}", dir.display()))?;
    let trusted = if log.keys.is_empty() { &reader.meta().keys } else { log.keys };
    // The log may have grown since: then that head, too, must extend the one that was verified.
    let verified = ("the head that was verified".to_owned(), log.head.to_string());
    for (whence, note) in seen.iter().chain([&verified]) {
        if let Err(why) = extends(&reader, note, trusted)? {
            return Ok(Err(format!("{whence}: {why}")));
        }
    }
    for (path, receipt) in receipts {
        let entry = match reader.entry(receipt.index) {
            Err(e @ ReadError::NoEntry { .. }) => return Ok(Err(format!("{}: {e}", path.display()))),
            other => other.with_context(|| format!("{}", path.display()))?,
        };
        if let Err(e) = receipt.verify(&entry, &log.head.checkpoint().origin, trusted) {
            return Ok(Err(format!("{}: {e}", path.display())));
        }
    }
    if let Some(previous) = &args.previous {
        let before = Reader::open(log_files(previous)?, &[]).context("--previous")?;
        let named = before.meta().keys.clone();
        return Ok(verify_chain(&before, &named, &reader).map_err(|e| e.to_string()));
    }
    Ok(Ok(()))
}

/// Does the log extend a head that was seen before? The inner error is what is wrong with it.
fn extends(reader: &Reader, note: &str, keys: &[VerifyingKey]) -> anyhow::Result<Result<(), String>> {
    let now = reader.head().checkpoint();
    let then = match SignedCheckpoint::verify(note, &now.origin, keys) {
        Ok(then) => then,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let (pinned, found) = (then.to_string(), reader.head().to_string());
    let then = then.checkpoint();
    if then.size > now.size {
        return Ok(Err(PinError::Shrunk { pinned, found }.to_string()));
    }
    let proof = reader.consistency(then.size)?;
    let forked = |_| PinError::Forked { pinned, found }.to_string();
    Ok(verify_consistency(then.size, now.size, &proof, &then.root, &now.root).map_err(forked))
}

fn good(verified: &Verified, receipts: usize, seen: usize) -> Verdict {
    let head = verified.head.checkpoint();
    let mut text = format!("verified {}: {} entries, root {}\n", head.origin, head.size, head.root);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:12} {value}");
    };
    row("recomputed", format!("{} entries, {} bytes", verified.entries, verified.bytes));
    if verified.pruned_below > 0 {
        row("pruned", format!("entries before {}, as the log says", verified.pruned_below));
    }
    if verified.tail > 0 {
        row("journal", format!("{} entries behind the published head", verified.tail));
    }
    if verified.torn_bytes > 0 {
        row(
            "torn",
            format!("{} bytes of a batch that a crash cut; nobody was told of it", verified.torn_bytes),
        );
    }
    for witness in &verified.witnesses {
        row("witness", format!("{} at {} s", witness.key.name(), witness.time));
    }
    if seen > 0 {
        row("extends", format!("{seen} checkpoints seen before"));
    }
    if receipts > 0 {
        row("receipts", format!("{receipts} hold"));
    }
    let witnesses: Vec<Value> =
        verified.witnesses.iter().map(|w| json!({ "name": w.key.name(), "time": w.time })).collect();
    let document = json!({
        "verified": true, "authentic": verified.authentic, "origin": head.origin, "size": head.size,
        "root": head.root.to_string(), "entries": verified.entries, "bytes": verified.bytes,
        "pruned_below": verified.pruned_below, "tail": verified.tail, "torn_bytes": verified.torn_bytes,
        "witnesses": witnesses, "receipts": receipts, "checkpoints": seen,
    });
    Verdict::Good { text, document }
}

/// Checks a receipt with its entry alone: no log, no network.
fn offline(args: &Verify, keys: &[VerifyingKey]) -> anyhow::Result<Verdict> {
    let (Some(entry), [path]) = (&args.entry, args.receipt.as_slice()) else {
        anyhow::bail!("--entry goes with one --receipt");
    };
    let origin = origin(&args.trust, keys).context("--key: no key of a log among them")?;
    let size = fs::metadata(entry).with_context(|| format!("{}", entry.display()))?.len();
    ensure!(size <= 1 << 16, "{}: longer than any entry", entry.display());
    let bytes = fs::read(entry).with_context(|| format!("{}", entry.display()))?;
    let checked = read_small(path).context("--receipt")?.parse::<Receipt>().and_then(|receipt| {
        let signed = receipt.verify(&bytes, &origin, keys)?;
        Ok((receipt.index, signed))
    });
    Ok(match checked {
        Err(e) => Verdict::Tampered(format!("{}: {e}", path.display())),
        Ok((index, signed)) => {
            let size = signed.checkpoint().size;
            Verdict::Good {
                text: format!("verified {origin}: the entry is number {index} of {size}\n"),
                document: json!({ "verified": true, "authentic": true, "origin": origin, "index": index, "size": size }),
            }
        }
    })
}
