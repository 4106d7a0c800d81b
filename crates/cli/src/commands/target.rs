//! What a target on the command line is.
//!
//! Paths are counted from the top of the work tree that a target is in, whatever part of it was named and wherever the
//! command runs. So globs, ignore entries and configuration of a project mean the same in every scan of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use claviger_scanner::source::git::Repository;

/// Where the paths of files are counted from.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// The top of a work tree; outside of any, the target itself or the folder of a file. Also how reports call it:
    /// relative to the current folder where that is possible.
    pub(crate) root: PathBuf,
    /// The repository whose work tree it is.
    pub(crate) repository: Option<Rc<Repository>>,
}

impl Base {
    /// For places in reports.
    pub(crate) fn name(&self) -> String {
        self.root.display().to_string()
    }
}

/// A target, looked at.
#[derive(Debug)]
pub(crate) enum Target {
    /// `-`.
    Stdin,
    /// Single files, by their paths below the base.
    Files { base: Base, paths: Vec<PathBuf> },
    /// A folder that is no top level of a repository, by its path below the base; empty for the base itself.
    Folder { base: Base, below: PathBuf },
    /// A repository: its top level, or the bare repository itself.
    Repository { path: PathBuf, repository: Rc<Repository> },
}

impl Target {
    /// The folder that holds configuration and ignore file, for targets on disk.
    pub(crate) fn home(&self) -> Option<&Path> {
        match self {
            Target::Stdin => None,
            Target::Files { base, .. } | Target::Folder { base, .. } => Some(&base.root),
            Target::Repository { path, repository } => (!repository.is_bare()).then_some(path.as_path()),
        }
    }

    /// The repository that the target is, or is in.
    pub(crate) fn repository(&self) -> Option<&Repository> {
        match self {
            Target::Stdin => None,
            Target::Files { base, .. } | Target::Folder { base, .. } => base.repository.as_deref(),
            Target::Repository { repository, .. } => Some(repository),
        }
    }
}

/// The targets of a command.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// As typed, for reports.
    pub(crate) typed: Vec<String>,
    /// What they are, each with a name for messages. Files of one base are one target, and nothing stands twice.
    pub(crate) list: Vec<(String, Target)>,
}

impl Targets {
    /// The folder that holds configuration and ignore file: what all targets on disk share. Standard input alone
    /// belongs to the current project. `None` when the targets are of different projects.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        let mut homes = self.list.iter().filter_map(|(_, target)| target.home());
        match homes.next() {
            Some(first) => homes.all(|home| same(home, first)).then(|| first.to_owned()),
            None if self.list.iter().all(|(_, target)| matches!(target, Target::Stdin)) => Some(here()),
            None => None,
        }
    }

    fn push(&mut self, name: String, target: Target) {
        for (_, known) in &mut self.list {
            match (known, &target) {
                (Target::Stdin, Target::Stdin) => return,
                (Target::Files { base, paths }, Target::Files { base: other, paths: more })
                    if same(&base.root, &other.root) =>
                {
                    paths.extend_from_slice(more);
                    return;
                }
                (Target::Folder { base, below }, Target::Folder { base: other, below: more })
                    if below == more && same(&base.root, &other.root) =>
                {
                    return;
                }
                (Target::Repository { path, .. }, Target::Repository { path: other, .. })
                    if same(path, other) =>
                {
                    return;
                }
                _ => {}
            }
        }
        self.list.push((name, target));
    }
}

/// The targets of a command line: as typed, or the current repository, or the current folder.
pub(crate) fn resolve(typed: &[PathBuf]) -> anyhow::Result<Targets> {
    let mut targets = Targets::default();
    let mut finder = Finder::default();
    let default = [here()];
    for path in if typed.is_empty() { &default } else { typed } {
        let name = path.display().to_string();
        let target = finder.target(path).with_context(|| name.clone())?;
        targets.push(name.clone(), target);
        targets.typed.push(name);
    }
    for (_, target) in &mut targets.list {
        if let Target::Files { paths, .. } = target {
            paths.sort();
            paths.dedup();
        }
    }
    Ok(targets)
}

/// The top of the current work tree, or the current folder.
fn here() -> PathBuf {
    let repository = Repository::discover(Path::new(".")).ok().flatten();
    let top = repository.as_ref().and_then(|r| r.workdir()).and_then(|w| w.canonicalize().ok());
    top.map_or_else(|| PathBuf::from("."), |top| from_here(&top))
}

/// Looks at targets; remembers the repositories of folders, for lists of many files.
#[derive(Debug, Default)]
struct Finder {
    repositories: HashMap<PathBuf, Option<(Rc<Repository>, PathBuf)>>,
}

impl Finder {
    fn target(&mut self, path: &Path) -> anyhow::Result<Target> {
        if path == Path::new("-") {
            return Ok(Target::Stdin);
        }
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() && !meta.is_dir() {
            bail!("neither a file nor a directory; pipe it in: `claviger scan - < FILE`");
        }
        // A target that is a link is followed: it was named. Links inside of targets are not.
        let real = path.canonicalize()?;
        if meta.is_file() {
            let folder = real.parent().context("no folder")?;
            let name = real.file_name().map(PathBuf::from).context("no file name")?;
            let (base, below) = self.base(folder, &real, path).unwrap_or_else(|| {
                let is_link = path.file_name() != real.file_name();
                let typed = path.parent().filter(|_| !is_link).unwrap_or(folder);
                (Base { root: or_dot(typed), repository: None }, name)
            });
            return Ok(Target::Files { base, paths: vec![below] });
        }
        if let Some(repository) = Repository::open(path)? {
            return Ok(Target::Repository { path: path.to_owned(), repository: Rc::new(repository) });
        }
        // A folder inside a work tree is scanned as a folder: its history is the whole repository's.
        let (base, below) = self
            .base(&real, &real, path)
            .unwrap_or_else(|| (Base { root: path.to_owned(), repository: None }, PathBuf::new()));
        Ok(Target::Folder { base, below })
    }

    /// The work tree that a folder is in, and the path of the target below it.
    fn base(&mut self, folder: &Path, real: &Path, typed: &Path) -> Option<(Base, PathBuf)> {
        let known = self.repositories.entry(folder.to_owned()).or_insert_with(|| {
            let repository = Repository::discover(folder).ok().flatten()?;
            let top = repository.workdir()?.canonicalize().ok()?;
            Some((Rc::new(repository), top))
        });
        let (repository, top) = known.as_ref()?;
        let below = real.strip_prefix(top).ok()?;
        let root = before(typed, below).filter(|root| same(root, top)).unwrap_or_else(|| from_here(top));
        Some((Base { root, repository: Some(Rc::clone(repository)) }, below.to_owned()))
    }
}

/// What stands before the last parts of a path: `a` for `a/b/c` and `b/c`.
fn before(typed: &Path, below: &Path) -> Option<PathBuf> {
    let count = below.components().count();
    let is_end = typed.ends_with(below);
    is_end.then(|| or_dot(typed.ancestors().nth(count).unwrap_or(Path::new(""))))
}

fn or_dot(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// The shortest way from the current folder to one above or below it; else the path as it is.
fn from_here(real: &Path) -> PathBuf {
    let Ok(here) = std::env::current_dir().and_then(|here| here.canonicalize()) else {
        return real.to_owned();
    };
    if let Ok(below) = real.strip_prefix(&here) {
        return or_dot(below);
    }
    match here.strip_prefix(real) {
        Ok(deep) => deep.components().map(|_| OsStr::new("..")).collect(),
        Err(_) => real.to_owned(),
    }
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_of_typed_paths() {
        let check = |typed: &str, below: &str, want: Option<&str>| {
            assert_eq!(
                before(Path::new(typed), Path::new(below)),
                want.map(PathBuf::from),
                "{typed} {below}"
            );
        };
        check("src/a.rs", "src/a.rs", Some("."));
        check("./src/a.rs", "src/a.rs", Some("."));
        check("../x/src/a.rs", "src/a.rs", Some("../x"));
        check("/x/src", "src", Some("/x"));
        check("a.rs", "src/a.rs", None);
    }
}
