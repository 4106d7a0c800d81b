//! Explanations and tests of policies say what the decision says.

use proptest::prelude::*;
use serde_json::json;

use super::support::*;
use crate::claims::Claims;
use crate::policy::cases::TestFile;
use crate::testing;

fn claims(changes: serde_json::Value) -> Claims {
    Claims::parse(testing::claims::github(changes).to_string().as_bytes()).expect("claims")
}

fn deploy() -> crate::config::Config {
    let more = "    not: {actor: mallory}\n    until: 2030-01-01\n";
    config(&format!("roles:\n{}{}", role("deploy", more), role("test", "    network: [10.0.0.0/8]\n")))
}

#[test]
fn every_step_is_told() {
    let config = deploy();
    let supposed = config.suppose(claims(json!({ "actor": "mallory" })), Some("github")).expect("an issuer");
    let told = config.explain(&supposed, "deploy", &now());
    let steps: Vec<(&str, bool)> = told.steps.iter().map(|it| (it.claim.as_str(), it.holds)).collect();
    assert_eq!(steps, [("issuer", true), ("repository_id", true), ("actor", false), ("until", true)]);
    assert!(told.place.is_some_and(|it| it == "broker.yaml:14:3"));
    let all = config.explain_all(&supposed, &now());
    assert_eq!(
        all.iter().map(|it| (it.role.as_str(), it.is_allowed())).collect::<Vec<_>>(),
        [("deploy", false), ("test", false)]
    );
    let typo = config.explain(&supposed, "deplyo", &now());
    assert!(
        !typo.is_allowed()
            && config.explain(&supposed, "deploi", &now()).similar.as_deref() == Some("deploy")
    );
}

#[test]
fn the_issuer_is_found() {
    let config = deploy();
    let iss = |url: &str| {
        config.suppose(claims(json!({ "iss": url })), None).map(|it| it.issuer).map_err(|e| e.to_string())
    };
    assert_eq!(iss("https://token.actions.githubusercontent.com"), Ok("github".to_owned()));
    assert!(iss("https://token.actions.githubusercontent.com/").is_err_and(|e| e.contains("byte by byte")));
    assert!(iss("https://evil.test").is_err_and(|e| e.contains("not configured")));
    assert!(config.suppose(claims(json!({})), None).is_err());
    assert!(config.suppose(claims(json!({})), Some("gihub")).is_err());
}

#[test]
fn tests_of_a_policy() {
    let config = deploy();
    let set = testing::claims::github(json!({}));
    let run = |tests: &str| -> Vec<Option<String>> {
        let (file, document) =
            TestFile::parse("t.yaml", format!("claims:\n  push: {set}\ntests:\n{tests}")).expect(tests);
        let outcomes = file.run(&document, &config, jiff::Timestamp::UNIX_EPOCH);
        outcomes.into_iter().map(|it| it.failure).collect()
    };
    let good = "  - {name: a, role: deploy, claims: push, expect: allow}\n  \
                - {name: b, role: deploy, claims: push, with: {actor: mallory}, expect: refuse, failed: [actor]}\n  \
                - {name: c, role: deploy, claims: push, without: [actor], expect: refuse, failed: [actor]}\n  \
                - {name: d, role: test, claims: push, address: 10.0.0.1, expect: allow}\n  \
                - {name: e, role: test, claims: push, expect: refuse, failed: [address]}\n  \
                - {name: f, role: deploy, claims: push, now: 2030-01-01, expect: refuse, failed: [until]}\n  \
                - {name: g, role: deploy, claims: push, with: {event_name: workflow_run}, expect: refuse, failed: [hazard]}\n  \
                - {name: h, role: deploy, claims: push, with: {repository: acme/other}, expect: refuse, failed: [repository]}\n";
    assert_eq!(run(good), [const { None }; 8]);
    let bad = "  - {name: a, role: deploy, claims: push, expect: refuse}\n  \
               - {name: b, role: deploy, claims: push, with: {actor: mallory}, expect: allow}\n  \
               - {name: c, role: deploy, claims: push, with: {actor: mallory}, expect: refuse, failed: [ref]}\n  \
               - {name: d, role: deply, claims: push, issuer: github, expect: allow}\n  \
               - {name: e, role: deploy, claims: push, without: [event_name], expect: refuse}\n";
    let failures: Vec<String> = run(bad).into_iter().map(|it| it.expect("fails")).collect();
    for (failure, word) in failures.iter().zip([
        "it is allowed",
        "`actor` is \"mallory\"",
        "`actor` failed, expected `ref`",
        "did you mean `deploy`",
        "no token has such claims",
    ]) {
        assert!(failure.contains(word), "{failure}");
    }
    for (text, word) in [
        ("tests: []\n", "no tests"),
        ("tests: [{name: a, role: r, claims: x, expect: allow}]\n", "no set `x`"),
        ("tests: [{name: a, role: r, claims: {}, expect: maybe}]\n", "unknown variant"),
        ("tests: [{name: a, role: r, claims: {}, expect: allow, failed: [a]}]\n", "goes with"),
        ("tests: [{name: a, role: r, claims: {}, expct: allow}]\n", "did you mean `expect`"),
    ] {
        let error = TestFile::parse("t.yaml", text.to_owned()).map(|_| ()).expect_err(text).to_string();
        assert!(error.contains(word) && error.starts_with("t.yaml:"), "{error}");
    }
}

#[test]
fn schemas_take_what_loads() {
    let schema = crate::config::Config::schema();
    let members = schema["properties"].as_object().expect("members");
    for section in [
        "audience",
        "issuers",
        "environments",
        "providers",
        "roles",
        "policy",
        "ceilings",
        "delegated",
        "server",
    ] {
        assert!(members.contains_key(section), "{section}");
    }
    assert!(TestFile::schema()["properties"]["tests"].is_object());
}

proptest! {
    #[test]
    fn what_is_explained_is_what_is_decided(actor in "[a-z]{0,3}|mallory", event in "push|workflow_run", id in "4711|4712") {
        let config = deploy();
        let changes = json!({ "actor": actor, "event_name": event, "repository_id": id });
        let who = testing::identity_of("github", testing::claims::github(changes.clone()));
        let supposed = config.suppose(claims(changes), Some("github")).expect("an issuer");
        for role in ["deploy", "test", "none"] {
            let told = config.explain(&supposed, role, &now());
            let decided = config.policy.decide(&who, role, &now());
            prop_assert_eq!(told.is_allowed(), decided.is_ok());
            if let Err(refusal) = decided {
                let failed: Vec<&str> = refusal.failed().iter().map(|it| it.claim.as_str()).collect();
                prop_assert_eq!(told.failed().map(|it| it.claim.as_str()).collect::<Vec<_>>(), failed);
            }
        }
    }
}
