//! GitHub: the state of a workflow run. <https://docs.github.com/en/rest/actions/workflow-runs>
//!
//! A token names its run and the run's attempt, not the job, so leases end with the run, or when a later attempt of it
//! has begun.

use std::sync::Arc;

use async_trait::async_trait;
use claviger_audit::clock::Clock;
use claviger_audit::event::Who;
use serde::Deserialize;

use super::{JobState, JobStatus, JobStatusError, pause_of, segment};
use crate::fetch::{Call, Fetch};
use crate::secret::Secret;

/// Asks GitHub, or a GitHub Enterprise Server.
pub struct GitHub {
    fetch: Fetch,
    /// Without a slash at the end.
    api: String,
    token: Secret,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Run {
    status: String,
    #[serde(default)]
    run_attempt: Option<u64>,
}

impl GitHub {
    /// Asks at `api` (`https://api.github.com`, `https://HOST/api/v3`) with a token that may read Actions.
    pub fn new(fetch: Fetch, api: &str, token: Secret, clock: Arc<dyn Clock>) -> GitHub {
        GitHub { fetch, api: api.trim_end_matches('/').to_owned(), token, clock }
    }

    fn path(who: &Who) -> Option<String> {
        let (owner, name) = who.repository.as_deref()?.split_once('/')?;
        let run = who.run_id.as_deref().filter(|run| run.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(format!("repos/{}/{}/actions/runs/{}", segment(owner)?, segment(name)?, segment(run)?))
    }

    fn attempt(who: &Who) -> Option<u64> {
        let attempt = who.extra.get("run_attempt")?;
        attempt.as_u64().or_else(|| attempt.as_str()?.parse().ok())
    }
}

#[async_trait]
impl JobStatus for GitHub {
    async fn state(&self, who: &Who) -> Result<JobState, JobStatusError> {
        let Some(path) = GitHub::path(who) else { return Ok(JobState::Unnamed) };
        let call = Call::get(format!("{}/{path}", self.api))
            .bearer(&self.token)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        let answer = self.fetch.send(call).await?;
        match answer.status() {
            200 => {}
            404 | 410 | 301 | 302 | 307 => return Ok(JobState::Hidden),
            status => {
                return Err(match pause_of(&answer, self.clock.now()) {
                    Some(seconds) => JobStatusError::Limited { seconds },
                    None => JobStatusError::Status(status),
                });
            }
        }
        let run: Run =
            serde_json::from_slice(answer.body()).map_err(|e| JobStatusError::Unreadable(e.to_string()))?;
        let is_older = run.run_attempt.zip(GitHub::attempt(who)).is_some_and(|(now, then)| now > then);
        Ok(if run.status == "completed" || is_older { JobState::Ended } else { JobState::Running })
    }

    fn key(&self, who: &Who) -> Option<String> {
        Some(format!("{}/{}", GitHub::path(who)?, GitHub::attempt(who).unwrap_or(0)))
    }
}
