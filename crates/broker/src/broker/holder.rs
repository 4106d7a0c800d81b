//! What the holder of a lease may do with it, by its handle alone.

use std::time::Duration;

use claviger_audit::event::{Action, Event, Outcome, Renewed, Used};
use jiff::Timestamp;

use super::events::about;
use super::refusal::{Refusal, RefusalKind};
use super::setup::Target;
use super::{Broker, GivenBack, Prolonged};
use crate::lease::{Handle, Lease, Reason, State, reference_place};
use crate::provider::Held;
use crate::secret::Secret;
use crate::store::Filter;
use crate::ttl::Ttl;

impl Broker {
    /// Prolongs a lease by `ttl` from now, at most to its last possible end.
    ///
    /// # Errors
    /// The handle is unknown; the credential cannot be prolonged, or not further; see [`Refusal`].
    pub async fn renew(&self, handle: &Handle, ttl: Option<Ttl>) -> Result<Prolonged, Refusal> {
        let now = self.clock.now();
        let lease = self.held(handle, now).await?;
        let target = self.target(&lease)?;
        if !target.provider.abilities().renewable {
            return Err(Refusal::new(
                RefusalKind::Invalid,
                "not-renewable",
                "this credential cannot be prolonged; exchange a new token",
            ));
        }
        let wanted = ttl.unwrap_or_else(|| usual(&lease)).after(now);
        let until = wanted.min(lease.max_expires);
        if until <= lease.expires {
            let message =
                format!("the lease ends at {} already and cannot be prolonged further", lease.expires);
            return Err(Refusal::new(RefusalKind::Forbidden, "max-ttl", message));
        }
        // Stop here: the lease stays as it was.
        if !self.store.renew(lease.id, lease.expires, until).await? {
            return Err(Refusal::new(
                RefusalKind::Limited,
                "changed",
                "the lease was changed at the same moment; ask again",
            ));
        }
        // Stop here: the credential ends before its lease does, and is revoked when the lease ends.
        let reference = self.reference(&lease)?;
        let name = lease.object_name();
        let held = Held {
            lease: lease.id,
            name: &name,
            parameters: &lease.parameters,
            reference: reference.as_ref(),
            now,
            expires: lease.expires,
        };
        let call = tokio::time::timeout(self.times.call.duration(), target.provider.renew(&held, until));
        let expires = match call.await {
            Ok(Ok(expires)) => expires,
            failed => {
                let refusal = match failed {
                    Ok(Err(error)) => Refusal::from(error),
                    _ => Refusal::new(
                        RefusalKind::Unavailable,
                        "target-unavailable",
                        "the target does not answer at the moment",
                    ),
                };
                self.note(renewal(&lease, now, lease.expires, Outcome::Failed, Some(refusal.code))).await;
                return Err(refusal);
            }
        };
        match self.ledger.record(vec![renewal(&lease, now, expires, Outcome::Success, None)]).await {
            Ok(_) => Ok(Prolonged { lease: lease.id, expires, max_expires: lease.max_expires }),
            // The credential is out already; not to tell its holder would not bring it back. It ends as recorded
            // by whoever revokes it.
            Err(error) => Err(Refusal::unrecorded(&error)),
        }
    }

    /// Gives a lease back. Asked again it says the same.
    ///
    /// # Errors
    /// The handle is unknown; the store is down. That the target is down is no error: it is tried until it works.
    pub async fn give_back(&self, handle: &Handle) -> Result<GivenBack, Refusal> {
        let lease = self.store.find_held(&handle.hash()).await?.ok_or_else(Refusal::unknown_handle)?;
        if !lease.state.is_closed() {
            let filter = Filter { ids: vec![lease.id], ..Filter::default() };
            self.store.revoke(&filter, Reason::Returned, self.clock.now()).await?;
            // Stop here: the reaper finds it.
            self.due.notify_one();
        }
        let revocable = self.target(&lease).is_ok_and(|target| target.provider.abilities().revocable);
        // What only expiry can end is not waited for.
        let state = if revocable { self.closed(&lease).await? } else { State::Revoking };
        let until = (state == State::Revoking).then_some(lease.expires);
        Ok(GivenBack { lease: lease.id, state, revocable, until })
    }

    /// Notes that a holder is alive.
    ///
    /// # Errors
    /// The handle is unknown, or its lease has ended.
    pub async fn heartbeat(&self, handle: &Handle) -> Result<(), Refusal> {
        match self.store.heard(&handle.hash(), self.clock.now()).await? {
            true => Ok(()),
            false => Err(Refusal::unknown_handle()),
        }
    }

    /// The holder's own lease.
    ///
    /// # Errors
    /// The handle is unknown.
    pub async fn show_held(&self, handle: &Handle) -> Result<Lease, Refusal> {
        let lease = self.store.find_held(&handle.hash()).await?.ok_or_else(Refusal::unknown_handle)?;
        let used = Used { operation: Some("show".into()), ..Used::default() };
        self.note(about(&lease, self.clock.now(), Action::Used(used), Outcome::Success)).await;
        Ok(lease)
    }

    /// The active lease of a handle.
    async fn held(&self, handle: &Handle, now: Timestamp) -> Result<Lease, Refusal> {
        let lease = self.store.find_held(&handle.hash()).await?.ok_or_else(Refusal::unknown_handle)?;
        if lease.state != State::Active || lease.expires <= now {
            return Err(Refusal::unknown_handle());
        }
        Ok(lease)
    }

    /// The provider of a lease.
    fn target(&self, lease: &Lease) -> Result<Target, Refusal> {
        self.setup().providers.get(&lease.provider).cloned().ok_or_else(|| {
            Refusal::new(RefusalKind::Provider, "unknown-provider", "the lease's provider is not configured")
        })
    }

    fn reference(&self, lease: &Lease) -> Result<Option<Secret>, Refusal> {
        let Some(sealed) = &lease.reference else { return Ok(None) };
        self.seal.open(&reference_place(lease.id), sealed).map(Some).map_err(|error| {
            Refusal::new(RefusalKind::Provider, "sealed", "the broker cannot open what it sealed")
                .with_detail(&error)
        })
    }

    /// Waits a moment for the lease's end.
    async fn closed(&self, lease: &Lease) -> Result<State, Refusal> {
        let deadline = tokio::time::Instant::now() + self.times.give_back.duration();
        let mut pause = Duration::from_millis(5);
        loop {
            let state = self.store.find(lease.id).await?.map_or(State::Revoked, |found| found.state);
            if state.is_closed() || tokio::time::Instant::now() + pause > deadline {
                return Ok(state);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Records what depends on no record.
    async fn note(&self, event: Event) {
        if let Err(error) = self.ledger.record(vec![event]).await {
            tracing::error!(%error, "an event was not recorded in the audit log");
        }
    }
}

/// A renewal gives as much as the lease was given at first.
fn usual(lease: &Lease) -> Ttl {
    let quarter_hour = Ttl::minutes(15);
    if lease.renewals > 0 {
        return quarter_hour;
    }
    Ttl::between(lease.created, lease.expires).unwrap_or(quarter_hour)
}

fn renewal(lease: &Lease, now: Timestamp, expires: Timestamp, outcome: Outcome, why: Option<&str>) -> Event {
    let detail = Renewed { count: lease.renewals + 1, ..Renewed::default() };
    Event {
        expires: Some(expires),
        ttl_s: u64::try_from(expires.duration_since(now).as_secs()).ok(),
        reason: why.map(str::to_owned),
        ..about(lease, now, Action::Renewed(detail), outcome)
    }
}
