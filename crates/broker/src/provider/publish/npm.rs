//! npm: a token for one package whose trusted publisher the CI's token matches.
//!
//! Source: npm's own client, which does the same before it publishes. The token lives an hour and cannot be taken back.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Minted, Publisher, Registry, Site};
use crate::fetch::{Call, Fetch};
use crate::provider::http::{self, Words};
use crate::provider::{Check, Credential, Kind, ProviderError, SettingsError};
use crate::secret::Secret;

/// The public registry.
pub const PUBLIC: &str = "https://registry.npmjs.org";
/// How long its tokens live, in seconds, where its answer does not say it.
pub const LIFE_S: u32 = 3600;

pub(crate) static KIND: Kind = Kind {
    name: "npm",
    about: "npm: a token to publish one package with, by trusted publishing",
    variables: &[("token", "NODE_AUTH_TOKEN")],
    example: "{}\n",
    parameters: "package: '@scope/name'\n",
    build: |settings| Ok(Arc::new(Publisher(Npm(Site::build(settings, PUBLIC)?)))),
};

struct Npm(Site);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The package, with its scope.
    package: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(deserialize_with = "http::secret")]
    token: Secret,
    #[serde(default)]
    expires: Option<String>,
}

/// The audience of a registry: `npm:` and its host.
pub fn audience(base: &str) -> String {
    let host = Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned));
    format!("npm:{}", host.unwrap_or_default())
}

/// Exchanges a CI's token of the registry's [audience] for one that publishes `package`.
///
/// # Errors
/// See [`ProviderError`].
pub async fn mint(
    fetch: &Fetch,
    base: &str,
    package: &str,
    token: &Secret,
    now: Timestamp,
) -> Result<Minted, ProviderError> {
    check_name(package).map_err(ProviderError::Misconfigured)?;
    // The scope's slash is part of the name, not of the path.
    let name = package.replace('/', "%2f");
    let call = Call::post(format!("{base}/-/npm/v1/oidc/token/exchange/package/{name}"))
        .accept_json()
        .bearer(super::presentable(token)?);
    let answer = http::call_once(fetch, call).await?;
    if !answer.is_success() {
        return Err(refusal(answer.status(), answer.body(), token));
    }
    let Answer { token, expires } = http::json(&answer, "npm")?;
    let expires = match expires {
        None => super::after(now, LIFE_S),
        Some(text) => text.parse().map_err(|_| {
            ProviderError::Misconfigured("npm's answer does not say when the token ends".into())
        })?,
    };
    if expires <= now {
        return Err(ProviderError::Misconfigured(
            "npm answered with a token that is over; set this machine's clock".into(),
        ));
    }
    Ok(Minted { token: super::given(token, "npm")?, expires })
}

fn refusal(status: u16, body: &[u8], token: &Secret) -> ProviderError {
    #[derive(Deserialize, Default)]
    struct Refusal {
        #[serde(default, alias = "error")]
        message: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let what = format!("npm: status {status}: {}", Words::of(&refusal.message, &[token]));
    match status {
        // A package that does not exist and one without this publisher look alike.
        404 => ProviderError::Denied(what),
        _ => super::by_status(status, what),
    }
}

/// npm's rules for names, as far as they keep a name one step of a path.
fn check_name(package: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with(['.', '_'])
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._~".contains(&b))
    };
    let is_name = match package.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_word(scope) && is_word(name)),
        None => is_word(package),
    };
    if is_name && package.len() <= 214 { Ok(()) } else { Err("not the name of a package".into()) }
}

#[async_trait]
impl Registry for Npm {
    const LIFE_S: u32 = LIFE_S;
    const REVOCABLE: bool = false;

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        let it: Parameters = SettingsError::parse(parameters)?;
        check_name(&it.package).map_err(|what| SettingsError::new("package", what))
    }

    fn audience(&self) -> String {
        self.0.audience.clone().unwrap_or_else(|| audience(&self.0.base))
    }

    async fn mint(
        &self,
        parameters: &Value,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Minted, ProviderError> {
        let it: Parameters =
            SettingsError::parse(parameters).map_err(|e| ProviderError::Misconfigured(e.to_string()))?;
        mint(&self.0.fetch, &self.0.base, &it.package, token, now).await
    }

    fn credential(&self, token: Secret) -> Credential {
        Credential::default().secret("token", token).public("registry", format!("{}/", self.0.base))
    }

    async fn check(&self) -> Vec<Check> {
        let what = "the registry answers";
        let answer = http::call_again(&self.0.fetch, Call::get(format!("{}/-/ping", self.0.base))).await;
        vec![match answer {
            Ok(answer) if answer.is_success() => Check::good(what),
            Ok(answer) => Check::bad(what, format!("`/-/ping` has status {}", answer.status())),
            Err(error) => Check::bad(what, error.to_string()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_step_of_a_path() {
        for good in ["left-pad", "@scope/name", "a.b~c_d"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "@scope", "@/x", "a/b", "..", ".x", "@a/../b", "a?b", "A", "a%2f", "@a/b/c"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_audience_is_the_host() {
        assert_eq!(audience(PUBLIC), "npm:registry.npmjs.org");
        assert_eq!(audience("https://npm.example:8443"), "npm:npm.example");
    }
}
