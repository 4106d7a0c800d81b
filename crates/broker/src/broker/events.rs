//! Events, built field by field from what was verified and decided, never from a request.

use claviger_audit::event::{
    Action, Authentication, Decision, Event, Fingerprint, Issued, Outcome, Target as At, Who,
};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Ask, Refusal};
use crate::lease::Lease;
use crate::policy::grant::Grant;
use crate::provider::Credential;

/// Under which secrets are fingerprinted, so that a leaked one is recognised without being known.
pub struct FingerprintKey {
    /// The key's name.
    pub id: String,
    /// The key.
    pub key: Zeroizing<[u8; 32]>,
}

impl FingerprintKey {
    /// A secret's fingerprint, in hex.
    pub fn of(&self, secret: &[u8]) -> String {
        Fingerprint::of(secret, &self.id, &self.key).mac
    }

    /// The fingerprints of a credential's secret fields. Short ones (a PIN, a user name) would match by chance.
    pub(super) fn all(&self, credential: &Credential) -> Vec<String> {
        const SHORTEST: usize = 8;
        let secret =
            credential.fields.iter().filter(|field| field.is_secret && field.value.len() >= SHORTEST);
        secret.map(|field| self.of(field.value.expose())).collect()
    }
}

/// What all events of one request have in common.
pub(super) struct Story<'a> {
    pub(super) now: Timestamp,
    pub(super) ask: &'a Ask,
    pub(super) who: Who,
    pub(super) token_id: Option<String>,
}

impl Story<'_> {
    fn event(&self, action: Action, outcome: Outcome) -> Event {
        Event {
            who: self.who.clone(),
            source: self.ask.address.map(|address| address.to_string()),
            correlation: Some(self.ask.correlation.clone()),
            ..Event::new(self.now, action, outcome)
        }
    }

    pub(super) fn authenticated(&self) -> Event {
        let detail = Authentication {
            method: Some("oidc".into()),
            token_id: self.token_id.clone(),
            ..Authentication::default()
        };
        self.event(Action::Authentication(detail), Outcome::Success)
    }

    /// The token was not accepted: nothing it says is believed, so `who` stays empty.
    pub(super) fn unauthenticated(&self, refusal: &Refusal) -> Event {
        let detail = Authentication {
            method: Some("oidc".into()),
            token_id: self.token_id.clone(),
            failed: refusal.failed.clone(),
            ..Authentication::default()
        };
        Event {
            reason: Some(reason(refusal)),
            target: At { role: Some(role(self.ask)), ..At::default() },
            ..self.event(Action::Authentication(detail), Outcome::Refused)
        }
    }

    pub(super) fn refused(&self, refusal: &Refusal, policy: &str, grant: Option<&Grant>) -> Event {
        let detail = Decision {
            rule: grant.map(|grant| grant.role().to_owned()),
            policy: Some(policy.to_owned()),
            failed: refusal.failed.clone(),
            ..Decision::default()
        };
        Event {
            reason: Some(reason(refusal)),
            target: grant.map_or_else(|| At { role: Some(role(self.ask)), ..At::default() }, target),
            ..self.event(Action::Decision(detail), Outcome::Refused)
        }
    }

    pub(super) fn allowed(&self, grant: &Grant, lease: &Lease) -> Event {
        let detail = Decision {
            rule: Some(grant.role().to_owned()),
            policy: Some(grant.policy().to_owned()),
            ..Decision::default()
        };
        Event {
            target: target(grant),
            lease: Some(lease.id.to_string()),
            ..self.event(Action::Decision(detail), Outcome::Success)
        }
    }

    pub(super) fn issued(
        &self,
        lease: &Lease,
        kind: &str,
        expires: Timestamp,
        fingerprint: Option<Fingerprint>,
    ) -> Event {
        let detail =
            Issued { kind: Some(kind.to_owned()), name: Some(lease.object_name()), ..Issued::default() };
        Event {
            target: of_lease(lease),
            lease: Some(lease.id.to_string()),
            ttl_s: u64::try_from(expires.duration_since(self.now).as_secs()).ok(),
            expires: Some(expires),
            fingerprint,
            ..self.event(Action::Issued(detail), Outcome::Success)
        }
    }

    pub(super) fn not_issued(&self, lease: &Lease, kind: &str, refusal: &Refusal) -> Event {
        let detail =
            Issued { kind: Some(kind.to_owned()), name: Some(lease.object_name()), ..Issued::default() };
        Event {
            target: of_lease(lease),
            lease: Some(lease.id.to_string()),
            reason: Some(reason(refusal)),
            ..self.event(Action::Issued(detail), Outcome::Failed)
        }
    }
}

/// The role as it was asked for: unknown and hostile, so cut.
fn role(ask: &Ask) -> String {
    ask.role.chars().filter(|c| !c.is_control()).take(128).collect()
}

fn reason(refusal: &Refusal) -> String {
    match &refusal.detail {
        Some(detail) => format!("{}: {detail}", refusal.code),
        None => format!("{}: {}", refusal.code, refusal.message),
    }
}

fn target(grant: &Grant) -> At {
    At {
        provider: Some(grant.provider().to_owned()),
        environment: Some(grant.environment().to_owned()),
        role: Some(grant.role().to_owned()),
        ..At::default()
    }
}

/// What a lease is for.
pub(crate) fn of_lease(lease: &Lease) -> At {
    At {
        provider: Some(lease.provider.clone()),
        environment: Some(lease.environment.clone()),
        role: Some(lease.role.clone()),
        ..At::default()
    }
}

/// An event about a lease that exists.
pub(crate) fn about(lease: &Lease, now: Timestamp, action: Action, outcome: Outcome) -> Event {
    Event {
        who: lease.who.clone(),
        target: of_lease(lease),
        lease: Some(lease.id.to_string()),
        expires: Some(lease.expires),
        ..Event::new(now, action, outcome)
    }
}
