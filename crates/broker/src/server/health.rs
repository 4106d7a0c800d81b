//! For load balancers and orchestrators.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::Service;
use super::answer::{RequestId, json};

/// What is well.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<&'static str>,
}

/// The process answers. Says nothing of what it depends on: restarting it would mend none of that.
pub(super) async fn health(headers: HeaderMap) -> Response {
    json(&Health { status: "ok", store: None, audit: None }, &RequestId::of(&headers))
}

/// Requests can be served: the store answers and the audit log takes records.
pub(super) async fn ready(State(service): State<Service>, headers: HeaderMap) -> Response {
    let store = service.broker.store().counts().await.is_ok();
    let audit = service.broker.ledger().is_healthy();
    let word = |good| Some(if good { "ok" } else { "down" });
    let all = store && audit;
    let body = Health { status: if all { "ok" } else { "down" }, store: word(store), audit: word(audit) };
    let mut response = json(&body, &RequestId::of(&headers));
    if !all {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
