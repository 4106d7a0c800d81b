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
