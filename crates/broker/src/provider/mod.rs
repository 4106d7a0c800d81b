//! Providers: each issues, renews and revokes one kind of credential at its target. One file each, one line in
//! [`KINDS`].
//!
//! A provider talks to its target and to nothing else: neither to the store nor to the audit log. Everything it makes
//! bears the lease's [object name](crate::lease::LeaseId::object_name), so that it can be found again by name alone.
//! Every operation may be repeated: it may have happened before, with its answer lost.

pub mod aws;
mod database;
mod exec;
pub mod http;
mod mysql;
mod postgres;
pub mod publish;
mod redis;
mod revocation_file;
mod ssh;
mod template;
pub mod token_exchange;
pub mod vault;
mod x509;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::identity::Identity;
use crate::lease::LeaseId;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// A kind of provider: what the help lists and what configuration names.
pub struct Kind {
    /// Its name in configuration.
    pub name: &'static str,
    /// What it issues, in half a line.
    pub about: &'static str,
    /// The variables by which programs know the fields of its credentials: `("password", "PGPASSWORD")`.
    pub variables: &'static [(&'static str, &'static str)],
    /// An example of its configuration, YAML below `providers:`; it must be readable.
    pub example: &'static str,
    /// An example of a role's `parameters` for it, YAML.
    pub parameters: &'static str,
    /// Reads its configuration. Does not touch the target.
    pub build: fn(&Settings<'_>) -> Result<Arc<dyn Provider>, SettingsError>,
}

/// Every kind of provider, in the order the help lists them.
pub static KINDS: &[&Kind] = &[
    &postgres::KIND,
    &mysql::KIND,
    &redis::KIND,
    &ssh::KIND,
    &x509::KIND,
    &aws::KIND,
    &vault::KIND,
    &token_exchange::KIND,
    &publish::pypi::KIND,
    &publish::npm::KIND,
    &publish::crates_io::KIND,
    &exec::KIND,
];

/// A provider's part of the configuration.
pub struct Settings<'a> {
    /// The provider's name.
    pub name: &'a str,
    /// Its members, without `kind` and `environment`.
    pub value: &'a Value,
    /// Reads secrets that the configuration names.
    pub secrets: &'a dyn SecretSource,
}

/// Where the secrets of a configuration come from: `{file: PATH}`, `{env: NAME}` or `{secret: NAME}`.
pub trait SecretSource: Send + Sync {
    /// Reads the secret that `reference` names.
    ///
    /// # Errors
    /// It is not there, is readable by others, is empty or too long; in words for the operator.
    fn read(&self, reference: &Value) -> Result<Secret, String>;
}

/// A configuration or a role's parameters that the provider does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", if at.is_empty() { String::new() } else { format!("`{at}`: ") })]
pub struct SettingsError {
    /// The member, as a path: `tls.ca_file`. Empty for the whole.
    pub at: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl SettingsError {
    /// About the member `at`.
    pub fn new(at: impl Into<String>, what: impl Into<String>) -> SettingsError {
        SettingsError { at: at.into(), what: what.into() }
    }

    /// Reads a structure out of settings or parameters, naming the member that is wrong.
    ///
    /// # Errors
    /// A member is missing, unknown or of the wrong type.
    pub fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, SettingsError> {
        serde_path_to_error::deserialize(value).map_err(|e| {
            let at = e.path().to_string();
            SettingsError::new(if at == "." { String::new() } else { at }, e.inner().to_string())
        })
    }
}

/// What a provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Issuing touches no target: the credential is made in this process and means nothing until it is handed out.
    pub local: bool,
    /// The credential ends by the target's own clock at its expiry.
    pub expires_itself: bool,
    /// Nothing needs to be removed at the target once it has expired.
    pub leaves_nothing: bool,
    /// It can be ended before its time.
    pub revocable: bool,
    /// It can be prolonged.
    pub renewable: bool,
    /// What the broker made there can be listed.
    pub listable: bool,
    /// The shortest and longest time the target allows, in seconds.
    pub ttl: (u32, u32),
}

/// What is to be issued.
pub struct Request<'a> {
    /// The lease it is for.
    pub lease: LeaseId,
    /// Its name at the target.
    pub name: &'a str,
    /// Who gets it.
    pub identity: &'a Identity,
    /// The role's parameters, as [validated](Provider::validate).
    pub parameters: &'a Value,
    /// What the caller sent along, for example a public key. Hostile.
    pub input: &'a BTreeMap<String, String>,
    /// A token of the caller for the target itself, where the role wants one. Not verified by the broker.
    pub target_token: Option<&'a Secret>,
    /// How long it is to live.
    pub ttl: Ttl,
    /// Now.
    pub now: Timestamp,
    /// When it is to end.
    pub expires: Timestamp,
}

/// Keeps what is needed to find a half-made credential again.
#[async_trait]
pub trait Notes: Send + Sync {
    /// Makes `reference` durable with the lease, sealed. To be called before the step that it would undo.
    ///
    /// # Errors
    /// It was not written: do not go on.
    async fn keep(&self, reference: &[u8]) -> Result<(), ProviderError>;
}

/// One field of a credential.
#[derive(Debug)]
pub struct Field {
    /// Its name: `username`, `password`, `certificate`, ...
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: Secret,
    /// Whether it must be kept secret: masked in the CI, fingerprinted for leak matching.
    pub is_secret: bool,
}

/// A credential: named fields, in the order they are shown.
#[derive(Debug, Default)]
pub struct Credential {
    /// The fields.
    pub fields: Vec<Field>,
}

impl Credential {
    /// Adds a field that must be kept secret.
    #[must_use]
    pub fn secret(mut self, name: impl Into<Cow<'static, str>>, value: Secret) -> Credential {
        self.fields.push(Field { name: name.into(), value, is_secret: true });
        self
    }

    /// Adds a field that anybody may see.
    #[must_use]
    pub fn public(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Credential {
        self.fields.push(Field { name: name.into(), value: Secret::text(value.into()), is_secret: false });
        self
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Secret> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }
}

/// What was issued.
#[derive(Debug)]
pub struct Issued {
    /// The credential.
    pub credential: Credential,
    /// When the target ends it; never later than was asked, where the target can do that.
    pub expires: Timestamp,
    /// What is needed to renew or revoke it beside its name. Replaces what was [kept](Notes::keep).
    pub reference: Option<Secret>,
}

/// A lease as its provider sees it when it renews or revokes.
pub struct Held<'a> {
    /// The lease.
    pub lease: LeaseId,
    /// Its name at the target.
    pub name: &'a str,
    /// The parameters it was issued with.
    pub parameters: &'a Value,
    /// What the provider [kept](Notes::keep) or gave as reference.
    pub reference: Option<&'a Secret>,
    /// Now.
    pub now: Timestamp,
    /// When it is or was due to end.
    pub expires: Timestamp,
}

/// How an operation of a provider failed. The texts are for operators: they hold no secret, and what a target said is
/// cut to a sane length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The target or the caller's input says no: not to be repeated.
    #[error("refused: {0}")]
    Denied(String),
    /// The broker's own account lacks something, or the configuration is wrong.
    #[error("the provider is misconfigured: {0}")]
    Misconfigured(String),
    /// It did not work this time, and nothing was done.
    #[error("not possible at the moment: {0}")]
    Transient(String),
    /// It was sent and no answer came: it may have been done.
    #[error("no answer, it may have been done: {0}")]
    Ambiguous(String),
    /// The target cannot do this.
    #[error("the target cannot do this: {0}")]
    Unsupported(String),
}

impl ProviderError {
    /// The class, as a word for metrics and the audit log.
    pub fn class(&self) -> &'static str {
        match self {
            ProviderError::Denied(_) => "denied",
            ProviderError::Misconfigured(_) => "misconfigured",
            ProviderError::Transient(_) => "transient",
            ProviderError::Ambiguous(_) => "ambiguous",
            ProviderError::Unsupported(_) => "unsupported",
        }
    }

    /// Whether trying again soon may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, ProviderError::Transient(_) | ProviderError::Ambiguous(_))
    }
}

/// One thing that [`Provider::check`] looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: `may create roles`.
    pub what: String,
    /// What is wrong and how to mend it; `None` when all is well.
    pub problem: Option<String>,
    /// Whether issuing works all the same.
    pub is_warning: bool,
}

impl Check {
    /// All is well.
    pub fn good(what: impl Into<String>) -> Check {
        Check { what: what.into(), problem: None, is_warning: false }
    }

    /// It does not work like this.
    pub fn bad(what: impl Into<String>, problem: impl Into<String>) -> Check {
        Check { what: what.into(), problem: Some(problem.into()), is_warning: false }
    }

    /// It works, and should be mended.
    pub fn warn(what: impl Into<String>, problem: impl Into<String>) -> Check {
        Check { what: what.into(), problem: Some(problem.into()), is_warning: true }
    }
}

/// Issues, renews and revokes one kind of credential.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Looks at a role's parameters when the configuration is loaded.
    ///
    /// # Errors
    /// The provider cannot take them, or they reach further than a role may.
    fn validate(&self, parameters: &Value) -> Result<(), SettingsError>;

    /// The audience of the token that a request with these parameters must bring [along](Request::target_token) for the
    /// target itself; `None` when the target is not shown a token of the caller.
    fn target_audience(&self, parameters: &Value) -> Option<String> {
        let _ = parameters;
        None
    }

    /// Issues a credential under the request's name. Called again for the same lease it gives a credential that works,
    /// whatever became of the first.
    ///
    /// # Errors
    /// See [`ProviderError`]. Whatever the error, the lease is revoked afterwards by its name.
    async fn issue(&self, request: &Request<'_>, notes: &dyn Notes) -> Result<Issued, ProviderError>;

    /// Prolongs a credential to `until`; gives the end that holds now.
    ///
    /// # Errors
    /// See [`ProviderError`]; `Unsupported` unless it is [renewable](Abilities::renewable).
    async fn renew(&self, held: &Held<'_>, until: Timestamp) -> Result<Timestamp, ProviderError> {
        let _ = (held, until);
        Err(ProviderError::Unsupported("this credential cannot be prolonged".into()))
    }

    /// Ends a credential: locks it out, ends its sessions, removes it, and makes sure that it is gone. What is gone
    /// already is success, and so is what was never made.
    ///
    /// # Errors
    /// See [`ProviderError`]. It is tried again until it succeeds; `Unsupported` means that its expiry is awaited.
    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError>;

    /// The names of all objects at the target that the broker may have made; those of other brokers included.
    ///
    /// # Errors
    /// See [`ProviderError`]; `Unsupported` unless they are [listable](Abilities::listable).
    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        Err(ProviderError::Unsupported("what was made there cannot be listed".into()))
    }

    /// Looks whether the broker's own account at the target has what it needs and no more.
    async fn check(&self) -> Vec<Check>;
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("abilities", &self.abilities()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Gives every secret the same text, or none.
    struct Source(Option<&'static str>);

    impl SecretSource for Source {
        fn read(&self, _: &Value) -> Result<Secret, String> {
            self.0
                .map(|text| Secret::text(text.to_owned()))
                .ok_or_else(|| "there are no secrets here".to_owned())
        }
    }

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).expect(text)
    }

    #[test]
    fn every_kind_shows_how_it_is_configured() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        for kind in KINDS {
            let (name, value) = (kind.name, yaml(kind.example));
            assert!(!kind.about.is_empty() && !kind.about.ends_with('.'), "{name}");
            let build = |secrets| (kind.build)(&Settings { name, value: &value, secrets });
            // The example may name secrets and files that are not here; nothing else is wrong with it.
            if let Err(error) = build(&Source(None)) {
                let is_elsewhere = ["there are no secrets here", "No such file"];
                assert!(is_elsewhere.iter().any(|words| error.what.contains(words)), "{name}: {error}");
            }
            // With a secret of the wrong kind it may still not build.
            if let Ok(provider) = build(&Source(Some("x"))) {
                provider.validate(&yaml(kind.parameters)).expect(name);
            }
        }
    }
}
