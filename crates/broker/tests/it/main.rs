//! Tests of the broker against real servers, which each test starts for itself.

mod aws;
mod ground;
mod identity;
mod publish;
mod servers;
mod ssh;
mod store;
mod token_exchange;
mod vault;
