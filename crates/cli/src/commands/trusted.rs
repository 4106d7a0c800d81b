//! Configuration, rules, ignore file and baseline: from the target, or from where `--trust` says.
//!
//! A change must not switch off its own scan. In CI the four come from the base of the change: a commit, whose files
//! are read as objects and never checked out, or a folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claviger_scanner::rule::{self, Rule};
use claviger_scanner::source::git::Repository;
use claviger_scanner::triage::baseline::{self, Baseline};
use claviger_scanner::triage::ignore_file::{self, IgnoreFile};

use crate::args;
use crate::config::{self, Config};

/// Name of the configuration file at the top of a project.
pub(super) const CONFIG: &str = "claviger.yaml";
/// Name of the ignore file at the top of a project.
pub(super) const IGNORE: &str = ".clavigerignore";

/// Largest rule file that is read out of a commit, in bytes.
const MAX_RULES: u64 = 16 * 1024 * 1024;

/// Where the four come from.
enum Home<'a> {
    Nowhere,
    Folder(PathBuf),
    Commit { repository: &'a Repository, name: &'a str },
}

impl Home<'_> {
    /// The text of a file of at most `most` bytes, `None` when it is not there.
    fn read(&self, path: &Path, most: u64) -> anyhow::Result<Option<String>> {
        let bytes = match self {
            Home::Nowhere => return Ok(None),
            Home::Folder(folder) => {
                let file = folder.join(path);
                if std::fs::symlink_metadata(&file).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
                    return Ok(None);
                }
                inside(folder, &file)
                    .and_then(|()| config::read_file(&file, most))
                    .with_context(|| format!("{}", file.display()))?
            }
            Home::Commit { repository, name } => match repository.file_at(name, path)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        let text = String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", path.display()))?;
        Ok(Some(text))
    }

    /// For messages.
    fn name(&self, path: &Path) -> PathBuf {
        match self {
            Home::Nowhere => path.to_owned(),
            Home::Folder(folder) => folder.join(path),
            Home::Commit { name, .. } => PathBuf::from(format!("{name}:{}", path.display())),
        }
    }

    fn require(&self, path: &Path, most: u64, what: &str) -> anyhow::Result<String> {
        self.read(path, most)?.with_context(|| format!("{what}: {}: not there", self.name(path).display()))
    }
}

/// The four, read.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    pub(crate) config: Config,
    /// Rules that the configuration names.
    pub(crate) rules: Vec<Rule>,
    pub(crate) ignore: Option<IgnoreFile>,
    pub(crate) baseline: Option<Baseline>,
}

/// Reads the four. Files named by flags come from the user and are read as they are; files named by the configuration
/// come from where it comes from.
pub(crate) fn read(
    flags: &args::Triage,
    folder: Option<&Path>,
    repository: Option<&Repository>,
) -> anyhow::Result<Trusted> {
    let home = home(flags, folder, repository)?;
    let config = match &flags.config {
        Some(path) => config::read(path)?,
        None => match home.read(Path::new(CONFIG), config::MAX_SIZE)? {
            Some(text) => config::parse(&text, &home.name(Path::new(CONFIG)))?,
            None => Config::default(),
        },
    };
    // What a configuration names is relative to it.
    let beside = flags.config.as_deref().and_then(Path::parent).map(|parent| {
        let is_here = parent.as_os_str().is_empty();
        Home::Folder(if is_here { PathBuf::from(".") } else { parent.to_owned() })
    });
    let named = beside.as_ref().unwrap_or(&home);
    let mut trusted = Trusted { rules: rules(named, &config)?, ..Trusted::default() };
    trusted.ignore = ignore(flags, &home, named, &config)?;
    trusted.baseline = baseline(flags, named, &config)?;
    trusted.config = config;
    Ok(trusted)
}

fn home<'a>(
    flags: &'a args::Triage,
    folder: Option<&Path>,
    repository: Option<&'a Repository>,
) -> anyhow::Result<Home<'a>> {
    match (&flags.trust, folder) {
        (Some(name), _) if Path::new(name).is_dir() => Ok(Home::Folder(PathBuf::from(name))),
        (Some(name), _) => {
            let repository =
                repository.context("--trust names no folder, and the target is no git repository")?;
            repository.resolve(name).context("--trust")?;
            Ok(Home::Commit { repository, name })
        }
        (None, Some(folder)) => Ok(Home::Folder(folder.to_owned())),
        (None, None) => Ok(Home::Nowhere),
    }
}

fn rules(home: &Home<'_>, config: &Config) -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for path in &config.rules.paths {
        stays_inside(path, "rules.paths")?;
        match home {
            Home::Folder(folder) => {
                let path = folder.join(path);
                inside(folder, &path).with_context(|| format!("rules.paths: {}", path.display()))?;
                rules.extend(rule::read(&path).context("rules.paths")?);
            }
            _ => rules.extend(rule::parse(&home.require(path, MAX_RULES, "rules.paths")?, &home.name(path))?),
        }
    }
    Ok(rules)
}

/// The ignore file: `named` by the configuration, or the usual one at `home`.
fn ignore(
    flags: &args::Triage,
    home: &Home<'_>,
    named: &Home<'_>,
    config: &Config,
) -> anyhow::Result<Option<IgnoreFile>> {
    if let Some(path) = &flags.ignore_file {
        return Ok(Some(IgnoreFile::read(path)?));
    }
    let (home, path, needed) = match &config.ignore_file {
        Some(path) => (named, path.as_path(), true),
        None => (home, Path::new(IGNORE), false),
    };
    stays_inside(path, "ignore_file")?;
    match home.read(path, ignore_file::MAX_FILE)? {
        Some(text) => Ok(Some(IgnoreFile::parse(&text, &home.name(path))?)),
        None if needed => bail!("ignore_file: {}: not there", home.name(path).display()),
        None => Ok(None),
    }
}

fn baseline(flags: &args::Triage, home: &Home<'_>, config: &Config) -> anyhow::Result<Option<Baseline>> {
    if let Some(path) = &flags.baseline {
        return Ok(Some(Baseline::read(path)?));
    }
    let Some(path) = config.baseline.as_ref().filter(|_| flags.write_baseline.is_none()) else {
        // A baseline that is to be written need not be there yet.
        return Ok(None);
    };
    stays_inside(path, "baseline")?;
    let text = home.require(path, baseline::MAX_FILE, "baseline")?;
    Ok(Some(Baseline::parse(&text, &home.name(path))?))
}

/// What a link in a project points to must be in the project: its owner chose the link, not the user.
fn inside(folder: &Path, file: &Path) -> anyhow::Result<()> {
    if file.canonicalize()?.starts_with(folder.canonicalize()?) {
        return Ok(());
    }
    bail!("is a link out of the project; name the file with a flag instead")
}

/// A configuration may name files below it only.
fn stays_inside(path: &Path, key: &str) -> anyhow::Result<()> {
    use std::path::Component;
    if path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Ok(());
    }
    bail!("{key}: {} leads out of the project; name it with a flag instead", path.display())
}
