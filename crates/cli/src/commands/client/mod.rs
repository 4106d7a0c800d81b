//! What a job does: get a credential, keep it, give it back.

mod exchange;
mod exec;
mod harden;
mod held;
mod job;
mod lease_file;
mod steps;

use std::time::Duration;

use anyhow::{Context as _, bail};
use claviger_broker::client::{Broker, Connect};

use crate::args_client::Reach;

pub(crate) use exchange::run as exchange;
pub(crate) use exec::run as exec;
pub(crate) use harden::harden;
pub(crate) use held::{renew, revoke};
pub(crate) use steps::write_private;

/// One thread is enough for a handful of calls, and starts soonest.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")
}

/// The broker that the flags, or the lease's file, name.
pub(super) fn connect(reach: &Reach, known: Option<&str>) -> anyhow::Result<Broker> {
    let url = address(reach, known)?;
    let ca =
        reach.ca.as_ref().map(|path| std::fs::read(path).with_context(|| format!("--ca {}", path.display())));
    let timeout: Duration = reach.timeout.duration();
    Ok(Broker::new(&Connect { url, ca: ca.transpose()?, timeout })?)
}

fn address(reach: &Reach, known: Option<&str>) -> anyhow::Result<String> {
    match reach.broker.as_deref().or(known) {
        Some(url) => Ok(url.to_owned()),
        None => bail!("which broker? Set CLAVIGER_BROKER or use --broker https://HOST"),
    }
}
