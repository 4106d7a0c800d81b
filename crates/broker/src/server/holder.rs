//! What the holder of a lease may do: the handle comes as a bearer token, never in the path or the query.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::Service;
use super::answer::{Refused, RequestId, json};
use super::exchange::{invalid, length};
use super::wire::{self, RenewAnswer, RenewRequest, RevokeAnswer};
use crate::broker::{Refusal, RefusalKind};
use crate::lease::{Handle, Lease};
use crate::secret::Secret;

/// The handle that the request bears.
fn handle(headers: &HeaderMap) -> Result<Handle, Refusal> {
    let missing = || {
        let message = "send the lease's handle as `Authorization: Bearer clvh_...`";
        Refusal::new(RefusalKind::Unauthenticated, "no-handle", message)
    };
    let value =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > 128 {
        return Err(missing());
    }
    Ok(Handle::presented(Secret::text(token.trim().to_owned())))
}

/// Prolongs a lease.
#[utoipa::path(
    post,
    path = "/v1/renew",
    request_body = RenewRequest,
    responses(
        (status = 200, description = "Its new end", body = RenewAnswer),
        (status = 401, description = "The handle belongs to no live lease", body = wire::ErrorAnswer),
        (status = 403, description = "It cannot live longer", body = wire::ErrorAnswer),
    )
)]
pub(super) async fn renew(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let id = RequestId::of(&headers);
    let asked = handle(&headers).and_then(|handle| {
        let request = if body.is_empty() {
            RenewRequest::default()
        } else {
            serde_json::from_slice(&body)
                .map_err(|error| invalid(format!("the body cannot be read: {error}")))?
        };
        Ok((handle, length(request.ttl.as_deref(), "ttl")?))
    });
    let done = match asked {
        Ok((handle, ttl)) => service.broker.renew(&handle, ttl).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(done) => json(&RenewAnswer::from(done), &id),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// Gives a lease back.
#[utoipa::path(
    post,
    path = "/v1/revoke",
    responses(
        (status = 200, description = "It ends, or has ended", body = RevokeAnswer),
        (status = 401, description = "The handle belongs to no lease", body = wire::ErrorAnswer),
    )
)]
pub(super) async fn revoke(State(service): State<Service>, headers: HeaderMap) -> Response {
    let id = RequestId::of(&headers);
    let done = match handle(&headers) {
        Ok(handle) => service.broker.give_back(&handle).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(done) => json(&RevokeAnswer::from(done), &id),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// Says that the holder is alive.
#[utoipa::path(
    post,
    path = "/v1/heartbeat",
    responses(
        (status = 204, description = "Noted"),
        (status = 401, description = "The handle belongs to no live lease", body = wire::ErrorAnswer),
    )
)]
pub(super) async fn heartbeat(State(service): State<Service>, headers: HeaderMap) -> Response {
    let id = RequestId::of(&headers);
    let done = match handle(&headers) {
        Ok(handle) => service.broker.heartbeat(&handle).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// A lease, as its holder and operators see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LeaseView {
    id: String,
    /// `pending`, `active`, `revoking`, `revoked` or `expired`.
    state: &'static str,
    role: String,
    provider: String,
    environment: String,
    created_at: String,
    expires_at: String,
    max_expires_at: String,
    renewals: u32,
    /// Why it ends or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
}

impl From<&Lease> for LeaseView {
    fn from(lease: &Lease) -> LeaseView {
        LeaseView {
            id: lease.id.to_string(),
            state: lease.state.as_str(),
            role: lease.role.clone(),
            provider: lease.provider.clone(),
            environment: lease.environment.clone(),
            created_at: lease.created.to_string(),
            expires_at: lease.expires.to_string(),
            max_expires_at: lease.max_expires.to_string(),
            renewals: lease.renewals,
            reason: lease.reason.map(|reason| reason.as_str()),
            closed_at: lease.closed.map(|closed| closed.to_string()),
        }
    }
}

/// Shows the holder's own lease.
#[utoipa::path(
    get,
    path = "/v1/lease",
    responses(
        (status = 200, description = "The lease", body = LeaseView),
        (status = 401, description = "The handle belongs to no lease", body = wire::ErrorAnswer),
    )
)]
pub(super) async fn show(State(service): State<Service>, headers: HeaderMap) -> Response {
    let id = RequestId::of(&headers);
    let done = match handle(&headers) {
        Ok(handle) => service.broker.show_held(&handle).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(lease) => json(&LeaseView::from(&lease), &id),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}
