//! Everything that drives the library from outside; one binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on may panic")]

mod checkpoint;
mod event;
mod export;
mod kill;
mod log;
mod month;
mod oracle;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
mod report;
mod support;
mod tree;
mod verify;
mod witness;
