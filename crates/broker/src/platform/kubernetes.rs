//! Kubernetes: service accounts of a cluster, with the cluster's own issuer.
//!
//! A token is a projected file, or is asked of the cluster with the pod's own account, which then needs the right
//! `create` on `serviceaccounts/token`.

use std::path::Path;

use async_trait::async_trait;
use claviger_audit::event::Who;
use serde_json::json;

use super::answer;
use super::env::{Env, TokenError};
use super::generic::{TOKEN_FILE_VARIABLE, given};
use super::subject::{Mismatch, Subject, agree_if_there, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::{Call, Fetch, Guard, Options};
use crate::identity::token::Unverified;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// See the module.
#[derive(Debug)]
pub struct Kubernetes;

/// Kubernetes.
pub static KUBERNETES: Kubernetes = Kubernetes;

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const NAMESPACE: &str = "/kubernetes.io/namespace";
const NAME: &str = "/kubernetes.io/serviceaccount/name";
const UID: &str = "/kubernetes.io/serviceaccount/uid";
const POD: &str = "/kubernetes.io/pod/name";

#[async_trait]
impl Platform for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn about(&self) -> &'static str {
        "service accounts of a Kubernetes cluster"
    }

    fn max_life(&self) -> Ttl {
        // What clusters give by default is an hour and seven seconds.
        Ttl::minutes(61)
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[Binding { claims: &[UID], reach: Reach::Project }]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        let Some((namespace, name)) =
            sub.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
        else {
            return Ok(Subject::Custom);
        };
        agree_if_there(claims, NAMESPACE, namespace)?;
        agree_if_there(claims, NAME, name)?;
        Ok(Subject::known([("namespace", namespace), ("service_account", name)]))
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, NAMESPACE),
            workflow: word(claims, NAME),
            job: word(claims, POD),
            run_id: word(claims, "/kubernetes.io/pod/uid"),
            ..Who::default()
        }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get("KUBERNETES_SERVICE_HOST").is_some()
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        match given(env, audience)? {
            Some(token) => Ok(token),
            None => request(env, audience).await,
        }
    }
}

/// Asks the cluster (TokenRequest) with the pod's own token.
async fn request(env: &dyn Env, audience: &str) -> Result<Secret, TokenError> {
    let file = |name: &str| {
        env.read(&Path::new(ACCOUNT).join(name)).map_err(|e| {
            TokenError::NotOffered(format!(
                "no token: mount one with the audience `{audience}` (`serviceAccountToken`) and name its file in \
                 {TOKEN_FILE_VARIABLE}; the pod's own account cannot be used: {e}"
            ))
        })
    };
    let (own, authorities) = (file("token")?, file("ca.crt")?);
    let (namespace, name) = account(&own)
        .ok_or_else(|| TokenError::NotOffered("the pod's own token is not a service account's".to_owned()))?;
    let host = env.get("KUBERNETES_SERVICE_HOST").unwrap_or_default();
    let port = env.get("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("https://{host}:{port}/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let options = Options { ca_pem: Some(authorities.expose().to_vec()), ..Options::new(Guard::Internal) };
    let http = Fetch::new(&options).map_err(|e| TokenError::NotOffered(e.to_string()))?;
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": { "audiences": [audience], "expirationSeconds": 600 }
    });
    let call = Call::post(url).bearer(&own).accept_json().json(&body);
    answer::token(&http, call, "status.token").await.map_err(|e| match e {
        TokenError::Refused(why) => TokenError::Refused(format!(
            "{why}; the account needs `create` on `serviceaccounts/token`, or mount a token and name its file in \
             {TOKEN_FILE_VARIABLE}"
        )),
        other => other,
    })
}

/// Namespace and name of the account that a token of the pod itself speaks of.
fn account(token: &Secret) -> Option<(String, String)> {
    let text = token.expose_text()?.trim();
    let unverified = Unverified::parse(text.as_bytes()).ok()?;
    let (namespace, name) =
        unverified.subject_hint()?.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    (plain(namespace) && plain(name)).then(|| (namespace.to_owned(), name.to_owned()))
}
