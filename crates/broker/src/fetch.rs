//! HTTP to places that configuration names, so that no answer can lead the broker elsewhere.
//!
//! No redirects, no proxy of the environment, one time limit for the whole call, bodies counted while they come. Names
//! are resolved here, every address is checked, and the connection goes to the addresses that were checked: a name
//! that resolves to something else a moment later gains nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use zeroize::Zeroizing;

use crate::secret::Secret;

mod address;
mod call;

pub use self::address::is_public;
pub use self::call::{Answer, Call};

/// Where a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Public addresses, over HTTPS.
    Public,
    /// Any address over HTTPS; plain HTTP on the loopback address only. For what the operator marked as internal.
    Internal,
    /// Any address, with or without TLS: for addresses that the machine itself was given by its CI or cloud.
    Ambient,
}

/// How a [`Fetch`] behaves.
#[derive(Clone)]
pub struct Options {
    /// Where calls may go.
    pub guard: Guard,
    /// The longest time from the first look-up to the last byte of the answer.
    pub timeout: Duration,
    /// The longest answer, in bytes.
    pub max_body: usize,
    /// Certificate authorities in PEM that are trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
}

impl Options {
    /// 5 seconds and 256 KiB, with the system's certificate authorities.
    pub fn new(guard: Guard) -> Options {
        Options { guard, timeout: Duration::from_secs(5), max_body: 256 * 1024, ca_pem: None }
    }
}

/// Why a call brought no answer. Never holds a header's value or a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The certificate authorities cannot be read, or the system has none.
    #[error("the certificate authorities cannot be used: {0}")]
    Authorities(String),
    /// The address is no URL, not HTTPS, has a user name, or is not public.
    #[error("{at}: {why}")]
    Forbidden {
        /// The address, without its query.
        at: String,
        /// Why.
        why: &'static str,
    },
    /// The answer is longer than allowed.
    #[error("{at}: the answer is longer than {limit} bytes")]
    TooLong {
        /// The address, without its query.
        at: String,
        /// The limit.
        limit: usize,
    },
    /// It took too long. Whether the call was carried out is unknown.
    #[error("{at}: no answer within {seconds} s")]
    TimedOut {
        /// The address, without its query.
        at: String,
        /// The limit.
        seconds: u64,
    },
    /// There is no connection: the call was not carried out.
    #[error("{at}: no connection: {why}")]
    NoConnection {
        /// The address, without its query.
        at: String,
        /// Why, in the words of the network.
        why: String,
    },
    /// The connection broke. Whether the call was carried out is unknown.
    #[error("{at}: the connection broke: {why}")]
    Broken {
        /// The address, without its query.
        at: String,
        /// Why, in the words of the network.
        why: String,
    },
}

impl FetchError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            FetchError::TimedOut { .. } | FetchError::NoConnection { .. } | FetchError::Broken { .. } => true,
            FetchError::Authorities(_) | FetchError::Forbidden { .. } | FetchError::TooLong { .. } => false,
        }
    }

    /// Whether the call may have been carried out although no answer came.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            FetchError::TimedOut { .. } | FetchError::Broken { .. } | FetchError::TooLong { .. } => true,
            FetchError::Authorities(_) | FetchError::Forbidden { .. } | FetchError::NoConnection { .. } => {
                false
            }
        }
    }
}

/// Makes calls. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Fetch {
    client: reqwest::Client,
    guard: Guard,
    timeout: Duration,
    max_body: usize,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Fetch {
    /// Makes calls as `options` say.
    ///
    /// # Errors
    /// The certificate authorities are unusable.
    pub fn new(options: &Options) -> Result<Fetch, FetchError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(options.timeout)
            .connect_timeout(options.timeout)
            .https_only(options.guard == Guard::Public)
            .user_agent(concat!("claviger/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Checked(options.guard)));
        if let Some(pem) = &options.ca_pem {
            let authorities =
                reqwest::Certificate::from_pem_bundle(pem).map_err(|e| FetchError::Authorities(words(&e)))?;
            if authorities.is_empty() {
                return Err(FetchError::Authorities("the file holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        let client = builder.build().map_err(|e| FetchError::Authorities(words(&e)))?;
        Ok(Fetch { client, guard: options.guard, timeout: options.timeout, max_body: options.max_body })
    }

    /// Makes a call. An answer of any status is an answer; redirects are not followed.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn send(&self, call: Call) -> Result<Answer, FetchError> {
        let at = shown(&call.url);
        let late = || FetchError::TimedOut { at: at.clone(), seconds: self.timeout.as_secs() };
        tokio::time::timeout(self.timeout, self.exchange(call, &at)).await.map_err(|_| late())?
    }

    async fn exchange(&self, call: Call, at: &str) -> Result<Answer, FetchError> {
        let url = self.admit(&call, at)?;
        let mut request = self.client.request(call.method, url).headers(call.headers);
        if let Some(body) = call.body {
            request = request.body(body.to_vec());
        }
        let mut response = request.send().await.map_err(|e| self.failure(at, &e))?;
        let long = || FetchError::TooLong { at: at.to_owned(), limit: self.max_body };
        if response.content_length().is_some_and(|length| length > self.max_body as u64) {
            return Err(long());
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(piece) = response.chunk().await.map_err(|e| self.failure(at, &e))? {
            if body.len() + piece.len() > self.max_body {
                return Err(long());
            }
            body.extend_from_slice(&piece);
        }
        let headers = std::mem::take(response.headers_mut());
        let status = response.status().as_u16();
        Ok(Answer { status, headers, body: Secret::new(std::mem::take(&mut *body)) })
    }

    /// The URL, if calls may go there. Hosts that are addresses never reach the resolver: they are checked here.
    fn admit(&self, call: &Call, at: &str) -> Result<Url, FetchError> {
        let no = |why| FetchError::Forbidden { at: at.to_owned(), why };
        if let Some(why) = call.invalid {
            return Err(no(why));
        }
        let url = Url::parse(&call.url).map_err(|_| no("not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(no("a URL with a user name is not called"));
        }
        let address = match url.host().ok_or_else(|| no("a URL without a host"))? {
            url::Host::Domain(_) => None,
            url::Host::Ipv4(address) => Some(IpAddr::V4(address)),
            url::Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        let loopback = address.map_or(url.host_str() == Some(LOCALHOST), |address| address.is_loopback());
        match (url.scheme(), self.guard) {
            ("https", _) | ("http", Guard::Ambient) => {}
            ("http", Guard::Internal) if loopback => {}
            ("http", Guard::Internal) => return Err(no("plain HTTP is for the loopback address only")),
            _ => return Err(no("only HTTPS is called")),
        }
        if self.guard == Guard::Public && address.is_some_and(|address| !is_public(address)) {
            return Err(no(NOT_PUBLIC));
        }
        Ok(url)
    }

    fn failure(&self, at: &str, error: &reqwest::Error) -> FetchError {
        let (at, why) = (at.to_owned(), words(error));
        if error.is_timeout() {
            FetchError::TimedOut { at, seconds: self.timeout.as_secs() }
        } else if has_cause::<NotPublic>(error) {
            FetchError::Forbidden { at, why: NOT_PUBLIC }
        } else if error.is_connect() {
            FetchError::NoConnection { at, why }
        } else {
            FetchError::Broken { at, why }
        }
    }
}

const NOT_PUBLIC: &str = "the name or address is not public; `internal: true` allows it";
const LOCALHOST: &str = "localhost";

/// A name that resolved to an address that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("{NOT_PUBLIC}")]
struct NotPublic;

/// Whether an error of this type lies somewhere below.
/// A text as one part of a URL's path (RFC 3986): everything but letters, digits and `-._~` is escaped.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn has_cause<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<E>())
}

/// Resolves names and lets only allowed addresses through.
struct Checked(Guard);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0;
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            // One bad address spoils the name: whoever mixes them is about to rebind.
            let allowed = |address: IpAddr| match guard {
                Guard::Public => is_public(address),
                Guard::Internal => name != LOCALHOST || address.is_loopback(),
                Guard::Ambient => true,
            };
            if !found.iter().all(|found| allowed(found.ip())) {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// An address without its query, which may hold a secret, cut to a line.
fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let start = match (url.find("://"), url[..end].rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => at + 1,
        _ => 0,
    };
    url[start..end].chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The innermost words of an error: what the network said, without the address, which is said beside it.
fn words(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}
