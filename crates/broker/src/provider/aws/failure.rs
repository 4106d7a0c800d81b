//! What AWS's errors mean for a lease, and which are worth another try.

use serde::Deserialize;

use super::xml::Element;
use crate::fetch::Answer;
use crate::provider::ProviderError;
use crate::provider::http::{self, Words};
use crate::secret::Secret;

/// Who is refused when a request is: decides who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The caller, whose token went along.
    Token,
    /// The broker, whose keys signed.
    Keys,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    No,
    /// A few times, a little later.
    Soon,
    /// Once, after a second: AWS may not have fetched the issuer's keys yet.
    OnceAfterASecond,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// AWS's own word for it, if it was AWS that answered.
    pub(super) code: Option<String>,
    pub(super) error: ProviderError,
    pub(super) again: Again,
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Failure {
        let again = if error.is_passing() { Again::Soon } else { Again::No };
        Failure { code: None, error, again }
    }
}

/// Waits between the tries of one call, for as long as its failures ask for another.
#[derive(Debug)]
pub(super) struct Patience {
    soon: std::array::IntoIter<u64, 2>,
    second: Option<u64>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { soon: http::WAITS_MS.into_iter(), second: Some(1000) }
    }

    /// Waits before the next try; gives the error when there is to be none.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), ProviderError> {
        let wait = match failure.again {
            Again::Soon => self.soon.next(),
            Again::OnceAfterASecond => self.second.take(),
            Again::No => None,
        };
        match wait {
            Some(ms) => {
                http::pause(ms).await;
                Ok(())
            }
            None => Err(failure.error),
        }
    }
}

/// Of an answer of the query protocol (STS).
pub(super) fn of_query(answer: &Answer, proof: Proof, hidden: &[&Secret]) -> Failure {
    let document = Element::parse(answer.body()).ok();
    let text = |name: &str| document.as_ref().and_then(|document| document.text(&["Error", name]));
    of(answer.status(), text("Code"), text("Message").unwrap_or_default(), proof, hidden)
}

/// Of an answer of the JSON protocol (KMS).
pub(super) fn of_json(answer: &Answer, hidden: &[&Secret]) -> Failure {
    #[derive(Deserialize, Default)]
    struct Body {
        #[serde(rename = "__type")]
        kind: Option<String>,
        #[serde(default, alias = "Message")]
        message: String,
    }
    let body: Body = serde_json::from_slice(answer.body()).unwrap_or_default();
    // Some services put a namespace before the name.
    let code = body.kind.as_deref().map(|kind| kind.rsplit('#').next().unwrap_or(kind));
    of(answer.status(), code, &body.message, Proof::Keys, hidden)
}

fn of(status: u16, code: Option<&str>, message: &str, proof: Proof, hidden: &[&Secret]) -> Failure {
    let is_word =
        |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let Some(code) = code.filter(is_word) else {
        let what = format!("status {status}, without an error of AWS");
        let error = if status >= 500 || status == 429 {
            ProviderError::Transient(what)
        } else {
            ProviderError::Misconfigured(what)
        };
        return error.into();
    };
    let words = format!("{code}: {}", Words::of(message, hidden));
    let (error, again) = classify(status, code, proof, words);
    Failure { code: Some(code.to_owned()), error, again }
}

fn classify(status: u16, code: &str, proof: Proof, words: String) -> (ProviderError, Again) {
    use ProviderError::{Denied, Misconfigured, Transient};
    match (code, proof) {
        ("InvalidIdentityToken", _) => (Denied(words), Again::OnceAfterASecond),
        // Not with this token: whoever made the request asks its CI for a new one.
        ("ExpiredToken" | "ExpiredTokenException", Proof::Token) => (Transient(words), Again::No),
        ("IDPCommunicationError", _) => (Transient(words), Again::Soon),
        // KMS's own passing troubles have names and come with status 400 or 500.
        (
            "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "RequestTimeout"
            | "KeyUnavailableException"
            | "DependencyTimeoutException",
            _,
        ) => (Transient(words), Again::Soon),
        _ if status >= 500 || status == 429 => (Transient(words), Again::Soon),
        (
            "MalformedPolicyDocument"
            | "PackedPolicyTooLarge"
            | "RegionDisabledException"
            | "ValidationError"
            | "InvalidParameterValue",
            _,
        ) => (Misconfigured(words), Again::No),
        (_, Proof::Token) => (Denied(words), Again::No),
        (_, Proof::Keys) => (Misconfigured(words), Again::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let cases = [
            (403, "AccessDenied", Proof::Token, "denied", Again::No),
            (403, "AccessDenied", Proof::Keys, "misconfigured", Again::No),
            (400, "InvalidIdentityToken", Proof::Token, "denied", Again::OnceAfterASecond),
            (400, "ExpiredTokenException", Proof::Token, "transient", Again::No),
            (400, "ExpiredTokenException", Proof::Keys, "misconfigured", Again::No),
            (403, "IDPRejectedClaim", Proof::Token, "denied", Again::No),
            (400, "IDPCommunicationError", Proof::Token, "transient", Again::Soon),
            (400, "MalformedPolicyDocument", Proof::Token, "misconfigured", Again::No),
            (400, "PackedPolicyTooLarge", Proof::Keys, "misconfigured", Again::No),
            (403, "RegionDisabledException", Proof::Token, "misconfigured", Again::No),
            (400, "Throttling", Proof::Token, "transient", Again::Soon),
            (503, "ServiceUnavailable", Proof::Keys, "transient", Again::Soon),
            (403, "SignatureDoesNotMatch", Proof::Keys, "misconfigured", Again::No),
        ];
        for (status, code, proof, class, again) in cases {
            let failure = of(status, Some(code), "words", proof, &[]);
            assert_eq!((failure.error.class(), failure.again), (class, again), "{code}");
        }
        for (status, class) in [(404, "misconfigured"), (502, "transient"), (429, "transient")] {
            assert_eq!(of(status, None, "", Proof::Token, &[]).error.class(), class);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let failure = |code: &str| of(400, Some(code), "", Proof::Token, &[]);
        let mut patience = Patience::new();
        for (code, goes_on) in [
            ("Throttling", true),
            ("InvalidIdentityToken", true),
            ("Throttling", true),
            ("InvalidIdentityToken", false),
            ("Throttling", false),
            ("AccessDenied", false),
        ] {
            assert_eq!(patience.after(failure(code)).await.is_ok(), goes_on, "{code}");
        }
    }

    #[test]
    fn a_code_that_is_no_word_is_not_told_on() {
        let failure = of(400, Some("<script>"), "", Proof::Token, &[]);
        assert_eq!(
            failure.error.to_string(),
            "the provider is misconfigured: status 400, without an error of AWS"
        );
    }
}
