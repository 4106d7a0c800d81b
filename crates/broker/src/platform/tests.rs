//! Every platform, walked; and what tokens of each may not say.

use serde_json::{Value, json};

use super::*;
use crate::testing::claims;

fn claims_of(platform: &str, changes: Value) -> Claims {
    let Value::Object(map) = claims::of(platform, changes) else { panic!("claims are an object") };
    Claims::from(map)
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` as it comes")]
fn refused(platform: &str, changes: Value) -> &'static str {
    let claims = claims_of(platform, changes.clone());
    let found = by_name(platform).expect("a platform").subject(&claims);
    found.expect_err(&format!("{platform}: {changes}")).claim
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` as it comes")]
/// The fields of a subject that is accepted; none of a custom one.
fn accepted(platform: &str, changes: Value) -> Vec<(&'static str, String)> {
    let claims = claims_of(platform, changes.clone());
    match by_name(platform).expect("a platform").subject(&claims) {
        Ok(Subject::Known(fields)) => fields.into_iter().map(|it| (it.name, it.value.into_owned())).collect(),
        Ok(Subject::Custom) => Vec::new(),
        Err(e) => panic!("{platform}: {changes}: {e:?}"),
    }
}

fn field<'a>(fields: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
}

fn hazards(platform: &str, changes: Value) -> Vec<Hazard> {
    by_name(platform).expect("a platform").hazards(&claims_of(platform, changes))
}

#[test]
fn every_platform_is_whole() {
    let mut names = std::collections::BTreeSet::new();
    for platform in PLATFORMS {
        let name = platform.name();
        assert!(names.insert(name), "{name} is there twice");
        assert!(!platform.about().is_empty() && !platform.about().ends_with('.'), "{name}");
        let claims = claims_of(name, json!({}));
        assert!(platform.subject(&claims).is_ok(), "{name}");
        assert_eq!(platform.hazards(&claims), [], "{name}: the usual token is no stranger's");
        let bindings = platform.immutable_claims();
        assert!(bindings.iter().any(|binding| binding.reach == Reach::Project), "{name}");
        assert!(bindings.is_sorted_by_key(|binding| binding.reach), "{name}: the narrowest first");
        for claim in bindings.iter().flat_map(|binding| binding.claims) {
            assert!(!platform.authored_claims().contains(claim), "{name}: {claim} is authored and immutable");
        }
        let narrowest = bindings.first().expect("a binding");
        for claim in narrowest.claims {
            assert!(claims.get(claim).is_some(), "{name}: the usual token has {claim}");
        }
    }
}

#[test]
fn who_and_run_are_known_where_the_token_says_them() {
    let run = |name: &str| by_name(name).expect("a platform").run_id(&claims_of(name, json!({})));
    assert_eq!(run("github").as_deref(), Some("90001"));
    assert_eq!(run("gitlab").as_deref(), Some("574"));
    assert_eq!(run("jenkins").as_deref(), Some("https://jenkins.acme.test/job/shop/42"));
    assert_eq!(run("azure_devops").as_deref(), Some("00000002-0000-4000-8000-000000000000/345"));
    assert_eq!(run("oidc"), None);
    let without = by_name("buildkite").expect("a platform");
    assert_eq!(
        without.run_id(&claims_of("buildkite", json!({ "build_id": null }))).as_deref(),
        Some("acme/shop/5")
    );
    let who = by_name("gitlab").expect("a platform").who(&claims_of("gitlab", json!({})));
    assert_eq!(who.repository.as_deref(), Some("acme/shop"));
    assert_eq!(who.actor.as_deref(), Some("ada"));
}

#[test]
fn github_subjects_of_both_forms() {
    let subject = accepted("github", json!({}));
    assert_eq!((field(&subject, "owner"), field(&subject, "owner_id")), (Some("acme"), None));
    let subject = accepted("github", json!({ "sub": "repo:acme@1001/shop@4711:ref:refs/heads/main" }));
    assert_eq!((field(&subject, "owner"), field(&subject, "owner_id")), (Some("acme"), Some("1001")));
    assert_eq!(field(&subject, "repository_id"), Some("4711"));
    let subject =
        accepted("github", json!({ "sub": "repo:acme/shop:environment:a%3Ab", "environment": "a:b" }));
    assert_eq!(field(&subject, "environment"), Some("a:b"));
    let pull = json!({ "sub": "repo:acme/shop:pull_request", "event_name": "pull_request" });
    assert_eq!(field(&accepted("github", pull), "event"), Some("pull_request"));
    for custom in [
        "repository_owner:acme:job_workflow_ref:x",
        "repo:acme/shop:job_workflow_ref:acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "repo:acme/shop:ref:refs/heads/main:actor:ada",
        "repo:acme/shop",
    ] {
        assert_eq!(accepted("github", json!({ "sub": custom })), [], "{custom}");
    }
}

#[test]
fn github_subject_and_claims_must_agree() {
    for (sub, claim) in [
        ("repo:evil/shop:ref:refs/heads/main", "repository_owner"),
        ("repo:acme/evil:ref:refs/heads/main", "repository"),
        ("repo:acme/evil:job_workflow_ref:x", "repository"),
        ("repo:acme@1002/shop@4711:ref:refs/heads/main", "repository_owner_id"),
        ("repo:acme@1001/shop@4712:ref:refs/heads/main", "repository_id"),
        ("repo:acme@1001/shop:ref:refs/heads/main", "sub"),
        ("repo:acme/shop@4711:ref:refs/heads/main", "sub"),
        ("repo:acme@/shop@:ref:refs/heads/main", "sub"),
        ("repo:acme@1001@1/shop@4711:ref:refs/heads/main", "sub"),
        ("repo:acme:ref:refs/heads/main", "sub"),
        ("repo:ac me/shop:ref:refs/heads/main", "sub"),
        ("repo:acme/shop/x:ref:refs/heads/main", "sub"),
        ("repo:acme/shop:ref:refs/heads/other", "ref"),
        ("repo:acme/shop:environment:prod", "environment"),
        ("repo:acme/shop:pull_request", "event_name"),
    ] {
        assert_eq!(refused("github", json!({ "sub": sub })), claim, "{sub}");
    }
    assert_eq!(refused("github", json!({ "repository": null })), "repository");
    assert_eq!(refused("github", json!({ "event_name": null })), "event_name");
    assert_eq!(refused("github", json!({ "repository": ["acme/shop"] })), "repository");
}

/// The first form of immutable subjects joined name and id by a hyphen, so that a name could be registered in advance
/// to equal somebody's future subject ("Sleeper Squats", 2026).
#[test]
fn hyphen_squat() {
    // The early form of acme's own subject is refused: it names an owner `acme-1001`, whom the claims do not know.
    assert_eq!(
        refused("github", json!({ "sub": "repo:acme-1001/shop-4711:ref:refs/heads/main" })),
        "repository_owner"
    );
    // Whoever registered that name is himself, with his own ids, and nobody else.
    let squatter = accepted(
        "github",
        json!({
            "sub": "repo:acme-1001/shop-4711:ref:refs/heads/main", "repository": "acme-1001/shop-4711",
            "repository_owner": "acme-1001", "repository_id": "9", "repository_owner_id": "8"
        }),
    );
    assert_ne!(
        squatter,
        accepted("github", json!({ "sub": "repo:acme@1001/shop@4711:ref:refs/heads/main" }))
    );
    assert_eq!(field(&squatter, "owner_id"), None);
    // On Forgejo the form is in use: read with the ids beside it, and never by itself.
    assert_eq!(field(&accepted("forgejo", json!({})), "owner"), Some("acme"));
    assert_eq!(refused("forgejo", json!({ "repository_owner_id": "1002" })), "repository");
    assert_eq!(refused("forgejo", json!({ "repository_id": null })), "repository");
}

#[test]
fn github_events_of_strangers_are_hazards() {
    for (event, hazard) in [
        ("pull_request", Hazard::PullRequest),
        ("pull_request_review", Hazard::PullRequest),
        ("pull_request_target", Hazard::PullRequestTarget),
        ("workflow_run", Hazard::WorkflowRun),
        ("issue_comment", Hazard::PublicEvent),
        ("fork", Hazard::PublicEvent),
    ] {
        for platform in ["github", "forgejo"] {
            assert_eq!(hazards(platform, json!({ "event_name": event })), [hazard], "{event}");
        }
    }
    for event in ["push", "schedule", "release", "workflow_dispatch", "merge_group"] {
        assert_eq!(hazards("github", json!({ "event_name": event })), []);
    }
}

/// GitLab issue 548165: merge-request pipelines of forks got tokens that looked like the parent's protected branch.
#[test]
fn gitlab_mr_fork() {
    let fork = json!({ "project_id": "99", "pipeline_source": "merge_request_event" });
    assert_eq!(hazards("gitlab", fork), [Hazard::Fork, Hazard::MergeRequest]);
    assert_eq!(hazards("gitlab", json!({ "namespace_path": "mallory" })), [Hazard::Fork]);
    assert_eq!(hazards("gitlab", json!({ "project_id": null })), [Hazard::Fork]);
    // A number is not the text: what does not look the same is not taken for the same.
    assert_eq!(hazards("gitlab", json!({ "project_id": 22 })), [Hazard::Fork]);
    let old = json!({
        "job_project_id": null, "job_project_path": null, "job_namespace_id": null, "job_namespace_path": null,
        "pipeline_source": "merge_request_event"
    });
    assert_eq!(hazards("gitlab", old), [Hazard::MergeRequest]);
}

#[test]
fn gitlab_subject_and_claims_must_agree() {
    for (sub, claim) in [
        ("project_path:acme/evil:ref_type:branch:ref:main", "project_path"),
        ("project_path:acme/shop:ref_type:tag:ref:main", "ref_type"),
        ("project_path:acme/shop:ref_type:branch:ref:other", "ref"),
        ("project_path:acme/evil", "project_path"),
        ("project_id:23:ref_type:branch", "project_id"),
    ] {
        assert_eq!(refused("gitlab", json!({ "sub": sub })), claim, "{sub}");
    }
    for custom in
        ["project_id:22:ref_protected:true", "project_path:acme/shop:environment_protected:true", "x:y"]
    {
        assert_eq!(accepted("gitlab", json!({ "sub": custom })), [], "{custom}");
    }
    assert_eq!(refused("gitlab", json!({ "pipeline_source": null })), "pipeline_source");
}

#[test]
fn a_shell_in_the_job_is_a_hazard() {
    for value in [json!(true), json!("true"), json!(1)] {
        assert_eq!(hazards("circleci", json!({ "oidc.circleci.com/ssh-rerun": value })), [Hazard::SshRerun]);
    }
    assert_eq!(hazards("circleci", json!({ "oidc.circleci.com/ssh-rerun": null })), []);
}

#[test]
fn other_subjects_and_claims_must_agree() {
    for (platform, changes, claim) in [
        ("circleci", json!({ "oidc.circleci.com/project-id": "x" }), "oidc.circleci.com/project-id"),
        ("circleci", json!({ "oidc.circleci.com/org-id": "x" }), "oidc.circleci.com/org-id"),
        ("circleci", json!({ "oidc.circleci.com/vcs-ref": "refs/heads/x" }), "oidc.circleci.com/vcs-ref"),
        ("circleci", json!({ "sub": "org/a/project/b" }), "sub"),
        ("circleci", json!({ "sub": "user/a/project/b/org/c" }), "sub"),
        ("buildkite", json!({ "pipeline_slug": "other" }), "pipeline_slug"),
        ("buildkite", json!({ "organization_slug": "other" }), "organization_slug"),
        ("buildkite", json!({ "build_commit": "00" }), "build_commit"),
        ("bitbucket", json!({ "repositoryUuid": "{x}" }), "repositoryUuid"),
        ("bitbucket", json!({ "stepUuid": "{x}" }), "stepUuid"),
        ("bitbucket", json!({ "sub": "a:b:c:d" }), "sub"),
        ("azure_devops", json!({ "sub": "sc://acme/payments" }), "sub"),
        (
            "kubernetes",
            json!({ "sub": "system:serviceaccount:shop:admin" }),
            "/kubernetes.io/serviceaccount/name",
        ),
        (
            "kubernetes",
            json!({ "sub": "system:serviceaccount:kube-system:deployer" }),
            "/kubernetes.io/namespace",
        ),
        ("terraform", json!({ "terraform_run_phase": "plan" }), "terraform_run_phase"),
        ("terraform", json!({ "terraform_workspace_name": "other" }), "terraform_workspace_name"),
        (
            "terraform",
            json!({ "sub": "organization:evil:module:m:operation:test_run" }),
            "terraform_organization_name",
        ),
        ("google", json!({ "sub": "someone@acme.test" }), "sub"),
        ("spiffe", json!({ "sub": "spiffe://acme.test" }), "sub"),
        ("spiffe", json!({ "sub": "spiffe://acme.test/" }), "sub"),
        ("spiffe", json!({ "sub": "spiffe://acme.test/a/../b" }), "sub"),
        ("spiffe", json!({ "sub": "spiffe://acme.test/a//b" }), "sub"),
        ("spiffe", json!({ "sub": "spiffe://Acme.test/a" }), "sub"),
        ("spiffe", json!({ "sub": "spiffe:///a" }), "sub"),
        ("spiffe", json!({ "sub": "https://acme.test/a" }), "sub"),
        ("oidc", json!({ "sub": "" }), "sub"),
        ("oidc", json!({ "sub": 7 }), "sub"),
    ] {
        assert_eq!(refused(platform, changes.clone()), claim, "{platform} {changes}");
    }
    // A branch may bear any name, also one that looks like more fields.
    let branch = "refs/heads/x:commit:0:step:y";
    let commit = "0f0e0d0c0b0a09080706050403020100deadbeef";
    let sub = format!("organization:acme:pipeline:shop:ref:{branch}:commit:{commit}:step:deploy");
    assert_eq!(field(&accepted("buildkite", json!({ "sub": sub })), "ref"), Some(branch));
}
