//! The decision among 10,000 roles: `cargo bench -p claviger-broker --bench policy`.

use std::fmt::Write as _;
use std::ops::Range;

use claviger_broker::config::Config;
use claviger_broker::identity::Identity;
use claviger_broker::policy::Context;
use claviger_broker::testing;
use jiff::Timestamp;
use serde_json::json;

const ROLES: usize = 10_000;
const CEILINGS: usize = 1_000;

fn main() {
    divan::main();
}

/// Roles of one file: a configuration file is bounded to 4 MiB.
const ROLES_A_FILE: usize = 2_000;

/// The configuration itself, with a ceiling for every tenth repository.
fn yaml() -> String {
    let mut text = "audience: https://broker.test\nissuers: {github: {platform: github}}\nenvironments: {prod: {max_ttl: 1h}}\n\
                    providers: {db: {kind: none, environment: prod}}\npolicy: [roles]\nceilings:\n"
        .to_owned();
    for n in 0..CEILINGS {
        let _ = writeln!(
            text,
            "  - {{issuer: github, match: {{repository_id: \"{}\"}}, max_ttl: 30m, providers: [db]}}",
            n * 10
        );
    }
    text
}

/// A role for each of these repositories.
fn roles(numbers: Range<usize>) -> String {
    let mut text = "roles:\n".to_owned();
    for n in numbers {
        let _ = write!(
            text,
            "  team-{}/deploy-{n}:\n    issuer: github\n    match:\n      repository_id: \"{n}\"\n      repository_owner_id: \"1001\"\n      \
             ref: {{one_of: [refs/heads/main, {{glob: \"refs/tags/v*\"}}]}}\n      ref_protected: \"true\"\n      \
             workflow_ref: {{glob: \"acme/*/.github/workflows/deploy.yml@refs/heads/*\"}}\n    not: {{actor: mallory}}\n    \
             runner_environment: hosted\n    environment: prod\n    grant: {{provider: db, parameters: {{roles: [rw]}}}}\n",
            n % 100
        );
    }
    text
}

fn config() -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("roles")).expect("a folder in it");
    for first in (0..ROLES).step_by(ROLES_A_FILE) {
        let path = folder.path().join(format!("roles/{first}.yaml"));
        std::fs::write(path, roles(first..first + ROLES_A_FILE)).expect("written");
    }
    Config::parse("bench.yaml", yaml(), folder.path()).unwrap_or_else(|error| panic!("{error}"))
}

fn who(repository: usize) -> Identity {
    testing::identity_of(
        "github",
        testing::claims::github(json!({ "repository_id": repository.to_string() })),
    )
}

fn context() -> Context {
    Context { address: None, now: Timestamp::UNIX_EPOCH }
}

#[divan::bench]
fn allowed(bencher: divan::Bencher<'_, '_>) {
    let (config, who) = (config(), who(4710));
    assert!(config.policy.decide(&who, "team-10/deploy-4710", &context()).is_ok());
    bencher.bench(|| config.policy.decide(&who, "team-10/deploy-4710", &context()));
}

#[divan::bench]
fn refused(bencher: divan::Bencher<'_, '_>) {
    let (config, who) = (config(), who(4711));
    assert!(config.policy.decide(&who, "team-10/deploy-4710", &context()).is_err());
    bencher.bench(|| config.policy.decide(&who, "team-10/deploy-4710", &context()));
}

#[divan::bench(sample_count = 5)]
fn reading(bencher: divan::Bencher<'_, '_>) {
    bencher.bench(config);
}

#[divan::bench]
fn which_roles_may_i_take(bencher: divan::Bencher<'_, '_>) {
    let (config, who) = (config(), who(4710));
    assert_eq!(config.policy.open_to(&who, &context()), ["team-10/deploy-4710"]);
    bencher.bench(|| config.policy.open_to(&who, &context()).len());
}
