//! Tests of the broker against real servers, which each test starts for itself.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "tests panic, say what they skip, and take `json!` as it comes"
)]

mod aws;
mod exec;
mod ground;
mod identity;
mod lease;
mod mysql;
mod postgres;
mod publish;
mod redis;
mod servers;
mod ssh;
mod store;
mod token_exchange;
mod vault;
mod x509;
