//! Tests of the broker against real servers, which each test starts for itself.

mod ground;
mod identity;
mod mysql;
mod postgres;
mod redis;
mod servers;
mod ssh;
mod store;
mod x509;
