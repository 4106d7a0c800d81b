//! Forgejo Actions: GitHub's protocol and claims with an issuer per instance (`https://HOST/api/actions`).
//!
//! New repositories' subjects join names and ids by hyphens (`repo:acme-1/shop-2:...`), which a name can imitate. They
//! are read with the ids of the claims beside them, and are no identity by themselves.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::github::{self, GITHUB};
use super::hazard::Hazard;
use super::subject::{Mismatch, Subject, required};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;

/// See the module.
#[derive(Debug)]
pub struct Forgejo;

/// Forgejo Actions.
pub static FORGEJO: Forgejo = Forgejo;

#[async_trait]
impl Platform for Forgejo {
    fn name(&self) -> &'static str {
        "forgejo"
    }

    fn about(&self) -> &'static str {
        "Forgejo Actions"
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["repository_id"], reach: Reach::Project },
            Binding { claims: &["repository_owner_id"], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        GITHUB.authored_claims()
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["ref_protected"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let Some((project, tail)) = sub.strip_prefix("repo:").and_then(|rest| rest.split_once(':')) else {
            return Ok(Subject::Custom);
        };
        let (owner, repository) = project.split_once('/').unwrap_or((project, ""));
        let full = required(claims, "repository")?;
        let (own, name) = full.split_once('/').unwrap_or((full, ""));
        let is = |seen: &str, name: &str, id: &str| {
            seen == name
                || claims.text(id).is_some_and(|id| seen.strip_prefix(name) == Some(&format!("-{id}")))
        };
        if !is(owner, own, "repository_owner_id") || !is(repository, name, "repository_id") {
            let wanted = format!("`{project}`, as in `sub`");
            return Err(Mismatch { claim: "repository", wanted, seen: Some(full.into()) });
        }
        github::context(claims, tail)?;
        Ok(Subject::known([("owner", own), ("repository", name)]))
    }

    fn hazards(&self, claims: &Claims) -> Vec<Hazard> {
        GITHUB.hazards(claims)
    }

    fn who(&self, claims: &Claims) -> Who {
        GITHUB.who(claims)
    }

    fn detect(&self, env: &dyn Env) -> bool {
        ["FORGEJO_ACTIONS", "GITEA_ACTIONS"].iter().any(|name| env.get(name).as_deref() == Some("true"))
    }

    async fn token(&self, env: &dyn Env, audience: &str, http: &Fetch) -> Result<Secret, TokenError> {
        github::request(env, audience, http).await?.ok_or_else(|| {
            TokenError::NotOffered(
                "the job gets no identity token: add `enable-openid-connect: true` to the workflow"
                    .to_owned(),
            )
        })
    }
}
