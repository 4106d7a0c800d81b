//! What is accepted, and what an identity then says.

use claviger_broker::testing::TestKey;

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
async fn ecdsa_and_audiences_in_a_list_of_one() {
    let issuer = TestIssuer::start().await;
    let verifier = verifier(&issuer.config("gitlab"));
    let claims = issuer.standard(jiff::Timestamp::now(), claims::gitlab(json!({ "aud": [AUDIENCE] })));
    let token = issuer.mint_with(TestKey::P256, &issuer.header(TestKey::P256), &claims);
    assert!(verifier.verify(&token).await.is_ok());
}
