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
    let text = match &answer.until {
        None => format!("{} {}\n", answer.id, answer.state),
        Some(until) if answer.revocable => format!(
            "{} {}: its target has not confirmed yet; the broker tries until it does, and it ends at {until} at the \
             latest\n",
            answer.id, answer.state
        ),
        Some(until) => {
            format!("{} given back: its target cannot end it early; it works until {until}\n", answer.id)
        }
    };
    print(&text)?;
    Ok(Outcome::Clean)
}
