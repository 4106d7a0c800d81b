//! Flags of the verbs that a job uses: `claviger exchange|exec|renew|revoke`, as typed.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use claviger_broker::client::variables::Choice;
use claviger_broker::ttl::Ttl;

/// Where the broker is.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Reach {
    /// The broker's address
    #[arg(long, value_name = "URL", env = "CLAVIGER_BROKER")]
    pub(crate) broker: Option<String>,
    /// PEM file of the authority that the broker's certificate is from, instead of the system's
    #[arg(long, value_name = "FILE", env = "CLAVIGER_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// How long one call may take
    #[arg(long, value_name = "TIME", default_value = "20s")]
    pub(crate) timeout: Ttl,
}

/// What is asked for.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Ask {
    /// How long it is to live; as long as the role says by default
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<Ttl>,
    /// What the provider needs from you, as NAME=VALUE or NAME=@FILE: `public_key=@id.pub`
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) input: Vec<String>,
    /// Variable for a field of the credential, as NAME=FIELD: `PGPASSWORD=password`; only these are handed over then
    #[arg(long = "var", value_name = "NAME=FIELD")]
    pub(crate) variables: Vec<Choice>,
    /// Ask the CI for a token of this audience [default: the broker's address]
    #[arg(long, value_name = "AUDIENCE", env = "CLAVIGER_AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// Ask the CI for a second token, of this audience, for the target itself
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) target_audience: Option<String>,
    /// Go on trying for so long when broker, target or CI are unwell
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) patience: Ttl,
}

const EXCHANGE_EXAMPLES: &str = "\
Examples:
  eval \"$(claviger exchange --role deploy-orders --format shell)\"
  claviger exchange --role deploy-orders --format github-env --lease $RUNNER_TEMP/lease
  claviger exchange --role ssh --input public_key=@id.pub --var CERT=certificate --format file --folder ~/.ssh/ci
  claviger revoke --lease $RUNNER_TEMP/lease

Prefer `claviger exec`: there the credential reaches one program and nothing else, and is given back at its end.
Set CLAVIGER_BROKER to the broker's address, or use --broker.

Exit status: 0 handed over, 2 not.";

/// `claviger exchange`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXCHANGE_EXAMPLES)]
pub(crate) struct Exchange {
    /// The role to ask for
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// How to hand over: shell, json, dotenv, file, github-env, github-output, buildkite, circleci, azure
    /// [default: the CI's own way, else shell]
    #[arg(long, value_name = "WAY")]
    pub(crate) format: Option<String>,
    /// Folder for ways that write files; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// File for ways that write one
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Write what renews the lease and gives it back to this file, mode 0600
    #[arg(long, value_name = "FILE")]
    pub(crate) lease: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: Ask,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

const EXEC_EXAMPLES: &str = "\
Examples:
  claviger exec --role deploy-orders -- psql -c 'select 1'
  claviger exec --role terraform --ttl 30m -- terraform apply -auto-approve
  claviger exec --role ssh --file KEY=private_key --file CERT=certificate -- ./deploy.sh

The credential is in the program's environment, or in files that only you can read and that are gone afterwards. It is
renewed while the program runs and given back at its end, however it ends. Signals are passed on.

Exit status: the program's own; 128 and the signal's number if a signal ended it; 125 if there was no credential, 126
or 127 if the program could not be started.";

/// `claviger exec`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXEC_EXAMPLES)]
pub(crate) struct Exec {
    /// The role to ask for; several may be given
    #[arg(long, value_name = "ROLE", required = true)]
    pub(crate) role: Vec<String>,
    /// Put a field of the credential into a file and the file's path into a variable, as NAME=FIELD
    #[arg(long, value_name = "NAME=FIELD")]
    pub(crate) file: Vec<Choice>,
    /// Let the program see the CI's own identity tokens too
    #[arg(long)]
    pub(crate) keep_identity: bool,
    /// After a signal, wait so long for the program before the credential is taken away and the program killed
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) grace: Ttl,
    #[command(flatten)]
    pub(crate) ask: Ask,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

const HELD_EXAMPLES: &str = "\
Examples:
  claviger exchange --role deploy --format github-env --lease $RUNNER_TEMP/lease
  claviger renew --lease $RUNNER_TEMP/lease --ttl 15m
  claviger revoke --lease $RUNNER_TEMP/lease

Without --lease the handle is read from the variable CLAVIGER_HANDLE.";

/// Which lease.
#[derive(Debug, ClapArgs)]
pub(crate) struct Held {
    /// The file that `claviger exchange --lease` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) lease: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `claviger renew`.
#[derive(Debug, ClapArgs)]
#[command(after_help = HELD_EXAMPLES)]
pub(crate) struct Renew {
    /// From now on; as long as at first by default
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<Ttl>,
    #[command(flatten)]
    pub(crate) held: Held,
}

/// `claviger revoke`.
#[derive(Debug, ClapArgs)]
#[command(after_help = HELD_EXAMPLES)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) held: Held,
}
