//! Tests of the broker against real servers, which each test starts for itself.

mod ground;
mod identity;
mod postgres;
mod servers;
mod ssh;
mod store;
mod x509;
