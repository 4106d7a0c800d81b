//! What a failure means for the broker.

use crate::provider::ProviderError;
use crate::provider::database::pool::Failure;

/// Numbers of the server's errors that are acted upon.
pub(super) mod number {
    /// Access to a schema denied: what `SET DEFAULT ROLE ... FOR` another user says.
    pub(in super::super) const SCHEMA_DENIED: u16 = 1044;
    pub(in super::super) const ACCESS_DENIED: u16 = 1045;
    pub(in super::super) const TABLE_DENIED: u16 = 1142;
    pub(in super::super) const PRIVILEGE_MISSING: u16 = 1227;
    /// An option of the server forbids it: read-only, or hashes that its password rules cannot judge.
    pub(in super::super) const OPTION_FORBIDS: u16 = 1290;
    pub(in super::super) const NO_SUCH_SESSION: u16 = 1094;
}

/// Numbers after which the same statement may succeed later: too many connections, shutting down, lock waits,
/// deadlocks, time limits, read-only for the moment, no quorum, no disk, no memory.
const PASSING: [u16; 22] = [
    1021, 1028, 1037, 1038, 1040, 1041, 1047, 1053, 1077, 1203, 1205, 1213, 1226, 1290, 1317, 1792, 1836,
    1927, 1969, 2013, 3024, 3058,
];

impl Failure {
    /// Whether the server answered with one of these numbers.
    pub(super) fn has_number(&self, numbers: &[u16]) -> bool {
        let code = match self {
            Failure::Said { code, .. } => code.parse().ok(),
            _ => None,
        };
        code.is_some_and(|code| numbers.contains(&code))
    }
}

/// The class of a failure while `doing` something.
pub(super) fn classify(failure: Failure, doing: &str) -> ProviderError {
    let is_passing = failure.has_number(&PASSING);
    match failure {
        Failure::Unreachable(words) => ProviderError::Transient(format!("{doing}: {words}")),
        Failure::Untrusted(words) => ProviderError::Misconfigured(format!("{doing}: TLS: {words}")),
        Failure::Silent(words) => ProviderError::Ambiguous(format!("{doing}: {words}")),
        Failure::Said { code, words } => {
            let text = format!("{doing}: the server says: {words} ({code})");
            if is_passing { ProviderError::Transient(text) } else { ProviderError::Misconfigured(text) }
        }
    }
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
            (said("1045"), "misconfigured"),
            (said("1044"), "misconfigured"),
            (said("1040"), "transient"),
            (said("1205"), "transient"),
            (said("1969"), "transient"),
            (said("42000"), "misconfigured"),
        ] {
            assert_eq!(classify(failure.clone(), "x").class(), class, "{failure:?}");
        }
    }
}
