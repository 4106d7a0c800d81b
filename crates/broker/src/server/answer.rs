//! Answers: secrets are never cached, errors have one shape.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::wire::{ErrorAnswer, status};
use crate::broker::{Refusal, RefusalKind};

/// How long a client should wait before it tries again, in seconds.
const RETRY_AFTER_S: &str = "2";

/// The id of a request: the caller's own, if it sent a sane one.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

impl RequestId {
    /// From the header `X-Request-Id`, or new.
    pub(super) fn of(headers: &HeaderMap) -> RequestId {
        let sent = headers.get("x-request-id").and_then(|value| value.to_str().ok());
        let sane = sent.filter(|id| {
            (8..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
        RequestId(sane.map_or_else(|| hex::encode(crate::secret::random::<8>()), str::to_owned))
    }
}

/// A refusal as an answer.
pub(super) struct Refused(pub(super) Refusal, pub(super) RequestId);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(refusal, id) = self;
        let (code, _) = status(refusal.kind);
        tracing::info!(
            request = %id.0,
            code = refusal.code,
            detail = refusal.detail.as_deref().unwrap_or_default(),
            "refused: {}",
            refusal.message
        );
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(ErrorAnswer::new(&refusal, &id.0))).into_response();
        let headers = response.headers_mut();
        if refusal.kind.is_passing() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if refusal.kind == RefusalKind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        sealed(response, &id)
    }
}

/// A good answer, which may hold secrets.
pub(super) fn json(body: &impl Serialize, id: &RequestId) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => sealed(([(header::CONTENT_TYPE, "application/json")], bytes).into_response(), id),
        Err(error) => {
            let refusal = Refusal::new(
                RefusalKind::Provider,
                "not-text",
                format!("the credential cannot be written as JSON: {error}"),
            );
            Refused(refusal, id.clone()).into_response()
        }
    }
}

/// Nobody keeps the answer, and it says which request it is for.
fn sealed(mut response: Response, id: &RequestId) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert("x-request-id", value);
    }
    response
}

/// A path that is not served.
pub(super) async fn unknown_route(headers: HeaderMap) -> Response {
    let refusal = Refusal::new(
        RefusalKind::Invalid,
        "unknown-path",
        "there is nothing at this path; see /openapi.json",
    );
    let mut response = Refused(refusal, RequestId::of(&headers)).into_response();
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// A path that is served for other methods.
pub(super) async fn wrong_method(headers: HeaderMap) -> Response {
    let refusal = Refusal::new(RefusalKind::Invalid, "wrong-method", "this path does not take this method");
    let mut response = Refused(refusal, RequestId::of(&headers)).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// What axum itself refuses, a body that is too long above all, in the shape of all errors.
pub(super) async fn readable(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let id = RequestId::of(request.headers());
    let response = next.run(request).await;
    let is_ours = response.headers().contains_key("x-request-id") || response.status().is_success();
    if is_ours {
        return response;
    }
    let status = response.status();
    let message = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too long".to_owned(),
        other => format!("the request cannot be read: {other}"),
    };
    let mut told = Refused(Refusal::new(RefusalKind::Invalid, "unreadable", message), id).into_response();
    *told.status_mut() = status;
    told
}

/// A bug of ours: the client hears that and no more.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request ended in a panic");
    let refusal = Refusal::new(RefusalKind::Unavailable, "internal", "the request could not be finished");
    Refused(refusal, RequestId::of(&HeaderMap::new())).into_response()
}
