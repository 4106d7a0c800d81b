//! Vault's interface against OpenBao: its engines for databases, SSH, certificates and static secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use claviger_broker::fetch::{Fetch, Guard, Options};
use claviger_broker::provider::vault::{Vault, direct};
use claviger_broker::provider::{Provider, ProviderError};
use claviger_broker::secret::Secret;
use claviger_broker::testing::{self, TestIssuer};
use claviger_broker::ttl::Ttl;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::ground::{Asking, Kept, build, field};
use crate::servers::openbao::OpenBao;

/// What a broker needs at the server, and no more.
const BROKER: &[(&str, &str)] = &[
    ("auth/token/create/claviger", "update"),
    ("auth/token/revoke-accessor", "update"),
    ("auth/token/renew-accessor", "update"),
    ("auth/token/roles/claviger", "read"),
    ("sys/leases/renew", "update"),
    ("sys/leases/lookup", "update"),
];

const PATHS: &[&str] = &["database/creds/*", "ssh/sign/*", "pki/issue/*", "secret/data/ci/*"];

struct Ground {
    bao: OpenBao,
    provider: Arc<dyn Provider>,
}

async fn server() -> Option<OpenBao> {
    let bao = OpenBao::start()?;
    bao.policy("broker", BROKER).await;
    bao.policy(
        "app",
        &[
            ("database/creds/app", "read"),
            ("ssh/sign/deploy", "update"),
            ("pki/issue/web", "update"),
            ("secret/data/ci/*", "read"),
            ("auth/token/lookup-self", "read"),
        ],
    )
    .await;
    let role = json!({"orphan": true, "allowed_policies": "app", "renewable": true});
    bao.write("auth/token/roles/claviger", role).await;
    Some(bao)
}

fn settings(bao: &OpenBao, who: (&str, Value)) -> Value {
    let mut settings = json!({
        "address": bao.url(), "connection": {"internal": true}, "token_role": "claviger", "paths": PATHS,
    });
    settings[who.0] = who.1;
    settings
}

async fn ground() -> Option<Ground> {
    let bao = server().await?;
    let token = bao.token(&["broker"]).await;
    let provider = build("vault", &settings(&bao, ("token", json!({"value": token})))).unwrap();
    Some(Ground { bao, provider })
}

fn asking(parameters: Value) -> Asking {
    Asking::new(testing::identity(json!({"sub": "repo:example/app", "repository_id": "7"})), parameters)
}

fn read(path: &str) -> Asking {
    asking(json!({"read": path, "policies": ["app"]}))
}

/// The server in which the engine makes users; `None` where there is none.
fn postgres() -> Option<url::Url> {
    let Ok(base) = std::env::var("CLAVIGER_TEST_POSTGRES") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "`tests/run` sets CLAVIGER_TEST_POSTGRES");
        eprintln!("skipped: CLAVIGER_TEST_POSTGRES is not set");
        return None;
    };
    Some(url::Url::parse(&base).unwrap())
}

/// Sets up the engine for databases, whose users begin with `prefix`.
async fn databases(bao: &OpenBao, server: &url::Url, prefix: &str) {
    let (host, port) = (server.host_str().unwrap(), server.port().unwrap_or(5432));
    bao.write("sys/mounts/database", json!({"type": "database"})).await;
    let address =
        format!("postgresql://{{{{username}}}}:{{{{password}}}}@{host}:{port}/postgres?sslmode=disable");
    bao.write(
        "database/config/main",
        json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "app", "connection_url": address,
            "username": server.username(), "password": server.password().unwrap_or("none"),
            "username_template": format!("{prefix}{{{{random 10}}}}"),
        }),
    )
    .await;
    let create = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';";
    let role =
        json!({"db_name": "main", "creation_statements": [create], "default_ttl": "10m", "max_ttl": "1h"});
    bao.write("database/roles/app", role).await;
}

/// How many users there are whose names begin with `prefix`.
async fn users(server: &url::Url, prefix: &str) -> i64 {
    let pool = sqlx::PgPool::connect(server.as_str()).await.unwrap();
    let like = format!("{prefix}%");
    let count = sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname LIKE $1").bind(like);
    let count = count.fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_user_lives_as_long_as_its_lease() {
    let (Some(server), Some(ground)) = (postgres(), ground().await) else { return };
    databases(&ground.bao, &server, "va_").await;
    let (ask, provider) = (read("database/creds/app"), &*ground.provider);
    let issued = ask.issue(provider).await.unwrap();
    let user = field(&issued, "username").to_owned();
    assert!(!issued.credential.fields.iter().find(|field| field.name == "username").unwrap().is_secret);
    assert!(!field(&issued, "password").is_empty());
    // The engine's own ten minutes are shorter than the role's fifteen.
    let life = issued.expires.duration_since(ask.now).as_secs();
    assert!((590..=600).contains(&life), "{life}");
    assert_eq!(users(&server, &user).await, 1);

    let reference = issued.reference.as_ref();
    let name = ask.lease.object_name();
    let until = Ttl::minutes(20).after(Timestamp::now());
    let renewed = provider.renew(&ask.held(&name, reference), until).await.unwrap();
    assert!(renewed > issued.expires && renewed <= until);

    ask.revoke(provider, reference).await.unwrap();
    assert_eq!(users(&server, &user).await, 0);
    // Again, as after a lost answer.
    ask.revoke(provider, reference).await.unwrap();
    let late = provider.renew(&ask.held(&name, reference), until).await;
    assert!(matches!(late, Err(ProviderError::Denied(_))), "{late:?}");
}

/// A broker that dies after reading, before the lease knows what was read, still ends it: the accessor is kept first.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_before_reading_ends_what_was_read() {
    let (Some(server), Some(ground)) = (postgres(), ground().await) else { return };
    databases(&ground.bao, &server, "vb_").await;
    let (ask, provider, kept) = (read("database/creds/app"), &*ground.provider, Kept::default());
    drop(ask.issue_noting(provider, &kept).await.unwrap());
    assert_eq!(users(&server, "vb_").await, 1);
    let reference = Secret::new(kept.0.lock().unwrap().take().unwrap());
    assert!(!reference.expose_text().unwrap().contains("s."), "an accessor, and no token");
    ask.revoke(provider, Some(&reference)).await.unwrap();
    for _ in 0..100 {
        if users(&server, "vb_").await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the user is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_say_that_they_only_expire() {
    let Some(ground) = ground().await else { return };
    let (bao, provider) = (&ground.bao, &*ground.provider);
    bao.write("sys/mounts/ssh", json!({"type": "ssh"})).await;
    bao.write("ssh/config/ca", json!({"generate_signing_key": true, "key_type": "ed25519"})).await;
    let role = json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": "deploy", "max_ttl": "1h"});
    bao.write("ssh/roles/deploy", role).await;
    let parameters = json!({"write": "ssh/sign/deploy", "policies": ["app"], "data": {
        "public_key": {"input": "public_key"}, "valid_principals": "deploy", "ttl": {"lease": "ttl"}}});
    let key = ssh_key::private::Ed25519Keypair::from_seed(&claviger_broker::secret::random());
    let key = ssh_key::PrivateKey::from(key).public_key().to_openssh().unwrap();
    let ask = asking(parameters.clone()).with("public_key", key);
    let issued = ask.issue(provider).await.unwrap();
    let certificate = ssh_key::Certificate::from_openssh(field(&issued, "signed_key").trim()).unwrap();
    let life = i64::try_from(certificate.valid_before()).unwrap() - ask.now.as_second();
    assert!((895..=905).contains(&life), "{life}");
    let ended = ask.revoke(provider, issued.reference.as_ref()).await;
    assert!(matches!(ended, Err(ProviderError::Unsupported(_))), "{ended:?}");
    // What the caller brings is what the caller is told about.
    let bad = asking(parameters.clone()).with("public_key", "ssh-ed25519 nonsense").issue(provider).await;
    assert!(matches!(bad, Err(ProviderError::Denied(_))), "{bad:?}");
    let missing = asking(parameters).issue(provider).await;
    assert!(matches!(missing, Err(ProviderError::Denied(_))), "{missing:?}");

    bao.write("sys/mounts/pki", json!({"type": "pki"})).await;
    bao.write("pki/root/generate/internal", json!({"common_name": "test", "ttl": "24h"})).await;
    bao.write("pki/roles/web", json!({"allow_any_name": true, "max_ttl": "1h"})).await;
    let data = json!({"common_name": "a.test", "ttl": {"lease": "ttl"}});
    let ask = asking(json!({"write": "pki/issue/web", "policies": ["app"], "data": data}));
    let issued = ask.issue(provider).await.unwrap();
    assert!(field(&issued, "private_key").contains("PRIVATE KEY"));
    let life = issued.expires.duration_since(ask.now).as_secs();
    assert!((890..=905).contains(&life), "{life}");
}

#[tokio::test(flavor = "multi_thread")]
async fn static_secrets_tokens_and_wrapped_answers() {
    let Some(ground) = ground().await else { return };
    let (bao, provider) = (&ground.bao, &*ground.provider);
    for value in ["first", "second"] {
        bao.write("secret/data/ci/7", json!({"data": {"username": "u", "password": value, "n": 5}})).await;
    }
    let kv = |more: Value| {
        let mut kv = json!({"mount": "secret", "path": "ci/{repository_id}"});
        kv.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asking(json!({"kv": kv, "policies": ["app"]}))
    };
    let ask = kv(json!({}));
    let newest = ask.issue(provider).await.unwrap();
    assert_eq!((field(&newest, "password"), field(&newest, "n")), ("second", "5"));
    assert!(newest.credential.fields.iter().all(|field| field.is_secret));
    let ended = ask.revoke(provider, newest.reference.as_ref()).await;
    assert!(matches!(ended, Err(ProviderError::Unsupported(_))), "{ended:?}");
    let first = kv(json!({"version": 1})).issue(provider).await.unwrap();
    assert_eq!(field(&first, "password"), "first");
    let none = kv(json!({"version": 9})).issue(provider).await;
    assert!(matches!(none, Err(ProviderError::Misconfigured(_))), "{none:?}");

    let ask = asking(json!({"token": true, "policies": ["app"]}));
    let issued = ask.issue(provider).await.unwrap();
    let token = field(&issued, "token").to_owned();
    let (status, itself) = bao.call(&token, Method::GET, "auth/token/lookup-self", json!(null)).await;
    assert_eq!((status, &itself["data"]["meta"]["claviger_lease"]), (200, &json!(ask.lease.object_name())));
    assert_eq!(itself["data"]["policies"], json!(["app"]));
    ask.revoke(provider, issued.reference.as_ref()).await.unwrap();
    assert_eq!(bao.call(&token, Method::GET, "auth/token/lookup-self", json!(null)).await.0, 403);

    let ask = asking(json!({"read": "secret/data/ci/7", "policies": ["app"], "wrap": "1m"}));
    let issued = ask.issue(provider).await.unwrap();
    let wrapping = field(&issued, "wrapping_token").to_owned();
    let opened = bao.call(&wrapping, Method::POST, "sys/wrapping/unwrap", json!({})).await;
    assert_eq!(opened.1["data"]["data"]["password"], json!("second"));
    assert_ne!(bao.call(&wrapping, Method::POST, "sys/wrapping/unwrap", json!({})).await.0, 200);
    ask.revoke(provider, issued.reference.as_ref()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_refused_by_its_owner() {
    let Some(ground) = ground().await else { return };
    let provider = &*ground.provider;
    // Neither beyond the provider's paths nor to what governs the server, whatever the token may do.
    for path in ["secret/data/other/x", "sys/mounts", "auth/token/accessors", "secret/data/ci/../other"] {
        assert!(provider.validate(&json!({"read": path, "policies": ["app"]})).is_err(), "{path}");
    }
    // The token role refuses policies that it does not name.
    let ask = asking(json!({"read": "secret/data/ci/7", "policies": ["broker"]}));
    let refused = ask.issue(provider).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    // The token's policies do not reach the path.
    ground.bao.policy("app", &[("secret/data/ci/8", "read")]).await;
    let refused = read("secret/data/ci/7").issue(provider).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_missing() {
    let Some(ground) = ground().await else { return };
    let checks = ground.provider.check().await;
    assert!(checks.iter().all(|check| check.problem.is_none()), "{checks:#?}");

    let root = settings(&ground.bao, ("token", json!({"value": ground.bao.root()})));
    let checks = build("vault", &root).unwrap().check().await;
    assert!(checks.iter().any(|check| check.is_warning && check.problem.as_ref().unwrap().contains("root")));

    ground.bao.policy("broker", &BROKER[1..]).await;
    let checks = ground.provider.check().await;
    let problem = checks.iter().find(|check| check.problem.is_some() && !check.is_warning).unwrap();
    assert!(problem.problem.as_ref().unwrap().contains("auth/token/create/claviger"), "{problem:?}");

    let wrong = settings(&ground.bao, ("token", json!({"value": "s.none"})));
    let checks = build("vault", &wrong).unwrap().check().await;
    assert!(checks.iter().any(|check| check.problem.is_some() && !check.is_warning));

    let (provider, url) = (Arc::clone(&ground.provider), ground.bao.url());
    drop(ground);
    let down = read("secret/data/ci/7").issue(&*provider).await;
    assert!(matches!(down, Err(ProviderError::Transient(_))), "{url}: {down:?}");
}

/// The engine for JWT logins, which trusts `issuer`.
async fn trust(bao: &OpenBao, issuer: &TestIssuer, role: &str, policies: &[&str]) {
    bao.call(bao.root(), Method::POST, "sys/auth/jwt", json!({"type": "jwt"})).await;
    bao.write("auth/jwt/config", json!({"oidc_discovery_url": issuer.url(), "bound_issuer": issuer.url()}))
        .await;
    bao.write(
        &format!("auth/jwt/role/{role}"),
        json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["https://vault.test"],
            "bound_claims": {"repository_id": "7"}, "token_policies": policies, "token_ttl": "5m"}),
    )
    .await;
}

fn token(issuer: &TestIssuer, audience: &str, repository: &str) -> Secret {
    issuer.mint(json!({"aud": audience, "sub": "ci", "repository_id": repository}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_logs_in_with_its_own_token() {
    let Some(bao) = server().await else { return };
    let issuer = TestIssuer::start().await;
    trust(&bao, &issuer, "claviger", &["broker"]).await;
    bao.write("secret/data/ci/7", json!({"data": {"password": "x"}})).await;
    let file = bao.folder().join("jwt");
    let write =
        |token: &Secret| std::fs::write(&file, format!("{}\n", token.expose_text().unwrap())).unwrap();
    write(&token(&issuer, "https://vault.test", "7"));
    let provider =
        build("vault", &settings(&bao, ("jwt", json!({"role": "claviger", "token_file": file})))).unwrap();
    let ask = asking(json!({"read": "secret/data/ci/7", "policies": ["app"]}));
    ask.issue(&*provider).await.unwrap();

    // The server forgets the login: the broker logs in again, with whatever token is in the file by then.
    write(&token(&issuer, "https://vault.test", "7"));
    bao.write("sys/leases/revoke-prefix/auth/jwt/login", json!({})).await;
    ask.issue(&*provider).await.unwrap();

    write(&token(&issuer, "https://vault.test", "8"));
    bao.write("sys/leases/revoke-prefix/auth/jwt/login", json!({})).await;
    let refused = ask.issue(&*provider).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_broker() {
    let (Some(server), Some(bao)) = (postgres(), server().await) else { return };
    let issuer = TestIssuer::start().await;
    trust(&bao, &issuer, "ci", &["app"]).await;
    databases(&bao, &server, "vc_").await;
    let fetch = Fetch::new(&Options::new(Guard::Internal)).unwrap();
    let vault = Vault::new(fetch, bao.url(), None);
    let now = Timestamp::now();
    for (audience, repository) in [("https://other.test", "7"), ("https://vault.test", "8")] {
        let token = token(&issuer, audience, repository);
        let refused = direct::login(&vault, "jwt", "ci", &token, now).await;
        let Err(ProviderError::Denied(words)) = refused else { panic!("{refused:?}") };
        assert!(!words.contains(token.expose_text().unwrap()));
    }
    let session =
        direct::login(&vault, "jwt", "ci", &token(&issuer, "https://vault.test", "7"), now).await.unwrap();
    let (parameters, input) = (json!({"read": "database/creds/app"}), BTreeMap::new());
    let wanted = direct::Wanted { parameters: &parameters, input: &input, ttl: Ttl::minutes(5) };
    let issued = direct::read(&vault, &session, &wanted, now).await.unwrap();
    assert!(issued.expires <= session.expires);
    assert_eq!(users(&server, field(&issued, "username")).await, 1);
    let reference = issued.reference.as_ref().unwrap();
    direct::end_session(&vault, reference).await.unwrap();
    direct::end_session(&vault, reference).await.unwrap();
    for _ in 0..100 {
        if users(&server, "vc_").await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the user is still there");
}
