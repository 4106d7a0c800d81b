//! `claviger renew` and `claviger revoke`.

use super::{connect, lease_file, runtime};
use crate::Outcome;
use crate::args_client::{Renew, Revoke};
use crate::commands::print;

/// Renews a lease.
pub(crate) fn renew(args: &Renew) -> anyhow::Result<Outcome> {
    let kept = lease_file::read(args.held.lease.as_deref())?;
    let broker = connect(&args.held.reach, kept.broker.as_deref())?;
    let answer = runtime()?.block_on(broker.renew(&kept.handle, args.ttl))?;
    print(&format!("{} ends at {}\n", answer.id, answer.expires_at))?;
    Ok(Outcome::Clean)
}

/// Gives a lease back. Its file goes once the broker has it.
pub(crate) fn revoke(args: &Revoke) -> anyhow::Result<Outcome> {
    let kept = lease_file::read(args.held.lease.as_deref())?;
    let broker = connect(&args.held.reach, kept.broker.as_deref())?;
    let answer = runtime()?.block_on(broker.revoke(&kept.handle))?;
    if let Some(path) = &args.held.lease {
        drop(std::fs::remove_file(path));
    }
    let note = match (answer.state.as_str(), &answer.until) {
        ("revoking", _) => ": its target has not confirmed yet; the broker tries until it does".to_owned(),
        (_, Some(until)) => format!(": its target cannot end it early; it works until {until}"),
        _ => String::new(),
    };
    print(&format!("{} {}{note}\n", answer.id, answer.state))?;
    Ok(Outcome::Clean)
}
