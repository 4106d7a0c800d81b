//! Flags as typed. What they mean is resolved in [`crate::commands`].

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Finds secrets in files, staged changes and git histories.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:\n  claviger scan                       this folder or repository, with its history\n  \
                  claviger explain app.py:12          why something was found there, or not\n  \
                  claviger help scan                  all flags, with examples\n\n\
                  Exit status: 0 nothing found, 1 findings, 2 the command could not run or the scan is\n\
                  incomplete."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Scan files, repositories with their history, or standard input
    Scan(Box<Scan>),
    /// Scan many repositories, and later only what is new in them
    Sweep(Box<crate::args_sweep::Sweep>),
    /// List, show, test and check detection rules
    Rules(Rules),
    /// Check a configuration file, or print its schema
    Config(Config),
    /// Say why something was found, or why not
    Explain(Box<Explain>),
    /// Install git hooks that scan
    Hook(crate::args_hook::Hook),
    /// Keep a log that nobody can edit, and answer questions out of it
    Audit(crate::args_audit::Audit),
    /// Check, explain and test who may take which credential
    Policy(Box<crate::args_broker::Policy>),
    /// List and check what issues credentials
    Provider(crate::args_broker::Provider),
    /// Run a program with a credential that is gone when it ends
    Exec(Box<crate::args_client::Exec>),
    /// Exchange the CI job's identity for a credential, for the steps that follow
    Exchange(Box<crate::args_client::Exchange>),
    /// Run the broker: exchange identities of CI jobs for credentials that expire
    Serve(Box<crate::args_serve::Serve>),
    /// Look at everybody's leases, revoke them, hold back: for operators of a broker
    Lease(Box<crate::args_operator::Lease>),
    /// Prolong a lease
    Renew(crate::args_client::Renew),
    /// Give a lease back
    Revoke(crate::args_client::Revoke),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  claviger completions bash > /etc/bash_completion.d/claviger")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  claviger man | man -l -")]
    Man,
    /// Print the version
    #[command(after_help = "Example:\n  claviger version --json | jq -r .rules_digest")]
    Version {
        /// As a JSON document, with the digest of the built-in rules
        #[arg(long)]
        json: bool,
    },
}

const SCAN_EXAMPLES: &str = "\
Examples:
  claviger scan                            this repository, with its history
  claviger scan --no-history src           only the files under src
  claviger scan --staged                   what is about to be committed
  claviger scan --range origin/main..HEAD  what a merge request adds
  git diff | claviger scan -               standard input
  claviger scan -f sarif -o r.sarif -f text
                                           two reports from one scan
  claviger scan --write-baseline known.json
  claviger scan --baseline known.json      from now on, only what is new

Exit status: 0 nothing found, 1 findings, 2 the scan could not run or is
incomplete.";

#[derive(Debug, ClapArgs)]
#[command(after_help = SCAN_EXAMPLES)]
pub(crate) struct Scan {
    /// Directories, files, git repositories (work tree or bare), or `-` for standard input
    ///
    /// Default: the repository around the current folder with its whole history; outside of any, the folder. A folder
    /// or file inside a work tree is scanned without history; its paths count from the top of the work tree, whose
    /// claviger.yaml and .clavigerignore hold for it.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) rules: RuleChoice,
    #[command(flatten)]
    pub(crate) triage: Triage,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What is read.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "What is scanned")]
pub(crate) struct What {
    /// Files only, not the git history
    #[arg(long, conflicts_with_all = ["history_only", "since", "branch", "unreachable"])]
    pub(crate) no_history: bool,
    /// The git history only, not the files of the work tree
    #[arg(long)]
    pub(crate) history_only: bool,
    /// What is staged and differs from HEAD
    #[arg(long, conflicts_with_all = ["no_history", "history_only", "range", "since", "branch", "pre_receive"])]
    pub(crate) staged: bool,
    /// What the commits of a range add: A..B, or A...B from their merge base
    #[arg(long, value_name = "A..B", conflicts_with_all = ["since", "branch", "pre_receive"])]
    pub(crate) range: Option<String>,
    /// Only commits after a date (2024-05-31, RFC 3339) or not reachable from a commit, branch or tag
    #[arg(long, value_name = "DATE|REF")]
    pub(crate) since: Option<String>,
    /// Only the history of this branch or tag; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Vec<String>,
    /// History: at most N commits from each tip. Files: at most N folders deep
    ///
    /// Tips are all that names commits: branches, tags, the stash, and every entry of the reflogs; with --branch, that
    /// branch alone.
    ///
    /// Both at once, each for what it is about; --no-history or --history-only picks one. 1 is the tip itself, and the
    /// files in the target folder and in the folders right in it. --coverage lists what lies beyond.
    #[arg(long, value_name = "N")]
    pub(crate) max_depth: Option<u32>,
    /// Read `old new ref` lines from standard input and scan what the push adds (server-side hook)
    #[arg(long, conflicts_with_all = ["since", "branch", "no_history", "history_only"])]
    pub(crate) pre_receive: bool,
    /// Objects too that no branch, tag or reflog reaches
    #[arg(long)]
    pub(crate) unreachable: bool,
    /// Read every object of the history by itself through libgit2: slow, with the same report
    #[arg(long, hide = true)]
    pub(crate) plain_history: bool,
    /// Submodules too, each as a repository of its own
    #[arg(long)]
    pub(crate) submodules: bool,
    /// Only the files listed in FILE (`-`: standard input), one a line
    #[arg(long, value_name = "FILE", conflicts_with_all =
        ["staged", "range", "pre_receive", "history_only", "since", "branch", "unreachable", "submodules"])]
    pub(crate) files_from: Option<PathBuf>,
    /// Files too that git ignores
    #[arg(long)]
    pub(crate) no_gitignore: bool,
    /// Only paths that match a glob (`src`, `*.env`, `/docs/**/*.md`); may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Not the paths that match a glob; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Leave out files and objects larger than this (`500k`, `10M`, `1G`)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_file_size: Option<u64>,
    /// Threads; default: one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// Which rules run.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RuleChoice {
    /// More rules from a file or folder; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) rules: Vec<PathBuf>,
    /// Leave out the built-in rules
    #[arg(long)]
    pub(crate) no_builtin_rules: bool,
    /// Only these rules (ids, `*` allowed), by comma
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Not these rules (ids, `*` allowed), by comma
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
}

/// Configuration and what was dealt with before.
#[derive(Debug, Default, ClapArgs)]
#[command(next_help_heading = "Configuration and triage")]
pub(crate) struct Triage {
    /// Configuration file; default: `claviger.yaml` at the top of the target
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Take configuration, rules, ignore file and baseline from this commit or folder, not from what is scanned
    #[arg(long, value_name = "REF|DIR")]
    pub(crate) trust: Option<String>,
    /// Show only what is not in this baseline
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write everything found into a baseline, and exit with 0; no report is written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "output"])]
    pub(crate) write_baseline: Option<PathBuf>,
    /// Ignore file; default: `.clavigerignore` at the top of the target
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore_file: Option<PathBuf>,
    /// Show findings allowed by inline markers, ignore file or baseline as findings
    #[arg(long)]
    pub(crate) no_ignore: bool,
    /// Least confidence to show [default: medium]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) min_confidence: Option<crate::config::Level>,
}

/// How the result is written.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Report format; repeat with --output for several reports from one scan
    #[arg(long, short, value_name = "FORMAT", value_parser = format_names())]
    pub(crate) format: Vec<String>,
    /// File for the report (`-`: standard output); goes with the --format of the same place
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Vec<PathBuf>,
    /// Print secrets in full. They end where the report ends: in logs, too
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// Exit with 0 although there are findings; an incomplete scan still exits with 2
    #[arg(long)]
    pub(crate) exit_zero: bool,
    /// List everything that was not read
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Print counts, bytes and times of the scan to standard error
    #[arg(long)]
    pub(crate) stats: bool,
    /// No colours and no hyperlinks; the variable NO_COLOR says the same
    #[arg(long)]
    pub(crate) no_color: bool,
    /// No progress, no notices; findings only
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show allowed findings, all places and reasons for the confidence too
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  claviger rules list\n  claviger rules show github-pat-classic\n  \
                        claviger rules test --no-builtin-rules --rules mine.yaml")]
pub(crate) struct Rules {
    #[command(subcommand)]
    pub(crate) verb: RulesVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesVerb {
    /// List rules
    #[command(after_help = "Examples:\n  claviger rules list\n  claviger rules list --only 'aws-*' --json")]
    List {
        /// As a JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        rules: RuleChoice,
    },
    /// Show a rule: what it finds, how, and what to do about a finding
    #[command(after_help = "Example:\n  claviger rules show github-pat-classic")]
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        rules: RuleChoice,
    },
    /// Run the examples of rules
    #[command(
        after_help = "Examples:\n  claviger rules test\n  claviger rules test --no-builtin-rules --rules mine.yaml\n\n\
                      Exit status: 0 all examples hold, 1 some do not, 2 rules cannot be read."
    )]
    Test {
        #[command(flatten)]
        rules: RuleChoice,
    },
    /// Look for duplicate, shadowed, slow and unbounded rules
    #[command(after_help = "Example:\n  claviger rules check --no-builtin-rules --rules mine.yaml\n\n\
                            Exit status: 0 no remarks, 1 remarks, 2 rules cannot be read.")]
    Check {
        #[command(flatten)]
        rules: RuleChoice,
    },
    /// Print the JSON Schema of rule files
    #[command(after_help = "Example:\n  claviger rules schema > rules.schema.json")]
    Schema,
    /// Fill an example template, as `rules test` does
    #[command(hide = true)]
    Fill {
        /// The template
        template: String,
    },
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  claviger config check\n  claviger config schema > claviger.schema.json")]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Read a configuration file and everything it names, and say what is wrong
    #[command(after_help = "Example:\n  claviger config check claviger.yaml")]
    Check {
        /// The file
        #[arg(default_value = "claviger.yaml")]
        file: PathBuf,
    },
    /// Print the JSON Schema of the configuration file
    #[command(after_help = "Example:\n  claviger config schema > claviger.schema.json")]
    Schema,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  claviger explain src/settings.py:12  what every rule made of line 12, and what
                                       ignore file and baseline say of it
  claviger explain src/settings.py     of the whole file
  claviger explain github-pat-classic  what a rule finds, and how
  claviger explain s1:0123456789abcdef01234567
                                       a finding of a report, also one of the
                                       history, by its fingerprint

Exit status: 0 nothing found there, 1 found, 2 could not run.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct Explain {
    /// PATH:LINE, PATH, a rule's id, or a finding's fingerprint
    pub(crate) subject: String,
    /// Where to look for a fingerprint; default: the current repository or folder
    pub(crate) target: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) rules: RuleChoice,
    #[command(flatten)]
    pub(crate) triage: Given,
}

/// What decides over findings, named by flags.
#[derive(Debug, Default, ClapArgs)]
#[command(next_help_heading = "Configuration and triage")]
pub(crate) struct Given {
    /// Configuration file; default: `claviger.yaml` at the top of the target
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Baseline; default: the one that the configuration names
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Ignore file; default: `.clavigerignore` at the top of the target
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore_file: Option<PathBuf>,
}

impl From<&Given> for Triage {
    fn from(given: &Given) -> Self {
        Triage {
            config: given.config.clone(),
            baseline: given.baseline.clone(),
            ignore_file: given.ignore_file.clone(),
            ..Triage::default()
        }
    }
}

fn format_names() -> clap::builder::PossibleValuesParser {
    let values = claviger_scanner::report::FORMATS
        .iter()
        .map(|format| clap::builder::PossibleValue::new(format.name).help(format.help));
    clap::builder::PossibleValuesParser::new(values)
}

/// A size in bytes, with an optional binary suffix.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.trim_end_matches("ib").trim_end_matches('b');
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match &lower[digits.len()..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err("write a number of bytes, or one with k, M or G".into()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "write a number of bytes, or one with k, M or G".to_owned())?;
    number.checked_mul(factor).filter(|n| *n > 0).ok_or_else(|| "out of range".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(size("10M"), Ok(10 << 20));
        assert_eq!(size("5 "), Ok(5));
        assert_eq!(size("1KiB"), Ok(1024));
        assert!(size("x").is_err() && size("0").is_err() && size("99999999999G").is_err());
    }
}
