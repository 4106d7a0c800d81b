//! One repository: what of it must be read, and what is known of it afterwards.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use claviger_scanner::coverage::{Coverage, Reason};
use claviger_scanner::engine::Engine;
use claviger_scanner::finding::{Finding, Place, PlaceKind};
use claviger_scanner::fingerprint::Fingerprinter;
use claviger_scanner::rule::Confidence;
use claviger_scanner::scan::{Harvest, Monitor, group};
use claviger_scanner::source::git::{self, HistoryOptions, Repository};
use claviger_scanner::triage::baseline::Baseline;
use claviger_scanner::triage::ignore_file::IgnoreFile;
use claviger_scanner::triage::{self, Triage};
use zeroize::Zeroizing;

use super::model::{Held, Spot, Status};
use super::owners::Owners;
use super::state::{Known, News, Swept};
use crate::commands::scan::today;

/// Places of one secret in one repository that are kept.
const MAX_SPOTS: usize = 1000;

/// With what repositories are scanned: the same for all of them.
pub(super) struct Scanner {
    pub(super) engine: Engine,
    pub(super) fingerprinter: Fingerprinter,
    pub(super) key: Option<Zeroizing<Vec<u8>>>,
    pub(super) least: Confidence,
    pub(super) options: HistoryOptions,
    pub(super) ignore: Option<IgnoreFile>,
    pub(super) baseline: Option<Baseline>,
    /// Digest over all of these: with another one, what is known is worth nothing.
    pub(super) digest: String,
}

/// A scan that ended because it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

impl Scanner {
    /// Scans what is new in the repository at `path`, or all of it.
    pub(super) fn scan(
        &self,
        name: &str,
        path: &Path,
        known: Option<&Known>,
        monitor: &Arc<Monitor>,
    ) -> anyhow::Result<Swept> {
        let repository = Repository::open(path)?.context("not a git repository")?;
        // Before the scan: what comes while it runs is read the next time.
        let tips = git::tips(&repository)?;
        let alike = known.filter(|known| known.rules == self.digest);
        let known = alike.filter(|known| !known.tips.is_empty());
        if known.is_some_and(|known| known.tips == tips) {
            return Ok(Swept { status: Status::Unchanged, why: String::new(), news: None });
        }
        let (harvest, is_news) = match known {
            Some(known) => {
                match git::news(&repository, &self.engine, &known.tips, &tips, &self.options, name, monitor)?
                {
                    Some(harvest) => (harvest, true),
                    None => (self.whole(&repository, name, monitor)?, false),
                }
            }
            None => (self.whole(&repository, name, monitor)?, false),
        };
        if monitor.is_cancelled() {
            return Err(Interrupted.into());
        }
        self.result(&repository, harvest, is_news, alike, tips)
    }

    fn whole(&self, repository: &Repository, name: &str, monitor: &Monitor) -> anyhow::Result<Harvest> {
        Ok(git::history(repository, &self.engine, &self.options, name, monitor)?)
    }

    fn result(
        &self,
        repository: &Repository,
        harvest: Harvest,
        is_news: bool,
        alike: Option<&Known>,
        tips: Vec<String>,
    ) -> anyhow::Result<Swept> {
        let Harvest { sightings, coverage } = harvest;
        let (findings, _) = group(&self.engine, sightings, &self.fingerprinter, self.least);
        let triage = Triage {
            ignore: self.ignore.clone(),
            baseline: self.baseline.clone(),
            key: self.key.as_ref().map(|key| key.as_slice()),
            today: today(self.options.now),
            is_change: false,
            is_whole: false,
            unshown: None,
        };
        let findings = triage::apply(findings, &triage)?.findings;
        let owners = Owners::at_head(repository);
        let mut heads = Heads { repository, seen: HashMap::new() };
        let mut held = held(&findings, &mut heads, &owners);
        let is_complete = coverage.is_complete();
        // What could not be read may hold what is known: only a whole scan says that something is gone.
        if let Some(known) = alike.filter(|_| is_news || !is_complete) {
            held = merged(&known.held, held, &mut heads, &owners);
        }
        let status = match (is_complete, is_news) {
            (false, _) => Status::Incomplete,
            (true, true) => Status::News,
            (true, false) => Status::Whole,
        };
        // Without tips, everything is read again the next time.
        let tips = if is_complete { tips } else { Vec::new() };
        let why = if is_complete { String::new() } else { gap(&coverage) };
        Ok(Swept { status, why, news: Some(News { tips, rules: self.digest.clone(), held }) })
    }
}

/// What HEAD has at paths, each looked up once: many places share a path.
struct Heads<'a> {
    repository: &'a Repository,
    seen: HashMap<Vec<u8>, Option<String>>,
}

impl Heads<'_> {
    fn blob(&mut self, path: &[u8]) -> Option<String> {
        if let Some(seen) = self.seen.get(path) {
            return seen.clone();
        }
        let text = std::str::from_utf8(path).ok().filter(|path| !path.is_empty());
        let blob = text.and_then(|path| self.repository.head_blob(Path::new(path)));
        self.seen.insert(path.to_vec(), blob.clone());
        blob
    }
}

fn held(findings: &[Finding], heads: &mut Heads<'_>, owners: &Owners) -> Vec<Held> {
    // A secret can be a file's name: then it must not stand in a path, whatever else was found there.
    let named: Vec<&Finding> =
        findings.iter().filter(|f| f.places.iter().any(|p| p.kind == PlaceKind::PathName)).collect();
    let mut spot = |place: &Place| {
        let bytes = place.path.as_bytes();
        let plain = place.path.to_string();
        Spot {
            kind: place.kind.as_str().to_owned(),
            path: veiled(bytes, &named),
            line: place.line,
            object: place.object.clone(),
            commit: place.introduced.as_ref().map(|commit| commit.id.clone()),
            time: place.introduced.as_ref().map(|commit| commit.time),
            in_head: place.in_head,
            head_blob: heads.blob(bytes),
            owners: owners.of(&plain),
        }
    };
    let one = |finding: &Finding| Held {
        fingerprint: finding.fingerprint.to_string(),
        rule: finding.rule.id.to_string(),
        title: finding.rule.name.to_string(),
        severity: finding.rule.severity.as_str().to_owned(),
        confidence: finding.confidence.as_str().to_owned(),
        preview: finding.secret.redacted(),
        spots: finding.places.iter().take(MAX_SPOTS).map(&mut spot).collect(),
    };
    findings.iter().map(one).collect()
}

/// A path, printable, with the secrets that stand in names redacted.
fn veiled(path: &[u8], named: &[&Finding]) -> String {
    let mut bytes = path.to_vec();
    for finding in named {
        let secret = finding.secret.expose();
        while let Some(at) = bytes.windows(secret.len()).position(|window| window == secret) {
            bytes.splice(at..at + secret.len(), finding.secret.redacted().into_bytes());
        }
    }
    claviger_scanner::path::printable(&bytes)
}

/// What was known and what is new, as one. HEAD and owners may have changed under what was known.
fn merged(old: &[Held], new: Vec<Held>, heads: &mut Heads<'_>, owners: &Owners) -> Vec<Held> {
    let mut all: Vec<Held> = old.to_vec();
    for held in &mut all {
        let fresh = new.iter().find(|new| new.fingerprint == held.fingerprint);
        for spot in &mut held.spots {
            let head = heads.blob(spot.path.as_bytes());
            if head != spot.head_blob {
                // The blob that HEAD has there now was read before, or just now.
                let is_there = |other: &Spot| other.path == spot.path && other.in_head;
                spot.in_head = head.is_some()
                    && (head == spot.object || fresh.is_some_and(|f| f.spots.iter().any(is_there)));
                spot.head_blob = head;
            }
            spot.owners = owners.of(&spot.path);
        }
    }
    for held in new {
        match all.iter_mut().find(|old| old.fingerprint == held.fingerprint) {
            None => all.push(held),
            Some(known) => {
                for spot in held.spots {
                    if known.spots.len() < MAX_SPOTS && !known.spots.iter().any(|old| old.is_at(&spot)) {
                        known.spots.push(spot);
                    }
                }
            }
        }
    }
    all.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    all
}

/// Whether a mirror that gives this ledger is damaged rather than large.
pub(super) fn is_damage(why: &str) -> bool {
    [Reason::Corrupt, Reason::Missing].iter().any(|reason| why.contains(reason.as_str()))
}

/// What was not read, in one line.
fn gap(coverage: &Coverage) -> String {
    let counts = coverage.counts().filter(|(reason, _)| reason.is_incomplete());
    let texts: Vec<String> = counts.map(|(reason, count)| format!("{count} {}", reason.as_str())).collect();
    let first = coverage.skipped().into_iter().find(|skip| skip.reason.is_incomplete());
    let first = first.map(|skip| format!(" ({} {})", skip.what, skip.detail.trim())).unwrap_or_default();
    format!("not everything could be read: {}{first}", texts.join(", "))
}
