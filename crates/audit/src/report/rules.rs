//! The anomaly rules. Each reads the rows in order once and keeps only what it needs.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::anomaly::Config;
use super::rows::{Name, Row, Rows};
use super::tally::{DAY_MS, Kinds};
use crate::event::Outcome;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// The window in which bursts are counted.
const BURST_MS: i64 = 10 * MINUTE_MS;

/// What rules look at.
pub(super) struct Context<'a> {
    rows: &'a Rows,
    config: &'a Config,
    kinds: Kinds,
    /// Nothing is new before this time.
    learned: i64,
}

/// What a rule found.
pub(super) struct Found {
    pub(super) time: i64,
    pub(super) subject: String,
    pub(super) what: String,
    pub(super) evidence: Vec<u64>,
}

impl<'a> Context<'a> {
    pub(super) fn new(rows: &'a Rows, config: &'a Config) -> Context<'a> {
        let began = rows.rows.iter().map(|row| row.time).find(|time| *time > 0).unwrap_or(0);
        let learned = began.saturating_add(i64::from(config.learn_days) * DAY_MS);
        Context { rows, config, kinds: Kinds::new(), learned }
    }

    fn name(&self, name: Name) -> &str {
        self.rows.name(name)
    }

    fn found(&self, row: &Row, what: String, evidence: Vec<u64>) -> Found {
        Found { time: row.time, subject: self.name(row.identity).to_owned(), what, evidence }
    }

    fn successes(&self, kind: u8) -> impl Iterator<Item = &Row> {
        self.rows.rows.iter().filter(move |row| row.kind == kind && row.outcome == Outcome::Success)
    }

    /// The first time each identity got each role.
    fn first_grants(&self) -> impl Iterator<Item = &Row> {
        let mut seen = HashSet::new();
        self.successes(self.kinds.issued).filter(move |row| seen.insert((row.identity, row.role)))
    }
}

pub(super) fn new_identity(context: &Context<'_>) -> Vec<Found> {
    let new = context.first_grants().filter(|row| row.time >= context.learned);
    new.map(|row| {
        let what = format!("got role `{}` for the first time", context.name(row.role));
        context.found(row, what, vec![row.index])
    })
    .collect()
}

/// What an identity was seen with, and on how many days each.
///
/// The chance that the next thing is a new one is estimated after Good and Turing: things seen on one day only, over
/// all days and things. An identity that meets something new every other day surprises nobody.
#[derive(Default)]
struct Habit {
    /// Days and the last day, for each thing.
    seen: HashMap<u32, (u32, i64)>,
    pairs: u32,
    once: u32,
}

impl Habit {
    /// Notes a thing; says how likely a new one was, if it is new.
    fn note(&mut self, thing: u32, day: i64) -> Option<f64> {
        let likely = f64::from(self.once) / f64::from(self.pairs.max(1));
        match self.seen.entry(thing) {
            Entry::Vacant(new) => {
                new.insert((1, day));
                self.pairs += 1;
                self.once += 1;
                Some(likely)
            }
            Entry::Occupied(mut known) => {
                let (days, last) = known.get_mut();
                if *last != day {
                    self.once -= u32::from(*days == 1);
                    (*days, *last) = (*days + 1, day);
                    self.pairs += 1;
                }
                None
            }
        }
    }

    fn is_settled(&self, config: &Config) -> bool {
        self.pairs >= config.learn_habit
    }
}

pub(super) fn new_source(context: &Context<'_>) -> Vec<Found> {
    let mut habits: HashMap<Name, Habit> = HashMap::new();
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.source != 0 && row.identity != 0) {
        let habit = habits.entry(row.identity).or_default();
        let settled = habit.is_settled(context.config) && row.time >= context.learned;
        let places = habit.seen.len();
        let new = habit.note(row.source, row.time.div_euclid(DAY_MS));
        if settled && new.is_some_and(|likely| likely <= context.config.surprise) {
            let what =
                format!("came from {}, never before (known addresses: {places})", context.name(row.source));
            found.push(context.found(row, what, vec![row.index]));
        }
    }
    found
}

pub(super) fn unusual_hour(context: &Context<'_>) -> Vec<Found> {
    let mut habits: HashMap<Name, Habit> = HashMap::new();
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.identity != 0 && row.time > 0) {
        let hour = row.time.div_euclid(HOUR_MS).rem_euclid(24) as u32;
        let habit = habits.entry(row.identity).or_default();
        let settled = habit.is_settled(context.config) && row.time >= context.learned;
        // The hours beside a usual one are usual.
        let near = [(hour + 23) % 24, (hour + 1) % 24].iter().any(|beside| habit.seen.contains_key(beside));
        let new = habit.note(hour, row.time.div_euclid(DAY_MS));
        if settled && !near && new.is_some_and(|likely| likely <= context.config.surprise) {
            let what = format!("was active at {hour:02}:00 UTC, never before");
            found.push(context.found(row, what, vec![row.index]));
        }
    }
    found
}

pub(super) fn burst(context: &Context<'_>) -> Vec<Found> {
    /// The ten minutes being counted, and the mean of those before.
    #[derive(Default)]
    struct Rate {
        window: i64,
        count: u32,
        first: u64,
        windows: u32,
        events: u32,
    }
    let mut rates: HashMap<Name, Rate> = HashMap::new();
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.identity != 0) {
        let rate = rates.entry(row.identity).or_default();
        let window = row.time.div_euclid(BURST_MS);
        if window != rate.window {
            if rate.count > 0 {
                rate.windows += 1;
                rate.events += rate.count;
            }
            (rate.window, rate.count, rate.first) = (window, 0, row.index);
        }
        rate.count += 1;
        let mean = f64::from(rate.events) / f64::from(rate.windows.max(1));
        let limit = (mean * context.config.burst_factor).max(f64::from(context.config.burst_events));
        let settled = rate.events >= context.config.learn_events;
        // Reported once, when the limit is passed.
        if settled && f64::from(rate.count) > limit && f64::from(rate.count - 1) <= limit {
            let what = format!("{} events in ten minutes, {mean:.1} are usual", rate.count);
            found.push(context.found(row, what, vec![rate.first, row.index]));
        }
    }
    found
}

pub(super) fn refused_then_allowed(context: &Context<'_>) -> Vec<Found> {
    let mut refused: HashMap<Name, VecDeque<(i64, u64)>> = HashMap::new();
    let reach = i64::from(context.config.refusals_minutes) * MINUTE_MS;
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.identity != 0) {
        if row.outcome == Outcome::Refused {
            let recent = refused.entry(row.identity).or_default();
            recent.push_back((row.time, row.index));
            if recent.len() > 100 {
                recent.pop_front();
            }
        } else if row.kind == context.kinds.issued && row.outcome == Outcome::Success {
            let Some(mut recent) = refused.remove(&row.identity) else { continue };
            recent.retain(|(time, _)| row.time - time <= reach);
            if recent.len() >= context.config.refusals as usize {
                let what = format!("{} refusals, then role `{}`", recent.len(), context.name(row.role));
                let evidence = recent.iter().map(|(_, index)| *index).chain([row.index]).collect();
                found.push(context.found(row, what, evidence));
            }
        }
    }
    found
}

pub(super) fn replay(context: &Context<'_>) -> Vec<Found> {
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.kind == context.kinds.auth && row.token != 0) {
        match seen.entry(row.token) {
            Entry::Vacant(first) => {
                first.insert(row.index);
            }
            Entry::Occupied(first) => {
                let what = format!("a token was presented again ({})", row.outcome.as_str());
                found.push(context.found(row, what, vec![*first.get(), row.index]));
            }
        }
    }
    found
}

pub(super) fn lease_in_two_places(context: &Context<'_>) -> Vec<Found> {
    let mut places: HashMap<u64, (Name, u64)> = HashMap::new();
    let mut reported = HashSet::new();
    let kinds = &context.kinds;
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.lease != 0 && row.source != 0) {
        if ![kinds.issued, kinds.used, kinds.renewed].contains(&row.kind) {
            continue;
        }
        let (source, index) = *places.entry(row.lease).or_insert((row.source, row.index));
        if source != row.source && reported.insert(row.lease) {
            let what =
                format!("one lease from {} and from {}", context.name(source), context.name(row.source));
            found.push(context.found(row, what, vec![index, row.index]));
        }
    }
    found
}

pub(super) fn use_after_job(context: &Context<'_>) -> Vec<Found> {
    let mut ended: HashMap<u64, u64> = HashMap::new();
    let kinds = &context.kinds;
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.run != 0) {
        if row.kind == kinds.job_ended {
            ended.entry(row.run).or_insert(row.index);
        } else if (row.kind == kinds.used || row.kind == kinds.renewed)
            && let Some(end) = ended.get(&row.run)
        {
            let what = "a lease was used after its job ended".to_owned();
            found.push(context.found(row, what, vec![*end, row.index]));
        }
    }
    found
}

pub(super) fn revocation_overdue(context: &Context<'_>) -> Vec<Found> {
    let mut failing: HashMap<u64, (&Row, u64)> = HashMap::new();
    let reach = i64::from(context.config.revoke_minutes) * MINUTE_MS;
    let kinds = &context.kinds;
    let now = context.rows.rows.last().map_or(0, |row| row.time);
    let mut found = Vec::new();
    let overdue = |first: &Row, last: u64, until: i64, end: &str| {
        let minutes = (until - first.time) / MINUTE_MS;
        let provider = context.name(first.provider);
        let what = format!("revoking at `{provider}` failed for {minutes} min, {end}");
        context.found(first, what, vec![first.index, last])
    };
    for row in context.rows.rows.iter().filter(|row| row.lease != 0) {
        if row.kind == kinds.revoked && row.outcome == Outcome::Failed {
            failing.entry(row.lease).or_insert((row, row.index)).1 = row.index;
        } else if (row.kind == kinds.revoked || row.kind == kinds.expired)
            && let Some((first, _)) = failing.remove(&row.lease)
            && row.time - first.time > reach
        {
            found.push(overdue(first, row.index, row.time, "then it ended"));
        }
    }
    let still = failing.into_values().filter(|(first, _)| now - first.time > reach);
    let mut still: Vec<Found> =
        still.map(|(first, last)| overdue(first, last, now, "and still does")).collect();
    still.sort_by_key(|found| found.evidence[0]);
    found.extend(still);
    found
}

pub(super) fn clock_jump(context: &Context<'_>) -> Vec<Found> {
    let limit = i64::from(context.config.clock_seconds) * 1000;
    let mut jumping = false;
    let mut found = Vec::new();
    for row in context.rows.rows.iter().filter(|row| row.logged != 0) {
        // What is taken over from elsewhere is older than its entry; it cannot be newer.
        let differs = if row.imported { (row.time - row.logged).max(0) } else { row.time - row.logged };
        // The first of a row of such events is enough.
        if differs.abs() > limit && !jumping {
            let side = if differs > 0 { "ahead of" } else { "behind" };
            let what = format!("an event's time is {} s {side} the log's", differs.abs() / 1000);
            found.push(Found { time: row.logged, subject: "clock".into(), what, evidence: vec![row.index] });
        }
        jumping = differs.abs() > limit;
    }
    found
}

pub(super) fn policy_then_use(context: &Context<'_>) -> Vec<Found> {
    let reach = i64::from(context.config.policy_minutes) * MINUTE_MS;
    let changes: Vec<&Row> = context.successes(context.kinds.config).collect();
    let mut found = Vec::new();
    for row in context.first_grants() {
        let before = changes.partition_point(|change| change.index < row.index);
        let Some(change) = before.checked_sub(1).map(|at| changes[at]) else { continue };
        if row.time - change.time <= reach {
            let what = format!(
                "`{}` changed {} s before role `{}` was used for the first time",
                context.name(change.name),
                (row.time - change.time) / 1000,
                context.name(row.role)
            );
            found.push(context.found(row, what, vec![change.index, row.index]));
        }
    }
    found
}

pub(super) fn secret_widely_read(context: &Context<'_>) -> Vec<Found> {
    /// The readers of the day, and the most of any day before.
    #[derive(Default)]
    struct Readers {
        day: i64,
        today: HashSet<Name>,
        most: usize,
    }
    let mut secrets: HashMap<Name, Readers> = HashMap::new();
    let mut found = Vec::new();
    for row in context.successes(context.kinds.read).filter(|row| row.name != 0) {
        let readers = secrets.entry(row.name).or_default();
        let day = row.time.div_euclid(DAY_MS);
        if readers.day != day {
            readers.most = readers.most.max(readers.today.len());
            readers.day = day;
            readers.today.clear();
        }
        // A secret that many read every day is reported once, and again when twice as many do.
        let usual = (context.config.readers as usize).max(readers.most * 2);
        if readers.today.insert(row.identity) && readers.today.len() == usual + 1 {
            let what = format!("read by more than {usual} identities in a day");
            let subject = context.name(row.name).to_owned();
            found.push(Found { time: row.time, subject, what, evidence: vec![row.index] });
        }
    }
    found
}
