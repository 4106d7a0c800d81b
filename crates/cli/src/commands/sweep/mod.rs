//! `claviger sweep`: many repositories, and later only what is new in them.
//!
//! - `list`, `forge`: which repositories; `shard`: which of them are this machine's;
//! - `mirror`: what is elsewhere, as bare mirrors;
//! - `one`: what is scanned of one repository; `owners`: whose its paths are;
//! - `run`: all of them in parallel;
//! - `state`: what is known between sweeps;
//! - `report`: what is said of it.

mod forge;
mod list;
mod mirror;
mod model;
mod one;
mod owners;
mod report;
mod run;
mod shard;
mod state;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use claviger_scanner::path::printable;
use claviger_scanner::scan::Monitor;
use claviger_scanner::secret::Secret;
use claviger_scanner::source::git::HistoryOptions;
use claviger_scanner::source::tree::PathFilter;

use super::scan::{fingerprinter, interrupt, key, least};
use super::writer::{Place, pair, write_file};
use super::{job, trusted};
use crate::args::Triage;
use crate::args_sweep::{Hosts, Sweep, SweepOutput};
use crate::progress::Display;
use crate::{Outcome, warn};
use forge::{Filter, Forge, Kind};
use mirror::Mirrors;
use model::{Status, Target, Where};
use one::Scanner;
use report::{FORMATS, Format, Report};
use shard::Shard;
use state::{Record, Sqlite, State};

/// A listing that failed, and why: repositories that nobody knows of were not scanned.
type Gap = (String, String);

pub(crate) fn run(args: &Sweep) -> anyhow::Result<Outcome> {
    let outputs = outputs(&args.output)?;
    let shard = args.run.shard.as_deref().map(|text| Shard::parse(text, |name| std::env::var(name).ok()));
    let shard = shard.transpose()?;
    let now = jiff::Timestamp::now().as_second();
    let threads = args
        .run
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let scanner = scanner(args, now)?;
    let (mut targets, access, gaps) = targets(args)?;
    targets.retain(|target| shard.is_none_or(|shard| shard.has(target)));
    let stop = Arc::new(AtomicBool::new(false));
    let mirrors = mirrors(args, &targets, access, &stop)?;
    if let Some(folder) = &args.output.sarif_dir {
        std::fs::create_dir_all(folder).with_context(|| shown(folder))?;
    }
    let state = Sqlite::open(&args.run.state)?;
    let (number, is_resumed) = state.begin(now)?;
    if is_resumed && !args.output.quiet {
        warn("the last sweep did not end; this one goes on where it was");
    }
    let monitor = Arc::new(Monitor::default());
    let active: Arc<Mutex<Vec<Arc<Monitor>>>> = Arc::default();
    let (scans, stopping) = (Arc::clone(&active), Arc::clone(&stop));
    interrupt(&monitor, ". The next sweep goes on from here", move || {
        stopping.store(true, Ordering::Relaxed);
        run::lock(&scans).iter().for_each(|monitor| monitor.cancel());
    })?;
    let display = Display::start(&monitor, args.output.quiet);
    let sweep = run::Sweep {
        number,
        targets: &targets,
        scanner: &scanner,
        state: &state,
        mirrors,
        monitor: Arc::clone(&monitor),
        active,
        stop: &stop,
        now,
        fetches: usize::from(args.mirrors.fetches),
        threads,
    };
    sweep.run()?;
    drop(display);
    let is_interrupted = stop.load(Ordering::Relaxed);
    let records = records(&state, number, &targets, &gaps, is_interrupted)?;
    if let Some(folder) = &args.output.sarif_dir {
        sarif(folder, &targets, &records)?;
    }
    let report = Report::new(number, records, (now, jiff::Timestamp::now().as_second()));
    for place in &outputs {
        place.write(|out| (place.format.write)(&report, out))?;
    }
    if !is_interrupted {
        // Stop before this: the sweep goes on the next time, and says the same.
        state.finish(number, now)?;
    }
    if !args.output.quiet {
        summary(&report);
    }
    let is_clean = report.counts.new + report.counts.still == 0 || args.output.exit_zero;
    Ok(match (report.complete, is_clean) {
        (false, _) => Outcome::Incomplete,
        (true, true) => Outcome::Clean,
        (true, false) => Outcome::Findings,
    })
}

/// The names of the formats, for the help.
pub(crate) fn format_names() -> clap::builder::PossibleValuesParser {
    let value = |format: &Format| clap::builder::PossibleValue::new(format.name).help(format.help);
    clap::builder::PossibleValuesParser::new(FORMATS.iter().map(value))
}

/// A path for messages.
pub(super) fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

fn scanner(args: &Sweep, now: i64) -> anyhow::Result<Scanner> {
    let triage = Triage { min_confidence: args.run.min_confidence, ..Triage::from(&args.triage) };
    let trusted = trusted::read(&triage, None, None)?;
    let key = key();
    let fingerprinter = fingerprinter(&trusted, key.as_ref())?;
    let engine = job::engine(&args.rules, &trusted)?;
    let least = least(args.run.min_confidence, &trusted);
    let config = &trusted.config;
    let options = HistoryOptions {
        max_blob: args.run.max_file_size.or(config.max_file_size),
        filter: PathFilter::new(&config.include, &config.exclude)?,
        now,
        ..HistoryOptions::default()
    };
    // Tells one key or salt from another and gives nothing of it away.
    let probe = fingerprinter.fingerprint("sweep", &Secret::new(b"claviger sweep"));
    let file = |path: &Option<PathBuf>| path.as_ref().map(std::fs::read).transpose();
    let ignore = file(&args.triage.ignore_file)?.unwrap_or_default();
    let baseline = file(&args.triage.baseline)?.unwrap_or_default();
    // Entries that expire are looked at anew each day.
    let expires = ignore.windows(8).any(|word| word == b"expires=");
    let day = if expires { super::scan::today(now).to_string() } else { String::new() };
    let digest = model::digest(&[
        env!("CARGO_PKG_VERSION").as_bytes(),
        engine.rules().digest().as_bytes(),
        probe.as_str().as_bytes(),
        least.as_str().as_bytes(),
        format!("{:?} {:?} {:?}", options.max_blob, config.include, config.exclude).as_bytes(),
        &ignore,
        &baseline,
        day.as_bytes(),
    ]);
    let (ignore, baseline) = (trusted.ignore, trusted.baseline);
    Ok(Scanner { engine, fingerprinter, key, least, options, ignore, baseline, digest })
}

/// The repositories, what lets git into them, and the listings that failed.
fn targets(args: &Sweep) -> anyhow::Result<(Vec<Target>, Vec<mirror::Access>, Vec<Gap>)> {
    let hosts = &args.hosts;
    let is_listed = !hosts.github_org.is_empty() || !hosts.gitlab_group.is_empty();
    if args.sources.is_empty() && !is_listed {
        bail!("nothing to sweep: name a list, a folder, --github-org or --gitlab-group");
    }
    let mut targets = list::Targets::default();
    for source in &args.sources {
        targets.add_source(source)?;
    }
    let (mut access, mut gaps) = (Vec::new(), Vec::new());
    let filter = Filter { no_archived: hosts.no_archived, no_forks: hosts.no_forks };
    for (name, forge, owners) in forges(hosts)? {
        for owner in owners {
            match forge.list(owner, filter) {
                Ok(list) => list.into_iter().for_each(|target| targets.add(target)),
                Err(e) => {
                    gaps.push((
                        format!("{name} {}", printable(owner.as_bytes())),
                        format!("cannot be listed: {e:#}"),
                    ));
                }
            }
        }
        access.extend(forge.access());
    }
    Ok((targets.list(), access, gaps))
}

fn forges(hosts: &Hosts) -> anyhow::Result<Vec<(&'static str, Forge, &[String])>> {
    let mut forges = Vec::new();
    if !hosts.github_org.is_empty() {
        let token = forge::token(hosts.github_token_file.as_deref(), "GITHUB_TOKEN")?;
        let forge = Forge::new(Kind::GitHub, &hosts.github_url, token).context("--github-url")?;
        forges.push(("GitHub organisation", forge, hosts.github_org.as_slice()));
    }
    if !hosts.gitlab_group.is_empty() {
        let token = forge::token(hosts.gitlab_token_file.as_deref(), "GITLAB_TOKEN")?;
        let forge = Forge::new(Kind::GitLab, &hosts.gitlab_url, token).context("--gitlab-url")?;
        forges.push(("GitLab group", forge, hosts.gitlab_group.as_slice()));
    }
    Ok(forges)
}

fn mirrors<'a>(
    args: &Sweep,
    targets: &[Target],
    access: Vec<mirror::Access>,
    stop: &'a AtomicBool,
) -> anyhow::Result<Option<Mirrors<'a>>> {
    let Some(folder) = &args.mirrors.mirrors else {
        let url = targets.iter().find(|target| matches!(target.at, Where::Url(_)));
        return match url {
            Some(target) => bail!("{}: a URL needs a folder for its mirror: --mirrors DIR", target.name),
            None => Ok(None),
        };
    };
    std::fs::create_dir_all(folder).with_context(|| shown(folder))?;
    Ok(Some(Mirrors {
        folder: folder.canonicalize().with_context(|| shown(folder))?,
        time_limit: Duration::from_secs(args.mirrors.time_limit),
        size_limit: args.mirrors.size_limit,
        keep_free: args.mirrors.keep_free,
        access,
        stop,
    }))
}

/// What is known of all repositories of the sweep, and of what could not be listed.
fn records(
    state: &dyn State,
    number: i64,
    targets: &[Target],
    gaps: &[Gap],
    is_interrupted: bool,
) -> anyhow::Result<Vec<Record>> {
    let missing = |name: &str, why: &str| Record {
        name: name.to_owned(),
        status: Status::Failed,
        why: why.to_owned(),
        rows: Vec::new(),
    };
    let mut records = Vec::with_capacity(targets.len() + gaps.len());
    for target in targets {
        let record = state.record(number, &target.name)?;
        records.push(
            record.unwrap_or_else(|| missing(&target.name, "not reached before the sweep was stopped")),
        );
    }
    records.extend(gaps.iter().map(|(name, why)| missing(name, why)));
    if is_interrupted {
        records.push(missing("the sweep", "interrupted: what was not reached is as it was known before"));
    }
    Ok(records)
}

fn sarif(folder: &Path, targets: &[Target], records: &[Record]) -> anyhow::Result<()> {
    for (target, record) in targets.iter().zip(records) {
        let path = folder.join(format!("{}.sarif", target.file_stem()));
        write_file(&path, |out| report::write_sarif(record, out)).with_context(|| shown(&path))?;
    }
    Ok(())
}

/// The reports to write; without a file, to standard output.
fn outputs(args: &SweepOutput) -> anyhow::Result<Vec<Place<Format>>> {
    let named = |name: &str| FORMATS.iter().find(|format| format.name == name).copied();
    let by_ending = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let known = FORMATS.iter().find(|format| Some(format.ending) == ending);
        known.copied().with_context(|| format!("{}: say which format with --format", shown(path)))
    };
    pair(&args.format, &args.output, FORMATS[0].name, named, by_ending)
}

/// What a person wants to know at once.
fn summary(report: &Report) {
    warn(&report.headline());
    for gap in report.repositories.iter().filter(|one| !one.status.is_complete()) {
        warn(&format!("{}: {}", gap.name, gap.why));
    }
}
