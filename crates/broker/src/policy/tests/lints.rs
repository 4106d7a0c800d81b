//! Each remark on a policy that earns it, and none on one that does not.

use std::collections::BTreeSet;

use super::support::*;
use crate::policy::lint::{LINTS, Severity};

/// The remarks on a configuration, as `severity id line`, without those on what is unused.
fn remarks(rest: &str) -> Vec<String> {
    let all = config(rest).lint().shown.into_iter().filter(|it| it.id != "unused");
    all.map(|it| format!("{} {} {}", it.severity, it.id, it.at.line)).collect()
}

/// A role that nothing is to be said about, with other conditions and more members.
fn good(conditions: &str, more: &str) -> String {
    format!(
        "roles:\n  r:\n    issuer: github\n    match: {{repository_id: \"1\", {conditions}}}\n    environment: dev\n    \
         access: read\n    grant: {{provider: dev-db}}\n{more}"
    )
}

#[test]
fn each_remark_has_a_policy_that_earns_it() {
    let write =
        |conditions: &str, more: &str| good(conditions, more).replace("access: read", "access: write");
    let good_write = write("environment: production", "    runner_environment: hosted\n");
    let cases: &[(&str, String)] = &[
        ("", good("", "")),
        ("", good_write),
        ("", good("ref: refs/heads/main, ref_protected: \"true\"", "")),
        ("", good("event_name: push", "")),
        (
            "error never-granted 20",
            good("actor: a", "    not: {actor: {one_of: [a, b]}}\n    accept: {authored-claim: x}\n"),
        ),
        ("error claim-type 16", good("ref_protected: true", "")),
        ("error claim-type 16", good("environment: {one_of: [a, 1]}", "")),
        (
            "error ids-across-issuers 15",
            good("sub: x", "").replace("issuer: github", "issuer: [github, test]"),
        ),
        (
            "note unbound-id",
            good("repository: acme/shop", "    mutable: accepted\n").replace("repository_id: \"1\", ", ""),
        ),
        ("note owner-reach 16", good("", "").replace("repository_id", "repository_owner_id")),
        ("warning wildcard-reach 16", good("environment: {glob: \"*\"}", "")),
        ("warning wildcard-reach 16", good("environment: {glob: \"*-prod\"}", "")),
        ("warning wildcard-reach 16", good("workflow_ref: {glob: \"acme/*/x\"}, job_workflow_ref: a", "")),
        ("warning wildcard-reach 16", good("repository: {glob: \"acme/shop-*\"}", "")),
        ("warning wildcard-reach 16", good("sub: {glob: \"repo:acme*\"}", "")),
        ("", good("environment: {glob: \"prod-*\"}", "")),
        ("warning unprotected-ref 16", good("ref: refs/heads/main", "")),
        ("warning unprotected-ref 16", good("ref: refs/heads/main, ref_protected: \"false\"", "")),
        ("warning authored-claim 16", good("actor: ada", "")),
        ("warning authored-claim 16", good("workflow: deploy", "")),
        ("warning write-without-environment 16", write("", "    runner_environment: hosted\n")),
        ("warning self-hosted-write 14", write("environment: production", "")),
        (
            "warning self-hosted-write 20",
            write("environment: production", "    runner_environment: self-hosted\n"),
        ),
        ("", write("environment: production, runner_environment: github-hosted", "")),
        ("note hazard-allowed 20", good("", "    allow: [workflow_run]\n")),
        ("note reusable-workflow 16", good("workflow_ref: a", "")),
        ("note reusable-workflow 16", good("job_workflow_ref: a", "")),
        (
            "warning ttl-over-ceiling 19",
            good("", "").replace("dev-db}", "dev-db, max_ttl: 3h}") + "ceilings: [{max_ttl: 2h}]\n",
        ),
        ("error never-granted 19", good("", "") + "ceilings: [{providers: [prod-db]}]\n"),
        (
            "",
            good("", "")
                + "ceilings: [{issuer: github, match: {repository_id: \"2\"}, providers: [prod-db]}]\n",
        ),
    ];
    for (expected, yaml) in cases {
        let found = remarks(yaml);
        let is_good = match *expected {
            "" => found.is_empty(),
            expected => found.len() == 1 && found[0].starts_with(expected),
        };
        assert!(is_good, "expected `{expected}`, found {found:?} in\n{yaml}");
    }
}

#[test]
fn protected_environments_are_strict() {
    let prod = good("ref: refs/heads/main", "").replace("dev", "prod");
    assert_eq!(remarks(&prod), ["warning unprotected-ref 16"], "it reads only");
    let write = prod.replace("access: read", "runner_environment: hosted");
    assert_eq!(remarks(&write), ["error write-without-environment 16", "error unprotected-ref 16"]);
    let accepted =
        format!("{write}    accept: {{unprotected-ref: tags only, write-without-environment: none there}}\n");
    let config = config(&accepted);
    let lint = config.lint();
    assert_eq!((lint.shown.iter().filter(|it| it.severity < Severity::Note).count(), lint.accepted), (0, 2));
    assert!(
        wrong(&format!("{write}    accept: {{unprotected-rf: x}}\n"))
            .contains("did you mean `unprotected-ref`")
    );
    assert!(wrong(&format!("{write}    accept: {{unprotected-ref: \"\"}}\n")).contains("say why"));
}

#[test]
fn twins() {
    let two = |first: &str, second: &str| {
        let one = |name: &str, match_: &str| {
            format!(
                "  {name}:\n    issuer: github\n    match: {match_}\n    environment: dev\n    access: read\n    grant: {{provider: dev-db}}\n"
            )
        };
        remarks(&format!("roles:\n{}{}", one("a", first), one("b", second)))
    };
    let id = "{repository_id: \"1\"}";
    assert_eq!(two(id, id), ["warning duplicate-role 20"]);
    assert_eq!(two(id, "{repository_id: \"1\", environment: production}"), ["warning shadowed-role 20"]);
    assert_eq!(
        two("{repository_id: \"1\", environment: x-1}", "{repository_id: \"1\", environment: {glob: x-*}}"),
        ["warning shadowed-role 14"]
    );
    assert_eq!(two(id, "{repository_id: \"2\"}"), [""; 0]);
    assert_eq!(two(id, "{repository_id: {one_of: [\"2\", \"1\"]}}"), ["warning shadowed-role 14"]);
}

#[test]
fn audiences_that_open_something_else() {
    let with = |from: &str, to: &str| {
        let text = format!("{HEAD}{}", good("", "")).replace(from, to);
        let config =
            crate::config::Config::parse("broker.yaml", text, std::path::Path::new(".")).expect("loads");
        let shown = config.lint().shown.into_iter().filter(|it| it.id == "shared-audience");
        shown.map(|it| it.at.line).collect::<Vec<usize>>()
    };
    assert_eq!(with("x", "x"), [0; 0]);
    assert_eq!(with("https://broker.test", "api://AzureADTokenExchange"), [1]);
    assert_eq!(with("https://broker.test", "https://github.com/acme"), [1]);
    assert_eq!(
        with(
            "test: {platform: oidc, issuer: https://issuer.test}",
            "az: {platform: azure_devops, issuer: https://a.test/x}"
        ),
        [5]
    );
    assert_eq!(
        with("issuer: https://issuer.test}", "issuer: https://issuer.test, audience: sts.amazonaws.com}"),
        [5]
    );
}

#[test]
fn every_kind_is_known_by_its_id() {
    let ids: BTreeSet<&str> = LINTS.iter().map(|lint| lint.id).collect();
    assert_eq!(ids.len(), LINTS.len());
    assert!(LINTS.iter().all(|lint| !lint.about.is_empty() && !lint.about.ends_with('.')));
}
