//! Flags of `claviger hook`, as typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  claviger hook install                          # pre-commit: staged files
  claviger hook install pre-commit commit-msg pre-push
  claviger hook install --chain                  # behind a hook that is there already
  claviger hook install pre-receive -C /srv/git/shop.git
  claviger hook uninstall

A hook of somebody else is never overwritten: what to add to it is printed instead. Where husky, lefthook or pre-commit
manage the hooks, the line for their configuration is printed.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Hook {
    #[command(subcommand)]
    pub(crate) verb: HookVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HookVerb {
    /// Write hooks into a repository
    Install(Install),
    /// Remove the hooks that this command wrote; others stay
    Uninstall(Uninstall),
    /// What an installed hook calls
    #[command(hide = true)]
    Run(Run),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Install {
    /// Which hooks [default: pre-commit]
    #[arg(value_enum)]
    pub(crate) kinds: Vec<HookKind>,
    /// The repository
    #[arg(short = 'C', long, value_name = "PATH", default_value = ".")]
    pub(crate) repository: PathBuf,
    /// Keep a hook that is there, and call it first
    #[arg(long)]
    pub(crate) chain: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Uninstall {
    /// Which hooks [default: all]
    #[arg(value_enum)]
    pub(crate) kinds: Vec<HookKind>,
    /// The repository
    #[arg(short = 'C', long, value_name = "PATH", default_value = ".")]
    pub(crate) repository: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// Which hook
    #[arg(value_enum)]
    pub(crate) kind: HookKind,
    /// What git gives the hook
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// The hooks of git that scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HookKind {
    /// Staged files, before a commit
    PreCommit,
    /// The message of a commit
    CommitMsg,
    /// What a push would send
    PrePush,
    /// What a server is about to take
    PreReceive,
}

impl HookKind {
    /// As git calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            HookKind::PreCommit => "pre-commit",
            HookKind::CommitMsg => "commit-msg",
            HookKind::PrePush => "pre-push",
            HookKind::PreReceive => "pre-receive",
        }
    }
}
