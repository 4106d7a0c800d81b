//! What a decision allows.

use serde_json::Value;

use crate::ttl::Ttl;

/// A grant: one role's permission, already narrowed by ceilings and environment. Made by the policy alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub(crate) role: String,
    pub(crate) provider: String,
    pub(crate) environment: String,
    pub(crate) parameters: Value,
    pub(crate) ttl: Ttl,
    pub(crate) max_ttl: Ttl,
    pub(crate) limits: Limits,
    pub(crate) policy: String,
}

/// How many leases a role may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Live leases of the role at once; no limit if absent.
    pub role: Option<u32>,
    /// Live leases of one run under the role at once.
    pub run: Option<u32>,
    /// A run may take the role once, whatever became of the lease.
    pub once_per_run: bool,
}

impl Grant {
    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The provider that issues.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The environment of both.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// What the role asks of its provider; the provider validated it when the configuration was loaded.
    pub fn parameters(&self) -> &Value {
        &self.parameters
    }

    /// How long the credential lives at first.
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// How long it may live in all, renewals included.
    pub fn max_ttl(&self) -> Ttl {
        self.max_ttl
    }

    /// How many of them there may be.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// SHA-256 of the policy that decided, in hex.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}
