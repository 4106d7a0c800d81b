//! Bitbucket Pipelines: an issuer per workspace
//! (`https://api.bitbucket.org/2.0/workspaces/WS/pipelines-config/identity/oidc`).

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::generic::checked;
use super::subject::{Mismatch, Subject, agree, agree_if_there, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// See the module.
#[derive(Debug)]
pub struct Bitbucket;

/// Bitbucket Pipelines.
pub static BITBUCKET: Bitbucket = Bitbucket;

const TOKEN: &str = "BITBUCKET_STEP_OIDC_TOKEN";

#[async_trait]
impl Platform for Bitbucket {
    fn name(&self) -> &'static str {
        "bitbucket"
    }

    fn about(&self) -> &'static str {
        "Bitbucket Pipelines, an issuer per workspace"
    }

    fn max_life(&self) -> Ttl {
        // A token lives as long as its step may run, two hours unless the step says otherwise.
        Ttl::minutes(120)
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["repositoryUuid"], reach: Reach::Project },
            Binding { claims: &["workspaceUuid"], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        &["branchName"]
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["deploymentEnvironmentUuid"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let parts: Vec<&str> = sub.split(':').collect();
        let (repository, environment, step) = match parts[..] {
            [repository, step] => (repository, "", step),
            [repository, environment, step] => (repository, environment, step),
            _ => {
                let wanted = "`REPOSITORY:STEP` or `REPOSITORY:ENVIRONMENT:STEP`".to_owned();
                return Err(Mismatch { claim: "sub", wanted, seen: Some(sub.into()) });
            }
        };
        agree(claims, "repositoryUuid", repository)?;
        agree_if_there(claims, "stepUuid", step)?;
        if !environment.is_empty() {
            agree_if_there(claims, "deploymentEnvironmentUuid", environment)?;
        }
        Ok(Subject::known([("repository", repository), ("environment", environment), ("step", step)]))
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, "repositoryUuid"),
            reference: word(claims, "branchName"),
            job: word(claims, "stepUuid"),
            run_id: word(claims, "pipelineUuid"),
            ..Who::default()
        }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get(TOKEN).is_some() || env.get("BITBUCKET_PIPELINE_UUID").is_some()
    }

    fn is_fresh(&self) -> bool {
        false
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        let token = env.get(TOKEN).map(Secret::text).ok_or_else(|| {
            TokenError::NotOffered(format!(
                "the step gets no identity token: add `oidc: {{ audiences: [\"{audience}\"] }}` to it"
            ))
        })?;
        checked(&token, TOKEN, audience)
    }
}
