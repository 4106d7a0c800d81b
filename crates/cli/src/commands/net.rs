//! HTTP out: one runtime, clients that follow nobody, and answers of bounded size in bounded time.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, redirect};
use tokio::runtime::Runtime;

/// A connection must stand after this time.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// So long may pass without a byte.
const SILENCE_TIME: Duration = Duration::from_secs(10);

/// Status, headers and body of an answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A client for one purpose.
pub(super) struct Net {
    client: Client,
}

/// The runtime that waits for answers, and for whatever else waits; threads of our own call into it.
pub(super) fn runtime() -> anyhow::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().ok()
    });
    made.as_ref().context("no thread for the network")
}

impl Net {
    /// `whole` bounds one question with its answer. Without `keep`, each question has a connection of its own, so that
    /// none is lost with one that the other side is about to close.
    pub(super) fn new(whole: Duration, keep: bool) -> anyhow::Result<Net> {
        let client = builder(whole)
            .read_timeout(SILENCE_TIME)
            .pool_max_idle_per_host(if keep { 8 } else { 0 })
            .http1_title_case_headers()
            .build()?;
        Ok(Net { client })
    }

    /// The same for whoever takes long to begin an answer, as listings do.
    pub(super) fn patient(whole: Duration) -> anyhow::Result<Net> {
        Ok(Net { client: builder(whole).build()? })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends, and reads up to `most` bytes of the answer's body; a longer one is an error.
    pub(super) fn ask(&self, request: RequestBuilder, most: usize) -> anyhow::Result<Answer> {
        runtime()?.block_on(async {
            let mut response = request.send().await.map_err(plain)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(part) = response.chunk().await.map_err(plain)? {
                anyhow::ensure!(body.len() + part.len() <= most, "the answer is longer than {most} bytes");
                body.extend_from_slice(&part);
            }
            Ok(Answer { status, headers, body })
        })
    }

    /// Sends, and reads the status alone.
    pub(super) fn status(&self, request: RequestBuilder) -> anyhow::Result<u16> {
        runtime()?.block_on(async { Ok(request.send().await.map_err(plain)?.status().as_u16()) })
    }
}

fn builder(whole: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("claviger/", env!("CARGO_PKG_VERSION")))
        // A redirect could lead anywhere, with whatever was sent.
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIME)
        .timeout(whole)
}

/// The innermost reason in few words; the URL is known to the caller.
fn plain(error: reqwest::Error) -> anyhow::Error {
    if error.is_timeout() {
        return anyhow::anyhow!("no answer in time");
    }
    let error = anyhow::Error::from(error.without_url());
    anyhow::anyhow!("{:#}", error.root_cause())
}
