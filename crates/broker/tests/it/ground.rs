//! What tests of providers have in common: building one by its kind, and asking it for credentials.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use claviger_broker::identity::Identity;
use claviger_broker::lease::LeaseId;
use claviger_broker::provider::{
    self, Held, Issued, Notes, Provider, ProviderError, Request, SecretSource, Settings, SettingsError,
};
use claviger_broker::secret::Secret;
use claviger_broker::ttl::Ttl;
use jiff::Timestamp;
use serde_json::Value;

/// Reads `{file: PATH}` and `{value: TEXT}`.
pub(crate) struct Secrets;

impl SecretSource for Secrets {
    fn read(&self, reference: &Value) -> Result<Secret, String> {
        if let Some(path) = reference["file"].as_str() {
            return std::fs::read(path).map(Secret::new).map_err(|e| e.to_string());
        }
        reference["value"].as_str().map(|text| Secret::text(text.to_owned())).ok_or("no such secret".into())
    }
}

/// Remembers what a provider notes down.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Option<Vec<u8>>>);

#[async_trait::async_trait]
impl Notes for Kept {
    async fn keep(&self, reference: &[u8]) -> Result<(), ProviderError> {
        *self.0.lock().unwrap() = Some(reference.to_owned());
        Ok(())
    }
}

/// A provider of this kind with these settings.
pub(crate) fn build(kind: &str, settings: &Value) -> Result<Arc<dyn Provider>, SettingsError> {
    let kind = provider::KINDS.iter().find(|known| known.name == kind).expect("a known kind");
    (kind.build)(&Settings { name: "test", value: settings, secrets: &Secrets })
}

/// Somebody who asks for a credential.
pub(crate) struct Asking {
    pub(crate) identity: Identity,
    pub(crate) parameters: Value,
    pub(crate) input: BTreeMap<String, String>,
    pub(crate) target_token: Option<Secret>,
    pub(crate) lease: LeaseId,
    pub(crate) now: Timestamp,
    pub(crate) ttl: Ttl,
}

impl Asking {
    /// Asks for 15 minutes from now.
    pub(crate) fn new(identity: Identity, parameters: Value) -> Asking {
        Asking {
            identity,
            parameters,
            input: BTreeMap::new(),
            target_token: None,
            lease: LeaseId::new(),
            now: Timestamp::now(),
            ttl: Ttl::minutes(15),
        }
    }

    /// With an input.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Asking {
        self.input.insert(name.to_owned(), value.into());
        self
    }

    /// Asks for so many seconds.
    #[must_use]
    pub(crate) fn lasting(mut self, seconds: u64) -> Asking {
        self.ttl = Ttl::from_secs(seconds).unwrap();
        self
    }

    /// With a token for the target.
    #[must_use]
    pub(crate) fn bringing(mut self, token: Secret) -> Asking {
        self.target_token = Some(token);
        self
    }

    /// Asks.
    pub(crate) async fn issue(&self, provider: &dyn Provider) -> Result<Issued, ProviderError> {
        self.issue_noting(provider, &Kept::default()).await
    }

    /// Asks, and sees what is noted.
    pub(crate) async fn issue_noting(
        &self,
        provider: &dyn Provider,
        kept: &Kept,
    ) -> Result<Issued, ProviderError> {
        provider.validate(&self.parameters).expect("parameters that a role may have");
        let request = Request {
            lease: self.lease,
            name: &self.lease.object_name(),
            identity: &self.identity,
            parameters: &self.parameters,
            input: &self.input,
            target_token: self.target_token.as_ref(),
            ttl: self.ttl,
            now: self.now,
            expires: self.ttl.after(self.now),
        };
        provider.issue(&request, kept).await
    }

    /// Gives back.
    pub(crate) async fn revoke(
        &self,
        provider: &dyn Provider,
        reference: Option<&Secret>,
    ) -> Result<(), ProviderError> {
        let name = self.lease.object_name();
        provider.revoke(&self.held(&name, reference)).await
    }

    /// The lease as its provider sees it later.
    pub(crate) fn held<'a>(&'a self, name: &'a str, reference: Option<&'a Secret>) -> Held<'a> {
        Held {
            lease: self.lease,
            name,
            parameters: &self.parameters,
            reference,
            now: Timestamp::now(),
            expires: self.ttl.after(self.now),
        }
    }
}

/// A field of what was issued, as text.
pub(crate) fn field<'a>(issued: &'a Issued, name: &str) -> &'a str {
    let field = issued.credential.field(name);
    field.unwrap_or_else(|| panic!("no field `{name}`")).expose_text().expect("text")
}
