//! Tests of the broker against real servers, which each test starts for itself.

mod identity;
mod ground;
mod servers;
mod ssh;
mod store;
