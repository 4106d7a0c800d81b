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
mod guard;
mod health;
mod holder;
pub mod listen;
mod metrics;
mod openapi;
pub mod operator;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::broker::{Broker, Rate};
use crate::lease::alert::Metrics as LeaseMetrics;
use crate::policy::file::Network;
use guard::Guards;
use metrics::Metrics;
pub use openapi::document;
use operator::Operator;

/// The most bytes of a question about leaked secrets: 10,000 of them.
const MAX_LEAKS: usize = 4 * 1024 * 1024;

/// How a server treats its clients.
#[derive(Clone)]
pub struct Options {
    /// Who may operate.
    pub operators: Vec<Operator>,
    /// Requests of one address.
    pub per_address: Rate,
    /// Requests at once; more are refused at once, so that those inside come to their end.
    pub concurrency: usize,
    /// How long a request may take in all, from its head to the answer.
    pub timeout: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The most bytes of a request's body.
    pub body: usize,
    /// Numbers of the work behind the server.
    pub metrics: LeaseMetrics,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            operators: Vec::new(),
            per_address: Rate { burst: 200.0, per_second: 50.0 },
            concurrency: 1024,
            timeout: Duration::from_secs(45),
            trusted_proxies: Vec::new(),
            // Two tokens of 16 KiB and 32 KiB of input, with room for escapes.
            body: 128 * 1024,
            metrics: LeaseMetrics::default(),
        }
    }
}

/// What every handler sees.
#[derive(Clone)]
pub struct Service {
    broker: Arc<Broker>,
    operators: Arc<Vec<Operator>>,
    guards: Arc<Guards>,
    metrics: Metrics,
    body: usize,
}

impl Service {
    /// A service of this broker.
    pub fn new(broker: Arc<Broker>, options: Options) -> Service {
        let guards = Arc::new(Guards::new(&options));
        Service {
            broker,
            operators: Arc::new(options.operators),
            guards,
            metrics: Metrics::new(options.metrics),
            body: options.body,
        }
    }

    /// The routes, to be served by any listener.
    pub fn router(&self) -> Router {
        let limited = Router::new()
            .route("/v1/exchange", post(exchange::exchange))
            .route("/v1/renew", post(holder::renew))
            .route("/v1/revoke", post(holder::revoke))
            .route("/v1/heartbeat", post(holder::heartbeat))
            .route("/v1/lease", get(holder::show))
            .route("/v1/operator/leases", get(operator::list))
            .route("/v1/operator/leases/{id}", get(operator::show))
            .route("/v1/operator/revoke", post(operator::revoke))
            .route("/v1/operator/holds", get(operator::holds))
            .route("/v1/operator/holds/{id}", delete(operator::release))
            .layer(axum::extract::DefaultBodyLimit::max(self.body));
        let leaks = Router::new()
            .route("/v1/operator/leaks", post(operator::leaks))
            .layer(axum::extract::DefaultBodyLimit::max(MAX_LEAKS));
        limited
            .merge(leaks)
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .route("/metrics", get(metrics::show))
            .route("/openapi.json", get(openapi::show))
            // Last of the routes, so that orchestrators are answered whatever else is the matter.
            .route("/health", get(health::health))
            .route("/ready", get(health::ready))
            .fallback(answer::unknown_route)
            .method_not_allowed_fallback(answer::wrong_method)
            .layer(from_fn_with_state(self.clone(), metrics::count))
            .layer(from_fn(answer::readable))
            .layer(CatchPanicLayer::custom(answer::panicked))
            .with_state(self.clone())
    }
}
