//! What the broker keeps of a lease at Vault: enough to renew and revoke it, and no credential.

use serde::{Deserialize, Serialize};

use crate::provider::ProviderError;
use crate::secret::Secret;

/// Kept with a lease, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    /// Names the token that read the credential. Whoever has it cannot use the token, only end it.
    pub(super) accessor: String,
    /// What was read.
    pub(super) kind: What,
}

/// What a token read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Nothing, as far as is known.
    Unknown,
    /// The token itself was handed out.
    Token,
    /// Something with this lease.
    Lease(String),
    /// Something that Vault does not end.
    Unleased,
    /// Something that waits in Vault or was fetched.
    Wrapped,
}

impl Reference {
    pub(super) fn write(&self) -> Secret {
        Secret::new(serde_json::to_vec(self).expect("memory takes it, and every key is text"))
    }

    pub(super) fn read(kept: &Secret) -> Result<Reference, ProviderError> {
        serde_json::from_slice(kept.expose()).map_err(|_| {
            ProviderError::Misconfigured("what was kept of this lease is not of a lease at Vault".into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        for kind in [What::Unknown, What::Token, What::Lease("a/b".into()), What::Unleased, What::Wrapped] {
            let reference = Reference { accessor: "x".into(), kind };
            assert_eq!(Reference::read(&reference.write()), Ok(reference));
        }
        assert!(Reference::read(&Secret::text("{}".into())).is_err());
    }
}
