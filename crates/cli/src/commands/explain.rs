//! `claviger explain`: why this matched, and why that did not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use claviger_scanner::engine::{Context, Engine, Step, Trace};
use claviger_scanner::finding::{Finding, Match, Place, PlaceKind, Sighting};
use claviger_scanner::fingerprint::Fingerprint;
use claviger_scanner::path::{RepoPath, printable};
use claviger_scanner::report::AllowedBy;
use claviger_scanner::rule::Confidence;
use claviger_scanner::scan::{Harvest, Monitor, group};
use claviger_scanner::source::git::{self, HistoryOptions};
use claviger_scanner::source::tree::{self, PathFilter, TreeOptions};
use claviger_scanner::triage::{self, Triage, Triaged, ignore_file};

use super::rules::{choose, describe};
use super::target::{self, Base, Target, Targets};
use super::trusted::{self, Trusted};
use super::{job, print, scan};
use crate::args::{self, Explain};
use crate::progress::Display;
use crate::{Outcome, config};

/// Largest file that is explained, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

pub(crate) fn run(args: &Explain) -> anyhow::Result<Outcome> {
    if let Some(fingerprint) = Fingerprint::parse(&args.subject) {
        return finding(&fingerprint, args);
    }
    let (path, line) = place(&args.subject);
    let path = Path::new(path);
    if path.is_file() {
        return file(path, line, args);
    }
    if let Ok(rule) = choose(&args.rules)?.get(&args.subject) {
        print(&describe(rule))?;
        return Ok(Outcome::Clean);
    }
    // Rules of the project's own.
    let project = Project::of(&[], args)?;
    if let Ok(rule) = project.engine.rules().get(&args.subject) {
        print(&describe(rule))?;
        return Ok(Outcome::Clean);
    }
    if line.is_some() {
        bail!(
            "`{}` is no file on disk; to explain a finding of the history, give its fingerprint",
            printable(args.subject.as_bytes())
        );
    }
    bail!(
        "`{}` is no file, no rule (see `claviger rules list`) and no fingerprint",
        printable(args.subject.as_bytes())
    )
}

/// Splits `PATH:LINE`, also `PATH:LINE:COLUMN` as reports print it.
fn place(subject: &str) -> (&str, Option<u32>) {
    if Path::new(subject).is_file() {
        return (subject, None);
    }
    let Some((head, last)) = subject.rsplit_once(':') else { return (subject, None) };
    let Ok(number) = last.parse::<u32>() else { return (subject, None) };
    match head.rsplit_once(':') {
        Some((path, line)) if !Path::new(head).is_file() => match line.parse() {
            Ok(line) => (path, Some(line)),
            Err(_) => (head, Some(number)),
        },
        _ => (head, Some(number)),
    }
}

/// What a scan of the targets would work with.
struct Project {
    targets: Targets,
    trusted: Trusted,
    engine: Engine,
    now: i64,
}

impl Project {
    fn of(targets: &[PathBuf], args: &Explain) -> anyhow::Result<Self> {
        let targets = target::resolve(targets)?;
        let repository = targets.list.iter().find_map(|(_, target)| target.repository());
        let flags = args::Triage::from(&args.triage);
        let trusted = trusted::read(&flags, targets.home().as_deref(), repository)?;
        let engine = job::engine(&args.rules, &trusted)?;
        Ok(Project { targets, trusted, engine, now: jiff::Timestamp::now().as_second() })
    }

    /// Findings of any confidence, in the order of reports.
    fn findings(&self, sightings: Vec<Sighting>) -> anyhow::Result<Vec<Finding>> {
        let fingerprinter = scan::fingerprinter(&self.trusted, scan::key().as_ref())?;
        Ok(group(&self.engine, sightings, &fingerprinter, Confidence::Low).0)
    }

    /// What markers, ignore file and baseline say of findings.
    fn triage(self, findings: Vec<Finding>) -> anyhow::Result<Triaged> {
        let key = scan::key();
        let triage = Triage {
            ignore: self.trusted.ignore,
            baseline: self.trusted.baseline,
            key: key.as_ref().map(|k| k.as_slice()),
            today: scan::today(self.now),
            is_change: false,
            is_whole: false,
            unshown: None,
        };
        Ok(triage::apply(findings, &triage)?)
    }
}

/// What every rule made of a file or of a line of it, and what became of that.
fn file(path: &Path, line: Option<u32>, args: &Explain) -> anyhow::Result<Outcome> {
    let shown = printable(path.to_string_lossy().as_bytes());
    let bytes = config::read_file(path, MAX_FILE)
        .with_context(|| format!("{shown}: cannot be explained; cut out the part in question"))?;
    let project = Project::of(&[path.to_owned()], args)?;
    let Some((_, Target::Files { base, paths })) = project.targets.list.first() else {
        bail!("{shown}: not a file");
    };
    let (base, below) = (base.clone(), paths.first().cloned().unwrap_or_default());
    let repo_path = RepoPath::from_path(&below);
    let context = Context { path: Some(repo_path.as_bytes()), now: project.now };
    let is_here = |at: u32| line.is_none_or(|line| at == line);
    let traces: Vec<Trace> =
        project.engine.explain(&bytes, &context).into_iter().filter(|t| is_here(t.line)).collect();
    let mut out = String::new();
    if traces.is_empty() {
        let place = line.map_or_else(|| shown.clone(), |line| format!("{shown}:{line}"));
        let _ = writeln!(out, "{place}: no rule has an anchor here, so none looked further.");
    }
    for trace in &traces {
        let _ = writeln!(out, "{trace}");
    }
    let found = traces.iter().filter(|t| matches!(t.step, Step::Found { .. })).count();
    let _ = writeln!(out, "{}, {}", count(traces.len(), "candidate"), count(found, "finding"));
    left_out(&project, &base, &below, &mut out)?;
    let matches = project.engine.scan(&bytes, &context).into_iter().filter(|hit| is_here(hit.line));
    decisions(project, matches, &base.name(), &repo_path, &mut out)?;
    print(&out)?;
    Ok(if found == 0 { Outcome::Clean } else { Outcome::Findings })
}

/// Says why a scan would not read the file at all.
fn left_out(project: &Project, base: &Base, below: &Path, out: &mut String) -> anyhow::Result<()> {
    let config = &project.trusted.config;
    if !PathFilter::new(&config.include, &config.exclude)?.admits(&RepoPath::from_path(below)) {
        let _ = writeln!(out, "include and exclude in the configuration keep scans from this file");
    }
    if base.repository.is_some() && tree::is_gitignored(&base.root, below) {
        let _ = writeln!(
            out,
            "git ignores this file: scans of folders leave it out, unless --no-gitignore is given"
        );
    }
    Ok(())
}

/// For each finding, whether a scan shows it, and if not, what keeps it back.
fn decisions(
    project: Project,
    matches: impl Iterator<Item = Match>,
    target: &str,
    path: &RepoPath,
    out: &mut String,
) -> anyhow::Result<()> {
    let sightings = matches
        .map(|hit| Sighting { place: Place::of(&hit, PlaceKind::File, target, path.clone()), hit })
        .collect();
    let least = scan::least(None, &project.trusted);
    let findings = project.findings(sightings)?;
    let result = project.triage(findings)?;
    let mut lines: Vec<(u32, String)> = Vec::new();
    for finding in &result.findings {
        let says = if finding.confidence < least {
            format!("not shown, as its confidence is under {least}; --min-confidence low shows it")
        } else {
            format!("shown; `claviger explain {}` says how to accept it", finding.fingerprint)
        };
        lines.extend(finding.places.iter().map(|p| (p.line, format!("{}: {says}", finding.rule.id))));
    }
    for allowed in &result.allowed {
        let finding = &allowed.finding;
        let says = allowance(&allowed.by);
        lines.extend(finding.places.iter().map(|p| (p.line, format!("{}: {says}", finding.rule.id))));
    }
    lines.sort();
    for (line, says) in lines {
        let _ = writeln!(out, "line {line}: {says}");
    }
    for notice in &result.notices {
        let _ = writeln!(out, "notice: {notice}");
    }
    Ok(())
}

fn allowance(by: &AllowedBy) -> String {
    let text = match by {
        AllowedBy::Inline { marker, .. } => format!("allowed by the marker `{marker}`"),
        AllowedBy::IgnoreFile { line, .. } => format!("allowed by line {line} of the ignore file"),
        AllowedBy::Baseline => "known, as the baseline lists it".to_owned(),
    };
    match by.reason() {
        "" => text,
        reason => format!("{text}: {reason}"),
    }
}

/// Scans the target for the finding of a fingerprint, and says all that is known of it.
fn finding(wanted: &Fingerprint, args: &Explain) -> anyhow::Result<Outcome> {
    let typed: Vec<PathBuf> = args.target.iter().cloned().collect();
    let project = Project::of(&typed, args)?;
    let monitor = Arc::new(Monitor::default());
    let display = Display::start(&monitor, false);
    let mut harvest = Harvest::default();
    for (name, target) in &project.targets.list {
        harvest.merge(search(target, name, &project, &monitor)?);
    }
    drop(display);
    let findings = project.findings(harvest.sightings)?;
    let Some(found) = findings.into_iter().find(|f| f.fingerprint == *wanted) else {
        bail!(
            "no finding of {} has the fingerprint {wanted}; name the scanned target after it, and mind that another \
             key or salt makes other fingerprints",
            project.targets.typed.join(", ")
        );
    };
    let least = scan::least(None, &project.trusted);
    let mut out = describe(&found.rule);
    let _ = writeln!(out, "\nfound with confidence {}{}, in:", found.confidence, {
        if found.confidence < least { " (not shown by default)" } else { "" }
    });
    found.places.iter().for_each(|place| out.push_str(&row(place)));
    for note in &found.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let entry = ignore_file::entry_for(&found);
    let result = project.triage(vec![found])?;
    for allowed in &result.allowed {
        let many = count(allowed.finding.places.len(), "place");
        let _ = writeln!(out, "{many}: {}", allowance(&allowed.by));
    }
    if !result.findings.is_empty() {
        let _ = writeln!(
            out,
            "\nif it is no danger, say why in .clavigerignore (write your reason after `--`):\n{entry}"
        );
    }
    print(&out)?;
    Ok(Outcome::Findings)
}

fn search(target: &Target, name: &str, project: &Project, monitor: &Arc<Monitor>) -> anyhow::Result<Harvest> {
    let engine = &project.engine;
    let options = TreeOptions {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        now: project.now,
        ..TreeOptions::default()
    };
    Ok(match target {
        Target::Stdin => bail!("standard input cannot be searched for a fingerprint"),
        Target::Files { base, paths } => {
            tree::scan_list(&base.root, paths, &base.name(), engine, &options, monitor)
        }
        Target::Folder { base, below } => {
            let options = TreeOptions { below: below.clone(), ..options };
            tree::scan(&base.root, &base.name(), engine, &options, monitor)?
        }
        Target::Repository { path, repository } => {
            let history = HistoryOptions { now: project.now, unreachable: true, ..HistoryOptions::default() };
            let mut harvest = git::history(repository, engine, &history, name, monitor)?;
            if !repository.is_bare() {
                harvest.merge(tree::scan(path, name, engine, &options, monitor)?);
            }
            harvest
        }
    })
}

/// A place on a line: where, what it is, and which commits brought and removed it.
fn row(place: &Place) -> String {
    let mut text = match (place.kind, &place.object) {
        (PlaceKind::CommitMessage | PlaceKind::TagMessage, Some(id)) => {
            format!(
                "  {}:{}:{} ({}",
                id.get(..12).unwrap_or(id),
                place.line,
                place.column,
                place.kind.as_str()
            )
        }
        _ => format!("  {}:{}:{} ({}", place.path, place.line, place.column, place.kind.as_str()),
    };
    for (word, commit) in [("introduced by", &place.introduced), ("removed by", &place.removed)] {
        if let Some(commit) = commit {
            let _ = write!(text, ", {word} {}", commit.id.get(..12).unwrap_or(&commit.id));
        }
    }
    text + ")\n"
}

fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}
