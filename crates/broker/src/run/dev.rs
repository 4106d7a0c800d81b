//! A broker to try things out with: everything in memory, an issuer of its own that gives a token to whoever asks.
//!
//! Listens on the loopback address alone. Whoever reaches it can be any repository: nothing real may be configured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claviger_audit::clock::Clock;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::secret::{self, Secret};

/// How long a token of the issuer lives, in seconds.
const LIFE_S: i64 = 300;

/// An issuer that mints tokens of GitHub's shape.
pub struct DevIssuer {
    url: String,
    audience: String,
    key: EcdsaKeyPair,
    clock: Arc<dyn Clock>,
}

/// An issuer that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the local issuer cannot be made: {0}")]
pub struct DevError(String);

impl DevIssuer {
    /// An issuer with a new key, for a broker at `broker` (`http://127.0.0.1:8700`).
    ///
    /// # Errors
    /// The system gives no key.
    pub fn new(broker: &str, clock: Arc<dyn Clock>) -> Result<DevIssuer, DevError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = key.map_err(|_| DevError("no key".into()))?;
        Ok(DevIssuer { url: format!("{broker}/dev"), audience: broker.to_owned(), key, clock })
    }

    /// Its key set.
    pub fn jwks(&self) -> Value {
        // 0x04, then both coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "dev", "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] })
    }

    /// The part of a configuration that trusts this issuer, with a role for it: YAML. `folder` holds `jwks.json`, and
    /// `ca`, the key of an SSH authority.
    pub fn config(&self, listen: &str, folder: &Path) -> String {
        let (url, audience, folder) = (&self.url, &self.audience, folder.display());
        format!(
            "audience: {audience}\n\
             server: {{listen: \"{listen}\"}}\n\
             store: {{url: \"memory:\"}}\n\
             issuers:\n  dev: {{platform: github, issuer: \"{url}\", internal: true, jwks_file: \"{folder}/jwks.json\"}}\n\
             environments:\n  dev: {{about: to try things out}}\n\
             providers:\n  ssh: {{kind: ssh, environment: dev, ca_key: {{file: \"{folder}/ca\"}}}}\n\
             roles:\n  demo:\n    about: an SSH certificate for the login name `demo`\n    issuer: dev\n    \
             match: {{repository_id: \"1\", repository_owner_id: \"1\"}}\n    environment: dev\n    \
             grant: {{provider: ssh, parameters: {{principals: [demo]}}, ttl: 5m, single_use: false}}\n"
        )
    }

    /// A token with the claims of a push to `main` of `acme/shop`; `changes` add to them or replace them.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn mint(&self, changes: &BTreeMap<String, String>) -> Result<String, DevError> {
        let now = self.clock.now().as_second();
        let run = now.to_string();
        let mut claims: Map<String, Value> = [
            ("iss", self.url.as_str()),
            ("aud", &self.audience),
            ("sub", "repo:acme/shop:ref:refs/heads/main"),
            ("repository", "acme/shop"),
            ("repository_id", "1"),
            ("repository_owner", "acme"),
            ("repository_owner_id", "1"),
            ("repository_visibility", "private"),
            ("event_name", "push"),
            ("ref", "refs/heads/main"),
            ("ref_type", "branch"),
            ("ref_protected", "true"),
            ("workflow", "demo"),
            ("workflow_ref", "acme/shop/.github/workflows/demo.yml@refs/heads/main"),
            ("job_workflow_ref", "acme/shop/.github/workflows/demo.yml@refs/heads/main"),
            ("runner_environment", "github-hosted"),
            ("actor", "you"),
            ("actor_id", "1"),
            ("run_id", &run),
            ("run_number", "1"),
            ("run_attempt", "1"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
        claims.insert("jti".into(), hex::encode(secret::random::<16>()).into());
        claims.extend(changes.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
        for (name, time) in [("iat", now), ("nbf", now - 5), ("exp", now + LIFE_S)] {
            claims.insert(name.into(), time.into());
        }
        let header = json!({ "typ": "JWT", "alg": "ES256", "kid": "dev" });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&Value::Object(claims)));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| DevError("the key does not sign".into()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// `GET /dev/token?CLAIM=VALUE...`: a token for whoever asks.
    pub fn router(self: &Arc<DevIssuer>) -> Router {
        Router::new().route("/dev/token", get(token)).with_state(Arc::clone(self))
    }

    /// When its tokens of now end.
    pub fn expires(&self) -> Timestamp {
        self.clock.now() + jiff::SignedDuration::from_secs(LIFE_S)
    }
}

/// The private key of a new SSH authority, in OpenSSH's format.
///
/// # Errors
/// The system gives no key.
pub fn ssh_authority() -> Result<Secret, DevError> {
    use ssh_key::private::{Ed25519Keypair, KeypairData};
    let seed = zeroize::Zeroizing::new(secret::random::<32>());
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let wrong = |error: ssh_key::Error| DevError(error.to_string());
    let key = ssh_key::PrivateKey::new(pair, "claviger --dev").map_err(wrong)?;
    let text = key.to_openssh(ssh_key::LineEnding::LF).map_err(wrong)?;
    Ok(Secret::text(text.to_string()))
}

async fn token(
    State(issuer): State<Arc<DevIssuer>>,
    Query(changes): Query<BTreeMap<String, String>>,
) -> Response {
    match issuer.mint(&changes) {
        Ok(token) => format!("{token}\n").into_response(),
        Err(error) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
