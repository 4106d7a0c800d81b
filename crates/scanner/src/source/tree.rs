//! A directory tree on disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::{DirEntry, ParallelVisitor, ParallelVisitorBuilder, WalkBuilder, WalkState};
use rayon::prelude::*;

use super::SourceError;
use super::file::{FileScan, plain};
use crate::coverage::Reason;
use crate::engine::Engine;
use crate::path::RepoPath;
use crate::scan::{Harvest, Monitor};

/// Folders whose ignored entries are named; in further ones they are counted only.
const MAX_NAMED: usize = 1000;

/// How to walk.
#[derive(Clone, Debug)]
pub struct TreeOptions {
    /// The part of the root to walk, relative to it; empty for all of it. Paths count from the root all the same.
    pub below: PathBuf,
    /// Whether files that git ignores are left out (and counted).
    pub gitignore: bool,
    /// Which paths to read.
    pub filter: PathFilter,
    /// Files larger than this are left out (and counted); `None` for no limit.
    pub max_size: Option<u64>,
    /// Directories deeper than this are left out (and counted); `None` for no limit.
    pub max_depth: Option<usize>,
    /// Threads; at least 1.
    pub threads: usize,
    /// Now, in seconds since 1970.
    pub now: i64,
}

impl Default for TreeOptions {
    fn default() -> Self {
        TreeOptions {
            below: PathBuf::new(),
            gitignore: true,
            filter: PathFilter::default(),
            max_size: None,
            max_depth: None,
            threads: 1,
            now: 0,
        }
    }
}

/// Include and exclude globs over paths relative to the target.
#[derive(Clone, Debug, Default)]
pub struct PathFilter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl PathFilter {
    /// Compiles globs. A glob without a slash matches a name at any depth, and a folder's glob all below it.
    ///
    /// # Errors
    /// [`SourceError::Glob`].
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, SourceError> {
        Ok(PathFilter { include: set(include)?, exclude: set(exclude)? })
    }

    /// Whether every path is to be read.
    pub(crate) fn is_open(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether the path is to be read.
    pub fn admits(&self, path: &RepoPath) -> bool {
        if self.is_open() {
            return true;
        }
        let text = String::from_utf8_lossy(path.as_bytes());
        let matches = |set: &GlobSet| set.is_match(text.as_ref());
        self.include.as_ref().is_none_or(matches) && !self.exclude.as_ref().is_some_and(matches)
    }
}

fn set(globs: &[String]) -> Result<Option<GlobSet>, SourceError> {
    if globs.is_empty() {
        return Ok(None);
    }
    let bad = |glob: &str, e: &globset::Error| SourceError::Glob {
        glob: glob.to_owned(),
        why: e.kind().to_string(),
    };
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        let base = glob.trim_end_matches('/');
        let rooted = match base.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if base.contains('/') => base.to_owned(),
            None => format!("**/{base}"),
        };
        for form in [rooted.clone(), format!("{rooted}/**")] {
            builder.add(GlobBuilder::new(&form).literal_separator(true).build().map_err(|e| bad(glob, &e))?);
        }
    }
    builder.build().map(Some).map_err(|e| bad(&globs.join(", "), &e))
}

/// Scans all files below a folder, in parallel. `.git` folders are not entered: their content is the history's.
///
/// # Errors
/// [`SourceError`] only for the root itself; the rest is in the ledger.
pub fn scan(
    root: &Path,
    target: &str,
    engine: &Engine,
    options: &TreeOptions,
    monitor: &Monitor,
) -> Result<Harvest, SourceError> {
    let below = options.below.as_os_str();
    let start = if below.is_empty() { root.to_owned() } else { root.join(below) };
    std::fs::read_dir(&start).map_err(|source| SourceError::Read { path: start.clone(), source })?;
    monitor.phase("scanning files", 0);
    let all = Mutex::new(Shared::default());
    let mut walk = walker(&start, options.gitignore);
    walk.threads(options.threads.max(1));
    walk.build_parallel().visit(&mut Visitors { root, target, engine, options, monitor, all: &all });
    let Shared { mut harvest, unseen } = all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let unseen: BTreeMap<PathBuf, i64> = unseen.into_iter().filter(|(_, count)| *count > 0).collect();
    for (at, (folder, count)) in unseen.into_iter().enumerate() {
        if at < MAX_NAMED {
            for name in gitignored(&folder) {
                harvest.coverage.skip(Reason::Gitignored, relative(root, &folder.join(name)).as_bytes(), "");
            }
            continue;
        }
        let path = relative(root, &folder);
        for _ in 0..count {
            harvest.coverage.skip(Reason::Gitignored, path.as_bytes(), "an entry of this folder");
        }
    }
    Ok(harvest)
}

/// Whether git's ignore files leave a path out, itself or a folder that it is in. `path` is relative to `root`.
pub fn is_gitignored(root: &Path, path: &Path) -> bool {
    path.ancestors().any(|path| {
        let Some(name) = path.file_name() else { return false };
        let folder = root.join(path.parent().unwrap_or(Path::new("")));
        gitignored(&folder).iter().any(|left_out| left_out == name)
    })
}

/// The entries of a folder that git's ignore files leave out.
fn gitignored(folder: &Path) -> Vec<OsString> {
    let shown: HashSet<OsString> = walker(folder, true)
        .max_depth(Some(1))
        .build()
        .flatten()
        .filter(|entry| entry.depth() == 1)
        .map(|entry| entry.file_name().to_owned())
        .collect();
    let Ok(list) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = list.flatten().map(|entry| entry.file_name());
    let mut names: Vec<OsString> =
        names.filter(|name| name != OsStr::new(".git") && !shown.contains(name)).collect();
    names.sort();
    names
}

/// A walker that follows no links and enters no `.git`.
fn walker(start: &Path, gitignore: bool) -> WalkBuilder {
    let mut walk = WalkBuilder::new(start);
    walk.standard_filters(false).follow_links(false);
    if gitignore {
        walk.git_ignore(true).git_exclude(true).git_global(false).parents(true).require_git(true);
    }
    walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != OsStr::new(".git"));
    walk
}

struct Visitors<'a> {
    root: &'a Path,
    target: &'a str,
    engine: &'a Engine,
    options: &'a TreeOptions,
    monitor: &'a Monitor,
    all: &'a Mutex<Shared>,
}

/// What the threads bring together.
#[derive(Default)]
struct Shared {
    harvest: Harvest,
    unseen: HashMap<PathBuf, i64>,
}

struct Visitor<'a> {
    /// Entries that are in a folder, less those the walker handed out: what git's ignore files left out.
    unseen: HashMap<PathBuf, i64>,
    root: &'a Path,
    options: &'a TreeOptions,
    scan: FileScan<'a>,
    harvest: Harvest,
    all: &'a Mutex<Shared>,
    buffer: Vec<u8>,
}

impl<'s, 'a: 's> ParallelVisitorBuilder<'s> for Visitors<'a> {
    fn build(&mut self) -> Box<dyn ParallelVisitor + 's> {
        Box::new(Visitor {
            unseen: HashMap::new(),
            root: self.root,
            options: self.options,
            scan: FileScan {
                engine: self.engine,
                target: self.target,
                max_size: self.options.max_size,
                now: self.options.now,
                monitor: self.monitor,
            },
            harvest: Harvest::default(),
            all: self.all,
            buffer: Vec::new(),
        })
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.harvest.merge(std::mem::take(&mut self.harvest));
        for (folder, count) in self.unseen.drain() {
            *all.unseen.entry(folder).or_default() += count;
        }
    }
}

impl ParallelVisitor for Visitor<'_> {
    fn visit(&mut self, entry: Result<DirEntry, ignore::Error>) -> WalkState {
        if self.scan.monitor.is_cancelled() {
            self.harvest.coverage.skip(Reason::Interrupted, b"", "");
            return WalkState::Quit;
        }
        match entry {
            Ok(entry) => self.entry(&entry),
            Err(error) => {
                let (path, why) = describe(&error);
                let path = path.map(|p| relative(self.root, &p)).unwrap_or_default();
                self.harvest.coverage.skip(Reason::Unreadable, path.as_bytes(), &why);
                WalkState::Continue
            }
        }
    }
}

impl Visitor<'_> {
    fn entry(&mut self, entry: &DirEntry) -> WalkState {
        let path = relative(self.root, entry.path());
        let Some(kind) = entry.file_type() else { return WalkState::Continue };
        self.account(entry, kind.is_dir());
        let coverage = &mut self.harvest.coverage;
        if kind.is_dir() {
            if self.options.max_depth.is_some_and(|max| entry.depth() > max) {
                coverage.skip(Reason::Depth, path.as_bytes(), "directory");
                return WalkState::Skip;
            }
            return WalkState::Continue;
        }
        if !self.options.filter.admits(&path) {
            coverage.skip(Reason::Excluded, path.as_bytes(), "");
        } else if kind.is_symlink() {
            self.scan.symlink(entry.path(), &path, &mut self.harvest);
        } else if kind.is_file() {
            self.scan.file(entry.path(), &path, &mut self.buffer, &mut self.harvest);
        } else {
            coverage.skip(Reason::Special, path.as_bytes(), "");
        }
        self.scan.name(&path, &mut self.harvest);
        WalkState::Continue
    }

    /// Keeps the count of entries that git's ignore files hide: the walker does not tell.
    fn account(&mut self, entry: &DirEntry, is_dir: bool) {
        if !self.options.gitignore {
            return;
        }
        if let Some(parent) = entry.path().parent().filter(|_| entry.depth() > 0) {
            *self.unseen.entry(parent.to_owned()).or_default() -= 1;
        }
        if is_dir && self.options.max_depth.is_none_or(|max| entry.depth() <= max) {
            let Ok(list) = std::fs::read_dir(entry.path()) else { return };
            let count = list.flatten().filter(|e| e.file_name() != OsStr::new(".git")).count();
            *self.unseen.entry(entry.path().to_owned()).or_default() += count as i64;
        }
    }
}

/// Scans these files, given by paths relative to `root`: what a hook or `--files-from` hands over. Files that are not
/// there are entries of the ledger. [`TreeOptions::below`] and git's ignore files do not count: these files were named.
pub fn scan_list(
    root: &Path,
    files: &[PathBuf],
    target: &str,
    engine: &Engine,
    options: &TreeOptions,
    monitor: &Monitor,
) -> Harvest {
    monitor.phase("scanning files", files.len() as u64);
    let scan = FileScan { engine, target, max_size: options.max_size, now: options.now, monitor };
    let one = |(mut harvest, mut buffer): (Harvest, Vec<u8>), file: &PathBuf| {
        let path = RepoPath::from_path(file);
        let disk = root.join(file);
        if monitor.is_cancelled() {
            harvest.coverage.skip(Reason::Interrupted, path.as_bytes(), "");
        } else if !options.filter.admits(&path) {
            harvest.coverage.skip(Reason::Excluded, path.as_bytes(), "");
        } else if std::fs::symlink_metadata(&disk).is_ok_and(|meta| meta.is_symlink()) {
            scan.symlink(&disk, &path, &mut harvest);
            scan.name(&path, &mut harvest);
        } else {
            scan.file(&disk, &path, &mut buffer, &mut harvest);
            scan.name(&path, &mut harvest);
        }
        (harvest, buffer)
    };
    let parts = files.par_iter().fold(Default::default, one).map(|(harvest, _)| harvest);
    parts.reduce(Harvest::default, |mut all, part| {
        all.merge(part);
        all
    })
}

fn relative(root: &Path, path: &Path) -> RepoPath {
    RepoPath::from_path(path.strip_prefix(root).unwrap_or(path))
}

/// The path and the plain reason of a walker's error.
fn describe(error: &ignore::Error) -> (Option<PathBuf>, String) {
    match error {
        ignore::Error::WithPath { path, err } => (Some(path.clone()), describe(err).1),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => describe(err),
        ignore::Error::Io(e) => (None, plain(e)),
        other => (None, other.to_string()),
    }
}
