//! Calls of a broker over HTTP.

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::Wish;
use crate::fetch::{Answer, Call, Fetch, FetchError, Guard, Options};
use crate::secret::Secret;
use crate::server::wire::{ErrorAnswer, GRANT_TYPE, JWT, ReceivedExchange, RenewAnswer, RevokeAnswer};
use crate::ttl::Ttl;

/// The longest answer that is read, in bytes: a credential with certificates and a receipt.
const MAX_ANSWER: usize = 1024 * 1024;

/// How to reach a broker.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Its address: `https://broker.example.com`.
    pub url: String,
    /// PEM certificates to trust besides the system's.
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
        let found = claim.found.as_deref().map_or("nothing".into(), |found| clean(found, 300));
        text.push_str(&format!("\n  {}: the token says {found}", clean(&claim.claim, 100)));
        if let Some(wanted) = &claim.wanted {
            text.push_str(&format!(", wanted is {}", clean(wanted, 300)));
        }
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
    /// Ends with a slash.
    base: String,
    http: Fetch,
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
        let options = Options {
            timeout: connect.timeout,
            max_body: MAX_ANSWER,
            ca_pem: connect.ca.clone(),
            ..Options::new(Guard::Internal)
        };
        let http = Fetch::new(&options).map_err(|error| BrokerError::Address(error.to_string()))?;
        Ok(Broker { base: base.into(), http })
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
        let (ttl, heartbeat) =
            (wish.ttl.map(|ttl| ttl.to_string()), wish.heartbeat.map(|ttl| ttl.to_string()));
        let mut fields = vec![
            ("grant_type", GRANT_TYPE),
            ("subject_token_type", JWT),
            ("subject_token", token.expose_text().unwrap_or_default()),
            ("role", &wish.role),
        ];
        let optional = [
            ("ttl", ttl.as_deref()),
            ("heartbeat", heartbeat.as_deref()),
            ("target_token", target_token.and_then(Secret::expose_text)),
        ];
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let input: Vec<_> = wish.input.iter().map(|(name, value)| (format!("input.{name}"), value)).collect();
        fields.extend(input.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        read(&self.send(self.call(Method::POST, "v1/exchange").form(&fields)).await?)
    }

    /// Prolongs a lease.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn renew(&self, handle: &Secret, ttl: Option<Ttl>) -> Result<RenewAnswer, BrokerError> {
        let body = match ttl {
            Some(ttl) => serde_json::json!({ "ttl": ttl.to_string() }),
            None => serde_json::json!({}),
        };
        read(&self.send(self.call(Method::POST, "v1/renew").bearer(handle).json(&body)).await?)
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn revoke(&self, handle: &Secret) -> Result<RevokeAnswer, BrokerError> {
        read(&self.send(self.call(Method::POST, "v1/revoke").bearer(handle)).await?)
    }

    /// Says that the holder is alive.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn heartbeat(&self, handle: &Secret) -> Result<(), BrokerError> {
        let answer = self.send(self.call(Method::POST, "v1/heartbeat").bearer(handle)).await?;
        if answer.is_success() { Ok(()) } else { Err(refusal(&answer)) }
    }

    /// A call of an operator, whose token goes as bearer.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn operate<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<&Value>,
    ) -> Result<T, BrokerError> {
        let call = self.call(method, path).bearer(token);
        read(
            &self
                .send(match body {
                    Some(body) => call.json(body),
                    None => call,
                })
                .await?,
        )
    }

    fn call(&self, method: Method, path: &str) -> Call {
        Call::new(method, format!("{}{path}", self.base)).accept_json()
    }

    async fn send(&self, call: Call) -> Result<Answer, BrokerError> {
        self.http.send(call).await.map_err(|error| match error {
            FetchError::Forbidden { .. } | FetchError::Authorities(_) => {
                BrokerError::Address(error.to_string())
            }
            FetchError::TooLong { .. } => BrokerError::Strange(error.to_string()),
            _ => BrokerError::Unreachable(error.to_string()),
        })
    }
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, BrokerError> {
    if !answer.is_success() {
        return Err(refusal(answer));
    }
    // What was done without anything to say about it has no body.
    let body = if answer.body().is_empty() { b"null" } else { answer.body() };
    // The error's text could quote a credential: only the place is told.
    serde_json::from_slice(body).map_err(|error| {
        BrokerError::Strange(format!(
            "its answer cannot be read at line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

fn refusal(answer: &Answer) -> BrokerError {
    let status = answer.status();
    match serde_json::from_slice::<ErrorAnswer>(answer.body()) {
        Ok(said) => BrokerError::Refused(Box::new(said)),
        // A proxy in between, most likely.
        Err(_) if status >= 500 || status == 429 => BrokerError::Unreachable(format!("HTTP {status}")),
        Err(_) => BrokerError::Strange(format!("HTTP {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(url: &str) -> Result<Broker, BrokerError> {
        Broker::new(&Connect { url: url.into(), ca: None, timeout: Duration::from_secs(1) })
    }

    #[test]
    fn a_token_does_not_travel_in_the_open() {
        for good in
            ["https://b.example", "https://b.example/claviger", "http://127.0.0.1:8080", "http://[::1]:1"]
        {
            assert!(connect(good).is_ok(), "{good}");
        }
        for bad in [
            "http://b.example",
            "ftp://b.example",
            "https://u@b.example",
            "https://b.example/?x",
            "b.example",
        ] {
            assert!(connect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_prefix_stays() {
        let broker = connect("https://b.example/claviger").expect("a good address");
        assert_eq!(broker.base, "https://b.example/claviger/");
    }
}
