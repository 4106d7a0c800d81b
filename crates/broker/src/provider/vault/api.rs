//! HTTP to Vault or OpenBao: one call, its answer, and what its errors mean.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::datum::Datum;
use crate::fetch::{Call, Fetch};
use crate::provider::ProviderError;
use crate::provider::http::{self, Words};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// A server and, in it, a namespace.
#[derive(Debug, Clone)]
pub struct Vault {
    fetch: Fetch,
    /// Without a slash at its end.
    base: String,
    namespace: Option<String>,
}

/// A server said no.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    words: Words,
}

/// A call that brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server's own no.
    Refused(Refused),
    /// Everything else.
    Other(ProviderError),
}

/// Who gets a server's no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// Whoever asked: his token or his input is refused.
    Caller,
    /// The broker: its rights or its configuration.
    Broker,
}

impl Failure {
    /// As an error of the provider. `what` was tried.
    pub(super) fn blame(self, blame: Blame, what: &str) -> ProviderError {
        let refused = match self {
            Failure::Refused(refused) => refused,
            Failure::Other(error) => return error,
        };
        let text = format!("{what}: status {}: {}", refused.status, refused.words);
        match refused.status {
            // 412: this replica is behind. 429, 472, 473: a quota, or a standby. 503: sealed.
            412 | 429 | 472 | 473 | 500.. => ProviderError::Transient(text),
            400 | 403 if blame == Blame::Caller => ProviderError::Denied(text),
            _ => ProviderError::Misconfigured(text),
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Failure::Refused(refused) => Some(refused.status),
            Failure::Other(_) => None,
        }
    }
}

impl Refused {
    /// Whether it says that the accessor, token or lease it was asked about does not exist.
    pub(super) fn is_gone(&self) -> bool {
        let words = self.words.to_string();
        let says = ["invalid accessor", "invalid lease", "lease not found"];
        matches!(self.status, 400 | 403 | 404) && says.iter().any(|phrase| words.contains(phrase))
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Failure {
        Failure::Other(error)
    }
}

/// What a server answered.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Response {
    /// Names what was leased; empty when nothing was.
    #[serde(default)]
    pub(super) lease_id: String,
    /// In seconds.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) data: Option<Datum>,
    #[serde(default)]
    pub(super) auth: Option<Auth>,
    #[serde(default)]
    pub(super) wrap_info: Option<Wrap>,
}

/// A token that was made.
#[derive(Debug, Deserialize)]
pub(super) struct Auth {
    #[serde(deserialize_with = "http::secret")]
    pub(super) client_token: Secret,
    pub(super) accessor: String,
    /// In seconds; 0 means that it does not end.
    pub(super) lease_duration: u64,
}

/// Where an answer was put that only its receiver is to see.
#[derive(Debug, Deserialize)]
pub(super) struct Wrap {
    #[serde(deserialize_with = "http::secret")]
    pub(super) token: Secret,
}

#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// One call.
pub(super) struct Ask<'a, B> {
    pub(super) method: Method,
    /// Below `/v1/`; checked, see [`super::path`].
    pub(super) path: &'a str,
    pub(super) token: Option<&'a Secret>,
    pub(super) body: Option<B>,
    /// For how long the answer is to wait for its receiver.
    pub(super) wrap: Option<Ttl>,
}

impl Vault {
    /// The server at `base`, an address without a slash at its end.
    pub fn new(fetch: Fetch, base: String, namespace: Option<String>) -> Vault {
        Vault { fetch, base, namespace }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Whether the server is sealed. Answered without a token.
    pub(super) async fn is_sealed(&self) -> Result<bool, ProviderError> {
        #[derive(Deserialize)]
        struct Seal {
            sealed: bool,
        }
        let call = Call::get(format!("{}/v1/sys/seal-status", self.base)).accept_json();
        let answer = http::call_again(&self.fetch, call).await?;
        Ok(http::json::<Seal>(&answer, "Vault or OpenBao")?.sealed)
    }

    /// `GET`.
    pub(super) async fn get(&self, path: &str, token: Option<&Secret>) -> Result<Response, Failure> {
        self.ask(Ask::<()> { method: Method::GET, path, token, body: None, wrap: None }).await
    }

    /// `POST`.
    pub(super) async fn post(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: impl Serialize,
    ) -> Result<Response, Failure> {
        self.ask(Ask { method: Method::POST, path, token, body: Some(body), wrap: None }).await
    }

    /// Makes a call.
    pub(super) async fn ask<B: Serialize>(&self, ask: Ask<'_, B>) -> Result<Response, Failure> {
        let mut call = Call::new(ask.method, format!("{}/v1/{}", self.base, ask.path))
            .accept_json()
            // Without it an agent that stands in between refuses.
            .header("x-vault-request", "true");
        if let Some(token) = ask.token {
            call = call.secret_header("x-vault-token", token);
        }
        if let Some(namespace) = &self.namespace {
            call = call.header("x-vault-namespace", namespace);
        }
        if let Some(wrap) = ask.wrap {
            call = call.header("x-vault-wrap-ttl", &format!("{}s", wrap.seconds()));
        }
        if let Some(body) = &ask.body {
            call = http::with_json(call, body);
        }
        let answer = http::call_once(&self.fetch, call).await?;
        match answer.status() {
            204 => Ok(Response::default()),
            200..300 if answer.body().is_empty() => Ok(Response::default()),
            200..300 => Ok(http::json(&answer, "Vault or OpenBao")?),
            status => {
                let errors: Errors = serde_json::from_slice(answer.body()).unwrap_or_default();
                let hidden: Vec<&Secret> = ask.token.into_iter().collect();
                Err(Failure::Refused(Refused {
                    status,
                    words: Words::of(&errors.errors.join("; "), &hidden),
                }))
            }
        }
    }
}

/// The end of something that lives `seconds` from `now`; what does not end, ends with time itself.
pub(super) fn end(now: Timestamp, seconds: u64) -> Timestamp {
    if seconds == 0 {
        return Timestamp::MAX;
    }
    Ttl::from_secs(seconds).map_or(Timestamp::MAX, |life| life.after(now))
}
