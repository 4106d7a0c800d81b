//! Any OpenID Connect issuer: only what every token says.

use claviger_audit::event::Who;

use super::Platform;
use crate::claims::Claims;

/// See the module.
#[derive(Debug)]
pub struct Generic;

/// The generic platform.
pub static GENERIC: Generic = Generic;

impl Platform for Generic {
    fn name(&self) -> &'static str {
        "oidc"
    }

    fn who(&self, _: &Claims) -> Who {
        Who::default()
    }
}
