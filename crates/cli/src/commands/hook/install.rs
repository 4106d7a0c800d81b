//! Writing hooks into a repository, beside what is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use git2::Repository;

use crate::Outcome;
use crate::args_hook::{HookKind, Install, Uninstall};
use crate::commands::print;

/// By this line a hook is known as ours.
const MARK: &str = "# Written by `claviger hook install`; `claviger hook uninstall` removes it.";
/// What a hook that was there before is called from then on.
const KEPT: &str = "before-claviger";
const ALL: [HookKind; 4] =
    [HookKind::PreCommit, HookKind::CommitMsg, HookKind::PrePush, HookKind::PreReceive];

pub(super) fn install(args: &Install) -> anyhow::Result<Outcome> {
    let repository = open(&args.repository)?;
    let folder = folder(&repository)?;
    let kinds = if args.kinds.is_empty() { &[HookKind::PreCommit][..] } else { &args.kinds };
    // First all that may be refused, so that nothing is half done.
    for kind in kinds {
        let path = folder.join(kind.name());
        if let Some(there) = read(&path)?
            && !there.contains(MARK)
        {
            if let Some(manager) = manager(&folder, &there) {
                bail!("{}: {} manages the hooks here; {}", path.display(), manager.0, manager.1(*kind));
            }
            ensure!(
                args.chain,
                "{}: there is a hook already; add `claviger hook run {} \"$@\" || exit $?` to it, or call \
                 `claviger hook install {} --chain`, which keeps it and calls it first",
                path.display(),
                kind.name(),
                kind.name()
            );
            let kept = kept(&folder, *kind);
            ensure!(!kept.exists(), "{}: is in the way", kept.display());
        }
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for kind in kinds {
        let path = folder.join(kind.name());
        let is_foreign = read(&path)?.is_some_and(|there| !there.contains(MARK));
        if is_foreign {
            fs::rename(&path, kept(&folder, *kind)).with_context(|| path.display().to_string())?;
        }
        write(&path, &script(*kind, kept(&folder, *kind).exists()))
            .with_context(|| path.display().to_string())?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(Outcome::Clean)
}

pub(super) fn uninstall(args: &Uninstall) -> anyhow::Result<Outcome> {
    let folder = folder(&open(&args.repository)?)?;
    for kind in if args.kinds.is_empty() { &ALL[..] } else { &args.kinds } {
        let path = folder.join(kind.name());
        match read(&path)? {
            Some(there) if there.contains(MARK) => {}
            Some(_) if !args.kinds.is_empty() => bail!("{}: is not ours", path.display()),
            _ => continue,
        }
        let kept = kept(&folder, *kind);
        // One step: the other hook is never missing.
        let gone = if kept.exists() { fs::rename(&kept, &path) } else { fs::remove_file(&path) };
        gone.with_context(|| path.display().to_string())?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(Outcome::Clean)
}

fn open(path: &Path) -> anyhow::Result<Repository> {
    Repository::discover(path).with_context(|| format!("{}: no git repository", path.display()))
}

/// Where git looks for hooks: `core.hooksPath`, or the folder that all work trees of the repository share.
fn folder(repository: &Repository) -> anyhow::Result<PathBuf> {
    let config = repository.config().context("the repository's configuration")?;
    match config.get_path("core.hooksPath") {
        // Relative to where hooks run: the top of the work tree, or the bare repository.
        Ok(path) => Ok(repository.workdir().unwrap_or(repository.path()).join(path)),
        Err(_) => Ok(repository.commondir().join("hooks")),
    }
}

fn kept(folder: &Path, kind: HookKind) -> PathBuf {
    folder.join(format!("{}.{KEPT}", kind.name()))
}

/// A hook's text, lossy; `None` if there is none.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

type Manager = (&'static str, fn(HookKind) -> String);

/// Who else manages the hooks, and what to tell it.
fn manager(folder: &Path, hook: &str) -> Option<Manager> {
    if folder.components().any(|part| part.as_os_str() == ".husky") {
        return Some(("husky", |kind| {
            format!("add `claviger hook run {0} \"$@\"` to .husky/{0}", kind.name())
        }));
    }
    if hook.contains("lefthook") {
        return Some(("lefthook", |kind| {
            format!(
                "add to lefthook.yml: `{0}: {{commands: {{claviger: {{run: claviger hook run {0} {{0}}, use_stdin: true}}}}}}`",
                kind.name()
            )
        }));
    }
    if hook.contains("pre-commit.com") || hook.contains("File generated by pre-commit") {
        return Some(("pre-commit", |_| {
            "add claviger's repository and the hook `claviger` to .pre-commit-config.yaml".to_owned()
        }));
    }
    None
}

/// The text of a hook. What git gives it on standard input goes to both hooks.
fn script(kind: HookKind, chained: bool) -> String {
    let name = kind.name();
    let reads = matches!(kind, HookKind::PrePush | HookKind::PreReceive);
    let mut text = format!("#!/bin/sh\n{MARK}\n");
    let give = if reads { "printf '%s' \"$lines\" | " } else { "" };
    if chained && reads {
        text += "lines=$(cat; printf x)\nlines=${lines%x}\n";
    }
    if chained {
        text += &format!("{give}\"$(dirname \"$0\")/{name}.{KEPT}\" \"$@\" || exit $?\n");
    }
    text += "if ! command -v claviger > /dev/null; then\n    \
             echo 'claviger is not on PATH: install it, or remove this hook' >&2\n    exit 1\nfi\n";
    // A pre-receive hook speaks to whoever pushes through its standard error and output alike; keep the latter for git.
    let to = if kind == HookKind::PreReceive { " >&2" } else { "" };
    let start = if chained && reads { give } else { "exec " };
    text + &format!("{start}claviger hook run {name} \"$@\"{to}\n")
}

/// Writes a hook as a whole: git never runs half of one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    }
    file.persist(path)?;
    Ok(())
}
