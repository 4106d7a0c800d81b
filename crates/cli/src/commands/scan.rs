//! `claviger scan`: resolves flags and configuration, runs the sources, triages, writes the reports.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use claviger_scanner::coverage::Coverage;
use claviger_scanner::finding::Finding;
use claviger_scanner::fingerprint::Fingerprinter;
use claviger_scanner::path::printable;
use claviger_scanner::report::{Allowed, Report};
use claviger_scanner::rule::Confidence;
use claviger_scanner::scan::{Harvest, Hidden, Monitor, group};
use claviger_scanner::triage::baseline::Baseline;
use claviger_scanner::triage::{self, Triage, TriageError, Unshown};
use zeroize::Zeroizing;

use super::job::Job;
use super::target::{self, Target, Targets};
use super::trusted::{self, CONFIG, IGNORE, Trusted};
use super::writer::Jobs;
use crate::args::Scan;
use crate::progress::Display;
use crate::{Outcome, args};

/// Environment variable with the key of keyed fingerprints.
const KEY: &str = "CLAVIGER_FINGERPRINT_KEY";
/// A finished scan, before triage.
struct Scanned {
    findings: Vec<Finding>,
    hidden: Vec<Hidden>,
    coverage: Coverage,
    notices: Vec<String>,
}

pub(crate) fn run(args: &Scan) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let jobs = Jobs::new(&args.output)?;
    let targets = target::resolve(&args.targets)?;
    let mut notices = Vec::new();
    let trusted = trusted(args, &targets, &mut notices)?;
    let job = Job::new(args, &trusted, &jobs)?;
    let key = key();
    let fingerprinter = fingerprinter(&trusted, key.as_ref())?;
    interrupt(&job.monitor, "", || {})?;
    let display = Display::start(&job.monitor, args.output.quiet);

    let mut harvest = Harvest::default();
    for (name, target) in &targets.list {
        harvest.merge(job.scan(name, target, &mut notices)?);
    }
    let read = start.elapsed();
    if harvest.coverage.is_empty() && notices.is_empty() {
        notices.push("nothing was scanned: no file and no object is there, or all are left out".to_owned());
    }
    job.monitor.phase("sorting findings", 0);
    let (findings, hidden) =
        group(&job.engine, harvest.sightings, &fingerprinter, least(args.triage.min_confidence, &trusted));
    drop(display);
    let scanned = Scanned { findings, hidden, coverage: harvest.coverage, notices };
    if let Some(path) = &args.triage.write_baseline {
        return write_baseline(path, &scanned, key.as_ref(), &job, args.output.quiet);
    }
    let report = report(&job, &targets, trusted, scanned, &fingerprinter, key.as_ref())?;
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

fn trusted(args: &Scan, targets: &Targets, notices: &mut Vec<String>) -> anyhow::Result<Trusted> {
    let repository = targets.list.iter().find_map(|(_, target)| target.repository());
    let home = targets.home();
    // Of several projects, none speaks for the others.
    if home.is_none() && args.triage.trust.is_none() {
        let mut homes = targets.list.iter().filter_map(|(_, target)| target.home());
        if homes.any(|home| home.join(CONFIG).exists() || home.join(IGNORE).exists()) {
            notices.push(format!(
                "the targets are of different projects, so {CONFIG} and {IGNORE} of none of them were used; scan them \
                 one by one, or name the files with --config and --ignore-file"
            ));
        }
    }
    trusted::read(&args.triage, home.as_deref(), repository)
}

/// The least confidence that is shown: of the flag, of the configuration, medium.
pub(super) fn least(flag: Option<crate::config::Level>, trusted: &Trusted) -> Confidence {
    let config = trusted.config.min_confidence.map(Confidence::from);
    flag.map(Confidence::from).or(config).unwrap_or(Confidence::Medium)
}

/// The fingerprint key of the environment.
pub(super) fn key() -> Option<Zeroizing<Vec<u8>>> {
    let key = std::env::var_os(KEY).filter(|key| !key.is_empty());
    key.map(|key| Zeroizing::new(key.into_encoded_bytes()))
}

/// With the key, or the salt of the project: of its configuration, else its ignore file.
pub(super) fn fingerprinter(
    trusted: &Trusted,
    key: Option<&Zeroizing<Vec<u8>>>,
) -> anyhow::Result<Fingerprinter> {
    if let Some(key) = key {
        return Fingerprinter::keyed(key).context(KEY);
    }
    let ignored = trusted.ignore.as_ref().and_then(|file| file.salt());
    Ok(Fingerprinter::salted(trusted.config.fingerprint.salt.as_deref().or(ignored)))
}

/// The first Ctrl-C (or a request to terminate, as CI systems send it) ends the scan with what it has, and the report
/// says so; the second ends the process. `and` is done at the first, too, and `then` says what comes of it.
pub(super) fn interrupt(
    monitor: &Arc<Monitor>,
    then: &'static str,
    and: impl Fn() + Send + 'static,
) -> anyhow::Result<()> {
    let monitor = Arc::clone(monitor);
    ctrlc::set_handler(move || {
        if monitor.is_cancelled() {
            std::process::exit(130);
        }
        monitor.cancel();
        and();
        say(&format!("stopping; once more ends at once, without a report{then}"));
    })
    .context("cannot listen for Ctrl-C")
}

/// Tells the user something while or after a scan. Nobody may be there to read it, which is no error.
fn say(text: &str) {
    use io::Write as _;
    let _ = writeln!(io::stderr().lock(), "claviger: {}", printable(text.as_bytes()));
}

/// Writes what was found into a baseline, in place of an older one.
fn write_baseline(
    path: &Path,
    scanned: &Scanned,
    key: Option<&Zeroizing<Vec<u8>>>,
    job: &Job<'_>,
    quiet: bool,
) -> anyhow::Result<Outcome> {
    let Scanned { findings, hidden, coverage, .. } = scanned;
    let key = key.map(|k| k.as_slice());
    let is_new = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    let baseline = match Baseline::read(path) {
        Ok(old) => old.renewed(findings, key),
        Err(_) if is_new => Baseline::of(findings, key),
        Err(TriageError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Baseline::of(findings, key)
        }
        Err(e) => Err(e).context("--write-baseline replaces only a baseline; remove the file first")?,
    };
    let is_complete = coverage.is_complete() && !job.monitor.is_cancelled();
    let baseline = baseline.context("baseline")?;
    baseline.write(path).with_context(|| format!("{}", path.display()))?;
    if !quiet {
        let more = match hidden.len() {
            0 => String::new(),
            n => format!("; {n} of lower confidence left out, --min-confidence low takes them in"),
        };
        let noun = if findings.len() == 1 { "finding" } else { "findings" };
        say(&format!("{} {noun} written to {}{more}", findings.len(), path.display()));
    }
    if is_complete {
        return Ok(Outcome::Clean);
    }
    say("the scan was incomplete: the baseline may lack findings");
    Ok(Outcome::Incomplete)
}

fn report(
    job: &Job<'_>,
    targets: &Targets,
    trusted: Trusted,
    scanned: Scanned,
    fingerprinter: &Fingerprinter,
    key: Option<&Zeroizing<Vec<u8>>>,
) -> anyhow::Result<Report> {
    let what = &job.args.what;
    let is_change = what.staged || what.range.is_some() || what.pre_receive;
    let Scanned { findings, hidden, coverage, mut notices } = scanned;
    let (findings, allowed): (Vec<Finding>, Vec<Allowed>) = if job.args.triage.no_ignore {
        (findings, Vec::new())
    } else {
        let triage = Triage {
            ignore: trusted.ignore,
            baseline: trusted.baseline,
            key: key.map(|k| k.as_slice()),
            today: today(job.now),
            // A change brings only new secrets to light, so a marker beside one came with it.
            is_change,
            is_whole: !is_change && coverage.is_complete() && is_whole(job, targets),
            unshown: Some(Unshown { secrets: &hidden, fingerprinter }),
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
        targets: targets.typed.clone(),
        findings,
        allowed,
        hidden: hidden.len() as u64,
        notices,
        coverage,
        interrupted: job.monitor.is_cancelled(),
        started: job.now,
        finished: jiff::Timestamp::now().as_second(),
    })
}

/// Whether the scan was to see everything: what the scan of a part does not find is not stale.
fn is_whole(job: &Job<'_>, targets: &Targets) -> bool {
    let args::Scan { what, rules, .. } = job.args;
    let is_top = match targets.list.as_slice() {
        [(_, Target::Repository { .. })] => true,
        [(_, Target::Folder { below, .. })] => below.as_os_str().is_empty(),
        _ => false,
    };
    let is_all_files = is_top
        && what.files_from.is_none()
        && what.include.is_empty()
        && what.exclude.is_empty()
        && what.max_file_size.is_none()
        && what.max_depth.is_none();
    let is_all_history =
        !what.no_history && !what.history_only && what.since.is_none() && what.branch.is_empty();
    let is_all_rules = rules.only.is_empty() && rules.skip.is_empty() && !rules.no_builtin_rules;
    is_all_files && is_all_history && is_all_rules && !job.monitor.is_cancelled()
}

/// The day of a moment, in UTC.
pub(super) fn today(now: i64) -> jiff::civil::Date {
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
