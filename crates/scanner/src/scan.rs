//! Puts the parts together: targets in, report out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::coverage::Coverage;
use crate::engine::Engine;
use crate::finding::{Finding, Sighting};
use crate::fingerprint::Fingerprinter;
use crate::rule::Confidence;
use crate::secret::Secret;

/// What a running scan tells, and how it is told to stop. Shared between threads.
#[derive(Debug, Default)]
pub struct Monitor {
    cancelled: AtomicBool,
    phase: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
    hits: AtomicU64,
    entries: AtomicU64,
    inflated: AtomicU64,
    times: Mutex<Times>,
}

/// Ended phases and how long each took, and when the present one began.
#[derive(Debug, Default)]
struct Times {
    ended: Vec<(&'static str, Duration)>,
    start: Option<Instant>,
}

/// A moment of a running scan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// What is being done, in a word or two.
    pub phase: &'static str,
    /// Objects done in this phase.
    pub done: u64,
    /// Objects in this phase; 0 when not known.
    pub total: u64,
    /// Bytes scanned since the start.
    pub bytes: u64,
    /// Matches seen since the start, before anything is left out.
    pub hits: u64,
}

impl Monitor {
    /// Asks the scan to end soon; its report will say that it was interrupted.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the scan was asked to end. Sources look between two objects.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Begins a phase of `total` objects (0 when not known).
    pub fn phase(&self, name: &'static str, total: u64) {
        let last = std::mem::replace(&mut *lock(&self.phase), name);
        let now = Instant::now();
        let mut times = lock(&self.times);
        if let Some(start) = times.start.replace(now) {
            times.ended.push((last, now - start));
        }
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// One object done, with that many bytes scanned and matches seen.
    pub fn advance(&self, bytes: u64, hits: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if hits > 0 {
            self.hits.fetch_add(hits, Ordering::Relaxed);
        }
    }

    /// So many entries of packs were inflated, to so many bytes.
    pub fn inflated(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.inflated.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Entries of packs that were inflated, and their bytes: objects that are whole, and deltas.
    pub fn packed(&self) -> (u64, u64) {
        (self.entries.load(Ordering::Relaxed), self.inflated.load(Ordering::Relaxed))
    }

    /// The phases that ended, in their order, and how long each took.
    pub fn times(&self) -> Vec<(&'static str, Duration)> {
        lock(&self.times).ended.clone()
    }

    /// This moment.
    pub fn progress(&self) -> Progress {
        Progress {
            phase: *lock(&self.phase),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a source gives back.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Everything matched, in no order.
    pub sightings: Vec<Sighting>,
    /// What was read and what was not.
    pub coverage: Coverage,
}

impl Harvest {
    /// Adds another harvest.
    pub fn merge(&mut self, other: Harvest) {
        self.sightings.extend(other.sightings);
        self.coverage.merge(other.coverage);
    }
}

/// A secret that is not shown, for the low confidence in it.
#[derive(Debug)]
pub struct Hidden {
    /// Id of the rule that found it.
    pub rule: String,
    /// The value.
    pub secret: Secret,
}

/// Groups sightings into findings, one for each rule and secret, in a fixed order. What is under `least` is the second
/// result, in no order and without fingerprints, which would cost more than all the rest.
pub fn group(
    engine: &Engine,
    sightings: Vec<Sighting>,
    fingerprinter: &Fingerprinter,
    least: Confidence,
) -> (Vec<Finding>, Vec<Hidden>) {
    // Keyed by the value itself, which never leaves this map: fingerprints cost too much to make one for each sighting.
    let mut groups: HashMap<(usize, Vec<u8>), Vec<Sighting>> = HashMap::new();
    for sighting in sightings {
        let key = (sighting.hit.rule, sighting.hit.secret.expose().to_vec());
        groups.entry(key).or_default().push(sighting);
    }
    let mut hidden = Vec::new();
    let mut kept: Vec<Vec<Sighting>> = Vec::new();
    for ((_, value), group) in groups {
        drop(zeroize::Zeroizing::new(value));
        if group.iter().any(|s| s.hit.confidence >= least) {
            kept.push(group);
        } else if let Some(Sighting { hit, .. }) = group.into_iter().next() {
            hidden.push(Hidden { rule: engine.rule(hit.rule).id.to_string(), secret: hit.secret });
        }
    }
    let mut findings: Vec<Finding> =
        kept.into_par_iter().filter_map(|group| finding(engine, group, fingerprinter)).collect();
    findings.sort_by(|a, b| a.order().cmp(&b.order()));
    (findings, hidden)
}

fn finding(engine: &Engine, mut group: Vec<Sighting>, fingerprinter: &Fingerprinter) -> Option<Finding> {
    group.sort_by(|a, b| {
        let key =
            |s: &Sighting| (std::cmp::Reverse(s.hit.confidence), s.place.path.clone(), s.hit.span.start);
        key(a).cmp(&key(b))
    });
    let mut sightings = group.into_iter();
    let Sighting { hit, place } = sightings.next()?;
    let rule = engine.rule(hit.rule).clone();
    let mut finding = Finding {
        fingerprint: fingerprinter.fingerprint(&rule.id, &hit.secret),
        rule,
        secret: hit.secret,
        confidence: hit.confidence,
        notes: hit.notes,
        details: hit.details,
        places: vec![place],
    };
    finding.places.extend(sightings.map(|s| s.place));
    finding.arrange();
    Some(finding)
}
