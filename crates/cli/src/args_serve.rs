//! Flags of `claviger serve`, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  claviger serve --dev                          # everything in memory, with an issuer of its own: try it out
  claviger serve --config /etc/claviger/claviger-broker.yaml
  kill -HUP $(pidof claviger)                   # read issuers, policy and providers again

The configuration is one YAML file; `claviger policy schema` describes it and `claviger policy check` checks it. Every
decision is in the audit log before its answer leaves; without an audit log nothing is served.

Exit status: 0 stopped as asked, 2 could not start.";

/// `claviger serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "claviger-broker.yaml", env = "CLAVIGER_BROKER_CONFIG")]
    pub(crate) config: PathBuf,
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Keep everything in memory and mint tokens for whoever asks: to try things out, on the loopback address
    #[arg(long)]
    pub(crate) dev: bool,
    /// Check that the broker could start, and stop
    #[arg(long, conflicts_with = "dev")]
    pub(crate) check: bool,
    /// How the service's own log is written, to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What the service's own log holds: error, warn, info, debug, or a filter like `claviger_broker=debug`
    #[arg(long, value_name = "FILTER", default_value = "info", env = "CLAVIGER_LOG")]
    pub(crate) log: String,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
