//! Ends of jobs, against stand-ins of GitHub's and GitLab's documented answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use claviger_audit::clock::Clock;
use claviger_broker::fetch::{Fetch, Guard, Options as FetchOptions};
use claviger_broker::lease::job_end::{GitHub, GitLab, JobEnds, JobStatus, Options, Parts};
use claviger_broker::lease::ledger::Ledger;
use claviger_broker::lease::{LeaseId, Reason, State};
use claviger_broker::secret::{self, Secret};
use claviger_broker::store::Store as _;
use claviger_broker::store::memory::Memory;
use jiff::SignedDuration;
use serde_json::json;

use super::bed::Notebook;
use crate::store::{at, intent, lease};

/// A CI that answers by path, counts, and wants a token.
#[derive(Default)]
struct Ci {
    token: Mutex<String>,
    answers: Mutex<BTreeMap<String, (u16, String)>>,
    calls: AtomicUsize,
    headers: Mutex<Vec<(&'static str, &'static str)>>,
}

async fn answer(Shared(ci): Shared<Arc<Ci>>, request: Request) -> Response {
    ci.calls.fetch_add(1, Ordering::Relaxed);
    let header =
        |name| request.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let token = ci.token.lock().unwrap().clone();
    if header("authorization") != format!("Bearer {token}") && header("private-token") != token {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let found = ci.answers.lock().unwrap().get(request.uri().path()).cloned();
    let (status, body) = found.unwrap_or((404, r#"{"message":"Not Found"}"#.into()));
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in ci.headers.lock().unwrap().iter() {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

struct Bed {
    ci: Arc<Ci>,
    url: String,
    store: Arc<Memory>,
    ledger: Arc<Notebook>,
    /// Seconds of the tests' day.
    now: Arc<Mutex<i64>>,
}

struct Steps(Arc<Mutex<i64>>);

impl Clock for Steps {
    fn now(&self) -> jiff::Timestamp {
        at(0) + SignedDuration::from_secs(*self.0.lock().unwrap())
    }
}

impl Bed {
    async fn new() -> Bed {
        let ci = Arc::new(Ci::default());
        *ci.token.lock().unwrap() = secret::password(20).expose_text().unwrap().to_owned();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&ci));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Bed { ci, url, store: Arc::default(), ledger: Arc::default(), now: Arc::default() }
    }

    fn watch(&self, issuer: &str, platform: Arc<dyn JobStatus>) -> JobEnds {
        let parts = Parts {
            store: Arc::clone(&self.store) as _,
            ledger: Arc::clone(&self.ledger) as Arc<dyn Ledger>,
            clock: Arc::new(Steps(Arc::clone(&self.now))),
            due: Arc::default(),
            metrics: Default::default(),
            platforms: [(issuer.to_owned(), platform)].into(),
        };
        JobEnds::new(parts, Options { every: Duration::from_secs(20), calls: 10, ..Options::default() })
    }

    fn fetch(&self) -> (Fetch, Secret, Arc<dyn Clock>) {
        let fetch = Fetch::new(&FetchOptions::new(Guard::Internal)).unwrap();
        let token = Secret::text(self.ci.token.lock().unwrap().clone());
        (fetch, token, Arc::new(Steps(Arc::clone(&self.now))))
    }

    fn github(&self) -> JobEnds {
        let (fetch, token, clock) = self.fetch();
        self.watch("github", Arc::new(GitHub::new(fetch, &self.url, token, clock)))
    }

    fn say(&self, path: &str, status: u16, body: serde_json::Value) {
        self.ci.answers.lock().unwrap().insert(path.into(), (status, body.to_string()));
    }

    fn pass(&self, seconds: i64) {
        *self.now.lock().unwrap() += seconds;
    }

    fn calls(&self) -> usize {
        self.ci.calls.swap(0, Ordering::Relaxed)
    }

    async fn lease(&self, change: impl FnOnce(&mut claviger_broker::lease::Lease)) -> LeaseId {
        let mut new = intent(lease());
        change(&mut new.lease);
        self.store.begin(&new).await.unwrap();
        self.store.activate(new.lease.id, at(3000), None, &[]).await.unwrap();
        new.lease.id
    }

    async fn state(&self, id: LeaseId) -> (State, Option<Reason>) {
        let lease = self.store.find(id).await.unwrap().unwrap();
        (lease.state, lease.reason)
    }
}

const RUN: &str = "/repos/acme/shop/actions/runs/4711";
const ENDED: (State, Option<Reason>) = (State::Revoking, Some(Reason::JobEnded));

#[tokio::test]
async fn github_ends_the_leases_of_a_run() {
    let bed = Bed::new().await;
    let first = bed.lease(|_| {}).await;
    let second = bed.lease(|lease| lease.role = "read".into()).await;
    let other = bed.lease(|lease| lease.who.run_id = Some("4712".into())).await;
    let foreign = bed.lease(|lease| lease.who.issuer = Some("gitlab".into())).await;
    bed.say(RUN, 200, json!({"id": 4711, "status": "in_progress", "run_attempt": 1, "conclusion": null}));
    bed.say("/repos/acme/shop/actions/runs/4712", 200, json!({"status": "queued"}));
    let mut watch = bed.github();
    assert_eq!(watch.round().await.unwrap(), 0);
    assert_eq!(bed.calls(), 2, "one call for each run");
    watch.round().await.unwrap();
    assert_eq!(bed.calls(), 0, "not again so soon");
    bed.say(RUN, 200, json!({"status": "completed", "conclusion": "cancelled"}));
    bed.pass(20);
    assert_eq!(watch.round().await.unwrap(), 2);
    assert_eq!((bed.state(first).await, bed.state(second).await), (ENDED, ENDED));
    assert_eq!(bed.state(other).await.0, State::Active);
    assert_eq!(bed.state(foreign).await.0, State::Active);
    assert_eq!(bed.ledger.events.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_run_that_was_started_again_ends_the_attempt_before() {
    let bed = Bed::new().await;
    let attempt = |number: &'static str| {
        move |lease: &mut claviger_broker::lease::Lease| {
            lease.who.extra.insert("run_attempt".into(), number.into());
        }
    };
    let before = bed.lease(attempt("1")).await;
    let now = bed.lease(attempt("2")).await;
    bed.say(RUN, 200, json!({"status": "in_progress", "run_attempt": 2}));
    assert_eq!(bed.github().round().await.unwrap(), 1);
    assert_eq!(bed.state(before).await, ENDED);
    assert_eq!(bed.state(now).await.0, State::Active);
}

#[tokio::test]
async fn whatever_is_no_clear_answer_ends_nothing() {
    let bed = Bed::new().await;
    let id = bed.lease(|_| {}).await;
    let mut watch = bed.github();
    for (status, body) in [
        (404, json!({})),
        (200, json!("completed")),
        (200, json!({"status": null})),
        (500, json!({"status": "completed"})),
        (401, json!({"status": "completed"})),
        (302, json!({"status": "completed"})),
    ] {
        bed.say(RUN, status, body);
        bed.pass(1000);
        assert_eq!(watch.round().await.unwrap(), 0);
        assert_eq!(bed.calls(), 1, "{status}");
    }
    assert_eq!(bed.state(id).await.0, State::Active);
}

#[tokio::test]
async fn claims_do_not_lead_elsewhere() {
    let bed = Bed::new().await;
    for (repository, run) in
        [("acme/..", "4711"), ("acme/shop", "../../x"), ("acme/shop?a=b", "1"), ("acme", "1"), ("a/b", "1 2")]
    {
        bed.lease(|lease| {
            lease.who.repository = Some(repository.into());
            lease.who.run_id = Some(run.into());
        })
        .await;
    }
    bed.say("/repos/acme/shop%3Fa%3Db/actions/runs/1", 200, json!({"status": "completed"}));
    assert_eq!(bed.github().round().await.unwrap(), 1);
    assert_eq!(bed.calls(), 1);
}

#[tokio::test]
async fn a_ci_that_wants_rest_gets_it() {
    let bed = Bed::new().await;
    for run in 0..9 {
        bed.lease(|lease| lease.who.run_id = Some(run.to_string())).await;
        bed.say(&format!("/repos/acme/shop/actions/runs/{run}"), 403, json!({}));
    }
    *bed.ci.headers.lock().unwrap() = vec![("retry-after", "90")];
    let mut watch = bed.github();
    watch.round().await.unwrap();
    assert!(bed.calls() <= 4, "those under way, no more");
    bed.pass(80);
    watch.round().await.unwrap();
    assert_eq!(bed.calls(), 0);
    bed.ci.headers.lock().unwrap().clear();
    bed.pass(20);
    watch.round().await.unwrap();
    assert_eq!(bed.calls(), 9);
}

#[tokio::test]
async fn a_round_is_bounded_and_everybody_has_a_turn() {
    let bed = Bed::new().await;
    for run in 0..25 {
        bed.lease(|lease| lease.who.run_id = Some(run.to_string())).await;
        bed.say(&format!("/repos/acme/shop/actions/runs/{run}"), 200, json!({"status": "completed"}));
    }
    let mut watch = bed.github();
    let mut ended = Vec::new();
    for _ in 0..4 {
        ended.push(watch.round().await.unwrap());
    }
    assert_eq!(ended, [10, 10, 5, 0]);
}

#[tokio::test]
async fn gitlab_ends_the_leases_of_a_job() {
    let bed = Bed::new().await;
    let change = |lease: &mut claviger_broker::lease::Lease| {
        lease.who.issuer = Some("gitlab".into());
        lease.who.repository = Some("group/sub/project".into());
        lease.who.job = Some("99".into());
    };
    let id = bed.lease(change).await;
    let path = "/projects/group%2Fsub%2Fproject/jobs/99";
    bed.say(path, 200, json!({"id": 99, "status": "running"}));
    let (fetch, token, clock) = bed.fetch();
    let mut watch = bed.watch("gitlab", Arc::new(GitLab::new(fetch, &bed.url, token, clock)));
    assert_eq!(watch.round().await.unwrap(), 0);
    for (status, ended) in [("canceling", 0), ("canceled", 1)] {
        bed.say(path, 200, json!({"status": status}));
        bed.pass(20);
        assert_eq!(watch.round().await.unwrap(), ended);
    }
    assert_eq!(bed.state(id).await, ENDED);
}
