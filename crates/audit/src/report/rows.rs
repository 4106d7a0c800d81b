//! The log as a table in memory: one small row for each event, names interned. Reports and anomaly rules read this.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rayon::prelude::*;

use crate::event::{KINDS, Outcome, Slim, millis};
use crate::reader::{ReadError, Reader};

/// A name of the [`Rows`] it came from; 0 is the empty name.
pub type Name = u32;

/// One event.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its index in the log.
    pub index: u64,
    /// When it happened, in milliseconds since 1970.
    pub time: i64,
    /// When the log took it, in milliseconds since 1970; 0 if it does not say.
    pub logged: i64,
    /// When the credential expires; 0 if it does not say.
    pub expires: i64,
    /// When rotation or revocation was or is due; 0 if it does not say.
    pub due: i64,
    /// Hash of the lease; 0 without one.
    pub lease: u64,
    /// Hash of the token's id; 0 without one.
    pub token: u64,
    /// Hash of repository and run; 0 without one.
    pub run: u64,
    /// Seconds; 0 if it does not say.
    pub ttl_s: u32,
    /// Repository or subject.
    pub identity: Name,
    /// The provider.
    pub provider: Name,
    /// The environment.
    pub environment: Name,
    /// The role.
    pub role: Name,
    /// The network address.
    pub source: Name,
    /// Why.
    pub reason: Name,
    /// The static secret's name, or what was configured.
    pub name: Name,
    /// The place of the type in [`KINDS`]; 255 for an unknown one.
    pub kind: u8,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// Was it taken over from elsewhere?
    pub imported: bool,
}

/// All events of a log, in order.
#[derive(Debug, Default)]
pub struct Rows {
    /// The events.
    pub rows: Vec<Row>,
    names: Names,
}

#[derive(Debug, Default)]
struct Names {
    known: HashMap<Box<str>, Name>,
    list: Vec<Box<str>>,
    /// The last name of each column: events of one run stand together.
    last: [Name; COLUMNS],
}

/// Columns of a [`Row`] that hold names.
const COLUMNS: usize = 7;

impl Names {
    fn of(&mut self, column: usize, name: &str) -> Name {
        if name.is_empty() {
            return 0;
        }
        let last = self.last[column];
        if last != 0 && &*self.list[last as usize - 1] == name {
            return last;
        }
        self.last[column] = self.find(name);
        self.last[column]
    }

    fn find(&mut self, name: &str) -> Name {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        self.list.push(name.into());
        let number = self.list.len() as Name;
        self.known.insert(name.into(), number);
        number
    }
}

/// The number of a type of event in a [`Row`].
pub(super) fn kind(name: &str) -> u8 {
    KINDS.iter().position(|kind| *kind == name).map_or(u8::MAX, |place| place as u8)
}

/// So many bundles become rows in one go, and so many goes run before their rows are put together.
const BUNDLES: u64 = 32;
const AT_ONCE: u64 = 8;

impl Rows {
    /// Reads all entries that the head covers. Pruned ones and entries that are no events are left out.
    ///
    /// # Errors
    /// A bundle cannot be read.
    pub fn read(reader: &Reader) -> Result<Rows, ReadError> {
        let mut all = Rows::default();
        all.rows.reserve(reader.size() as usize);
        let bundles = reader.bundles();
        for start in (0..bundles).step_by((BUNDLES * AT_ONCE) as usize) {
            let parts: Vec<Result<Rows, ReadError>> = (0..AT_ONCE)
                .into_par_iter()
                .map(|part| {
                    let from = start + part * BUNDLES;
                    Rows::part(reader, from.min(bundles)..(from + BUNDLES).min(bundles))
                })
                .collect();
            for part in parts {
                all.take(part?);
            }
        }
        Ok(all)
    }

    fn part(reader: &Reader, bundles: std::ops::Range<u64>) -> Result<Rows, ReadError> {
        let mut part = Rows::default();
        for number in bundles {
            let bundle = match reader.bundle(number) {
                Err(e) if e.is_missing() => continue,
                other => other?,
            };
            for (index, entry) in bundle.entries() {
                part.push(index, entry);
            }
        }
        Ok(part)
    }

    /// Adds one entry, unless it is no event.
    pub fn push(&mut self, index: u64, entry: &[u8]) {
        let Some(event) = Slim::parse(entry) else { return };
        let names = &mut self.names;
        let detail = &event.detail;
        let due = [&detail.due, &detail.rotate_by].into_iter().find(|due| !due.is_empty());
        let name = if detail.name.is_empty() { &detail.what } else { &detail.name };
        self.rows.push(Row {
            index,
            time: event.time_ms(),
            logged: time(&event.logged),
            expires: time(&event.expires),
            due: due.map_or(0, |due| time(due)),
            lease: hash(&[&event.lease]),
            token: hash(&[&detail.token_id]),
            run: if event.who.run_id.is_empty() { 0 } else { hash(&[event.identity(), &event.who.run_id]) },
            ttl_s: event.ttl_s.unwrap_or(0).try_into().unwrap_or(u32::MAX),
            identity: names.of(0, event.identity()),
            provider: names.of(1, &event.target.provider),
            environment: names.of(2, &event.target.environment),
            role: names.of(3, &event.target.role),
            source: names.of(4, &event.source),
            reason: names.of(5, &event.reason),
            name: names.of(6, name),
            kind: kind(&event.kind),
            outcome: event.outcome,
            imported: event.imported,
        });
    }

    fn take(&mut self, part: Rows) {
        let names: Vec<Name> = part.names.list.iter().map(|name| self.names.of(6, name)).collect();
        let here = |name: Name| if name == 0 { 0 } else { names[name as usize - 1] };
        self.rows.extend(part.rows.into_iter().map(|row| Row {
            identity: here(row.identity),
            provider: here(row.provider),
            environment: here(row.environment),
            role: here(row.role),
            source: here(row.source),
            reason: here(row.reason),
            name: here(row.name),
            ..row
        }));
    }

    /// The text of a name.
    pub fn name(&self, name: Name) -> &str {
        if name == 0 { "" } else { &self.names.list[name as usize - 1] }
    }
}

fn time(text: &str) -> i64 {
    if text.is_empty() { 0 } else { millis(text) }
}

/// A hash that is the same on every machine: `DefaultHasher::new` has fixed keys.
fn hash(parts: &[&str]) -> u64 {
    if parts.iter().all(|part| part.is_empty()) {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish() | 1
}
