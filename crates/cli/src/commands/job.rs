//! A scan with its flags and configuration resolved: runs the sources.

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use claviger_scanner::engine::Engine;
use claviger_scanner::scan::{Harvest, Monitor};
use claviger_scanner::source::file;
use claviger_scanner::source::git::{self, HistoryOptions, Quarantine, Repository};
use claviger_scanner::source::tree::{self, PathFilter, TreeOptions};

use super::rules;
use super::target::{Base, Target};
use super::trusted::Trusted;
use super::writer::Jobs;
use crate::args::{self, Scan};

/// Largest list of files or refs on standard input, in bytes.
const MAX_LIST: u64 = 256 * 1024 * 1024;

/// Everything that a scan needs, resolved.
pub(super) struct Job<'a> {
    pub(super) args: &'a Scan,
    pub(super) engine: Engine,
    include: Vec<String>,
    exclude: Vec<String>,
    /// Reports and baselines that this scan reads or writes are no subject of it. Without links in the folders.
    own_files: Vec<PathBuf>,
    max_size: Option<u64>,
    threads: usize,
    /// When the scan began, in seconds since 1970.
    pub(super) now: i64,
    pub(super) monitor: Arc<Monitor>,
}

impl<'a> Job<'a> {
    pub(super) fn new(args: &'a Scan, trusted: &Trusted, jobs: &Jobs) -> anyhow::Result<Self> {
        let config = &trusted.config;
        let threads = args
            .what
            .threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
        // Ignored when the pool exists already, which a test in the same process may have caused.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        let job = Job {
            engine: engine(&args.rules, trusted)?,
            include: [args.what.include.as_slice(), &config.include].concat(),
            exclude: [args.what.exclude.as_slice(), &config.exclude].concat(),
            own_files: own_files(jobs, &args.triage),
            max_size: args.what.max_file_size.or(config.max_file_size),
            threads,
            now: jiff::Timestamp::now().as_second(),
            monitor: Arc::new(Monitor::default()),
            args,
        };
        // A bad glob must end the command before anything is read.
        PathFilter::new(&job.include, &job.exclude)?;
        Ok(job)
    }

    /// Scans one target. `name` is for messages.
    pub(super) fn scan(
        &self,
        name: &str,
        target: &Target,
        notices: &mut Vec<String>,
    ) -> anyhow::Result<Harvest> {
        let what = &self.args.what;
        if let Some(flag) = history_flag(what)
            && !matches!(target, Target::Repository { .. })
        {
            return Err(no_repository(name, flag, target));
        }
        if let Some(list) = &what.files_from {
            return self.listed(name, target, list, notices);
        }
        match target {
            Target::Stdin => {
                let mut input = io::stdin().lock();
                Ok(file::scan_reader(&self.engine, &mut input, name, self.now, &self.monitor)
                    .context("standard input")?)
            }
            Target::Files { base, paths } => self.files(base, paths),
            Target::Folder { base, below } => {
                if base.repository.is_some() && !what.no_history {
                    notices.push(format!(
                        "{name}: its files were scanned, not the history of the repository that it is in; \
                         `claviger scan` without a target reads that too"
                    ));
                }
                let options = TreeOptions { below: below.clone(), ..self.tree(&base.root)? };
                Ok(tree::scan(&base.root, &base.name(), &self.engine, &options, &self.monitor)?)
            }
            Target::Repository { repository, .. }
                if what.staged || what.range.is_some() || what.pre_receive =>
            {
                self.change(name, repository, notices)
            }
            Target::Repository { path, repository } => {
                if repository.is_bare() && what.no_history {
                    notices.push(format!("{name}: a bare repository has no files, only a history"));
                }
                self.repository(name, path, repository)
            }
        }
    }

    fn files(&self, base: &Base, paths: &[PathBuf]) -> anyhow::Result<Harvest> {
        let options = self.tree(&base.root)?;
        Ok(tree::scan_list(&base.root, paths, &base.name(), &self.engine, &options, &self.monitor))
    }

    fn repository(&self, name: &str, path: &Path, repository: &Repository) -> anyhow::Result<Harvest> {
        let what = &self.args.what;
        let mut harvest = Harvest::default();
        if !what.history_only && !repository.is_bare() {
            harvest.merge(tree::scan(path, name, &self.engine, &self.tree(path)?, &self.monitor)?);
        }
        if !what.no_history {
            let options = self.history()?;
            harvest.merge(git::history(repository, &self.engine, &options, name, &self.monitor)?);
        }
        if what.submodules {
            for module in repository.submodules() {
                let inner = format!("{name}/{}", module.display());
                if let Some(repository) = Repository::open(&path.join(&module))? {
                    harvest.merge(self.repository(&inner, &path.join(&module), &repository)?);
                }
            }
        }
        Ok(harvest)
    }

    /// What a commit, a merge request or a push adds.
    fn change(
        &self,
        name: &str,
        repository: &Repository,
        notices: &mut Vec<String>,
    ) -> anyhow::Result<Harvest> {
        let what = &self.args.what;
        let options = self.history()?;
        let change = if what.staged {
            git::staged(repository, &self.engine, &options, name, &self.monitor)?
        } else if let Some(range) = &what.range {
            git::range(repository, &self.engine, range, &options, name, &self.monitor)?
        } else {
            let mut lines = String::new();
            io::stdin().lock().take(MAX_LIST).read_to_string(&mut lines).context("standard input")?;
            git::pre_receive(repository, &self.engine, &lines, &quarantine(), &options, name, &self.monitor)?
        };
        if change.harvest.coverage.is_empty() {
            notices.push(format!("{name}: the change is empty: nothing was scanned"));
        }
        if change.known > 0 {
            notices.push(format!(
                "{name}: {} secrets were there before the change and are left out",
                change.known
            ));
        }
        Ok(change.harvest)
    }

    fn listed(
        &self,
        name: &str,
        target: &Target,
        list: &Path,
        notices: &mut Vec<String>,
    ) -> anyhow::Result<Harvest> {
        let (base, below) = match target {
            Target::Folder { base, below } => (base.clone(), below.as_path()),
            Target::Repository { path, .. } => (Base { root: path.clone(), repository: None }, Path::new("")),
            _ => bail!("{name}: --files-from names files below a folder"),
        };
        let mut bytes = Vec::new();
        if list == Path::new("-") {
            io::stdin().lock().take(MAX_LIST).read_to_end(&mut bytes).context("standard input")?;
        } else {
            std::fs::File::open(list)
                .and_then(|f| f.take(MAX_LIST).read_to_end(&mut bytes))
                .with_context(|| format!("{}", list.display()))?;
        }
        let top = base.root.canonicalize().unwrap_or_else(|_| base.root.clone());
        let files: Vec<PathBuf> = lines(&bytes)
            .map(|line| Ok(counted_from(&top, below, &path_of(line, list)?)))
            .collect::<anyhow::Result<_>>()?;
        if files.is_empty() {
            notices.push(format!("{}: the list is empty: nothing was scanned", list.display()));
        }
        self.files(&base, &files)
    }

    fn tree(&self, root: &Path) -> anyhow::Result<TreeOptions> {
        let mut exclude = self.exclude.clone();
        if let Ok(root) = root.canonicalize() {
            let own = self.own_files.iter().filter_map(|file| file.strip_prefix(&root).ok());
            exclude.extend(own.map(|path| format!("/{}", globset::escape(&path.to_string_lossy()))));
        }
        Ok(TreeOptions {
            gitignore: !self.args.what.no_gitignore,
            filter: PathFilter::new(&self.include, &exclude)?,
            max_size: self.max_size,
            max_depth: self.args.what.max_depth.map(|n| n as usize),
            threads: self.threads,
            now: self.now,
            ..TreeOptions::default()
        })
    }

    fn history(&self) -> anyhow::Result<HistoryOptions> {
        Ok(HistoryOptions {
            branches: self.args.what.branch.clone(),
            since: self.args.what.since.clone(),
            max_depth: self.args.what.max_depth,
            unreachable: self.args.what.unreachable,
            max_blob: self.max_size,
            filter: PathFilter::new(&self.include, &self.exclude)?,
            index: std::env::var_os("GIT_INDEX_FILE").filter(|_| self.args.what.staged).map(PathBuf::from),
            now: self.now,
            plain: self.args.what.plain_history,
        })
    }
}

/// The first flag that only a whole repository can answer.
fn history_flag(what: &args::What) -> Option<&'static str> {
    let flags = [
        (what.staged, "--staged"),
        (what.range.is_some(), "--range"),
        (what.pre_receive, "--pre-receive"),
        (what.history_only, "--history-only"),
        (what.since.is_some(), "--since"),
        (!what.branch.is_empty(), "--branch"),
        (what.unreachable, "--unreachable"),
        (what.submodules, "--submodules"),
    ];
    flags.into_iter().find(|(is_set, _)| *is_set).map(|(_, flag)| flag)
}

fn no_repository(name: &str, flag: &str, target: &Target) -> anyhow::Error {
    match target.repository() {
        Some(_) => anyhow::anyhow!(
            "{name}: {flag} is about a whole repository, and this is a part of one; leave the target out, and narrow \
             the scan with --include"
        ),
        None => anyhow::anyhow!("{name}: not a git repository; {flag} needs one"),
    }
}

/// The entries of a list. `find -print0` and `git ls-files -z` separate by NUL.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let separator = if bytes.contains(&0) { 0 } else { b'\n' };
    bytes
        .split(move |b| *b == separator)
        .map(move |line| if separator == 0 { line } else { line.strip_suffix(b"\r").unwrap_or(line) })
        .filter(|line| !line.is_empty())
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have names that are no paths")]
fn path_of(line: &[u8], _: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(line)))
}

#[cfg(not(unix))]
fn path_of(line: &[u8], list: &Path) -> anyhow::Result<PathBuf> {
    let text = std::str::from_utf8(line).with_context(|| format!("{}: not UTF-8", list.display()))?;
    Ok(PathBuf::from(text))
}

/// A listed path as one below `top`, where it is: lists name files below the target, or by their whole paths.
fn counted_from(top: &Path, below: &Path, listed: &Path) -> PathBuf {
    if listed.is_absolute() {
        return listed.strip_prefix(top).unwrap_or(listed).to_owned();
    }
    // `find .` begins every path with `./`.
    below.components().chain(listed.components()).filter(|c| *c != Component::CurDir).collect()
}

/// The engine with the rules that flags and configuration choose.
pub(super) fn engine(choice: &args::RuleChoice, trusted: &Trusted) -> anyhow::Result<Engine> {
    let mut more = trusted.rules.clone();
    for path in &choice.rules {
        more.extend(claviger_scanner::rule::read(path).context("--rules")?);
    }
    let config = &trusted.config.rules;
    let builtin = !choice.no_builtin_rules && config.builtin != Some(false);
    let only = if choice.only.is_empty() { &config.only } else { &choice.only };
    let skip = [choice.skip.as_slice(), &config.skip].concat();
    Ok(Engine::new(rules::combine(builtin, more, only, &skip)?)?)
}

fn own_files(jobs: &Jobs, triage: &args::Triage) -> Vec<PathBuf> {
    let files = jobs.files().chain(triage.baseline.as_deref()).chain(triage.write_baseline.as_deref());
    let real = |file: &Path| {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(file.file_name()?))
    };
    files.filter_map(real).collect()
}

/// Git's variables for the objects of a push that is not accepted yet.
fn quarantine() -> Quarantine {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let alternates = std::env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        .map(|list| std::env::split_paths(&list).collect())
        .unwrap_or_default();
    Quarantine { objects: path("GIT_OBJECT_DIRECTORY"), quarantine: path("GIT_QUARANTINE_PATH"), alternates }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_paths() {
        let all = |text: &'static [u8]| {
            lines(text).map(|l| String::from_utf8_lossy(l).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(all(b"a\r\nb\n\n"), ["a", "b"]);
        assert_eq!(all(b"a\nb\0c\r\0"), ["a\nb", "c\r"]);
        let check = |below: &str, listed: &str, want: &str| {
            let path = counted_from(Path::new("/top"), Path::new(below), Path::new(listed));
            assert_eq!(path, Path::new(want), "{below} {listed}");
        };
        check("", "./a/b", "a/b");
        check("sub", "b", "sub/b");
        check("sub", "/top/sub/b", "sub/b");
        check("sub", "/else/b", "/else/b");
    }
}
