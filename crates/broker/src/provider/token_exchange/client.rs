//! The client's side of token exchange (RFC 8693) and of revocation (RFC 7009).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::authentication::Client;
use crate::fetch::{Call, Fetch};
use crate::provider::ProviderError;
use crate::provider::http::{self, Words, is_token};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// RFC 8693, section 2.1.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The type of a JSON Web Token; RFC 8693, section 3.
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The longest token that is sent or taken, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// An authorization server and who we are there.
#[derive(Debug)]
pub struct Server {
    /// Makes the calls.
    pub fetch: Fetch,
    /// Where tokens are exchanged.
    pub token_endpoint: String,
    /// Where they are given back, if that is possible.
    pub revocation_endpoint: Option<String>,
    /// Who we are there.
    pub client: Client,
    /// How long tokens live when the server does not say it.
    pub lifetime: Option<Ttl>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Names of services.
    pub audience: &'a [String],
    /// Addresses of services: absolute, without fragment.
    pub resource: &'a [String],
    /// What the token is to be good for.
    pub scope: &'a [String],
    /// The type of the token that is presented.
    pub subject_token_type: &'a str,
    /// The type of token that is wanted.
    pub requested_token_type: Option<&'a str>,
    /// Less than `scope` is taken too.
    pub less_is_enough: bool,
}

impl Asked<'_> {
    /// Looks whether the server can be asked like this.
    ///
    /// # Errors
    /// The member, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let is_text = |text: &String| is_token(text.as_bytes(), 1024);
        if !self.audience.iter().all(is_text) {
            return Err(("audience", "a name has no white space and is not empty".into()));
        }
        let is_absolute = |text: &String| Url::parse(text).is_ok_and(|url| url.fragment().is_none());
        if !self.resource.iter().all(|text| is_text(text) && is_absolute(text)) {
            return Err(("resource", "an address is absolute and without `#`".into()));
        }
        // RFC 6749, section 3.3.
        let is_scope = |text: &String| is_text(text) && !text.contains(['"', '\\']);
        if !self.scope.iter().all(is_scope) {
            return Err(("scope", "write each scope on its own".into()));
        }
        let types = [
            ("subject_token_type", Some(self.subject_token_type)),
            ("requested_token_type", self.requested_token_type),
        ];
        for (at, kind) in types {
            if kind.is_some_and(|kind| !is_token(kind.as_bytes(), 256) || Url::parse(kind).is_err()) {
                return Err((at, format!("a type is a URI, for example `{JWT}`")));
            }
        }
        Ok(())
    }
}

/// What the server gave.
#[derive(Debug)]
pub struct Granted {
    /// The token.
    pub token: Secret,
    /// What it is: a URI.
    pub issued_token_type: String,
    /// How it is used: `Bearer`, or `N_A` when it is no token for requests.
    pub token_type: String,
    /// When it ends.
    pub expires: Timestamp,
    /// What it is good for, where that is not simply what was asked for.
    pub scope: Option<Vec<String>>,
}

impl Granted {
    /// Whether this is what was asked for.
    ///
    /// # Errors
    /// `Denied` when it is less, or more; `Misconfigured` when it is something else.
    pub fn check(&self, asked: &Asked<'_>) -> Result<(), ProviderError> {
        if asked.requested_token_type.is_some_and(|wanted| wanted != self.issued_token_type) {
            let seen = Words::of(&self.issued_token_type, &[]);
            return Err(ProviderError::Misconfigured(format!("the server gave a token of type {seen}")));
        }
        // DPoP and the like need a key that we do not have.
        if !["bearer", "n_a"].contains(&self.token_type.to_ascii_lowercase().as_str()) {
            let seen = Words::of(&self.token_type, &[]);
            return Err(ProviderError::Misconfigured(format!(
                "tokens that are used as {seen} are not known here"
            )));
        }
        let Some(scope) = &self.scope else { return Ok(()) };
        let granted: BTreeSet<&str> = scope.iter().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = asked.scope.iter().map(String::as_str).collect();
        let list = |names: Vec<&&str>| {
            let names: Vec<&str> = names.into_iter().copied().collect();
            Words::of(&names.join(" "), &[]).to_string()
        };
        let more: Vec<_> = granted.difference(&wanted).collect();
        if !wanted.is_empty() && !more.is_empty() {
            return Err(ProviderError::Denied(format!(
                "the server gave more than was asked for: {}",
                list(more)
            )));
        }
        let less: Vec<_> = wanted.difference(&granted).collect();
        if !less.is_empty() && !asked.less_is_enough {
            return Err(ProviderError::Denied(format!("the server did not give: {}", list(less))));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(deserialize_with = "http::secret")]
    access_token: Secret,
    issued_token_type: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Server {
    /// Exchanges `subject`. Look at what comes with [`Granted::check`] before it is used.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn exchange(
        &self,
        subject: &Secret,
        asked: &Asked<'_>,
        now: Timestamp,
    ) -> Result<Granted, ProviderError> {
        if !is_token(subject.expose(), MAX_TOKEN) {
            return Err(ProviderError::Denied("the token to exchange has no form of a token".into()));
        }
        let text = subject.expose_text().unwrap_or_default();
        let scope = asked.scope.join(" ");
        let mut form = vec![
            ("grant_type", GRANT_TYPE),
            ("subject_token", text),
            ("subject_token_type", asked.subject_token_type),
        ];
        form.extend(asked.audience.iter().map(|it| ("audience", it.as_str())));
        form.extend(asked.resource.iter().map(|it| ("resource", it.as_str())));
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        form.extend(asked.requested_token_type.map(|it| ("requested_token_type", it)));
        let call = Call::post(self.token_endpoint.as_str()).accept_json();
        let call = self.client.authenticate(call, &form, now)?;
        let answer = http::call_once(&self.fetch, call).await?;
        if answer.status() != 200 {
            return Err(self.refusal(answer.status(), answer.body(), &[subject]));
        }
        let answer: Answer = http::json(&answer, "a server that exchanges tokens")?;
        self.granted(answer, now)
    }

    fn granted(&self, answer: Answer, now: Timestamp) -> Result<Granted, ProviderError> {
        let wrong = |what: &str| ProviderError::Misconfigured(format!("the server's answer: {what}"));
        if !is_token(answer.access_token.expose(), MAX_TOKEN) {
            return Err(wrong("`access_token` has no form of a token"));
        }
        let life = match (answer.expires_in, self.lifetime) {
            (Some(seconds), _) => {
                Ttl::from_secs(seconds).ok_or_else(|| wrong("`expires_in` is out of bounds"))?
            }
            (None, Some(lifetime)) => lifetime,
            (None, None) => return Err(wrong("it does not say `expires_in`; set `lifetime` to what it is")),
        };
        let split = |scope: String| scope.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        Ok(Granted {
            token: answer.access_token,
            issued_token_type: answer.issued_token_type,
            token_type: answer.token_type,
            expires: life.after(now),
            scope: answer.scope.map(split),
        })
    }

    /// Gives a token back. One that the server does not know counts as given back (RFC 7009, section 2.2).
    ///
    /// # Errors
    /// See [`ProviderError`]; `Unsupported` when there is no revocation endpoint, or it does not take this type.
    pub async fn revoke(&self, token: &Secret, now: Timestamp) -> Result<(), ProviderError> {
        let Some(endpoint) = &self.revocation_endpoint else {
            return Err(ProviderError::Unsupported(
                "the server takes no token back; it ends by itself".into(),
            ));
        };
        let text = token.expose_text().unwrap_or_default();
        let form = [("token", text), ("token_type_hint", "access_token")];
        let call = self.client.authenticate(Call::post(endpoint.as_str()).accept_json(), &form, now)?;
        let answer = http::call_again(&self.fetch, call).await?;
        if answer.status() == 200 {
            Ok(())
        } else {
            Err(self.refusal(answer.status(), answer.body(), &[token]))
        }
    }

    fn refusal(&self, status: u16, body: &[u8], hidden: &[&Secret]) -> ProviderError {
        let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else {
            let what = format!("status {status}, without an OAuth error");
            return match status {
                429 | 500.. => ProviderError::Transient(what),
                _ => ProviderError::Misconfigured(what),
            };
        };
        let hidden: Vec<&Secret> = hidden.iter().copied().chain(self.client.secret()).collect();
        let text = format!("{}: {}", refusal.error, refusal.error_description);
        let what = Words::of(&text, &hidden).to_string();
        match refusal.error.as_str() {
            "temporarily_unavailable" | "server_error" => ProviderError::Transient(what),
            _ if status >= 500 || status == 429 => ProviderError::Transient(what),
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => {
                ProviderError::Misconfigured(what)
            }
            "unsupported_token_type" => ProviderError::Unsupported(what),
            _ => ProviderError::Denied(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(scope: Option<&str>) -> Granted {
        Granted {
            token: Secret::text("t".into()),
            issued_token_type: JWT.into(),
            token_type: "Bearer".into(),
            expires: Timestamp::MAX,
            scope: scope.map(|scope| scope.split(' ').map(str::to_owned).collect()),
        }
    }

    #[test]
    fn neither_less_nor_more() {
        let scope = ["a".to_owned(), "b".to_owned()];
        let asked = Asked { scope: &scope, subject_token_type: JWT, ..Asked::default() };
        for (scope, is_right) in [
            (None, true),
            (Some("b a"), true),
            (Some("a"), false),
            (Some("a b c"), false),
            (Some("c"), false),
        ] {
            assert_eq!(granted(scope).check(&asked).is_ok(), is_right, "{scope:?}");
        }
        let asked = Asked { less_is_enough: true, ..asked };
        assert!(granted(Some("a")).check(&asked).is_ok());
        assert!(granted(Some("a c")).check(&asked).is_err());
    }

    #[test]
    fn the_type_that_was_wanted_and_one_that_can_be_used() {
        let asked =
            Asked { requested_token_type: Some("urn:x"), subject_token_type: JWT, ..Asked::default() };
        assert!(granted(None).check(&asked).is_err());
        let other = Granted { token_type: "DPoP".into(), ..granted(None) };
        assert!(other.check(&Asked { subject_token_type: JWT, ..Asked::default() }).is_err());
    }

    #[test]
    fn asks_nothing_odd() {
        let one = |text: &str| [text.to_owned()];
        let base = Asked { subject_token_type: JWT, ..Asked::default() };
        assert!(Asked { resource: &one("https://x/y"), ..base }.check().is_ok());
        assert!(Asked { resource: &one("x"), ..base }.check().is_err());
        assert!(Asked { resource: &one("https://x/#y"), ..base }.check().is_err());
        assert!(Asked { scope: &one("a b"), ..base }.check().is_err());
        assert!(Asked { audience: &one(""), ..base }.check().is_err());
        assert!(Asked { requested_token_type: Some("jwt"), ..base }.check().is_err());
    }
}
