//! Leases in memory: for `--dev`, for tests, and for measuring the code without a disk. Gone with the process.

mod tables;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use self::tables::{Entry, Tables};
use super::row::{self, Beginning, ONCE_LIMIT, ROLE_LIMIT, RUN_LIMIT, Row, micros, plain};
use super::{BeginError, Counts, Filter, Overdue, Store, StoreError, Want};
use crate::lease::{HandleHash, Hold, HoldId, Intent, Lease, LeaseId, Reason, State};

/// Leases in maps under one lock, which is never held across a wait.
#[derive(Default)]
pub struct Memory {
    tables: Mutex<Tables>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No operation panics half way: what a poisoned lock guards is whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(row: &Row) -> Result<Lease, StoreError> {
    row.lease().map_err(|e| row::common(&e).unwrap_or_else(|| StoreError::Damaged(e.to_string())))
}

/// Sends a lease to be revoked; a pending one may live to its last end, for all that is known.
fn give_up(row: &mut Row, reason: Reason, since: i64) {
    if row.state == State::Pending {
        row.expires = row.max_expires;
    }
    row.state = State::Revoking;
    row.reason = row.reason.or(Some(reason));
    row.revoking_since = row.revoking_since.or(Some(since));
}

/// Takes a lease on which something is due.
fn take(entry: &mut Entry, worker: &str, now: i64, until: i64) {
    let row = &mut entry.row;
    let due = row.due.unwrap_or(now);
    match row.state {
        State::Pending => give_up(row, Reason::Unfinished, due),
        State::Active if row.expires <= now => give_up(row, Reason::Due, due),
        State::Active => give_up(row, Reason::Silent, due),
        _ => {}
    }
    row.due = Some(until);
    entry.worker = Some(worker.into());
}

#[async_trait]
impl Store for Memory {
    async fn begin(&self, intent: &Intent) -> Result<(), BeginError> {
        let new = Beginning::new(intent);
        let mut tables = self.tables();
        let until = |hold: &Hold| hold.until.is_none_or(|until| micros(until) > new.row.created);
        let held = tables.holds.iter().find(|hold| until(hold) && hold.scope.covers(&intent.lease));
        if let Some(hold) = held {
            return Err(BeginError::HeldBack(plain(&hold.reason)));
        }
        if tables.tokens.contains_key(&new.token) {
            return Err(BeginError::Replayed);
        }
        let role = tables.live_of(&new.row.role, None);
        if new.role_limit.is_some_and(|most| role >= most) {
            return Err(BeginError::LimitReached(ROLE_LIMIT));
        }
        let run = tables.live_of(&new.row.role, Some(new.holder));
        if new.run_limit.is_some_and(|most| run >= most) {
            return Err(BeginError::LimitReached(RUN_LIMIT));
        }
        if new.once.is_some_and(|once| tables.tokens.contains_key(&once)) {
            return Err(BeginError::LimitReached(ONCE_LIMIT));
        }
        if tables.is_taken(new.row.id, &new.row.handle) {
            return Err(StoreError::Damaged("a lease of this id or handle exists already".into()).into());
        }
        tables.tokens.insert(new.token, new.keep_until);
        if let Some(once) = new.once {
            tables.tokens.insert(once, new.once_until);
        }
        tables.insert(new);
        Ok(())
    }

    async fn keep(&self, id: LeaseId, reference: &[u8]) -> Result<bool, StoreError> {
        Ok(self.tables().change(id, |entry| {
            let open = entry.row.closed.is_none();
            if open {
                entry.row.reference = Some(reference.into());
            }
            open
        }) == Some(true))
    }

    async fn activate(
        &self,
        id: LeaseId,
        expires: Timestamp,
        reference: Option<&[u8]>,
        fingerprints: &[String],
    ) -> Result<bool, StoreError> {
        Ok(self.tables().change(id, |entry| {
            let row = &mut entry.row;
            if row.state == State::Active {
                return false;
            }
            row.reference = reference.map(Into::into).or(row.reference.take());
            row.fingerprints = fingerprints.iter().map(|it| plain(it)).collect();
            if row.state == State::Pending {
                row.state = State::Active;
                row.expires = micros(expires);
                row.due = row.first_due();
                return true;
            }
            row.state = State::Revoking;
            row.revoking_since = row.revoking_since.or(Some(row.created));
            row.due = row.revoking_since;
            row.closed = None;
            entry.worker = None;
            false
        }) == Some(true))
    }

    async fn abandon(
        &self,
        id: LeaseId,
        reason: Reason,
        reference: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = micros(now);
        Ok(self
            .tables()
            .change(id, |entry| {
                let row = &mut entry.row;
                if row.closed.take().is_some() {
                    (row.reason, row.revoking_since) = (None, None);
                }
                give_up(row, reason, now);
                row.reference = reference.map(Into::into).or(row.reference.take());
                row.due = Some(now);
                entry.worker = None;
            })
            .is_some())
    }

    async fn find(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        let row = self.tables().get(id).map(|entry| entry.row.clone());
        row.map(|row| read(&row)).transpose()
    }

    async fn find_held(&self, handle: &HandleHash) -> Result<Option<Lease>, StoreError> {
        let row = self.tables().held(handle).map(|entry| entry.row.clone());
        row.map(|row| read(&row)).transpose()
    }

    async fn renew(&self, id: LeaseId, before: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let (before, until) = (micros(before), micros(until));
        Ok(self.tables().change(id, |entry| {
            let row = &mut entry.row;
            let may = row.state == State::Active && row.expires == before && until <= row.max_expires;
            if may {
                row.expires = until;
                row.renewals += 1;
                row.due = row.first_due();
            }
            may
        }) == Some(true))
    }

    async fn heard(&self, handle: &HandleHash, now: Timestamp) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let Some(id) = tables.held(handle).map(|entry| entry.row.id) else { return Ok(false) };
        Ok(tables.change(id, |entry| {
            let row = &mut entry.row;
            let active = row.state == State::Active;
            if active {
                row.heard = row.heard.max(Some(micros(now)));
                row.due = row.first_due();
            }
            active
        }) == Some(true))
    }

    async fn revoke(
        &self,
        filter: &Filter,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Vec<LeaseId>, StoreError> {
        let now = micros(now);
        let mut tables = self.tables();
        let live = |row: &Row| matches!(row.state, State::Pending | State::Active);
        let mut ids = tables.matching(filter, |entry| live(&entry.row));
        ids.sort_unstable();
        for id in &ids {
            tables.change(*id, |entry| {
                let row = &mut entry.row;
                let stopped = matches!(reason, Reason::Unfinished | Reason::Unrecorded);
                let wait = row.state == State::Pending && !stopped;
                row.due = Some(if wait { row.expires.max(now) } else { now });
                give_up(row, reason, now);
            });
        }
        Ok(ids)
    }

    async fn claim(
        &self,
        worker: &str,
        wants: &[Want<'_>],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        let (now, until) = (micros(now), micros(until));
        let mut tables = self.tables();
        let mut claimed = Vec::new();
        for want in wants {
            let first = claimed.len();
            for id in tables.due(&plain(want.provider), now, want.most) {
                let lease = tables.change(id, |entry| {
                    take(entry, worker, now, until);
                    read(&entry.row)
                });
                claimed.extend(lease.transpose()?);
            }
            claimed[first..].sort_by_key(|lease| (lease.revoking_since, lease.id));
        }
        Ok(claimed)
    }

    async fn take(
        &self,
        worker: &str,
        id: LeaseId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let (now, until) = (micros(now), micros(until));
        let lease = self.tables().change(id, |entry| {
            let free = entry.row.state == State::Revoking && entry.row.due.is_some_and(|due| due <= now);
            free.then(|| {
                take(entry, worker, now, until);
                read(&entry.row)
            })
        });
        lease.flatten().transpose()
    }

    async fn close(
        &self,
        worker: &str,
        id: LeaseId,
        state: State,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.tables().change(id, |entry| {
            let holds = entry.is_held_by(worker);
            if holds {
                entry.row.state = state;
                entry.row.closed = Some(micros(now));
                entry.row.due = None;
                entry.worker = None;
            }
            holds
        }) == Some(true))
    }

    async fn failed(
        &self,
        worker: &str,
        id: LeaseId,
        next: Timestamp,
        error: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.tables().change(id, |entry| {
            let holds = entry.is_held_by(worker);
            if holds {
                entry.row.attempts += 1;
                entry.row.due = Some(micros(next));
                entry.row.last_error = Some(plain(error).into());
                entry.worker = None;
            }
            holds
        }) == Some(true))
    }

    async fn wake(&self, filter: &Filter, now: Timestamp) -> Result<u64, StoreError> {
        let now = micros(now);
        let mut tables = self.tables();
        let ids = tables.matching(filter, |entry| {
            let row = &entry.row;
            row.state == State::Revoking
                && row.attempts > 0
                && entry.worker.is_none()
                && row.due.is_some_and(|due| due > now)
        });
        for id in &ids {
            tables.change(*id, |entry| entry.row.due = Some(now));
        }
        Ok(ids.len() as u64)
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<LeaseId>,
        most: u32,
    ) -> Result<Vec<Lease>, StoreError> {
        let rows = self.tables().page(filter, after, most as usize);
        rows.iter().map(read).collect()
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.tables().counts().map_err(|e| StoreError::Damaged(e.to_string()))
    }

    async fn overdue(&self, since: Timestamp, now: Timestamp) -> Result<Vec<Overdue>, StoreError> {
        let found = self.tables().overdue(micros(since), micros(now));
        found.map_err(|e| StoreError::Damaged(e.to_string()))
    }

    async fn hold(&self, hold: &Hold) -> Result<(), StoreError> {
        self.tables().hold(hold);
        Ok(())
    }

    async fn release(&self, id: HoldId) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let before = tables.holds.len();
        tables.holds.retain(|hold| hold.id != id);
        Ok(tables.holds.len() < before)
    }

    async fn holds(&self, now: Timestamp) -> Result<Vec<Hold>, StoreError> {
        let stands = |hold: &&Hold| hold.until.is_none_or(|until| micros(until) > micros(now));
        Ok(self.tables().holds.iter().filter(stands).cloned().collect())
    }

    async fn purge(&self, now: Timestamp, closed_before: Timestamp) -> Result<u64, StoreError> {
        Ok(self.tables().purge(micros(now), micros(closed_before)))
    }
}
