//! What an operator must hear of, and the numbers beside it.

use async_trait::async_trait;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::Overdue;

/// Something that does not mend itself, or has not for too long.
#[derive(Debug, Clone, PartialEq)]
pub enum Alert {
    /// Leases that should have been revoked are not; what they grant may still be used.
    Overdue(Overdue),
    /// A provider has no overdue leases any more.
    Recovered {
        /// The provider.
        provider: String,
        /// Since when it had.
        since: Timestamp,
    },
    /// Leases of a provider that is not configured: nobody revokes them.
    Unconfigured {
        /// The provider.
        provider: String,
        /// How many.
        leases: u64,
    },
    /// Objects with a broker's names at a target, of which this broker knows nothing.
    Strangers {
        /// The provider.
        provider: String,
        /// Some of their names.
        names: Vec<String>,
        /// How many.
        count: usize,
    },
}

/// Passes alerts on. Called again for what persists, at the pace of [`watch::Options`](super::watch::Options).
#[async_trait]
pub trait Alerts: Send + Sync {
    /// Passes one on. Failing to is for the implementation to deal with.
    async fn raise(&self, alert: &Alert);
}

/// Writes alerts to the program's own log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAlerts;

#[async_trait]
impl Alerts for LogAlerts {
    async fn raise(&self, alert: &Alert) {
        match alert {
            Alert::Overdue(it) => tracing::error!(
                provider = it.provider,
                leases = it.leases,
                since = %it.since,
                oldest = %it.lease,
                error = it.error.as_deref().unwrap_or("not tried yet"),
                "leases should have been revoked and are not; their credentials may still work"
            ),
            Alert::Recovered { provider, since } => {
                tracing::warn!(provider, %since, "all overdue leases of this provider are revoked now");
            }
            Alert::Unconfigured { provider, leases } => tracing::error!(
                provider,
                leases,
                "leases of a provider that is not configured cannot be revoked; configure it again"
            ),
            Alert::Strangers { provider, names, count } => tracing::warn!(
                provider,
                count,
                names = names.join(" "),
                "objects with a broker's names that this broker does not know; another broker's, or those of a \
                 store that was lost (`owns_target: true` removes them)"
            ),
        }
    }
}

/// A provider and how an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempted {
    /// The provider.
    pub provider: String,
    /// `revoked`, `expired`, or the class of the error.
    pub outcome: String,
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfProvider {
    /// Its name.
    pub provider: String,
}

/// Numbers about leases and their ends. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attempts to end a lease.
    pub attempts: Family<Attempted, Counter>,
    /// Leases that should have been revoked and are not.
    pub overdue: Family<OfProvider, Gauge>,
    /// Leases that are not closed.
    pub live: Family<OfProvider, Gauge>,
    /// 1 while a provider's target counts as down and is tried with one lease at a time.
    pub target_down: Family<OfProvider, Gauge>,
    /// Objects of closed leases that were found at targets and sent to be revoked.
    pub strays: Family<OfProvider, Counter>,
    /// Leases that ended since the CI said that their job had.
    pub job_ends: Counter,
}

impl Metrics {
    /// Adds them to what is served.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("claviger_lease_end_attempts", "Attempts to end a lease", self.attempts.clone());
        registry.register(
            "claviger_leases_overdue",
            "Leases that should have been revoked and are not",
            self.overdue.clone(),
        );
        registry.register("claviger_leases_live", "Leases that are not closed", self.live.clone());
        registry.register(
            "claviger_target_down",
            "1 while a provider's target counts as down",
            self.target_down.clone(),
        );
        registry.register(
            "claviger_strays",
            "Objects of closed leases that were found at targets",
            self.strays.clone(),
        );
        registry.register(
            "claviger_job_ends",
            "Leases that ended since the CI said that their job had",
            self.job_ends.clone(),
        );
    }

    pub(super) fn attempted(&self, provider: &str, outcome: &str) {
        let labels = Attempted { provider: provider.to_owned(), outcome: outcome.to_owned() };
        self.attempts.get_or_create(&labels).inc();
    }

    pub(super) fn of(provider: &str) -> OfProvider {
        OfProvider { provider: provider.to_owned() }
    }
}
