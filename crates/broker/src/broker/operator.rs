//! What operators do with leases, and what a scan does that found one of their secrets.

use claviger_audit::event::{Action, ConfigChanged, Event, LeakMatched, Outcome, Revoked};
use jiff::Timestamp;

use super::Broker;
use super::events::about;
use super::refusal::{Refusal, RefusalKind};
use crate::lease::{Hold, HoldId, Lease, LeaseId, Reason, State};
use crate::store::Filter;

/// The most secrets of one question.
const MAX_SIGHTINGS: usize = 10_000;

/// A secret that a scan found, by its fingerprint alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sighting {
    /// The secret's keyed fingerprint, in hex.
    pub fingerprint: String,
    /// Where it was found.
    pub place: LeakMatched,
}

/// A leaked secret that the broker knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Leak {
    /// Its fingerprint, as asked.
    pub fingerprint: String,
    /// The lease it belongs to, as it is now.
    pub lease: Lease,
}

impl Broker {
    /// Leases of the filter, newest first.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn leases(
        &self,
        filter: &Filter,
        after: Option<LeaseId>,
        most: u32,
    ) -> Result<Vec<Lease>, Refusal> {
        Ok(self.store.list(filter, after, most).await?)
    }

    /// One lease.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Refusal> {
        Ok(self.store.find(id).await?)
    }

    /// Revokes every lease of the filter. They are locked in for revocation when this returns, and tried until their
    /// targets confirm.
    ///
    /// # Errors
    /// The filter is empty (that would mean every lease there is, and must be said by naming the states); the store
    /// cannot be asked.
    pub async fn revoke_all(
        &self,
        filter: &Filter,
        reason: Reason,
        operator: &str,
    ) -> Result<Vec<LeaseId>, Refusal> {
        if *filter == Filter::default() {
            return Err(Refusal::new(
                RefusalKind::Invalid,
                "no-filter",
                "say which leases: by id, run, repository, role, provider, environment, since or state",
            ));
        }
        let now = self.clock.now();
        let ids = self.store.revoke(filter, reason, now).await?;
        self.due.notify_waiters();
        self.due.notify_one();
        self.say_asked(&ids, reason, operator, now).await?;
        Ok(ids)
    }

    /// Holds back whatever the scope covers, and revokes its leases: the emergency order. Nothing new is issued for it
    /// until the hold is [released](Broker::release).
    ///
    /// # Errors
    /// The store cannot be asked; the audit log does not take it. Asked again, it goes on where it stopped.
    pub async fn hold(&self, hold: Hold, operator: &str) -> Result<Vec<LeaseId>, Refusal> {
        let filter = Filter {
            issuer: hold.scope.issuer.clone(),
            run: hold.scope.run.clone(),
            repository: hold.scope.repository.clone(),
            role: hold.scope.role.clone(),
            provider: hold.scope.provider.clone(),
            environment: hold.scope.environment.clone(),
            states: vec![State::Pending, State::Active],
            ..Filter::default()
        };
        self.say_held(&hold, operator, "held back").await?;
        self.store.hold(&hold).await?;
        // Stop here: nothing new is issued; what was issued before is revoked when this is asked again.
        self.revoke_all(&filter, Reason::Operator, operator).await
    }

    /// Ends a hold. `false` if there is none such.
    ///
    /// # Errors
    /// The store cannot be asked; the audit log does not take it.
    pub async fn release(&self, id: HoldId, operator: &str) -> Result<bool, Refusal> {
        let held = self.holds().await?.into_iter().find(|hold| hold.id == id);
        let Some(hold) = held else { return Ok(false) };
        self.say_held(&hold, operator, "released").await?;
        Ok(self.store.release(id).await?)
    }

    /// The holds that stand.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn holds(&self) -> Result<Vec<Hold>, Refusal> {
        Ok(self.store.holds(self.clock.now()).await?)
    }

    async fn say_held(&self, hold: &Hold, operator: &str, what: &str) -> Result<(), Refusal> {
        let detail = ConfigChanged { what: format!("hold {}", hold.id), ..ConfigChanged::default() };
        let mut event = Event::new(self.clock.now(), Action::ConfigChanged(detail), Outcome::Success);
        event.reason = Some(format!("{what} by {operator}: {}", hold.reason));
        event.target.role.clone_from(&hold.scope.role);
        event.target.provider.clone_from(&hold.scope.provider);
        event.target.environment.clone_from(&hold.scope.environment);
        event.who.actor = Some(operator.to_owned());
        self.ledger.record(vec![event]).await.map_err(|error| Refusal::unrecorded(&error))?;
        Ok(())
    }

    /// Records who asked for revocations. The attempts and their success are recorded by the reaper.
    async fn say_asked(
        &self,
        ids: &[LeaseId],
        reason: Reason,
        operator: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        const BATCH: usize = 500;
        for batch in ids.chunks(BATCH) {
            let filter = Filter { ids: batch.to_vec(), ..Filter::default() };
            let leases = self.store.list(&filter, None, BATCH as u32).await?;
            let events: Vec<_> = leases
                .iter()
                .map(|lease| {
                    let detail = Revoked { by: Some(reason.as_str().into()), ..Revoked::default() };
                    let mut event = about(lease, now, Action::Revoked(detail), Outcome::Other);
                    event.reason = Some(format!("asked for by {operator}"));
                    event
                })
                .collect();
            self.ledger.record(events).await.map_err(|error| Refusal::unrecorded(&error))?;
        }
        Ok(())
    }

    /// Which of these secrets belong to leases. Live ones are revoked at once.
    ///
    /// # Errors
    /// Too many at once; the store cannot be asked.
    pub async fn leaked(&self, seen: &[Sighting]) -> Result<Vec<Leak>, Refusal> {
        if seen.len() > MAX_SIGHTINGS {
            let message = format!("more than {MAX_SIGHTINGS} secrets in one question");
            return Err(Refusal::new(RefusalKind::Invalid, "too-many", message));
        }
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let fingerprints = seen.iter().map(|one| one.fingerprint.clone()).collect();
        let filter = Filter { fingerprints, ..Filter::default() };
        let now = self.clock.now();
        self.store.revoke(&filter, Reason::Leaked, now).await?;
        self.due.notify_one();
        let leases = self.store.list(&filter, None, MAX_SIGHTINGS as u32).await?;
        let mut leaks = Vec::new();
        let mut events = Vec::new();
        for one in seen {
            for lease in leases.iter().filter(|lease| lease.fingerprints.contains(&one.fingerprint)) {
                events.push(about(lease, now, Action::LeakMatched(one.place.clone()), Outcome::Success));
                leaks.push(Leak { fingerprint: one.fingerprint.clone(), lease: lease.clone() });
            }
        }
        self.ledger.record(events).await.map_err(|error| Refusal::unrecorded(&error))?;
        Ok(leaks)
    }

    /// How many of these leases are closed by now.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn confirmed(&self, ids: &[LeaseId]) -> Result<usize, Refusal> {
        let mut closed = 0;
        for batch in ids.chunks(500) {
            let filter = Filter {
                ids: batch.to_vec(),
                states: vec![State::Revoked, State::Expired],
                ..Filter::default()
            };
            closed += self.store.list(&filter, None, 500).await?.len();
        }
        Ok(closed)
    }
}
