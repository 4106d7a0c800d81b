//! The `claviger` command: parses, runs, maps the outcome to an exit status.
//!
//! Everything that can be reused lives in the libraries; this crate reads flags, files and the environment, prints, and
//! adds the context to errors.

mod args;
mod args_audit;
mod args_broker;
mod args_client;
mod args_hook;
mod args_operator;
mod args_serve;
mod args_sweep;
mod commands;
mod config;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Verb};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing found, nothing wrong.
    Clean,
    /// Findings, or failed checks.
    Findings,
    /// Something was not read.
    Incomplete,
    /// A program was run, and this is its exit status.
    Program(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Clean => ExitCode::SUCCESS,
            Outcome::Findings => ExitCode::from(1),
            Outcome::Incomplete => ExitCode::from(2),
            Outcome::Program(status) => ExitCode::from(status),
        }
    }
}

fn main() -> ExitCode {
    // clap exits with 2 on a usage error, as this command does for everything that could not run.
    match run(Args::parse()) {
        Ok(outcome) => outcome.into(),
        Err(error) if is_closed_pipe(&error) => ExitCode::from(2),
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    match args.verb {
        Verb::Scan(scan) => commands::scan::run(&scan),
        Verb::Sweep(sweep) => commands::sweep::run(&sweep),
        Verb::Rules(rules) => commands::rules::run(&rules),
        Verb::Config(config) => commands::config::run(&config),
        Verb::Explain(explain) => commands::explain::run(&explain),
        Verb::Hook(hook) => commands::hook::run(&hook),
        Verb::Audit(audit) => commands::audit::run(&audit),
        Verb::Policy(policy) => commands::broker::policy::run(&policy),
        Verb::Provider(provider) => commands::broker::provider::run(&provider),
        Verb::Exchange(exchange) => commands::client::exchange(&exchange),
        Verb::Exec(exec) => Ok(Outcome::Program(commands::client::exec(&exec))),
        Verb::Serve(serve) => commands::serve::run(&serve),
        Verb::Lease(lease) => commands::operator::lease::run(&lease),
        Verb::Renew(renew) => commands::client::renew(&renew),
        Verb::Revoke(revoke) => commands::client::revoke(&revoke),
        Verb::Completions { shell } => commands::about::completions(shell),
        Verb::Man => commands::about::man(),
        Verb::Version { json } => commands::about::version(json),
    }
}

/// Whether the reader of our output has gone: `claviger scan | head` is no error worth a message.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints an error and its causes.
fn complain(error: &anyhow::Error) {
    warn(&format!("{error:#}"));
}

/// Prints a message. It may hold names from outside: nothing in them acts on the terminal.
#[expect(clippy::print_stderr, reason = "the one place that reports errors")]
fn warn(text: &str) {
    let safe: Vec<String> =
        text.lines().map(|line| claviger_scanner::path::printable(line.as_bytes())).collect();
    eprintln!("claviger: {}", safe.join("\n"));
}
