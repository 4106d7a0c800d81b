//! A test bed: targets that keep objects and fail as told, a ledger and alerts that can be read, a virtual clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use claviger_audit::clock::Clock;
use claviger_audit::event::Event;
use claviger_broker::lease::alert::{Alert, Alerts, Metrics};
use claviger_broker::lease::ledger::{Ledger, LedgerError, Recorded};
use claviger_broker::lease::reaper::{Options, Parts, Reaper, Targets};
use claviger_broker::lease::{LeaseId, State, sweep, watch};
use claviger_broker::provider::{
    Abilities, Check, Held, Issued, Notes, Provider, ProviderError, Request, SettingsError,
};
use claviger_broker::seal::Seal;
use claviger_broker::store::Store;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::store::at;

/// A clock that goes with tokio's: paused, it stands still until everybody waits.
pub(super) struct Virtual(Instant);

impl Virtual {
    pub(super) fn new() -> Virtual {
        Virtual(Instant::now())
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        at(0) + SignedDuration::try_from(self.0.elapsed()).unwrap()
    }
}

/// How a target behaves at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Well,
    /// Connections are refused.
    Refusing,
    /// Nothing answers, not even with an error.
    Hanging,
    /// Of a thousand calls so many fail; half of them after they were carried out.
    Flaky(u32),
    /// It says no, for good.
    Denying,
    /// It panics.
    Panicking,
}

/// A target: its objects, and everything that was asked of it.
pub(super) struct Fake {
    pub(super) abilities: Abilities,
    pub(super) mood: Mutex<Mood>,
    pub(super) objects: Mutex<BTreeSet<String>>,
    /// How often each object was removed.
    pub(super) removed: Mutex<HashMap<String, u32>>,
    pub(super) calls: AtomicU64,
    /// How long a call takes.
    pub(super) latency: Duration,
    pub(super) random: Mutex<u64>,
}

pub(super) const USERS: Abilities = Abilities {
    local: false,
    expires_itself: false,
    leaves_nothing: false,
    revocable: true,
    renewable: false,
    listable: true,
    ttl: (1, 86_400),
};

/// A certificate, say: it ends by itself and cannot be ended before.
pub(super) const CERTIFICATES: Abilities = Abilities {
    local: true,
    expires_itself: true,
    leaves_nothing: true,
    revocable: false,
    renewable: false,
    listable: false,
    ttl: (1, 86_400),
};

impl Fake {
    pub(super) fn new(abilities: Abilities, seed: u64) -> Arc<Fake> {
        Arc::new(Fake {
            abilities,
            mood: Mutex::new(Mood::Well),
            objects: Mutex::default(),
            removed: Mutex::default(),
            calls: AtomicU64::new(0),
            latency: Duration::from_millis(20),
            random: Mutex::new(seed),
        })
    }

    pub(super) fn make(&self, id: LeaseId) {
        self.objects.lock().unwrap().insert(id.object_name());
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.lock().unwrap().is_empty()
    }

    fn draw(&self, below: u64) -> u64 {
        draw(&mut self.random.lock().unwrap(), below)
    }

    fn remove(&self, name: &str) {
        if self.objects.lock().unwrap().remove(name) {
            *self.removed.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        }
    }
}

/// A number below `below` (SplitMix64: small, and the same everywhere).
pub(super) fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

#[async_trait]
impl Provider for Fake {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn validate(&self, _: &Value) -> Result<(), SettingsError> {
        Ok(())
    }

    async fn issue(&self, _: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        Err(ProviderError::Unsupported("tests make objects themselves".into()))
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(self.abilities.revocable, "nobody asked it whether it can");
        tokio::time::sleep(self.latency).await;
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Well => {}
            Mood::Refusing => return Err(ProviderError::Transient("connection refused".into())),
            Mood::Hanging => std::future::pending().await,
            Mood::Flaky(share) if self.draw(1000) < u64::from(share) => {
                if self.draw(2) == 0 {
                    self.remove(held.name);
                    return Err(ProviderError::Ambiguous("the answer was lost".into()));
                }
                return Err(ProviderError::Transient("try again".into()));
            }
            Mood::Flaky(_) => {}
            Mood::Denying => return Err(ProviderError::Denied("it owns a database".into())),
            Mood::Panicking => panic!("a bug in a provider"),
        }
        self.remove(held.name);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        Ok(self.objects.lock().unwrap().iter().cloned().collect())
    }

    async fn check(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// A ledger that keeps what it is given, and fails while told to.
#[derive(Default)]
pub(super) struct Notebook {
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) down: AtomicBool,
}

impl Notebook {
    /// How often each lease's end was recorded with success.
    pub(super) fn ends(&self) -> HashMap<String, u32> {
        let mut ends = HashMap::new();
        for event in self.events.lock().unwrap().iter() {
            let is_end = matches!(event.action.kind(), "lease.revoked" | "lease.expired");
            if is_end && event.outcome.as_str() == "success" {
                *ends.entry(event.lease.clone().unwrap()).or_default() += 1;
            }
        }
        ends
    }

    pub(super) fn failures(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|event| event.outcome.as_str() == "failed").count()
    }
}

#[async_trait]
impl Ledger for Notebook {
    async fn record(&self, events: Vec<Event>) -> Result<Vec<Recorded>, LedgerError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(LedgerError::Unavailable("the disk is full".into()));
        }
        let mut kept = self.events.lock().unwrap();
        let first = kept.len() as u64;
        let records = (first..).take(events.len()).map(Recorded::at).collect();
        kept.extend(events);
        Ok(records)
    }
}

/// Alerts, in order.
#[derive(Default)]
pub(super) struct Bell(pub(super) Mutex<Vec<Alert>>);

#[async_trait]
impl Alerts for Bell {
    async fn raise(&self, alert: &Alert) {
        self.0.lock().unwrap().push(alert.clone());
    }
}

/// All of it, over a store.
pub(super) struct Bed {
    pub(super) store: Arc<dyn Store>,
    pub(super) targets: BTreeMap<&'static str, Arc<Fake>>,
    pub(super) ledger: Arc<Notebook>,
    pub(super) bell: Arc<Bell>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) due: Arc<Notify>,
    pub(super) metrics: Metrics,
    pub(super) seal: Arc<Seal>,
}

impl Bed {
    pub(super) fn new(store: Arc<dyn Store>, targets: &[(&'static str, Arc<Fake>)]) -> Bed {
        Bed {
            store,
            targets: targets.iter().cloned().collect(),
            ledger: Arc::default(),
            bell: Arc::default(),
            clock: Arc::new(Virtual::new()),
            due: Arc::default(),
            metrics: Metrics::default(),
            seal: Arc::new(Seal::ephemeral()),
        }
    }

    fn providers(&self) -> Arc<dyn Targets> {
        let all =
            self.targets.iter().map(|(name, fake)| (name.to_string(), Arc::clone(fake) as Arc<dyn Provider>));
        Arc::new(all.collect::<BTreeMap<_, _>>())
    }

    pub(super) fn reaper(&self, options: Options) -> Arc<Reaper> {
        let parts = Parts {
            store: Arc::clone(&self.store),
            ledger: Arc::clone(&self.ledger) as Arc<dyn Ledger>,
            seal: Arc::clone(&self.seal),
            targets: self.providers(),
            clock: Arc::clone(&self.clock),
            due: Arc::clone(&self.due),
            metrics: self.metrics.clone(),
        };
        Arc::new(Reaper::new(parts, options))
    }

    /// A reaper that runs until the handle is aborted.
    pub(super) fn start(&self, options: Options) -> JoinHandle<()> {
        tokio::spawn(self.reaper(options).run(std::future::pending()))
    }

    pub(super) fn watch(&self, options: watch::Options) -> watch::Watch {
        let parts = watch::Parts {
            store: Arc::clone(&self.store),
            ledger: Arc::clone(&self.ledger) as Arc<dyn Ledger>,
            targets: self.providers(),
            clock: Arc::clone(&self.clock),
            alerts: Arc::clone(&self.bell) as Arc<dyn Alerts>,
            metrics: self.metrics.clone(),
        };
        watch::Watch::new(parts, options)
    }

    pub(super) fn sweep(&self, options: sweep::Options) -> sweep::Sweep {
        let parts = sweep::Parts {
            store: Arc::clone(&self.store),
            ledger: Arc::clone(&self.ledger) as Arc<dyn Ledger>,
            targets: self.providers(),
            clock: Arc::clone(&self.clock),
            alerts: Arc::clone(&self.bell) as Arc<dyn Alerts>,
            metrics: self.metrics.clone(),
            due: Arc::clone(&self.due),
        };
        sweep::Sweep::new(parts, options)
    }

    /// Begins and activates a lease of `provider` that ends at second `end`, with its object at the target.
    pub(super) async fn lease(&self, provider: &str, id: LeaseId, end: i64) -> LeaseId {
        let mut new = crate::store::intent(crate::store::lease());
        new.lease.id = id;
        new.lease.provider = provider.into();
        new.lease.created = self.clock.now();
        new.lease.expires = self.clock.now() + SignedDuration::from_secs(60);
        new.lease.max_expires = at(end);
        new.token.keep_until = at(end);
        self.store.begin(&new).await.unwrap();
        if self.targets[provider].abilities.revocable {
            self.targets[provider].make(id);
        }
        assert!(self.store.activate(id, at(end), None, &[]).await.unwrap());
        id
    }

    pub(super) async fn state(&self, id: LeaseId) -> State {
        self.store.find(id).await.unwrap().unwrap().state
    }

    pub(super) async fn open(&self) -> u64 {
        self.store.counts().await.unwrap().by_provider.iter().map(|it| it.1).sum()
    }
}

pub(super) async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
