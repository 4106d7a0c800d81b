//! Flags of `claviger sweep`.

use std::path::PathBuf;

use clap::Args;

use crate::args::{Given, RuleChoice, size};

const EXAMPLES: &str = "\
Examples:
  claviger sweep /srv/git                  every clone and mirror below a folder
  claviger sweep repositories.txt --mirrors mirrors
                                           a list: URLs are mirrored, paths are
                                           read where they are
  claviger sweep --github-org acme --mirrors mirrors -o sweep.html -o sweep.json
                                           an organisation (token: GITHUB_TOKEN)
  claviger sweep --gitlab-group acme/backend --no-archived --mirrors mirrors
                                           a group and its subgroups (GITLAB_TOKEN)
  claviger sweep repositories.txt --mirrors mirrors --shard auto
                                           this machine's part, in a parallel job

What was found is kept in the file --state. The next sweep reads only what is
new; one that was killed goes on where it was.

Exit status: 0 nothing found, 1 findings, 2 a repository was not scanned, or
not wholly.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sweep {
    /// Lists of repositories (one URL or path a line, `#` begins a comment, `-`: standard input), folders of clones or
    /// mirrors
    #[arg(value_name = "LIST|DIR")]
    pub(crate) sources: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) hosts: Hosts,
    #[command(flatten)]
    pub(crate) mirrors: Mirrors,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) rules: RuleChoice,
    #[command(flatten)]
    pub(crate) triage: Given,
    #[command(flatten)]
    pub(crate) output: SweepOutput,
}

/// Repositories that a host lists.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct Hosts {
    /// All repositories of a GitHub organisation or user; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) github_org: Vec<String>,
    /// All projects of a GitLab group and its subgroups; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) gitlab_group: Vec<String>,
    /// GitHub's API; of an Enterprise server: https://HOST/api/v3
    #[arg(long, value_name = "URL", default_value = "https://api.github.com")]
    pub(crate) github_url: String,
    /// GitLab's API
    #[arg(long, value_name = "URL", default_value = "https://gitlab.com/api/v4")]
    pub(crate) gitlab_url: String,
    /// File with the token for GitHub; default: the variable GITHUB_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) github_token_file: Option<PathBuf>,
    /// File with the token for GitLab; default: the variable GITLAB_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) gitlab_token_file: Option<PathBuf>,
    /// Leave out archived repositories
    #[arg(long)]
    pub(crate) no_archived: bool,
    /// Leave out forks
    #[arg(long)]
    pub(crate) no_forks: bool,
}

/// Where and how URLs are cloned.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mirrors")]
pub(crate) struct Mirrors {
    /// Folder of the bare mirrors of what has a URL; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) mirrors: Option<PathBuf>,
    /// Clones and fetches at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) fetches: u16,
    /// Seconds that the clone or fetch of one repository may take
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) time_limit: u64,
    /// Largest mirror (`500M`, `10G`)
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "20G")]
    pub(crate) size_limit: u64,
    /// Space on the disk that mirrors must leave free
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1G")]
    pub(crate) keep_free: u64,
}

/// How the sweep runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sweep")]
pub(crate) struct Run {
    /// What is known of each repository; made if it is not there
    #[arg(long, value_name = "FILE", default_value = "claviger-sweep.db")]
    pub(crate) state: PathBuf,
    /// Only part I of N (`2/5`), or `auto`: as the variables of the parallel job say
    ///
    /// `auto` knows Kubernetes' indexed jobs (with the count in CLAVIGER_SHARD_COUNT), GitLab's `parallel`, Buildkite,
    /// CircleCI, AWS Batch and Slurm arrays. Which part a repository is in depends on its name alone.
    #[arg(long, value_name = "I/N|auto")]
    pub(crate) shard: Option<String>,
    /// Threads; default: one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Leave out objects larger than this
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_file_size: Option<u64>,
    /// Least confidence to show [default: medium]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) min_confidence: Option<crate::config::Level>,
}

/// How the result is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct SweepOutput {
    /// Report format; repeat with --output for several reports
    #[arg(long, short, value_name = "FORMAT", value_parser = crate::commands::sweep::format_names())]
    pub(crate) format: Vec<String>,
    /// File for the report (`-`: standard output); goes with the --format of the same place
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Vec<PathBuf>,
    /// A SARIF file for each repository, in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) sarif_dir: Option<PathBuf>,
    /// Exit with 0 although there are findings; an incomplete sweep still exits with 2
    #[arg(long)]
    pub(crate) exit_zero: bool,
    /// No progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
