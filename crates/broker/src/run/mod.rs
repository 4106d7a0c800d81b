//! A broker that runs: from a configuration to a listening server and the work behind it.
//!
//! ```text
//! configuration -> store, audit log, seal, providers -> broker -> server, reaper, watch, sweep, ends of jobs, keys
//! ```

pub mod dev;
mod error;
mod open;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use claviger_audit::clock::Clock;
use claviger_audit::event::{Action, ConfigChanged, Event, Outcome};
use claviger_audit::recorder::Recorder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::{Broker, Parts, Rate, Setup, Target, Times};
use crate::config::secrets::Secrets;
use crate::config::{Config, OperatorEntry};
use crate::identity::verifier::Verifier;
use crate::lease::alert::{Alerts, LogAlerts, Metrics};
use crate::lease::job_end::{self, JobEnds};
use crate::lease::ledger::{AuditLedger, Ledger};
use crate::lease::reaper::{self, Reaper, Targets};
use crate::lease::{sweep, watch as late};
use crate::server::listen::{Listening, TlsFiles};
use crate::server::operator::Operator;
use crate::server::{Options, Service, listen};
use crate::ttl::Ttl;

pub use error::StartError;
pub use open::Store;

/// A broker that runs.
pub struct Running {
    broker: Arc<Broker>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    recorder: Option<Arc<Recorder>>,
    clock: Arc<dyn Clock>,
    store: Store,
}

/// What is configured besides the file.
pub struct Surroundings {
    /// Reads the secrets that the configuration names.
    pub secrets: Arc<Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Keep nothing: the store in memory, no audit log but in memory. For trying things out and for measuring.
    pub ephemeral: bool,
    /// How the reaper works.
    pub reaper: reaper::Options,
    /// More routes to serve: those of the local issuer, when things are tried out.
    pub routes: Router,
}

impl Surroundings {
    /// For a broker in earnest.
    pub fn new(secrets: Arc<Secrets>, clock: Arc<dyn Clock>) -> Surroundings {
        Surroundings {
            secrets,
            clock,
            ephemeral: false,
            reaper: reaper::Options::default(),
            routes: Router::new(),
        }
    }
}

/// Starts a broker.
///
/// # Errors
/// See [`StartError`]. Nothing is left running then.
pub async fn start(config: &Config, around: Surroundings) -> Result<Running, StartError> {
    let setup = setup(config, &around)?;
    let keys = open::master_keys(config, &around)?;
    let seal = Arc::new(open::seal(&keys)?);
    let store = open::store(config, &around).await?;
    let (ledger, recorder) = open::ledger(config, &around)?;
    let fingerprint = open::fingerprint_key(&keys);
    drop(keys);
    let broker = Arc::new(Broker::new(Parts {
        setup,
        store: store.shared(),
        ledger: Arc::clone(&ledger),
        seal,
        fingerprint,
        clock: Arc::clone(&around.clock),
        times: Times::default(),
        per_identity: per_minute(config.server.limits.identity_per_minute),
    }));
    let configured = ConfigChanged {
        what: "policy".into(),
        after: Some(config.digest().to_owned()),
        ..ConfigChanged::default()
    };
    let event = Event::new(around.clock.now(), Action::ConfigChanged(configured), Outcome::Success);
    ledger.record(vec![event]).await.map_err(|error| StartError::Audit(error.to_string()))?;
    let metrics = Metrics::default();
    let service = Service::new(Arc::clone(&broker), options(config, &metrics));
    let listening = Listening::on(config.server.listen, listen_options(config)).await?;
    let address = listening.address();
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(listening.serve(service.router().merge(around.routes.clone()), stopped.clone()));
    background(&mut tasks, &broker, config, &around, &metrics, &stopped)?;
    Ok(Running { broker, address, stop, tasks, recorder, clock: around.clock, store })
}

impl Running {
    /// The broker.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes over issuers, policy and providers of a changed configuration. Requests under way end with the old ones.
    ///
    /// # Errors
    /// The new configuration cannot be used; the old one stays.
    pub async fn reload(&self, config: &Config, secrets: Arc<Secrets>) -> Result<(), StartError> {
        let around = Surroundings::new(secrets, Arc::clone(&self.clock));
        let before = self.broker.setup().policy.digest().to_owned();
        self.broker.replace(setup(config, &around)?).await?;
        let changed = ConfigChanged {
            what: "policy".into(),
            before: Some(before),
            after: Some(config.digest().to_owned()),
            ..ConfigChanged::default()
        };
        let event = Event::new(self.clock.now(), Action::ConfigChanged(changed), Outcome::Success);
        self.broker
            .ledger()
            .record(vec![event])
            .await
            .map_err(|error| StartError::Audit(error.to_string()))?;
        Ok(())
    }

    /// Stops: no new requests; those under way and the reaper's calls come to their end, as far as time allows; then the
    /// audit log is closed and the store.
    pub async fn stop(mut self) {
        // Without a receiver everything has stopped already.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        self.store.close().await;
        // The ledger's thread holds the recorder until the broker is gone.
        drop(self.broker);
        if let Some(recorder) = self.recorder.take().and_then(Arc::into_inner)
            && let Err(error) = tokio::task::spawn_blocking(|| recorder.close())
                .await
                .unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
        {
            tracing::error!(%error, "the audit log was not closed; everything recorded is in it all the same");
        }
    }
}

/// Issuers, policy and providers, ready to be used.
fn setup(config: &Config, around: &Surroundings) -> Result<Setup, StartError> {
    let providers = config.build(&*around.secrets)?;
    let issuers = config.issuers.iter().map(|(name, issuer)| (name.as_str(), issuer));
    let verifier = Verifier::new(issuers, &config.audience, Arc::clone(&around.clock))?;
    let providers = providers
        .into_iter()
        .map(|(name, built)| {
            let target =
                Target { kind: built.kind.name, environment: built.environment, provider: built.provider };
            (name, target)
        })
        .collect();
    Ok(Setup { verifier: Arc::new(verifier), policy: Arc::clone(&config.policy), providers })
}

/// A rate of so many a minute, of which a tenth, and at least ten, may come at once.
fn per_minute(count: u32) -> Rate {
    Rate {
        burst: f64::from(count.div_ceil(10).max(10).min(count.max(1))),
        per_second: f64::from(count) / 60.0,
    }
}

fn options(config: &Config, metrics: &Metrics) -> Options {
    let limits = &config.server.limits;
    Options {
        operators: config.server.operators.iter().map(operator).collect(),
        per_address: per_minute(limits.address_per_minute),
        concurrency: limits.concurrent as usize,
        timeout: limits.request.duration(),
        trusted_proxies: config.server.trusted_proxies.clone(),
        body: limits.body as usize,
        metrics: metrics.clone(),
    }
}

fn operator(entry: &OperatorEntry) -> Operator {
    Operator { name: entry.name.clone(), token: entry.token_sha256.0, rights: entry.rights }
}

fn listen_options(config: &Config) -> listen::Options {
    let tls = config.server.tls.as_ref().map(|tls| TlsFiles {
        certificates: tls.cert.clone(),
        key: tls.key.clone(),
        client_authorities: tls.client_ca.clone(),
    });
    listen::Options { tls, is_open_allowed: config.server.behind_proxy, ..listen::Options::default() }
}

/// Starts what works without being asked.
fn background(
    tasks: &mut JoinSet<()>,
    broker: &Arc<Broker>,
    config: &Config,
    around: &Surroundings,
    metrics: &Metrics,
    stopped: &watch::Receiver<bool>,
) -> Result<(), StartError> {
    let targets: Arc<dyn Targets> = Arc::clone(broker) as Arc<dyn Targets>;
    let alerts: Arc<dyn Alerts> = Arc::new(LogAlerts);
    let (store, ledger) = (Arc::clone(broker.store()), Arc::clone(broker.ledger()));
    let reaper = Arc::new(Reaper::new(
        reaper::Parts {
            store: Arc::clone(&store),
            ledger: Arc::clone(&ledger),
            seal: Arc::clone(broker.seal()),
            targets: Arc::clone(&targets),
            clock: Arc::clone(&around.clock),
            due: broker.due(),
            metrics: metrics.clone(),
        },
        around.reaper.clone(),
    ));
    let mut told = stopped.clone();
    tasks.spawn(reaper.run(async move { drop(told.wait_for(|stop| *stop).await) }));
    let watch = late::Watch::new(
        late::Parts {
            store: Arc::clone(&store),
            ledger: Arc::clone(&ledger),
            targets: Arc::clone(&targets),
            clock: Arc::clone(&around.clock),
            alerts: Arc::clone(&alerts),
            metrics: metrics.clone(),
        },
        late::Options::default(),
    );
    let sweep = sweep::Sweep::new(
        sweep::Parts {
            store: Arc::clone(&store),
            ledger: Arc::clone(&ledger),
            targets,
            clock: Arc::clone(&around.clock),
            alerts,
            metrics: metrics.clone(),
            due: broker.due(),
        },
        sweep::Options { owned: config.owned_targets(), ..sweep::Options::default() },
    );
    let jobs = JobEnds::new(
        job_end::Parts {
            store,
            ledger,
            clock: Arc::clone(&around.clock),
            due: broker.due(),
            metrics: metrics.clone(),
            platforms: open::job_status(config, around)?,
        },
        job_end::Options::default(),
    );
    let keys = Arc::clone(broker);
    until_stopped(tasks, stopped, watch.run());
    until_stopped(tasks, stopped, sweep.run());
    until_stopped(tasks, stopped, jobs.run());
    // A reload brings a new verifier: it is asked for again each time.
    until_stopped(tasks, stopped, async move {
        loop {
            let verifier = Arc::clone(&keys.setup().verifier);
            drop(tokio::time::timeout(KEYS_EVERY.duration(), verifier.keep_fresh()).await);
        }
    });
    Ok(())
}

/// How often it is looked whether the verifier is a new one.
const KEYS_EVERY: Ttl = Ttl::minutes(5);

/// A task that ends with the broker, at whatever it is.
fn until_stopped(
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let mut stopped = stopped.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    });
}

/// A ledger over a recorder that stays ours to close.
fn over(recorder: &Arc<Recorder>) -> Result<Arc<dyn Ledger>, StartError> {
    let ledger =
        AuditLedger::new(Arc::clone(recorder)).map_err(|error| StartError::Audit(error.to_string()))?;
    Ok(Arc::new(ledger))
}
