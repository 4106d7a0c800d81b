//! Where leases rest: SQLite in a file, PostgreSQL for any number of replicas, memory for `--dev` and for measuring the
//! code alone. One trait, the same tests on all.
//!
//! Every method is one transaction, durable when it returns. Whatever concerns one holder carries the holder's handle
//! in the query itself.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::lease::{HandleHash, Intent, Lease, LeaseId, Reason, State};

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

/// Which leases are meant. Members that are absent do not restrict; all that are present must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These ids.
    pub ids: Vec<LeaseId>,
    /// These states.
    pub states: Vec<State>,
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
}

/// Where leases rest.
#[async_trait]
pub trait Store: Send + Sync {
    /// Uses up the token for the role and writes the lease, or does neither.
    ///
    /// # Errors
    /// See [`BeginError`]. After `Store(Unknown)` the lease may exist; it will be revoked as unfinished.
    async fn begin(&self, intent: &Intent) -> Result<(), BeginError>;

    /// Replaces the sealed reference of a lease that is not closed.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn keep(&self, id: LeaseId, reference: &[u8]) -> Result<(), StoreError>;

    /// Makes a pending lease active. `false` if it is not pending any more: it was given up, and the credential must
    /// not leave.
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
    /// meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn renew(&self, id: LeaseId, before: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// Notes that the holder of an active lease was heard of. `false` if there is none such.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn heard(&self, handle: &HandleHash, now: Timestamp) -> Result<bool, StoreError>;

    /// Sends all leases of the filter that are pending or active to `Revoking`, due at once; gives their ids.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn revoke(
        &self,
        filter: &Filter,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Vec<LeaseId>, StoreError>;

    /// Takes up to `most` leases on which something is due, for `worker` alone until `until`: pending or active ones
    /// past their end (they become `Revoking`), silent ones, and revoking ones whose next attempt has come. What a
    /// worker does not finish by then falls to any other.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn claim(
        &self,
        worker: &str,
        now: Timestamp,
        until: Timestamp,
        most: u32,
    ) -> Result<Vec<Lease>, StoreError>;

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

    /// Notes a failed attempt of `worker`; the next one is due at `next`.
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

    /// Leases of the filter, newest first, after `after`, at most `most`.
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

    /// Forgets tokens that are not accepted any more, and leases that were closed before `closed_before`.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn purge(&self, now: Timestamp, closed_before: Timestamp) -> Result<u64, StoreError>;
}
