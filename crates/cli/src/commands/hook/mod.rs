//! `claviger hook`: git's hooks, written, removed, and what they do.

mod install;
mod push;

use anyhow::{Context as _, bail};
use clap::Parser as _;

use crate::Outcome;
use crate::args::{Args, Verb};
use crate::args_hook::{Hook, HookKind, HookVerb, Run};

pub(crate) fn run(args: &Hook) -> anyhow::Result<Outcome> {
    match &args.verb {
        HookVerb::Install(install) => install::install(install),
        HookVerb::Uninstall(uninstall) => install::uninstall(uninstall),
        HookVerb::Run(hook) => called(hook),
    }
}

/// What a hook does when git calls it.
fn called(hook: &Run) -> anyhow::Result<Outcome> {
    match hook.kind {
        HookKind::PreCommit => scan(&["--staged"]),
        HookKind::PreReceive => scan(&["--pre-receive", "."]),
        HookKind::CommitMsg => {
            let path = hook.arguments.first().context("git gives the file with the message")?;
            scan(&["--no-history", path])
        }
        HookKind::PrePush => push::scan_push(hook.arguments.first().map_or("", String::as_str)),
    }
}

/// `claviger scan` with these arguments.
fn scan(arguments: &[&str]) -> anyhow::Result<Outcome> {
    let typed = [&["claviger", "scan"], arguments].concat();
    match Args::try_parse_from(typed)?.verb {
        Verb::Scan(scan) => super::scan::run(&scan),
        _ => bail!("these are no arguments of a scan"),
    }
}

/// The worse of two.
fn worse(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Incomplete, _) | (_, Outcome::Incomplete) => Outcome::Incomplete,
        (Outcome::Clean, other) => other,
        (one, _) => one,
    }
}
