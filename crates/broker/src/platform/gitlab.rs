//! GitLab CI: gitlab.com and any instance.
//!
//! In a merge request's pipeline `project_*` is the source project, which may be a fork, and `job_project_*` (18.4 and
//! later) is where the job runs. Where the two differ, the code is a fork's.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::generic::{TOKEN_VARIABLE, given};
use super::hazard::Hazard;
use super::subject::{Mismatch, Subject, agree, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;

/// See the module.
#[derive(Debug)]
pub struct Gitlab;

/// GitLab CI.
pub static GITLAB: Gitlab = Gitlab;

/// Claims that say the same of the source project and of the project where the job runs.
const FAMILIES: [(&str, &str); 4] = [
    ("project_id", "job_project_id"),
    ("project_path", "job_project_path"),
    ("namespace_id", "job_namespace_id"),
    ("namespace_path", "job_namespace_path"),
];

#[async_trait]
impl Platform for Gitlab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn about(&self) -> &'static str {
        "GitLab CI, on gitlab.com and on other instances"
    }

    fn issuer(&self) -> Option<&'static str> {
        Some("https://gitlab.com")
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["project_id"], reach: Reach::Project },
            Binding { claims: &["job_project_id"], reach: Reach::Project },
            Binding { claims: &["namespace_id"], reach: Reach::Owner },
            Binding { claims: &["job_namespace_id"], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        &[
            "ref",
            "ref_path",
            "ref_type",
            "sha",
            "pipeline_source",
            "environment_action",
            "user_id",
            "user_login",
            "user_email",
            "job_config",
        ]
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["ref_protected", "environment_protected"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        required(claims, "pipeline_source")?;
        let sub = required(claims, "sub")?;
        if let Some(rest) = sub.strip_prefix("project_id:") {
            let (id, _) = rest.split_once(':').unwrap_or((rest, ""));
            either(claims, "project_id", "job_project_id", id)?;
            return Ok(Subject::Custom);
        }
        let Some(rest) = sub.strip_prefix("project_path:") else { return Ok(Subject::Custom) };
        let (path, rest) = rest.split_once(':').unwrap_or((rest, ""));
        either(claims, "project_path", "job_project_path", path)?;
        let Some((kind, name)) = rest.strip_prefix("ref_type:").and_then(|rest| rest.split_once(":ref:"))
        else {
            return Ok(Subject::Custom);
        };
        // A git reference has no colon: where there is one, the instance's own components follow.
        if name.contains(':') {
            return Ok(Subject::Custom);
        }
        agree(claims, "ref_type", kind)?;
        agree(claims, "ref", name)?;
        Ok(Subject::known([("project_path", path), ("ref_type", kind), ("ref", name)]))
    }

    fn hazards(&self, claims: &Claims) -> Vec<Hazard> {
        let mut hazards = Vec::new();
        let differs = |(source, job): (&str, &str)| match (claims.get(source), claims.get(job)) {
            (source, Some(job)) => source != Some(job),
            (_, None) => false,
        };
        if FAMILIES.into_iter().any(differs) {
            hazards.push(Hazard::Fork);
        }
        if claims.text("pipeline_source") == Some("merge_request_event") {
            hazards.push(Hazard::MergeRequest);
        }
        hazards
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, "project_path"),
            reference: word(claims, "ref"),
            workflow: word(claims, "ci_config_ref_uri"),
            job: word(claims, "job_id"),
            run_id: word(claims, "pipeline_id"),
            actor: word(claims, "user_login"),
            ..Who::default()
        }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get("GITLAB_CI").is_some()
    }

    fn is_fresh(&self) -> bool {
        false
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        given(env, audience)?.ok_or_else(|| {
            TokenError::NotOffered(format!(
                "the job has no token: add `id_tokens: {{ {TOKEN_VARIABLE}: {{ aud: \"{audience}\" }} }}` to it"
            ))
        })
    }
}

/// One of the two claims must say `wanted`.
fn either(claims: &Claims, claim: &'static str, other: &'static str, wanted: &str) -> Result<(), Mismatch> {
    if claims.text(other) == Some(wanted) { Ok(()) } else { agree(claims, claim, wanted) }
}
