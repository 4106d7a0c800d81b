//! Why a broker does not start.

use crate::broker::SetupError;
use crate::config::ConfigError;
use crate::identity::issuer::IssuerError;
use crate::seal::SealError;
use crate::server::listen::ListenError;
use crate::store::StoreError;

/// Why a broker does not start, or does not take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An issuer is wrong.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A secret cannot be read.
    #[error("{what}: {why}")]
    Secret {
        /// Which: `keys.current`, `audit.key`, ...
        what: String,
        /// Why.
        why: String,
    },
    /// A master key cannot be used.
    #[error("{what}: {source}")]
    Key {
        /// Which.
        what: String,
        /// Why.
        source: SealError,
    },
    /// A section is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// The store cannot be opened.
    #[error("store.url: {0}")]
    Store(#[from] StoreError),
    /// The audit log cannot be opened.
    #[error("audit: {0}")]
    Audit(String),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A running broker does not take the new configuration.
    #[error(transparent)]
    Setup(#[from] SetupError),
}
