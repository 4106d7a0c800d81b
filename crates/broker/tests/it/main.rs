//! Tests of the broker against real servers, which each test starts for itself.

mod exec;
mod ground;
mod identity;
mod servers;
mod ssh;
mod store;
mod x509;
