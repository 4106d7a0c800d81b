//! `claviger audit init`: keys beside the directory, an empty log inside. And how other verbs open a log to append.

use std::fs::{self, DirBuilder};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::checkpoint::SignedCheckpoint;
use claviger_audit::files::Directory;
use claviger_audit::log::{Options, Publish};
use claviger_audit::note::{KeyKind, SigningKey, is_key_name};
use claviger_audit::reader::Reader;
use claviger_audit::recorder::Recorder;

use super::place::{Place, append_to};
use super::{key, name, pin, witness};
use crate::Outcome;
use crate::args_audit::{Init, Writer};
use crate::commands::print;

pub(super) fn run(args: &Init) -> anyhow::Result<Outcome> {
    let place = Place::of(&args.dir)?;
    let origin = args.origin.as_str();
    ensure!(is_key_name(origin), "--origin: a name has no spaces, no `+` and no control characters");
    ensure!(
        !origin.contains("://") && !origin.ends_with('/'),
        "--origin: a URL without scheme and without a slash at its end, as in audit.example.com/prod"
    );
    let previous = args.after.as_deref().map(|dir| {
        let reader = Reader::open(Place::of(dir)?.files(None)?, &[])?;
        ensure!(
            reader.meta().origin != origin,
            "the log before this one is `{origin}`, too: a name is used once"
        );
        Ok(reader.head().clone())
    });
    let previous = previous.transpose().context("--after")?;

    if let Place::Directory(dir) = &place {
        create_dir(dir)?;
    }
    let (key, made) = take_key(args)?;
    let public = key.verifying_key().to_string();
    let vkey = key::beside(&args.dir, "vkey").ok().filter(|_| matches!(place, Place::Directory(_)));
    if let Some(path) = &vkey {
        key::write_public(path, &[&key])?;
    }
    // Stop here: there are keys without a log, and the next `init` takes them up.
    let options = options(&args.writer, origin)?;
    let recorder = match &place {
        Place::Directory(dir) => {
            Recorder::create(Arc::new(Directory::new(dir)), key, options, previous.as_ref())
                .with_context(|| name(&args.dir))?
        }
        Place::Server(_) => bail!("a log is not written over HTTP"),
        Place::Database(url) => begin(url, key, options, previous.as_ref())?,
    };
    let head = recorder.close().context("the log could not be written")?;
    let mut text =
        format!("log          {} ({origin}, {} entries)\n", name(&args.dir), head.checkpoint().size);
    text += &match made {
        Some(path) => format!("private key  {path} (new; keep a copy in a safe place)\n"),
        None => "private key  as it was\n".to_owned(),
    };
    if let Some(path) = &vkey {
        text += &format!("public key   {}\n", path.display());
    }
    print(&format!("{text}             {public}\n"))?;
    Ok(Outcome::Clean)
}

/// The key that is there already, or a new one with the file it was written to.
fn take_key(args: &Init) -> anyhow::Result<(SigningKey, Option<String>)> {
    let file = args.writer.signing_key.as_deref();
    let from_environment = file.is_none() && key::from_environment(key::KEY_VARIABLE)?.is_some();
    let path = file.map_or_else(|| key::own_file(&args.dir), |file| Ok(file.to_owned()));
    if from_environment || path.as_ref().is_ok_and(|path| path.exists()) {
        let key = key::only_key(&args.dir, file)?;
        let name = key.verifying_key().name();
        ensure!(name == args.origin, "the private key is of `{name}`, not of `{}`", args.origin);
        return Ok((key, None));
    }
    let path = path?;
    ensure!(
        !key::is_inside(&path, &args.dir),
        "{}: a private key does not belong into the log's directory, which others may read",
        path.display()
    );
    let key = SigningKey::generate(&args.origin, KeyKind::Ed25519)?;
    key::write_keys(&path, &[&key])?;
    Ok((key, Some(path.display().to_string())))
}

/// Begins a log in a database; one of that name must not be there.
fn begin(
    url: &reqwest::Url,
    key: SigningKey,
    options: Options,
    previous: Option<&SignedCheckpoint>,
) -> anyhow::Result<Recorder> {
    let clock = Options { clock: Arc::clone(&options.clock), ..Options::default() };
    let log = append_to(url, vec![key], options)?;
    let head = log.head();
    ensure!(
        head.checkpoint().size == 0,
        "there is a log `{}` in this database already, of {} entries",
        head.checkpoint().origin,
        head.checkpoint().size
    );
    Ok(Recorder::begin(log, &clock, previous)?)
}

/// How a log is opened by a command: published often enough for whoever follows it.
pub(super) fn options(writer: &Writer, origin: &str) -> anyhow::Result<Options> {
    let publish = Publish::Every(std::time::Duration::from_millis(250));
    let pin = writer.pin.as_deref().map(|pin| pin::pin(pin, origin)).transpose()?;
    let cosigners = writer.policy.as_deref().map(witness::cosigners).transpose()?;
    Ok(Options { publish, pin, cosigners, ..Options::default() })
}

/// A log open to append, with the keys and the guards that a command names.
pub(super) fn writer(log: &Path, writer: &Writer) -> anyhow::Result<Recorder> {
    let place = Place::of(log)?;
    match place {
        Place::Directory(_) => drop(place.files(None)?),
        Place::Server(_) => bail!("a log is not written over HTTP"),
        Place::Database(_) => {}
    }
    let keys = key::signing_keys(log, writer.signing_key.as_deref())?;
    let origin = keys.first().context("no private key")?.verifying_key().name().to_owned();
    place.recorder(keys, options(writer, &origin)?)
}

/// The directory, with the ones above it. Who may read the events is the operator's to say: nobody else at first.
pub(super) fn create_dir(dir: &Path) -> anyhow::Result<()> {
    let name = || format!("{}", dir.display());
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).with_context(name)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    match builder.create(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other.with_context(name),
    }
}
