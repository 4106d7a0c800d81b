//! Tests of the broker against real servers, which each test starts for itself.

mod aws;
mod ground;
mod identity;
mod servers;
mod ssh;
mod store;
mod vault;
