//! A log and the one after it: the first entry of the next must commit to the last head of the one before.

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::event::{Action, Event};
use crate::note::VerifyingKey;
use crate::reader::{ReadError, Reader};

/// Why two logs are not one after the other.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// An entry could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The next log does not begin with `log.opened` and a checkpoint of the one before.
    #[error("log `{next}` does not name the log before it")]
    NotNamed {
        /// The later log's origin.
        next: String,
    },
    /// The checkpoint named is not accepted.
    #[error("the checkpoint that log `{next}` names is wrong: {source}")]
    Checkpoint {
        /// The later log's origin.
        next: String,
        /// Why.
        source: CheckpointError,
    },
    /// The log before went on, or is another one.
    #[error("log `{next}` follows `{previous}` at {named} entries, but that log has {found}")]
    Head {
        /// The later log's origin.
        next: String,
        /// The earlier log's origin.
        previous: String,
        /// The size named.
        named: u64,
        /// The size found.
        found: u64,
    },
}

/// Checks that `next` begins where `previous`, whose keys are `keys`, ended. Each log is verified by itself besides.
///
/// # Errors
/// See [`ChainError`].
pub fn verify_chain(previous: &Reader, keys: &[VerifyingKey], next: &Reader) -> Result<(), ChainError> {
    let name = || next.meta().origin.clone();
    let first = Event::parse(&next.entry(0)?).map_err(|_| ChainError::NotNamed { next: name() })?;
    let Action::LogOpened(opened) = first.action else {
        return Err(ChainError::NotNamed { next: name() });
    };
    let note = opened.previous.ok_or_else(|| ChainError::NotNamed { next: name() })?;
    let named = SignedCheckpoint::verify(&note, &previous.meta().origin, keys)
        .map_err(|source| ChainError::Checkpoint { next: name(), source })?;
    let (named, found) = (named.checkpoint(), previous.head().checkpoint());
    if named != found {
        return Err(ChainError::Head {
            next: name(),
            previous: found.origin.clone(),
            named: named.size,
            found: found.size,
        });
    }
    Ok(())
}
