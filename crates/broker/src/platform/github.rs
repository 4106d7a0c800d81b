//! GitHub Actions: github.com, Enterprise Server (issuer `https://HOST/_services/token`) and data residency
//! (`https://token.actions.SUB.ghe.com`).
//!
//! The subject has two forms, with and without ids (`repo:O/R:...`, `repo:O@1/R@2:...`). `@` cannot occur in a name, so
//! that both are unambiguous; an early form that joined name and id by a hyphen could be registered as a name by
//! somebody else, and is read here as what it says: a name. Subjects that an organisation defined itself are custom.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::hazard::Hazard;
use super::subject::{Field, Mismatch, Subject, agree, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::{Call, Fetch};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// See the module.
#[derive(Debug)]
pub struct Github;

/// GitHub Actions.
pub static GITHUB: Github = Github;

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

#[async_trait]
impl Platform for Github {
    fn name(&self) -> &'static str {
        "github"
    }

    fn about(&self) -> &'static str {
        "GitHub Actions, also on Enterprise Server and GHE.com"
    }

    fn issuer(&self) -> Option<&'static str> {
        Some("https://token.actions.githubusercontent.com")
    }

    fn max_life(&self) -> Ttl {
        Ttl::minutes(15)
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["repository_id"], reach: Reach::Project },
            Binding { claims: &["repository_owner_id"], reach: Reach::Owner },
            Binding { claims: &["enterprise_id"], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        &[
            "ref",
            "head_ref",
            "base_ref",
            "sha",
            "workflow",
            "workflow_sha",
            "actor",
            "actor_id",
            "event_name",
            "run_number",
            "run_attempt",
        ]
    }

    fn protection_claims(&self) -> &'static [&'static str] {
        &["ref_protected", "environment"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        required(claims, "event_name")?;
        subject(claims)
    }

    fn hazards(&self, claims: &Claims) -> Vec<Hazard> {
        let hazard = match claims.text("event_name").unwrap_or_default() {
            "pull_request" | "pull_request_review" | "pull_request_review_comment" => Hazard::PullRequest,
            "pull_request_target" => Hazard::PullRequestTarget,
            "workflow_run" => Hazard::WorkflowRun,
            "issue_comment" | "issues" | "discussion" | "discussion_comment" | "fork" | "watch"
            | "gollum" => Hazard::PublicEvent,
            _ => return Vec::new(),
        };
        vec![hazard]
    }

    fn who(&self, claims: &Claims) -> Who {
        let mut who = Who {
            repository: word(claims, "repository"),
            reference: word(claims, "ref"),
            workflow: word(claims, "workflow_ref"),
            run_id: word(claims, "run_id"),
            actor: word(claims, "actor"),
            ..Who::default()
        };
        // What names one job of a run is not in the token; attempt and reusable workflow narrow it down.
        for name in ["run_attempt", "job_workflow_ref", "repository_id", "environment"] {
            if let Some(value) = word(claims, name) {
                who.extra.insert(name.to_owned(), value.into());
            }
        }
        who
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get(URL).is_some() || env.get("GITHUB_ACTIONS").as_deref() == Some("true")
    }

    async fn token(&self, env: &dyn Env, audience: &str, http: &Fetch) -> Result<Secret, TokenError> {
        let missing = || {
            TokenError::NotOffered(match env.get("GITHUB_EVENT_NAME").as_deref() {
                Some("pull_request") => {
                    "the job gets no identity token: add `permissions: id-token: write` to it; a \
                                         pull request from a fork gets none in any case"
                        .to_owned()
                }
                _ => "the job gets no identity token: add `permissions: id-token: write` to it".to_owned(),
            })
        };
        request(env, audience, http).await?.ok_or_else(missing)
    }
}

/// Asks the runner's token service, which Forgejo has as well; nothing if the job was not given its address.
pub(super) async fn request(
    env: &dyn Env,
    audience: &str,
    http: &Fetch,
) -> Result<Option<Secret>, TokenError> {
    let (Some(url), Some(bearer)) = (env.get(URL), env.get(BEARER).map(Secret::text)) else {
        return Ok(None);
    };
    // The address has a query already.
    let join = if url.contains('?') { '&' } else { '?' };
    let audience: String = url::form_urlencoded::byte_serialize(audience.as_bytes()).collect();
    let call = Call::get(format!("{url}{join}audience={audience}")).bearer(&bearer).accept_json();
    super::answer::token(http, call, "value").await.map(Some)
}

fn subject(claims: &Claims) -> Result<Subject<'_>, Mismatch> {
    let sub = required(claims, "sub")?;
    let Some(rest) = sub.strip_prefix("repo:") else { return Ok(Subject::Custom) };
    let malformed =
        || Mismatch { claim: "sub", wanted: "`repo:OWNER/NAME:...`".to_owned(), seen: Some(sub.into()) };
    let (project, tail) = rest.split_once(':').unwrap_or((rest, ""));
    let (owner, repository) = project.split_once('/').ok_or_else(malformed)?;
    let (owner, owner_id) = name_and_id(owner).ok_or_else(malformed)?;
    let (repository, repository_id) = name_and_id(repository).ok_or_else(malformed)?;
    if owner_id.is_some() != repository_id.is_some() {
        return Err(malformed());
    }
    agree(claims, "repository_owner", owner)?;
    let is_both = |full: &str| full.split_once('/') == Some((owner, repository));
    if !claims.text("repository").is_some_and(is_both) {
        agree(claims, "repository", &format!("{owner}/{repository}"))?;
    }
    let mut fields = vec![field("owner", owner), field("repository", repository)];
    if let (Some(owner_id), Some(repository_id)) = (owner_id, repository_id) {
        agree(claims, "repository_owner_id", owner_id)?;
        agree(claims, "repository_id", repository_id)?;
        fields.extend([field("owner_id", owner_id), field("repository_id", repository_id)]);
    }
    let Some(last) = context(claims, tail)? else { return Ok(Subject::Custom) };
    fields.push(last);
    Ok(Subject::Known(fields))
}

/// The part after the repository; `None` if it is not one of GitHub's own.
pub(super) fn context<'a>(claims: &'a Claims, tail: &'a str) -> Result<Option<Field<'a>>, Mismatch> {
    if tail == "pull_request" {
        let event = required(claims, "event_name")?;
        return if event.starts_with("pull_request") {
            Ok(Some(field("event", event)))
        } else {
            Err(Mismatch {
                claim: "event_name",
                wanted: "a pull request's event, as in `sub`".to_owned(),
                seen: Some(event.into()),
            })
        };
    }
    let Some((kind, value)) = tail.split_once(':') else { return Ok(None) };
    let (claim, name) = match kind {
        "environment" => ("environment", "environment"),
        "ref" => ("ref", "ref"),
        _ => return Ok(None),
    };
    // Colons inside a value are escaped: where there is one, more follows, and the form is an organisation's own.
    if value.is_empty() || value.contains(':') {
        return Ok(None);
    }
    if value.contains("%3A") {
        let value = value.replace("%3A", ":");
        agree(claims, claim, &value)?;
        return Ok(Some(Field { name, value: value.into() }));
    }
    agree(claims, claim, value)?;
    Ok(Some(field(name, value)))
}

/// `name` or `name@id`. Names have no `@`, ids are digits.
fn name_and_id(text: &str) -> Option<(&str, Option<&str>)> {
    let (name, id) = match text.split_once('@') {
        Some((name, id)) => (name, Some(id)),
        None => (text, None),
    };
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let numbered = id.is_none_or(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
    (named && numbered).then_some((name, id))
}

fn field<'a>(name: &'static str, value: &'a str) -> Field<'a> {
    Field { name, value: value.into() }
}
