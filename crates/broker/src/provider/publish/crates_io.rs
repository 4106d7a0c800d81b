//! crates.io: a token for the crates whose trusted publisher the CI's token matches.
//!
//! Source: "Trusted Publishing" in crates.io's documentation, and RFC 3691. It lives 30 minutes and can be taken back.

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
pub const PUBLIC: &str = "https://crates.io";
/// The audience of the public registry.
pub const AUDIENCE: &str = "crates.io";
/// How long its tokens live, in seconds.
pub const LIFE_S: u32 = 1800;

const PATH: &str = "/api/v1/trusted_publishing/tokens";

pub(crate) static KIND: Kind = Kind {
    name: "crates_io",
    about: "crates.io: a token to publish crates with, by trusted publishing",
    variables: &[("token", "CARGO_REGISTRY_TOKEN")],
    example: "{}\n",
    parameters: "{}\n",
    build: |settings| Ok(Arc::new(Publisher(CratesIo(Site::build(settings, PUBLIC)?)))),
};

struct CratesIo(Site);

#[derive(Deserialize)]
struct Answer {
    #[serde(deserialize_with = "http::secret")]
    token: Secret,
}

/// Exchanges a CI's token of the [audience](AUDIENCE). crates.io takes each token once.
///
/// # Errors
/// See [`ProviderError`].
pub async fn mint(
    fetch: &Fetch,
    base: &str,
    token: &Secret,
    now: Timestamp,
) -> Result<Minted, ProviderError> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(serialize_with = "http::expose")]
        jwt: &'a Secret,
    }
    let body = Body { jwt: super::presentable(token)? };
    let call = http::with_json(Call::post(format!("{base}{PATH}")).accept_json(), &body);
    let answer = http::call_once(fetch, call).await?;
    if !answer.is_success() {
        return Err(refusal(answer.status(), answer.body(), token));
    }
    let Answer { token } = http::json(&answer, "crates.io")?;
    Ok(Minted { token: super::given(token, "crates.io")?, expires: super::after(now, LIFE_S) })
}

/// Takes a token back. One that is gone already counts as taken back.
///
/// # Errors
/// See [`ProviderError`].
pub async fn revoke(fetch: &Fetch, base: &str, token: &Secret) -> Result<(), ProviderError> {
    let call = Call::new(reqwest::Method::DELETE, format!("{base}{PATH}")).bearer(token);
    let answer = http::call_again(fetch, call).await?;
    match answer.status() {
        200..300 => Ok(()),
        status => Err(refusal(status, answer.body(), token)),
    }
}

fn refusal(status: u16, body: &[u8], token: &Secret) -> ProviderError {
    #[derive(Deserialize, Default)]
    struct Refusal {
        #[serde(default)]
        errors: Vec<Reason>,
    }
    #[derive(Deserialize, Default)]
    struct Reason {
        #[serde(default)]
        detail: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let detail = refusal.errors.first().map_or("", |reason| &reason.detail);
    super::by_status(status, format!("crates.io: status {status}: {}", Words::of(detail, &[token])))
}

#[async_trait]
impl Registry for CratesIo {
    const LIFE_S: u32 = LIFE_S;
    const REVOCABLE: bool = true;

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        super::no_parameters(parameters)
    }

    fn audience(&self) -> String {
        self.0.audience.clone().unwrap_or_else(|| AUDIENCE.to_owned())
    }

    async fn mint(&self, _: &Value, token: &Secret, now: Timestamp) -> Result<Minted, ProviderError> {
        mint(&self.0.fetch, &self.0.base, token, now).await
    }

    async fn revoke(&self, token: &Secret) -> Result<(), ProviderError> {
        revoke(&self.0.fetch, &self.0.base, token).await
    }

    fn credential(&self, token: Secret) -> Credential {
        Credential::default().secret("token", token)
    }

    async fn check(&self) -> Vec<Check> {
        let what = "the registry answers";
        // Taking back what never was changes nothing, and shows that the address is that of a registry.
        let nothing = Secret::text("cio_tp_".to_owned() + &"0".repeat(32));
        vec![match revoke(&self.0.fetch, &self.0.base, &nothing).await {
            Ok(()) | Err(ProviderError::Denied(_)) => Check::good(what),
            Err(error) => Check::bad(what, error.to_string()),
        }]
    }
}
