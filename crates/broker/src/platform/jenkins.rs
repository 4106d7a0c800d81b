//! Jenkins with the plugin `oidc-provider`: credentials of the kind "id token", bound to a variable. The issuer is the
//! instance's `https://HOST/oidc`, or a folder's.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::generic::{TOKEN_VARIABLE, given};
use super::subject::{Mismatch, Subject, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;

/// See the module.
#[derive(Debug)]
pub struct Jenkins;

/// Jenkins.
pub static JENKINS: Jenkins = Jenkins;

#[async_trait]
impl Platform for Jenkins {
    fn name(&self) -> &'static str {
        "jenkins"
    }

    fn about(&self) -> &'static str {
        "Jenkins with the plugin `oidc-provider`"
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        // The job's address: the plugin gives no ids, and the issuer is the operator's own.
        &[Binding { claims: &["sub"], reach: Reach::Project }]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        required(claims, "sub").map(|sub| Subject::known([("job", sub)]))
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, "sub"),
            job: word(claims, "build_number"),
            run_id: word(claims, "build_number"),
            ..Who::default()
        }
    }

    fn run_id(&self, claims: &Claims) -> Option<String> {
        // Builds are numbered within their job.
        let job = word(claims, "sub")?;
        Some(format!("{}/{}", job.trim_end_matches('/'), word(claims, "build_number")?))
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get("JENKINS_URL").is_some()
    }

    fn is_fresh(&self) -> bool {
        false
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        given(env, audience)?.ok_or_else(|| {
            TokenError::NotOffered(format!(
                "the build has no token: bind a credential of the kind \"OpenID Connect id token\" with the audience \
                 `{audience}` to the variable {TOKEN_VARIABLE}"
            ))
        })
    }
}
