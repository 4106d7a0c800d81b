//! One file per verb.

pub(crate) mod about;
pub(crate) mod audit;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod config;
mod ends;
pub(crate) mod explain;
pub(crate) mod hook;
mod job;
mod net;
pub(crate) mod operator;
pub(crate) mod rules;
pub(crate) mod scan;
pub(crate) mod serve;
pub(crate) mod sweep;
mod target;
mod trusted;
mod writer;

use std::io::{self, Write};

use anyhow::Context as _;

/// Prints to standard output. A closed pipe is an error that [`crate::main`] knows.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}
