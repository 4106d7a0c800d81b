//! Flags of the verbs for whoever operates a running broker: `claviger lease ...`, as typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use claviger_broker::ttl::Ttl;

use crate::args_client::Reach;

/// The broker, and who asks.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Desk {
    /// File with the operator's token, which only you can read; otherwise it is read from CLAVIGER_OPERATOR_TOKEN
    #[arg(long, value_name = "FILE", env = "CLAVIGER_OPERATOR_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people
    Table,
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
}

const LEASE_EXAMPLES: &str = "\
Examples:
  claviger lease list --state active --repository acme/shop
  claviger lease list --since 2h --format jsonl | jq -r .id
  claviger lease show 3kqv6h2bq3n4m5t7aaaaaaaaaa
  claviger lease revoke --run 8812345 --issuer github
  claviger lease hold --repository acme/shop --reason 'INC-7: leaked' --for 1h
  claviger lease release ID

The operator's token is read from the variable CLAVIGER_OPERATOR_TOKEN or from --token-file; its SHA-256 is in the
broker's configuration, under `server.operators`.";

/// `claviger lease`.
#[derive(Debug, ClapArgs)]
#[command(after_help = LEASE_EXAMPLES)]
pub(crate) struct Lease {
    #[command(subcommand)]
    pub(crate) verb: LeaseVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseVerb {
    /// List leases, newest first
    List(LeaseList),
    /// Show a lease with its holder and what became of it
    Show(LeaseShow),
    /// Revoke leases: asks first, says how many
    Revoke(LeaseRevoke),
    /// Issue nothing new for a run, repository, role, ... and revoke what there is
    Hold(LeaseHold),
    /// List what is held back
    Holds(LeaseHolds),
    /// Issue again what was held back
    Release(LeaseRelease),
}

/// Whose leases: all that is said must hold.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Whose {
    /// The run's id
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
    /// The repository or project
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    /// The role
    #[arg(long, value_name = "NAME")]
    pub(crate) role: Option<String>,
    /// The provider
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The issuer's name in the broker's configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Option<String>,
    /// The environment
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
}

/// Which of them.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Which {
    #[command(flatten)]
    pub(crate) whose: Whose,
    /// pending, active, revoking, revoked or expired
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Created since then: a time (RFC 3339), or so long ago: `2h`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LeaseList {
    /// These leases only
    #[arg(value_name = "ID", conflicts_with_all = ["run", "repository", "role", "provider", "issuer", "environment", "state", "since"])]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) which: Which,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
    /// How the list is written
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) desk: Desk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LeaseShow {
    /// The lease
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// As the broker's JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) desk: Desk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LeaseRevoke {
    /// These leases
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) desk: Desk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LeaseHold {
    #[command(flatten)]
    pub(crate) whose: Whose,
    /// Why; jobs that are refused read it, and it is in the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// For how long; until it is released by default
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) how_long: Option<Ttl>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) desk: Desk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LeaseHolds {
    /// How the list is written
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) desk: Desk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LeaseRelease {
    /// The hold, as `claviger lease holds` names it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) desk: Desk,
}
