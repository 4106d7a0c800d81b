//! A refusal: what its caller hears, and what the audit log keeps.
//!
//! A caller hears the values of its own token. What a role wants is told only to an identity that the role is bound to,
//! and only where it is a value; patterns are for operators, who ask `claviger policy explain`. To everybody else a role
//! that exists and one that does not are the same.

use std::fmt;

use claviger_audit::event::FailedClaim;
use serde::Serialize;
use serde_json::Value;

/// Most failures that a refusal names.
pub(crate) const MAX_FAILED: usize = 16;
/// Longest value that is repeated, in characters.
const MAX_SEEN: usize = 200;

/// Why a role is refused, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// There is no such role, or none for this identity.
    UnknownRole,
    /// A claim is not what the role wants.
    ClaimMismatch,
    /// A stranger may have a hand in the run, and the role does not allow that.
    Hazard,
    /// The caller's address is not in the role's networks.
    Network,
    /// The role has ended.
    RoleEnded,
    /// A ceiling does not allow what the role grants.
    OverCeiling,
}

impl Code {
    /// The word in answers, metrics and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::UnknownRole => "unknown-role",
            Code::ClaimMismatch => "claim-mismatch",
            Code::Hazard => "hazard",
            Code::Network => "network",
            Code::RoleEnded => "role-ended",
            Code::OverCeiling => "over-ceiling",
        }
    }
}

/// One thing that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The claim, or `hazard`, `address`, `until`, `ceiling`.
    pub claim: String,
    /// What the policy wants, for operators and the audit log.
    pub wanted: String,
    /// The same, if callers may know it.
    pub(crate) told: Option<String>,
    /// What the token or the connection says; `None` if it says nothing.
    pub seen: Option<String>,
}

/// A role was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub(crate) role: String,
    pub(crate) code: Code,
    pub(crate) failed: Vec<Failure>,
    /// The role does not exist, or is bound to others.
    pub(crate) is_stranger: bool,
    pub(crate) policy: String,
}

/// What a caller hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Why, in one word.
    pub code: Code,
    /// Why, in a sentence.
    pub message: String,
    /// What failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Told>,
}

/// One thing that failed, as its caller hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The claim, or `hazard`, `address`, `until`, `ceiling`.
    pub claim: String,
    /// What the role wants, where it may be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What the caller's own token says; nothing if it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

impl Refusal {
    /// The role that was asked for, as it was asked for.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The true reason, for metrics and the audit log.
    pub fn code(&self) -> Code {
        self.code
    }

    /// All that failed, for operators.
    pub fn failed(&self) -> &[Failure] {
        &self.failed
    }

    /// SHA-256 of the policy that decided, in hex.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// What the caller hears.
    pub fn answer(&self) -> Answer {
        if self.is_stranger {
            let message = format!("there is no role `{}` for this identity", printable(&self.role));
            return Answer { code: Code::UnknownRole, message, failed: Vec::new() };
        }
        let told = |failure: &Failure| Told {
            claim: failure.claim.clone(),
            wanted: failure.told.clone(),
            seen: failure.seen.clone(),
        };
        let failed: Vec<Told> = self.failed.iter().map(told).collect();
        let each: Vec<String> = failed.iter().map(ToString::to_string).collect();
        let message = format!("role `{}` is refused: {}", printable(&self.role), each.join("; "));
        Answer { code: self.code, message, failed }
    }

    /// What the audit log keeps.
    pub fn audit(&self) -> Vec<FailedClaim> {
        let kept = |failure: &Failure| FailedClaim {
            claim: failure.claim.clone(),
            expected: failure.wanted.clone(),
            found: failure.seen.clone().unwrap_or_default(),
        };
        self.failed.iter().map(kept).collect()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seen {
            Some(seen) => write!(f, "`{}` is {seen}", self.claim)?,
            None => write!(f, "`{}` is missing", self.claim)?,
        }
        match &self.wanted {
            Some(wanted) => write!(f, ", wanted {wanted}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refusal {
    /// As operators read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "role `{}` is refused ({})", printable(&self.role), self.code.as_str())?;
        for failure in &self.failed {
            let seen = failure.seen.as_deref().unwrap_or("missing");
            write!(f, "; `{}` is {seen}, wanted {}", failure.claim, failure.wanted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// A claim's value as it is repeated: JSON, so that no line end or escape in it acts anywhere, cut to a sane length.
pub(crate) fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

/// A text of the caller that acts nowhere.
fn printable(text: &str) -> String {
    cut(&text.chars().flat_map(char::escape_default).collect::<String>())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SEEN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
