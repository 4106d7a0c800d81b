//! GitLab: the state of a job. <https://docs.gitlab.com/api/jobs/#get-a-single-job>

use std::sync::Arc;

use async_trait::async_trait;
use claviger_audit::clock::Clock;
use claviger_audit::event::Who;
use serde::Deserialize;

use super::{JobState, JobStatus, JobStatusError, pause_of, segment};
use crate::fetch::{Call, Fetch};
use crate::secret::Secret;

/// Asks GitLab.
pub struct GitLab {
    fetch: Fetch,
    /// Without a slash at the end.
    api: String,
    token: Secret,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Job {
    status: String,
}

impl GitLab {
    /// Asks at `api` (`https://gitlab.com/api/v4`) with a token that may read the API.
    pub fn new(fetch: Fetch, api: &str, token: Secret, clock: Arc<dyn Clock>) -> GitLab {
        GitLab { fetch, api: api.trim_end_matches('/').to_owned(), token, clock }
    }

    fn path(who: &Who) -> Option<String> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let job = who.job.as_deref().filter(|job| number(job))?;
        // A project's path stands for its id when it is escaped as one segment.
        Some(format!("projects/{}/jobs/{}", segment(who.repository.as_deref()?)?, segment(job)?))
    }
}

#[async_trait]
impl JobStatus for GitLab {
    async fn state(&self, who: &Who) -> Result<JobState, JobStatusError> {
        let Some(path) = GitLab::path(who) else { return Ok(JobState::Unnamed) };
        let call = Call::get(format!("{}/{path}", self.api)).secret_header("private-token", &self.token);
        let answer = self.fetch.send(call.accept_json()).await?;
        match answer.status() {
            200 => {}
            404 | 301 | 302 | 307 => return Ok(JobState::Hidden),
            status => {
                return Err(match pause_of(&answer, self.clock.now()) {
                    Some(seconds) => JobStatusError::Limited { seconds },
                    None => JobStatusError::Status(status),
                });
            }
        }
        let job: Job =
            serde_json::from_slice(answer.body()).map_err(|e| JobStatusError::Unreadable(e.to_string()))?;
        // `canceling` still runs what follows a script. `manual` waits for somebody, and holds no lease before.
        Ok(match job.status.as_str() {
            "success" | "failed" | "canceled" | "skipped" | "manual" => JobState::Ended,
            _ => JobState::Running,
        })
    }

    fn key(&self, who: &Who) -> Option<String> {
        GitLab::path(who)
    }
}
