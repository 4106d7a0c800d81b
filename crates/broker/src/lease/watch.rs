//! Looks, every now and then, whether leases are where they should be: raises alerts, keeps the gauges, and forgets
//! what is over for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use claviger_audit::clock::Clock;
use claviger_audit::event::{Action, Event, Outcome, Revoked, Target};
use jiff::{SignedDuration, Timestamp};

use super::alert::{Alert, Alerts, Metrics};
use super::ledger::Ledger;
use super::reaper::Targets;
use crate::store::{Overdue, Store, StoreError};
use crate::ttl::Ttl;

/// What a watch works with.
pub struct Parts {
    /// Where leases rest.
    pub store: Arc<dyn Store>,
    /// Where overdue revocations are recorded.
    pub ledger: Arc<dyn Ledger>,
    /// The configured providers.
    pub targets: Arc<dyn Targets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub alerts: Arc<dyn Alerts>,
    /// Keeps the gauges.
    pub metrics: Metrics,
}

/// How a watch works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often it looks.
    pub every: Duration,
    /// How long a revocation may take before it counts as overdue.
    pub overdue: Ttl,
    /// How long after an alert the same is raised again.
    pub again: Ttl,
    /// How long closed leases are kept to be looked up.
    pub keep_closed: Ttl,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            every: Duration::from_secs(15),
            overdue: Ttl::minutes(2),
            again: Ttl::minutes(60),
            keep_closed: Ttl::minutes(30 * 24 * 60),
        }
    }
}

/// A watch.
pub struct Watch {
    parts: Parts,
    options: Options,
    /// When each provider's overdue leases were last said, and since when they are.
    said: BTreeMap<String, (Timestamp, Timestamp)>,
    /// The same of providers that are not configured.
    missing: BTreeMap<String, Timestamp>,
    /// Providers that have gauges.
    gauged: BTreeSet<String>,
}

impl Watch {
    /// A watch that has not looked yet.
    pub fn new(parts: Parts, options: Options) -> Watch {
        Watch { parts, options, said: BTreeMap::new(), missing: BTreeMap::new(), gauged: BTreeSet::new() }
    }

    /// Looks, again and again, until it is dropped.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(%error, "the store cannot be asked for overdue leases");
            }
            tokio::time::sleep(self.options.every).await;
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let overdue = self.parts.store.overdue(before(now, self.options.overdue), now).await?;
        let counts = self.parts.store.counts().await?;
        self.gauge(&overdue, &counts.by_provider);
        for late in &overdue {
            let said = self.said.get(&late.provider);
            if said.is_none_or(|(said, _)| *said <= before(now, self.options.again)) {
                self.said.insert(late.provider.clone(), (now, late.since));
                self.record(late, now).await;
                self.parts.alerts.raise(&Alert::Overdue(late.clone())).await;
            }
        }
        let gone: Vec<String> =
            self.said.keys().filter(|said| overdue.iter().all(|it| it.provider != **said)).cloned().collect();
        for provider in gone {
            if let Some((_, since)) = self.said.remove(&provider) {
                self.parts.alerts.raise(&Alert::Recovered { provider, since }).await;
            }
        }
        self.look_for_missing(&counts.by_provider, now).await;
        self.parts.store.purge(now, before(now, self.options.keep_closed)).await?;
        Ok(())
    }

    fn gauge(&mut self, overdue: &[Overdue], live: &[(String, u64)]) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.gauged.extend(live.iter().map(|it| it.0.clone()));
        for provider in &self.gauged {
            let late = overdue.iter().find(|it| it.provider == *provider).map_or(0, |it| it.leases);
            let live = live.iter().find(|it| it.0 == *provider).map_or(0, |it| it.1);
            self.parts.metrics.overdue.get_or_create(&Metrics::of(provider)).set(number(late));
            self.parts.metrics.live.get_or_create(&Metrics::of(provider)).set(number(live));
        }
    }

    async fn look_for_missing(&mut self, live: &[(String, u64)], now: Timestamp) {
        let names = self.parts.targets.names();
        self.missing.retain(|provider, _| !names.contains(provider));
        for (provider, leases) in live.iter().filter(|it| !names.contains(&it.0)) {
            let said = self.missing.get(provider);
            if said.is_none_or(|said| *said <= before(now, self.options.again)) {
                self.missing.insert(provider.clone(), now);
                let alert = Alert::Unconfigured { provider: provider.clone(), leases: *leases };
                self.parts.alerts.raise(&alert).await;
            }
        }
    }

    /// The audit log tells, too, that credentials lived longer than they should.
    async fn record(&self, late: &Overdue, now: Timestamp) {
        let detail = Revoked { due: Some(late.since.to_string()), ..Revoked::default() };
        let why = late.error.as_deref().unwrap_or("not tried yet");
        let event = Event {
            reason: Some(format!("{} leases are overdue; the oldest: {why}", late.leases)),
            target: Target { provider: Some(late.provider.clone()), ..Target::default() },
            lease: Some(late.lease.to_string()),
            ..Event::new(now, Action::Revoked(detail), Outcome::Failed)
        };
        if let Err(error) = self.parts.ledger.record(vec![event]).await {
            tracing::error!(%error, "an overdue revocation was not recorded in the audit log");
        }
    }
}

fn before(now: Timestamp, span: Ttl) -> Timestamp {
    let seconds = i64::try_from(span.seconds()).unwrap_or(i64::MAX);
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}
