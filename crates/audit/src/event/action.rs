//! What can happen: one line and one structure for each type of event.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Extra;

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $kind:literal,)*) => {
        /// What happened, with what this type of event says beyond the rest.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Action {
            $($(#[$doc])* $name($name),)*
            /// A type that this version does not know, or with members of a shape it does not know.
            Unknown {
                /// The type's name.
                kind: String,
                /// Its members.
                detail: Map<String, Value>,
            },
        }

        /// The types of event, in the order of the documentation, with their names in the log.
        pub const KINDS: &[&str] = &[$($kind),*];

        impl Action {
            /// The type's name in the log.
            pub fn kind(&self) -> &str {
                match self {
                    $(Action::$name(_) => $kind,)*
                    Action::Unknown { kind, .. } => kind,
                }
            }

            pub(super) fn to_parts(&self) -> serde_json::Result<(String, Map<String, Value>)> {
                let detail = match self {
                    $(Action::$name(detail) => members(detail)?,)*
                    Action::Unknown { detail, .. } => detail.clone(),
                };
                Ok((self.kind().to_owned(), detail))
            }

            pub(super) fn from_parts(kind: String, detail: Map<String, Value>) -> Action {
                match kind.as_str() {
                    $($kind => match $name::deserialize(&detail) {
                        Ok(known) => Action::$name(known),
                        Err(_) => Action::Unknown { kind, detail },
                    },)*
                    _ => Action::Unknown { kind, detail },
                }
            }
        }
    };
}

fn members(detail: &impl Serialize) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(detail)? {
        Value::Object(members) => Ok(members),
        _ => Ok(Map::new()),
    }
}

actions! {
    /// A token was accepted or refused.
    Authentication = "auth",
    /// The policy allowed or refused a grant.
    Decision = "decision",
    /// A credential was issued.
    Issued = "lease.issued",
    /// A lease was renewed.
    Renewed = "lease.renewed",
    /// A credential was revoked, or revoking it failed (outcome `failed`).
    Revoked = "lease.revoked",
    /// A credential expired by itself.
    Expired = "lease.expired",
    /// The holder used a lease: a call of the broker with it.
    Used = "lease.used",
    /// The job that held a lease ended.
    JobEnded = "job.ended",
    /// A static secret was rotated.
    Rotated = "secret.rotated",
    /// A static secret was read.
    SecretRead = "secret.read",
    /// A static secret was created, changed or removed.
    SecretChanged = "secret.changed",
    /// Configuration or policy changed.
    ConfigChanged = "config.changed",
    /// A scan recorded a finding.
    FindingRecorded = "scan.finding",
    /// A finding turned out to be a credential that the broker knows.
    LeakMatched = "scan.leak",
    /// A log began, or was opened again.
    LogOpened = "log.opened",
    /// A log was closed.
    LogClosed = "log.closed",
    /// The log's key changes.
    KeyRotated = "log.key",
    /// Old entry bundles are dropped.
    Pruned = "log.pruned",
}

macro_rules! detail {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])*
            #[serde(default, skip_serializing_if = "is_default")]
            pub $field: $type,)*
            /// Members of a newer version.
            #[serde(flatten)]
            pub extra: Extra,
        }
    };
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A claim that did not pass.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FailedClaim {
    /// The claim's name.
    pub claim: String,
    /// What the rule wants.
    pub expected: String,
    /// What the token says.
    pub found: String,
}

detail! {
    /// Says how somebody authenticated.
    Authentication {
        /// `oidc`, `mtls`, ...
        method: Option<String>,
        /// The token's own id (`jti`).
        token_id: Option<String>,
        /// Which checks failed.
        failed: Vec<FailedClaim>,
    }
}
detail! {
    /// Says by which rule it was decided.
    Decision {
        /// The rule that decided; none if nothing matched.
        rule: Option<String>,
        /// The version of the policy, as a hash.
        policy: Option<String>,
        /// The claims that failed, for each rule that came near.
        failed: Vec<FailedClaim>,
    }
}
detail! {
    /// Says what was issued.
    Issued {
        /// The kind of credential.
        kind: Option<String>,
        /// The name it has at the target.
        name: Option<String>,
    }
}
detail! {
    /// Says how often a lease was renewed.
    Renewed {
        /// How often, this time included.
        count: u32,
    }
}
detail! {
    /// Says who wanted the credential revoked, or how revoking fails.
    Revoked {
        /// `job_end`, `operator`, `leak`, `expiry`, ...
        by: Option<String>,
        /// The attempt's number, from 1.
        attempt: u32,
        /// When it was due, RFC 3339.
        due: Option<String>,
    }
}
detail! {
    /// Says nothing more.
    Expired {}
}
detail! {
    /// Says what for.
    Used {
        /// The call.
        operation: Option<String>,
    }
}
detail! {
    /// Says nothing more.
    JobEnded {}
}
detail! {
    /// Names a rotated secret.
    Rotated {
        /// Its name.
        name: String,
        /// Its new version.
        version: u64,
        /// When it was due, RFC 3339.
        due: Option<String>,
    }
}
detail! {
    /// Names a secret that was read.
    SecretRead {
        /// Its name.
        name: String,
        /// The version.
        version: u64,
    }
}
detail! {
    /// Names a secret that was changed.
    SecretChanged {
        /// Its name.
        name: String,
        /// Its new version.
        version: u64,
        /// `created`, `changed` or `removed`.
        change: Option<String>,
        /// When it is to be rotated next, RFC 3339.
        rotate_by: Option<String>,
    }
}
detail! {
    /// Names what was configured.
    ConfigChanged {
        /// `policy`, `providers`, ...
        what: String,
        /// SHA-256 before, in hex.
        before: Option<String>,
        /// SHA-256 after, in hex.
        after: Option<String>,
    }
}
detail! {
    /// Names a finding.
    FindingRecorded {
        /// The rule.
        rule: String,
        /// The path in the repository.
        path: Option<String>,
        /// The commit.
        commit: Option<String>,
        /// `low` to `critical`.
        severity: Option<String>,
    }
}
detail! {
    /// Names where a known credential leaked.
    LeakMatched {
        /// The rule.
        rule: String,
        /// The path in the repository.
        path: Option<String>,
        /// The commit.
        commit: Option<String>,
    }
}
detail! {
    /// Says what came before.
    LogOpened {
        /// The program's version.
        program: Option<String>,
        /// The final checkpoint of the log before this one, as a note.
        previous: Option<String>,
        /// Entries that were replayed from the journal.
        replayed: u64,
        /// Bytes of a torn batch that were cut; nobody had been answered.
        torn_bytes: u64,
    }
}
detail! {
    /// Says what comes next.
    LogClosed {
        /// The origin of the next log, when this one ends for good.
        next: Option<String>,
    }
}
detail! {
    /// Names both keys.
    KeyRotated {
        /// The old verifier key.
        old: String,
        /// The new verifier key.
        new: String,
        /// Does the old key sign no more? Before that, both do.
        retired: bool,
    }
}
detail! {
    /// Says what may be missing from now on.
    Pruned {
        /// The first entry whose bundle is kept.
        minimum: u64,
        /// Where the bundles went.
        archive: Option<String>,
    }
}
