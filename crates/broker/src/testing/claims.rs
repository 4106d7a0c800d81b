//! Claims as each CI's tokens have them, without issuer, audience and times.

use serde_json::{Map, Value, json};

/// A push to `main` of `acme/shop` on GitHub. `changes` are added and win; a `null` takes a claim away.
///
/// # Panics
/// The changes are not an object.
pub fn github(changes: Value) -> Value {
    let claims = json!({
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "repository_owner": "acme",
        "repository_id": "4711",
        "repository_owner_id": "1001",
        "repository_visibility": "private",
        "actor": "ada",
        "actor_id": "77",
        "event_name": "push",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "base_ref": "",
        "head_ref": "",
        "sha": "0f0e0d0c0b0a09080706050403020100deadbeef",
        "workflow": "deploy",
        "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "workflow_sha": "0f0e0d0c0b0a09080706050403020100deadbeef",
        "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "job_workflow_sha": "0f0e0d0c0b0a09080706050403020100deadbeef",
        "run_id": "90001",
        "run_number": "12",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
    });
    changed(claims, changes)
}

/// A push to `main` of `acme/shop` on GitLab. `changes` are added and win; a `null` takes a claim away.
///
/// # Panics
/// The changes are not an object.
pub fn gitlab(changes: Value) -> Value {
    let claims = json!({
        "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "project_id": "22",
        "project_path": "acme/shop",
        "namespace_id": "72",
        "namespace_path": "acme",
        "job_project_id": "22",
        "job_project_path": "acme/shop",
        "job_namespace_id": "72",
        "job_namespace_path": "acme",
        "user_id": "1",
        "user_login": "ada",
        "user_email": "ada@acme.test",
        "user_access_level": "maintainer",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "302",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "runner_id": 1,
        "runner_environment": "gitlab-hosted",
        "sha": "0f0e0d0c0b0a09080706050403020100deadbeef",
        "project_visibility": "private",
        "ci_config_ref_uri": "gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "0f0e0d0c0b0a09080706050403020100deadbeef",
    });
    changed(claims, changes)
}

/// A job of the default branch of a project on CircleCI, version 2 of the subject.
///
/// # Panics
/// The changes are not an object.
pub fn circleci(changes: Value) -> Value {
    let (organisation, project) =
        ("a1a1a1a1-0000-4000-8000-000000000001", "b2b2b2b2-0000-4000-8000-000000000002");
    let user = "c3c3c3c3-0000-4000-8000-000000000003";
    let (origin, reference) = ("github.com/acme/shop", "refs/heads/main");
    let claims = json!({
        "sub": format!("org/{organisation}/project/{project}/user/{user}/vcs-origin/{origin}/vcs-ref/{reference}"),
        "oidc.circleci.com/org-id": organisation,
        "oidc.circleci.com/project-id": project,
        "oidc.circleci.com/context-ids": ["d4d4d4d4-0000-4000-8000-000000000004"],
        "oidc.circleci.com/pipeline-id": "e5e5e5e5-0000-4000-8000-000000000005",
        "oidc.circleci.com/vcs-origin": origin,
        "oidc.circleci.com/vcs-ref": reference,
        "oidc.circleci.com/ssh-rerun": false,
    });
    changed(claims, changes)
}

/// A job of `main` on Buildkite, with the ids that the client asks for.
///
/// # Panics
/// The changes are not an object.
pub fn buildkite(changes: Value) -> Value {
    let commit = "0f0e0d0c0b0a09080706050403020100deadbeef";
    let claims = json!({
        "sub": format!("organization:acme:pipeline:shop:ref:refs/heads/main:commit:{commit}:step:deploy"),
        "organization_slug": "acme",
        "organization_id": "01900000-0000-7000-8000-000000000001",
        "pipeline_slug": "shop",
        "pipeline_id": "01900000-0000-7000-8000-000000000002",
        "cluster_id": "01900000-0000-7000-8000-000000000003",
        "queue_id": "01900000-0000-7000-8000-000000000004",
        "build_id": "01900000-0000-7000-8000-000000000005",
        "build_number": 5,
        "build_branch": "main",
        "build_tag": null,
        "build_commit": commit,
        "build_source": "webhook",
        "step_key": "deploy",
        "job_id": "01900000-0000-7000-8000-000000000006",
        "agent_id": "01900000-0000-7000-8000-000000000007",
        "runner_environment": "buildkite-hosted",
    });
    changed(claims, changes)
}

/// A step that deploys `main` on Bitbucket.
///
/// # Panics
/// The changes are not an object.
pub fn bitbucket(changes: Value) -> Value {
    let uuid = |n: u8| format!("{{{n:08x}-0000-4000-8000-000000000000}}");
    let claims = json!({
        "sub": format!("{}:{}:{}", uuid(1), uuid(2), uuid(3)),
        "repositoryUuid": uuid(1),
        "deploymentEnvironmentUuid": uuid(2),
        "stepUuid": uuid(3),
        "pipelineUuid": uuid(4),
        "workspaceUuid": uuid(5),
        "branchName": "main",
    });
    changed(claims, changes)
}

/// A pipeline of `main` on Azure DevOps, without a service connection.
///
/// # Panics
/// The changes are not an object.
pub fn azure_devops(changes: Value) -> Value {
    let claims = json!({
        "sub": "p://acme/payments/shop",
        "org_id": "00000001-0000-4000-8000-000000000000",
        "prj_id": "00000002-0000-4000-8000-000000000000",
        "def_id": "12",
        "rpo_id": "00000003-0000-4000-8000-000000000000",
        "rpo_uri": "https://dev.azure.com/acme/payments/_git/shop",
        "rpo_ver": "0f0e0d0c0b0a09080706050403020100deadbeef",
        "rpo_ref": "refs/heads/main",
        "run_id": "345",
    });
    changed(claims, changes)
}

/// A pod of the service account `deployer` in the namespace `shop`.
///
/// # Panics
/// The changes are not an object.
pub fn kubernetes(changes: Value) -> Value {
    let claims = json!({
        "sub": "system:serviceaccount:shop:deployer",
        "kubernetes.io": {
            "namespace": "shop",
            "node": { "name": "node-1", "uid": "00000001-0000-4000-8000-000000000000" },
            "pod": { "name": "deploy-x7k2p", "uid": "00000002-0000-4000-8000-000000000000" },
            "serviceaccount": { "name": "deployer", "uid": "00000003-0000-4000-8000-000000000000" },
        },
    });
    changed(claims, changes)
}

/// The apply of a run on HCP Terraform.
///
/// # Panics
/// The changes are not an object.
pub fn terraform(changes: Value) -> Value {
    let claims = json!({
        "sub": "organization:acme:project:payments:workspace:shop-prod:run_phase:apply",
        "terraform_organization_id": "org-Example1",
        "terraform_organization_name": "acme",
        "terraform_project_id": "prj-Example2",
        "terraform_project_name": "payments",
        "terraform_workspace_id": "ws-Example3",
        "terraform_workspace_name": "shop-prod",
        "terraform_full_workspace": "organization:acme:project:payments:workspace:shop-prod",
        "terraform_run_id": "run-Example4",
        "terraform_run_phase": "apply",
    });
    changed(claims, changes)
}

/// A push to `main` of `acme/shop` on a Forgejo, with a subject of the newer form.
///
/// # Panics
/// The changes are not an object.
pub fn forgejo(changes: Value) -> Value {
    let newer = github(json!({ "sub": "repo:acme-1001/shop-4711:ref:refs/heads/main" }));
    changed(newer, changes)
}

/// A machine on Google Cloud.
///
/// # Panics
/// The changes are not an object.
pub fn google(changes: Value) -> Value {
    let claims = json!({
        "sub": "106789012345678901234",
        "azp": "106789012345678901234",
        "email": "deployer@acme-prod.iam.gserviceaccount.test",
        "email_verified": true,
        "google": { "compute_engine": {
            "instance_id": "8087716956832600000",
            "instance_name": "runner-1",
            "project_id": "acme-prod",
            "project_number": 739_419_398_126_i64,
            "zone": "europe-west3-a",
        } },
    });
    changed(claims, changes)
}

/// A build on a Jenkins.
///
/// # Panics
/// The changes are not an object.
pub fn jenkins(changes: Value) -> Value {
    changed(json!({ "sub": "https://jenkins.acme.test/job/shop/", "build_number": 42 }), changes)
}

/// A workload of a SPIFFE trust domain.
///
/// # Panics
/// The changes are not an object.
pub fn spiffe(changes: Value) -> Value {
    changed(json!({ "sub": "spiffe://acme.test/shop/deployer" }), changes)
}

/// An identity of a generic issuer.
///
/// # Panics
/// The changes are not an object.
pub fn oidc(changes: Value) -> Value {
    changed(json!({ "sub": "shop-deployer" }), changes)
}

/// The usual claims of a platform's tokens, by the platform's name.
///
/// # Panics
/// There is no such platform, or the changes are not an object.
pub fn of(platform: &str, changes: Value) -> Value {
    match platform {
        "github" => github(changes),
        "gitlab" => gitlab(changes),
        "circleci" => circleci(changes),
        "buildkite" => buildkite(changes),
        "bitbucket" => bitbucket(changes),
        "azure_devops" => azure_devops(changes),
        "kubernetes" => kubernetes(changes),
        "terraform" => terraform(changes),
        "forgejo" => forgejo(changes),
        "google" => google(changes),
        "jenkins" => jenkins(changes),
        "spiffe" => spiffe(changes),
        "oidc" => oidc(changes),
        other => panic!("no claims of `{other}`"),
    }
}

fn changed(mut claims: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    let all: &mut Map<String, Value> = claims.as_object_mut().expect("claims are an object");
    for (name, value) in changes {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}
