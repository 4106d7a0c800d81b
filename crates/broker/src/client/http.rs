//! Calls of a broker over HTTP.

use std::time::Duration;

use reqwest::{Certificate, Method, StatusCode, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Wish;
use crate::secret::Secret;
use crate::server::wire::{
    ErrorAnswer, GRANT_TYPE, JWT, ReceivedExchange, RenewAnswer, RenewRequest, RevokeAnswer,
};
use crate::ttl::Ttl;

/// The longest answer that is read, in bytes: a credential with certificates and a receipt.
const MAX_ANSWER: usize = 1024 * 1024;

/// How to reach a broker.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Its address: `https://broker.example.com`.
    pub url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address cannot be used.
    #[error("the broker's address {0}")]
    Address(String),
    /// The broker said no.
    #[error("{}", said(.0))]
    Refused(Box<ErrorAnswer>),
    /// It could not be reached, or did not answer in time.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// What answered is no broker.
    #[error("what answers there is no claviger broker: {0}")]
    Strange(String),
}

fn said(answer: &ErrorAnswer) -> String {
    let mut text = format!("{} ({})", clean(&answer.error_description, 1000), clean(&answer.code, 40));
    for claim in answer.failed.iter().take(10) {
        text.push_str(&format!("\n  {}: the token says {}", clean(&claim.claim, 100), clean(&claim.found, 300)));
    }
    if !answer.request_id.is_empty() {
        text.push_str(&format!("\n  request {}", clean(&answer.request_id, 64)));
    }
    text
}

/// A stranger's text on one line, without what a terminal obeys.
fn clean(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

impl BrokerError {
    /// Whether a new try may help.
    pub fn is_passing(&self) -> bool {
        match self {
            BrokerError::Refused(answer) => answer.retry,
            BrokerError::Unreachable(_) => true,
            BrokerError::Address(_) | BrokerError::Strange(_) => false,
        }
    }

    /// The broker's own word for it, if it said one.
    pub fn code(&self) -> Option<&str> {
        match self {
            BrokerError::Refused(answer) => Some(&answer.code),
            _ => None,
        }
    }
}

/// A broker that can be called.
pub struct Broker {
    base: Url,
    http: reqwest::Client,
}

impl Broker {
    /// Makes ready to call; calls nothing yet.
    ///
    /// # Errors
    /// The address is no https URL (plain http is for loopback addresses alone), or the certificates cannot be read.
    pub fn new(connect: &Connect) -> Result<Broker, BrokerError> {
        let wrong = |why: &str| BrokerError::Address(format!("`{}` {why}", clean(&connect.url, 200)));
        let mut base: Url = connect.url.parse().map_err(|_| wrong("is no URL; write https://HOST"))?;
        let is_loopback = match base.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback) {
            return Err(wrong("is not https; a token must not travel in the open"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(wrong("has more than host, port and path"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(connect.timeout)
            .connect_timeout(connect.timeout.min(Duration::from_secs(5)))
            .user_agent(concat!("claviger/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &connect.ca {
            let certificates =
                Certificate::from_pem_bundle(pem).map_err(|_| wrong("has CA certificates that cannot be read"))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| BrokerError::Unreachable(causes(&error)))?;
        Ok(Broker { base, http })
    }

    /// Exchanges a token.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn exchange(
        &self,
        wish: &Wish,
        token: &Secret,
        target_token: Option<&Secret>,
    ) -> Result<ReceivedExchange, BrokerError> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", GRANT_TYPE)
            .append_pair("subject_token_type", JWT)
            .append_pair("subject_token", token.expose_text().unwrap_or_default())
            .append_pair("role", &wish.role);
        for (name, ttl) in [("ttl", wish.ttl), ("heartbeat", wish.heartbeat)] {
            if let Some(ttl) = ttl {
                form.append_pair(name, &ttl.to_string());
            }
        }
        for (name, value) in &wish.input {
            form.append_pair(&format!("input.{name}"), value);
        }
        if let Some(target) = target_token {
            form.append_pair("target_token", target.expose_text().unwrap_or_default());
        }
        let request = self
            .http
            .request(Method::POST, self.url("v1/exchange"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish());
        read(request).await
    }

    /// Prolongs a lease.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn renew(&self, handle: &Secret, ttl: Option<Ttl>) -> Result<RenewAnswer, BrokerError> {
        read(self.held("v1/renew", handle).json(&RenewRequest { ttl: ttl.map(|ttl| ttl.to_string()) })).await
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn revoke(&self, handle: &Secret) -> Result<RevokeAnswer, BrokerError> {
        read(self.held("v1/revoke", handle)).await
    }

    /// Says that the holder is alive.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn heartbeat(&self, handle: &Secret) -> Result<(), BrokerError> {
        let answer = send(self.held("v1/heartbeat", handle)).await?;
        if answer.0 == StatusCode::NO_CONTENT { Ok(()) } else { Err(refusal(answer.0, &answer.1)) }
    }

    /// A call without a handle, for operators: `token` goes as bearer.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn operate<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, BrokerError> {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(bearer(token));
        if let Some(body) = body {
            request = request.json(body);
        }
        read(request).await
    }

    fn held(&self, path: &str, handle: &Secret) -> reqwest::RequestBuilder {
        self.http.request(Method::POST, self.url(path)).bearer_auth(bearer(handle))
    }

    fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }
}

fn bearer(token: &Secret) -> &str {
    token.expose_text().unwrap_or_default()
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, BrokerError> {
    let (status, body) = send(request).await?;
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    // The error's text could quote a credential: only the place is told.
    serde_json::from_slice(body.expose()).map_err(|error| {
        BrokerError::Strange(format!("its answer cannot be read at line {}, column {}", error.line(), error.column()))
    })
}

async fn send(request: reqwest::RequestBuilder) -> Result<(StatusCode, Secret), BrokerError> {
    let unreachable = |error: reqwest::Error| BrokerError::Unreachable(causes(&error));
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let mut body = zeroize::Zeroizing::new(Vec::new());
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(BrokerError::Strange("its answer is longer than 1 MiB".into()));
        }
        body.extend_from_slice(&part);
    }
    Ok((status, Secret::new(std::mem::take(&mut *body))))
}

fn refusal(status: StatusCode, body: &Secret) -> BrokerError {
    match serde_json::from_slice::<ErrorAnswer>(body.expose()) {
        Ok(answer) => BrokerError::Refused(Box::new(answer)),
        // A proxy in between, most likely.
        Err(_) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            BrokerError::Unreachable(format!("HTTP {status}"))
        }
        Err(_) => BrokerError::Strange(format!("HTTP {status}")),
    }
}

/// The error and its causes on one line, without the URL, which is the caller's own.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    clean(&text, 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(url: &str) -> Result<Broker, BrokerError> {
        Broker::new(&Connect { url: url.into(), ca: None, timeout: Duration::from_secs(1) })
    }

    #[test]
    fn a_token_does_not_travel_in_the_open() {
        for good in ["https://b.example", "https://b.example/claviger", "http://127.0.0.1:8080", "http://[::1]:1"] {
            assert!(connect(good).is_ok(), "{good}");
        }
        for bad in ["http://b.example", "ftp://b.example", "https://u@b.example", "https://b.example/?x", "b.example"] {
            assert!(connect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_prefix_stays() {
        let broker = connect("https://b.example/claviger").expect("a good address");
        assert_eq!(broker.url("v1/renew").as_str(), "https://b.example/claviger/v1/renew");
    }
}
