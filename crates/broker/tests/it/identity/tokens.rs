//! How a job gets its token on each CI, against a stand-in for the CI's token service.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use claviger_broker::fetch::{Fetch, Guard, Options};
use claviger_broker::platform::{Env, PLATFORMS, Platform, TokenError, by_name, detect};
use claviger_broker::testing::TestEnv;

use super::*;

/// A service that answers every call alike and remembers what it was asked: method, path with query, bearer.
async fn service(status: u16, body: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| {
        let header =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
        let line = format!(
            "{} {} {} {}",
            request.method(),
            request.uri(),
            header("authorization"),
            header("metadata-flavor")
        );
        seen.lock().expect("no panic").push(line);
        let answer = (StatusCode::from_u16(status).expect("a status"), body.clone()).into_response();
        std::future::ready(answer)
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

fn http() -> Fetch {
    Fetch::new(&Options::new(Guard::Ambient)).expect("a client")
}

fn platform(name: &str) -> &'static dyn Platform {
    by_name(name).expect("a platform")
}

async fn token(name: &str, env: &dyn Env) -> Result<String, TokenError> {
    let token = platform(name).token(env, AUDIENCE, &http()).await?;
    Ok(token.expose_text().expect("text").to_owned())
}

#[tokio::test]
async fn github_asks_the_runner() {
    let (url, asked) = service(200, json!({ "value": "the-token", "count": 1 }).to_string()).await;
    let url = format!("{url}/token?api-version=2.0");
    let env = TestEnv::new([
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job"),
    ]);
    assert_eq!(token("github", &env).await.as_deref(), Ok("the-token"));
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(
        asked,
        ["GET /token?api-version=2.0&audience=https%3A%2F%2Fbroker.test Bearer bearer-of-the-job -"]
    );
    assert_eq!(token("forgejo", &env).await.as_deref(), Ok("the-token"));
}

#[tokio::test]
async fn github_says_what_is_missing() {
    let plain = TestEnv::new([("GITHUB_ACTIONS", "true")]);
    let error = token("github", &plain).await.expect_err("no permission");
    assert_eq!(error.to_string(), "the job gets no identity token: add `permissions: id-token: write` to it");
    assert!(!error.is_transient());
    let fork = TestEnv::new([("GITHUB_ACTIONS", "true"), ("GITHUB_EVENT_NAME", "pull_request")]);
    assert!(token("github", &fork).await.expect_err("a fork").to_string().contains("from a fork gets none"));
}

#[tokio::test]
async fn refusals_and_outages_are_told_apart() {
    for (status, transient) in
        [(401, false), (403, false), (404, false), (302, false), (429, true), (503, true)]
    {
        let (url, _) = service(status, "secret-body".to_owned()).await;
        let env = TestEnv::new([
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job"),
        ]);
        let error = token("github", &env).await.expect_err("refused");
        assert_eq!(error.is_transient(), transient, "{status}: {error}");
        let words = format!("{error} {error:?}");
        assert!(!words.contains("bearer-of-the-job") && !words.contains("secret-body"), "{words}");
    }
    let dead = TestEnv::new([
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:1/?secret=in-query"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job"),
    ]);
    let error = token("github", &dead).await.expect_err("nobody listens");
    assert!(error.is_transient() && !error.to_string().contains("in-query"), "{error}");
    for body in ["", "{}", "[]", "{\"value\":7}", "{\"value\":\"\"}"] {
        let (url, _) = service(200, body.to_owned()).await;
        let env = TestEnv::new([
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "b\r\nx: y"),
        ]);
        assert!(!token("github", &env).await.expect_err("no token").is_transient(), "{body}");
    }
}

#[tokio::test]
async fn azure_asks_with_the_service_connection() {
    let (url, asked) = service(200, json!({ "oidcToken": "the-token" }).to_string()).await;
    let env = TestEnv::new([
        ("SYSTEM_OIDCREQUESTURI", url.as_str()),
        ("SYSTEM_ACCESSTOKEN", "bearer-of-the-job"),
        ("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "an id"),
    ]);
    assert_eq!(token("azure_devops", &env).await.as_deref(), Ok("the-token"));
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["POST /?api-version=7.1&serviceConnectionId=an+id Bearer bearer-of-the-job -"]);
    let unmapped = TestEnv::new([("SYSTEM_OIDCREQUESTURI", "http://127.0.0.1:1")]);
    assert!(
        token("azure_devops", &unmapped)
            .await
            .expect_err("unmapped")
            .to_string()
            .contains("SYSTEM_ACCESSTOKEN: $(")
    );
}

#[tokio::test]
async fn google_asks_the_metadata_server() {
    let good = TestIssuer::named("https://issuer.test").mint(json!({}));
    let (url, asked) = service(200, format!("{}\n", good.expose_text().expect("text"))).await;
    let env = TestEnv::new([("GCE_METADATA_HOST", url.strip_prefix("http://").expect("http"))]);
    assert_eq!(token("google", &env).await.as_deref(), Ok(good.expose_text().expect("text")));
    assert!(asked.lock().expect("no panic")[0].ends_with("&format=full - Google"));
}

#[tokio::test]
async fn variables_files_and_programs() {
    let issuer = TestIssuer::named("https://issuer.test");
    let good = issuer.mint(json!({}));
    let good = good.expose_text().expect("text");
    let other = issuer.mint(json!({ "aud": ["https://other.test", AUDIENCE] }));
    let other = other.expose_text().expect("text");
    for (name, variable) in [
        ("gitlab", "CLAVIGER_ID_TOKEN"),
        ("jenkins", "CLAVIGER_ID_TOKEN"),
        ("oidc", "CLAVIGER_ID_TOKEN"),
        ("bitbucket", "BITBUCKET_STEP_OIDC_TOKEN"),
        ("terraform", "TFC_WORKLOAD_IDENTITY_TOKEN"),
        ("terraform", "TFC_WORKLOAD_IDENTITY_TOKEN_CLAVIGER"),
    ] {
        let padded = format!(" {good}\n");
        assert_eq!(
            token(name, &TestEnv::new([(variable, padded.as_str())])).await.as_deref(),
            Ok(good),
            "{name}"
        );
        let error = token(name, &TestEnv::new([(variable, other)])).await.expect_err("for others too");
        assert!(error.to_string().contains("`https://other.test`, `https://broker.test`"), "{error}");
        let error = token(name, &TestEnv::new([(variable, "rubbish")])).await.expect_err("no token");
        assert!(error.to_string().starts_with(variable), "{error}");
        let error = token(name, &TestEnv::new([])).await.expect_err("nothing there");
        assert!(error.to_string().contains(AUDIENCE), "{error}");
        assert!(!platform(name).is_fresh());
    }
    for name in ["oidc", "kubernetes", "spiffe", "gitlab"] {
        let env = TestEnv::new([("CLAVIGER_ID_TOKEN_FILE", "/run/token")]).file("/run/token", good);
        assert_eq!(token(name, &env).await.as_deref(), Ok(good), "{name}");
        let env = TestEnv::new([("CLAVIGER_ID_TOKEN_FILE", "/run/token")]);
        assert!(token(name, &env).await.expect_err("no file").to_string().contains("/run/token"), "{name}");
    }
    let env = TestEnv::new([("BUILDKITE", "true")]).program("buildkite-agent", good);
    assert_eq!(token("buildkite", &env).await.as_deref(), Ok(good));
    assert!(env.ran()[0].contains(&AUDIENCE.to_owned()));
    let env = TestEnv::new([("CIRCLE_OIDC_TOKEN_V2", "x")]).program("circleci", good);
    assert_eq!(token("circleci", &env).await.as_deref(), Ok(good));
    assert_eq!(env.ran()[0][4..], ["--claims", &format!("{{\"aud\":\"{AUDIENCE}\"}}")]);
    assert!(
        token("circleci", &TestEnv::new([])).await.expect_err("no context").to_string().contains("context")
    );
    let printed =
        format!("token(spiffe://acme.test/x):\n\t{good}\nbundle(spiffe://acme.test):\n\t{{\"keys\":[]}}\n");
    let env =
        TestEnv::new([("SPIFFE_ENDPOINT_SOCKET", "unix:///run/agent.sock")]).program("spire-agent", &printed);
    assert_eq!(token("spiffe", &env).await.as_deref(), Ok(good));
    assert_eq!(env.ran()[0].last().map(String::as_str), Some("/run/agent.sock"));
}

#[test]
fn platforms_are_told_apart() {
    let found = |variables: &[(&str, &str)]| {
        let env = variables.iter().fold(TestEnv::default(), |env, (name, value)| env.variable(name, value));
        detect(&env).map(Platform::name)
    };
    assert_eq!(found(&[("ACTIONS_ID_TOKEN_REQUEST_URL", "x")]), Some("github"));
    assert_eq!(found(&[("GITHUB_ACTIONS", "true"), ("KUBERNETES_SERVICE_HOST", "x")]), Some("github"));
    assert_eq!(found(&[("GITHUB_ACTIONS", "true"), ("FORGEJO_ACTIONS", "true")]), Some("forgejo"));
    assert_eq!(found(&[("GITLAB_CI", "true"), ("CLAVIGER_ID_TOKEN", "x")]), Some("gitlab"));
    assert_eq!(found(&[("CIRCLECI", "true")]), Some("circleci"));
    assert_eq!(found(&[("BUILDKITE", "true")]), Some("buildkite"));
    assert_eq!(found(&[("BITBUCKET_STEP_OIDC_TOKEN", "x")]), Some("bitbucket"));
    assert_eq!(found(&[("SYSTEM_OIDCREQUESTURI", "x")]), Some("azure_devops"));
    assert_eq!(found(&[("TFC_WORKLOAD_IDENTITY_TOKEN", "x")]), Some("terraform"));
    assert_eq!(found(&[("JENKINS_URL", "x"), ("KUBERNETES_SERVICE_HOST", "x")]), Some("jenkins"));
    assert_eq!(found(&[("SPIFFE_ENDPOINT_SOCKET", "x")]), Some("spiffe"));
    assert_eq!(found(&[("KUBERNETES_SERVICE_HOST", "x")]), Some("kubernetes"));
    assert_eq!(found(&[("CLAVIGER_ID_TOKEN_FILE", "x")]), Some("oidc"));
    assert_eq!(found(&[("GCE_METADATA_HOST", "x")]), Some("google"));
    assert_eq!(found(&[]), None);
    assert_eq!(PLATFORMS.len(), 13);
}

/// The default reading of files and running of programs.
#[tokio::test]
async fn a_real_surrounding() {
    struct Here;
    impl Env for Here {
        fn get(&self, _: &str) -> Option<String> {
            None
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("long");
    std::fs::write(&long, vec![b'x'; 65 * 1024]).expect("written");
    assert!(Here.read(&long).is_err());
    assert!(Here.read(std::path::Path::new("/dev/zero")).is_err());
    assert!(Here.run("sh", &["-c", "printf token"]).await.expect("runs").matches(b"token"));
    let error = Here.run("sh", &["-c", "echo; echo why >&2; exit 3"]).await.expect_err("fails").to_string();
    assert!(error.contains("why") && error.contains('3'), "{error}");
    assert!(Here.run("sh", &["-c", "head -c 100000 /dev/zero"]).await.is_err());
    assert!(Here.run("no-such-program-here", &[]).await.is_err());
}
