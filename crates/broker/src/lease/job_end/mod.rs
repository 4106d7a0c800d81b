//! Ends the leases of jobs that have ended, as their CI says: also of those that were cancelled, or whose machine is
//! gone, and that could give nothing back.
//!
//! Only jobs that hold an active lease are asked about, each at most once in [`Options::every`], at most so many in a
//! round. An answer that the CI does not know the job, or that the token may not see it, ends nothing: it is said once
//! in a while, and the lease's own time is the floor.

mod github;
mod gitlab;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use claviger_audit::clock::Clock;
use claviger_audit::event::{Action, JobEnded, Outcome, Who};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

pub use self::github::GitHub;
pub use self::gitlab::GitLab;
use super::alert::Metrics;
use super::ledger::Ledger;
use super::reaper::attempt::about;
use super::{Lease, LeaseId, Reason, State};
use crate::fetch::FetchError;
use crate::store::{Filter, Store, StoreError};

/// Leases that are read in one question to the store.
const PAGE: u32 = 500;
/// Pages that one round reads at most for an issuer.
const PAGES: u32 = 40;

/// Whether a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It waits or runs.
    Running,
    /// It has ended, however.
    Ended,
    /// The CI does not know it, or does not show it to this token.
    Hidden,
    /// The lease does not say enough to ask.
    Unnamed,
}

/// Why the CI gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum JobStatusError {
    /// There was no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It refused.
    #[error("the CI answered with status {0}")]
    Status(u16),
    /// The answer is not what its documentation says.
    #[error("the CI's answer cannot be read: {0}")]
    Unreadable(String),
    /// The limit of calls is reached.
    #[error("the CI wants no more calls for {seconds} s")]
    Limited {
        /// For how long.
        seconds: u64,
    },
}

/// Asks a CI about a job.
#[async_trait]
pub trait JobStatus: Send + Sync {
    /// Whether the job of this lease runs. Leases with the same [`key`](JobStatus::key) have the same answer.
    ///
    /// # Errors
    /// See [`JobStatusError`].
    async fn state(&self, who: &Who) -> Result<JobState, JobStatusError>;

    /// What names the job at this CI; `None` if the lease does not say enough.
    fn key(&self, who: &Who) -> Option<String>;
}

/// What the watch over jobs works with.
pub struct Parts {
    /// Where leases rest.
    pub store: Arc<dyn Store>,
    /// Where ends of jobs are recorded.
    pub ledger: Arc<dyn Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the reaper.
    pub due: Arc<Notify>,
    /// Counts.
    pub metrics: Metrics,
    /// Who is asked, by the issuer's name in the configuration.
    pub platforms: BTreeMap<String, Arc<dyn JobStatus>>,
}

/// How it works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often one job is asked about.
    pub every: Duration,
    /// Calls at once.
    pub concurrency: usize,
    /// Calls in one round for one issuer.
    pub calls: usize,
    /// How long a job that was not shown is not asked about again.
    pub hidden: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            every: Duration::from_secs(20),
            concurrency: 4,
            calls: 200,
            hidden: Duration::from_secs(600),
        }
    }
}

/// The watch over jobs.
pub struct JobEnds {
    parts: Parts,
    options: Options,
    /// When a job is asked about next, by issuer and key.
    next: HashMap<(String, String), Timestamp>,
    /// When an issuer's CI may be asked again.
    paused: HashMap<String, Timestamp>,
}

/// A job with active leases.
struct Job {
    key: String,
    who: Who,
    leases: Vec<LeaseId>,
}

impl JobEnds {
    /// A watch that has asked nothing yet.
    pub fn new(parts: Parts, options: Options) -> JobEnds {
        JobEnds { parts, options, next: HashMap::new(), paused: HashMap::new() }
    }

    /// Asks, again and again, until it is dropped.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "the store cannot be asked for the jobs that hold leases");
            }
            tokio::time::sleep(self.options.every / 2).await;
        }
    }

    /// Asks about every job whose turn it is; gives how many leases were sent to their end.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn round(&mut self) -> Result<usize, StoreError> {
        let mut ended = 0;
        for (issuer, platform) in self.parts.platforms.clone() {
            let now = self.parts.clock.now();
            if self.paused.get(&issuer).is_some_and(|until| *until > now) {
                continue;
            }
            let jobs = self.jobs(&issuer, &*platform).await?;
            self.next.retain(|(of, key), _| *of != issuer || jobs.contains_key(key));
            let mut turn: Vec<Job> = jobs.into_values().collect();
            let due = |job: &Job| self.next.get(&(issuer.clone(), job.key.clone())).copied();
            turn.retain(|job| due(job).is_none_or(|next| next <= now));
            // Those that wait longest; the rest have their turn in the next round.
            turn.sort_by_key(due);
            turn.truncate(self.options.calls);
            ended += self.ask(&issuer, &platform, turn).await?;
        }
        Ok(ended)
    }

    /// The jobs with active leases, by key.
    async fn jobs(
        &self,
        issuer: &str,
        platform: &dyn JobStatus,
    ) -> Result<BTreeMap<String, Job>, StoreError> {
        let filter =
            Filter { issuer: Some(issuer.to_owned()), states: vec![State::Active], ..Filter::default() };
        let (mut jobs, mut after) = (BTreeMap::new(), None);
        for _ in 0..PAGES {
            let page = self.parts.store.list(&filter, after, PAGE).await?;
            after = page.last().map(|lease| lease.id);
            for Lease { id, who, .. } in page {
                if let Some(key) = platform.key(&who) {
                    let job = || Job { key: key.clone(), who, leases: Vec::new() };
                    jobs.entry(key.clone()).or_insert_with(job).leases.push(id);
                }
            }
            if after.is_none() {
                break;
            }
        }
        Ok(jobs)
    }

    async fn ask(
        &mut self,
        issuer: &str,
        platform: &Arc<dyn JobStatus>,
        jobs: Vec<Job>,
    ) -> Result<usize, StoreError> {
        let places = Arc::new(Semaphore::new(self.options.concurrency.max(1)));
        let mut asking = JoinSet::new();
        for job in jobs {
            let (platform, places) = (Arc::clone(platform), Arc::clone(&places));
            asking.spawn(async move {
                // Closed by whoever heard that the CI wants no more calls; the others have their turn later.
                let _place = places.acquire().await.ok()?;
                let state = platform.state(&job.who).await;
                if matches!(state, Err(JobStatusError::Limited { .. })) {
                    places.close();
                }
                Some((job, state))
            });
        }
        let mut count = 0;
        while let Some(answer) = asking.join_next().await {
            let Ok(Some((job, state))) = answer else { continue };
            let pause = match &state {
                Ok(JobState::Hidden | JobState::Unnamed) => {
                    tracing::warn!(
                        issuer,
                        job = job.key,
                        "the CI does not show this job; does the token see it?"
                    );
                    self.options.hidden
                }
                Ok(_) => self.options.every,
                Err(error) => {
                    tracing::warn!(%error, issuer, job = job.key, "the CI does not say whether a job has ended");
                    self.options.every
                }
            };
            let now = self.parts.clock.now();
            if let Err(JobStatusError::Limited { seconds }) = state {
                self.paused.insert(issuer.to_owned(), after(now, Duration::from_secs(seconds)));
            }
            self.next.insert((issuer.to_owned(), job.key.clone()), after(now, pause));
            if matches!(state, Ok(JobState::Ended)) {
                count += self.end(&job).await?;
            }
        }
        Ok(count)
    }

    async fn end(&self, job: &Job) -> Result<usize, StoreError> {
        let now = self.parts.clock.now();
        let mut count = 0;
        for ids in job.leases.chunks(PAGE as usize) {
            let filter = Filter { ids: ids.to_vec(), ..Filter::default() };
            let revoked = self.parts.store.revoke(&filter, Reason::JobEnded, now).await?;
            // Stop here: the reaper finds them.
            self.parts.due.notify_one();
            count += revoked.len();
            self.parts.metrics.job_ends.inc_by(revoked.len() as u64);
            if revoked.is_empty() {
                continue;
            }
            let filter = Filter { ids: revoked, ..Filter::default() };
            let leases = self.parts.store.list(&filter, None, PAGE).await?;
            let event = |lease| about(lease, Action::JobEnded(JobEnded::default()), Outcome::Success, now);
            if let Err(error) = self.parts.ledger.record(leases.iter().map(event).collect()).await {
                tracing::error!(%error, "the end of a job was not recorded in the audit log");
            }
        }
        Ok(count)
    }
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::from_mins(1));
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// A part of a URL's path that a token's claim fills: everything but letters, digits and `-._~` is escaped, and what
/// would be a step up or nothing is refused.
fn segment(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > 512 || text == "." || text == ".." {
        return None;
    }
    Some(crate::fetch::percent(text))
}

/// How long a CI wants to be left alone, by its headers; at least a second, at most an hour.
fn pause_of(answer: &crate::fetch::Answer, now: Timestamp) -> Option<u64> {
    let number = |name| answer.header(name).and_then(|text| text.trim().parse::<i64>().ok());
    let seconds = match (number("retry-after"), number("x-ratelimit-remaining"), number("x-ratelimit-reset"))
    {
        (Some(seconds), _, _) => seconds,
        (None, Some(0), Some(reset)) => reset.saturating_sub(now.as_second()),
        _ if answer.status() == 429 => 60,
        _ => return None,
    };
    Some(u64::try_from(seconds.clamp(1, 3600)).unwrap_or(3600))
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn claims_stay_in_their_place() {
        assert_eq!(segment("acme").as_deref(), Some("acme"));
        assert_eq!(segment("group/sub").as_deref(), Some("group%2Fsub"));
        assert_eq!(segment("a?b#c%2e").as_deref(), Some("a%3Fb%23c%252e"));
        for bad in ["", ".", "..", &"x".repeat(600)] {
            assert_eq!(segment(bad), None);
        }
    }
}
