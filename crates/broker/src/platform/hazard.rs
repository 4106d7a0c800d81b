//! Runs that carry a trusted identity while a stranger chose their code or their input.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a token of a known project may still be in a stranger's hands. A role refuses each of them, unless it names it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Hazard {
    /// The code comes from a fork.
    Fork,
    /// GitHub's `pull_request`: code that nobody has merged. No claim says whether it comes from a fork.
    PullRequest,
    /// GitHub's `pull_request_target`: the base repository's identity at work on a stranger's pull request.
    PullRequestTarget,
    /// GitHub's `workflow_run`: started by another run, which a stranger may have caused.
    WorkflowRun,
    /// An event that anybody with an account may cause: a comment, an issue, a star.
    PublicEvent,
    /// GitLab's merge-request pipelines: code that nobody has merged.
    MergeRequest,
    /// CircleCI's re-run with SSH: a person has a shell in the job.
    SshRerun,
}

impl Hazard {
    /// All of them, in the order of the documentation.
    pub const ALL: [Hazard; 7] = [
        Hazard::Fork,
        Hazard::PullRequest,
        Hazard::PullRequestTarget,
        Hazard::WorkflowRun,
        Hazard::PublicEvent,
        Hazard::MergeRequest,
        Hazard::SshRerun,
    ];

    /// The word for it in policies, answers and the audit log. Never changes.
    pub fn name(self) -> &'static str {
        match self {
            Hazard::Fork => "fork",
            Hazard::PullRequest => "pull_request",
            Hazard::PullRequestTarget => "pull_request_target",
            Hazard::WorkflowRun => "workflow_run",
            Hazard::PublicEvent => "public_event",
            Hazard::MergeRequest => "merge_request",
            Hazard::SshRerun => "ssh_rerun",
        }
    }

    /// What it means, in one sentence for an answer.
    pub fn about(self) -> &'static str {
        match self {
            Hazard::Fork => "the job's code comes from a fork",
            Hazard::PullRequest => "the job runs a pull request's code, which nobody has merged",
            Hazard::PullRequestTarget => "the job has the base repository's identity for a pull request",
            Hazard::WorkflowRun => "the job was started by another run, which a stranger may have caused",
            Hazard::PublicEvent => "the job was started by an event that anybody may cause",
            Hazard::MergeRequest => "the job runs a merge request's code, which nobody has merged",
            Hazard::SshRerun => "a person has a shell in the job",
        }
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no [`Hazard`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of: fork, pull_request, pull_request_target, workflow_run, public_event, merge_request, ssh_rerun"
)]
pub struct UnknownHazard(String);

impl FromStr for Hazard {
    type Err = UnknownHazard;

    fn from_str(word: &str) -> Result<Hazard, UnknownHazard> {
        let found = Hazard::ALL.into_iter().find(|hazard| hazard.name() == word);
        found.ok_or_else(|| UnknownHazard(word.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_everywhere() {
        for hazard in Hazard::ALL {
            assert_eq!(hazard.name().parse(), Ok(hazard));
            assert_eq!(serde_json::to_value(hazard).ok(), Some(hazard.name().into()));
        }
        assert!("Fork".parse::<Hazard>().is_err());
    }
}
