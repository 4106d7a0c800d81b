//! What operators do: look at everybody's leases, revoke them, hold back, ask about leaked secrets.
//!
//! An operator is known by a token whose SHA-256 is in the configuration, or by a client certificate. Every change is
//! in the audit log with the operator's name.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use claviger_audit::event::LeakMatched;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Service;
use super::answer::{Refused, RequestId, json};
use super::exchange::{invalid, length};
use super::holder::LeaseView;
use super::wire::ErrorAnswer;
use crate::broker::{Refusal, RefusalKind, Sighting};
use crate::lease::hold::Scope;
use crate::lease::{Hold, HoldId, Lease, LeaseId, Reason, State as LeaseState};
use crate::store::Filter;

/// The most leases of one answer.
const MAX_PAGE: u32 = 1000;

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name in the audit log.
    pub name: String,
    /// SHA-256 of the token.
    pub token: [u8; 32],
    /// What the operator may do.
    pub rights: Rights,
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Ask whether secrets that a scan found are leases' of this broker; those are revoked.
    Leaks,
    /// See all leases.
    Read,
    /// Revoke and hold back.
    Write,
}

/// The operator that the request's bearer token belongs to.
fn operator(service: &Service, headers: &HeaderMap, wanted: Rights) -> Result<String, Refusal> {
    let unknown =
        || Refusal::new(RefusalKind::Unauthenticated, "no-operator", "send an operator's token as bearer");
    let value =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(unknown)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(unknown)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unknown());
    }
    let hash: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
    // All are compared, so that the time says nothing about which.
    let mut found = None;
    for operator in service.operators.iter() {
        if bool::from(operator.token.ct_eq(&hash)) {
            found = Some(operator);
        }
    }
    let found = found.ok_or_else(unknown)?;
    let may = match wanted {
        Rights::Leaks => true,
        other => found.rights >= other,
    };
    if may {
        return Ok(found.name.clone());
    }
    Err(Refusal::new(RefusalKind::Forbidden, "rights", "this operator may not do that"))
}

/// Which leases.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema, utoipa::IntoParams,
)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Their ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[param(nullable = false)]
    pub ids: Vec<String>,
    /// `pending`, `active`, `revoking`, `revoked` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The issuer's name in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The run's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The repository or project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Created at this time (RFC 3339) or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// In a list: those after this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// In a list: so many at most, up to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl Selection {
    fn filter(&self) -> Result<Filter, Refusal> {
        let ids: Result<Vec<LeaseId>, _> = self.ids.iter().map(|id| lease_id(id)).collect();
        let states = match &self.state {
            None => Vec::new(),
            Some(word) => {
                vec![LeaseState::parse(word).ok_or_else(|| invalid("`state` is no state of a lease"))?]
            }
        };
        let since = self.since.as_ref().map(|text| text.parse::<Timestamp>()).transpose();
        Ok(Filter {
            ids: ids?,
            states,
            since: since.map_err(|_| invalid("`since` is no RFC 3339 time"))?,
            issuer: self.issuer.clone(),
            run: self.run.clone(),
            repository: self.repository.clone(),
            role: self.role.clone(),
            provider: self.provider.clone(),
            environment: self.environment.clone(),
            fingerprints: Vec::new(),
        })
    }

    /// A hold covers what a selection names, not single leases or times.
    fn scope(&self) -> Result<Scope, Refusal> {
        if !self.ids.is_empty() || self.state.is_some() || self.since.is_some() {
            return Err(invalid(
                "a hold covers runs, repositories, roles, providers, issuers and environments",
            ));
        }
        Ok(Scope {
            issuer: self.issuer.clone(),
            run: self.run.clone(),
            repository: self.repository.clone(),
            role: self.role.clone(),
            provider: self.provider.clone(),
            environment: self.environment.clone(),
        })
    }
}

fn lease_id(text: &str) -> Result<LeaseId, Refusal> {
    text.parse().map_err(|error: crate::lease::LeaseIdError| invalid(error.to_string()))
}

/// A lease with its holder, for operators.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct OperatorView {
    #[serde(flatten)]
    lease: LeaseView,
    /// The holder, by the token's own words.
    #[schema(value_type = Object)]
    who: claviger_audit::event::Who,
    /// How often revoking failed.
    attempts: u32,
    /// What the last attempt said.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
}

impl From<&Lease> for OperatorView {
    fn from(lease: &Lease) -> OperatorView {
        OperatorView {
            lease: LeaseView::from(lease),
            who: lease.who.clone(),
            attempts: lease.attempts,
            last_error: lease.last_error.clone(),
            next_attempt_at: lease.next_attempt.map(|next| next.to_string()),
        }
    }
}

/// A page of leases.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Page {
    leases: Vec<OperatorView>,
    /// Ask for those after this id next; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists leases, newest first.
#[utoipa::path(get, path = "/v1/operator/leases", params(Selection),
    responses((status = 200, body = Page), (status = 401, body = ErrorAnswer), (status = 403, body = ErrorAnswer)))]
pub(super) async fn list(
    State(service): State<Service>,
    headers: HeaderMap,
    selection: Result<Query<Selection>, QueryRejection>,
) -> Response {
    let id = RequestId::of(&headers);
    let done = async {
        operator(&service, &headers, Rights::Read)?;
        let Query(selection) = selection.map_err(|error| invalid(error.body_text()))?;
        let after = selection.after.as_deref().map(lease_id).transpose()?;
        let most = selection.limit.unwrap_or(100).clamp(1, MAX_PAGE);
        let leases = service.broker.leases(&selection.filter()?, after, most).await?;
        let full = leases.len() == most as usize;
        let next = leases.last().filter(|_| full).map(|lease| lease.id.to_string());
        Ok(Page { leases: leases.iter().map(OperatorView::from).collect(), next })
    };
    match done.await {
        Ok(page) => json(&page, &id),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// Shows one lease.
#[utoipa::path(get, path = "/v1/operator/leases/{id}", params(("id" = String, Path)),
    responses((status = 200, body = OperatorView), (status = 401, body = ErrorAnswer), (status = 404, body = ErrorAnswer)))]
pub(super) async fn show(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(lease): Path<String>,
) -> Response {
    let id = RequestId::of(&headers);
    let done = async {
        operator(&service, &headers, Rights::Read)?;
        service.broker.lease(lease_id(&lease)?).await
    };
    match done.await {
        Ok(Some(lease)) => json(&OperatorView::from(&lease), &id),
        Ok(None) => {
            let refusal = Refusal::new(RefusalKind::Invalid, "unknown-lease", "there is no such lease");
            let mut response = Refused(refusal, id).into_response();
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// A revocation of many.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeMany {
    /// Which leases.
    select: Selection,
    /// Also issue nothing new for them, until the hold is released. The selection must name runs, repositories, roles,
    /// providers, issuers or environments then.
    #[serde(default)]
    hold: bool,
    /// How long the hold stands: `1h`. Until it is released, if absent.
    #[serde(default)]
    hold_for: Option<String>,
    /// Why, for the audit log and for those who are refused.
    #[serde(default)]
    reason: Option<String>,
}

/// What was revoked.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct RevokedMany {
    /// The leases that are being revoked now.
    leases: Vec<String>,
    /// The hold, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
}

/// Revokes leases, and holds back if asked.
#[utoipa::path(post, path = "/v1/operator/revoke", request_body = RevokeMany,
    responses((status = 200, body = RevokedMany), (status = 400, body = ErrorAnswer), (status = 401, body = ErrorAnswer)))]
pub(super) async fn revoke(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Result<Json<RevokeMany>, JsonRejection>,
) -> Response {
    let id = RequestId::of(&headers);
    let done = async {
        let name = operator(&service, &headers, Rights::Write)?;
        let Json(asked) = body.map_err(|error| invalid(error.body_text()))?;
        if !asked.hold {
            let mut filter = asked.select.filter()?;
            if filter == Filter::default() {
                return Err(invalid(
                    "`select` is empty: that would be every lease there is; name states to mean that",
                ));
            }
            filter.states.retain(|state| !state.is_closed());
            let ids = service.broker.revoke_all(&filter, Reason::Operator, &name).await?;
            return Ok(RevokedMany { leases: ids.iter().map(ToString::to_string).collect(), hold: None });
        }
        let now = service.broker.clock().now();
        let hold = Hold {
            id: HoldId::new(),
            scope: asked.select.scope()?,
            reason: shortened(asked.reason.as_deref().unwrap_or("held back")),
            created: now,
            until: length(asked.hold_for.as_deref(), "hold_for")?.map(|time| time.after(now)),
        };
        let held = hold.id.to_string();
        let ids = service.broker.hold(hold, &name).await?;
        Ok(RevokedMany { leases: ids.iter().map(ToString::to_string).collect(), hold: Some(held) })
    };
    match done.await {
        Ok(done) => json(&done, &id),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// A reason that somebody wrote, on one line and of a sane length.
fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// A hold.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct HoldView {
    id: String,
    reason: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    scope: Selection,
}

impl From<Hold> for HoldView {
    fn from(hold: Hold) -> HoldView {
        let scope = hold.scope;
        HoldView {
            id: hold.id.to_string(),
            reason: hold.reason,
            created_at: hold.created.to_string(),
            until: hold.until.map(|until| until.to_string()),
            scope: Selection {
                issuer: scope.issuer,
                run: scope.run,
                repository: scope.repository,
                role: scope.role,
                provider: scope.provider,
                environment: scope.environment,
                ..Selection::default()
            },
        }
    }
}

/// Lists the holds that stand.
#[utoipa::path(get, path = "/v1/operator/holds",
    responses((status = 200, body = [HoldView]), (status = 401, body = ErrorAnswer)))]
pub(super) async fn holds(State(service): State<Service>, headers: HeaderMap) -> Response {
    let id = RequestId::of(&headers);
    let done = async {
        operator(&service, &headers, Rights::Read)?;
        service.broker.holds().await
    };
    match done.await {
        Ok(holds) => json(&holds.into_iter().map(HoldView::from).collect::<Vec<_>>(), &id),
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// Releases a hold.
#[utoipa::path(delete, path = "/v1/operator/holds/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 401, body = ErrorAnswer), (status = 404, body = ErrorAnswer)))]
pub(super) async fn release(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(hold): Path<String>,
) -> Response {
    let id = RequestId::of(&headers);
    let done = async {
        let name = operator(&service, &headers, Rights::Write)?;
        let hold: HoldId = hold.parse().map_err(|_| invalid("this is no hold's id"))?;
        service.broker.release(hold, &name).await
    };
    match done.await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => {
            let refusal = Refusal::new(RefusalKind::Invalid, "unknown-hold", "there is no such hold");
            let mut response = Refused(refusal, id).into_response();
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}

/// Secrets that a scan found.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct LeaksAsked {
    found: Vec<Found>,
}

/// A secret that a scan found, by its keyed fingerprint.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Found {
    /// In hex.
    fingerprint: String,
    /// The rule that found it.
    rule: String,
    /// The path.
    #[serde(default)]
    path: Option<String>,
    /// The commit.
    #[serde(default)]
    commit: Option<String>,
}

/// A secret that belongs to a lease.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct LeakView {
    fingerprint: String,
    lease: LeaseView,
}

/// Asks which secrets are of this broker; their leases are revoked.
#[utoipa::path(post, path = "/v1/operator/leaks", request_body = LeaksAsked,
    responses((status = 200, body = [LeakView]), (status = 400, body = ErrorAnswer), (status = 401, body = ErrorAnswer)))]
pub(super) async fn leaks(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let id = RequestId::of(&headers);
    let done = async {
        operator(&service, &headers, Rights::Leaks)?;
        let asked: LeaksAsked = serde_json::from_slice(&body)
            .map_err(|error| invalid(format!("the body cannot be read: {error}")))?;
        let seen: Vec<Sighting> = asked
            .found
            .into_iter()
            .map(|found| Sighting {
                fingerprint: found.fingerprint,
                place: LeakMatched {
                    rule: shortened(&found.rule),
                    path: found.path.as_deref().map(shortened),
                    commit: found.commit.as_deref().map(shortened),
                    ..LeakMatched::default()
                },
            })
            .collect();
        service.broker.leaked(&seen).await
    };
    match done.await {
        Ok(leaks) => {
            let views = leaks.iter().map(|leak| LeakView {
                fingerprint: leak.fingerprint.clone(),
                lease: LeaseView::from(&leak.lease),
            });
            json(&views.collect::<Vec<_>>(), &id)
        }
        Err(refusal) => Refused(refusal, id).into_response(),
    }
}
