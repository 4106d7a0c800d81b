//! The broker's counterpart in a job: gets the CI's token, exchanges it, hands the credential over, gives it back.
//!
//! Permanent errors are not retried; every try has a fresh token of the CI, where the CI gives fresh ones.

pub mod handover;
mod http;
pub mod keeper;
pub mod operator;
mod retry;
pub mod variables;

use std::collections::BTreeMap;

pub use http::{Broker, BrokerError, Connect};
pub use retry::{ExchangeError, Patience, exchange};

use crate::ttl::Ttl;

/// What is asked of the broker, without the token.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The role.
    pub role: String,
    /// How long it is to live; the role's own time if absent.
    pub ttl: Option<Ttl>,
    /// What the provider needs.
    pub input: BTreeMap<String, String>,
    /// The promise to be heard of.
    pub heartbeat: Option<Ttl>,
    /// The target's own audience, where the role wants a token for the target too.
    pub target_audience: Option<String>,
}
