//! The issuer: what configuration takes, and what tokens cannot reach by it.

use super::*;

/// A token of an issuer that is almost the configured one.
async fn unknown(bench: &Bench, issuer: &str) {
    let rejection = bench.refused_claims(json!({ "iss": issuer }), Code::UnknownIssuer).await;
    assert_eq!(rejection.at(), "iss");
    assert_eq!(bench.issuer.served(Document::Discovery), 0, "`{issuer}` caused network traffic");
}

/// CVE-2026-14336: an issuer was compared by its beginning, and keys were fetched from the attacker's host.
#[tokio::test]
async fn issuer_userinfo() {
    let bench = Bench::new().await;
    let host = bench.issuer.url().strip_prefix("http://").expect("http").to_owned();
    unknown(&bench, &format!("http://user@{host}")).await;
    unknown(&bench, &format!("{}@evil.test", bench.issuer.url())).await;
    unknown(&bench, &format!("http://evil.test#@{host}")).await;
    unknown(&bench, &format!("http://evil.test\\@{host}")).await;
}

#[tokio::test]
async fn issuer_prefix() {
    let bench = Bench::new().await;
    unknown(&bench, &format!("{}.evil.test", bench.issuer.url())).await;
    unknown(&bench, &format!("{}/tenant", bench.issuer.url())).await;
    unknown(&bench, &format!("{}?x=y", bench.issuer.url())).await;
    unknown(&bench, "http://127.0.0.1").await;
    unknown(&bench, "").await;
}

#[tokio::test]
async fn issuer_trailing_slash() {
    let bench = Bench::new().await;
    unknown(&bench, &format!("{}/", bench.issuer.url())).await;
    unknown(&bench, &format!("{}//", bench.issuer.url())).await;
    unknown(&bench, &format!("{} ", bench.issuer.url())).await;
    unknown(&bench, &format!("{}\u{0}", bench.issuer.url())).await;
}

#[tokio::test]
async fn issuer_case() {
    let bench = Bench::new().await;
    unknown(&bench, &bench.issuer.url().replace("http", "HTTP")).await;
    unknown(&bench, &bench.issuer.url().replace("127.0.0.1", "localhost")).await;
    unknown(&bench, &bench.issuer.url().replace("127.0.0.1", "127.1")).await;
    unknown(&bench, "https://token.actions.githubusercontent.com").await;
}

fn config(yaml: &str) -> Result<IssuerConfig, String> {
    serde_yaml::from_str(yaml).map_err(|e| e.to_string())
}

fn build(issuer: &str, internal: bool) -> Result<Verifier, String> {
    let config = config(&format!("platform: oidc\nissuer: {issuer:?}\ninternal: {internal}\n"))?;
    Verifier::new([("x", &config)], AUDIENCE, Arc::new(SystemClock)).map_err(|e| e.to_string())
}

#[test]
fn configuration_takes_plain_issuers_only() {
    for good in [
        "https://ci.test",
        "https://ci.test/",
        "https://ci.test/org/1",
        "https://ci.test:8443",
        "https://[::1]",
    ] {
        assert!(build(good, false).is_ok(), "{good}");
    }
    for bad in [
        "ci.test",
        "http://ci.test",
        "ftp://ci.test",
        "https://user@ci.test",
        "https://ci.test/@x",
        "https://ci.test?x",
        "https://ci.test#x",
        "https://CI.test",
        "HTTPS://ci.test",
        "https://ci.test:443",
        "https://ci.test/a/../b",
        "https://ci.test\\b",
        "https:/ci.test",
        " https://ci.test",
        "https://ci.test\t",
        "https://127.1",
        "https://",
        "",
    ] {
        assert!(build(bad, false).is_err(), "{bad}");
    }
    assert!(build("http://127.0.0.1:8080", true).is_ok());
    assert!(build("http://localhost:8080", true).is_ok());
    assert!(build("http://127.0.0.1:8080", false).is_err());
    assert!(build("http://ci.inside.test", true).is_err());
}

#[test]
fn configuration_says_what_is_wrong() {
    let unknown = config("platform: github\nissuers: x\n").expect_err("an unknown member");
    assert!(unknown.contains("issuers"), "{unknown}");
    let platform = config("platform: githab\n").expect_err("an unknown platform");
    assert!(platform.contains("github, gitlab, circleci"), "{platform}");
    let algorithm = config("platform: github\nalgorithms: [HS256]\n").expect_err("no public key");
    assert!(algorithm.contains("HS256"), "{algorithm}");
    for (yaml, word) in [
        ("platform: circleci", "issuer: https"),
        ("platform: github\nalgorithms: []", "algorithms"),
        ("platform: github\nleeway: 10m", "leeway"),
        ("platform: github\naudience: ''", "audience"),
        ("platform: github\njwks_hosts: ['https://x.test']", "jwks_hosts"),
        ("platform: github\nca_file: /nowhere/ca.pem", "/nowhere/ca.pem"),
        ("platform: github\njwks_file: keys.json\nca_file: ca.pem", "nothing is fetched"),
    ] {
        let config = config(yaml).expect(yaml);
        let error =
            Verifier::new([("ci", &config)], AUDIENCE, Arc::new(SystemClock)).expect_err(yaml).to_string();
        assert!(error.contains(word) && error.contains("`ci`"), "{error}");
    }
    let (one, two) = (config("platform: github").expect("right"), config("platform: github").expect("right"));
    let twice = Verifier::new([("a", &one), ("b", &two)], AUDIENCE, Arc::new(SystemClock))
        .expect_err("one URL twice");
    assert!(twice.to_string().contains("already"), "{twice}");
}

#[test]
fn defaults_are_the_platforms() {
    let config = config("platform: github").expect("right");
    let verifier = Verifier::new([("gh", &config)], AUDIENCE, Arc::new(SystemClock)).expect("right");
    let issuer = verifier.issuers().next().expect("one");
    assert_eq!(issuer.url(), "https://token.actions.githubusercontent.com");
    assert_eq!((issuer.name(), issuer.audience()), ("gh", AUDIENCE));
    let schema = serde_json::to_string(&schemars::schema_for!(IssuerConfig)).expect("a schema");
    assert!(schema.contains("azure_devops") && !schema.contains("HS256"));
}
