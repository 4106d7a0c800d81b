//! The sweep: looks at the targets themselves for objects that the broker made and that no open lease accounts for.
//!
//! There should be none: an intent is durable before its target is touched. But a call that was sent and not answered
//! may be carried out after its lease was revoked, and a store may be restored from a backup. So every object with a
//! broker's name is looked up:
//!
//! - Its lease is open: well.
//! - Its lease is closed: the lease is opened again and revoked, by its name and all it had.
//! - There is no such lease. Another broker may use the target, so this is reported and left alone, unless the
//!   operator said that the provider `owns_target`: then it is revoked by its name.
//!
//! Nothing is done at first sight: a list may be older than the end of a lease that it shows. What is seen again after
//! [`Options::grace`] is real.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use claviger_audit::clock::Clock;
use claviger_audit::event::{Action, Event, Outcome, Revoked, Target};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::alert::{Alert, Alerts, Metrics};
use super::ledger::Ledger;
use super::reaper::Targets;
use super::{LeaseId, Reason};
use crate::provider::{Held, Provider, ProviderError};
use crate::store::{Filter, Store, StoreError};

/// Names that are looked up in one question to the store.
const PORTION: usize = 500;
/// Names that an alert shows.
const SHOWN: usize = 10;

/// What a sweep works with.
pub struct Parts {
    /// Where leases rest.
    pub store: Arc<dyn Store>,
    /// Where revocations by name are recorded.
    pub ledger: Arc<dyn Ledger>,
    /// The configured providers.
    pub targets: Arc<dyn Targets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub alerts: Arc<dyn Alerts>,
    /// Counts what is found.
    pub metrics: Metrics,
    /// Wakes the reaper.
    pub due: Arc<Notify>,
}

/// How a sweep works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often.
    pub every: Duration,
    /// How long something must have been seen.
    pub grace: Duration,
    /// How long a list, or a revocation by name, may take.
    pub call: Duration,
    /// Providers whose targets are this broker's alone.
    pub owned: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            every: Duration::from_secs(600),
            grace: Duration::from_secs(300),
            call: Duration::from_secs(60),
            owned: BTreeSet::new(),
        }
    }
}

/// What a sweep found at one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Objects with a broker's names.
    pub objects: usize,
    /// Those of closed leases, whose leases were opened again.
    pub strays: Vec<LeaseId>,
    /// Those without a lease, which were left alone.
    pub strangers: Vec<LeaseId>,
    /// Those without a lease, which were revoked.
    pub removed: Vec<LeaseId>,
    /// Those seen for too short a time to do anything.
    pub fresh: usize,
}

/// Why a provider was not swept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Its target did not give the list.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A sweep.
pub struct Sweep {
    parts: Parts,
    options: Options,
    /// When what has no open lease was seen first, by provider.
    seen: HashMap<String, BTreeMap<LeaseId, Timestamp>>,
}

impl Sweep {
    /// A sweep that has seen nothing.
    pub fn new(parts: Parts, options: Options) -> Sweep {
        Sweep { parts, options, seen: HashMap::new() }
    }

    /// Sweeps all providers that can list, again and again, until it is dropped.
    pub async fn run(mut self) {
        loop {
            let names = self.parts.targets.names();
            self.seen.retain(|name, _| names.contains(name));
            for name in names {
                match self.provider(&name).await {
                    Ok(_) | Err(SweepError::Provider(ProviderError::Unsupported(_))) => {}
                    Err(error) => tracing::warn!(%error, provider = name, "its target was not swept"),
                }
            }
            tokio::time::sleep(self.options.every).await;
        }
    }

    /// Sweeps one provider's target.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub async fn provider(&mut self, name: &str) -> Result<Found, SweepError> {
        let Some(provider) = self.parts.targets.provider(name) else { return Ok(Found::default()) };
        if !provider.abilities().listable {
            return Err(ProviderError::Unsupported("what was made there cannot be listed".into()).into());
        }
        let late = |_| ProviderError::Transient("the list takes too long".into());
        let listed = tokio::time::timeout(self.options.call, provider.list()).await.map_err(late)??;
        let ids: BTreeSet<LeaseId> = listed.iter().filter_map(|name| LeaseId::of_object(name)).collect();
        let mut found = Found { objects: ids.len(), ..Found::default() };
        let (closed, unknown) = self.unaccounted(&ids).await?;
        let now = self.parts.clock.now();
        let old = self.seen_long_enough(name, closed.iter().chain(&unknown), now);
        found.fresh = closed.len() + unknown.len() - old.len();
        for id in closed.intersection(&old) {
            // Stop here: seen again by the next sweep.
            if self.parts.store.abandon(*id, Reason::Stray, None, now).await? {
                self.parts.metrics.strays.get_or_create(&Metrics::of(name)).inc();
                found.strays.push(*id);
            }
        }
        if !found.strays.is_empty() {
            tracing::warn!(
                provider = name,
                count = found.strays.len(),
                "objects of closed leases are revoked"
            );
            self.parts.due.notify_one();
        }
        let strangers: Vec<LeaseId> = unknown.intersection(&old).copied().collect();
        if self.options.owned.contains(name) {
            for id in strangers {
                match self.remove(name, &*provider, id, now).await {
                    true => found.removed.push(id),
                    false => found.strangers.push(id),
                }
            }
        } else {
            found.strangers = strangers;
        }
        self.report(name, &found.strangers).await;
        Ok(found)
    }

    /// Which of the ids have a closed lease, and which none.
    async fn unaccounted(
        &self,
        ids: &BTreeSet<LeaseId>,
    ) -> Result<(BTreeSet<LeaseId>, BTreeSet<LeaseId>), StoreError> {
        let (mut closed, mut unknown) = (BTreeSet::new(), ids.clone());
        let all: Vec<LeaseId> = ids.iter().copied().collect();
        for portion in all.chunks(PORTION) {
            let filter = Filter { ids: portion.to_vec(), ..Filter::default() };
            for lease in self.parts.store.list(&filter, None, PORTION as u32).await? {
                unknown.remove(&lease.id);
                if lease.state.is_closed() {
                    closed.insert(lease.id);
                }
            }
        }
        Ok((closed, unknown))
    }

    /// Remembers what is seen now, forgets what is not seen any more, and gives what was seen for long enough.
    fn seen_long_enough<'a>(
        &mut self,
        name: &str,
        ids: impl Iterator<Item = &'a LeaseId>,
        now: Timestamp,
    ) -> BTreeSet<LeaseId> {
        let before = self.seen.remove(name).unwrap_or_default();
        let seen: BTreeMap<LeaseId, Timestamp> =
            ids.map(|id| (*id, before.get(id).copied().unwrap_or(now))).collect();
        let is_old = |first: Timestamp| {
            let span = Duration::try_from(now.duration_since(first)).unwrap_or_default();
            first < now && span >= self.options.grace
        };
        let old = seen.iter().filter(|(_, first)| is_old(**first)).map(|(id, _)| *id).collect();
        self.seen.insert(name.to_owned(), seen);
        old
    }

    /// Revokes an object by its name alone.
    async fn remove(&self, name: &str, provider: &dyn Provider, id: LeaseId, now: Timestamp) -> bool {
        let object = id.object_name();
        let parameters = Value::Object(serde_json::Map::new());
        let held =
            Held { lease: id, name: &object, parameters: &parameters, reference: None, now, expires: now };
        let late = |_| ProviderError::Ambiguous("no answer in time".into());
        let call = tokio::time::timeout(self.options.call, provider.revoke(&held)).await;
        let result = call.map_err(late).and_then(|answer| answer);
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failed };
        let detail =
            Revoked { by: Some(Reason::Stray.as_str().to_owned()), attempt: 1, ..Revoked::default() };
        let event = Event {
            target: Target { provider: Some(name.to_owned()), ..Target::default() },
            lease: Some(id.to_string()),
            reason: result.as_ref().err().map(ToString::to_string),
            ..Event::new(now, Action::Revoked(detail), outcome)
        };
        if let Err(error) = self.parts.ledger.record(vec![event]).await {
            tracing::error!(%error, "the removal of a stray object was not recorded in the audit log");
        }
        if let Err(error) = &result {
            tracing::warn!(%error, provider = name, object, "a stray object could not be removed");
        }
        result.is_ok()
    }

    async fn report(&self, name: &str, strangers: &[LeaseId]) {
        if strangers.is_empty() {
            return;
        }
        let alert = Alert::Strangers {
            provider: name.to_owned(),
            names: strangers.iter().take(SHOWN).map(LeaseId::object_name).collect(),
            count: strangers.len(),
        };
        self.parts.alerts.raise(&alert).await;
    }
}
