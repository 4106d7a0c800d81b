//! From a token to an identity: what is accepted, and every attack that is not.

use std::sync::{Arc, Mutex};

use claviger_audit::clock::SystemClock;
use claviger_broker::identity::Identity;
use claviger_broker::identity::issuer::IssuerConfig;
use claviger_broker::identity::rejection::{Code, Rejection};
use claviger_broker::identity::verifier::Verifier;
use claviger_broker::secret::Secret;
use claviger_broker::testing::{AUDIENCE, Document, Fault, TestIssuer, TestKey, claims};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

mod accepted;
mod claim_attacks;
mod fetching;
mod header_attacks;
mod issuers;
mod mutation;
mod second_opinion;
mod tls;
mod tokens;

/// A verifier of one issuer with the system's clock.
fn verifier(config: &IssuerConfig) -> Verifier {
    Verifier::new([("test", config)], AUDIENCE, Arc::new(SystemClock)).expect("the configuration is right")
}

/// A clock that a test moves.
#[derive(Clone)]
struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    fn new() -> Hands {
        Hands(Arc::new(Mutex::new("2026-06-01T12:00:00Z".parse().expect("a time"))))
    }

    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no thread panicked")
    }

    fn forward(&self, seconds: i64) {
        *self.0.lock().expect("no thread panicked") += SignedDuration::from_secs(seconds);
    }

    fn verifier(&self, config: &IssuerConfig) -> Verifier {
        let hands = self.clone();
        Verifier::new([("test", config)], AUDIENCE, Arc::new(move || hands.now())).expect("right")
    }
}

/// An issuer of the generic platform with its verifier.
struct Bench {
    issuer: TestIssuer,
    verifier: Verifier,
}

impl Bench {
    async fn new() -> Bench {
        let issuer = TestIssuer::start().await;
        let verifier = verifier(&issuer.config("oidc"));
        Bench { issuer, verifier }
    }

    async fn verify(&self, token: &Secret) -> Result<Identity, Rejection> {
        self.verifier.verify(token).await
    }

    /// Refused, for this reason, without a control character or the token itself in the words for it.
    async fn refused(&self, token: &Secret, code: Code) -> Rejection {
        let rejection = self.verify(token).await.expect_err("the token must be refused");
        assert_eq!(rejection.code(), code, "{rejection}");
        let words = format!("{rejection} {rejection:?}");
        assert!(!words.chars().any(char::is_control), "{words:?}");
        let signature = token.expose_text().and_then(|token| token.rsplit('.').next()).unwrap_or_default();
        assert!(signature.len() < 40 || !words.contains(signature), "the token is in {words}");
        rejection
    }

    /// A token with the standard claims and these, which is well signed.
    async fn refused_claims(&self, changes: Value, code: Code) -> Rejection {
        let token = self.issuer.mint(changes);
        self.refused(&token, code).await
    }

    /// A token with this header beside the usual members; a `null` takes one away. Well signed.
    async fn refused_header(&self, changes: Value, code: Code) -> Rejection {
        let mut header = self.issuer.header(TestKey::Rsa);
        for (name, value) in changes.as_object().expect("changes are an object") {
            match value {
                Value::Null => header.as_object_mut().expect("an object").remove(name),
                value => header.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
            };
        }
        let claims = self.issuer.standard(Timestamp::now(), json!({}));
        self.refused(&self.issuer.mint_with(TestKey::Rsa, &header, &claims), code).await
    }
}
