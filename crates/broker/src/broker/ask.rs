//! What is asked of a broker and what it answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::lease::ledger::Recorded;
use crate::lease::{Handle, LeaseId, State};
use crate::provider::Credential;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// A request to exchange a token for a credential.
#[derive(Debug)]
pub struct Ask {
    /// The CI's token, unverified.
    pub token: Secret,
    /// The role asked for.
    pub role: String,
    /// How long it is to live; the role's own time if absent.
    pub ttl: Option<Ttl>,
    /// What the provider needs from the caller, for example a public key.
    pub input: BTreeMap<String, String>,
    /// A token of the caller for the target itself, where the role wants one.
    pub target_token: Option<Secret>,
    /// The caller promises to be heard of at least this often; silence then ends the lease.
    pub heartbeat: Option<Ttl>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// Ties the request's events together.
    pub correlation: String,
}

/// A credential and the lease on it.
#[derive(Debug)]
pub struct Exchanged {
    /// The lease.
    pub lease: LeaseId,
    /// Renews it and gives it back.
    pub handle: Handle,
    /// The credential.
    pub credential: Credential,
    /// When it ends.
    pub expires: Timestamp,
    /// Beyond this it cannot be renewed.
    pub max_expires: Timestamp,
    /// Whether it can be prolonged.
    pub renewable: bool,
    /// Whether it can be ended before it expires. When not, giving it back only closes the lease.
    pub revocable: bool,
    /// The role.
    pub role: String,
    /// The provider.
    pub provider: String,
    /// The provider's kind.
    pub kind: &'static str,
    /// The environment.
    pub environment: String,
    /// Where the audit log has the issue, with the proof of it.
    pub record: Recorded,
}

/// A renewed lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prolonged {
    /// The lease.
    pub lease: LeaseId,
    /// Its new end.
    pub expires: Timestamp,
    /// Beyond this it cannot be renewed.
    pub max_expires: Timestamp,
}

/// A lease that was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenBack {
    /// The lease.
    pub lease: LeaseId,
    /// `Revoked` or `Expired` when the target confirmed in time; `Revoking` when that will be tried until it does.
    pub state: State,
    /// Whether its target can end it at all before it expires.
    pub revocable: bool,
    /// When the credential stops working at the latest, if it still does.
    pub until: Option<Timestamp>,
}
