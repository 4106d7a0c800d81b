//! CircleCI: an issuer per organisation (`https://oidc.circleci.com/org/ORG_UUID`), so that the issuer already says whose
//! jobs are meant.

use async_trait::async_trait;
use claviger_audit::event::Who;
use serde_json::{Value, json};

use super::env::{Env, TokenError};
use super::generic::checked;
use super::hazard::Hazard;
use super::subject::{Mismatch, Subject, agree, agree_if_there, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;

/// See the module.
#[derive(Debug)]
pub struct CircleCi;

/// CircleCI.
pub static CIRCLECI: CircleCi = CircleCi;

const PROJECT: &str = "oidc.circleci.com/project-id";
const ORGANISATION: &str = "oidc.circleci.com/org-id";
const ORIGIN: &str = "oidc.circleci.com/vcs-origin";
const REFERENCE: &str = "oidc.circleci.com/vcs-ref";
const PIPELINE: &str = "oidc.circleci.com/pipeline-id";
const SSH: &str = "oidc.circleci.com/ssh-rerun";

#[async_trait]
impl Platform for CircleCi {
    fn name(&self) -> &'static str {
        "circleci"
    }

    fn about(&self) -> &'static str {
        "CircleCI, an issuer per organisation"
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &[PROJECT], reach: Reach::Project },
            Binding { claims: &[ORGANISATION], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        &[ORIGIN, REFERENCE]
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["oidc.circleci.com/context-ids"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let malformed = || Mismatch {
            claim: "sub",
            wanted: "`org/ORG/project/PROJECT/user/USER`".to_owned(),
            seen: Some(sub.into()),
        };
        let parts: Vec<&str> = sub.splitn(7, '/').collect();
        let ["org", organisation, "project", project, "user", user, rest @ ..] = &parts[..] else {
            return Err(malformed());
        };
        agree(claims, PROJECT, project)?;
        agree_if_there(claims, ORGANISATION, organisation)?;
        if let [rest] = rest {
            let source = rest.strip_prefix("vcs-origin/").and_then(|rest| rest.split_once("/vcs-ref/"));
            let (origin, reference) = source.ok_or_else(malformed)?;
            agree(claims, ORIGIN, origin)?;
            agree(claims, REFERENCE, reference)?;
        }
        Ok(Subject::known([("organisation", organisation), ("project", project), ("user", user)]))
    }

    fn hazards(&self, claims: &Claims) -> Vec<Hazard> {
        match claims.get(SSH) {
            None | Some(Value::Bool(false)) => Vec::new(),
            Some(_) => vec![Hazard::SshRerun],
        }
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, ORIGIN).or_else(|| word(claims, PROJECT)),
            reference: word(claims, REFERENCE),
            job: word(claims, "oidc.circleci.com/job-id"),
            run_id: word(claims, PIPELINE),
            ..Who::default()
        }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get("CIRCLECI").is_some()
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        // The variables hold tokens for another audience, but say whether the job gets any.
        if env.get("CIRCLE_OIDC_TOKEN_V2").or_else(|| env.get("CIRCLE_OIDC_TOKEN")).is_none() {
            return Err(TokenError::NotOffered(
                "the job gets no identity token: give it a context; a fork's build gets one only where \"pass \
                 secrets to builds from forked pull requests\" is on"
                    .to_owned(),
            ));
        }
        let claims = json!({ "aud": audience }).to_string();
        let written = env
            .run("circleci", &["run", "oidc", "get", "--claims", &claims])
            .await
            .map_err(|e| TokenError::Refused(format!("`circleci run oidc get` failed: {e}")))?;
        checked(&written, "`circleci run oidc get`", audience)
    }
}
