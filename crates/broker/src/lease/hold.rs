//! Holding back: while an operator clears something up, nothing new is issued for it.
//!
//! "Revoke all of this run, repository, role or provider, then issue again" is a hold, a revocation of the same leases,
//! and the release of the hold once all are closed. Revoking alone would race with a job that asks again.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::{Lease, LeaseId, LeaseIdError};
use crate::store::Filter;

/// A hold's id: random, written like a lease's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId([u8; 16]);

impl HoldId {
    /// A new id.
    pub fn new() -> HoldId {
        HoldId(crate::secret::random())
    }

    /// The id with these bytes, as a store keeps it.
    pub fn from_bytes(bytes: [u8; 16]) -> HoldId {
        HoldId(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Default for HoldId {
    fn default() -> HoldId {
        HoldId::new()
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LeaseId::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HoldId({self})")
    }
}

impl FromStr for HoldId {
    type Err = LeaseIdError;

    fn from_str(text: &str) -> Result<HoldId, LeaseIdError> {
        Ok(HoldId(*text.parse::<LeaseId>()?.as_bytes()))
    }
}

/// What a hold covers. Members that are absent do not restrict; all that are present must hold. With none, it covers
/// everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The issuer of the token, by its name in the configuration.
    pub issuer: Option<String>,
    /// The run's id.
    pub run: Option<String>,
    /// The repository or project.
    pub repository: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The environment.
    pub environment: Option<String>,
}

impl Scope {
    /// Whether this lease would be held back.
    pub fn covers(&self, lease: &Lease) -> bool {
        let is = |wanted: &Option<String>, seen: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == seen)
        };
        is(&self.issuer, lease.who.issuer.as_deref())
            && is(&self.run, lease.who.run_id.as_deref())
            && is(&self.repository, lease.who.repository.as_deref())
            && is(&self.role, Some(&lease.role))
            && is(&self.provider, Some(&lease.provider))
            && is(&self.environment, Some(&lease.environment))
    }

    /// The leases it covers.
    pub fn filter(&self) -> Filter {
        let scope = self.clone();
        Filter {
            issuer: scope.issuer,
            run: scope.run,
            repository: scope.repository,
            role: scope.role,
            provider: scope.provider,
            environment: scope.environment,
            ..Filter::default()
        }
    }
}

/// An operator's word that nothing is to be issued for this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// What it covers.
    pub scope: Scope,
    /// Why, for those who are refused.
    pub reason: String,
    /// Since when.
    pub created: Timestamp,
    /// Until when, if not until it is released. Compared with the time when a lease begins.
    pub until: Option<Timestamp>,
}
