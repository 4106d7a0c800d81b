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
    modifiers(&Security, &Everywhere)
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

/// What every request may be answered with.
struct Everywhere;

impl utoipa::Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::{RefOr, Response};
        const ANSWERS: [(&str, &str); 6] = [
            ("400", "The request cannot be read"),
            ("401", "Who asks is not known"),
            ("413", "The body is too long"),
            ("415", "The body is neither JSON nor a form"),
            ("429", "Too many requests; `Retry-After` says when to come again"),
            ("503", "Something that is needed is away, or too much is asked at once; to be tried again"),
        ];
        let items = document.paths.paths.values_mut();
        let operations = items.flat_map(|item| {
            [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten()
        });
        for operation in operations {
            for (status, description) in ANSWERS {
                let said = || RefOr::T(Response::new(description));
                operation.responses.responses.entry(status.to_owned()).or_insert_with(said);
            }
        }
    }
}

/// The document as JSON.
pub fn document() -> String {
    Document::openapi().to_pretty_json().expect("it is made of constants")
}

pub(super) async fn show() -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], document()).into_response()
}
