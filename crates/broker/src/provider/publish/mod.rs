//! Trusted publishing: a package registry takes the CI's own token and gives one to publish with.
//!
//! The registry decides who may publish what; the broker adds its policy, its record of who got a token when, and the
//! giving back where the registry has one. The caller sends a token of the registry's audience along. A job without a
//! broker calls [`pypi::mint`], [`npm::mint`] or [`crates_io::mint`] itself.
//!
//! Each token is taken once by most registries: whatever went wrong, the next try needs a new one.

pub mod crates_io;
pub mod npm;
pub mod pypi;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::http::{Reach, is_token};
use super::{
    Abilities, Check, Credential, Held, Issued, Notes, Provider, ProviderError, Request, SettingsError,
};
use crate::fetch::Fetch;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// A token to publish with.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: Secret,
    /// When the registry ends it.
    pub expires: Timestamp,
}

/// The longest token that is taken from a registry or sent to one, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// A registry: where it is and how it is reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Its address, if it is not the public one.
    #[serde(default)]
    registry: Option<String>,
    /// The audience it expects, if it is another than its public one.
    #[serde(default)]
    audience: Option<String>,
    /// How it is reached.
    #[serde(default)]
    connection: Reach,
}

/// A registry, ready to be called.
struct Site {
    fetch: Fetch,
    /// Without a slash at its end.
    base: String,
    /// What the configuration says about the audience.
    audience: Option<String>,
}

impl Site {
    fn build(settings: &super::Settings<'_>, public: &str) -> Result<Site, SettingsError> {
        let it: Settings = SettingsError::parse(settings.value)?;
        let base = it.connection.base("registry", it.registry.as_deref().unwrap_or(public))?;
        let fetch = it.connection.fetch("connection")?;
        Ok(Site { fetch, base, audience: it.audience })
    }
}

/// What differs from registry to registry.
#[async_trait]
trait Registry: Send + Sync {
    /// The longest time its tokens live, in seconds.
    const LIFE_S: u32;
    /// Whether it takes tokens back before their time.
    const REVOCABLE: bool;

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError>;

    fn audience(&self) -> String;

    async fn mint(&self, parameters: &Value, token: &Secret, now: Timestamp)
    -> Result<Minted, ProviderError>;

    async fn revoke(&self, token: &Secret) -> Result<(), ProviderError> {
        let _ = token;
        Err(ProviderError::Unsupported("the registry takes no token back; it ends by itself".into()))
    }

    fn credential(&self, token: Secret) -> Credential;

    async fn check(&self) -> Vec<Check>;
}

/// A provider for a registry.
struct Publisher<R>(R);

#[async_trait]
impl<R: Registry> Provider for Publisher<R> {
    fn abilities(&self) -> Abilities {
        // A token that cannot be taken back lives as long as the registry says, not as long as the role does.
        let least = if R::REVOCABLE { 1 } else { R::LIFE_S };
        Abilities {
            local: false,
            expires_itself: true,
            leaves_nothing: true,
            revocable: R::REVOCABLE,
            renewable: false,
            listable: false,
            ttl: (least, R::LIFE_S),
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        self.0.validate(parameters)
    }

    fn target_audience(&self, _: &Value) -> Option<String> {
        Some(self.0.audience())
    }

    async fn issue(&self, request: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        let token = request.target_token.ok_or_else(|| {
            let audience = self.0.audience();
            ProviderError::Denied(format!("send a token for the audience `{audience}` along: `target_token`"))
        })?;
        let minted = self.0.mint(request.parameters, token, request.now).await?;
        let reference = R::REVOCABLE.then(|| minted.token.duplicate());
        // What can be taken back ends when the role says so.
        let expires = if R::REVOCABLE { minted.expires.min(request.expires) } else { minted.expires };
        Ok(Issued { credential: self.0.credential(minted.token), expires, reference })
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        match held.reference {
            Some(token) => self.0.revoke(token).await,
            None => Err(ProviderError::Unsupported(
                "the registry's answer was lost; what it gave ends by itself".into(),
            )),
        }
    }

    async fn check(&self) -> Vec<Check> {
        self.0.check().await
    }
}

/// A CI's token that can be sent on.
fn presentable(token: &Secret) -> Result<&Secret, ProviderError> {
    if is_token(token.expose(), MAX_TOKEN) {
        return Ok(token);
    }
    Err(ProviderError::Denied("the token for the registry has no form of a token".into()))
}

/// A token that a registry gave.
fn given(token: Secret, registry: &str) -> Result<Secret, ProviderError> {
    if is_token(token.expose(), MAX_TOKEN) {
        return Ok(token);
    }
    Err(ProviderError::Misconfigured(format!("{registry} answered without a token")))
}

/// The end of something that lives `seconds`.
fn after(now: Timestamp, seconds: u32) -> Timestamp {
    Ttl::from_secs(u64::from(seconds)).map_or(now, |life| life.after(now))
}

/// The class of a refusal of a registry that has no better word than its status.
fn by_status(status: u16, words: String) -> ProviderError {
    match status {
        429 | 500.. => ProviderError::Transient(words),
        404 | 405 => ProviderError::Misconfigured(words),
        _ => ProviderError::Denied(words),
    }
}

/// Refuses parameters where a registry takes none.
fn no_parameters(value: &Value) -> Result<(), SettingsError> {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(());
    }
    Err(SettingsError::new("", "takes no parameters: the registry knows by the token what it may publish"))
}
