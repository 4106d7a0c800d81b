//! What a configuration says, ready to be used.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::Broker;
use crate::identity::verifier::Verifier;
use crate::lease::State;
use crate::policy::Policy;
use crate::provider::Provider;
use crate::store::{Filter, StoreError};

/// Issuers, policy and providers of one configuration.
pub struct Setup {
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Decides.
    pub policy: Arc<Policy>,
    /// Providers by name.
    pub providers: BTreeMap<String, Target>,
}

/// A configured provider.
#[derive(Clone)]
pub struct Target {
    /// Its kind's name: `postgres`, `ssh`, ...
    pub kind: &'static str,
    /// The environment it belongs to.
    pub environment: String,
    /// The provider.
    pub provider: Arc<dyn Provider>,
}

/// Why a new setup does not take the old one's place.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A provider is gone that still has leases: nobody could revoke them.
    #[error(
        "provider `{provider}` has {leases} leases that are not closed; revoke them first \
         (`claviger lease revoke --provider {provider}`) and keep it configured until they are"
    )]
    StillLeased {
        /// The provider.
        provider: String,
        /// How many, up to a hundred.
        leases: usize,
    },
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Broker {
    /// Puts a new setup in the old one's place. Requests under way end with the old one.
    ///
    /// # Errors
    /// See [`SetupError`]; the old setup stays.
    pub async fn replace(&self, setup: Setup) -> Result<(), SetupError> {
        let gone: Vec<String> = self
            .setup()
            .providers
            .keys()
            .filter(|name| !setup.providers.contains_key(*name))
            .cloned()
            .collect();
        for provider in gone {
            let filter = Filter {
                provider: Some(provider.clone()),
                states: vec![State::Pending, State::Active, State::Revoking],
                ..Filter::default()
            };
            let leases = self.store.list(&filter, None, 100).await?.len();
            if leases > 0 {
                return Err(SetupError::StillLeased { provider, leases });
            }
        }
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
        Ok(())
    }
}
