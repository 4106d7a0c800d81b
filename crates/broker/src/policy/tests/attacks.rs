//! What must be refused, by the decision or already when the configuration is loaded.

use std::net::IpAddr;

use serde_json::json;

use super::support::*;
use crate::policy::{Code, Context};
use crate::testing;

#[test]
fn deny_by_default() {
    let config = config(&format!("roles:\n{}", role("deploy", "")));
    assert!(github(&config, "deploy", json!({})).is_ok());
    for name in ["", "Deploy", "deploy ", "deploy/", "deplo", "deploy\u{0}", "../deploy", "*"] {
        let refusal = github(&config, name, json!({})).expect_err(name);
        assert_eq!(refusal.code(), Code::UnknownRole, "{name}");
    }
    let gitlab = testing::identity_of("gitlab", testing::claims::gitlab(json!({ "repository_id": "4711" })));
    let refusal = config.policy.decide(&gitlab, "deploy", &now()).expect_err("another issuer");
    assert_eq!((refusal.code(), refusal.answer().code), (Code::UnknownRole, Code::UnknownRole));
}

#[test]
fn a_stranger_learns_nothing_of_a_role() {
    let config = config(&format!("roles:\n{}", role("deploy", "    not: {actor: mallory-of-acme}\n")));
    let foreign = github(&config, "deploy", json!({ "repository_id": "666" })).expect_err("foreign").answer();
    let unknown = github(&config, "other", json!({ "repository_id": "666" })).expect_err("unknown").answer();
    assert_eq!(foreign.code, unknown.code);
    assert_eq!(foreign.message.replace("deploy", ""), unknown.message.replace("other", ""));
    assert!(foreign.failed.is_empty() && !foreign.message.contains("4711"));
    // Its own people hear which claim it was.
    let own = github(&config, "deploy", json!({ "actor": "mallory-of-acme" })).expect_err("own").answer();
    assert!(own.message.contains("`actor` is \"mallory-of-acme\", wanted anything but"), "{}", own.message);
}

#[test]
fn patterns_are_for_operators() {
    let config = config(&format!(
        "roles:\n{}",
        role("deploy", "").replace("\"4711\"}", "\"4711\", ref: {glob: \"refs/heads/internal-*\"}}")
    ));
    let refusal = github(&config, "deploy", json!({})).expect_err("another branch");
    assert!(!refusal.answer().message.contains("internal"), "{}", refusal.answer().message);
    assert!(refusal.answer().message.contains("`ref` is \"refs/heads/main\""));
    assert!(refusal.audit()[0].expected.contains("internal-*") && refusal.to_string().contains("internal-*"));
}

#[test]
fn claim_absent_negation() {
    let config = config(&format!("roles:\n{}", role("deploy", "    not: {actor: mallory}\n")));
    assert!(github(&config, "deploy", json!({})).is_ok());
    assert_eq!(failed(github(&config, "deploy", json!({ "actor": "mallory" }))), ["actor"]);
    assert_eq!(failed(github(&config, "deploy", json!({ "actor": null }))), ["actor"]);
    for other in [json!(1), json!(true), json!(["ada"]), json!({ "a": 1 })] {
        assert_eq!(failed(github(&config, "deploy", json!({ "actor": other }))), ["actor"], "{other}");
    }
}

/// A legacy subject of the organisation `org-123` never equals the immutable subject of `org` with the id 123.
#[test]
fn hyphen_squat() {
    let yaml = "roles:\n  r:\n    issuer: github\n    mutable: accepted\n    environment: dev\n    grant: {provider: dev-db}\n    \
                match: {sub: {glob: \"repo:org@123/*:ref:refs/heads/main\"}}\n";
    let config = config(yaml);
    let of = |sub: &str| github(&config, "r", json!({ "sub": sub }));
    assert!(of("repo:org@123/app@9:ref:refs/heads/main").is_ok());
    for squat in [
        "repo:org-123/app:ref:refs/heads/main",
        "repo:org-123/app-9:ref:refs/heads/main",
        "repo:org@1234/app@9:ref:refs/heads/main",
        "repo:org@123/a/b:ref:refs/heads/main",
        "repo:org@123/a:b:ref:refs/heads/main",
        "repo:org@123/app@9:ref:refs/heads/main\n",
        "repo:ORG@123/app@9:ref:refs/heads/main",
    ] {
        assert!(of(squat).is_err(), "{squat}");
    }
}

#[test]
fn strangers_runs_are_refused_unless_the_role_says_so() {
    let plain = config(&format!("roles:\n{}", role("deploy", "")));
    for event in ["pull_request", "pull_request_target", "workflow_run", "issue_comment"] {
        let refusal = github(&plain, "deploy", json!({ "event_name": event })).expect_err(event);
        assert_eq!(refusal.code(), Code::Hazard, "{event}");
        assert!(refusal.answer().message.contains("allow: ["), "{}", refusal.answer().message);
    }
    let open = config(&format!("roles:\n{}", role("deploy", "    allow: [workflow_run]\n")));
    assert!(github(&open, "deploy", json!({ "event_name": "workflow_run" })).is_ok());
    assert!(github(&open, "deploy", json!({ "event_name": "pull_request_target" })).is_err());
}

#[test]
fn gitlab_mr_fork() {
    let config = config(
        "roles:\n  r:\n    issuer: gitlab\n    match: {project_id: \"22\"}\n    environment: dev\n    grant: {provider: dev-db}\n  \
         open:\n    issuer: gitlab\n    match: {project_id: \"22\"}\n    allow: [merge_request]\n    environment: dev\n    \
         grant: {provider: dev-db}\n",
    );
    let of = |role: &str, changes| {
        let who = testing::identity_of("gitlab", testing::claims::gitlab(changes));
        config.policy.decide(&who, role, &now()).map(|_| ())
    };
    assert!(of("r", json!({})).is_ok());
    let merge = json!({ "pipeline_source": "merge_request_event" });
    assert!(of("r", merge.clone()).is_err());
    assert!(of("open", merge).is_ok());
    // The source project is ours, the job runs elsewhere, or the other way round: a fork's, whatever the role allows.
    for changes in [
        json!({ "pipeline_source": "merge_request_event", "job_project_id": "999" }),
        json!({ "job_project_id": "999" }),
    ] {
        assert_eq!(of("open", changes.clone()).expect_err("a fork").code(), Code::Hazard, "{changes}");
        assert!(of("r", changes).is_err());
    }
}

#[test]
fn a_role_without_an_immutable_claim_does_not_load() {
    let with = |conditions: &str, more: &str| {
        format!(
            "roles:\n  r:\n    issuer: github\n    match: {conditions}\n{more}    environment: dev\n    grant: {{provider: dev-db}}\n"
        )
    };
    for conditions in [
        "{}",
        "{repository: acme/shop}",
        "{sub: \"repo:acme/shop:ref:refs/heads/main\"}",
        "{repository_id: {glob: \"47*\"}}",
        "{repository_id: {contains: \"4711\"}}",
        "{ref: refs/heads/main, environment: production}",
    ] {
        let error = wrong(&with(conditions, ""));
        assert!(error.contains("mutable: accepted") && error.contains("repository_id"), "{error}");
        config(&with(conditions, "    mutable: accepted\n"));
    }
    let error = wrong(&with("{}", "    not: {repository_id: \"1\"}\n"));
    assert!(error.contains("mutable: accepted"), "{error}");
    config(&with("{repository_id: {one_of: [\"1\", \"2\"]}}", ""));
}

#[test]
fn environments_are_not_crossed() {
    let error =
        wrong(&format!("roles:\n{}", role("deploy", "").replace("provider: dev-db", "provider: prod-db")));
    assert!(error.starts_with("broker.yaml:18:") && error.contains("environment `prod`"), "{error}");
    let error =
        wrong(&format!("roles:\n{}", role("deploy", "").replace("environment: dev", "environment: prod")));
    assert!(error.contains("is of environment `dev`"), "{error}");
    // What is granted is what was checked.
    let config = config(&format!("roles:\n{}", role("deploy", "")));
    let who = testing::identity_of("github", testing::claims::github(json!({ "environment": "prod" })));
    let grant = config.policy.decide(&who, "deploy", &now()).expect("allowed");
    assert_eq!((grant.environment(), grant.provider()), ("dev", "dev-db"));
}

#[test]
fn names_that_would_act_elsewhere_do_not_load() {
    for name in [
        "\"../x\"",
        "\"a//b\"",
        "\"/a\"",
        "\"a/\"",
        "\"a/./b\"",
        "\"a b\"",
        "\"a\\r\\nX-Evil: 1\"",
        "A",
        "\"a;drop\"",
        "\"ä\"",
        "\"\"",
        "\"a\\0\"",
    ] {
        let error = wrong(&format!("roles:\n{}", role(name, "")));
        assert!(error.contains("name") && !error.contains('\r'), "{name}: {error}");
    }
    for name in ["deploy", "team/deploy.prod_1-x"] {
        config(&format!("roles:\n{}", role(name, "")));
    }
    assert!(wrong("issuers: {}\n").contains("twice"), "a section that stands twice");
}

#[test]
fn typed_claims_and_runner_and_network_and_end() {
    let config = config(&format!(
        "roles:\n{}",
        role(
            "r",
            "    runner_environment: hosted\n    network: [10.0.0.0/8, 192.0.2.7]\n    until: 2027-01-31\n"
        )
    ));
    let ask = |changes, address: Option<&str>, now: &str| {
        let who = testing::identity_of("github", testing::claims::github(changes));
        let address = address.map(|it| it.parse::<IpAddr>().expect("an address"));
        let context = Context { address, now: now.parse().expect("a time") };
        config.policy.decide(&who, "r", &context)
    };
    let day = "2027-01-30T23:00:00Z";
    let grant = ask(json!({}), Some("::ffff:10.1.2.3"), day).expect("allowed");
    assert_eq!((grant.ttl().seconds(), grant.max_ttl().seconds()), (900, 3600));
    let late = ask(json!({}), Some("192.0.2.7"), "2027-01-30T23:59:50Z").expect("ten seconds are left");
    assert_eq!((late.ttl().seconds(), late.max_ttl().seconds()), (10, 10));
    assert_eq!(
        ask(json!({}), Some("10.0.0.1"), "2027-01-31T00:00:00Z").expect_err("ended").code(),
        Code::RoleEnded
    );
    assert_eq!(ask(json!({}), Some("11.0.0.1"), day).expect_err("elsewhere").code(), Code::Network);
    assert_eq!(ask(json!({}), None, day).expect_err("unknown address").code(), Code::Network);
    for runner in [json!("self-hosted"), json!(null), json!("GitHub-hosted"), json!(["github-hosted"])] {
        let refusal =
            ask(json!({ "runner_environment": runner }), Some("10.0.0.1"), day).expect_err("runner");
        assert_eq!(refusal.code(), Code::ClaimMismatch, "{runner}");
    }
    // An id as a number is not the id as a text.
    assert!(ask(json!({ "repository_id": 4711 }), Some("10.0.0.1"), day).is_err());
}

#[test]
fn ceilings_hold_whatever_a_role_says() {
    let ceilings = "ceilings:\n  - issuer: github\n    match: {repository_owner_id: \"1001\"}\n    environments: [dev]\n    max_ttl: 5m\n    \
                    parameters: {dev-db: {roles: [ro]}}\n";
    let grant =
        |parameters: &str| role("r", "").replace("dev-db}", &format!("dev-db, parameters: {parameters}}}"));
    let loaded = config(&format!("{ceilings}roles:\n{}", grant("{roles: [ro]}")));
    let who = testing::identity_of("github", testing::claims::github(json!({})));
    let granted = loaded.policy.decide(&who, "r", &now()).expect("under the ceiling");
    assert_eq!((granted.ttl().seconds(), granted.max_ttl().seconds()), (300, 300));
    for parameters in ["{roles: [ro, rw]}", "{roles: ro, owner: true}", "{roles: {ro: 1}}"] {
        let loaded = config(&format!("{ceilings}roles:\n{}", grant(parameters)));
        let refusal = github(&loaded, "r", json!({})).expect_err(parameters);
        assert_eq!(refusal.code(), Code::OverCeiling, "{parameters}");
        // Another owner's repository has no such lid; a token that does not say its owner has it.
        assert!(github(&loaded, "r", json!({ "repository_owner_id": "7" })).is_ok());
        assert!(github(&loaded, "r", json!({ "repository_owner_id": null })).is_err());
    }
    assert!(wrong("ceilings:\n  - match: {repository_owner_id: \"1\"}\n").contains("needs `issuer`"));
    assert!(wrong("ceilings:\n  - environments: [prd]\n").contains("did you mean `prod`"));
    assert!(wrong("ceilings:\n  - max_tll: 5m\n").contains("max_tll"));
}

#[test]
fn limits_and_defaults() {
    let yaml = format!(
        "roles:\n{}{}",
        role("plain", ""),
        role("own", "").replace(
            "dev-db}",
            "dev-db, ttl: 5m, max_ttl: 10m, single_use: false, limits: {role: 10, run: 2}}"
        )
    );
    let config = config(&yaml);
    let who = testing::identity_of("github", testing::claims::github(json!({})));
    let limits = |role: &str| config.policy.decide(&who, role, &now()).expect("allowed").limits();
    assert_eq!((limits("plain").role, limits("plain").run, limits("plain").once_per_run), (None, None, true));
    assert_eq!(
        (limits("own").role, limits("own").run, limits("own").once_per_run),
        (Some(10), Some(2), false)
    );
    assert_eq!(config.policy.open_to(&who, &now()), ["own", "plain"]);
    for (bad, word) in [
        ("ttl: 2h", "longer than `max_ttl`"),
        ("ttl: 0s", "length of time"),
        ("limits: {role: 0}", "allows nothing"),
        ("limits: {role: -1}", "integer"),
        ("single_use: maybe", "boolean"),
        ("provider: x", "twice"),
    ] {
        let error =
            wrong(&format!("roles:\n{}", role("r", "").replace("dev-db}", &format!("dev-db, {bad}}}"))));
        assert!(error.contains(word), "{bad}: {error}");
    }
}

#[test]
fn paths_do_not_depend_on_where_the_program_stands() {
    let rest =
        "store: {url: \"sqlite:state/broker.db\"}\nkeys: {current: {id: a, from: {file: secrets/key}}}\n";
    let text = format!("{HEAD}{rest}audit: {{log: log, key: {{file: audit.key}}, pins: [/mnt/pin]}}\n");
    let config =
        crate::config::Config::parse("broker.yaml", text, std::path::Path::new("conf")).expect("loads");
    let base = std::path::absolute("conf").expect("a folder");
    assert_eq!(config.base, base);
    assert_eq!(config.store.url, format!("sqlite:{}/state/broker.db", base.display()));
    let audit = config.audit.expect("a log");
    assert_eq!((&audit.log, audit.pins[0].to_str()), (&base.join("log"), Some("/mnt/pin")));
    assert_eq!(audit.database(), None);
    let text = format!("{HEAD}{rest}audit: {{log: \"postgres://h/d\", key: {{file: audit.key}}}}\n");
    let config =
        crate::config::Config::parse("broker.yaml", text, std::path::Path::new("conf")).expect("loads");
    assert_eq!(config.audit.expect("a log").database(), Some("postgres://h/d"));
}

#[test]
fn sections_that_would_be_holes_do_not_load() {
    for (rest, word) in [
        ("server: {listen: \"0.0.0.0:8700\"}\n", "only a loopback address"),
        ("server: {listen: \"[::]:8700\"}\n", "only a loopback address"),
        ("store: {url: \"postgres://u:p@h/d\"}\n", "a password stands in the URL"),
        ("store: {url: \"postgres://u@h/d?password=p\"}\n", "a password stands in the URL"),
        ("store: {url: \"mysql://h/d\"}\n", "sqlite:PATH"),
        ("store: {url: \"sqlite:\"}\n", "name the file"),
        ("keys: {current: {id: a, from: {file: k}}, old: [{id: a, from: {env: K}}]}\n", "same id"),
        ("keys: {current: {id: a, from: {value: swordfish}}}\n", "unknown variant"),
        ("keys: {current: {id: \"a/b\", from: {env: K}}}\n", "an id has"),
        ("keys: {current: {id: a, from: {command: []}}}\n", "name the program"),
        ("version: 2\n", "reads version 1"),
        ("policy: [nothing.yaml]\n", "no such file or folder"),
    ] {
        let error = wrong(rest);
        assert!(error.contains(word) && error.starts_with("broker.yaml:"), "{rest}: {error}");
    }
    let more = "server: {listen: \"0.0.0.0:8700\", behind_proxy: true}\nstore: {url: \"postgres://u@h/d\", password: {env: P}}\n";
    config(more);
    let issuers = "audience: a\nissuers:\n  a: {platform: github}\n  b: {platform: github}\n";
    let error = crate::config::Config::parse("x.yaml", issuers.to_owned(), std::path::Path::new("."));
    assert!(error.is_err_and(|e| e.to_string().contains("configured as `a` already")));
}
