//! The broker over HTTP.
//!
//! | | |
//! | --- | --- |
//! | `POST /v1/exchange` | a CI's token becomes a credential: RFC 8693 as a form, or the same as JSON |
//! | `POST /v1/renew`, `/v1/revoke`, `/v1/heartbeat`, `GET /v1/lease` | by the lease's handle, as bearer token |
//! | `/v1/operator/...` | leases of everybody, for operators |
//! | `/health`, `/ready`, `/metrics`, `/openapi.json` | for machines |
//!
//! Bodies are bounded before they are read, every request has a time limit and an id, and a request that its client
//! abandons is finished all the same: its lease must be recorded or taken back.

mod answer;
mod exchange;
mod health;
mod holder;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::broker::Broker;

/// The most bytes of a request's body: two tokens of 16 KiB and 32 KiB of input, with room for escapes.
const MAX_BODY: usize = 128 * 1024;

/// What every handler sees.
#[derive(Clone)]
pub struct Service {
    broker: Arc<Broker>,
}

impl Service {
    /// A service of this broker.
    pub fn new(broker: Arc<Broker>) -> Service {
        Service { broker }
    }

    /// The routes, to be served by any listener.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/exchange", post(exchange::exchange))
            .route("/v1/renew", post(holder::renew))
            .route("/v1/revoke", post(holder::revoke))
            .route("/v1/heartbeat", post(holder::heartbeat))
            .route("/v1/lease", get(holder::show))
            .route("/health", get(health::health))
            .route("/ready", get(health::ready))
            .fallback(answer::unknown_route)
            .method_not_allowed_fallback(answer::wrong_method)
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }
}
