//! Keeps a lease alive while something runs: renews it ahead of its end, and says that its holder is there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Broker, BrokerError};
use crate::secret::Secret;
use crate::server::wire::ReceivedLease;
use crate::ttl::Ttl;

/// Renew at least this long before the end: a broker's call may take 20 s, and clocks differ by a few.
const MARGIN: Duration = Duration::from_secs(25);
/// After a failure that may pass.
const AGAIN: Duration = Duration::from_secs(5);

/// What happened to the lease meanwhile.
#[derive(Debug)]
pub enum News {
    /// It was renewed.
    Renewed(Timestamp),
    /// A renewal or a heartbeat failed, and will be tried again.
    Failing(BrokerError),
    /// It cannot be renewed further; it ends at its last end.
    Last(BrokerError),
    /// The broker knows it no more: it was revoked.
    Gone(BrokerError),
}

/// Keeps a lease; runs until it is dropped or the lease is gone.
pub struct Keeper<'a> {
    broker: &'a Broker,
    handle: &'a Secret,
    expires: Timestamp,
    life: Duration,
    renewable: bool,
    heartbeat: Option<Duration>,
}

impl<'a> Keeper<'a> {
    /// For a lease that was just received, with the heartbeat that was promised for it.
    pub fn new(
        broker: &'a Broker,
        lease: &'a ReceivedLease,
        now: Timestamp,
        promised: Option<Ttl>,
    ) -> Keeper<'a> {
        Keeper {
            broker,
            handle: &lease.handle,
            expires: lease.expires_at,
            life: until(now, lease.expires_at),
            renewable: lease.renewable,
            // Three beats fit into the promised time: two may be lost.
            heartbeat: promised.map(|promised| promised.duration() / 3),
        }
    }

    /// Keeps it; `tell` hears what happens.
    pub async fn run(mut self, now: impl Fn() -> Timestamp, mut tell: impl FnMut(News)) {
        let mut beat = self.heartbeat.map(tokio::time::interval);
        loop {
            let renewal = self.renewal(now());
            let beats = async {
                match &mut beat {
                    Some(beat) => drop(beat.tick().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep(renewal) => self.renew(&mut tell).await,
                () = beats => self.beat(&mut tell).await,
            }
            if !self.renewable && self.heartbeat.is_none() {
                return;
            }
        }
    }

    /// How long until it is to be renewed; never, if it cannot be.
    fn renewal(&self, now: Timestamp) -> Option<Duration> {
        // A third of its life before the end, and a short one at half time rather than at once.
        let ahead = MARGIN.max(self.life / 3).min(self.life / 2);
        self.renewable.then(|| until(now, self.expires).saturating_sub(ahead))
    }

    async fn renew(&mut self, tell: &mut impl FnMut(News)) {
        let error = match self.broker.renew(self.handle, None).await {
            Ok(answer) => match answer.expires_at.parse() {
                Ok(expires) => {
                    self.expires = expires;
                    return tell(News::Renewed(expires));
                }
                Err(_) => BrokerError::Strange("it says no time".into()),
            },
            Err(error) => error,
        };
        if error.is_passing() {
            tell(News::Failing(error));
            tokio::time::sleep(AGAIN).await;
        } else {
            self.renewable = false;
            let gone = error.code() == Some("unknown-handle");
            self.heartbeat = self.heartbeat.filter(|_| !gone);
            tell(if gone { News::Gone(error) } else { News::Last(error) });
        }
    }

    async fn beat(&mut self, tell: &mut impl FnMut(News)) {
        match self.broker.heartbeat(self.handle).await {
            Ok(()) => {}
            Err(error) if error.is_passing() => tell(News::Failing(error)),
            Err(error) => {
                self.heartbeat = None;
                self.renewable = false;
                tell(News::Gone(error));
            }
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    let left: SignedDuration = then.duration_since(now);
    Duration::try_from(left).unwrap_or_default()
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
