//! What is accepted, and what an identity then says.

use super::*;

#[tokio::test]
async fn a_github_token_becomes_an_identity() {
    let issuer = TestIssuer::start().await;
    let verifier = verifier(&issuer.config("github"));
    let token = issuer.mint(claims::github(json!({ "jti": "once" })));
    let identity = verifier.verify(&token).await.expect("a good token");
    assert_eq!(identity.issuer(), "test");
    assert_eq!(identity.issuer_url(), issuer.url());
    assert_eq!(identity.platform().name(), "github");
    assert_eq!(identity.subject_fields().get("ref"), Some("refs/heads/main"));
    assert_eq!(identity.claims().text("repository_id"), Some("4711"));
    assert_eq!(identity.token_id().as_str(), "jti:once");
    assert_eq!(identity.run_id().as_deref(), Some("90001"));
    assert_eq!(identity.hazards(), []);
    let kept = identity.keep_until().as_second() - identity.expires().as_second();
    assert_eq!(kept, 31, "leeway and a second: as long as the token is accepted");
}

#[tokio::test]
async fn every_platforms_usual_token() {
    for platform in claviger_broker::platform::PLATFORMS {
        let issuer = TestIssuer::start().await;
        let verifier = verifier(&issuer.config(platform.name()));
        let token = issuer.mint(claims::of(platform.name(), json!({})));
        assert!(verifier.verify(&token).await.is_ok(), "{}", platform.name());
    }
}

#[tokio::test]
async fn ecdsa_and_audiences_in_a_list_of_one() {
    let issuer = TestIssuer::start().await;
    let verifier = verifier(&issuer.config("gitlab"));
    let claims = issuer.standard(Timestamp::now(), claims::gitlab(json!({ "aud": [AUDIENCE] })));
    let token = issuer.mint_with(TestKey::P256, &issuer.header(TestKey::P256), &claims);
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn keys_from_a_file_need_no_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let issuer = TestIssuer::named("https://issuer.test");
    let config = IssuerConfig { jwks_file: Some(path.clone()), internal: false, ..issuer.config("oidc") };
    let hands = Hands::new();
    let verifier = hands.verifier(&config);
    let token = || issuer.mint_at(hands.now(), json!({}));
    assert_eq!(verifier.verify(&token()).await.expect_err("no file yet").code(), Code::KeysUnavailable);
    std::fs::write(&path, issuer.key_set().to_string()).expect("written");
    hands.forward(5);
    assert!(verifier.verify(&token()).await.is_ok());
    // A file that was changed is read again.
    issuer.rotate();
    std::fs::write(&path, issuer.key_set().to_string()).expect("written");
    hands.forward(60);
    let claims = issuer.standard(hands.now(), json!({}));
    let next = issuer.mint_with(TestKey::NextRsa, &issuer.header(TestKey::NextRsa), &claims);
    assert!(verifier.verify(&next).await.is_ok());
    assert_eq!(verifier.verify(&token()).await.expect_err("the key is gone").code(), Code::UnknownKey);
}

#[tokio::test]
async fn refusals_name_claim_wanted_and_seen() {
    let bench = Bench::new().await;
    let rejection = bench.refused_claims(json!({ "aud": "https://other.test" }), Code::Audience).await;
    assert_eq!(
        rejection.to_string(),
        "the token is meant for another audience (audience): `aud` must be `https://broker.test` alone; it is \
         `https://other.test`"
    );
    let failed = rejection.failed_claim();
    assert_eq!((failed.claim.as_str(), failed.found.as_str()), ("aud", "`https://other.test`"));
    assert!(!rejection.is_transient());
    let long = format!("x\n{}", "y".repeat(5000));
    let rejection = bench.refused_claims(json!({ "aud": long }), Code::Audience).await;
    assert!(rejection.to_string().len() < 400);
}

#[tokio::test]
async fn nothing_prints_a_token_or_claims() {
    let bench = Bench::new().await;
    let token = bench.issuer.mint(json!({ "sub": "a-name-to-look-for" }));
    let identity = bench.verify(&token).await.expect("a good token");
    assert!(!format!("{:?}", identity.claims()).contains("a-name-to-look-for"));
    assert!(!format!("{token:?}{:?}", bench.verifier).contains("eyJ"));
}
