//! `claviger audit key ...`: which keys sign a log, and how one follows another.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::checkpoint::SignedCheckpoint;
use claviger_audit::note::{KeyKind, SigningKey, VerifyingKey};

use super::init::options;
use super::key::{self, Source};
use super::place::Place;
use super::{name, open};
use crate::Outcome;
use crate::args_audit::{Key, KeyList, KeyRetire, KeyRotate, KeyVerb};
use crate::commands::print;

pub(super) fn run(args: &Key) -> anyhow::Result<Outcome> {
    match &args.verb {
        KeyVerb::List(list) => run_list(list),
        KeyVerb::Rotate(rotate) => run_rotate(rotate),
        KeyVerb::Retire(retire) => run_retire(retire),
    }
}

fn run_list(args: &KeyList) -> anyhow::Result<Outcome> {
    let reader = open(&args.dir, &args.trust)?;
    let (note, origin) = (reader.head().to_string(), &reader.meta().origin);
    let mut text = String::new();
    for key in &reader.meta().keys {
        let signs = SignedCheckpoint::verify(&note, origin, std::slice::from_ref(key)).is_ok();
        let _ = writeln!(text, "{}  {key}", if signs { "signs  " } else { "retired" });
    }
    print(&text)?;
    Ok(Outcome::Clean)
}

fn run_rotate(args: &KeyRotate) -> anyhow::Result<Outcome> {
    let source = Source::of(&args.dir, args.writer.signing_key.as_deref())?;
    let keys = source.keys()?;
    let [old] = keys.as_slice() else {
        bail!("two keys sign already; `claviger audit key retire` ends that");
    };
    let (old, origin) = (old.verifying_key().clone(), old.verifying_key().name().to_owned());
    let (path, is_own) = match (&args.new_key, &source) {
        (Some(path), _) => (path.clone(), true),
        (None, Source::File(path)) => (with_ending(path, ".new"), false),
        (None, Source::Environment) => {
            bail!("the private key is in {}: say with --new-key where the new one goes", key::KEY_VARIABLE)
        }
    };
    // A file of the second kind is left by a rotation that was cut off, which goes on.
    if is_own || !path.exists() {
        let new = SigningKey::generate(&origin, KeyKind::Ed25519)?;
        key::write_keys(&path, &[&new])?;
    }
    let new = key::only_key(&args.dir, Some(&path))?;
    let public = new.verifying_key().clone();
    let recorder = Place::of(&args.dir)?.recorder(keys, options(&args.writer, &origin)?)?;
    // Stop here: a key that nobody knows.
    let done = recorder.rotate_key(&old, new)?;
    // Stop here: the log has both keys; rotating again takes the same new one.
    let (both, new) = (source.keys()?, key::only_key(&args.dir, Some(&path))?);
    let all: Vec<&SigningKey> = both.iter().chain([&new]).collect();
    if let (Source::File(file), false) = (&source, is_own) {
        key::replace_keys(file, &all)?;
        fs::remove_file(&path).ok();
    }
    publish(&args.dir, &all)?;
    recorder.close().context("the change is durable, but not published; the next writer does that")?;
    let mut text = format!("entry {}: both keys sign from now on\nold  {old}\nnew  {public}\n", done.index());
    if is_own || matches!(source, Source::Environment) {
        let _ = writeln!(
            text,
            "the new private key is in {}; give whoever appends both, one a line",
            path.display()
        );
    }
    print(&text)?;
    Ok(Outcome::Clean)
}

fn run_retire(args: &KeyRetire) -> anyhow::Result<Outcome> {
    let source = Source::of(&args.dir, args.writer.signing_key.as_deref())?;
    let keys = source.keys()?;
    ensure!(keys.len() > 1, "only one key signs; `claviger audit key rotate` makes the next");
    let old = match &args.old {
        Some(text) => text.parse::<VerifyingKey>().context("--old")?,
        None => keys[0].verifying_key().clone(),
    };
    let (gone, kept): (Vec<_>, Vec<_>) = keys.iter().partition(|key| *key.verifying_key() == old);
    ensure!(!gone.is_empty(), "--old: this key does not sign");
    let new = kept.last().context("no key is left")?.verifying_key().clone();
    let origin = new.name().to_owned();
    let recorder = Place::of(&args.dir)?.recorder(source.keys()?, options(&args.writer, &origin)?)?;
    let done = recorder.retire_key(&old, &new)?;
    // The head that is published must be signed by the new key alone: one more entry, which says the log is closed.
    recorder.close().context("the change is durable, but not published; the next writer does that")?;
    // Stop here: both keys are still at hand; retiring again says so again.
    if let Source::File(file) = &source {
        key::replace_keys(file, &kept)?;
    }
    publish(&args.dir, &kept)?;
    let mut text = format!("entry {}: the old key signs no more\nold  {old}\nnew  {new}\n", done.index());
    text += "keep the old public key for receipts and checkpoints from before\n";
    if matches!(source, Source::Environment) {
        let _ = writeln!(text, "take the old private key out of {}", key::KEY_VARIABLE);
    }
    print(&text)?;
    Ok(Outcome::Clean)
}

/// The public keys beside a directory.
fn publish(log: &std::path::Path, keys: &[&SigningKey]) -> anyhow::Result<()> {
    if let Place::Directory(dir) = Place::of(log)?
        && let Ok(path) = key::beside(&dir, "vkey")
    {
        key::write_public(&path, keys).with_context(|| name(log))?;
    }
    Ok(())
}

fn with_ending(path: &std::path::Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    name.into()
}
