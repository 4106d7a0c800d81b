//! Serving a log or a witness: the listener of the broker (TLS, limits, an orderly end) around a function that blocks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, Request as HttpRequest, Response, StatusCode, header};
use claviger_broker::server::listen::{Listening, Options, TlsFiles};
use tokio::sync::watch;

use crate::args_audit::Listen;
use crate::commands::ends::Ends;
use crate::commands::print;

/// A body must have arrived after this time, however slowly it is dripped.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// A connection ends after this time, however slowly its answer is read.
const LIFE: Duration = Duration::from_secs(60);
/// Requests under way have so long to finish when the service ends.
const DRAIN: Duration = Duration::from_secs(5);
/// Connections served at once; the rest wait in the system's queue.
const CONNECTIONS: usize = 512;

/// A request, as read.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// As asked for, with its query if it has one.
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
    /// The methods that are allowed, if the request's is not.
    pub(super) allow: Option<&'static str>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A few words that nobody keeps.
    pub(super) fn text(status: u16, text: &str) -> Answer {
        Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            cache_control: "no-store",
            allow: None,
            body: text.as_bytes().to_vec(),
        }
    }

    /// For a method that is none of those allowed.
    pub(super) fn wrong_method(allowed: &'static str) -> Answer {
        Answer { allow: Some(allowed), ..Answer::text(405, "this method is not allowed here\n") }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // One request a connection: nobody holds a place for requests that may come.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// How a server is set up.
pub(super) struct Server<'a> {
    pub(super) listen: SocketAddr,
    pub(super) how: &'a Listen,
    /// Longest body of a request, in bytes.
    pub(super) most: usize,
    /// What is printed behind the address once it listens.
    pub(super) path: &'static str,
}

impl Server<'_> {
    /// Serves until a signal ends the process.
    pub(super) fn run(
        self,
        answer: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        ensure!(
            self.how.public || self.listen.ip().is_loopback(),
            "{}: others could reach what is served there; add --public if they may",
            self.listen
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.context("cannot start a runtime")?.block_on(self.serve(Arc::new(answer)))
    }

    async fn serve(self, answer: Arc<dyn Fn(&Request<'_>) -> Answer + Send + Sync>) -> anyhow::Result<()> {
        // The command line sees to it that neither is named alone.
        let files = self.how.tls_certificate.clone().zip(self.how.tls_key.clone());
        let tls = files.map(|(certificates, key)| TlsFiles { certificates, key, client_authorities: None });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let options = Options {
            tls,
            is_open_allowed: self.how.public,
            connections: CONNECTIONS,
            head: REQUEST_TIME,
            life: LIFE,
            drain: DRAIN,
        };
        let listening = Listening::on(self.listen, options).await?;
        print(&format!("{scheme}://{}{}\n", listening.address(), self.path))?;
        let most = self.most;
        let router = Router::new().fallback(move |request: HttpRequest<Body>| {
            let answer = Arc::clone(&answer);
            async move { respond(request, most, answer).await.into_response() }
        });
        let (stop, stopped) = watch::channel(false);
        let mut ends = Ends::new()?;
        let ended = async move {
            ends.next().await;
            // Whoever serves no more need not be told.
            let _ = stop.send(true);
        };
        tokio::join!(listening.serve(router, stopped), ended);
        Ok(())
    }
}

/// Reads a request whole and has it answered by a thread that may block.
async fn respond(
    request: HttpRequest<Body>,
    most: usize,
    answer: Arc<dyn Fn(&Request<'_>) -> Answer + Send + Sync>,
) -> Answer {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Answer::text(411, "a body must say its length\n");
    }
    if body.size_hint().lower() > most as u64 {
        return Answer::text(413, "the body is too long\n");
    }
    let body = match tokio::time::timeout(REQUEST_TIME, axum::body::to_bytes(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Answer::text(413, "the body is too long, or ended early\n"),
        Err(_) => return Answer::text(408, "the body took too long\n"),
    };
    let answered = tokio::task::spawn_blocking(move || {
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        answer(&Request { method: head.method.as_str(), path, body: &body })
    });
    answered.await.unwrap_or_else(|_| Answer::text(500, "something went wrong here\n"))
}
