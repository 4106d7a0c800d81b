//! What a target on the command line is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claviger_scanner::source::git::Repository;

/// A target, looked at.
#[derive(Debug)]
pub(crate) enum Target {
    /// `-`.
    Stdin,
    /// A single file: the folder it is in, and its name.
    File { folder: PathBuf, name: PathBuf },
    /// A folder that is no top level of a repository.
    Folder { path: PathBuf },
    /// A repository: its top level, or the bare repository itself.
    Repository { path: PathBuf, repository: Box<Repository> },
}

impl Target {
    /// Looks at a target.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Target> {
        if path == Path::new("-") {
            return Ok(Target::Stdin);
        }
        let meta = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?;
        if meta.is_file() {
            let name = path.file_name().map(PathBuf::from).context("no file name")?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok(Target::File { folder: folder.to_owned(), name });
        }
        if !meta.is_dir() {
            bail!("{}: neither a file nor a directory; pipe it in: `claviger scan - < FILE`", path.display());
        }
        // A folder inside a work tree is scanned as a folder: its history is the whole repository's.
        match Repository::open(path).with_context(|| format!("{}", path.display()))? {
            Some(repository) => {
                Ok(Target::Repository { path: path.to_owned(), repository: Box::new(repository) })
            }
            None => Ok(Target::Folder { path: path.to_owned() }),
        }
    }

    /// The folder that holds configuration and ignore file, for targets on disk.
    pub(crate) fn home(&self) -> Option<&Path> {
        match self {
            Target::Stdin => None,
            Target::File { folder, .. } => Some(folder),
            Target::Folder { path } => Some(path),
            Target::Repository { path, repository } => (!repository.is_bare()).then_some(path.as_path()),
        }
    }
}

/// The targets of a command line: as typed, or the current repository, or the current folder.
pub(crate) fn resolve(typed: &[PathBuf]) -> anyhow::Result<Vec<(String, Target)>> {
    if typed.is_empty() {
        let top = Repository::discover(Path::new(".")).ok().flatten();
        let path = match top.as_ref().and_then(|r| r.workdir().map(Path::to_owned)) {
            Some(workdir) if !same(&workdir, Path::new(".")) => workdir,
            _ => PathBuf::from("."),
        };
        return Ok(vec![(path.display().to_string(), Target::of(&path)?)]);
    }
    typed.iter().map(|path| Ok((path.display().to_string(), Target::of(path)?))).collect()
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
