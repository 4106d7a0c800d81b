//! Counting.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::anomaly::find_anomalies;
use super::rows::{Name, Row, Rows, kind};
use super::{
    Config, FirstUse, Length, Period, Refusal, Report, Revocation, Slot, StaticSecret, Unused, Usage, time,
};
use crate::checkpoint::Checkpoint;
use crate::event::Outcome;

pub(super) const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// A timeline has hours up to this many days, days beyond.
const HOURS_UP_TO_DAYS: i64 = 3;
/// The upper ends of the lease lengths, in seconds.
const LENGTHS: &[(u32, &str)] = &[
    (300, "up to 5 min"),
    (900, "up to 15 min"),
    (3600, "up to 1 h"),
    (4 * 3600, "up to 4 h"),
    (12 * 3600, "up to 12 h"),
    (24 * 3600, "up to 24 h"),
    (u32::MAX, "over 24 h"),
];

/// The types of event that are counted, by their numbers in [`Row::kind`].
pub(super) struct Kinds {
    pub(super) issued: u8,
    pub(super) renewed: u8,
    pub(super) revoked: u8,
    pub(super) expired: u8,
    pub(super) used: u8,
    pub(super) read: u8,
    pub(super) changed: u8,
    pub(super) rotated: u8,
    pub(super) config: u8,
    pub(super) auth: u8,
    pub(super) job_ended: u8,
}

impl Kinds {
    pub(super) fn new() -> Kinds {
        Kinds {
            issued: kind("lease.issued"),
            renewed: kind("lease.renewed"),
            revoked: kind("lease.revoked"),
            expired: kind("lease.expired"),
            used: kind("lease.used"),
            read: kind("secret.read"),
            changed: kind("secret.changed"),
            rotated: kind("secret.rotated"),
            config: kind("config.changed"),
            auth: kind("auth"),
            job_ended: kind("job.ended"),
        }
    }
}

pub(super) fn report(rows: &Rows, head: &Checkpoint, period: &Period, config: &Config) -> Report {
    let kinds = Kinds::new();
    let inside = |row: &Row| row.time >= period.since_ms && row.time < period.until_ms;
    let within: Vec<&Row> = rows.rows.iter().filter(|row| inside(row)).collect();
    let (first, last) =
        within.iter().fold((i64::MAX, i64::MIN), |(a, b), row| (a.min(row.time), b.max(row.time)));
    let usage = |key: fn(&Row) -> Name| usage_by(rows, &within, &kinds, key);
    let mut report = Report {
        origin: head.origin.clone(),
        size: head.size,
        root: head.root.to_string(),
        from: if within.is_empty() { String::new() } else { time(first) },
        to: if within.is_empty() { String::new() } else { time(last) },
        events: within.len() as u64,
        total: Usage { name: "all".into(), ..Usage::default() },
        unused_roles: unused_roles(rows, &within, &period.roles),
        ..Report::default()
    };
    within.iter().for_each(|row| count(&mut report.total, row, &kinds));
    // Each counts by itself, and the anomaly rules are as much work as all the rest.
    rayon::scope(|scope| {
        scope.spawn(|_| report.anomalies = anomalies(rows, period, config));
        scope.spawn(|_| report.identities = usage(|row| row.identity));
        scope.spawn(|_| report.providers = usage(|row| row.provider));
        scope.spawn(|_| report.environments = usage(|row| row.environment));
        scope.spawn(|_| report.timeline = timeline(&within, &kinds, first, last));
        scope.spawn(|_| report.refusals = refusals(rows, &within));
        scope.spawn(|_| report.unused = unused(rows, &within, &kinds));
        scope.spawn(|_| report.lengths = lengths(&within, &kinds));
        scope.spawn(|_| report.secrets = secrets(rows, period, &kinds));
        scope.spawn(|_| report.first_uses = first_uses(rows, period, &kinds));
        scope.spawn(|_| report.revocations = revocations(rows, &within, &kinds));
    });
    report
}

fn anomalies(rows: &Rows, period: &Period, config: &Config) -> Vec<super::Anomaly> {
    let inside = |found: &super::Anomaly| found.time_ms >= period.since_ms && found.time_ms < period.until_ms;
    find_anomalies(rows, config).into_iter().filter(inside).collect()
}

fn count(usage: &mut Usage, row: &Row, kinds: &Kinds) {
    match row.outcome {
        Outcome::Refused => usage.refused += 1,
        Outcome::Failed => usage.failed += 1,
        _ if row.kind == kinds.issued => usage.issued += 1,
        _ if row.kind == kinds.renewed => usage.renewed += 1,
        _ if row.kind == kinds.read => usage.read += 1,
        _ => {}
    }
}

fn usage_by(rows: &Rows, within: &[&Row], kinds: &Kinds, key: fn(&Row) -> Name) -> Vec<Usage> {
    let mut by: HashMap<Name, Usage> = HashMap::new();
    for row in within.iter().filter(|row| key(row) != 0) {
        count(by.entry(key(row)).or_default(), row, kinds);
    }
    let mut all: Vec<Usage> =
        by.into_iter().map(|(name, usage)| Usage { name: rows.name(name).to_owned(), ..usage }).collect();
    let weight = |usage: &Usage| usage.issued + usage.renewed + usage.read + usage.refused + usage.failed;
    all.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.name.cmp(&b.name)));
    all
}

fn timeline(within: &[&Row], kinds: &Kinds, first: i64, last: i64) -> Vec<Slot> {
    if within.is_empty() {
        return Vec::new();
    }
    let step = if last - first <= HOURS_UP_TO_DAYS * DAY_MS { HOUR_MS } else { DAY_MS };
    let start = first.div_euclid(step);
    // A clock that jumped by years must not make a timeline of millions of slots.
    let slots = (last.div_euclid(step) - start + 1).min(4000) as usize;
    let mut counts = vec![Usage::default(); slots];
    for row in within {
        let slot = ((row.time.div_euclid(step) - start) as usize).min(slots - 1);
        count(&mut counts[slot], row, kinds);
    }
    (start..)
        .zip(counts)
        .map(|(slot, sum)| Slot {
            start: time(slot * step),
            success: sum.issued + sum.renewed + sum.read,
            refused: sum.refused,
            failed: sum.failed,
        })
        .collect()
}

fn refusals(rows: &Rows, within: &[&Row]) -> Vec<Refusal> {
    let mut by: HashMap<Name, (u64, HashSet<Name>, u64)> = HashMap::new();
    for row in within.iter().filter(|row| row.outcome == Outcome::Refused) {
        let at = by.entry(row.reason).or_default();
        at.0 += 1;
        at.1.insert(row.identity);
        at.2 = row.index;
    }
    let mut all: Vec<Refusal> = by
        .into_iter()
        .map(|(reason, (count, identities, last))| Refusal {
            reason: rows.name(reason).to_owned(),
            count,
            identities: identities.len() as u64,
            last,
        })
        .collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    all
}

/// Grants of a role to an identity of which no lease was ever used. Says nothing unless uses are logged at all.
fn unused(rows: &Rows, within: &[&Row], kinds: &Kinds) -> Vec<Unused> {
    let used: HashSet<u64> =
        within.iter().filter(|row| row.kind == kinds.used).map(|row| row.lease).collect();
    if used.is_empty() {
        return Vec::new();
    }
    let mut grants: BTreeMap<(&str, &str), (u64, bool)> = BTreeMap::new();
    for row in within.iter().filter(|row| row.kind == kinds.issued && row.outcome == Outcome::Success) {
        let grant = grants.entry((rows.name(row.identity), rows.name(row.role))).or_default();
        grant.0 += 1;
        grant.1 |= used.contains(&row.lease);
    }
    let mut all: Vec<Unused> = grants
        .into_iter()
        .filter(|(_, (_, used))| !used)
        .map(|((identity, role), (issued, _))| Unused {
            identity: identity.into(),
            role: role.into(),
            issued,
        })
        .collect();
    all.sort_by_key(|grant| std::cmp::Reverse(grant.issued));
    all
}

fn unused_roles(rows: &Rows, within: &[&Row], roles: &[String]) -> Vec<String> {
    let asked: HashSet<Name> = within.iter().map(|row| row.role).collect();
    let asked: HashSet<&str> = asked.into_iter().map(|name| rows.name(name)).collect();
    roles.iter().filter(|role| !asked.contains(role.as_str())).cloned().collect()
}

fn lengths(within: &[&Row], kinds: &Kinds) -> Vec<Length> {
    let mut counts = [0; LENGTHS.len()];
    let issued = |row: &&&Row| row.kind == kinds.issued && row.outcome == Outcome::Success && row.ttl_s > 0;
    for row in within.iter().filter(issued) {
        counts[LENGTHS.partition_point(|(end, _)| *end < row.ttl_s)] += 1;
    }
    LENGTHS
        .iter()
        .zip(counts)
        .map(|((_, label), count)| Length { label: (*label).to_owned(), count })
        .collect()
}

/// Looks at the whole log up to the period's end: a secret's age does not begin with the period.
fn secrets(rows: &Rows, period: &Period, kinds: &Kinds) -> Vec<StaticSecret> {
    #[derive(Default)]
    struct Known {
        changed: i64,
        due: i64,
        readers: HashSet<Name>,
    }
    let mut known: BTreeMap<&str, Known> = BTreeMap::new();
    for row in rows.rows.iter().filter(|row| row.name != 0 && row.time < period.until_ms) {
        let about = row.kind == kinds.read || row.kind == kinds.changed || row.kind == kinds.rotated;
        if !about || row.outcome != Outcome::Success {
            continue;
        }
        let secret = known.entry(rows.name(row.name)).or_default();
        if row.kind == kinds.read {
            if row.time >= period.since_ms {
                secret.readers.insert(row.identity);
            }
        } else {
            secret.changed = row.time;
            secret.due = if row.kind == kinds.changed { row.due } else { 0 };
        }
    }
    let allowed = i64::from(period.rotate_days);
    known
        .into_iter()
        .filter_map(|(name, secret)| {
            let age_days = if secret.changed == 0 { 0 } else { (period.until_ms - secret.changed) / DAY_MS };
            let by_due = if secret.due == 0 { 0 } else { (period.until_ms - secret.due) / DAY_MS };
            let late_days = (age_days - allowed).max(by_due).max(0);
            // A secret that is read and was never seen to change is as old as the log at least.
            let unknown = secret.changed == 0 && !secret.readers.is_empty();
            (late_days > 0 || unknown).then(|| StaticSecret {
                name: name.to_owned(),
                changed: time(secret.changed),
                age_days,
                late_days,
                readers: secret.readers.len() as u64,
            })
        })
        .collect()
}

fn first_uses(rows: &Rows, period: &Period, kinds: &Kinds) -> Vec<FirstUse> {
    let began = rows.rows.first().map_or(i64::MAX, |row| row.time);
    // Without a time before the period everything would be a first time.
    if period.since_ms <= began {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut first = Vec::new();
    for row in &rows.rows {
        let what = if row.kind == kinds.issued { row.role } else { row.name };
        let use_of = row.kind == kinds.issued || row.kind == kinds.read;
        if !use_of || row.outcome != Outcome::Success || !seen.insert((row.identity, what)) {
            continue;
        }
        if row.time >= period.since_ms && row.time < period.until_ms {
            first.push(FirstUse {
                time: time(row.time),
                identity: rows.name(row.identity).to_owned(),
                what: rows.name(what).to_owned(),
                index: row.index,
            });
        }
    }
    first
}

fn revocations(rows: &Rows, within: &[&Row], kinds: &Kinds) -> Vec<Revocation> {
    let mut by: HashMap<u64, Revocation> = HashMap::new();
    for row in within {
        if row.kind == kinds.revoked && row.outcome == Outcome::Failed {
            let entry = by.entry(row.lease).or_insert_with(|| Revocation {
                identity: rows.name(row.identity).to_owned(),
                provider: rows.name(row.provider).to_owned(),
                attempts: 0,
                since: time(row.time),
                ended: false,
                index: row.index,
            });
            entry.attempts += 1;
            entry.index = row.index;
        } else if (row.kind == kinds.revoked || row.kind == kinds.expired)
            && let Some(entry) = by.get_mut(&row.lease)
        {
            entry.ended = true;
            entry.index = row.index;
        }
    }
    let mut all: Vec<Revocation> = by.into_values().collect();
    all.sort_by_key(|revocation| (revocation.ended, revocation.index));
    all
}
