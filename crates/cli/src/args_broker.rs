//! Flags of the verbs for a broker's operator: `claviger policy ...`, `claviger provider ...`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// The broker's configuration.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct BrokerConfig {
    /// The broker's configuration file
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "CLAVIGER_BROKER_CONFIG",
        default_value = "claviger-broker.yaml"
    )]
    pub(crate) config: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextOrJson {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  claviger policy check\n  claviger policy explain --token token.jwt --role deploy-prod\n  \
                        claviger policy test policy-tests.yaml"
)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Read the configuration and everything it names, and say what is wrong or unwise
    Check(PolicyCheck),
    /// Say which roles a token or claims may take, or why not
    Explain(PolicyExplain),
    /// Run tests of the policy
    Test(PolicyTest),
    /// Print the JSON Schema of the configuration or of test files
    Schema(PolicySchema),
}

const CHECK_EXAMPLES: &str = "\
Examples:
  claviger policy check
  claviger policy check -c prod/claviger-broker.yaml --format json
  claviger policy check --strict                    notes count, too

Secrets are read where they can be; a provider whose secrets are not here is checked as far as that goes. No target is
touched: `claviger provider check` does that.

A role accepts a remark by its id and a reason: `accept: {wildcard-reach: \"all repositories of the team\"}`.";

/// The remarks, read from the library's table.
fn check_help() -> String {
    let lints =
        claviger_broker::policy::lint::LINTS.iter().map(|lint| format!("  {:26} {}", lint.id, lint.about));
    format!(
        "{CHECK_EXAMPLES}\n\nRemarks:\n{}\n\nExit status: 0 good, 1 something is wrong or unwise, 2 the file could not be read.",
        lints.collect::<Vec<_>>().join("\n")
    )
}

#[derive(Debug, ClapArgs)]
#[command(after_help = check_help())]
pub(crate) struct PolicyCheck {
    #[command(flatten)]
    pub(crate) config: BrokerConfig,
    /// Notes count as something unwise, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// How the result is written
    #[arg(long, short, default_value = "text")]
    pub(crate) format: TextOrJson,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  claviger policy explain --token token.jwt
  claviger policy explain --claims push.json --role deploy-prod
  echo \"$TOKEN\" | claviger policy explain --token - --role deploy-prod --format json

A token is decoded and NOT verified: signature, keys and times are the broker's to check. Nothing of it is sent anywhere.
Without --role, all roles that are open to it or bound to its repository are explained.

Exit status: 0 the role (or some role) would be granted, 1 it would be refused, 2 the command could not run.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct PolicyExplain {
    #[command(flatten)]
    pub(crate) config: BrokerConfig,
    /// File with a token (`-`: standard input); never the token itself, which would stand in the process list
    #[arg(long, value_name = "FILE", required_unless_present = "claims", conflicts_with = "claims")]
    pub(crate) token: Option<PathBuf>,
    /// File with claims, JSON or YAML (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) claims: Option<PathBuf>,
    /// The issuer's name in the configuration [default: found by the claim `iss`]
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Option<String>,
    /// The role that is asked for
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// The caller's network address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<IpAddr>,
    /// How the result is written
    #[arg(long, short, default_value = "text")]
    pub(crate) format: TextOrJson,
}

const TEST_EXAMPLES: &str = "\
Examples:
  claviger policy test policy-tests.yaml
  claviger policy test tests/*.yaml --format json

A file of tests:

  claims:
    push:
      sub: repo:acme/shop:ref:refs/heads/main
      repository: acme/shop
      repository_id: \"123456\"
      event_name: push
      ref: refs/heads/main
  tests:
    - {name: main may deploy, role: deploy, claims: push, expect: allow}
    - name: other branches may not
      role: deploy
      claims: push
      with: {ref: refs/heads/x, sub: repo:acme/shop:ref:refs/heads/x}
      expect: refuse
      failed: [ref]

Exit status: 0 all hold, 1 some do not, 2 the command could not run.";

#[derive(Debug, ClapArgs)]
#[command(after_help = TEST_EXAMPLES)]
pub(crate) struct PolicyTest {
    #[command(flatten)]
    pub(crate) config: BrokerConfig,
    /// Files with tests
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How the result is written
    #[arg(long, short, default_value = "text")]
    pub(crate) format: TextOrJson,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  claviger policy schema > claviger-broker.schema.json\n  \
                        claviger policy schema --of tests > policy-tests.schema.json")]
pub(crate) struct PolicySchema {
    /// Of which file
    #[arg(long, default_value = "config")]
    pub(crate) of: SchemaOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The broker's configuration
    Config,
    /// Files with roles only
    Roles,
    /// Files of tests
    Tests,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  claviger provider list\n  claviger provider kinds postgres\n  claviger provider check shop-db"
)]
pub(crate) struct Provider {
    #[command(subcommand)]
    pub(crate) verb: ProviderVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProviderVerb {
    /// List the configured providers
    #[command(after_help = "Example:\n  claviger provider list --format json")]
    List {
        #[command(flatten)]
        config: BrokerConfig,
        /// How the list is written
        #[arg(long, short, default_value = "text")]
        format: TextOrJson,
    },
    /// List the kinds of providers, or show one with an example
    #[command(after_help = "Examples:\n  claviger provider kinds\n  claviger provider kinds ssh")]
    Kinds {
        /// The kind
        kind: Option<String>,
        /// How the list is written
        #[arg(long, short, default_value = "text")]
        format: TextOrJson,
    },
    /// Look whether the broker's account at the target has what it needs and no more
    #[command(
        after_help = "Examples:\n  claviger provider check shop-db\n  claviger provider check --all --timeout 30s\n\n\
                            Exit status: 0 good, 1 something is wrong, 2 the command could not run."
    )]
    Check {
        #[command(flatten)]
        config: BrokerConfig,
        /// Names of providers
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NAME")]
        names: Vec<String>,
        /// All configured providers
        #[arg(long)]
        all: bool,
        /// How long one target may take
        #[arg(long, value_name = "TIME", default_value = "20s")]
        timeout: claviger_broker::ttl::Ttl,
        /// How the result is written
        #[arg(long, short, default_value = "text")]
        format: TextOrJson,
    },
}
