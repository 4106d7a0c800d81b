//! `claviger audit verify`: is this the log that was signed, and does it extend what was seen before?

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use claviger_audit::log::Meta;
use claviger_audit::note::{KeyKind, VerifyingKey};
use claviger_audit::reader::{ReadError, Reader};
use claviger_audit::receipt::Receipt;
use claviger_audit::verify::{Options, Seen, Verified, VerifyError, verify, verify_chain};
use claviger_audit::witness::Policy;
use serde_json::{Value, json};

use super::place::{Place, directory};
use super::{keys, name, origin, pin, read_small, witness};
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
    let name = name(dir);
    let policy = args.policy.as_deref().map(witness::policy).transpose()?;
    // A policy names keys, too; of logs, only the one that is verified.
    let mut keys = keys.to_vec();
    keys.extend(policy.iter().flat_map(Policy::keys));
    let origin = origin(&args.trust, &keys);
    let files = Place::of(dir)?.files(origin.as_deref())?;
    let archive = args.archive.as_deref().map(directory).transpose().context("--archive")?;
    // Everything that must be there is read before the long work begins.
    let mut seen = Vec::new();
    for path in &args.from {
        let note = read_small(path).context("--from")?;
        seen.push(Seen { place: format!("--from {}", path.display()), note });
    }
    let pin = match &args.pin {
        Some(pin) => Some(pin::pin(pin, origin.as_deref().context("--pin: of which log? give --key")?)?),
        None => None,
    };
    for note in pin.as_ref().map_or_else(|| Ok(Vec::new()), |pin| pin.load())? {
        seen.push(Seen { place: "--pin".into(), note });
    }
    let mut receipts = Vec::new();
    for path in &args.receipt {
        let receipt: Receipt = match read_small(path).context("--receipt")?.parse() {
            Ok(receipt) => receipt,
            Err(e) => return Ok(Verdict::Tampered(format!("{}: {e}", path.display()))),
        };
        seen.push(Seen { place: format!("--receipt {}", path.display()), note: receipt.checkpoint.clone() });
        receipts.push((path, receipt));
    }

    let compared = seen.len() - receipts.len();
    // A policy alone says who the witnesses are, not whose log it is.
    let knows_log = keys.iter().any(|key| key.kind() == KeyKind::Ed25519);
    let options = Options {
        origin: origin.clone().unwrap_or_default(),
        keys: if knows_log { keys.clone() } else { Vec::new() },
        seen,
        archive,
        events: args.events,
    };
    let mut verified = match verify(&files, &options) {
        Ok(verified) => verified,
        Err(VerifyError::Tampered(fault)) => return Ok(Verdict::Tampered(fault.to_string())),
        Err(e) => return Err(e).context(name),
    };
    if let Some(policy) = &policy {
        if let Err(e) = policy.is_quorum(&verified.head) {
            return Ok(Verdict::Tampered(format!("checkpoint: {e}")));
        }
        verified.witnesses = verified.head.witnesses(&keys)?;
    }
    let trusted = if knows_log { keys } else { Reader::open(Arc::clone(&files), &[])?.meta().keys.clone() };
    let reader = Reader::under(files, verified.head.clone(), &trusted);
    if let Err(why) = beyond(args, &reader, &receipts)? {
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
    Ok(good(&verified, receipts.len(), compared))
}

/// Compares receipts and the log before with what was just verified. The inner error is what is wrong.
fn beyond(
    args: &Verify,
    reader: &Reader,
    receipts: &[(&PathBuf, Receipt)],
) -> anyhow::Result<Result<(), String>> {
    let Meta { origin, keys } = reader.meta();
    for (path, receipt) in receipts {
        let entry = match reader.entry(receipt.index) {
            Err(e @ ReadError::NoEntry { .. }) => return Ok(Err(format!("{}: {e}", path.display()))),
            other => other.with_context(|| format!("{}", path.display()))?,
        };
        if let Err(e) = receipt.verify(&entry, origin, keys) {
            return Ok(Err(format!("{}: {e}", path.display())));
        }
    }
    if let Some(previous) = &args.previous {
        let files = Place::of(previous).and_then(|place| place.files(None)).context("--previous")?;
        let before = Reader::open(files, &[]).context("--previous")?;
        let named = before.meta().keys.clone();
        return Ok(verify_chain(&before, &named, reader).map_err(|e| e.to_string()));
    }
    Ok(Ok(()))
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
