//! The maps, and the indexes over them that every change keeps up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::lease::{HandleHash, Hold, LeaseId, State};
use crate::store::row::{Beginning, Row, micros, plain, timestamp};
use crate::store::{Counts, Filter, Overdue};

/// A lease with what is not read back as such.
pub(super) struct Entry {
    pub(super) row: Row,
    pub(super) worker: Option<Arc<str>>,
    issuer: Option<Arc<str>>,
    run: Option<Box<str>>,
    repository: Option<Arc<str>>,
    holder: [u8; 16],
}

impl Entry {
    pub(super) fn is_held_by(&self, worker: &str) -> bool {
        self.worker.as_deref() == Some(worker) && self.row.state == State::Revoking
    }

    /// Whether it counts towards limits: it is not closed, and somebody may hold its credential.
    fn is_counted(&self) -> bool {
        use crate::lease::Reason::{Unfinished, Unrecorded};
        let unheld = matches!(self.row.reason, Some(Unfinished | Unrecorded));
        self.row.closed.is_none() && !(self.row.state == State::Revoking && unheld)
    }

    fn matches(&self, filter: &Filter) -> bool {
        let is = |wanted: &Option<String>, seen: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| seen == Some(&*plain(wanted)))
        };
        let row = &self.row;
        is(&filter.issuer, self.issuer.as_deref())
            && is(&filter.run, self.run.as_deref())
            && is(&filter.repository, self.repository.as_deref())
            && is(&filter.role, Some(&row.role))
            && is(&filter.provider, Some(&row.provider))
            && is(&filter.environment, Some(&row.environment))
            && filter.since.is_none_or(|since| row.created >= micros(since))
            && (filter.ids.is_empty() || filter.ids.contains(&row.id))
            && (filter.states.is_empty() || filter.states.contains(&row.state))
            && (filter.fingerprints.is_empty()
                || filter.fingerprints.iter().any(|it| row.fingerprints.contains(&plain(it))))
    }
}

/// Everything.
#[derive(Default)]
pub(super) struct Tables {
    /// Boxed: a table of large entries is half empty on average.
    leases: HashMap<LeaseId, Box<Entry>>,
    handles: HashMap<HandleHash, LeaseId>,
    age: BTreeSet<(i64, LeaseId)>,
    due: HashMap<Arc<str>, BTreeSet<(i64, LeaseId)>>,
    /// Leases that count towards limits: by role, and by role and holder.
    live: HashMap<(Arc<str>, Option<[u8; 16]>), u32>,
    /// Each text that many leases share, once.
    texts: HashSet<Arc<str>>,
    pub(super) tokens: HashMap<[u8; 32], i64>,
    /// Oldest first.
    pub(super) holds: Vec<Hold>,
}

impl Tables {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }

    pub(super) fn is_taken(&self, id: LeaseId, handle: &HandleHash) -> bool {
        self.leases.contains_key(&id) || self.handles.contains_key(handle)
    }

    pub(super) fn insert(&mut self, new: Beginning) {
        let mut row = new.row;
        for text in [&mut row.role, &mut row.provider, &mut row.environment, &mut row.parameters] {
            *text = self.share(text);
        }
        let issuer = new.issuer.map(|it| self.share(&it));
        let repository = new.repository.map(|it| self.share(&it));
        let run = new.run.map(Into::into);
        self.handles.insert(row.handle, row.id);
        self.age.insert((row.created, row.id));
        let entry = Box::new(Entry { worker: None, issuer, run, repository, holder: new.holder, row });
        self.index(&entry, true);
        self.leases.insert(entry.row.id, entry);
    }

    fn index(&mut self, entry: &Entry, add: bool) {
        if let Some(due) = entry.row.due {
            let of = self.due.entry(Arc::clone(&entry.row.provider)).or_default();
            let key = (due, entry.row.id);
            if add {
                of.insert(key)
            } else {
                of.remove(&key)
            };
        }
        if entry.is_counted() {
            for holder in [None, Some(entry.holder)] {
                let key = (Arc::clone(&entry.row.role), holder);
                let count = self.live.entry(key.clone()).or_default();
                *count = if add { *count + 1 } else { *count - 1 };
                if *count == 0 {
                    self.live.remove(&key);
                }
            }
        }
    }

    /// The only way to change a lease: the indexes follow.
    pub(super) fn change<T>(&mut self, id: LeaseId, with: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut entry = self.leases.remove(&id)?;
        self.index(&entry, false);
        let answer = with(&mut entry);
        self.index(&entry, true);
        self.leases.insert(id, entry);
        Some(answer)
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Entry> {
        self.leases.get(&id).map(Box::as_ref)
    }

    pub(super) fn held(&self, handle: &HandleHash) -> Option<&Entry> {
        self.leases.get(self.handles.get(handle)?).map(Box::as_ref)
    }

    pub(super) fn live_of(&self, role: &Arc<str>, holder: Option<[u8; 16]>) -> u32 {
        self.live.get(&(Arc::clone(role), holder)).copied().unwrap_or(0)
    }

    pub(super) fn due(&self, provider: &str, now: i64, most: u32) -> Vec<LeaseId> {
        let of = self.due.get(provider).into_iter().flatten();
        of.take_while(|(due, _)| *due <= now).take(most as usize).map(|(_, id)| *id).collect()
    }

    pub(super) fn matching(&self, filter: &Filter, also: impl Fn(&Entry) -> bool) -> Vec<LeaseId> {
        let fits = |entry: &&Entry| entry.matches(filter) && also(entry);
        if filter.ids.is_empty() {
            self.leases.values().map(Box::as_ref).filter(fits).map(|entry| entry.row.id).collect()
        } else {
            let ids: BTreeSet<&LeaseId> = filter.ids.iter().collect();
            let named = ids.into_iter().filter_map(|id| self.leases.get(id)).map(Box::as_ref);
            named.filter(fits).map(|entry| entry.row.id).collect()
        }
    }

    pub(super) fn page(&self, filter: &Filter, after: Option<LeaseId>, most: usize) -> Vec<Row> {
        let end = match after {
            None => (i64::MAX, LeaseId::from_bytes([u8::MAX; 16])),
            Some(id) => match self.get(id) {
                Some(entry) => (entry.row.created, id),
                None => return Vec::new(),
            },
        };
        let entries = self.age.range(..end).rev().filter_map(|(_, id)| self.leases.get(id));
        entries.filter(|entry| entry.matches(filter)).take(most).map(|entry| entry.row.clone()).collect()
    }

    pub(super) fn counts(&self) -> Result<Counts, sqlx::Error> {
        let (mut states, mut providers) = (BTreeMap::new(), BTreeMap::new());
        let (mut failing, mut oldest) = (0, None);
        for row in self.leases.values().map(|entry| &entry.row) {
            *states.entry(row.state).or_insert(0) += 1;
            if row.closed.is_none() {
                *providers.entry(&row.provider).or_insert(0) += 1;
            }
            if row.state == State::Revoking && row.attempts > 0 {
                failing += 1;
                oldest = oldest.into_iter().chain(row.revoking_since).min();
            }
        }
        Ok(Counts {
            by_state: states.into_iter().collect(),
            failing,
            oldest_failing: oldest.map(timestamp).transpose()?,
            by_provider: providers.into_iter().map(|(name, count)| (name.to_string(), count)).collect(),
        })
    }

    pub(super) fn overdue(&self, since: i64, now: i64) -> Result<Vec<Overdue>, sqlx::Error> {
        let begins = |row: &Row| row.revoking_since.or(row.due).unwrap_or(i64::MAX);
        let late = |row: &&Row| {
            let is_open = row.closed.is_none();
            let ends_later = row.expires > now && row.due.is_some_and(|due| due >= row.expires);
            is_open && begins(row) <= since && !(row.state == State::Revoking && ends_later)
        };
        let mut found: BTreeMap<&Arc<str>, (u64, &Row)> = BTreeMap::new();
        for row in self.leases.values().map(|entry| &entry.row).filter(late) {
            let (count, oldest) = found.entry(&row.provider).or_insert((0, row));
            *count += 1;
            if (begins(row), row.id) < (begins(oldest), oldest.id) {
                *oldest = row;
            }
        }
        let overdue = |(provider, (leases, row)): (&Arc<str>, (u64, &Row))| {
            Ok(Overdue {
                provider: provider.to_string(),
                leases,
                since: timestamp(begins(row))?,
                lease: row.id,
                error: row.last_error.as_deref().map(str::to_owned),
            })
        };
        found.into_iter().map(overdue).collect()
    }

    pub(super) fn hold(&mut self, hold: &Hold) {
        if self.holds.iter().all(|known| known.id != hold.id) {
            let cut = |at| timestamp(micros(at)).unwrap_or(at);
            let (created, until) = (cut(hold.created), hold.until.map(cut));
            self.holds.push(Hold { created, until, ..hold.clone() });
            self.holds.sort_by_key(|hold| (micros(hold.created), hold.id));
        }
    }

    pub(super) fn purge(&mut self, now: i64, before: i64) -> u64 {
        self.holds.retain(|hold| hold.until.is_none_or(|until| micros(until) > now));
        self.tokens.retain(|_, until| *until >= now);
        let old = self.age.iter().take_while(|(created, _)| *created < before);
        let gone = |id: &LeaseId| self.leases[id].row.closed.is_some_and(|closed| closed < before);
        let gone: Vec<LeaseId> = old.map(|(_, id)| *id).filter(gone).collect();
        for id in &gone {
            if let Some(entry) = self.leases.remove(id) {
                self.index(&entry, false);
                self.handles.remove(&entry.row.handle);
                self.age.remove(&(entry.row.created, *id));
            }
        }
        self.due.retain(|_, leases| !leases.is_empty());
        // Here, and in the leases that use it.
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        gone.len() as u64
    }
}
