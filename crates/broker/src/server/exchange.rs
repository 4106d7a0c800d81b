//! `POST /v1/exchange`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use super::Service;
use super::answer::{Refused, RequestId, json};
use super::wire::{self, ExchangeAnswer, ExchangeRequest};
use crate::broker::{Ask, Refusal, RefusalKind};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// The client's address, once the guard has looked through proxies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client(pub(super) IpAddr);

/// The address a request came from, where the listener says it.
pub(super) struct Caller(pub(super) Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        if let Some(Client(address)) = parts.extensions.get::<Client>() {
            return Ok(Caller(Some(*address)));
        }
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Caller(address.map(|ConnectInfo(address)| address.ip())))
    }
}

/// Exchanges a token for a credential.
#[utoipa::path(
    post,
    path = "/v1/exchange",
    request_body(content(
        (ExchangeRequest = "application/x-www-form-urlencoded"),
        (ExchangeRequest = "application/json")
    )),
    responses(
        (status = 200, description = "The credential and its lease", body = ExchangeAnswer<'static>),
        (status = 400, description = "The request makes no sense", body = wire::ErrorAnswer),
        (status = 401, description = "The token is not accepted", body = wire::ErrorAnswer),
        (status = 403, description = "The identity may not have this role", body = wire::ErrorAnswer),
        (status = 429, description = "A limit is reached", body = wire::ErrorAnswer),
        (status = 502, description = "The target refused", body = wire::ErrorAnswer),
        (status = 503, description = "Something is down", body = wire::ErrorAnswer),
    )
)]
pub(super) async fn exchange(
    State(service): State<Service>,
    Caller(address): Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let id = RequestId::of(&headers);
    let ask = match read(&headers, &body).and_then(|request| ask(request, address, &id)) {
        Ok(ask) => ask,
        Err(refusal) => return Refused(refusal, id).into_response(),
    };
    let broker = service.broker;
    // On a task of its own: when the client goes away, what was begun comes to its end all the same.
    let done = tokio::spawn(async move {
        let done = broker.exchange(ask).await;
        (done, broker.clock().now())
    });
    match done.await {
        Ok((Ok(done), now)) => json(&ExchangeAnswer::new(&done, now, &Secret::text(String::new())), &id),
        Ok((Err(refusal), _)) => Refused(refusal, id).into_response(),
        Err(_) => {
            let refusal =
                Refusal::new(RefusalKind::Unavailable, "internal", "the request could not be finished");
            Refused(refusal, id).into_response()
        }
    }
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<ExchangeRequest, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => serde_json::from_slice(body).map_err(|error| {
            // The error's text may quote the body, and the body holds a token: only the place is told.
            invalid(format!("the JSON cannot be read at line {}, column {}", error.line(), error.column()))
        }),
        "application/x-www-form-urlencoded" => form(body),
        _ => Err(invalid("send application/x-www-form-urlencoded (RFC 8693) or application/json")),
    }
}

/// Reads a form. A member that comes twice is refused (RFC 6749, section 3.2).
fn form(body: &[u8]) -> Result<ExchangeRequest, Refusal> {
    let mut members: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        if members.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(invalid(format!("`{shown}` is there twice")));
        }
    }
    let mut take = |name: &str| members.remove(name);
    let request = ExchangeRequest {
        grant_type: Some(take("grant_type").ok_or_else(|| invalid("`grant_type` is missing"))?),
        subject_token: take("subject_token")
            .map(Secret::text)
            .ok_or_else(|| invalid("`subject_token` is missing"))?,
        subject_token_type: Some(
            take("subject_token_type").ok_or_else(|| invalid("`subject_token_type` is missing"))?,
        ),
        requested_token_type: take("requested_token_type"),
        role: take("role"),
        scope: take("scope"),
        ttl: take("ttl"),
        target_token: take("target_token").map(Secret::text),
        heartbeat: take("heartbeat"),
        input: BTreeMap::new(),
    };
    let input = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("input.")?.to_owned(), value)))
        .collect();
    // Other members are ignored, as RFC 6749 asks.
    Ok(ExchangeRequest { input, ..request })
}

fn ask(request: ExchangeRequest, address: Option<IpAddr>, id: &RequestId) -> Result<Ask, Refusal> {
    let expects = |sent: &Option<String>, known: &[&str], what: &str| match sent {
        Some(sent) if !known.contains(&sent.as_str()) => {
            Err(invalid(format!("`{what}` must be {}", known.join(" or "))))
        }
        _ => Ok(()),
    };
    expects(&request.grant_type, &[wire::GRANT_TYPE], "grant_type")?;
    expects(&request.subject_token_type, &[wire::JWT, wire::ID_TOKEN], "subject_token_type")?;
    expects(&request.requested_token_type, &[wire::CREDENTIAL], "requested_token_type")?;
    let role = match (request.role, request.scope) {
        (Some(role), Some(scope)) if role != scope => {
            return Err(invalid("`role` and `scope` name different roles; send one"));
        }
        (Some(role), _) | (None, Some(role)) => role,
        (None, None) => return Err(invalid("`role` is missing: which role is asked for?")),
    };
    Ok(Ask {
        token: request.subject_token,
        role,
        ttl: length(request.ttl.as_deref(), "ttl")?,
        input: request.input,
        target_token: request.target_token,
        heartbeat: length(request.heartbeat.as_deref(), "heartbeat")?,
        address,
        correlation: id.0.clone(),
    })
}

/// Reads a length of time that a caller sent.
pub(super) fn length(text: Option<&str>, name: &str) -> Result<Option<Ttl>, Refusal> {
    text.map(str::parse)
        .transpose()
        .map_err(|_| invalid(format!("`{name}` is not a length of time; write `90s`, `15m` or `1h30m`")))
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Invalid, "invalid", message)
}
