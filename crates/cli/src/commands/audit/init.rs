//! `claviger audit init`: keys beside the directory, an empty log inside.

use std::fs::{self, DirBuilder};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use claviger_audit::files::Directory;
use claviger_audit::log::{Options, Publish};
use claviger_audit::note::{KeyKind, SigningKey, is_key_name};
use claviger_audit::pin::FilePin;
use claviger_audit::reader::Reader;
use claviger_audit::recorder::Recorder;

use super::{key, log_files, refuse_url};
use crate::Outcome;
use crate::args_audit::{Init, Writer};
use crate::commands::print;

pub(super) fn run(args: &Init) -> anyhow::Result<Outcome> {
    refuse_url(&args.dir)?;
    let origin = args.origin.as_str();
    ensure!(is_key_name(origin), "--origin: a name has no spaces, no `+` and no control characters");
    ensure!(
        !origin.contains("://") && !origin.ends_with('/'),
        "--origin: a URL without scheme and without a slash at its end, as in audit.example.com/prod"
    );
    let previous = args.after.as_deref().map(|dir| {
        let reader = Reader::open(log_files(dir)?, &[])?;
        ensure!(
            reader.meta().origin != origin,
            "the log before this one is `{origin}`, too: a name is used once"
        );
        Ok(reader.head().clone())
    });
    let previous = previous.transpose().context("--after")?;

    create_dir(&args.dir)?;
    let (key, made) = take_key(args)?;
    let public = key.verifying_key().to_string();
    let vkey = key::beside(&args.dir, "vkey").ok();
    if let Some(path) = &vkey {
        key::write_public(path, &key)?;
    }
    // Stop here: there are keys without a log, and the next `init` takes them up.
    let files = Arc::new(Directory::new(&args.dir));
    let recorder = Recorder::create(files, key, options(&args.writer), previous.as_ref())
        .with_context(|| format!("{}", args.dir.display()))?;
    let head = recorder.close().context("the log could not be written")?;
    let mut text =
        format!("log          {} ({origin}, {} entries)\n", args.dir.display(), head.checkpoint().size);
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
    let path = file.map_or_else(|| key::beside(&args.dir, "key"), |file| Ok(file.to_owned()));
    if from_environment || path.as_ref().is_ok_and(|path| path.exists()) {
        let key = key::signing_key(&args.dir, file)?;
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
    key::write_key(&path, &key)?;
    Ok((key, Some(path.display().to_string())))
}

/// How a log is opened by a command: published often enough for whoever follows it.
pub(super) fn options(writer: &Writer) -> Options {
    let mut options =
        Options { publish: Publish::Every(std::time::Duration::from_millis(250)), ..Options::default() };
    if let Some(pin) = &writer.pin {
        options.pin = Some(Box::new(FilePin::new(pin)));
    }
    options
}

/// The directory, with the ones above it. Who may read the events is the operator's to say: nobody else at first.
fn create_dir(dir: &Path) -> anyhow::Result<()> {
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
