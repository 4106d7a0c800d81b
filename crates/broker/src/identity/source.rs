//! Where an issuer's keys come from, and for how long they are good.
//!
//! Keys are fetched by discovery, or read from a file. They are fetched anew when a token names an unknown key, at
//! most once a minute however many tokens do, and in the background. While the issuer does not answer, the last keys
//! serve on for a day. A fetch runs as a task of its own: a caller who hangs up does not take it down with him.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use claviger_audit::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::issuer::Issuer;
use super::keys::{Discovery, KeySet, KeySetError};
use crate::fetch::{Call, Fetch, FetchError};

/// At most one fetch in this time and issuer, whatever tokens ask for.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// The same while there are no keys at all: an issuer that was down for a moment must not stop jobs for a minute.
const PAUSE_WITHOUT_KEYS: SignedDuration = SignedDuration::from_secs(5);
/// The background fetches keys that are older.
const REFRESH_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Where there is no background, or it failed so long, a token's own verification fetches keys that are older.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// The longest file of keys, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Why an issuer's keys could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The network.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A redirect or an error.
    #[error("{what} answered {status}{}", if (300..400).contains(status) { "; redirects are not followed" } else { "" })]
    Status {
        /// Which document.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// The discovery document is none.
    #[error("the discovery document is not JSON with `issuer` and `jwks_uri`")]
    NotDiscovery,
    /// The discovery document is somebody else's.
    #[error("the discovery document is of `{0}`, not of the configured issuer")]
    OtherIssuer(String),
    /// The keys lie on another host.
    #[error("the keys lie on `{0}`; if that is right, add it to `jwks_hosts`")]
    OtherHost(String),
    /// The keys are unusable.
    #[error("the keys: {0}")]
    Keys(#[from] KeySetError),
    /// The file cannot be read.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Why there is no key for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer's keys are known, and this is none of them.
    Unknown,
    /// The issuer's keys are not known well enough to say.
    Unavailable,
}

/// Where the keys lie.
pub(crate) enum Origin {
    /// In a file.
    File(PathBuf),
    /// At the issuer, or where it says.
    Network(Fetch),
}

/// An issuer's keys.
pub(crate) struct Source {
    issuer: Issuer,
    origin: Origin,
    clock: Arc<dyn Clock>,
    /// Held to read or swap, never across I/O.
    cached: RwLock<Cached>,
    /// Held while fetching: whoever waits for it finds the result.
    flight: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Default)]
struct Cached {
    keys: Arc<KeySet>,
    /// When the keys were fetched.
    fetched: Option<Timestamp>,
    /// When fetching began last.
    tried: Option<Timestamp>,
    /// Why the last fetch failed.
    trouble: Option<SourceError>,
}

/// What is known of an issuer's keys, for readiness and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// When its keys were fetched; `None` before the first time.
    pub fetched: Option<Timestamp>,
    /// Why the last fetch failed, if it did.
    pub trouble: Option<SourceError>,
}

impl Source {
    pub(crate) fn new(issuer: Issuer, origin: Origin, clock: Arc<dyn Clock>) -> Source {
        Source { issuer, origin, clock, cached: RwLock::default(), flight: Arc::default() }
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) fn status(&self) -> KeyStatus {
        let cached = self.cached();
        KeyStatus { issuer: self.issuer.name.to_string(), fetched: cached.fetched, trouble: cached.trouble }
    }

    /// A set of keys that holds `kid`.
    pub(crate) async fn keys_with(self: &Arc<Self>, kid: &str) -> Result<Arc<KeySet>, NoKey> {
        let now = self.clock.now();
        let cached = self.cached();
        if self.holds(&cached, kid, now) {
            let overdue = cached.age(now).is_some_and(|age| age >= OVERDUE_AFTER);
            // Whoever comes while another fetches goes on with what there is.
            if overdue
                && self.may_try(&cached, now)
                && let Ok(flight) = Arc::clone(&self.flight).try_lock_owned()
            {
                self.fetch_in_task(flight).await;
                return self.found(kid, now);
            }
            return Ok(cached.keys);
        }
        // A fetch that is under way may bring the key: wait for it, even where none may be begun.
        let flight = Arc::clone(&self.flight).lock_owned().await;
        let cached = self.cached();
        if !self.holds(&cached, kid, now) && self.may_try(&cached, now) {
            self.fetch_in_task(flight).await;
        }
        self.found(kid, now)
    }

    /// Fetches keys that are old, for the background.
    pub(crate) async fn refresh(self: &Arc<Self>) {
        let now = self.clock.now();
        let due = |cached: &Cached| {
            cached.age(now).is_none_or(|age| age >= REFRESH_AFTER) && self.may_try(cached, now)
        };
        if due(&self.cached()) {
            let flight = Arc::clone(&self.flight).lock_owned().await;
            if due(&self.cached()) {
                self.fetch_in_task(flight).await;
            }
        }
    }

    fn cached(&self) -> Cached {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn found(&self, kid: &str, now: Timestamp) -> Result<Arc<KeySet>, NoKey> {
        let cached = self.cached();
        if self.holds(&cached, kid, now) {
            Ok(cached.keys)
        } else if cached.trouble.is_none() && self.is_usable(&cached, now) {
            Err(NoKey::Unknown)
        } else {
            Err(NoKey::Unavailable)
        }
    }

    fn is_usable(&self, cached: &Cached, now: Timestamp) -> bool {
        cached.age(now).is_some_and(|age| age.as_secs() <= self.issuer.keep_keys_s)
    }

    fn holds(&self, cached: &Cached, kid: &str, now: Timestamp) -> bool {
        self.is_usable(cached, now) && cached.keys.get(kid).is_some()
    }

    fn may_try(&self, cached: &Cached, now: Timestamp) -> bool {
        let pause = if self.is_usable(cached, now) { PAUSE } else { PAUSE_WITHOUT_KEYS };
        // A clock that was set back must not hold fetches back until it catches up.
        cached.tried.is_none_or(|tried| !(SignedDuration::ZERO..pause).contains(&now.duration_since(tried)))
    }

    async fn fetch_in_task(self: &Arc<Self>, flight: tokio::sync::OwnedMutexGuard<()>) {
        let source = Arc::clone(self);
        let task = tokio::spawn(async move {
            source.fetch_now().await;
            drop(flight);
        });
        if let Err(e) = task.await {
            tracing::error!(issuer = %self.issuer.name, error = %e, "fetching keys ended abnormally");
        }
    }

    async fn fetch_now(&self) {
        let tried = self.clock.now();
        self.update(|cached| cached.tried = Some(tried));
        match self.load().await {
            Ok(keys) => self.update(|cached| {
                *cached =
                    Cached { keys: Arc::new(keys), fetched: Some(tried), tried: Some(tried), trouble: None };
            }),
            Err(e) => {
                tracing::warn!(issuer = %self.issuer.name, error = %e, "keys could not be fetched");
                self.update(|cached| cached.trouble = Some(e));
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut Cached)) {
        change(&mut self.cached.write().unwrap_or_else(PoisonError::into_inner));
    }

    async fn load(&self) -> Result<KeySet, SourceError> {
        let fetch = match &self.origin {
            Origin::File(path) => return Ok(KeySet::parse(&read(path).await?, &self.issuer.algorithms)?),
            Origin::Network(fetch) => fetch,
        };
        let found = document(fetch, "the discovery document", self.issuer.discovery_url()).await?;
        let discovery = Discovery::parse(&found).ok_or(SourceError::NotDiscovery)?;
        if *discovery.issuer != *self.issuer.url {
            return Err(SourceError::OtherIssuer(cut(&discovery.issuer)));
        }
        self.admit(&discovery.jwks_uri)?;
        let set = document(fetch, "the key set", discovery.jwks_uri).await?;
        Ok(KeySet::parse(&set, &self.issuer.algorithms)?)
    }

    /// The keys must lie on the issuer's own host and port, or on a host that configuration lists.
    fn admit(&self, jwks_uri: &str) -> Result<(), SourceError> {
        let other = || SourceError::OtherHost(cut(jwks_uri));
        let keys = Url::parse(jwks_uri).map_err(|_| other())?;
        let own = Url::parse(&self.issuer.url).map_err(|_| other())?;
        let host = keys.host_str().ok_or_else(other)?;
        let same =
            own.host_str() == Some(host) && own.port_or_known_default() == keys.port_or_known_default();
        if same || self.issuer.jwks_hosts.iter().any(|listed| listed == host) {
            Ok(())
        } else {
            Err(SourceError::OtherHost(cut(host)))
        }
    }
}

async fn document(fetch: &Fetch, what: &'static str, url: String) -> Result<Vec<u8>, SourceError> {
    let answer = fetch.send(Call::get(url).accept_json()).await?;
    match answer.status() {
        200 => Ok(answer.body().to_vec()),
        status => Err(SourceError::Status { what, status }),
    }
}

impl Cached {
    fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.fetched.map(|fetched| now.duration_since(fetched))
    }
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, SourceError> {
    use tokio::io::AsyncReadExt as _;
    let failed = |why: String| SourceError::File { path: path.clone(), why };
    let file = tokio::fs::File::open(path).await.map_err(|e| failed(e.to_string()))?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).await.map_err(|e| failed(e.to_string()))?;
    if content.len() as u64 > MAX_FILE { Err(failed("longer than 256 KiB".to_owned())) } else { Ok(content) }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
