//! Tests of the broker against real servers, which each test starts for itself.

mod servers;
mod store;
