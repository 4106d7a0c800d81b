//! From a token to an identity: what is accepted, and every attack that is not.

use std::sync::Arc;

use claviger_audit::clock::SystemClock;
use claviger_broker::identity::issuer::IssuerConfig;
use claviger_broker::identity::verifier::Verifier;
use claviger_broker::testing::{AUDIENCE, TestIssuer, claims};
use serde_json::json;

mod accepted;

/// A verifier of one issuer with the system's clock.
fn verifier(config: &IssuerConfig) -> Verifier {
    Verifier::new([("test", config)], AUDIENCE, Arc::new(SystemClock)).expect("the configuration is right")
}
