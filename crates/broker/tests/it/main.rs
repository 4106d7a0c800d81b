//! Tests of the broker against real servers, which each test starts for itself.

mod ground;
mod identity;
mod lease;
mod servers;
mod ssh;
mod store;
