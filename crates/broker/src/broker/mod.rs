//! The broker: an exchange from token to credential, and what holders and operators do with leases.
//!
//! ```text
//! verify -> decide -> begin (durable) -> record the decision -> issue -> activate + record (durable) -> answer
//! ```
//!
//! At each arrow a crash leaves a lease that the [reaper](crate::lease::reaper) finds by its state and name, or
//! nothing. No credential leaves without its record in the audit log: when the log does not take it, what was issued is
//! revoked.

mod ask;
mod events;
mod exchange;
mod holder;
pub(crate) mod limit;
mod operator;
mod refusal;
mod setup;

use std::sync::{Arc, RwLock};

use claviger_audit::clock::Clock;
use tokio::sync::Notify;

use crate::lease::ledger::Ledger;
use crate::seal::Seal;
use crate::store::Store;
use crate::ttl::Ttl;

pub use ask::{Ask, Exchanged, GivenBack, Prolonged};
pub use events::FingerprintKey;
pub use limit::Rate;
pub use operator::{Leak, Sighting};
pub use refusal::{Refusal, RefusalKind, Told};
pub use setup::{Setup, SetupError, Target};

/// What a broker is made of.
pub struct Parts {
    /// Issuers, policy and providers; can be replaced while running.
    pub setup: Setup,
    /// Where leases rest.
    pub store: Arc<dyn Store>,
    /// Where every decision is recorded.
    pub ledger: Arc<dyn Ledger>,
    /// Seals references.
    pub seal: Arc<Seal>,
    /// Under which secrets are fingerprinted for leak matching.
    pub fingerprint: FingerprintKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Times that have good defaults.
    pub times: Times,
    /// Exchanges of one subject's repository, project or workspace, by its verified identity.
    pub per_identity: Rate,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// A lease that is pending for longer was given up: by a crash, or since its provider never answered.
    pub pending: Ttl,
    /// How long one call of a provider may take. Shorter than `pending`, so that a late answer finds its lease.
    pub call: Ttl,
    /// How long whoever gives a lease back waits for the target's confirmation.
    pub give_back: Ttl,
}

impl Default for Times {
    fn default() -> Times {
        let seconds = |s| Ttl::from_secs(s).expect("a few seconds are in bounds");
        Times { pending: seconds(60), call: seconds(20), give_back: seconds(5) }
    }
}

/// A broker. Cheap to share; every method may run many times at once.
pub struct Broker {
    /// Replaced whole on reload; a request keeps the one it began with.
    setup: RwLock<Arc<Setup>>,
    store: Arc<dyn Store>,
    ledger: Arc<dyn Ledger>,
    seal: Arc<Seal>,
    fingerprint: FingerprintKey,
    clock: Arc<dyn Clock>,
    times: Times,
    identities: limit::Buckets<String>,
    /// Wakes the reaper when a lease becomes due at once.
    due: Arc<Notify>,
}

impl Broker {
    /// Puts a broker together. It does nothing by itself: the reaper and the server are started beside it.
    pub fn new(parts: Parts) -> Broker {
        Broker {
            setup: RwLock::new(Arc::new(parts.setup)),
            store: parts.store,
            ledger: parts.ledger,
            seal: parts.seal,
            fingerprint: parts.fingerprint,
            clock: parts.clock,
            times: parts.times,
            identities: limit::Buckets::new(parts.per_identity, limit::REMEMBERED),
            due: Arc::new(Notify::new()),
        }
    }

    /// What is configured at the moment.
    pub fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The audit log's ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The seal.
    pub fn seal(&self) -> &Arc<Seal> {
        &self.seal
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What the reaper waits on beside the time.
    pub fn due(&self) -> Arc<Notify> {
        Arc::clone(&self.due)
    }
}
