//! Trusted publishing against stand-ins that keep the registries' documented contracts: a token is taken once, refusals
//! have the registry's own shape, what is given back is gone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claviger_broker::fetch::{Fetch, Guard, Options};
use claviger_broker::provider::publish::{crates_io, npm, pypi};
use claviger_broker::provider::{Provider, ProviderError};
use claviger_broker::secret::{self, Secret};
use claviger_broker::testing::{self, TestIssuer};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::ground::{Asking, build, field};
use crate::servers::standin::StandIn;

#[derive(Default)]
struct Registry {
    /// `jti`s that were taken.
    used: BTreeSet<String>,
    /// Tokens that were given and not given back.
    live: BTreeSet<String>,
    /// Answers with this status before anything is looked at.
    fault: Option<u16>,
}

type Shared = Arc<Mutex<Registry>>;
type Answer = (StatusCode, Json<Value>);

fn status(code: u16, body: Value) -> Answer {
    (StatusCode::from_u16(code).unwrap(), Json(body))
}

fn random(prefix: &str) -> String {
    format!("{prefix}{}", secret::password(32).expose_text().unwrap())
}

/// The claims of a token, whose signature is another test's affair.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

impl Registry {
    /// Takes a token of this audience once.
    fn take(&mut self, token: &str, audience: &str) -> Result<(), &'static str> {
        let claims = claims(token).ok_or("malformed")?;
        if claims["aud"] != json!(audience) {
            return Err("audience");
        }
        if claims["repository"] != json!("example/app") {
            return Err("publisher");
        }
        let jti = claims["jti"].as_str().ok_or("malformed")?;
        if self.used.insert(jti.to_owned()) { Ok(()) } else { Err("reused") }
    }

    fn give(&mut self, prefix: &str) -> String {
        let token = random(prefix);
        self.live.insert(token.clone());
        token
    }
}

async fn pypi_audience() -> Answer {
    status(200, json!({"audience": "pypi"}))
}

async fn pypi_mint(State(registry): State<Shared>, body: Bytes) -> Answer {
    let mut registry = registry.lock().unwrap();
    let refuse = |code: &str, description: &str| {
        let errors = json!([{"code": code, "description": description}]);
        status(422, json!({"message": "Token request failed", "errors": errors}))
    };
    if let Some(code) = registry.fault.take() {
        return status(code, json!("fault"));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return refuse("invalid-payload", "body is not JSON");
    };
    let Some(token) = body["token"].as_str() else { return refuse("invalid-payload", "token is missing") };
    match registry.take(token, "pypi") {
        Ok(()) => status(200, json!({"success": true, "token": registry.give("pypi-")})),
        Err("reused") => refuse("invalid-reuse-token", "invalid token: already used"),
        Err("publisher") => {
            refuse("invalid-publisher", &format!("valid token, but no corresponding publisher {token}"))
        }
        Err(_) => refuse("invalid-token", "malformed or invalid token"),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn npm_exchange(
    State(registry): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let mut registry = registry.lock().unwrap();
    if let Some(code) = registry.fault.take() {
        return status(code, json!({"message": "fault"}));
    }
    let Some(token) = bearer(&headers) else { return status(401, json!({"message": "no token"})) };
    if name != "@scope/name" {
        return status(404, json!({"message": "OIDC token exchange error - package not found"}));
    }
    match registry.take(token, &npm::audience("http://127.0.0.1")) {
        Ok(()) => {
            let now = Timestamp::now();
            let expires = now + SignedDuration::from_hours(1);
            let body = json!({"token_type": "oidc", "token": registry.give("npm_"),
                "created": now.to_string(), "expires": expires.to_string()});
            status(201, body)
        }
        Err(what) => status(401, json!({"message": format!("OIDC token exchange error - {what}")})),
    }
}

async fn crates_mint(State(registry): State<Shared>, Json(body): Json<Value>) -> Answer {
    let mut registry = registry.lock().unwrap();
    let refuse = |code: u16, detail: &str| status(code, json!({"errors": [{"detail": detail}]}));
    if let Some(code) = registry.fault.take() {
        return refuse(code, "fault");
    }
    let jwt = body["jwt"].as_str().unwrap_or_default();
    match registry.take(jwt, "crates.io") {
        Ok(()) => status(200, json!({"token": registry.give("cio_tp_")})),
        Err("reused") => refuse(400, "JWT has already been used"),
        Err("publisher") => refuse(400, "No Trusted Publishing config found for repository"),
        Err(_) => refuse(400, "Failed to decode JWT"),
    }
}

async fn crates_revoke(State(registry): State<Shared>, headers: HeaderMap) -> StatusCode {
    let mut registry = registry.lock().unwrap();
    if let Some(code) = registry.fault.take() {
        return StatusCode::from_u16(code).unwrap();
    }
    match bearer(&headers) {
        Some(token) => {
            registry.live.remove(token);
            StatusCode::NO_CONTENT
        }
        None => StatusCode::UNAUTHORIZED,
    }
}

async fn start() -> (StandIn, Shared) {
    let registry = Shared::default();
    let router = Router::new()
        .route("/_/oidc/audience", get(pypi_audience))
        .route("/_/oidc/mint-token", post(pypi_mint))
        .route("/-/npm/v1/oidc/token/exchange/package/{name}", post(npm_exchange))
        .route("/-/ping", get(|| async { "{}" }))
        .route("/api/v1/trusted_publishing/tokens", post(crates_mint).delete(crates_revoke))
        .with_state(Arc::clone(&registry));
    (StandIn::start(router).await, registry)
}

fn provider(kind: &str, url: &str) -> Arc<dyn Provider> {
    build(kind, &json!({"registry": url, "connection": {"internal": true}})).unwrap()
}

fn token(audience: &str, repository: &str) -> Secret {
    TestIssuer::named("https://ci.test").mint(json!({"aud": audience, "repository": repository}))
}

fn asking(parameters: Value, token: Secret) -> Asking {
    Asking::new(testing::identity(json!({"sub": "ci"})), parameters).bringing(token)
}

/// For each registry: its kind, a role's parameters, and the field with the token.
fn all() -> [(&'static str, Value, &'static str); 3] {
    [
        ("pypi", json!({}), "password"),
        ("npm", json!({"package": "@scope/name"}), "token"),
        ("crates_io", json!({}), "token"),
    ]
}

#[tokio::test]
async fn each_registry_takes_a_token_once() {
    let (server, registry) = start().await;
    for (kind, parameters, name) in all() {
        let provider = provider(kind, server.url());
        let audience = provider.target_audience(&parameters).unwrap();
        let first = token(&audience, "example/app");
        let again = first.duplicate();
        let ask = asking(parameters.clone(), first);
        let issued = ask.issue(&*provider).await.unwrap();
        assert!(registry.lock().unwrap().live.contains(field(&issued, name)), "{kind}");
        assert!(issued.expires > ask.now);
        let reused = asking(parameters.clone(), again).issue(&*provider).await;
        assert!(matches!(reused, Err(ProviderError::Denied(_))), "{kind}: {reused:?}");
        // Of another audience; without a publisher; and none at all.
        for token in [token("other", "example/app"), token(&audience, "example/other")] {
            let text = token.expose_text().unwrap().to_owned();
            let refused = asking(parameters.clone(), token).issue(&*provider).await;
            let Err(ProviderError::Denied(words)) = refused else { panic!("{kind}: {refused:?}") };
            assert!(!words.contains(&text), "{kind}: {words}");
        }
        let none = Asking::new(testing::identity(json!({"sub": "ci"})), parameters).issue(&*provider).await;
        assert!(
            matches!(&none, Err(ProviderError::Denied(words)) if words.contains(&audience)),
            "{kind}: {none:?}"
        );
        assert!(provider.check().await.iter().all(|check| check.problem.is_none()), "{kind}");
    }
}

#[tokio::test]
async fn only_cratesio_takes_tokens_back() {
    let (server, registry) = start().await;
    for (kind, parameters, name) in all() {
        let provider = provider(kind, server.url());
        let audience = provider.target_audience(&parameters).unwrap();
        let ask = asking(parameters, token(&audience, "example/app"));
        let issued = ask.issue(&*provider).await.unwrap();
        let given = field(&issued, name).to_owned();
        let is_revocable = provider.abilities().revocable;
        assert_eq!(is_revocable, kind == "crates_io");
        if !is_revocable {
            let ended = ask.revoke(&*provider, issued.reference.as_ref()).await;
            assert!(matches!(ended, Err(ProviderError::Unsupported(_))), "{kind}: {ended:?}");
            assert!(issued.reference.is_none(), "nothing is kept that cannot be used");
            continue;
        }
        // It ends when the role says so: the broker gives it back then.
        assert_eq!(issued.expires, ask.ttl.after(ask.now));
        registry.lock().unwrap().fault = Some(503);
        let failed = ask.revoke(&*provider, issued.reference.as_ref()).await;
        assert!(matches!(failed, Err(ProviderError::Transient(_))), "{failed:?}");
        ask.revoke(&*provider, issued.reference.as_ref()).await.unwrap();
        assert!(!registry.lock().unwrap().live.contains(&given));
        ask.revoke(&*provider, issued.reference.as_ref()).await.unwrap();
    }
}

#[tokio::test]
async fn a_registry_in_trouble_is_not_asked_again_with_the_same_token() {
    let (server, registry) = start().await;
    for (kind, parameters, _) in all() {
        let provider = provider(kind, server.url());
        let audience = provider.target_audience(&parameters).unwrap();
        for (fault, class) in
            [(500, "transient"), (503, "transient"), (429, "transient"), (405, "misconfigured")]
        {
            registry.lock().unwrap().fault = Some(fault);
            let ask = asking(parameters.clone(), token(&audience, "example/app"));
            assert_eq!(ask.issue(&*provider).await.unwrap_err().class(), class, "{kind} {fault}");
        }
        assert!(registry.lock().unwrap().used.is_empty() && registry.lock().unwrap().fault.is_none());
    }
}

#[tokio::test]
async fn the_wrong_audience_is_found_by_check() {
    let (server, _) = start().await;
    let settings =
        json!({"registry": server.url(), "connection": {"internal": true}, "audience": "testpypi"});
    let provider = build("pypi", &settings).unwrap();
    let checks = provider.check().await;
    assert!(checks[0].problem.as_ref().unwrap().contains("`pypi`"), "{checks:?}");
}

#[tokio::test]
async fn a_job_without_a_broker() {
    let (server, registry) = start().await;
    let (fetch, now) = (Fetch::new(&Options::new(Guard::Internal)).unwrap(), Timestamp::now());
    let audience = pypi::audience(&fetch, server.url()).await.unwrap();
    let minted = pypi::mint(&fetch, server.url(), &token(&audience, "example/app"), now).await.unwrap();
    assert_eq!(minted.expires, now + SignedDuration::from_mins(15));
    let of_npm = token(&npm::audience(server.url()), "example/app");
    let minted = npm::mint(&fetch, server.url(), "@scope/name", &of_npm, now).await.unwrap();
    assert!(minted.expires > now + SignedDuration::from_mins(59));
    let of_crates = token(crates_io::AUDIENCE, "example/app");
    let minted = crates_io::mint(&fetch, server.url(), &of_crates, now).await.unwrap();
    let before = registry.lock().unwrap().live.len();
    crates_io::revoke(&fetch, server.url(), &minted.token).await.unwrap();
    assert_eq!(registry.lock().unwrap().live.len(), before - 1);
}
