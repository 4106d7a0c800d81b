//! Keys: fetched when needed and not more often, from nowhere else, and never too much of them.

use std::time::{Duration, Instant};

use super::*;

/// The oldest key of an issuer is gone, and a token is signed with the newest.
fn next(issuer: &TestIssuer, now: Timestamp) -> Secret {
    issuer.mint_with(TestKey::NextRsa, &issuer.header(TestKey::NextRsa), &issuer.standard(now, json!({})))
}

#[tokio::test]
async fn jwks_rotated() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    assert!(verifier.verify(&issuer.mint_at(hands.now(), json!({}))).await.is_ok());
    issuer.rotate();
    // Within a minute of the last fetch unknown keys stay unknown.
    hands.forward(59);
    let refused = verifier.verify(&next(&issuer, hands.now())).await.expect_err("not yet");
    assert_eq!(refused.code(), Code::UnknownKey);
    assert_eq!(issuer.served(Document::Keys), 1);
    hands.forward(1);
    assert!(verifier.verify(&next(&issuer, hands.now())).await.is_ok());
    assert_eq!(issuer.served(Document::Keys), 2);
    // The key that went is not accepted any more.
    let old = issuer.mint_at(hands.now(), json!({}));
    assert_eq!(verifier.verify(&old).await.expect_err("gone").code(), Code::UnknownKey);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn single_flight() {
    let issuer = Arc::new(TestIssuer::start().await);
    issuer.fault(Document::Keys, Fault::Slow(Duration::from_millis(300)));
    let verifier = Arc::new(verifier(&issuer.config("oidc")));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (issuer, verifier) = (Arc::clone(&issuer), Arc::clone(&verifier));
            tokio::spawn(async move { verifier.verify(&issuer.mint(json!({}))).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.expect("no panic"), "all wait for the one fetch");
    }
    assert_eq!((issuer.served(Document::Discovery), issuer.served(Document::Keys)), (1, 1));
}

#[tokio::test]
async fn many_unknown_keys_cause_one_fetch_a_minute() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    for minute in 1..=3 {
        for n in 0..50 {
            let header = json!({ "alg": "RS256", "kid": format!("k{n}") });
            let claims = issuer.standard(hands.now(), json!({}));
            let token = issuer.mint_with(TestKey::Stranger, &header, &claims);
            assert_eq!(verifier.verify(&token).await.expect_err("refused").code(), Code::UnknownKey);
            hands.forward(1);
        }
        assert_eq!(issuer.served(Document::Keys), minute);
        hands.forward(10);
    }
}

/// A caller who hangs up must not leave the others without keys for a minute.
#[tokio::test]
async fn a_caller_who_hangs_up() {
    let issuer = TestIssuer::start().await;
    issuer.fault(Document::Keys, Fault::Slow(Duration::from_millis(200)));
    let verifier = Arc::new(verifier(&issuer.config("oidc")));
    let token = issuer.mint(json!({}));
    let hasty = tokio::time::timeout(Duration::from_millis(50), verifier.verify(&token)).await;
    assert!(hasty.is_err(), "he hung up");
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(issuer.served(Document::Keys), 1);
}

#[tokio::test]
async fn jwks_gone() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    let verify = async || verifier.verify(&issuer.mint_at(hands.now(), json!({}))).await;
    assert!(verify().await.is_ok());
    issuer.fault(Document::Discovery, Fault::Gone);
    // The keys serve on for a day.
    hands.forward(23 * 3600);
    assert!(verify().await.is_ok());
    let status = &verifier.status()[0];
    assert_eq!(
        status.trouble.as_ref().map(ToString::to_string).as_deref(),
        Some("the discovery document answered 404")
    );
    // An unknown key is not called unknown while nobody can tell.
    let refused = verifier.verify(&next(&issuer, hands.now())).await.expect_err("no key");
    assert!(refused.is_transient(), "{refused}");
    hands.forward(3600 + 1);
    assert_eq!(verify().await.expect_err("too old").code(), Code::KeysUnavailable);
    // Back again: within seconds, as there is nothing to lose.
    issuer.heal();
    assert!(verify().await.is_err(), "not at once");
    hands.forward(5);
    assert!(verify().await.is_ok());
    assert_eq!(verifier.status()[0].trouble, None);
}

#[tokio::test]
async fn the_background_keeps_keys_fresh() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    verifier.refresh().await;
    assert_eq!(issuer.served(Document::Keys), 1);
    hands.forward(599);
    verifier.refresh().await;
    assert_eq!(issuer.served(Document::Keys), 1);
    issuer.rotate();
    hands.forward(1);
    verifier.refresh().await;
    assert_eq!(issuer.served(Document::Keys), 2);
    assert!(verifier.verify(&next(&issuer, hands.now())).await.is_ok());
    assert_eq!(issuer.served(Document::Keys), 2);
}

/// Without a background a withdrawn key must not serve for a day while its issuer is well.
#[tokio::test]
async fn overdue_keys_are_fetched_by_whoever_comes() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    assert!(verifier.verify(&issuer.mint_at(hands.now(), json!({}))).await.is_ok());
    issuer.rotate();
    hands.forward(3600);
    let old = issuer.mint_at(hands.now(), json!({}));
    assert_eq!(verifier.verify(&old).await.expect_err("withdrawn").code(), Code::UnknownKey);
}

/// What is wrong with a document, and what the operator reads about it.
async fn unavailable(which: Document, fault: Fault, words: &str) {
    let issuer = TestIssuer::start().await;
    issuer.fault(which, fault.clone());
    let verifier = verifier(&issuer.config("oidc"));
    let begun = Instant::now();
    let refused = verifier.verify(&issuer.mint(json!({}))).await.expect_err("no keys");
    assert!(begun.elapsed() < Duration::from_secs(8), "{fault:?} took {:?}", begun.elapsed());
    assert_eq!(refused.code(), Code::KeysUnavailable, "{fault:?}");
    let trouble = verifier.status()[0].trouble.as_ref().expect("trouble").to_string();
    assert!(trouble.contains(words), "{fault:?}: {trouble}");
}

#[tokio::test]
async fn jwks_10_mb() {
    unavailable(Document::Keys, Fault::Huge, "longer than 262144 bytes").await;
    unavailable(Document::Discovery, Fault::Huge, "longer than 262144 bytes").await;
    let long = Fault::Instead(format!("{{\"keys\":[]{}}}", " ".repeat(300_000)));
    unavailable(Document::Keys, long, "longer than 262144 bytes").await;
}

#[tokio::test]
async fn jwks_slow() {
    tokio::join!(
        unavailable(Document::Keys, Fault::Slow(Duration::from_secs(30)), "no answer within 5 s"),
        unavailable(Document::Discovery, Fault::Drip, "no answer within 5 s"),
    );
}

#[tokio::test]
async fn jwks_redirect() {
    let other = TestIssuer::start().await;
    let to = format!("{}/keys", other.url());
    unavailable(Document::Keys, Fault::Redirect(to.clone()), "redirects are not followed").await;
    unavailable(Document::Discovery, Fault::Redirect(to), "redirects are not followed").await;
    unavailable(Document::Keys, Fault::Redirect("http://169.254.169.254/latest/".into()), "302").await;
    assert_eq!(other.served(Document::Keys), 0);
}

#[tokio::test]
async fn discovery_of_somebody_else() {
    let document =
        |issuer: &str, keys: &str| Fault::Instead(json!({ "issuer": issuer, "jwks_uri": keys }).to_string());
    unavailable(
        Document::Discovery,
        document("https://evil.test", "https://evil.test/k"),
        "is of `https://evil.test`",
    )
    .await;
    unavailable(Document::Discovery, Fault::Instead("<html>".into()), "not JSON").await;
    unavailable(Document::Discovery, Fault::Instead(r#"{"issuer":"x"}"#.into()), "not JSON").await;
    let issuer = TestIssuer::start().await;
    for (keys, words) in [
        ("https://evil.test/keys".to_owned(), "`evil.test`"),
        (format!("{}@evil.test/keys", issuer.url()), "`evil.test`"),
        ("file:///etc/passwd".to_owned(), "file:///etc/passwd"),
        // Another port is another server.
        ("http://127.0.0.1:1/keys".to_owned(), "`127.0.0.1`"),
    ] {
        issuer.fault(Document::Discovery, document(issuer.url(), &keys));
        let verifier = verifier(&issuer.config("oidc"));
        assert!(verifier.verify(&issuer.mint(json!({}))).await.expect_err("no keys").is_transient());
        let trouble = verifier.status()[0].trouble.as_ref().expect("trouble").to_string();
        assert!(trouble.contains(words), "{keys}: {trouble}");
    }
    // A host that configuration lists may serve the keys.
    let elsewhere = TestIssuer::start().await;
    let keys = format!("{}/keys", elsewhere.url());
    issuer.fault(Document::Discovery, document(issuer.url(), &keys));
    let listed = IssuerConfig { jwks_hosts: vec!["127.0.0.1".into()], ..issuer.config("oidc") };
    assert!(verifier(&listed).verify(&issuer.mint(json!({}))).await.is_ok());
}

#[tokio::test]
async fn jwks_private_address() {
    // Not marked as internal: no address of the inside is called, by number or by name.
    for url in [
        "https://127.0.0.1:9",
        "https://localhost:9",
        "https://169.254.169.254",
        "https://10.0.0.1",
        "https://[::1]:9",
        "https://[fd00:ec2::254]",
        "https://[::ffff:127.0.0.1]",
    ] {
        let issuer = TestIssuer::named(url);
        let config = IssuerConfig { internal: false, ..issuer.config("oidc") };
        let config =
            IssuerConfig { issuer: Some(url.replace("[::ffff:127.0.0.1]", "[::ffff:7f00:1]")), ..config };
        let verifier = verifier(&config);
        let token = issuer.mint(json!({ "iss": config.issuer.as_deref().expect("a URL") }));
        assert_eq!(
            verifier.verify(&token).await.expect_err("no keys").code(),
            Code::KeysUnavailable,
            "{url}"
        );
        let trouble = verifier.status()[0].trouble.as_ref().expect("trouble").to_string();
        assert!(trouble.contains("is not public"), "{url}: {trouble}");
    }
}

#[tokio::test]
async fn key_sets_that_are_not_taken() {
    let keys = |keys: Vec<Value>| Fault::Instead(json!({ "keys": keys }).to_string());
    let with = |changes: Value| {
        let mut jwk = TestKey::Rsa.jwk();
        jwk.as_object_mut().expect("a key").extend(changes.as_object().expect("changes").clone());
        jwk
    };
    let many = (0..65).map(|n| with(json!({ "kid": format!("k{n}") }))).collect();
    unavailable(Document::Keys, keys(many), "65 keys, more than 64").await;
    unavailable(Document::Keys, Fault::Instead("[]".into()), "`keys` is no list").await;
    unavailable(Document::Keys, Fault::Instead("{\"keys\":[{]}".into()), "not a JWK set").await;
    let modulus = "5".repeat(171);
    for (why, jwk) in [
        ("1024 bits", with(json!({ "n": modulus }))),
        ("an exponent of 1", with(json!({ "e": "AQ" }))),
        ("an even exponent", with(json!({ "e": "AQAC" }))),
        ("for encryption", with(json!({ "use": "enc" }))),
        ("for signing only", with(json!({ "key_ops": ["sign"] }))),
        ("symmetric", json!({ "kty": "oct", "kid": "rsa-1", "k": "c2VjcmV0", "alg": "HS256" })),
        ("another algorithm's", with(json!({ "alg": "HS256" }))),
        ("another family's", with(json!({ "alg": "ES256" }))),
        ("without a name", with(json!({ "kid": "" }))),
        (
            "a curve that is not known",
            json!({ "kty": "EC", "crv": "secp256k1", "kid": "rsa-1", "x": "AA", "y": "AA" }),
        ),
        ("a point too short", json!({ "kty": "EC", "crv": "P-256", "kid": "rsa-1", "x": "AA", "y": "AA" })),
    ] {
        unavailable(Document::Keys, keys(vec![jwk]), "no usable key").await;
        println!("refused: {why}");
    }
    // Two keys of one name: neither can be chosen.
    unavailable(
        Document::Keys,
        keys(vec![TestKey::Rsa.jwk(), with(json!({ "e": "AQAB" }))]),
        "no usable key",
    )
    .await;
}

#[tokio::test]
async fn a_set_with_odd_keys_beside_good_ones() {
    let issuer = TestIssuer::start().await;
    let keys = json!({ "keys": [
        { "kty": "oct", "kid": "x", "k": "AA" }, 7, { "kty": "RSA" }, TestKey::Rsa.jwk(), { "kty": "new", "kid": "y" }
    ] });
    issuer.fault(Document::Keys, Fault::Instead(keys.to_string()));
    assert!(verifier(&issuer.config("oidc")).verify(&issuer.mint(json!({}))).await.is_ok());
}
