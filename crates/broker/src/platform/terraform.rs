//! HCP Terraform: workspaces and their runs. Plans of pull requests run code that nobody has merged, so that a role
//! should bind the run's phase besides the ids.

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
pub struct Terraform;

/// HCP Terraform.
pub static TERRAFORM: Terraform = Terraform;

/// The token for the broker alone, then the one for everything.
const TOKENS: [&str; 2] = ["TFC_WORKLOAD_IDENTITY_TOKEN_CLAVIGER", "TFC_WORKLOAD_IDENTITY_TOKEN"];

#[async_trait]
impl Platform for Terraform {
    fn name(&self) -> &'static str {
        "terraform"
    }

    fn about(&self) -> &'static str {
        "HCP Terraform and Terraform Enterprise"
    }

    fn issuer(&self) -> Option<&'static str> {
        Some("https://app.terraform.io")
    }

    fn max_life(&self) -> Ttl {
        // A token lives as long as its phase may run; a plan may take two hours.
        Ttl::minutes(120)
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["terraform_workspace_id"], reach: Reach::Project },
            Binding { claims: &["terraform_project_id"], reach: Reach::Owner },
            Binding { claims: &["terraform_organization_id"], reach: Reach::Owner },
        ]
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["terraform_run_phase"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let Some(rest) = sub.strip_prefix("organization:") else { return Ok(Subject::Custom) };
        let parts: Vec<&str> = rest.split(':').collect();
        match parts[..] {
            [organisation, "project", project, "workspace", workspace, "run_phase", phase] => {
                agree(claims, "terraform_organization_name", organisation)?;
                agree(claims, "terraform_project_name", project)?;
                agree(claims, "terraform_workspace_name", workspace)?;
                agree(claims, "terraform_run_phase", phase)?;
                Ok(Subject::known([
                    ("organisation", organisation),
                    ("project", project),
                    ("workspace", workspace),
                    ("run_phase", phase),
                ]))
            }
            // Tests of modules and what may come: bound by ids, if at all.
            [organisation, ..] => {
                agree(claims, "terraform_organization_name", organisation)?;
                Ok(Subject::Custom)
            }
            [] => Ok(Subject::Custom),
        }
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, "terraform_full_workspace")
                .or_else(|| word(claims, "terraform_workspace_id")),
            job: word(claims, "terraform_run_phase"),
            run_id: word(claims, "terraform_run_id"),
            ..Who::default()
        }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get("TFC_RUN_ID").is_some() || TOKENS.iter().any(|name| env.get(name).is_some())
    }

    fn is_fresh(&self) -> bool {
        false
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        let found = TOKENS.iter().find_map(|name| Some((*name, Secret::text(env.get(name)?))));
        let (name, token) = found.ok_or_else(|| {
            TokenError::NotOffered(format!(
                "the run has no identity token: set the workspace's variable \
                 `TFC_WORKLOAD_IDENTITY_AUDIENCE_CLAVIGER` to `{audience}`"
            ))
        })?;
        checked(&token, name, audience)
    }
}
