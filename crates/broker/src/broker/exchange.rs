//! The exchange.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use claviger_audit::event::{Event, Fingerprint, Who};
use jiff::Timestamp;

use super::events::Story;
use super::limit::slower;
use super::refusal::{Refusal, RefusalKind};
use super::setup::Target;
use super::{Ask, Broker, Exchanged, Setup};
use crate::identity::Identity;
use crate::lease::ledger::Recorded;
use crate::lease::{Handle, Intent, Lease, LeaseId, Reason, State, TokenUse, reference_place};
use crate::policy::Context;
use crate::policy::grant::Grant;
use crate::provider::{Issued, Notes, ProviderError, Request};
use crate::seal::Seal;
use crate::store::Store;
use crate::ttl::Ttl;

/// The most a caller may send along: names and values in all, in bytes.
const MAX_INPUT: usize = 32 * 1024;
/// The shortest silence that ends a lease: heartbeats are sent three times as often.
const MIN_HEARTBEAT_S: u64 = 15;

impl Broker {
    /// Exchanges a token for a credential.
    ///
    /// # Errors
    /// See [`Refusal`]. Every refusal is in the audit log, if that takes records at all.
    pub async fn exchange(&self, ask: Ask) -> Result<Exchanged, Refusal> {
        let setup = self.setup();
        let now = self.clock.now();
        let mut story = Story { now, ask: &ask, who: Who::default(), token_id: None };
        let identity = match setup.verifier.verify(&ask.token).await {
            Ok(identity) => identity,
            Err(rejection) => {
                let refusal = Refusal::from(rejection);
                return Err(self.refuse(vec![story.unauthenticated(&refusal)], refusal).await);
            }
        };
        story.who = identity.who();
        story.token_id = Some(identity.token_id().as_str().to_owned());
        let decided = self.within_rate(&identity).map_err(|refusal| Box::new((refusal, None)));
        let (grant, target, ttl) = match decided.and_then(|()| decide(&setup, &identity, &ask, now)) {
            Ok(decided) => decided,
            Err(undecided) => {
                let (refusal, grant) = *undecided;
                let refused = story.refused(&refusal, setup.policy.digest(), grant.as_ref());
                return Err(self.refuse(vec![story.authenticated(), refused], refusal).await);
            }
        };
        let handle = Handle::new();
        let lease = self.draft(&story, &grant, &ask, ttl, &handle, now);
        let plan = Plan { ask: &ask, identity: &identity, grant: &grant, target: &target, ttl, now };
        let token = TokenUse {
            issuer: identity.issuer().to_owned(),
            token_id: identity.token_id().as_str().to_owned(),
            keep_until: identity.keep_until(),
        };
        let done = if target.provider.abilities().local {
            self.issue_here(&story, &plan, lease, token).await?
        } else {
            self.issue_there(&story, &plan, lease, token).await?
        };
        let abilities = target.provider.abilities();
        Ok(Exchanged {
            lease: done.lease.id,
            handle,
            credential: done.issued.credential,
            expires: done.issued.expires,
            max_expires: done.lease.max_expires,
            renewable: abilities.renewable && done.issued.expires < done.lease.max_expires,
            revocable: abilities.revocable,
            role: done.lease.role,
            provider: done.lease.provider,
            kind: target.kind,
            environment: done.lease.environment,
            record: done.record,
        })
    }

    /// Whether the identity's repository has not asked too often.
    fn within_rate(&self, identity: &Identity) -> Result<(), Refusal> {
        let who = identity.who().repository.unwrap_or_else(|| identity.subject().to_owned());
        let key = format!("{} {who}", identity.issuer());
        self.identities.take(key, Instant::now()).map_err(|wait| slower("this repository", wait))
    }

    /// The lease to write down, still pending.
    fn draft(
        &self,
        story: &Story<'_>,
        grant: &Grant,
        ask: &Ask,
        ttl: Ttl,
        handle: &Handle,
        now: Timestamp,
    ) -> Lease {
        let silence = ask.heartbeat.map(|promised| promised.seconds().max(MIN_HEARTBEAT_S));
        Lease {
            id: LeaseId::new(),
            state: State::Pending,
            handle: handle.hash(),
            who: story.who.clone(),
            role: grant.role().to_owned(),
            provider: grant.provider().to_owned(),
            environment: grant.environment().to_owned(),
            parameters: grant.parameters().clone(),
            created: now,
            expires: self.times.pending.after(now),
            max_expires: grant.max_ttl().max(ttl).after(now),
            renewals: 0,
            heard: silence.map(|_| now),
            silence_s: silence.and_then(|seconds| u32::try_from(seconds).ok()),
            reference: None,
            fingerprints: Vec::new(),
            reason: None,
            revoking_since: None,
            attempts: 0,
            next_attempt: None,
            last_error: None,
            closed: None,
        }
    }

    /// Issues where no target is touched: the credential means nothing until it leaves, so one durable write is enough.
    async fn issue_here(
        &self,
        story: &Story<'_>,
        plan: &Plan<'_>,
        mut lease: Lease,
        token: TokenUse,
    ) -> Result<Done, Refusal> {
        let kind = plan.target.kind;
        let issued = match plan.issue(&lease, &NoNotes, self.times.call).await {
            Ok(issued) => issued,
            Err(error) => {
                let refusal = Refusal::from(error);
                let events = vec![story.authenticated(), story.not_issued(&lease, kind, &refusal)];
                return Err(self.refuse(events, refusal).await);
            }
        };
        lease.state = State::Active;
        lease.expires = issued.expires;
        lease.max_expires = lease.max_expires.max(issued.expires);
        lease.fingerprints = self.fingerprint.all(&issued.credential);
        lease.reference = self.sealed(&lease, &issued);
        let intent = Intent { lease, token, limits: plan.grant.limits() };
        self.begin(story, plan, &intent).await?;
        let lease = intent.lease;
        // Stop here: an active lease whose credential nobody has; it expires.
        let events = vec![
            story.authenticated(),
            story.allowed(plan.grant, &lease),
            story.issued(&lease, kind, issued.expires, self.first_fingerprint(&lease)),
        ];
        match self.ledger.record(events).await {
            Ok(records) => Ok(Done { record: last(records), lease, issued }),
            Err(error) => Err(self.take_back(lease.id, None, Refusal::unrecorded(&error)).await),
        }
    }

    /// Issues at a target: the intent and the decision are durable before it is touched.
    async fn issue_there(
        &self,
        story: &Story<'_>,
        plan: &Plan<'_>,
        lease: Lease,
        token: TokenUse,
    ) -> Result<Done, Refusal> {
        let intent = Intent { lease, token, limits: plan.grant.limits() };
        self.begin(story, plan, &intent).await?;
        let mut lease = intent.lease;
        // Stop here: a pending lease and nothing at the target; the reaper makes sure by its name.
        let decided = vec![story.authenticated(), story.allowed(plan.grant, &lease)];
        if let Err(error) = self.ledger.record(decided).await {
            return Err(self.take_back(lease.id, None, Refusal::unrecorded(&error)).await);
        }
        let notes = StoreNotes { store: &self.store, seal: &self.seal, lease: lease.id };
        let kind = plan.target.kind;
        let issued = match plan.issue(&lease, &notes, self.times.call).await {
            Ok(issued) => issued,
            Err(error) => {
                let refusal = self.take_back(lease.id, None, Refusal::from(error)).await;
                return Err(self.refuse(vec![story.not_issued(&lease, kind, &refusal)], refusal).await);
            }
        };
        // Stop here: a credential nobody has, under a pending lease; the reaper revokes it by its name.
        lease.fingerprints = self.fingerprint.all(&issued.credential);
        lease.expires = issued.expires;
        let reference = self.sealed(&lease, &issued);
        let event = vec![story.issued(&lease, kind, issued.expires, self.first_fingerprint(&lease))];
        let (active, recorded) = tokio::join!(
            self.store.activate(lease.id, issued.expires, reference.as_deref(), &lease.fingerprints),
            self.ledger.record(event),
        );
        let records = match recorded {
            Ok(records) => records,
            Err(error) => {
                let refusal = Refusal::unrecorded(&error);
                return Err(self.take_back(lease.id, reference.as_deref(), refusal).await);
            }
        };
        match active {
            Ok(true) => Ok(Done { record: last(records), lease, issued }),
            Ok(false) => Err(Refusal::new(
                RefusalKind::Forbidden,
                "revoked",
                "the lease was revoked while it was being issued",
            )),
            Err(error) => Err(self.take_back(lease.id, reference.as_deref(), error.into()).await),
        }
    }

    /// Writes the intent; a refusal of it is recorded.
    async fn begin(&self, story: &Story<'_>, plan: &Plan<'_>, intent: &Intent) -> Result<(), Refusal> {
        let Err(error) = self.store.begin(intent).await else { return Ok(()) };
        let refusal = Refusal::from(error);
        let refused = story.refused(&refusal, plan.grant.policy(), Some(plan.grant));
        Err(self.refuse(vec![story.authenticated(), refused], refusal).await)
    }

    /// Records a refusal. When that fails too the caller hears the refusal all the same: nothing was issued.
    async fn refuse(&self, events: Vec<Event>, refusal: Refusal) -> Refusal {
        if let Err(error) = self.ledger.record(events).await {
            tracing::error!(%error, code = refusal.code, "a refusal was not recorded in the audit log");
        }
        refusal
    }

    /// Sends a lease whose credential does not leave to its end. A reference is what the provider gave last.
    async fn take_back(&self, lease: LeaseId, reference: Option<&[u8]>, refusal: Refusal) -> Refusal {
        let reason =
            if refusal.code == "audit-unavailable" { Reason::Unrecorded } else { Reason::Unfinished };
        match self.store.abandon(lease, reason, reference, self.clock.now()).await {
            Ok(_) => self.due.notify_one(),
            // It is pending or active in the store and will be revoked when its time is over.
            Err(error) => tracing::error!(%error, %lease, "a lease could not be taken back at once"),
        }
        refusal
    }

    fn sealed(&self, lease: &Lease, issued: &Issued) -> Option<Vec<u8>> {
        let reference = issued.reference.as_ref()?;
        Some(self.seal.seal(&reference_place(lease.id), reference.expose()))
    }

    fn first_fingerprint(&self, lease: &Lease) -> Option<Fingerprint> {
        let mac = lease.fingerprints.first()?.clone();
        Some(Fingerprint { key: self.fingerprint.id.clone(), mac })
    }
}

/// What was decided about a request.
struct Plan<'a> {
    ask: &'a Ask,
    identity: &'a Identity,
    grant: &'a Grant,
    target: &'a Target,
    ttl: Ttl,
    now: Timestamp,
}

impl Plan<'_> {
    /// Lets the provider issue, within `limit`. The answer of a call that took longer counts as lost.
    async fn issue(&self, lease: &Lease, notes: &dyn Notes, limit: Ttl) -> Result<Issued, ProviderError> {
        let name = lease.object_name();
        let request = Request {
            lease: lease.id,
            name: &name,
            identity: self.identity,
            parameters: self.grant.parameters(),
            input: &self.ask.input,
            target_token: self.ask.target_token.as_ref(),
            ttl: self.ttl,
            now: self.now,
            expires: self.ttl.after(self.now),
        };
        match tokio::time::timeout(limit.duration(), self.target.provider.issue(&request, notes)).await {
            Ok(answer) => answer,
            Err(_) => Err(ProviderError::Ambiguous(format!("no answer within {limit}"))),
        }
    }
}

/// An exchange that came to its end.
struct Done {
    lease: Lease,
    issued: Issued,
    record: Recorded,
}

/// The record of the last event: the issue itself.
fn last(mut records: Vec<Recorded>) -> Recorded {
    records.pop().unwrap_or_else(|| Recorded::at(0))
}

type Decided = (Grant, Target, Ttl);

/// Decides by policy, and whether the request fits what was decided.
fn decide(
    setup: &Arc<Setup>,
    identity: &Identity,
    ask: &Ask,
    now: Timestamp,
) -> Result<Decided, Box<(Refusal, Option<Grant>)>> {
    let context = Context { address: ask.address, now };
    let grant = setup
        .policy
        .decide(identity, &ask.role, &context)
        .map_err(|refusal| Box::new((Refusal::from(refusal), None)))?;
    let fits = check_input(&ask.input).and_then(|()| {
        let target = setup.providers.get(grant.provider()).ok_or_else(|| {
            Refusal::new(RefusalKind::Provider, "unknown-provider", "the role's provider is not configured")
        })?;
        Ok((target.clone(), lifetime(&grant, ask.ttl, target)?))
    });
    match fits {
        Ok((target, ttl)) => Ok((grant, target, ttl)),
        Err(refusal) => Err(Box::new((refusal, Some(grant)))),
    }
}

fn check_input(input: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let bytes: usize = input.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= MAX_INPUT {
        return Ok(());
    }
    let message = format!("the input has {bytes} bytes, more than {MAX_INPUT}");
    Err(Refusal::new(RefusalKind::Invalid, "input-too-long", message))
}

/// How long the credential is to live: what was asked for, within what the role and the target allow.
fn lifetime(grant: &Grant, asked: Option<Ttl>, target: &Target) -> Result<Ttl, Refusal> {
    let (least, most) = target.provider.abilities().ttl;
    if let Some(asked) = asked.filter(|asked| *asked > grant.max_ttl()) {
        let message = format!("{asked} was asked for, and the role allows {}", grant.max_ttl());
        return Err(Refusal::new(RefusalKind::Forbidden, "ttl", message));
    }
    let seconds = asked.unwrap_or_else(|| grant.ttl()).seconds().min(u64::from(most));
    match Ttl::from_secs(seconds) {
        Some(ttl) if seconds >= u64::from(least) => Ok(ttl),
        _ => {
            let message = format!("{seconds} s were asked for, and the target allows no less than {least} s");
            Err(Refusal::new(RefusalKind::Invalid, "ttl", message))
        }
    }
}

/// Notes into the store, sealed.
struct StoreNotes<'a> {
    store: &'a Arc<dyn Store>,
    seal: &'a Seal,
    lease: LeaseId,
}

#[async_trait]
impl Notes for StoreNotes<'_> {
    async fn keep(&self, reference: &[u8]) -> Result<(), ProviderError> {
        let sealed = self.seal.seal(&reference_place(self.lease), reference);
        match self.store.keep(self.lease, &sealed).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ProviderError::Denied("the lease was revoked while it was being issued".into())),
            Err(error) => Err(ProviderError::Transient(format!("the broker's store: {error}"))),
        }
    }
}

/// For providers that touch no target: there is nothing to find again.
struct NoNotes;

#[async_trait]
impl Notes for NoNotes {
    async fn keep(&self, _: &[u8]) -> Result<(), ProviderError> {
        Ok(())
    }
}
