//! What a failure means for the broker.

use crate::provider::ProviderError;
use crate::provider::database::pool::Failure;

/// Codes of the server's errors (SQLSTATE) that are acted upon.
pub(super) mod code {
    pub(in super::super) const DUPLICATE_OBJECT: &str = "42710";
    pub(in super::super) const UNIQUE_VIOLATION: &str = "23505";
    pub(in super::super) const UNDEFINED_OBJECT: &str = "42704";
    pub(in super::super) const DEPENDENT_OBJECTS: &str = "2BP01";
}

impl Failure {
    /// Whether the server answered with one of these codes.
    pub(super) fn is(&self, codes: &[&str]) -> bool {
        matches!(self, Failure::Said { code, .. } if codes.contains(&code.as_str()))
    }
}

/// The class of a failure while `doing` something.
pub(super) fn classify(failure: Failure, doing: &str) -> ProviderError {
    match failure {
        Failure::Unreachable(words) => ProviderError::Transient(format!("{doing}: {words}")),
        Failure::Untrusted(words) => ProviderError::Misconfigured(format!("{doing}: TLS: {words}")),
        Failure::Silent(words) => ProviderError::Ambiguous(format!("{doing}: {words}")),
        Failure::Said { code, words } => {
            let text = format!("{doing}: the server says: {words} ({code})");
            if is_passing(&code) {
                ProviderError::Transient(text)
            } else {
                ProviderError::Misconfigured(text)
            }
        }
    }
}

/// Whether the same statement may succeed later: a connection that is going, a clash with another transaction, a lack
/// of resources, a server that is being started, stopped or failed over, and what the server calls an internal error
/// (two changes of one role at once are that).
fn is_passing(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "40" | "53" | "57" | "58" | "XX") || matches!(code, "25006" | "55006" | "55P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let said = |code: &str| Failure::Said { code: code.into(), words: "words".into() };
        for (failure, class) in [
            (Failure::Unreachable("refused".into()), "transient"),
            (Failure::Silent("reset".into()), "ambiguous"),
            (Failure::Untrusted("unknown issuer".into()), "misconfigured"),
            (said("28P01"), "misconfigured"),
            (said("42501"), "misconfigured"),
            (said("3D000"), "misconfigured"),
            (said("53300"), "transient"),
            (said("57P03"), "transient"),
            (said("57014"), "transient"),
            (said("25006"), "transient"),
            (said("XX000"), "transient"),
            (said(""), "misconfigured"),
        ] {
            assert_eq!(classify(failure.clone(), "x").class(), class, "{failure:?}");
        }
    }
}
