//! Google Cloud: the identity of a machine's service account, from the metadata server.

use std::path::Path;

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::answer;
use super::env::{Env, TokenError};
use super::generic::checked;
use super::subject::{Mismatch, Subject, required, word};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::{Call, Fetch};
use crate::secret::Secret;

/// See the module.
#[derive(Debug)]
pub struct Google;

/// Google Cloud.
pub static GOOGLE: Google = Google;

const HOST: &str = "GCE_METADATA_HOST";
const PATH: &str = "computeMetadata/v1/instance/service-accounts/default/identity";
const INSTANCE: &str = "/google/compute_engine/instance_id";
/// What the firmware says on Google's machines: a file, so that nobody must ask the network to find out.
const FIRMWARE: &str = "/sys/class/dmi/id/product_name";

#[async_trait]
impl Platform for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn about(&self) -> &'static str {
        "service accounts of machines and builds on Google Cloud"
    }

    fn issuer(&self) -> Option<&'static str> {
        Some("https://accounts.google.com")
    }

    fn jwks_hosts(&self) -> &'static [&'static str] {
        &["www.googleapis.com"]
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[
            Binding { claims: &["sub"], reach: Reach::Project },
            Binding { claims: &[INSTANCE], reach: Reach::Project },
            Binding { claims: &["/google/compute_engine/project_number"], reach: Reach::Owner },
        ]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        let sub = required(claims, "sub")?;
        if sub.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Subject::known([("account", sub)]));
        }
        Err(Mismatch {
            claim: "sub",
            wanted: "a service account's number".to_owned(),
            seen: Some(sub.into()),
        })
    }

    fn who(&self, claims: &Claims) -> Who {
        Who {
            repository: word(claims, "/google/compute_engine/project_id"),
            job: word(claims, INSTANCE),
            actor: word(claims, "email"),
            ..Who::default()
        }
    }

    fn detect(&self, env: &dyn Env) -> bool {
        let firmware = || {
            let name = env.read(Path::new(FIRMWARE)).ok()?;
            Some(name.expose_text()?.trim().starts_with("Google"))
        };
        env.get(HOST).is_some() || firmware() == Some(true)
    }

    async fn token(&self, env: &dyn Env, audience: &str, http: &Fetch) -> Result<Secret, TokenError> {
        let host = env.get(HOST).unwrap_or_else(|| "metadata.google.internal".to_owned());
        let query: String = url::form_urlencoded::byte_serialize(audience.as_bytes()).collect();
        let call = Call::get(format!("http://{host}/{PATH}?audience={query}&format=full"))
            .header("metadata-flavor", "Google");
        let token = answer::text(http, call).await?;
        checked(&token, "the metadata server", audience)
    }
}
