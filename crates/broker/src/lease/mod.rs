//! Leases: what was issued, to whom, until when, and how it ends.
//!
//! ```text
//! pending --issued--> active --due or asked--> revoking --target confirms--> revoked
//!    |                   |                         |  ^
//!    +---never issued?---+-------------------------+  +--- failed: later again, without end
//!                        +---target's own clock, nothing to remove---> expired
//! ```
//!
//! A lease is in the store before its target is touched, under a name derived from its id. A `pending` lease that
//! nobody finishes is revoked by that name, so that after a crash at any instant nothing issued is unknown.

pub mod alert;
pub mod hold;
pub mod job_end;
pub mod ledger;
pub mod reaper;
pub mod sweep;
pub mod watch;

use std::fmt;
use std::str::FromStr;

use claviger_audit::event::Who;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::policy::grant::Limits;
use crate::secret::{self, Secret};

pub use hold::{Hold, HoldId};

/// What every object that the broker makes at a target begins with; the orphan sweep lists by it.
pub const NAME_PREFIX: &str = "clv_";

/// Lower-case base32 (RFC 4648 without padding): 26 characters for 16 bytes.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A lease's id: 128 random bits. Not a capability: whoever knows it can do nothing with it alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId([u8; 16]);

/// A text that is no lease id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a lease id: 26 characters of a-z and 2-7")]
pub struct LeaseIdError;

impl LeaseId {
    /// A new id.
    pub fn new() -> LeaseId {
        LeaseId(secret::random())
    }

    /// The id with these bytes, as a store keeps it.
    pub fn from_bytes(bytes: [u8; 16]) -> LeaseId {
        LeaseId(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The name that what is issued gets at its target: 30 characters of `[a-z2-7_]`, which every target allows.
    pub fn object_name(&self) -> String {
        format!("{NAME_PREFIX}{self}")
    }

    /// The lease of an object's name, if the broker could have given it.
    pub fn of_object(name: &str) -> Option<LeaseId> {
        name.strip_prefix(NAME_PREFIX)?.parse().ok()
    }
}

impl Default for LeaseId {
    fn default() -> LeaseId {
        LeaseId::new()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for index in 0..26 {
            // 26 times 5 is 130: the last character carries the last three bits and two zeros.
            let five = if index == 25 { bits << 2 } else { bits >> (123 - 5 * index) };
            write!(f, "{}", char::from(BASE32[(five & 31) as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

impl FromStr for LeaseId {
    type Err = LeaseIdError;

    fn from_str(text: &str) -> Result<LeaseId, LeaseIdError> {
        if text.len() != 26 {
            return Err(LeaseIdError);
        }
        let mut bits: u128 = 0;
        for (index, byte) in text.bytes().enumerate() {
            let five = BASE32.iter().position(|known| *known == byte).ok_or(LeaseIdError)? as u128;
            if index < 25 {
                bits = (bits << 5) | five;
            } else if five & 3 == 0 {
                bits = (bits << 3) | (five >> 2);
            } else {
                return Err(LeaseIdError);
            }
        }
        Ok(LeaseId(bits.to_be_bytes()))
    }
}

/// What the holder of a lease gets beside the credential: renews and gives back this one lease, nothing else.
#[derive(Debug)]
pub struct Handle(Secret);

/// How a handle is stored: its SHA-256.
pub type HandleHash = [u8; 32];

impl Handle {
    /// A new handle: `clvh_` and 256 random bits in hex.
    pub fn new() -> Handle {
        Handle(Secret::text(format!("clvh_{}", hex::encode(secret::random::<32>()))))
    }

    /// A handle that somebody presents.
    pub fn presented(text: Secret) -> Handle {
        Handle(text)
    }

    /// What the store keeps.
    pub fn hash(&self) -> HandleHash {
        Sha256::digest(self.0.expose()).into()
    }

    /// The value, for the one answer that carries it.
    pub fn expose(&self) -> &Secret {
        &self.0
    }
}

impl Default for Handle {
    fn default() -> Handle {
        Handle::new()
    }
}

/// Where a lease is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Written down; the target may or may not hold something of it.
    Pending,
    /// Issued, and recorded in the audit log.
    Active,
    /// To be removed at the target; not yet confirmed.
    Revoking,
    /// The target confirmed that nothing is left.
    Revoked,
    /// It ended by the target's own clock and left nothing there.
    Expired,
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] =
        [State::Pending, State::Active, State::Revoking, State::Revoked, State::Expired];

    /// The word in stores, answers and options.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Active => "active",
            State::Revoking => "revoking",
            State::Revoked => "revoked",
            State::Expired => "expired",
        }
    }

    /// The state of this word.
    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing will happen to it any more.
    pub fn is_closed(self) -> bool {
        matches!(self, State::Revoked | State::Expired)
    }
}

/// Why a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its time is over.
    Due,
    /// Its holder gave it back.
    Returned,
    /// The CI says that its job has ended.
    JobEnded,
    /// Its holder was not heard of any more.
    Silent,
    /// An operator said so.
    Operator,
    /// Its credential was found where it should not be.
    Leaked,
    /// Issuing did not come to its end.
    Unfinished,
    /// The audit log did not take the record of it.
    Unrecorded,
    /// Found at the target though the lease was closed.
    Stray,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::Due,
        Reason::Returned,
        Reason::JobEnded,
        Reason::Silent,
        Reason::Operator,
        Reason::Leaked,
        Reason::Unfinished,
        Reason::Unrecorded,
        Reason::Stray,
    ];

    /// The word in stores and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Due => "expiry",
            Reason::Returned => "holder",
            Reason::JobEnded => "job_end",
            Reason::Silent => "silence",
            Reason::Operator => "operator",
            Reason::Leaked => "leak",
            Reason::Unfinished => "unfinished",
            Reason::Unrecorded => "unrecorded",
            Reason::Stray => "stray",
        }
    }

    /// The reason of this word.
    pub fn parse(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// A lease, as a store holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Where it is in its life.
    pub state: State,
    /// SHA-256 of its handle.
    pub handle: HandleHash,
    /// Who holds it.
    pub who: Who,
    /// The role it was issued under.
    pub role: String,
    /// The provider that issued it.
    pub provider: String,
    /// The environment of both.
    pub environment: String,
    /// What the role asked of the provider at that time: a changed role must not change how the lease is revoked.
    pub parameters: Value,
    /// When the intent was written.
    pub created: Timestamp,
    /// When it is due to end. For a pending lease, when it is given up: whoever issues must have stopped by then. One
    /// that was given up ends at `max_expires` at the latest, and this says so then.
    pub expires: Timestamp,
    /// Beyond this it is never renewed.
    pub max_expires: Timestamp,
    /// How often it was renewed.
    pub renewals: u32,
    /// When its holder was last heard of, if it promised to be heard of.
    pub heard: Option<Timestamp>,
    /// How long the holder may be silent, in seconds, if it promised a heartbeat.
    pub silence_s: Option<u32>,
    /// What the provider needs to revoke it beside its name, sealed; see [`Seal`](crate::seal::Seal).
    pub reference: Option<Vec<u8>>,
    /// Keyed fingerprints of its secret values, in hex, to recognise a leaked one.
    pub fingerprints: Vec<String>,
    /// Why it ends or ended.
    pub reason: Option<Reason>,
    /// Since when it is to be revoked.
    pub revoking_since: Option<Timestamp>,
    /// How often revoking failed.
    pub attempts: u32,
    /// When revoking is tried next; while a worker is at it, when another one would.
    pub next_attempt: Option<Timestamp>,
    /// What the last attempt said; never a secret.
    pub last_error: Option<String>,
    /// When it was closed.
    pub closed: Option<Timestamp>,
}

impl Lease {
    /// The name of its object at the target.
    pub fn object_name(&self) -> String {
        self.id.object_name()
    }
}

/// The place that a lease's reference is [sealed](crate::seal::Seal) for.
pub fn reference_place(id: LeaseId) -> String {
    format!("lease/{id}/reference")
}

/// A lease to be written down, with what must be true at the same instant.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The lease, `Pending`, or `Active` when the provider touches no target.
    pub lease: Lease,
    /// The token that asks; it is used up with this.
    pub token: TokenUse,
    /// How many such leases there may be.
    pub limits: Limits,
}

/// A token's use for a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// See [`TokenId`](crate::identity::TokenId).
    pub token_id: String,
    /// Until when it must be remembered: the end of the token's acceptance.
    pub keep_until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        for bytes in [[0; 16], [255; 16], secret::random(), secret::random()] {
            let id = LeaseId::from_bytes(bytes);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(LeaseId::of_object(&id.object_name()), Some(id));
            assert_eq!(id.object_name().len(), 30);
        }
        for bad in ["", "a", "aaaaaaaaaaaaaaaaaaaaaaaaab", "AAAAAAAAAAAAAAAAAAAAAAAAAA", "clv_"] {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn words_read_back() {
        assert!(State::ALL.into_iter().all(|state| State::parse(state.as_str()) == Some(state)));
        assert!(Reason::ALL.into_iter().all(|reason| Reason::parse(reason.as_str()) == Some(reason)));
    }

    #[test]
    fn a_handle_does_not_print() {
        let handle = Handle::new();
        assert!(!format!("{handle:?}").contains(handle.expose().expose_text().expect("hex")));
    }
}
