//! `claviger scan`: resolves flags and configuration, runs the sources, triages, writes the reports.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use claviger_scanner::coverage::Coverage;
use claviger_scanner::engine::Engine;
use claviger_scanner::finding::Finding;
use claviger_scanner::fingerprint::Fingerprinter;
use claviger_scanner::report::{Allowed, Report};
use claviger_scanner::rule::Confidence;
use claviger_scanner::scan::{Harvest, Monitor, group};
use claviger_scanner::source::file;
use claviger_scanner::source::git::{self, HistoryOptions, Quarantine, Repository};
use claviger_scanner::source::tree::{self, PathFilter, TreeOptions};
use claviger_scanner::triage::baseline::Baseline;
use claviger_scanner::triage::{self, Triage, TriageError};
use zeroize::Zeroizing;

use super::rules;
use super::target::{self, Target};
use super::trusted::{self, Trusted};
use super::writer::Jobs;
use crate::args::Scan;
use crate::progress::Display;
use crate::{Outcome, args};

/// Environment variable with the key of keyed fingerprints.
const KEY: &str = "CLAVIGER_FINGERPRINT_KEY";
/// Largest list of files or refs on standard input, in bytes.
const MAX_LIST: u64 = 256 * 1024 * 1024;

/// Everything that a scan needs, resolved.
struct Job<'a> {
    args: &'a Scan,
    engine: Engine,
    filter: PathFilter,
    max_size: Option<u64>,
    threads: usize,
    now: i64,
    monitor: Arc<Monitor>,
}

pub(crate) fn run(args: &Scan) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let jobs = Jobs::new(&args.output)?;
    let targets = target::resolve(&args.targets)?;
    let trusted = trusted(args, &targets)?;
    let job = Job::new(args, &trusted, &jobs)?;
    let fingerprinter = fingerprinter(&trusted)?;
    interrupt(&job.monitor)?;
    let display = Display::start(&job.monitor, args.output.quiet);

    let mut harvest = Harvest::default();
    let mut notices = Vec::new();
    for (name, target) in &targets {
        harvest.merge(job.scan(name, target, &mut notices)?);
    }
    let read = start.elapsed();
    job.monitor.phase("sorting findings", 0);
    let least = least(args, &trusted);
    let (findings, hidden) = group(&job.engine, harvest.sightings, &fingerprinter, least);
    drop(display);
    if let Some(path) = &args.triage.write_baseline {
        return write_baseline(path, &findings, &harvest.coverage);
    }
    let report = report(&job, &targets, trusted, findings, hidden, harvest.coverage, notices)?;
    jobs.write(&report, &args.output)?;
    if args.output.stats {
        stats(&report, &job.monitor, read, start.elapsed());
    }
    Ok(outcome(&report, args.output.exit_zero))
}

/// Findings decide the status only of a scan that saw everything.
fn outcome(report: &Report, exit_zero: bool) -> Outcome {
    if !report.is_complete() {
        Outcome::Incomplete
    } else if report.findings.is_empty() || exit_zero {
        Outcome::Clean
    } else {
        Outcome::Findings
    }
}

fn trusted(args: &Scan, targets: &[(String, Target)]) -> anyhow::Result<Trusted> {
    let repository = targets.iter().find_map(|(_, target)| match target {
        Target::Repository { repository, .. } => Some(&**repository),
        _ => None,
    });
    // With several targets, none of them speaks for the others.
    let home = match targets {
        [(_, target)] => target.home(),
        _ => None,
    };
    trusted::read(&args.triage, home, repository)
}

fn least(args: &Scan, trusted: &Trusted) -> Confidence {
    let flag = args.triage.min_confidence.map(Confidence::from);
    let config = trusted.config.min_confidence.map(Confidence::from);
    flag.or(config).unwrap_or(Confidence::Medium)
}

/// The key of the environment, or the salt of the project: of its configuration, else its ignore file.
fn fingerprinter(trusted: &Trusted) -> anyhow::Result<Fingerprinter> {
    if let Some(key) = std::env::var_os(KEY).filter(|key| !key.is_empty()) {
        let key = Zeroizing::new(key.into_encoded_bytes());
        return Fingerprinter::keyed(&key).context(KEY);
    }
    let ignored = trusted.ignore.as_ref().and_then(|file| file.salt());
    Ok(Fingerprinter::salted(trusted.config.fingerprint.salt.as_deref().or(ignored)))
}

/// The first Ctrl-C ends the scan with what it has; the second ends the process.
fn interrupt(monitor: &Arc<Monitor>) -> anyhow::Result<()> {
    let monitor = Arc::clone(monitor);
    ctrlc::set_handler(move || {
        if monitor.is_cancelled() {
            std::process::exit(130);
        }
        monitor.cancel();
    })
    .context("cannot listen for Ctrl-C")
}

impl<'a> Job<'a> {
    fn new(args: &'a Scan, trusted: &Trusted, jobs: &Jobs) -> anyhow::Result<Self> {
        let config = &trusted.config;
        let threads = args
            .what
            .threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
        // Ignored when the pool exists already, which a test in the same process may have caused.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        let mut exclude = [args.what.exclude.as_slice(), &config.exclude].concat();
        exclude.extend(own_files(jobs, &args.triage));
        let include = [args.what.include.as_slice(), &config.include].concat();
        Ok(Job {
            engine: engine(&args.rules, trusted)?,
            filter: PathFilter::new(&include, &exclude)?,
            max_size: args.what.max_file_size.or(config.max_file_size),
            threads,
            now: jiff::Timestamp::now().as_second(),
            monitor: Arc::new(Monitor::default()),
            args,
        })
    }

    fn scan(&self, name: &str, target: &Target, notices: &mut Vec<String>) -> anyhow::Result<Harvest> {
        let what = &self.args.what;
        if what.staged || what.range.is_some() || what.pre_receive {
            let Target::Repository { repository, .. } = target else {
                bail!("{name}: not a git repository; --staged, --range and --pre-receive need one");
            };
            return self.change(name, repository, notices);
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
            Target::File { folder, name: file } => Ok(tree::scan_list(
                folder,
                std::slice::from_ref(file),
                name,
                &self.engine,
                &self.tree(),
                &self.monitor,
            )),
            Target::Folder { path } => {
                if what.history_only {
                    bail!("{name}: not a git repository; --history-only needs one");
                }
                if Repository::discover(path).ok().flatten().is_some() && !what.no_history {
                    notices.push(format!(
                        "{name} is a folder inside a repository: its files were scanned, no history"
                    ));
                }
                Ok(tree::scan(path, name, &self.engine, &self.tree(), &self.monitor)?)
            }
            Target::Repository { path, repository } => self.repository(name, path, repository),
        }
    }

    fn repository(&self, name: &str, path: &Path, repository: &Repository) -> anyhow::Result<Harvest> {
        let what = &self.args.what;
        let mut harvest = Harvest::default();
        if !what.history_only && !repository.is_bare() {
            harvest.merge(tree::scan(path, name, &self.engine, &self.tree(), &self.monitor)?);
        }
        if !what.no_history {
            let options = self.history();
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
        let options = self.history();
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
        let root = match target {
            Target::Folder { path } | Target::Repository { path, .. } => path.as_path(),
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
        let text = String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", list.display()))?;
        // `find -print0` and `git ls-files -z` separate by NUL.
        let separator = if text.contains('\0') { '\0' } else { '\n' };
        let files: Vec<PathBuf> = text
            .split(separator)
            .map(|l| l.trim_end_matches('\r'))
            .filter(|l| !l.is_empty())
            .map(PathBuf::from)
            .collect();
        if files.is_empty() {
            notices.push(format!("{}: the list is empty: nothing was scanned", list.display()));
        }
        Ok(tree::scan_list(root, &files, name, &self.engine, &self.tree(), &self.monitor))
    }

    fn tree(&self) -> TreeOptions {
        TreeOptions {
            gitignore: !self.args.what.no_gitignore,
            filter: self.filter.clone(),
            max_size: self.max_size,
            max_depth: self.args.what.max_depth.map(|n| n as usize),
            threads: self.threads,
            now: self.now,
        }
    }

    fn history(&self) -> HistoryOptions {
        HistoryOptions {
            branches: self.args.what.branch.clone(),
            since: self.args.what.since.clone(),
            max_depth: self.args.what.max_depth,
            unreachable: self.args.what.unreachable,
            max_blob: self.max_size,
            filter: self.filter.clone(),
            index: std::env::var_os("GIT_INDEX_FILE").filter(|_| self.args.what.staged).map(PathBuf::from),
            now: self.now,
            plain: self.args.what.plain_history,
        }
    }
}

fn engine(choice: &args::RuleChoice, trusted: &Trusted) -> anyhow::Result<Engine> {
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

/// Reports and baselines that this scan reads or writes are no subject of it.
fn own_files<'a>(jobs: &'a Jobs, triage: &'a args::Triage) -> impl Iterator<Item = String> + 'a {
    let files = jobs.files().chain(triage.baseline.as_deref()).chain(triage.write_baseline.as_deref());
    files.filter(|p| p.is_relative()).map(|p| {
        let text = p.to_string_lossy().replace('\\', "/");
        format!("/{}", globset::escape(text.trim_start_matches("./")))
    })
}

/// Git's variables for the objects of a push that is not accepted yet.
fn quarantine() -> Quarantine {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let alternates = std::env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        .map(|list| std::env::split_paths(&list).collect())
        .unwrap_or_default();
    Quarantine { objects: path("GIT_OBJECT_DIRECTORY"), quarantine: path("GIT_QUARANTINE_PATH"), alternates }
}

#[expect(clippy::print_stderr, reason = "the summary goes beside the baseline")]
fn write_baseline(path: &Path, findings: &[Finding], coverage: &Coverage) -> anyhow::Result<Outcome> {
    let key = std::env::var_os(KEY).filter(|key| !key.is_empty());
    let key = key.map(|key| Zeroizing::new(key.into_encoded_bytes()));
    let key = key.as_ref().map(|k| k.as_slice());
    let is_new = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    let baseline = match Baseline::read(path) {
        Ok(old) => old.renewed(findings, key),
        Err(_) if is_new => Baseline::of(findings, key),
        Err(TriageError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Baseline::of(findings, key)
        }
        Err(e) => Err(e).context("--write-baseline replaces only a baseline; remove the file first")?,
    };
    let baseline = baseline.context("baseline")?;
    baseline.write(path).with_context(|| format!("{}", path.display()))?;
    eprintln!("claviger: {} findings written to {}", findings.len(), path.display());
    if coverage.is_complete() {
        return Ok(Outcome::Clean);
    }
    eprintln!("claviger: the scan was incomplete: the baseline may lack findings");
    Ok(Outcome::Incomplete)
}

fn report(
    job: &Job<'_>,
    targets: &[(String, Target)],
    trusted: Trusted,
    findings: Vec<Finding>,
    hidden: u64,
    coverage: Coverage,
    mut notices: Vec<String>,
) -> anyhow::Result<Report> {
    let what = &job.args.what;
    let is_change = what.staged || what.range.is_some() || what.pre_receive;
    let (findings, allowed): (Vec<Finding>, Vec<Allowed>) = if job.args.triage.no_ignore {
        (findings, Vec::new())
    } else {
        let key = std::env::var_os(KEY).filter(|key| !key.is_empty());
        let key = key.map(|key| Zeroizing::new(key.into_encoded_bytes()));
        let triage = Triage {
            ignore: trusted.ignore,
            baseline: trusted.baseline,
            key: key.as_ref().map(|k| k.as_slice()),
            today: today(job.now),
            // A change brings only new secrets to light, so a marker beside one came with it.
            is_change,
            is_whole: !is_change && coverage.is_complete() && is_whole(job, targets),
        };
        let result = triage::apply(findings, &triage)?;
        notices.extend(result.notices);
        (result.findings, result.allowed)
    };
    let rules = job.engine.rules();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        rules: rules.rules().len(),
        rules_digest: rules.digest(),
        targets: targets.iter().map(|(name, _)| name.clone()).collect(),
        findings,
        allowed,
        hidden,
        notices,
        coverage,
        interrupted: job.monitor.is_cancelled(),
        started: job.now,
        finished: jiff::Timestamp::now().as_second(),
    })
}

/// Whether the scan was to see everything: what the scan of a part does not find is not stale.
fn is_whole(job: &Job<'_>, targets: &[(String, Target)]) -> bool {
    let args::Scan { what, rules, triage, .. } = job.args;
    let is_all_files = matches!(targets, [(_, Target::Folder { .. } | Target::Repository { .. })])
        && what.files_from.is_none()
        && what.include.is_empty()
        && what.exclude.is_empty()
        && what.max_file_size.is_none()
        && what.max_depth.is_none();
    let is_all_history =
        !what.no_history && !what.history_only && what.since.is_none() && what.branch.is_empty();
    let is_all_rules = rules.only.is_empty() && rules.skip.is_empty() && !rules.no_builtin_rules;
    let is_shown = matches!(triage.min_confidence, None | Some(args::Level::Low));
    is_all_files && is_all_history && is_all_rules && is_shown && !job.monitor.is_cancelled()
}

/// The day of a moment, in UTC.
fn today(now: i64) -> jiff::civil::Date {
    let moment = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::tz::TimeZone::UTC.to_datetime(moment).date()
}

#[expect(clippy::print_stderr, reason = "--stats prints there")]
fn stats(report: &Report, monitor: &Monitor, read: Duration, all: Duration) {
    let c = &report.coverage;
    let megabytes = c.bytes as f64 / 1e6;
    eprintln!(
        "files {}  blobs {}  commits {}  tags {}  trees {}",
        c.files, c.blobs, c.commits, c.tags, c.trees
    );
    eprintln!(
        "{megabytes:.1} MB scanned in {:.3} s ({:.0} MB/s), {:.3} s in all",
        read.as_secs_f64(),
        megabytes / read.as_secs_f64().max(1e-6),
        all.as_secs_f64()
    );
    let (entries, inflated) = monitor.packed();
    if entries > 0 {
        eprintln!("{entries} entries of packs inflated to {:.1} MB", inflated as f64 / 1e6);
    }
    let times: Vec<String> =
        monitor.times().iter().map(|(name, time)| format!("{name} {:.3} s", time.as_secs_f64())).collect();
    if !times.is_empty() {
        eprintln!("{}", times.join("  "));
    }
}
