//! The interface's description, made from the code that serves it.

use axum::response::{IntoResponse as _, Response};
use utoipa::OpenApi;

use super::{exchange, holder, operator};

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "claviger broker",
        description = "Turns a CI job's identity into a credential that expires.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        exchange::exchange,
        holder::renew,
        holder::revoke,
        holder::heartbeat,
        holder::show,
        operator::list,
        operator::show,
        operator::revoke,
        operator::holds,
        operator::release,
        operator::leaks
    ),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        let bearer = || SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("handle", bearer());
        components.add_security_scheme("operator", bearer());
    }
}

/// The document as JSON.
pub fn document() -> String {
    Document::openapi().to_pretty_json().expect("it is made of constants")
}

pub(super) async fn show() -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], document()).into_response()
}
