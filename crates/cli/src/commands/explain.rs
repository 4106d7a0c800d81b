//! `claviger explain`: why this matched, and why that did not.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use claviger_scanner::engine::{Context, Engine, Step, Trace};
use claviger_scanner::fingerprint::{Fingerprint, Fingerprinter};
use claviger_scanner::rule::{Confidence, RuleSet};
use claviger_scanner::scan::{Monitor, group};
use claviger_scanner::source::git::{self, HistoryOptions};
use claviger_scanner::source::tree::{self, TreeOptions};
use claviger_scanner::triage::ignore_file;

use super::rules::{choose, describe};
use super::target::Target;
use super::{print, trusted};
use crate::Outcome;
use crate::args::{self, Explain};

/// Largest file that is explained, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

pub(crate) fn run(args: &Explain) -> anyhow::Result<Outcome> {
    let rules = choose(&args.rules)?;
    if let Some(fingerprint) = Fingerprint::parse(&args.subject) {
        return finding(&fingerprint, &args.target, rules);
    }
    if let Ok(rule) = rules.get(&args.subject) {
        print(&describe(rule))?;
        return Ok(Outcome::Clean);
    }
    let (path, line) = place(&args.subject);
    if !Path::new(path).is_file() {
        bail!("`{}` is no file, no rule (see `claviger rules list`) and no fingerprint", args.subject);
    }
    file(Path::new(path), line, rules)
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

fn file(path: &Path, line: Option<u32>, rules: RuleSet) -> anyhow::Result<Outcome> {
    let size = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?.len();
    if size > MAX_FILE {
        bail!("{}: larger than {MAX_FILE} bytes; cut out the part in question", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let engine = Engine::new(rules)?;
    let text = path.to_string_lossy().into_owned();
    let context = Context { path: Some(text.as_bytes()), now: jiff::Timestamp::now().as_second() };
    let traces: Vec<Trace> = engine
        .explain(&bytes, &context)
        .into_iter()
        .filter(|t| line.is_none_or(|line| t.line == line))
        .collect();
    let place = line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()));
    let mut out = String::new();
    if traces.is_empty() {
        let _ = writeln!(out, "{place}: no rule has an anchor here, so none looked further.");
    }
    for trace in &traces {
        let _ = writeln!(out, "{trace}");
    }
    let found = traces.iter().filter(|t| matches!(t.step, Step::Found { .. })).count();
    let _ = writeln!(out, "{} candidates, {found} findings", traces.len());
    allowances(&engine, &bytes, &context, line, &mut out);
    print(&out)?;
    Ok(if found == 0 { Outcome::Clean } else { Outcome::Findings })
}

/// Markers that allow what was found.
fn allowances(engine: &Engine, bytes: &[u8], context: &Context<'_>, line: Option<u32>, out: &mut String) {
    for hit in engine.scan(bytes, context).iter().filter(|hit| line.is_none_or(|line| hit.line == line)) {
        if let Some(allow) = &hit.allow {
            let rule = &engine.rule(hit.rule).id;
            let _ = writeln!(
                out,
                "line {}: {rule}: allowed by the marker `{}` {}",
                hit.line, allow.marker, allow.reason
            );
        }
    }
}

/// Scans the target for the finding of a fingerprint, and says all that is known of it.
fn finding(wanted: &Fingerprint, target: &Path, rules: RuleSet) -> anyhow::Result<Outcome> {
    let engine = Engine::new(rules)?;
    let monitor = Arc::new(Monitor::default());
    let name = target.display().to_string();
    let target = Target::of(target)?;
    let now = jiff::Timestamp::now().as_second();
    let options = TreeOptions {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        now,
        ..TreeOptions::default()
    };
    let mut harvest = match &target {
        Target::Folder { path } | Target::Repository { path, .. } => {
            tree::scan(path, &name, &engine, &options, &monitor)?
        }
        Target::File { folder, name: file } => {
            tree::scan_list(folder, std::slice::from_ref(file), &name, &engine, &options, &monitor)
        }
        Target::Stdin => bail!("standard input cannot be searched for a fingerprint"),
    };
    let mut repo = None;
    if let Target::Repository { repository, .. } = &target {
        harvest.merge(git::history(repository, &engine, &HistoryOptions::default(), &name, &monitor)?);
        repo = Some(&**repository);
    }
    let flags = args::Triage::default();
    let trusted = trusted::read(&flags, target.home(), repo)?;
    let salt = trusted.config.fingerprint.salt.as_deref().or(trusted.ignore.as_ref().and_then(|i| i.salt()));
    let fingerprinter = match std::env::var_os("CLAVIGER_FINGERPRINT_KEY").filter(|k| !k.is_empty()) {
        Some(key) => Fingerprinter::keyed(&zeroize::Zeroizing::new(key.into_encoded_bytes()))?,
        None => Fingerprinter::salted(salt),
    };
    let (findings, _) = group(&engine, harvest.sightings, &fingerprinter, Confidence::Low);
    let Some(found) = findings.iter().find(|f| f.fingerprint == *wanted) else {
        bail!("no finding of {name} has the fingerprint {wanted}; was it made with another key or salt?");
    };
    let mut out = describe(&found.rule);
    let _ = writeln!(out, "\nfound with confidence {} in:", found.confidence);
    for place in &found.places {
        let _ = writeln!(out, "  {}:{}:{} ({})", place.path, place.line, place.column, place.kind.as_str());
    }
    for note in &found.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let entry = ignore_file::entry_for(found);
    let _ = writeln!(out, "\nto accept it, add to .clavigerignore:\n{entry}");
    print(&out)?;
    Ok(Outcome::Findings)
}
