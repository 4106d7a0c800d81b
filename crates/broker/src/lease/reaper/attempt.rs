//! One attempt to end a lease, and the end of those that need none.

use std::sync::Arc;
use std::time::Duration;

use claviger_audit::event::{Action, Event, Expired, Outcome, Revoked, Target};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::gate::Verdict;
use super::{Reaper, Report};
use crate::lease::{Lease, State, reference_place};
use crate::provider::{Abilities, Held, Provider, ProviderError};
use crate::secret::Secret;

/// The most characters of a target's words that a store keeps.
const MAX_ERROR: usize = 500;
/// When a lease is tried again that is revoked and could not be recorded or closed.
const AGAIN: Duration = Duration::from_secs(5);

impl Reaper {
    /// Tries once. Gives the state the lease has now, and what that says about the target.
    pub(super) async fn attempt(&self, lease: &Lease) -> (State, Verdict) {
        let now = self.parts.clock.now();
        let Some(provider) = self.parts.targets.provider(&lease.provider) else {
            let error = ProviderError::Misconfigured("the provider is not configured".into());
            return (self.failed(lease, &error, now).await, Verdict::Nothing);
        };
        let abilities = provider.abilities();
        if lease.expires <= now && abilities.expires_itself && abilities.leaves_nothing {
            return (self.close(lease, State::Expired).await, Verdict::Nothing);
        }
        let error = if abilities.revocable {
            match self.revoke(&*provider, lease, now).await {
                Ok(()) => return (self.close(lease, State::Revoked).await, Verdict::Up),
                Err(error) => error,
            }
        } else {
            ProviderError::Unsupported("it cannot be ended before its time".into())
        };
        if let ProviderError::Unsupported(why) = &error {
            return (self.await_end(lease, abilities, why, now).await, Verdict::Nothing);
        }
        let verdict = match error {
            ProviderError::Denied(_) => Verdict::Up,
            _ => Verdict::Down,
        };
        (self.failed(lease, &error, now).await, verdict)
    }

    async fn revoke(
        &self,
        provider: &dyn Provider,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let reference = self.reference(lease)?;
        let name = lease.object_name();
        let held = Held {
            lease: lease.id,
            name: &name,
            parameters: &lease.parameters,
            reference: reference.as_ref(),
            now,
            expires: lease.expires,
        };
        let late =
            |_| ProviderError::Ambiguous(format!("no answer within {} s", self.options.call.as_secs()));
        tokio::time::timeout(self.options.call, provider.revoke(&held)).await.map_err(late)?
    }

    /// Without its reference a provider might find nothing under the name alone, and take that for gone.
    fn reference(&self, lease: &Lease) -> Result<Option<Secret>, ProviderError> {
        let Some(sealed) = &lease.reference else { return Ok(None) };
        let opened = self.parts.seal.open(&reference_place(lease.id), sealed);
        opened.map(Some).map_err(|e| ProviderError::Misconfigured(format!("the lease's reference: {e}")))
    }

    /// Records the end, then closes the lease.
    async fn close(&self, lease: &Lease, state: State) -> State {
        let now = self.parts.clock.now();
        if let Err(error) = self.parts.ledger.record(vec![ended(lease, state, now)]).await {
            let error = format!("it is {} and could not be recorded: {error}", state.as_str());
            return self.later(lease, after(now, AGAIN), &error).await;
        }
        // Stop here: another reaper does and records it again.
        self.finish(lease, state, now).await
    }

    /// Closes a lease whose end is recorded.
    async fn finish(&self, lease: &Lease, state: State, now: Timestamp) -> State {
        match self.parts.store.close(&self.worker, lease.id, state, now).await {
            Ok(true) => {
                self.parts.metrics.attempted(&lease.provider, state.as_str());
                state
            }
            // Another has it, or something was issued for it meanwhile.
            Ok(false) => State::Revoking,
            Err(error) => {
                tracing::error!(%error, lease = %lease.id, "a lease ended and could not be closed");
                State::Revoking
            }
        }
    }

    /// Ends those that ended by themselves, with one record and, in the store, few transactions.
    pub(super) async fn expire(self: Arc<Self>, leases: Vec<Lease>) -> Report {
        let now = self.parts.clock.now();
        let provider = leases.first().map(|lease| lease.provider.clone()).unwrap_or_default();
        let report = Report { provider, count: leases.len(), verdict: Verdict::Nothing };
        let events = leases.iter().map(|lease| ended(lease, State::Expired, now)).collect();
        let recorded = self.parts.ledger.record(events).await;
        let mut closing = JoinSet::new();
        for lease in leases {
            let (reaper, error) = (Arc::clone(&self), recorded.as_ref().err().cloned());
            closing.spawn(async move {
                match error {
                    None => reaper.finish(&lease, State::Expired, now).await,
                    Some(error) => {
                        let error = format!("it has expired and could not be recorded: {error}");
                        reaper.later(&lease, after(now, AGAIN), &error).await
                    }
                }
            });
        }
        while closing.join_next().await.is_some() {}
        report
    }

    /// The target cannot end it: its own end is awaited.
    async fn await_end(&self, lease: &Lease, abilities: Abilities, why: &str, now: Timestamp) -> State {
        if lease.expires > now {
            if lease.attempts == 0 {
                let why = format!("it stays valid until {}: {why}", lease.expires);
                self.note(failure(lease, &why, now)).await;
            }
            let said = format!("its end is awaited: {why}");
            return self.later(lease, lease.expires, &said).await;
        }
        if abilities.expires_itself {
            return self.close(lease, State::Expired).await;
        }
        // It neither ends nor can be ended: somebody must hear of it, again and again.
        self.failed(lease, &ProviderError::Unsupported(why.to_owned()), now).await
    }

    async fn failed(&self, lease: &Lease, error: &ProviderError, now: Timestamp) -> State {
        self.parts.metrics.attempted(&lease.provider, error.class());
        let text: String = error.to_string().chars().take(MAX_ERROR).collect();
        tracing::warn!(lease = %lease.id, provider = lease.provider, error = text, "revoking failed; again later");
        if lease.attempts == 0 {
            self.note(failure(lease, &text, now)).await;
        }
        let longest = if error.is_passing() { self.options.backoff } else { self.options.refused_backoff };
        self.later(lease, after(now, pause(lease, longest)), &text).await
    }

    async fn later(&self, lease: &Lease, next: Timestamp, why: &str) -> State {
        let why: String = why.chars().take(MAX_ERROR).collect();
        if let Err(error) = self.parts.store.failed(&self.worker, lease.id, next, &why).await {
            // It falls back by itself when the time is over for which it was taken.
            tracing::warn!(%error, lease = %lease.id, "a failed attempt could not be noted");
        }
        State::Revoking
    }

    /// Records what nothing depends on.
    async fn note(&self, event: Event) {
        if let Err(error) = self.parts.ledger.record(vec![event]).await {
            tracing::error!(%error, "a failed revocation was not recorded in the audit log");
        }
    }
}

/// The pause before the next attempt: a second, doubled each time up to `longest`, of which the second half is spread
/// over the leases, so that they do not come all at once. Spread by the lease itself: a failing test can be replayed.
fn pause(lease: &Lease, longest: Duration) -> Duration {
    let doubled = Duration::from_secs(1 << lease.attempts.min(16)).min(longest);
    let mut hash = Sha256::new();
    hash.update(lease.id.as_bytes());
    hash.update(lease.attempts.to_be_bytes());
    let spread = u32::from(hash.finalize()[0]) * 1000 / 255;
    doubled / 2 + doubled / 2 * spread / 1000
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::from_mins(1));
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// An event about a lease.
pub(in crate::lease) fn about(lease: &Lease, action: Action, outcome: Outcome, now: Timestamp) -> Event {
    Event {
        who: lease.who.clone(),
        target: Target {
            provider: Some(lease.provider.clone()),
            environment: Some(lease.environment.clone()),
            role: Some(lease.role.clone()),
            ..Target::default()
        },
        lease: Some(lease.id.to_string()),
        expires: Some(lease.expires),
        ..Event::new(now, action, outcome)
    }
}

fn detail(lease: &Lease) -> Revoked {
    Revoked {
        by: lease.reason.map(|reason| reason.as_str().to_owned()),
        attempt: lease.attempts.saturating_add(1),
        due: lease.revoking_since.map(|since| since.to_string()),
        ..Revoked::default()
    }
}

fn ended(lease: &Lease, state: State, now: Timestamp) -> Event {
    let action = match state {
        State::Expired => Action::Expired(Expired::default()),
        _ => Action::Revoked(detail(lease)),
    };
    about(lease, action, Outcome::Success, now)
}

fn failure(lease: &Lease, why: &str, now: Timestamp) -> Event {
    let event = about(lease, Action::Revoked(detail(lease)), Outcome::Failed, now);
    Event { reason: Some(why.to_owned()), ..event }
}
