//! Policy files that repositories keep: for themselves only, and under a lid.

use std::path::Path;

use serde_json::json;

use super::support::*;
use crate::config::Config;
use crate::testing;

const DELEGATED: &str = "\
delegated:
  - issuer: github
    repositories:
      acme/shop: {id: \"4711\", file: shop.yaml}
    directory: own
    ceiling:
      max_ttl: 10m
      environments: [dev]
      providers: {dev-db: {roles: [ro]}}
";

fn load(folder: &Path, files: &[(&str, &str)]) -> Config {
    std::fs::create_dir_all(folder.join("own")).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let path = folder.join("broker.yaml");
    std::fs::write(&path, format!("{HEAD}{DELEGATED}")).unwrap();
    Config::read(&path).unwrap_or_else(|e| panic!("{e}"))
}

fn file(more: &str) -> String {
    format!(
        "roles:\n  test:\n    issuer: github\n    environment: dev\n    access: read\n    grant: {{provider: dev-db, parameters: {{roles: ro}}}}\n{more}"
    )
}

#[test]
fn a_repositorys_roles_are_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = load(folder.path(), &[("shop.yaml", &file("")), ("own/99.yaml", &file(""))]);
    assert_eq!(config.delegated_problems, []);
    let who = testing::identity_of("github", testing::claims::github(json!({})));
    let grant = config.policy.decide(&who, "acme/shop/test", &now()).expect("its own");
    assert_eq!((grant.max_ttl().seconds(), grant.ttl().seconds()), (600, 600));
    assert!(config.policy.decide(&who, "99/test", &now()).is_err());
    assert!(github(&config, "99/test", json!({ "repository_id": "99" })).is_ok());
    assert!(github(&config, "acme/shop/test", json!({ "repository_id": "99" })).is_err());
    assert!(github(&config, "acme/shop/test", json!({ "repository_id": null })).is_err());
    assert_eq!(config.policy.open_to(&who, &now()), ["acme/shop/test"]);
}

#[test]
fn what_reaches_further_is_left_out_and_said() {
    for (content, word) in [
        (file("").replace("issuer: github", "issuer: gitlab"), "for the issuer `github` only"),
        (file("    match: {repository_id: \"99\"}\n"), "`repository_id: \"4711\"` only"),
        (
            file("    match: {repository_id: {one_of: [\"4711\", \"99\"]}}\n"),
            "`repository_id: \"4711\"` only",
        ),
        (file("    mutable: accepted\n"), "bound to the repository"),
        (file("    accept: {wildcard-reach: because}\n"), "central configuration"),
        (file("").replace("access: read", "access: write"), "`access` is `write`"),
        (file("").replace("    access: read\n", ""), "`access` is `write`"),
        (file("    allow: [pull_request_target]\n"), "`allow` is `pull_request_target`"),
        (file("").replace("roles: ro", "roles: [ro, admin]"), "`grant.parameters.roles`"),
        (file("").replace("roles: ro", "roles: ro, members: write"), "`grant.parameters.members`"),
        (
            file("").replace("dev-db", "prod-db").replace("environment: dev", "environment: prod"),
            "`environment`",
        ),
        (file("").replace("test:", "../../deploy:"), "name"),
        ("providers: {}\n".to_owned(), "unknown field"),
        ("roles: [".to_owned(), "shop.yaml"),
        ("x".repeat(300 << 10), "larger than 256 KiB"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = load(folder.path(), &[("shop.yaml", &content), ("own/99.yaml", &file(""))]);
        let problems: Vec<String> = config.delegated_problems.iter().map(ToString::to_string).collect();
        assert!(
            problems.iter().any(|it| it.contains(word) && it.contains("shop.yaml")),
            "{word}: {problems:?}"
        );
        assert!(github(&config, "acme/shop/test", json!({})).is_err(), "{word}");
        // One repository's mistake is nobody else's.
        assert!(github(&config, "99/test", json!({ "repository_id": "99" })).is_ok(), "{word}");
    }
}

#[test]
fn the_delegation_itself_is_checked() {
    for (from, to, word) in [
        ("issuer: github", "issuer: gitea", "no such issuer"),
        ("issuer: github", "issuer: test", "dev"),
        ("    directory: own\n", "    directory: own\n    claim: repository\n", "for ever"),
        ("    directory: own\n", "    directory: own\n    claim: repository_owner_id\n", "for ever"),
        ("environments: [dev]", "environments: [devv]", "did you mean `dev`"),
        ("dev-db", "dev-dd", "did you mean `dev-db`"),
        ("{roles: [ro]}", "ro", "an object of parameters"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        std::fs::write(folder.path().join("shop.yaml"), file("")).unwrap();
        let path = folder.path().join("broker.yaml");
        std::fs::write(&path, format!("{HEAD}{}", DELEGATED.replace(from, to))).unwrap();
        match Config::read(&path) {
            Err(e) => assert!(e.to_string().contains(word), "{word}: {e}"),
            // The generic platform binds by `sub`, which may well name one repository.
            Ok(config) => assert!(to == "issuer: test" && !config.delegated_problems.is_empty(), "{to}"),
        }
    }
}
