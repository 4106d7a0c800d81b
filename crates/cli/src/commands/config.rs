//! `claviger config ...`.

use std::path::Path;

use anyhow::Context as _;
use claviger_scanner::rule;
use claviger_scanner::source::tree::PathFilter;
use claviger_scanner::triage::baseline::Baseline;
use claviger_scanner::triage::ignore_file::IgnoreFile;

use super::{print, rules::combine, trusted::IGNORE};
use crate::args::{Config, ConfigVerb};
use crate::{Outcome, config};

pub(crate) fn run(args: &Config) -> anyhow::Result<Outcome> {
    match &args.verb {
        ConfigVerb::Check { file } => check(file),
        ConfigVerb::Schema => {
            print(&format!("{:#}\n", config::schema()))?;
            Ok(Outcome::Clean)
        }
    }
}

/// Reads the file and everything it names, as a scan would.
fn check(file: &Path) -> anyhow::Result<Outcome> {
    let config = config::read(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut more = Vec::new();
    for path in &config.rules.paths {
        more.extend(rule::read(&folder.join(path)).context("rules.paths")?);
    }
    let builtin = config.rules.builtin != Some(false);
    let set = combine(builtin, more, &config.rules.only, &config.rules.skip)?;
    claviger_scanner::engine::Engine::new(set.clone())?;
    PathFilter::new(&config.include, &config.exclude)?;
    if let Some(path) = &config.baseline {
        Baseline::read(&folder.join(path)).context("baseline")?;
    }
    let ignore = config.ignore_file.as_deref().unwrap_or(Path::new(IGNORE));
    let ignore = folder.join(ignore);
    if config.ignore_file.is_some() || ignore.exists() {
        let unsorted = IgnoreFile::read(&ignore).context("ignore_file")?.unsorted();
        if let Some(line) = unsorted {
            print(&format!(
                "{}:{line}: not in order; `LC_ALL=C sort -o FILE FILE` keeps merges free of conflicts\n",
                ignore.display()
            ))?;
        }
    }
    print(&format!("{}: good; {} rules\n", file.display(), set.rules().len()))?;
    Ok(Outcome::Clean)
}
