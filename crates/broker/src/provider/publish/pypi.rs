//! PyPI: a token for the projects whose trusted publisher the CI's token matches.
//!
//! Source: "Trusted Publishers", "Token exchange" in PyPI's documentation. It lives 15 minutes and cannot be taken back.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Minted, Publisher, Registry, Site};
use crate::fetch::{Call, Fetch};
use crate::provider::http::{self, Words};
use crate::provider::{Check, Credential, Kind, ProviderError, SettingsError};
use crate::secret::Secret;

/// The public registry.
pub const PUBLIC: &str = "https://pypi.org";
/// The audience of the public registry.
pub const AUDIENCE: &str = "pypi";
/// How long its tokens live, in seconds.
pub const LIFE_S: u32 = 900;

pub(crate) static KIND: Kind = Kind {
    name: "pypi",
    about: "PyPI: a token to upload with, by trusted publishing",
    variables: &[("username", "TWINE_USERNAME"), ("password", "TWINE_PASSWORD")],
    example: "{}\n",
    parameters: "{}\n",
    build: |settings| Ok(Arc::new(Publisher(PyPi(Site::build(settings, PUBLIC)?)))),
};

struct PyPi(Site);

#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(deserialize_with = "http::secret")]
    token: Secret,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    #[serde(default)]
    description: String,
}

/// Asks the registry for the audience that it expects.
///
/// # Errors
/// See [`ProviderError`].
pub async fn audience(fetch: &Fetch, base: &str) -> Result<String, ProviderError> {
    #[derive(Deserialize)]
    struct Audience {
        audience: String,
    }
    let call = Call::get(format!("{base}/_/oidc/audience")).accept_json();
    let answer = http::call_again(fetch, call).await?;
    if !answer.is_success() {
        return Err(super::by_status(answer.status(), format!("PyPI: status {}", answer.status())));
    }
    Ok(http::json::<Audience>(&answer, "PyPI")?.audience)
}

/// Exchanges a CI's token of the registry's [audience]. PyPI takes each token once.
///
/// # Errors
/// See [`ProviderError`]; a refusal names PyPI's own code.
pub async fn mint(
    fetch: &Fetch,
    base: &str,
    token: &Secret,
    now: Timestamp,
) -> Result<Minted, ProviderError> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(serialize_with = "http::expose")]
        token: &'a Secret,
    }
    let body = Body { token: super::presentable(token)? };
    let call = http::with_json(Call::post(format!("{base}/_/oidc/mint-token")).accept_json(), &body);
    let answer = http::call_once(fetch, call).await?;
    if !answer.is_success() {
        return Err(refusal(answer.status(), answer.body(), token));
    }
    let Answer { success, token } = http::json(&answer, "PyPI")?;
    if !success {
        return Err(ProviderError::Denied("PyPI answered without success".into()));
    }
    Ok(Minted { token: super::given(token, "PyPI")?, expires: super::after(now, LIFE_S) })
}

fn refusal(status: u16, body: &[u8], token: &Secret) -> ProviderError {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else {
        return super::by_status(status, format!("PyPI: status {status}"));
    };
    let words = |text: &str| Words::of(text, &[token]).to_string();
    let Some(first) = refusal.errors.first() else {
        return super::by_status(status, format!("PyPI: {}", words(&refusal.message)));
    };
    let what = format!("PyPI: {}", words(&format!("{}: {}", first.code, first.description)));
    match first.code.as_str() {
        "not-enabled" | "invalid-payload" => ProviderError::Misconfigured(what),
        _ => super::by_status(status, what),
    }
}

#[async_trait]
impl Registry for PyPi {
    const LIFE_S: u32 = LIFE_S;
    const REVOCABLE: bool = false;

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        super::no_parameters(parameters)
    }

    fn audience(&self) -> String {
        self.0.audience.clone().unwrap_or_else(|| AUDIENCE.to_owned())
    }

    async fn mint(&self, _: &Value, token: &Secret, now: Timestamp) -> Result<Minted, ProviderError> {
        mint(&self.0.fetch, &self.0.base, token, now).await
    }

    fn credential(&self, token: Secret) -> Credential {
        // The user's name that goes with every token.
        Credential::default().public("username", "__token__").secret("password", token)
    }

    async fn check(&self) -> Vec<Check> {
        let (what, wanted) = ("the registry expects the configured audience", self.audience());
        vec![match audience(&self.0.fetch, &self.0.base).await {
            Ok(seen) if seen == wanted => Check::good(what),
            Ok(seen) => {
                Check::bad(what, format!("it expects `{}`; write that as `audience`", Words::of(&seen, &[])))
            }
            Err(error) => Check::bad("the registry answers", error.to_string()),
        }]
    }
}
