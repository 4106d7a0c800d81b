//! Token exchange against npm's oidc-provider, and against a stand-in that holds requests to RFC 8693 and answers badly
//! on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claviger_broker::fetch::{Fetch, Guard, Options};
use claviger_broker::provider::token_exchange::authentication::Client;
use claviger_broker::provider::token_exchange::client::{Asked, JWT, Server};
use claviger_broker::provider::{Provider, ProviderError};
use claviger_broker::secret::{self, Secret};
use claviger_broker::testing::{self, TestIssuer};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ground::{Asking, Kept, build, field};
use crate::servers::oauth::OAuth;
use crate::servers::standin::StandIn;

const RESOURCE: &str = "https://billing.test";

fn asking(parameters: Value, token: Secret) -> Asking {
    Asking::new(testing::identity(json!({"sub": "ci"})), parameters).bringing(token).lasting(600)
}

fn read() -> Value {
    json!({"resource": [RESOURCE], "scope": ["invoices:read"]})
}

fn settings(url: &str, client: Value) -> Value {
    json!({
        "token_endpoint": format!("{url}/token"), "revocation_endpoint": format!("{url}/token/revocation"),
        "connection": {"internal": true}, "client": client, "caller_token": {"audience": "https://oauth.test"},
    })
}

fn random() -> String {
    secret::password(40).expose_text().unwrap().to_owned()
}

/// A server with a client for each way of showing who one is, and what the broker has to know of each.
struct Ground {
    issuer: TestIssuer,
    server: OAuth,
    clients: Vec<Value>,
    secret: String,
}

impl Ground {
    async fn start() -> Option<Ground> {
        let issuer = TestIssuer::start().await;
        let secret = random();
        let key = rcgen::KeyPair::generate().unwrap();
        let point = key.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let known = json!([
            {"client_id": "by basic", "client_secret": secret, "token_endpoint_auth_method": "client_secret_basic"},
            {"client_id": "post", "client_secret": secret, "token_endpoint_auth_method": "client_secret_post"},
            {"client_id": "key", "token_endpoint_auth_method": "private_key_jwt",
             "token_endpoint_auth_signing_alg": "ES256",
             "jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "kid": "k1"}]}},
            {"client_id": "public", "token_endpoint_auth_method": "none"},
        ]);
        let server = OAuth::start(issuer.url(), &known)?;
        let clients = vec![
            json!({"id": "by basic", "authentication": "basic", "secret": {"value": secret}}),
            json!({"id": "post", "authentication": "post", "secret": {"value": secret}}),
            json!({"id": "key", "authentication": "private_key_jwt", "algorithm": "ES256", "key_id": "k1",
                "key": {"value": key.serialize_pem()}, "audience": server.url()}),
            json!({"id": "public", "authentication": "none"}),
        ];
        Some(Ground { issuer, server, clients, secret })
    }

    fn provider(&self, client: usize) -> Arc<dyn Provider> {
        build("token_exchange", &settings(&self.server.url(), self.clients[client].clone())).unwrap()
    }

    fn token(&self) -> Secret {
        self.issuer.mint(json!({"aud": "https://oauth.test"}))
    }

    async fn is_active(&self, token: &str) -> bool {
        self.server.introspect(("post", &self.secret), token).await["active"] == json!(true)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_a_token_and_gives_it_back() {
    let Some(ground) = Ground::start().await else { return };
    for client in 0..ground.clients.len() {
        let provider = ground.provider(client);
        assert_eq!(provider.target_audience(&read()).as_deref(), Some("https://oauth.test"));
        let (ask, kept) = (asking(read(), ground.token()), Kept::default());
        let issued = ask.issue_noting(&*provider, &kept).await.unwrap();
        assert_eq!((field(&issued, "token_type"), field(&issued, "scope")), ("Bearer", "invoices:read"));
        let life = issued.expires.duration_since(ask.now).as_secs();
        assert!((590..=600).contains(&life), "{life}");
        let token = field(&issued, "token").to_owned();
        assert!(ground.is_active(&token).await);
        // What was kept before the answer was looked at is enough to give it back.
        let reference = Secret::new(kept.0.lock().unwrap().take().unwrap());
        ask.revoke(&*provider, Some(&reference)).await.unwrap();
        assert!(!ground.is_active(&token).await);
        ask.revoke(&*provider, issued.reference.as_ref()).await.unwrap();
        let checks = provider.check().await;
        assert!(checks.iter().all(|check| check.problem.is_none()), "{checks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_no_is_understood() {
    let Some(ground) = Ground::start().await else { return };
    let provider = ground.provider(0);
    let scope = |scope: &[&str]| json!({"resource": [RESOURCE], "scope": scope});
    let refused = async |parameters: Value, token: Secret| {
        let text = token.expose_text().unwrap().to_owned();
        let error = asking(parameters, token).issue(&*provider).await.unwrap_err();
        assert!(!error.to_string().contains(&text));
        error
    };
    let other = ground.issuer.mint(json!({"aud": "https://other.test"}));
    let ProviderError::Denied(words) = refused(read(), other).await else { panic!() };
    assert!(words.starts_with("invalid_grant"), "{words}");
    let elsewhere = json!({"resource": ["https://other.test"], "scope": ["invoices:read"]});
    let ProviderError::Denied(words) = refused(elsewhere, ground.token()).await else { panic!() };
    assert!(words.starts_with("invalid_target"), "{words}");
    // Less than was asked for.
    let ProviderError::Denied(words) = refused(scope(&["invoices:read", "admin"]), ground.token()).await
    else {
        panic!()
    };
    assert!(words.contains("admin"), "{words}");
    let mut enough = scope(&["invoices:read", "admin"]);
    enough["less_is_enough"] = json!(true);
    let issued = asking(enough, ground.token()).issue(&*provider).await.unwrap();
    assert_eq!(field(&issued, "scope"), "invoices:read");

    let mut wrong = ground.clients[0].clone();
    wrong["secret"]["value"] = json!("wrong");
    let wrong = build("token_exchange", &settings(&ground.server.url(), wrong)).unwrap();
    let error = asking(read(), ground.token()).issue(&*wrong).await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Misconfigured(words) if words.contains("invalid_client")),
        "{error}"
    );
    assert!(wrong.check().await.iter().any(|check| check.problem.is_some() && !check.is_warning));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_broker_exchanges_itself() {
    let Some(ground) = Ground::start().await else { return };
    let server = Server {
        fetch: Fetch::new(&Options::new(Guard::Internal)).unwrap(),
        token_endpoint: format!("{}/token", ground.server.url()),
        revocation_endpoint: Some(format!("{}/token/revocation", ground.server.url())),
        client: Client::public("public"),
        lifetime: None,
    };
    let (resource, scope) = ([RESOURCE.to_owned()], ["invoices:read".to_owned()]);
    let asked = Asked { resource: &resource, scope: &scope, subject_token_type: JWT, ..Asked::default() };
    let granted = server.exchange(&ground.token(), &asked, Timestamp::now()).await.unwrap();
    granted.check(&asked).unwrap();
    let token = granted.token.expose_text().unwrap();
    assert!(ground.is_active(token).await);
    server.revoke(&granted.token, Timestamp::now()).await.unwrap();
    assert!(!ground.is_active(token).await);
}

/// What the stand-in answers next, and what it was told.
#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, Value)>,
    seen: Vec<(String, Vec<(String, String)>)>,
}

type Shared = Arc<Mutex<Script>>;

async fn answer(State(script): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let mut script = script.lock().unwrap();
    let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    script.seen.push((authorization, url::form_urlencoded::parse(&body).into_owned().collect()));
    let (status, body) = script.answers.pop_front().expect("an answer for each call");
    let body = if let Value::String(text) = body { text } else { body.to_string() };
    (StatusCode::from_u16(status).unwrap(), body)
}

async fn stand_in() -> (StandIn, Shared) {
    let script = Shared::default();
    let router = Router::new()
        .route("/token", post(answer))
        .route("/token/revocation", post(answer))
        .with_state(Arc::clone(&script));
    (StandIn::start(router).await, script)
}

fn good() -> Value {
    json!({"access_token": "given", "issued_token_type": JWT, "token_type": "Bearer", "expires_in": 600})
}

#[tokio::test]
async fn asks_as_the_rfc_says() {
    let (server, script) = stand_in().await;
    let client = json!({"id": "a:b", "authentication": "basic", "secret": {"value": "c d"}});
    let provider = build("token_exchange", &settings(server.url(), client)).unwrap();
    script.lock().unwrap().answers.push_back((200, good()));
    let parameters = json!({
        "audience": ["one", "two"], "resource": ["https://a.test/", "https://b.test/"], "scope": ["x", "y"],
        "requested_token_type": JWT,
    });
    let issued = asking(parameters, Secret::text("a.b.c".into())).issue(&*provider).await.unwrap();
    // Without a word on it the scope is what was asked for: RFC 8693, section 2.2.1.
    assert!(issued.credential.field("scope").is_none());
    let (authorization, form) = script.lock().unwrap().seen.remove(0);
    let basic = authorization.strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(basic).unwrap(), b"a%3Ab:c+d");
    let wanted = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "a.b.c"),
        ("subject_token_type", JWT),
        ("audience", "one"),
        ("audience", "two"),
        ("resource", "https://a.test/"),
        ("resource", "https://b.test/"),
        ("scope", "x y"),
        ("requested_token_type", JWT),
    ];
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(form, wanted);
}

#[tokio::test]
async fn an_answer_that_gives_something_else_is_refused() {
    let (server, script) = stand_in().await;
    let client = json!({"id": "x", "authentication": "none"});
    let provider = build("token_exchange", &settings(server.url(), client)).unwrap();
    let with = |name: &str, value: Value| {
        let mut answer = good();
        answer[name] = value;
        (200, answer)
    };
    let cases = [
        (with("token_type", json!("DPoP")), "misconfigured"),
        (with("access_token", json!("")), "misconfigured"),
        (with("access_token", json!("a b")), "misconfigured"),
        (with("access_token", json!("x".repeat(20_000))), "misconfigured"),
        (with("expires_in", json!(0)), "misconfigured"),
        (with("expires_in", json!(null)), "misconfigured"),
        (with("expires_in", json!("600")), "misconfigured"),
        (with("issued_token_type", json!(null)), "misconfigured"),
        (with("scope", json!("invoices:read admin")), "denied"),
        (with("scope", json!("")), "denied"),
        ((200, json!("not json")), "misconfigured"),
        ((302, json!({})), "misconfigured"),
        ((400, json!({"error": "invalid_request"})), "denied"),
        ((400, json!({"error": "unsupported_grant_type"})), "misconfigured"),
        ((400, json!({"error": "temporarily_unavailable"})), "transient"),
        ((503, json!("down")), "transient"),
        ((429, json!({"error": "slow_down"})), "transient"),
    ];
    for ((status, body), class) in cases {
        script.lock().unwrap().answers.push_back((status, body.clone()));
        let error = asking(read(), Secret::text("a.b.c".into())).issue(&*provider).await.unwrap_err();
        assert_eq!(error.class(), class, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_outlives_its_role_needs_a_way_back() {
    let (server, script) = stand_in().await;
    let mut settings = settings(server.url(), json!({"id": "x", "authentication": "none"}));
    let provider = build("token_exchange", &settings).unwrap();
    let long =
        json!({"access_token": "t", "issued_token_type": JWT, "token_type": "N_A", "expires_in": 3600});
    script.lock().unwrap().answers.push_back((200, long.clone()));
    let ask = asking(read(), Secret::text("a.b.c".into()));
    let issued = ask.issue(&*provider).await.unwrap();
    assert_eq!(issued.expires, ask.ttl.after(ask.now));
    for (status, body, class) in [
        (503, json!("down"), Some("transient")),
        (400, json!({"error": "unsupported_token_type"}), Some("unsupported")),
        (200, json!(""), None),
    ] {
        script.lock().unwrap().answers.push_back((status, body));
        let done = ask.revoke(&*provider, issued.reference.as_ref()).await;
        assert_eq!(done.err().map(|error| error.class()), class);
    }
    let (_, form) = script.lock().unwrap().seen.pop().unwrap();
    assert!(form.contains(&("token".into(), "t".into())) && form.contains(&("client_id".into(), "x".into())));

    settings.as_object_mut().unwrap().remove("revocation_endpoint");
    let provider = build("token_exchange", &settings).unwrap();
    assert!(!provider.abilities().revocable);
    script.lock().unwrap().answers.push_back((200, long));
    assert_eq!(ask.issue(&*provider).await.unwrap_err().class(), "misconfigured");
    script.lock().unwrap().answers.push_back((200, good()));
    ask.issue(&*provider).await.unwrap();
}

#[test]
fn settings_that_cannot_work() {
    let good = |client: Value| build("token_exchange", &settings("http://127.0.0.1:1", client)).map(drop);
    for bad in [
        json!({"id": "x", "authentication": "basic"}),
        json!({"id": "x", "authentication": "none", "secret": {"value": "s"}}),
        json!({"id": "x", "authentication": "private_key_jwt", "algorithm": "RS256", "key": {"value": "no key"}}),
        json!({"id": "x", "authentication": "client_secret_jwt", "secret": {"value": "s"}}),
    ] {
        assert!(good(bad.clone()).is_err(), "{bad}");
    }
    let provider = build(
        "token_exchange",
        &settings("http://127.0.0.1:1", json!({"id": "x", "authentication": "none"})),
    );
    let provider = provider.unwrap();
    assert!(provider.validate(&json!({})).is_err());
    assert!(provider.validate(&json!({"scope": ["a b"]})).is_err());
    assert!(provider.validate(&json!({"resource": ["not absolute"]})).is_err());
}
