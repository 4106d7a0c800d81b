//! The reaper: takes leases on which something is due, ends what they grant at the target, and does not stop before the
//! target confirms.
//!
//! Any number of reapers work on one store. Each takes leases for itself for a while; whatever it does not finish, since
//! it was killed, falls to another. To revoke twice is harmless by a provider's contract.
//!
//! A target that does not answer gets one try at a time until it does, and its leases stay where they are, due, so that
//! all are taken as soon as it is back; other providers have places of their own, which it cannot take up. A lease that
//! fails for itself is tried again later and later, up to [`Options::backoff`], without a last try.
//!
//! The end of a lease is recorded in the audit log before the lease is closed: when the log does not take it, the lease
//! stays open and is revoked once more.

pub(super) mod attempt;
mod gate;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use claviger_audit::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};

use self::gate::{Gate, Verdict};
use super::alert::Metrics;
use super::ledger::Ledger;
use super::{Lease, LeaseId, State};
use crate::broker::Broker;
use crate::provider::Provider;
use crate::seal::Seal;
use crate::store::{Filter, Store, StoreError, Want};

/// The configured providers.
pub trait Targets: Send + Sync {
    /// The provider of this name.
    fn provider(&self, name: &str) -> Option<Arc<dyn Provider>>;

    /// All names.
    fn names(&self) -> Vec<String>;
}

impl Targets for BTreeMap<String, Arc<dyn Provider>> {
    fn provider(&self, name: &str) -> Option<Arc<dyn Provider>> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

impl Targets for Broker {
    fn provider(&self, name: &str) -> Option<Arc<dyn Provider>> {
        self.setup().providers.get(name).map(|target| Arc::clone(&target.provider))
    }

    fn names(&self) -> Vec<String> {
        self.setup().providers.keys().cloned().collect()
    }
}

/// What a reaper works with.
pub struct Parts {
    /// Where leases rest.
    pub store: Arc<dyn Store>,
    /// Where their ends are recorded.
    pub ledger: Arc<dyn Ledger>,
    /// Opens their references.
    pub seal: Arc<Seal>,
    /// The configured providers.
    pub targets: Arc<dyn Targets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the reaper when something became due.
    pub due: Arc<Notify>,
    /// Counts attempts.
    pub metrics: Metrics,
}

/// How a reaper works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Calls to one provider at once.
    pub concurrency: u32,
    /// How long one call may take.
    pub call: Duration,
    /// How often the store is asked for what is due, if nothing wakes the reaper.
    pub poll: Duration,
    /// The longest pause between two attempts at a lease whose target does not answer.
    pub backoff: Duration,
    /// The longest pause between two attempts at a lease that the target refuses to revoke.
    pub refused_backoff: Duration,
    /// How long a reaper that is stopped waits for its calls.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            concurrency: 16,
            call: Duration::from_secs(20),
            poll: Duration::from_secs(1),
            backoff: Duration::from_secs(30),
            refused_backoff: Duration::from_secs(300),
            grace: Duration::from_secs(10),
        }
    }
}

/// Leases that end without a call are taken in portions of this.
const BULK: u32 = 256;

/// A reaper.
pub struct Reaper {
    parts: Parts,
    options: Options,
    /// Its name in the store: random, so that no two are the same.
    worker: String,
}

/// What runs at the moment.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Report>,
    /// Whose leases a task has and how many: a task that panics cannot tell.
    of: HashMap<Id, (String, usize)>,
}

impl Running {
    fn start(&mut self, provider: String, count: usize, task: impl Future<Output = Report> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.of.insert(id, (provider, count));
    }

    fn done(&mut self, result: Result<(Id, Report), JoinError>) -> Option<Report> {
        match result {
            Ok((id, report)) => {
                self.of.remove(&id);
                Some(report)
            }
            Err(error) => {
                // A provider panicked. Its lease falls back in the store by itself; its place is made free here.
                tracing::error!(%error, "an attempt to revoke a lease broke off");
                let (provider, count) = self.of.remove(&error.id())?;
                Some(Report { provider, count, verdict: Verdict::Down })
            }
        }
    }
}

impl Reaper {
    /// A reaper. Does nothing before it [runs](Reaper::run).
    pub fn new(parts: Parts, options: Options) -> Reaper {
        Reaper { parts, options, worker: LeaseId::new().to_string() }
    }

    /// Works until `stop` is ready, then finishes what it has begun, within [`Options::grace`].
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut gates = BTreeMap::new();
        let mut running = Running::default();
        loop {
            if let Err(error) = self.fill(&mut gates, &mut running).await {
                tracing::error!(%error, "the store does not say which leases are due");
            }
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(done) = running.tasks.join_next_with_id() => {
                    let mut done = Some(done);
                    while let Some(result) = done {
                        if let Some(report) = running.done(result) {
                            self.settle(&mut gates, report).await;
                        }
                        done = running.tasks.try_join_next_with_id();
                    }
                }
                () = self.parts.due.notified() => {}
                () = tokio::time::sleep(self.options.poll) => {}
            }
        }
        // Stop here: what is not finished falls to another reaper, or to this one when it is started again.
        let finish = async { while running.tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(self.options.grace, finish).await);
    }

    /// Takes as much as there is room for, and starts on it.
    async fn fill(
        self: &Arc<Self>,
        gates: &mut BTreeMap<String, Gate>,
        running: &mut Running,
    ) -> Result<(), StoreError> {
        let names = self.parts.targets.names();
        for name in &names {
            gates.entry(name.clone()).or_insert_with(|| Gate::new(self.options.concurrency));
        }
        let mut wants = Vec::new();
        for provider in &names {
            let most = if self.ends_by_itself(provider) { BULK } else { self.options.concurrency };
            let room = gates[provider].room(most);
            // A few places are not worth a question, unless they are all there are.
            if room >= (most / 4).max(1) || (room > 0 && gates[provider].is_shut()) {
                wants.push(Want { provider, most: room });
            }
        }
        if wants.is_empty() {
            return Ok(());
        }
        let now = self.parts.clock.now();
        let until = self.until(now);
        let leases = self.parts.store.claim(&self.worker, &wants, now, until).await?;
        let mut bulk: BTreeMap<String, Vec<Lease>> = BTreeMap::new();
        for lease in leases {
            let Some(gate) = gates.get_mut(&lease.provider) else { continue };
            gate.began();
            if self.is_over(&lease, now) {
                bulk.entry(lease.provider.clone()).or_default().push(lease);
                continue;
            }
            let (reaper, calls) = (Arc::clone(self), gate.calls());
            let provider = lease.provider.clone();
            running.start(provider, 1, async move { reaper.call(lease, until, calls).await });
        }
        for (provider, leases) in bulk {
            let reaper = Arc::clone(self);
            running.start(provider, leases.len(), async move { reaper.expire(leases).await });
        }
        Ok(())
    }

    /// Until when leases are taken: long enough for a call and what follows it.
    fn until(&self, now: Timestamp) -> Timestamp {
        let span = SignedDuration::try_from(self.options.call * 2 + Duration::from_secs(10));
        now.checked_add(span.unwrap_or(SignedDuration::from_mins(1))).unwrap_or(Timestamp::MAX)
    }

    fn ends_by_itself(&self, provider: &str) -> bool {
        let abilities = self.parts.targets.provider(provider).map(|it| it.abilities());
        abilities.is_some_and(|it| it.expires_itself && it.leaves_nothing)
    }

    /// Whether the target has ended it by its own clock, with nothing left to be removed.
    fn is_over(&self, lease: &Lease, now: Timestamp) -> bool {
        lease.expires <= now && self.ends_by_itself(&lease.provider)
    }

    /// One call, when its provider has a place for it.
    async fn call(self: Arc<Self>, lease: Lease, until: Timestamp, calls: Arc<Semaphore>) -> Report {
        let provider = lease.provider.clone();
        let skipped = Report { provider: provider.clone(), count: 1, verdict: Verdict::Nothing };
        let Ok(_place) = calls.acquire().await else { return skipped };
        // If the wait for a place took too long, another may have the lease before a call ends.
        let span = SignedDuration::try_from(self.options.call).unwrap_or(SignedDuration::from_mins(1));
        if self.parts.clock.now() >= until.checked_sub(span).unwrap_or(until) {
            return skipped;
        }
        Report { provider, count: 1, verdict: self.attempt(&lease).await.1 }
    }

    /// Counts what ended, and lets a provider's other leases go on when its target is back.
    async fn settle(&self, gates: &mut BTreeMap<String, Gate>, report: Report) {
        let Some(gate) = gates.get_mut(&report.provider) else { return };
        let is_back = gate.ended(report.count, report.verdict);
        let down = i64::from(gate.is_shut());
        self.parts.metrics.target_down.get_or_create(&Metrics::of(&report.provider)).set(down);
        if is_back {
            let filter = Filter { provider: Some(report.provider), ..Filter::default() };
            if let Err(error) = self.parts.store.wake(&filter, self.parts.clock.now()).await {
                tracing::warn!(%error, "leases whose target is back were not woken; they follow one by one");
            }
        }
    }

    /// Tries to end this lease now, whoever else waits: for a holder who gives it back or an operator who watches. It
    /// must be `Revoking` already. Gives its state afterwards; `None` if it cannot be taken now: another is at it, or
    /// it is being issued.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revoke_now(&self, id: LeaseId) -> Result<Option<State>, StoreError> {
        let now = self.parts.clock.now();
        match self.parts.store.take(&self.worker, id, now, self.until(now)).await? {
            Some(lease) => Ok(Some(self.attempt(&lease).await.0)),
            None => Ok(None),
        }
    }
}

/// What became of a task.
struct Report {
    provider: String,
    /// How many leases it had.
    count: usize,
    verdict: Verdict,
}
