//! The broker's policy from outside: checked, explained, tested; providers listed and checked.

use std::fs;
use std::path::{Path, PathBuf};

use claviger_tests::{Folder, Ran, claviger, claviger_with, tool};
use insta::assert_snapshot;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// A folder with the example configuration and its tests.
fn example() -> Folder {
    let folder = Folder::new();
    for (from, to) in [("broker.yaml", "claviger-broker.yaml"), ("policy-tests.yaml", "policy-tests.yaml")] {
        folder.write(to, fs::read(fixture(from)).expect("a fixture"));
    }
    folder
}

fn run(folder: &Folder, args: &[&str]) -> Ran {
    let ran = claviger(folder.path(), args);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

/// The example with something replaced.
fn changed(from: &str, to: &str) -> Folder {
    let folder = example();
    let text = fs::read_to_string(fixture("broker.yaml")).expect("a fixture");
    assert!(text.contains(from), "{from}");
    folder.write("claviger-broker.yaml", text.replace(from, to));
    folder
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` as it comes")]
/// Claims of the example's deploy job, in a file.
fn claims(folder: &Folder, changes: Value) -> PathBuf {
    let mut claims = json!({
        "iss": "https://token.actions.githubusercontent.com",
        "aud": "https://broker.example.com",
        "sub": "repo:acme/shop:environment:production",
        "repository": "acme/shop",
        "repository_owner": "acme",
        "repository_id": "123456",
        "event_name": "push",
        "ref": "refs/heads/main",
        "ref_protected": "true",
        "environment": "production",
        "actor": "ada",
        "runner_environment": "github-hosted",
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    folder.write("claims.json", claims.to_string())
}

#[test]
fn the_example_is_good() {
    let folder = example();
    let ran = run(&folder, &["policy", "check"]);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert_snapshot!("check", ran.stdout.replace(&folder.path().display().to_string(), "."));
    let json = run(&folder, &["policy", "check", "--format", "json"]).json();
    assert_eq!((json["roles"].as_u64(), json["accepted"].as_u64()), (Some(4), Some(2)));
    assert_eq!(json["policy"].as_str().map(str::len), Some(64));
    assert_eq!(run(&folder, &["policy", "check", "--strict"]).status, 1);
}

#[test]
fn the_example_fits_its_schema() {
    let Some(checker) = tool("check-jsonschema") else { return };
    let folder = example();
    for (of, file) in [("config", "claviger-broker.yaml"), ("tests", "policy-tests.yaml")] {
        let schema = run(&folder, &["policy", "schema", "--of", of]);
        assert_eq!(schema.status, 0);
        folder.write("schema.json", &schema.stdout);
        let check = std::process::Command::new(&checker)
            .args(["--schemafile", "schema.json", file])
            .current_dir(folder.path())
            .output()
            .expect("the checker runs");
        assert!(check.status.success(), "{of}: {}", String::from_utf8_lossy(&check.stdout));
    }
    assert!(run(&folder, &["policy", "schema", "--of", "roles"]).json()["properties"]["roles"].is_object());
}

#[test]
fn what_is_wrong_has_its_place() {
    let folder = changed("provider: prod-hosts\n", "provider: dev-hosts\n");
    let ran = run(&folder, &["policy", "check"]);
    assert_eq!(ran.status, 1);
    assert_snapshot!("wrong", ran.stdout);
    for (from, to, place, word) in [
        (
            "repository_id: \"123456\"\n      environment: production",
            "environment: production",
            ":34:3",
            "mutable: accepted",
        ),
        ("ref_protected: \"true\"\n    runner", "ref_protected: true\n    runner", ":41:7", "claim-type"),
        (
            "    runner_environment: hosted\n    environment: prod\n    access",
            "    environment: prod\n    access",
            ":34:3",
            "error[self-hosted-write]",
        ),
        ("kind: pypi", "kind: pipy", ":30:5", "no kind of provider `pipy`"),
        ("krl: state", "klr: state", ":28:5", "`klr`"),
        ("principals: [deploy]}\n      ttl", "principles: [deploy]}\n      ttl", ":47:20", "principles"),
        ("max_ttl: 4h}", "max_ttl: 4 parsecs}", ":13:", "length of time"),
        ("version: 1\n", "version: 1\nversion: 1\n", ":2:1", "twice"),
        ("ca_key: {env: DEV_SSH_CA}", "ca_key: written-out", "", "a secret is named, not written"),
    ] {
        let ran = run(&changed(from, to), &["policy", "check"]);
        assert_eq!(ran.status, 1, "{to}: {}{}", ran.stdout, ran.stderr);
        let line = ran.stdout.lines().find(|line| line.contains(word));
        let line = line.unwrap_or_else(|| panic!("{word} not in {}", ran.stdout));
        assert!(line.contains(&format!("claviger-broker.yaml{place}")), "{to}: {line}");
        assert!(!ran.stdout.contains("written-out"));
    }
    let missing = run(&folder, &["policy", "check", "-c", "nothing.yaml"]);
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("--config"), "{}", missing.stderr);
}

#[test]
fn a_token_is_explained_and_not_verified() {
    let folder = example();
    claims(&folder, json!({}));
    let open = run(&folder, &["policy", "explain", "--claims", "claims.json", "--role", "shop/deploy"]);
    assert_eq!(open.status, 0, "{}{}", open.stdout, open.stderr);
    assert_snapshot!("allowed", open.stdout);
    claims(&folder, json!({ "ref": "refs/heads/x", "runner_environment": "self-hosted" }));
    let closed = run(&folder, &["policy", "explain", "--claims", "claims.json", "--role", "shop/deploy"]);
    assert_eq!(closed.status, 1);
    assert_snapshot!("refused", closed.stdout);
    let all = run(&folder, &["policy", "explain", "--claims", "claims.json", "--format", "json"]);
    assert_eq!(all.status, 1);
    let roles: Vec<String> = all.json()["roles"]
        .as_array()
        .expect("roles")
        .iter()
        .map(|it| format!("{} {}", it["role"].as_str().unwrap_or(""), it["decision"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(roles, ["shop/deploy refused", "shop/release refused", "shop/test refused"]);
    assert_eq!(all.json()["verified"], false);
}

#[test]
fn what_the_broker_would_not_accept_is_said() {
    let folder = example();
    for (changes, word) in [
        (json!({ "aud": "https://github.com/acme" }), "`aud`"),
        (json!({ "aud": ["https://broker.example.com", "other"] }), "aud"),
        (json!({ "exp": 1_000_000_000 }), "2001-09-09T01:46:40Z"),
        (json!({ "repository": "acme/other" }), "repository"),
        (json!({ "sub": "repo:acme-1/shop:environment:production" }), "acme"),
    ] {
        claims(&folder, changes.clone());
        let ran = run(&folder, &["policy", "explain", "--claims", "claims.json", "--role", "shop/deploy"]);
        assert_eq!(ran.status, 1, "{changes}: {}", ran.stdout);
        assert!(
            ran.stdout.contains("REFUSED for every role") && ran.stdout.contains(word.trim_matches('`')),
            "{}",
            ran.stdout
        );
    }
    claims(&folder, json!({ "iss": "https://token.actions.githubusercontent.com.evil.test" }));
    let ran = run(&folder, &["policy", "explain", "--claims", "claims.json"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("not configured"), "{}", ran.stderr);
}

#[test]
fn tokens_come_from_files_only() {
    let folder = example();
    let part = |value: Value| base64(value.to_string().as_bytes());
    let token = format!(
        "{}.{}.{}",
        part(json!({ "alg": "RS256", "kid": "k", "typ": "JWT" })),
        part(serde_json::from_slice(&fs::read(claims(&folder, json!({}))).expect("claims")).expect("JSON")),
        base64(&[7; 256])
    );
    folder.write("token.jwt", format!("{token}\n"));
    let file = run(&folder, &["policy", "explain", "--token", "token.jwt", "--role", "shop/deploy"]);
    assert_eq!(file.status, 0, "{}{}", file.stdout, file.stderr);
    assert!(file.stdout.contains("not verified"));
    let piped = ["policy", "explain", "--token", "-", "--role", "shop/deploy"];
    assert_eq!(claviger_with(folder.path(), &piped, token.as_bytes(), &[]).stdout, file.stdout);
    let typed = run(&folder, &["policy", "explain", "--token", &token]);
    assert_eq!(typed.status, 2);
    assert!(typed.stderr.contains("process list") && !typed.stderr.contains(&token), "{}", typed.stderr);
    for broken in [
        String::new(),
        "a.b.c".to_owned(),
        token.replacen('.', "", 1),
        format!("{token}.x"),
        "x".repeat(70_000),
    ] {
        folder.write("token.jwt", &broken);
        assert_eq!(run(&folder, &["policy", "explain", "--token", "token.jwt"]).status, 2);
    }
}

/// Base64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    text
}

#[test]
fn tests_of_a_policy_hold_or_say_why() {
    let folder = example();
    let good = run(&folder, &["policy", "test", "policy-tests.yaml"]);
    assert_eq!(good.status, 0, "{}{}", good.stdout, good.stderr);
    assert_snapshot!("tests", good.stdout);
    let text = fs::read_to_string(fixture("policy-tests.yaml")).expect("a fixture");
    folder.write(
        "bad.yaml",
        text.replace("failed: [hazard]", "failed: [actor]")
            .replace("ref_protected: \"true\"\n    env", "env"),
    );
    let bad = run(&folder, &["policy", "test", "policy-tests.yaml", "bad.yaml"]);
    assert_eq!(bad.status, 1);
    assert_snapshot!("failed_tests", bad.stdout.split_once("FAILED").map(|it| it.1).unwrap_or_default());
    let json = run(&folder, &["policy", "test", "bad.yaml", "--format", "json"]);
    assert_eq!((json.status, json.json()["failed"].as_u64().is_some_and(|it| it > 1)), (1, true));
    folder.write("wrong.yaml", "tests: [{name: a, role: r, claims: none, expect: allow}]\n");
    let wrong = run(&folder, &["policy", "test", "wrong.yaml"]);
    assert_eq!(wrong.status, 2);
    assert!(wrong.stderr.contains("wrong.yaml:1:"), "{}", wrong.stderr);
}

#[test]
fn providers_are_listed_shown_and_checked() {
    let folder = changed(
        "  packages:\n",
        "  own:\n    kind: exec\n    environment: dev\n    program: /bin/sh\n  gone:\n    kind: exec\n    environment: dev\n    \
         program: /nonexistent/program\n  packages:\n",
    );
    let list = run(&folder, &["provider", "list"]);
    assert_eq!(list.status, 0, "{}", list.stderr);
    assert_snapshot!("providers", list.stdout);
    assert_eq!(run(&folder, &["provider", "list", "--format", "json"]).json()[0]["roles"], 2);
    let kinds = run(&folder, &["provider", "kinds", "--format", "json"]).json();
    for kind in kinds.as_array().expect("kinds") {
        let name = kind["name"].as_str().expect("a name");
        let shown = run(&folder, &["provider", "kinds", name]);
        assert!(shown.status == 0 && shown.stdout.contains(&format!("kind: {name}")), "{}", shown.stdout);
    }
    assert!(run(&folder, &["provider", "kinds", "sssh"]).stderr.contains("did you mean `ssh`"));
    let good = run(&folder, &["provider", "check", "own"]);
    assert_eq!(good.status, 0, "{}{}", good.stdout, good.stderr);
    for (name, word) in [("gone", "/nonexistent/program"), ("dev-hosts", "DEV_SSH_CA")] {
        let bad = run(&folder, &["provider", "check", name]);
        assert_eq!(bad.status, 1, "{}{}", bad.stdout, bad.stderr);
        assert!(bad.stdout.contains(word), "{}", bad.stdout);
        assert_eq!(
            run(&folder, &["provider", "check", name, "--format", "json"]).json()[0]["provider"],
            name
        );
    }
    let unknown = run(&folder, &["provider", "check", "ownn"]);
    assert!(unknown.status == 2 && unknown.stderr.contains("did you mean `own`"), "{}", unknown.stderr);
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_not_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = example();
    let path = folder.write("secrets/prod-ssh-ca", "not a key\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
    let ran = run(&folder, &["provider", "check", "prod-hosts"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("chmod 600") && !ran.stdout.contains("not a key"), "{}", ran.stdout);
}

#[test]
fn every_verb_has_an_example() {
    let folder = Folder::new();
    for verb in [
        &["policy"][..],
        &["policy", "check"],
        &["policy", "explain"],
        &["policy", "test"],
        &["policy", "schema"],
        &["provider"],
        &["provider", "list"],
        &["provider", "kinds"],
        &["provider", "check"],
    ] {
        let help = run(&folder, &[verb, &["--help"]].concat());
        assert!(help.status == 0 && help.stdout.contains("Example"), "{verb:?}: {}", help.stdout);
    }
}
