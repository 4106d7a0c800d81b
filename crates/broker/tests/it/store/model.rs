//! What a store does, written as plainly as can be: a list, looked through from the start.

use claviger_broker::lease::{Hold, HoldId, Intent, Lease, LeaseId, Reason, State};
use claviger_broker::store::{Counts, Filter, Overdue, Want};
use jiff::{SignedDuration, Timestamp};

/// A lease with what only the store knows.
#[derive(Clone)]
struct Kept {
    lease: Lease,
    worker: Option<String>,
    due: Option<Timestamp>,
}

#[derive(Default)]
pub(super) struct Model {
    leases: Vec<Kept>,
    tokens: Vec<(String, String, String, Timestamp)>,
    /// Runs that took a role which they may take once.
    once: Vec<(String, String)>,
    holds: Vec<Hold>,
}

impl Kept {
    /// When an active lease is due.
    fn active_due(&self) -> Timestamp {
        let end = self.lease.expires;
        let Some(silence) = self.lease.silence_s else { return end };
        let heard = self.lease.heard.unwrap_or(self.lease.created);
        end.min(heard + SignedDuration::from_secs(i64::from(silence)))
    }

    fn give_up(&mut self, reason: Reason, since: Timestamp) {
        if self.lease.state == State::Pending {
            self.lease.expires = self.lease.max_expires;
        }
        self.lease.state = State::Revoking;
        self.lease.reason.get_or_insert(reason);
        self.lease.revoking_since.get_or_insert(since);
    }

    fn open(&self) -> bool {
        self.lease.closed.is_none()
    }

    fn counts(&self) -> bool {
        let unheld = matches!(self.lease.reason, Some(Reason::Unfinished | Reason::Unrecorded));
        self.open() && !(self.lease.state == State::Revoking && unheld)
    }

    fn fits(&self, filter: &Filter) -> bool {
        let lease = &self.lease;
        let same = |wanted: &Option<String>, seen: Option<&String>| match wanted {
            None => true,
            Some(wanted) => seen == Some(wanted),
        };
        same(&filter.issuer, lease.who.issuer.as_ref())
            && same(&filter.run, lease.who.run_id.as_ref())
            && same(&filter.repository, lease.who.repository.as_ref())
            && same(&filter.role, Some(&lease.role))
            && same(&filter.provider, Some(&lease.provider))
            && same(&filter.environment, Some(&lease.environment))
            && filter.since.is_none_or(|since| lease.created >= since)
            && (filter.ids.is_empty() || filter.ids.contains(&lease.id))
            && (filter.states.is_empty() || filter.states.contains(&lease.state))
            && (filter.fingerprints.is_empty()
                || filter.fingerprints.iter().any(|it| lease.fingerprints.contains(it)))
    }

    fn taken(&mut self, worker: &str, now: Timestamp, until: Timestamp) -> Lease {
        let due = self.due.unwrap();
        let reason = match self.lease.state {
            State::Pending => Reason::Unfinished,
            _ if self.lease.expires <= now => Reason::Due,
            _ => Reason::Silent,
        };
        self.give_up(reason, due);
        self.due = Some(until);
        self.worker = Some(worker.into());
        self.seen()
    }

    /// The lease as the store shows it.
    fn seen(&self) -> Lease {
        let next = if self.lease.state == State::Revoking { self.due } else { None };
        Lease { next_attempt: next, ..self.lease.clone() }
    }
}

/// The words with which a begin is refused.
pub(super) type Refused = &'static str;

impl Model {
    fn at(&mut self, id: LeaseId) -> Option<&mut Kept> {
        self.leases.iter_mut().find(|kept| kept.lease.id == id)
    }

    pub(super) fn begin(&mut self, intent: &Intent) -> Result<(), Refused> {
        let lease = &intent.lease;
        let stands = |hold: &&Hold| hold.until.is_none_or(|until| until > lease.created);
        if self.holds.iter().filter(stands).any(|hold| hold.scope.covers(lease)) {
            return Err("held back");
        }
        let token = &intent.token;
        if self
            .tokens
            .iter()
            .any(|(issuer, id, role, _)| (issuer, id, role) == (&token.issuer, &token.token_id, &lease.role))
        {
            return Err("replayed");
        }
        let run = |lease: &Lease| (lease.who.issuer.clone(), lease.who.run_id.clone());
        let of_role = self.leases.iter().filter(|kept| kept.counts() && kept.lease.role == lease.role);
        if intent.limits.role.is_some_and(|most| of_role.clone().count() >= most as usize) {
            return Err("role");
        }
        let of_run = of_role.filter(|kept| run(&kept.lease) == run(lease));
        if intent.limits.run.is_some_and(|most| of_run.count() >= most as usize) {
            return Err("run");
        }
        let once = (lease.who.run_id.clone().unwrap(), lease.role.clone());
        if intent.limits.once_per_run {
            if self.once.contains(&once) {
                return Err("once");
            }
            self.once.push(once);
        }
        self.tokens.push((
            token.issuer.clone(),
            token.token_id.clone(),
            lease.role.clone(),
            token.keep_until,
        ));
        let mut kept = Kept { lease: lease.clone(), worker: None, due: None };
        kept.due = Some(if lease.state == State::Active { kept.active_due() } else { lease.expires });
        self.leases.push(kept);
        Ok(())
    }

    pub(super) fn keep(&mut self, id: LeaseId, reference: &[u8]) -> bool {
        let Some(kept) = self.at(id).filter(|kept| kept.open()) else { return false };
        kept.lease.reference = Some(reference.to_vec());
        true
    }

    pub(super) fn activate(
        &mut self,
        id: LeaseId,
        expires: Timestamp,
        reference: Option<&[u8]>,
        fingerprints: &[String],
    ) -> bool {
        let Some(kept) = self.at(id).filter(|kept| kept.lease.state != State::Active) else { return false };
        if let Some(reference) = reference {
            kept.lease.reference = Some(reference.to_vec());
        }
        kept.lease.fingerprints = fingerprints.to_vec();
        if kept.lease.state == State::Pending {
            kept.lease.state = State::Active;
            kept.lease.expires = expires;
            kept.due = Some(kept.active_due());
            return true;
        }
        kept.lease.state = State::Revoking;
        kept.lease.closed = None;
        kept.worker = None;
        kept.due = kept.lease.revoking_since;
        false
    }

    pub(super) fn abandon(
        &mut self,
        id: LeaseId,
        reason: Reason,
        reference: Option<&[u8]>,
        now: Timestamp,
    ) -> bool {
        let Some(kept) = self.at(id) else { return false };
        if kept.lease.closed.take().is_some() {
            kept.lease.reason = None;
            kept.lease.revoking_since = None;
        }
        kept.give_up(reason, now);
        if let Some(reference) = reference {
            kept.lease.reference = Some(reference.to_vec());
        }
        kept.worker = None;
        kept.due = Some(now);
        true
    }

    pub(super) fn find(&mut self, id: LeaseId) -> Option<Lease> {
        self.at(id).map(|kept| kept.seen())
    }

    pub(super) fn renew(&mut self, id: LeaseId, before: Timestamp, until: Timestamp) -> bool {
        let may = |lease: &Lease| {
            lease.state == State::Active && lease.expires == before && until <= lease.max_expires
        };
        let Some(kept) = self.at(id).filter(|kept| may(&kept.lease)) else { return false };
        kept.lease.expires = until;
        kept.lease.renewals += 1;
        kept.due = Some(kept.active_due());
        true
    }

    pub(super) fn heard(&mut self, id: LeaseId, now: Timestamp) -> bool {
        let Some(kept) = self.at(id).filter(|kept| kept.lease.state == State::Active) else { return false };
        kept.lease.heard = kept.lease.heard.max(Some(now));
        kept.due = Some(kept.active_due());
        true
    }

    pub(super) fn revoke(&mut self, filter: &Filter, reason: Reason, now: Timestamp) -> Vec<LeaseId> {
        let mut ids = Vec::new();
        for kept in self.leases.iter_mut().filter(|kept| kept.fits(filter)) {
            let waits = !matches!(reason, Reason::Unfinished | Reason::Unrecorded);
            match kept.lease.state {
                State::Pending if waits => kept.due = Some(now.max(kept.lease.expires)),
                State::Pending | State::Active => kept.due = Some(now),
                _ => continue,
            }
            kept.give_up(reason, now);
            ids.push(kept.lease.id);
        }
        ids.sort();
        ids
    }

    pub(super) fn claim(
        &mut self,
        worker: &str,
        wants: &[Want<'_>],
        now: Timestamp,
        until: Timestamp,
    ) -> Vec<Lease> {
        let mut all = Vec::new();
        for want in wants {
            let is_due = |kept: &&mut Kept| {
                kept.lease.provider == want.provider && kept.due.is_some_and(|due| due <= now)
            };
            let mut due: Vec<&mut Kept> = self.leases.iter_mut().filter(is_due).collect();
            due.sort_by_key(|kept| (kept.due, kept.lease.id));
            due.truncate(want.most as usize);
            let mut taken: Vec<_> = due.into_iter().map(|kept| kept.taken(worker, now, until)).collect();
            taken.sort_by_key(|lease| (lease.revoking_since, lease.id));
            all.extend(taken);
        }
        all
    }

    pub(super) fn take(
        &mut self,
        worker: &str,
        id: LeaseId,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<Lease> {
        let kept = self.at(id)?;
        let may = kept.lease.state == State::Revoking && kept.due? <= now;
        may.then(|| kept.taken(worker, now, until))
    }

    fn held(&mut self, worker: &str, id: LeaseId) -> Option<&mut Kept> {
        self.at(id)
            .filter(|kept| kept.worker.as_deref() == Some(worker) && kept.lease.state == State::Revoking)
    }

    pub(super) fn close(&mut self, worker: &str, id: LeaseId, state: State, now: Timestamp) -> bool {
        let Some(kept) = self.held(worker, id) else { return false };
        kept.lease.state = state;
        kept.lease.closed = Some(now);
        kept.due = None;
        kept.worker = None;
        true
    }

    pub(super) fn failed(&mut self, worker: &str, id: LeaseId, next: Timestamp, error: &str) -> bool {
        let Some(kept) = self.held(worker, id) else { return false };
        kept.lease.attempts += 1;
        kept.lease.last_error = Some(error.into());
        kept.due = Some(next);
        kept.worker = None;
        true
    }

    pub(super) fn wake(&mut self, filter: &Filter, now: Timestamp) -> u64 {
        let mut woken = 0;
        for kept in self.leases.iter_mut().filter(|kept| kept.fits(filter)) {
            let failed = kept.lease.state == State::Revoking && kept.lease.attempts > 0;
            if failed && kept.worker.is_none() && kept.due.unwrap() > now {
                kept.due = Some(now);
                woken += 1;
            }
        }
        woken
    }

    pub(super) fn list(&self, filter: &Filter, after: Option<LeaseId>, most: usize) -> Vec<Lease> {
        let mut all: Vec<Lease> = self.leases.iter().map(Kept::seen).collect();
        all.sort_by_key(|lease| std::cmp::Reverse((lease.created, lease.id)));
        if let Some(after) = after {
            match all.iter().position(|lease| lease.id == after) {
                Some(place) => drop(all.drain(..=place)),
                None => all.clear(),
            }
        }
        all.retain(|lease| {
            let kept = Kept { lease: lease.clone(), worker: None, due: None };
            kept.fits(filter)
        });
        all.truncate(most);
        all
    }

    pub(super) fn counts(&self) -> Counts {
        let leases = || self.leases.iter().map(|kept| &kept.lease);
        let failing = || leases().filter(|it| it.state == State::Revoking && it.attempts > 0);
        let mut names: Vec<&str> = leases().map(|lease| lease.provider.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let of = |name: &str| leases().filter(|it| it.closed.is_none() && it.provider == name).count() as u64;
        let states = State::ALL.map(|state| (state, leases().filter(|it| it.state == state).count() as u64));
        Counts {
            by_state: states.into_iter().filter(|it| it.1 > 0).collect(),
            failing: failing().count() as u64,
            oldest_failing: failing().filter_map(|lease| lease.revoking_since).min(),
            by_provider: names
                .into_iter()
                .map(|name| (name.to_owned(), of(name)))
                .filter(|it| it.1 > 0)
                .collect(),
        }
    }

    pub(super) fn overdue(&self, since: Timestamp, now: Timestamp) -> Vec<Overdue> {
        let begins = |kept: &Kept| kept.lease.revoking_since.or(kept.due).unwrap();
        let late = |kept: &&Kept| {
            let waits = kept.lease.expires > now && kept.due.is_some_and(|due| due >= kept.lease.expires);
            kept.open() && begins(kept) <= since && (kept.lease.state != State::Revoking || !waits)
        };
        let mut late: Vec<&Kept> = self.leases.iter().filter(late).collect();
        late.sort_by_key(|kept| (kept.lease.provider.clone(), begins(kept), kept.lease.id));
        let mut found: Vec<Overdue> = Vec::new();
        for kept in late {
            let lease = &kept.lease;
            match found.last_mut().filter(|last| last.provider == lease.provider) {
                Some(last) => last.leases += 1,
                None => found.push(Overdue {
                    provider: lease.provider.clone(),
                    leases: 1,
                    since: begins(kept),
                    lease: lease.id,
                    error: lease.last_error.clone(),
                }),
            }
        }
        found
    }

    pub(super) fn hold(&mut self, hold: &Hold) {
        self.holds.push(hold.clone());
    }

    pub(super) fn release(&mut self, id: HoldId) -> bool {
        let before = self.holds.len();
        self.holds.retain(|hold| hold.id != id);
        self.holds.len() < before
    }

    pub(super) fn holds(&self, now: Timestamp) -> Vec<Hold> {
        let stands = |hold: &&Hold| hold.until.is_none_or(|until| until > now);
        let mut holds: Vec<Hold> = self.holds.iter().filter(stands).cloned().collect();
        holds.sort_by_key(|hold| (hold.created, hold.id));
        holds
    }

    pub(super) fn purge(&mut self, now: Timestamp, before: Timestamp) -> u64 {
        self.tokens.retain(|token| token.3 >= now);
        self.holds.retain(|hold| hold.until.is_none_or(|until| until > now));
        let count = self.leases.len();
        self.leases.retain(|kept| kept.lease.closed.is_none_or(|closed| closed >= before));
        (count - self.leases.len()) as u64
    }
}
