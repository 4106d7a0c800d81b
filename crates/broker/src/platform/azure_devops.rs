//! Azure DevOps: an issuer per organisation (`https://vstoken.dev.azure.com/ORG_ID`).
//!
//! All tokens name the audience `api://AzureADTokenExchange`, which Azure itself accepts: a broker that takes them takes
//! something that opens Azure as well, and the other way round. Its issuer's entry must say that audience.

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::answer;
use super::env::{Env, TokenError};
use super::subject::{Mismatch, Subject, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::{Call, Fetch};
use crate::secret::Secret;

/// See the module.
#[derive(Debug)]
pub struct AzureDevOps;

/// Azure DevOps.
pub static AZURE_DEVOPS: AzureDevOps = AzureDevOps;

const URL: &str = "SYSTEM_OIDCREQUESTURI";
const BEARER: &str = "SYSTEM_ACCESSTOKEN";
/// The service connection to speak for, by id: the task for Azure's command line sets it, others may.
const CONNECTION: &str = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID";

#[async_trait]
impl Platform for AzureDevOps {
    fn name(&self) -> &'static str {
        "azure_devops"
    }

    fn about(&self) -> &'static str {
        "Azure DevOps, an issuer per organisation"
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["prj_id", "def_id"], reach: Reach::Project },
            Binding { claims: &["rpo_id"], reach: Reach::Project },
            // A service connection's tokens have no ids; names are unique in the organisation, which the issuer names.
            Binding { claims: &["sub"], reach: Reach::Project },
            Binding { claims: &["prj_id"], reach: Reach::Owner },
            Binding { claims: &["org_id"], reach: Reach::Owner },
        ]
    }

    fn authored_claims(&self) -> &'static [&'static str] {
        &["rpo_ref", "rpo_ver", "rpo_uri"]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let (last, rest) = match (sub.strip_prefix("sc://"), sub.strip_prefix("p://")) {
            (Some(rest), _) => ("service_connection", rest),
            (_, Some(rest)) => ("pipeline", rest),
            _ => return Ok(Subject::Custom),
        };
        let parts: Vec<&str> = rest.splitn(3, '/').collect();
        let &[organisation, project, name] = &parts[..] else {
            let wanted =
                "`sc://ORGANISATION/PROJECT/CONNECTION` or `p://ORGANISATION/PROJECT/PIPELINE`".to_owned();
            return Err(Mismatch { claim: "sub", wanted, seen: Some(sub.into()) });
        };
        Ok(Subject::known([("organisation", organisation), ("project", project), (last, name)]))
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, "rpo_uri").or_else(|| word(claims, "sub")),
            reference: word(claims, "rpo_ref"),
            workflow: word(claims, "def_id"),
            run_id: word(claims, "run_id"),
            ..Who::default()
        }
    }

    fn run_id(&self, claims: &Claims) -> Option<String> {
        let run = word(claims, "run_id")?;
        Some(match word(claims, "prj_id") {
            Some(project) => format!("{project}/{run}"),
            None => run,
        })
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get(URL).is_some()
    }

    async fn token(&self, env: &dyn Env, _: &str, http: &Fetch) -> Result<Secret, TokenError> {
        let (Some(url), Some(bearer)) = (env.get(URL), env.get(BEARER).map(Secret::text)) else {
            return Err(TokenError::NotOffered(format!(
                "the step cannot ask for an identity token: map `{BEARER}: $(System.AccessToken)` into its `env`"
            )));
        };
        let mut url = format!("{url}?api-version=7.1");
        if let Some(connection) = env.get(CONNECTION) {
            let connection: String = url::form_urlencoded::byte_serialize(connection.as_bytes()).collect();
            url = format!("{url}&serviceConnectionId={connection}");
        }
        let call = Call::post(url)
            .bearer(&bearer)
            .accept_json()
            // Otherwise a refusal is a page to sign in, with status 203.
            .header("x-tfs-fedauthredirect", "Suppress")
            .body("application/json", Vec::new());
        answer::token(http, call, "oidcToken").await
    }
}
