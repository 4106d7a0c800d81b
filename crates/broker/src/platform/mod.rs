//! What each CI's tokens say: one file per platform, one line in [`PLATFORMS`].

pub mod generic;

use std::fmt;

use claviger_audit::event::Who;

use crate::claims::Claims;

/// A CI or other source of identities.
pub trait Platform: fmt::Debug + Send + Sync {
    /// Its name in configuration: `github`, `gitlab`, ...
    fn name(&self) -> &'static str;

    /// Who a token speaks of, in the audit log's words, without issuer and subject.
    fn who(&self, claims: &Claims) -> Who;
}

/// Every platform, in the order the help lists them.
pub static PLATFORMS: &[&dyn Platform] = &[&generic::GENERIC];
