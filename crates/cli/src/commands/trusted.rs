//! Configuration, rules, ignore file and baseline: from the target, or from where `--trust` says.
//!
//! A change must not switch off its own scan. In CI the four come from the base of the change: a commit, whose files
//! are read as objects and never checked out, or a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claviger_scanner::rule::{self, Rule};
use claviger_scanner::source::git::Repository;
use claviger_scanner::triage::baseline::Baseline;
use claviger_scanner::triage::ignore_file::IgnoreFile;

use crate::args;
use crate::config::{self, Config};

/// Name of the configuration file at the top of a project.
const CONFIG: &str = "claviger.yaml";
/// Name of the ignore file at the top of a project.
pub(super) const IGNORE: &str = ".clavigerignore";

/// Where the four come from.
enum Home<'a> {
    Nowhere,
    Folder(PathBuf),
    Commit { repository: &'a Repository, name: &'a str },
}

impl Home<'_> {
    /// The text of a file, `None` when it is not there.
    fn read(&self, path: &Path) -> anyhow::Result<Option<String>> {
        let bytes = match self {
            Home::Nowhere => return Ok(None),
            Home::Folder(folder) => match std::fs::read(folder.join(path)) {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e).with_context(|| format!("{}", folder.join(path).display())),
            },
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

    fn require(&self, path: &Path, what: &str) -> anyhow::Result<String> {
        self.read(path)?.with_context(|| format!("{what}: {}: not there", self.name(path).display()))
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
        None => match home.read(Path::new(CONFIG))? {
            Some(text) => config::parse(&text, &home.name(Path::new(CONFIG)))?,
            None => Config::default(),
        },
    };
    // What a configuration names is relative to it.
    let home = match flags.config.as_deref().and_then(Path::parent) {
        Some(parent) => Home::Folder(parent.to_owned()),
        None => home,
    };
    let mut trusted = Trusted { rules: rules(&home, &config)?, ..Trusted::default() };
    trusted.ignore = ignore(flags, &home, &config)?;
    trusted.baseline = baseline(flags, &home, &config)?;
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
            Home::Folder(folder) => rules.extend(rule::read(&folder.join(path)).context("rules.paths")?),
            _ => rules.extend(rule::parse(&home.require(path, "rules.paths")?, &home.name(path))?),
        }
    }
    Ok(rules)
}

fn ignore(flags: &args::Triage, home: &Home<'_>, config: &Config) -> anyhow::Result<Option<IgnoreFile>> {
    if let Some(path) = &flags.ignore_file {
        return Ok(Some(IgnoreFile::read(path)?));
    }
    let (path, needed) = match &config.ignore_file {
        Some(path) => (path.as_path(), true),
        None => (Path::new(IGNORE), false),
    };
    stays_inside(path, "ignore_file")?;
    match home.read(path)? {
        Some(text) => Ok(Some(IgnoreFile::parse(&text, &home.name(path))?)),
        None if needed => bail!("ignore_file: {}: not there", home.name(path).display()),
        None => Ok(None),
    }
}

fn baseline(flags: &args::Triage, home: &Home<'_>, config: &Config) -> anyhow::Result<Option<Baseline>> {
    if let Some(path) = &flags.baseline {
        return Ok(Some(Baseline::read(path)?));
    }
    let Some(path) = &config.baseline else { return Ok(None) };
    stays_inside(path, "baseline")?;
    Ok(Some(Baseline::parse(&home.require(path, "baseline")?, &home.name(path))?))
}

/// A configuration may name files below it only.
fn stays_inside(path: &Path, key: &str) -> anyhow::Result<()> {
    use std::path::Component;
    if path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Ok(());
    }
    bail!("{key}: {} leads out of the project; name it with a flag instead", path.display())
}
