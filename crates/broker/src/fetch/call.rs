//! What is sent, and what comes back.

use std::fmt;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use super::shown;
use crate::secret::Secret;

/// A call to make.
pub struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    pub(super) invalid: Option<&'static str>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", self.method, shown(&self.url))
    }
}

impl Call {
    /// A call with this method.
    pub fn new(method: Method, url: impl Into<String>) -> Call {
        Call { method, url: url.into(), headers: HeaderMap::new(), body: None, invalid: None }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>) -> Call {
        Call::new(Method::GET, url)
    }

    /// `POST`.
    pub fn post(url: impl Into<String>) -> Call {
        Call::new(Method::POST, url)
    }

    /// With a header. A value that cannot stand in one makes the call fail when it is sent.
    #[must_use]
    pub fn header(self, name: &'static str, value: &str) -> Call {
        self.put(name, value.as_bytes(), false)
    }

    /// With a header whose value is a secret.
    #[must_use]
    pub fn secret_header(self, name: &'static str, value: &Secret) -> Call {
        self.put(name, value.expose(), true)
    }

    /// With `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &Secret) -> Call {
        let value = Zeroizing::new([b"Bearer ", token.expose()].concat());
        self.put("authorization", &value, true)
    }

    /// With `Accept: application/json`.
    #[must_use]
    pub fn accept_json(self) -> Call {
        self.header("accept", "application/json")
    }

    /// With a body as a form would send it.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Call {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", body.into_bytes())
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, value: &Value) -> Call {
        self.body("application/json", value.to_string().into_bytes())
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, kind: &'static str, body: Vec<u8>) -> Call {
        self.body = Some(Zeroizing::new(body));
        self.header("content-type", kind)
    }

    fn put(mut self, name: &'static str, value: &[u8], secret: bool) -> Call {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(secret);
                self.headers.insert(name, value);
            }
            _ => self.invalid = Some("a header's name or value has characters that cannot stand there"),
        }
        self
    }
}

/// An answer, of any status.
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Secret,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

impl Answer {
    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is from 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, which may hold a credential.
    pub fn body(&self) -> &[u8] {
        self.body.expose()
    }

    /// The body, taken over.
    pub fn into_body(self) -> Secret {
        self.body
    }
}
