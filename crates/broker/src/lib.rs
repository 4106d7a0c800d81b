//! Turns a CI job's identity into a credential that expires.
//!
//! ```text
//! a job's OIDC token -> verified identity -> policy decision -> provider issues -> lease -> job -> revoked
//! ```
//!
//! [`identity`] verifies tokens of the issuers that the operator configured; [`platform`] knows what each CI's claims
//! mean. [`policy`] decides, deny by default, which role an identity may take. A [`provider`] issues, renews and revokes
//! one kind of credential. A [`lease`] is written to the [`store`] before its target is touched, and is revoked with
//! retries until the target confirms; [`Broker`](broker::Broker) ties these together and records every decision in the
//! audit log before an answer leaves. [`secrets`] holds what cannot be dynamic. [`server`] speaks HTTP, [`client`] is
//! its counterpart in a job, and can also go straight to a cloud's own token endpoint.
//!
//! Nothing here prints, reads flags or environment, or ends the process; the clock is an argument; a secret value lives
//! in [`secret::Secret`] and has one way out.

#![forbid(unsafe_code)]

pub mod broker;
pub mod claims;
pub mod client;
pub mod config;
pub mod fetch;
pub mod identity;
pub mod lease;
pub mod platform;
pub mod policy;
pub mod provider;
pub mod run;
pub mod seal;
pub mod secret;
pub mod secrets;
pub mod server;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod ttl;
