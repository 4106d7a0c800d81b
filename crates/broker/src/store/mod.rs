//! Where leases rest: SQLite in a file, PostgreSQL for any number of replicas, memory for `--dev` and for measuring the
//! code alone. One trait, the same tests on all.
//!
//! Every method is one transaction, durable when it returns. Whatever concerns one holder carries the holder's handle
//! in the query itself. Times are kept to the microsecond; what is finer is cut off.

pub mod memory;
mod migrations;
pub mod postgres;
mod row;
pub mod sqlite;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::lease::{HandleHash, Hold, HoldId, Intent, Lease, LeaseId, Reason, State};

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is busy; nothing was done.
    #[error("the store cannot be used at the moment: {0}")]
    Unavailable(String),
    /// No answer came: it may have been done.
    #[error("the store gave no answer: {0}")]
    Unknown(String),
    /// What the store holds cannot be read.
    #[error("the store holds something unreadable: {0}")]
    Damaged(String),
    /// It can be reached, and must not be relied on: it acknowledges what it does not keep, others can read it, or a
    /// newer version made it. Only opening says this.
    #[error("the store is not fit for use: {0}")]
    Unfit(String),
}

/// Why an intent was not written.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The token was used for this role before.
    #[error("this token was used for this role before; a job asks once for each role")]
    Replayed,
    /// The role, or the run under the role, has its leases already.
    #[error("the limit of {0} is reached")]
    LimitReached(&'static str),
    /// Leases of this role, provider, repository or run are held back by an operator.
    #[error("issuing is held back by an operator: {0}")]
    HeldBack(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which leases are meant. Members that are absent do not restrict; all that are present must hold. So the default means
/// every lease: whoever computes a list of ids or fingerprints checks that it is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These ids.
    pub ids: Vec<LeaseId>,
    /// These states.
    pub states: Vec<State>,
    /// The issuer of the token, by its name in the configuration.
    pub issuer: Option<String>,
    /// The run's id.
    pub run: Option<String>,
    /// The repository or project.
    pub repository: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// Created at this time or later.
    pub since: Option<Timestamp>,
    /// With one of these fingerprints.
    pub fingerprints: Vec<String>,
}

/// How many leases there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By state.
    pub by_state: Vec<(State, u64)>,
    /// Leases in `Revoking` whose attempts have failed.
    pub failing: u64,
    /// When the oldest of these began to be due.
    pub oldest_failing: Option<Timestamp>,
    /// Leases that are not closed, by provider.
    pub by_provider: Vec<(String, u64)>,
}

/// How many leases of a provider a worker would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want<'a> {
    /// The provider.
    pub provider: &'a str,
    /// At most so many.
    pub most: u32,
}

/// Leases of one provider that should have been revoked by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The provider.
    pub provider: String,
    /// How many.
    pub leases: u64,
    /// Since when the oldest is to be revoked.
    pub since: Timestamp,
    /// The oldest.
    pub lease: LeaseId,
    /// What its last attempt said.
    pub error: Option<String>,
}

/// Where leases rest.
#[async_trait]
pub trait Store: Send + Sync {
    /// Uses up the token for the role and writes the lease, or does neither.
    ///
    /// # Errors
    /// See [`BeginError`]. After `Store(Unknown)` the lease may exist; it will be revoked as unfinished.
    async fn begin(&self, intent: &Intent) -> Result<(), BeginError>;

    /// Replaces the sealed reference of a lease that is not closed. `false` if it is: do not go on.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn keep(&self, id: LeaseId, reference: &[u8]) -> Result<bool, StoreError>;

    /// Makes a pending lease active. `false` if it is not pending any more: it was given up, and the credential must
    /// not leave. What was issued is revoked then: the lease goes back to `Revoking`, due at once, even if it was
    /// closed, and whoever is revoking it starts again. (An active lease stays as it is.)
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn activate(
        &self,
        id: LeaseId,
        expires: Timestamp,
        reference: Option<&[u8]>,
        fingerprints: &[String],
    ) -> Result<bool, StoreError>;

    /// Sends a lease to `Revoking`, due at once, whatever its state: for whoever was issuing and will not go on, so
    /// that nothing is under way any more. A closed lease is opened again. A reference replaces the one that was kept.
    /// `false` if there is no such lease.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn abandon(
        &self,
        id: LeaseId,
        reason: Reason,
        reference: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The lease of this id.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find(&self, id: LeaseId) -> Result<Option<Lease>, StoreError>;

    /// The lease of this handle.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_held(&self, handle: &HandleHash) -> Result<Option<Lease>, StoreError>;

    /// Sets a new end for an active lease whose end is still `before`, and counts a renewal. `false` if it was changed
    /// meanwhile, or `until` lies beyond its last end.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn renew(&self, id: LeaseId, before: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// Notes that the holder of an active lease was heard of. `false` if there is none such.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn heard(&self, handle: &HandleHash, now: Timestamp) -> Result<bool, StoreError>;

    /// Sends all leases of the filter that are pending or active to `Revoking`; gives their ids. Active ones are due at
    /// once. Pending ones are due when issuing is given up, since until then somebody may be making them; for
    /// `Unfinished` and `Unrecorded` at once, since that is who says so.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn revoke(
        &self,
        filter: &Filter,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Vec<LeaseId>, StoreError>;

    /// Takes leases on which something is due, for `worker` alone until `until`, the longest due first: pending or
    /// active ones past their end, and silent ones (they become `Revoking`), and revoking ones whose next attempt has
    /// come. What a worker does not finish by then falls to any other. The workers' clocks should agree within what
    /// lies between `now` and `until`: otherwise some are revoked twice at once, which targets bear.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn claim(
        &self,
        worker: &str,
        wants: &[Want<'_>],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Lease>, StoreError>;

    /// Takes this lease as [`claim`](Store::claim) does, if it is `Revoking` and due.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn take(
        &self,
        worker: &str,
        id: LeaseId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, StoreError>;

    /// Closes a lease that `worker` holds. `false` if it does not hold it any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn close(
        &self,
        worker: &str,
        id: LeaseId,
        state: State,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Notes a failed attempt of `worker`; the next one is due at `next`. `false` if it does not hold the lease any
    /// more.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn failed(
        &self,
        worker: &str,
        id: LeaseId,
        next: Timestamp,
        error: &str,
    ) -> Result<bool, StoreError>;

    /// Makes the next attempt of all revoking leases of the filter that have failed due at once, unless a worker holds
    /// them; gives their number.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn wake(&self, filter: &Filter, now: Timestamp) -> Result<u64, StoreError>;

    /// Leases of the filter, newest first, after `after`, at most `most`. Nothing if `after` is unknown.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list(
        &self,
        filter: &Filter,
        after: Option<LeaseId>,
        most: u32,
    ) -> Result<Vec<Lease>, StoreError>;

    /// Numbers for metrics, health and alerts.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// Leases that are to be revoked since `since` or longer, tried or not, by provider; without those whose own end is
    /// awaited because they cannot be ended before.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn overdue(&self, since: Timestamp, now: Timestamp) -> Result<Vec<Overdue>, StoreError>;

    /// Refuses, from now on, to begin any lease that the hold covers. Whatever was begun before is found by a
    /// [`revoke`](Store::revoke) that follows.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn hold(&self, hold: &Hold) -> Result<(), StoreError>;

    /// Ends a hold. `false` if there is none such.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn release(&self, id: HoldId) -> Result<bool, StoreError>;

    /// The holds that stand at `now`, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn holds(&self, now: Timestamp) -> Result<Vec<Hold>, StoreError>;

    /// Forgets tokens that are not accepted any more, holds that are over, and leases that were closed before
    /// `closed_before`; gives the number of leases.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn purge(&self, now: Timestamp, closed_before: Timestamp) -> Result<u64, StoreError>;
}
