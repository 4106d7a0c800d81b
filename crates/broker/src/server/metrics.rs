//! Numbers for Prometheus: counted where it happens, asked of the store when they are collected.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Service;
use super::answer::{Refused, RequestId};
use crate::broker::Refusal;
use crate::lease::alert::Metrics as LeaseMetrics;

/// In seconds: from a local signature to a slow target.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

type Labels = Vec<(String, String)>;

/// Counters of a server.
#[derive(Clone)]
pub(super) struct Metrics {
    requests: Family<Labels, Counter>,
    times: Family<Labels, Histogram, fn() -> Histogram>,
    leases: LeaseMetrics,
}

impl Metrics {
    pub(super) fn new(leases: LeaseMetrics) -> Metrics {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        Metrics { requests: Family::default(), times: Family::new_with_constructor(histogram), leases }
    }

    fn count(&self, path: &str, status: u16, took: Duration) {
        let path = ("path".to_owned(), path.to_owned());
        self.requests.get_or_create(&vec![path.clone(), ("status".to_owned(), status.to_string())]).inc();
        self.times.get_or_create(&vec![path]).observe(took.as_secs_f64());
    }
}

/// Counts a request. Paths are those of the routes: nothing of a stranger becomes a label.
pub(super) async fn count(State(service): State<Service>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    service.metrics.count(&path, response.status().as_u16(), started.elapsed());
    response
}

/// Everything as OpenMetrics text.
pub(super) async fn show(State(service): State<Service>, headers: HeaderMap) -> Response {
    match text(&service).await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(refusal) => Refused(refusal, RequestId::of(&headers)).into_response(),
    }
}

async fn text(service: &Service) -> Result<String, Refusal> {
    let counts = service.broker.store().counts().await?;
    let mut registry = Registry::default();
    service.metrics.leases.register(&mut registry);
    registry.register("claviger_requests", "Requests by route and status", service.metrics.requests.clone());
    registry.register("claviger_request_seconds", "How long requests took", service.metrics.times.clone());
    let states: Family<Labels, Gauge> = Family::default();
    for (state, count) in &counts.by_state {
        states.get_or_create(&vec![("state".to_owned(), state.as_str().to_owned())]).set(signed(*count));
    }
    registry.register("claviger_leases", "Leases by state", states);
    let failing: Gauge = Gauge::default();
    failing.set(signed(counts.failing));
    registry.register("claviger_revocations_failing", "Leases whose revocation has failed so far", failing);
    let oldest: Gauge = Gauge::default();
    let now = service.broker.clock().now();
    oldest.set(counts.oldest_failing.map_or(0, |since| now.duration_since(since).as_secs()));
    registry.register(
        "claviger_revocation_oldest_failing_seconds",
        "How long the oldest of these is due",
        oldest,
    );
    let audit: Gauge = Gauge::default();
    audit.set(i64::from(service.broker.ledger().is_healthy()));
    registry.register("claviger_audit_up", "Whether the audit log takes records", audit);
    let mut out = String::new();
    encode(&mut out, &registry).map_err(|error| {
        Refusal::new(crate::broker::RefusalKind::Unavailable, "metrics", error.to_string())
    })?;
    Ok(out)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
