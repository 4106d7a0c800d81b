//! Why a broker does not do what it was asked.

use claviger_audit::event::FailedClaim;

use crate::identity::rejection::Rejection;
use crate::lease::ledger::LedgerError;
use crate::policy;
use crate::provider::ProviderError;
use crate::store::{BeginError, StoreError};

/// A refusal: what the caller is told, and what the operator's log says beside it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which kind, for the status code and for whether to try again.
    pub kind: RefusalKind,
    /// A stable word: `expired`, `unknown-role`, `replayed`, ...
    pub code: &'static str,
    /// What is wrong and what to do, for the caller. Names only the caller's own values.
    pub message: String,
    /// Which claims failed, as the caller may know it.
    pub told: Vec<Told>,
    /// The same for the audit log, with the policy's own patterns.
    pub failed: Vec<FailedClaim>,
    /// More for the operator, never for the caller.
    pub detail: Option<String>,
}

/// A claim that failed, as the caller may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The claim.
    pub claim: String,
    /// What is wanted, where the caller may know that.
    pub wanted: Option<String>,
    /// What the caller's own token says.
    pub seen: Option<String>,
}

/// The kinds of refusal, by who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The request makes no sense.
    Invalid,
    /// The token or handle is not accepted.
    Unauthenticated,
    /// The identity may not have this.
    Forbidden,
    /// The limit is reached, or issuing is held back: later perhaps.
    Limited,
    /// The target refused or the operator must mend something.
    Provider,
    /// Something is down: a new try may work.
    Unavailable,
}

impl RefusalKind {
    /// Whether the same request may work later without anybody mending anything.
    pub fn is_passing(self) -> bool {
        matches!(self, RefusalKind::Limited | RefusalKind::Unavailable)
    }
}

impl Refusal {
    /// A refusal without further details.
    pub fn new(kind: RefusalKind, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { kind, code, message: message.into(), told: Vec::new(), failed: Vec::new(), detail: None }
    }

    pub(super) fn with_detail(mut self, detail: &impl ToString) -> Refusal {
        self.detail = Some(detail.to_string());
        self
    }

    /// A handle that belongs to no lease. The same words whatever the reason: nothing can be probed.
    pub(super) fn unknown_handle() -> Refusal {
        Refusal::new(
            RefusalKind::Unauthenticated,
            "unknown-handle",
            "this handle belongs to no lease, or to one that has ended",
        )
    }

    pub(super) fn unrecorded(error: &LedgerError) -> Refusal {
        Refusal::new(
            RefusalKind::Unavailable,
            "audit-unavailable",
            "the audit log does not take records at the moment, so nothing is issued",
        )
        .with_detail(error)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        let kind =
            if rejection.is_transient() { RefusalKind::Unavailable } else { RefusalKind::Unauthenticated };
        Refusal {
            told: vec![Told {
                claim: rejection.at().to_owned(),
                wanted: Some(rejection.wanted().to_owned()),
                seen: rejection.seen().map(str::to_owned),
            }],
            failed: vec![rejection.failed_claim()],
            ..Refusal::new(kind, rejection.code().as_str(), rejection.to_string())
        }
    }
}

impl From<policy::Refusal> for Refusal {
    fn from(refusal: policy::Refusal) -> Refusal {
        let answer = refusal.answer();
        let told = answer.failed.into_iter();
        Refusal {
            told: told.map(|one| Told { claim: one.claim, wanted: one.wanted, seen: one.seen }).collect(),
            failed: refusal.audit(),
            ..Refusal::new(RefusalKind::Forbidden, answer.code.as_str(), answer.message)
        }
        .with_detail(&refusal)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::new(
            RefusalKind::Unavailable,
            "store-unavailable",
            "the broker cannot reach its store at the moment",
        )
        .with_detail(&error)
    }
}

impl From<BeginError> for Refusal {
    fn from(error: BeginError) -> Refusal {
        let (kind, code) = match error {
            BeginError::Store(error) => return error.into(),
            BeginError::Replayed => (RefusalKind::Unauthenticated, "replayed"),
            BeginError::LimitReached(_) => (RefusalKind::Limited, "limit"),
            BeginError::HeldBack(_) => (RefusalKind::Forbidden, "held-back"),
        };
        Refusal::new(kind, code, error.to_string())
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Refusal {
        let (kind, code, message) = match &error {
            // The target speaks of the caller's own input.
            ProviderError::Denied(what) => (RefusalKind::Provider, "target-refused", what.clone()),
            ProviderError::Misconfigured(_) => (
                RefusalKind::Provider,
                "provider-misconfigured",
                "the provider is misconfigured; its operator finds the reason in the broker's log".to_owned(),
            ),
            ProviderError::Transient(_) | ProviderError::Ambiguous(_) => (
                RefusalKind::Unavailable,
                "target-unavailable",
                "the target does not answer at the moment".to_owned(),
            ),
            ProviderError::Unsupported(what) => (RefusalKind::Invalid, "unsupported", what.clone()),
        };
        Refusal::new(kind, code, message).with_detail(&error)
    }
}
