//! Buildkite. Ids are in the token only if the client asks for them, which this one does.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::generic::checked;
use super::subject::{Mismatch, Subject, agree, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// See the module.
#[derive(Debug)]
pub struct Buildkite;

/// Buildkite.
pub static BUILDKITE: Buildkite = Buildkite;

#[async_trait]
impl Platform for Buildkite {
    fn name(&self) -> &'static str {
        "buildkite"
    }

    fn about(&self) -> &'static str {
        "Buildkite"
    }

    fn issuer(&self) -> Option<&'static str> {
        Some("https://agent.buildkite.com")
    }

    fn max_life(&self) -> Ttl {
        Ttl::minutes(15)
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["pipeline_id"], reach: Reach::Project },
            Binding { claims: &["cluster_id"], reach: Reach::Owner },
            Binding { claims: &["organization_id"], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        &["build_branch", "build_tag", "build_commit", "step_key", "build_source"]
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["cluster_id", "queue_id"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let known = |sub: &'a str| {
            let rest = sub.strip_prefix("organization:")?;
            let (organisation, rest) = rest.split_once(":pipeline:")?;
            let (pipeline, rest) = rest.split_once(":ref:")?;
            // A reference may hold anything a branch's name may: what follows is found from the end.
            let (rest, step) = rest.rsplit_once(":step:")?;
            let (reference, commit) = rest.rsplit_once(":commit:")?;
            Some([
                ("organisation", organisation),
                ("pipeline", pipeline),
                ("ref", reference),
                ("commit", commit),
                ("step", step),
            ])
        };
        let Some(fields) = known(sub) else { return Ok(Subject::Custom) };
        let [(_, organisation), (_, pipeline), _, (_, commit), _] = fields;
        agree(claims, "organization_slug", organisation)?;
        agree(claims, "pipeline_slug", pipeline)?;
        agree(claims, "build_commit", commit)?;
        Ok(Subject::known(fields))
    }

    fn who(&self, claims: &Claims) -> Who {
        let slug = |name| claims.text(name).filter(|slug| !slug.is_empty());
        let pipeline = slug("organization_slug").zip(slug("pipeline_slug"));
        Who {
            repository: pipeline.map(|(organisation, pipeline)| format!("{organisation}/{pipeline}")),
            reference: word(claims, "build_tag").or_else(|| word(claims, "build_branch")),
            workflow: word(claims, "step_key"),
            job: word(claims, "job_id"),
            run_id: word(claims, "build_id"),
            ..Who::default()
        }
    }

    fn run_id(&self, claims: &Claims) -> Option<String> {
        // A build's number alone says nothing without its pipeline.
        let numbered = || {
            let number = word(claims, "build_number")?;
            Some(format!("{}/{number}", self.who(claims).repository?))
        };
        word(claims, "build_id").or_else(numbered)
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get("BUILDKITE").is_some()
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        const CLAIMS: &str = "organization_id,pipeline_id,build_id,cluster_id,queue_id";
        let arguments = ["oidc", "request-token", "--audience", audience, "--claim", CLAIMS];
        let written = env
            .run("buildkite-agent", &arguments)
            .await
            .map_err(|e| TokenError::Refused(format!("`buildkite-agent oidc request-token` failed: {e}")))?;
        checked(&written, "`buildkite-agent oidc request-token`", audience)
    }
}
