//! HashiCorp Vault and OpenBao: any engine's credentials.
//!
//! The broker makes a token for each lease, with the lease's name in it and the role's policies on it, keeps its
//! accessor, and only then reads with it. Ending the lease is ending that token: Vault revokes everything it read. A
//! job without a broker does the same with a login of its own, see [`direct`].
//!
//! What Vault gives without a lease of its own (certificates, static secrets) it cannot take back; such a lease says that
//! it only expires.

mod account;
mod api;
mod checks;
mod datum;
pub mod direct;
mod parameters;
mod path;
mod reading;
mod reference;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::account::{Account, JwtLogin};
pub use self::api::Vault;
use self::api::{Ask, Auth, Blame, Failure, Response, end};
use self::parameters::{Facts, Parameters};
use self::reading::Got;
use self::reference::{Reference, What};
use super::http::{self, Reach, is_token};
use super::{Abilities, Check, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError};
use crate::ttl::Ttl;

pub(crate) static KIND: Kind = Kind {
    name: "vault",
    about: "Vault and OpenBao: credentials of any engine, static secrets, tokens",
    variables: &[
        ("token", "VAULT_TOKEN"),
        ("wrapping_token", "VAULT_WRAPPING_TOKEN"),
        ("address", "VAULT_ADDR"),
    ],
    example: "\
address: https://vault.example.com:8200
token: {file: /etc/claviger/vault-token}
token_role: claviger
paths: [database/creds/*, ssh/sign/deploy, secret/data/ci/*]
",
    parameters: "\
read: database/creds/app
policies: [app-database]
",
    build: |settings| Ok(Arc::new(VaultProvider::build(settings)?)),
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The server.
    address: String,
    /// The namespace, where the server has them.
    #[serde(default)]
    namespace: Option<String>,
    /// How it is reached.
    #[serde(default)]
    connection: Reach,
    /// Where the broker's own token is read from.
    #[serde(default)]
    token: Option<Value>,
    /// Or: the broker logs in with a token of its platform.
    #[serde(default)]
    jwt: Option<JwtLogin>,
    /// The token role that leases' tokens are made by. It should make orphans: else they end with the broker's token.
    #[serde(default)]
    token_role: Option<String>,
    /// The paths that roles may reach; `*` stands for one word.
    paths: Vec<String>,
}

struct VaultProvider {
    vault: Vault,
    account: Account,
    token_role: Option<String>,
    paths: Vec<String>,
}

/// The longest time a lease may have, in seconds: Vault's own longest by default, 32 days.
const MAX_LIFE_S: u32 = 2_764_800;

impl VaultProvider {
    fn build(settings: &super::Settings<'_>) -> Result<VaultProvider, SettingsError> {
        let it: Settings = SettingsError::parse(settings.value)?;
        let base = it.connection.base("address", &it.address)?;
        let is_name = |name: &String| is_token(name.as_bytes(), 256);
        if it.namespace.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(SettingsError::new("namespace", "not the name of a namespace"));
        }
        if let Some(role) = &it.token_role
            && (role.contains('/') || path::check(role).is_err())
        {
            return Err(SettingsError::new("token_role", "not the name of a token role"));
        }
        for (index, pattern) in it.paths.iter().enumerate() {
            path::check_pattern(pattern)
                .map_err(|what| SettingsError::new(format!("paths[{index}]"), what))?;
        }
        let account = match (it.token, it.jwt) {
            (Some(reference), None) => {
                let token = settings.secrets.read(&reference).map_err(|e| SettingsError::new("token", e))?;
                if !is_token(token.expose(), direct::MAX_JWT) {
                    return Err(SettingsError::new("token", "holds no token"));
                }
                Account::token(token)
            }
            (None, Some(login)) => {
                path::check(&login.mount).map_err(|what| SettingsError::new("jwt.mount", what))?;
                Account::jwt(login)
            }
            _ => {
                return Err(SettingsError::new(
                    "",
                    "write one of `token` and `jwt`: who the broker is at Vault",
                ));
            }
        };
        let vault = Vault::new(it.connection.fetch("connection")?, base, it.namespace);
        Ok(VaultProvider { vault, account, token_role: it.token_role, paths: it.paths })
    }

    fn creation_path(&self) -> String {
        match &self.token_role {
            Some(role) => format!("auth/token/create/{role}"),
            None => "auth/token/create".into(),
        }
    }

    /// Makes a lease's token.
    async fn make_token(&self, request: &Request<'_>, policies: &[String]) -> Result<Auth, ProviderError> {
        #[derive(Serialize)]
        struct Create<'a> {
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            policies: &'a [String],
            no_default_policy: bool,
            ttl: String,
            renewable: bool,
            display_name: &'a str,
            meta: BTreeMap<&'a str, &'a str>,
        }
        let create = Create {
            policies,
            no_default_policy: true,
            ttl: format!("{}s", request.ttl.seconds()),
            renewable: true,
            display_name: request.name,
            meta: BTreeMap::from([
                ("claviger_lease", request.name),
                ("subject", cut(request.identity.subject())),
            ]),
        };
        let path = self.creation_path();
        let response = self
            .post(request.now, &path, &create)
            .await
            .map_err(|failure| failure.blame(Blame::Broker, &path))?;
        let auth = response.auth.filter(|auth| is_token(auth.client_token.expose(), direct::MAX_JWT));
        auth.ok_or_else(|| ProviderError::Misconfigured(format!("{path}: the answer holds no token")))
    }

    /// Makes a call with the broker's own token; when that is refused, once more with a fresh one.
    async fn own<B: Serialize + Sync>(
        &self,
        now: Timestamp,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Response, Failure> {
        let mut is_fresh = false;
        loop {
            let token = self.account.current(&self.vault, now).await?;
            let ask = Ask { method: method.clone(), path, token: Some(&token), body, wrap: None };
            match self.vault.ask(ask).await {
                Err(failure) if failure.status() == Some(403) && !is_fresh => {
                    if !self.account.is_replaceable(&token).await {
                        return Err(failure);
                    }
                    is_fresh = true;
                }
                done => return done,
            }
        }
    }

    async fn post<B: Serialize + Sync>(
        &self,
        now: Timestamp,
        path: &str,
        body: &B,
    ) -> Result<Response, Failure> {
        self.own(now, Method::POST, path, Some(body)).await
    }

    /// Whether a lease is gone from Vault. Without the right to look, the token's end is proof enough.
    async fn is_gone(&self, now: Timestamp, lease: &str) -> Result<bool, ProviderError> {
        match self.post(now, "sys/leases/lookup", &ByLease { lease_id: lease, increment: None }).await {
            Ok(_) => Ok(false),
            Err(Failure::Refused(refused)) if refused.is_gone() => Ok(true),
            Err(failure) if failure.status() == Some(403) => Ok(true),
            Err(failure) => Err(failure.blame(Blame::Broker, "sys/leases/lookup")),
        }
    }
}

#[derive(Serialize)]
struct ByAccessor<'a> {
    accessor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    increment: Option<String>,
}

#[derive(Serialize)]
struct ByLease<'a> {
    lease_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    increment: Option<String>,
}

/// A subject for a token's metadata, which has bounds of its own.
fn cut(subject: &str) -> &str {
    let end = (0..=subject.len().min(256)).rev().find(|end| subject.is_char_boundary(*end));
    &subject[..end.unwrap_or(0)]
}

/// How often, and how long apart in milliseconds, it is looked whether a lease is gone: Vault ends leases of a token one
/// after another, behind its answer.
const LOOKS_MS: [u64; 5] = [50, 100, 300, 700, 1500];

#[async_trait]
impl Provider for VaultProvider {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: false,
            expires_itself: true,
            leaves_nothing: true,
            revocable: true,
            renewable: true,
            listable: false,
            ttl: (1, MAX_LIFE_S),
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        let it = Parameters::parse(parameters, &self.paths)?;
        if it.policies.is_empty() && self.token_role.is_none() {
            return Err(SettingsError::new(
                "policies",
                "without them the token may do all that the broker may",
            ));
        }
        Ok(())
    }

    async fn issue(&self, request: &Request<'_>, notes: &dyn Notes) -> Result<Issued, ProviderError> {
        let parameters = Parameters::parse(request.parameters, &self.paths)
            .map_err(|error| ProviderError::Misconfigured(error.to_string()))?;
        let facts = Facts {
            claims: request.identity.claims(),
            input: request.input,
            name: request.name,
            ttl: request.ttl,
        };
        let plan = parameters.plan(&self.paths, &facts)?;
        let auth = self.make_token(request, &parameters.policies).await?;
        // Stop here: a token that read nothing and that nobody has; it ends by itself.
        let reference = |kind| Reference { accessor: auth.accessor.clone(), kind };
        notes.keep(reference(What::Unknown).write().expose()).await?;
        let token_ends = end(request.now, auth.lease_duration).min(request.expires);
        let Some(plan) = plan else {
            let credential = reading::of_token(&self.vault, auth.client_token);
            let reference = Reference { accessor: auth.accessor, kind: What::Token };
            return Ok(Issued { credential, expires: token_ends, reference: Some(reference.write()) });
        };
        let got = reading::carry_out(
            &self.vault,
            &auth.client_token,
            &plan,
            parameters.wrap,
            Blame::Broker,
            request.now,
        )
        .await?;
        let (credential, expires, kind) = match got {
            Got::Leased { credential, lease, expires } => {
                (credential, expires.min(token_ends), What::Lease(lease))
            }
            Got::Unleased { credential, expires } => {
                (credential, expires.unwrap_or(request.expires), What::Unleased)
            }
            Got::Wrapped { credential } => (credential, token_ends, What::Wrapped),
        };
        Ok(Issued { credential, expires, reference: Some(reference(kind).write()) })
    }

    async fn renew(&self, held: &Held<'_>, until: Timestamp) -> Result<Timestamp, ProviderError> {
        let reference = Reference::read(held.reference.ok_or_else(unknown)?)?;
        let wanted = Ttl::between(held.now, until)
            .ok_or_else(|| ProviderError::Denied("the new end is not after now".into()))?;
        let increment = Some(format!("{}s", wanted.seconds()));
        let lease = match &reference.kind {
            What::Token => None,
            What::Lease(lease) => Some(lease),
            What::Unknown | What::Unleased | What::Wrapped => {
                return Err(ProviderError::Unsupported("Vault cannot prolong this".into()));
            }
        };
        let body = ByAccessor { accessor: &reference.accessor, increment: increment.clone() };
        let path = "auth/token/renew-accessor";
        let renewed = self.post(held.now, path, &body).await.map_err(|failure| lost(failure, path))?;
        let seconds = renewed.auth.map_or(0, |auth| auth.lease_duration);
        let mut ends = if seconds == 0 { held.expires } else { end(held.now, seconds) };
        if let Some(lease) = lease {
            let path = "sys/leases/renew";
            let body = ByLease { lease_id: lease, increment };
            let renewed = self.post(held.now, path, &body).await.map_err(|failure| lost(failure, path))?;
            ends = ends.min(end(held.now, renewed.lease_duration));
        }
        Ok(ends.min(until))
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        // The accessor is kept before anything is read: without it nothing was.
        let Some(kept) = held.reference else { return Ok(()) };
        let reference = Reference::read(kept)?;
        let path = "auth/token/revoke-accessor";
        let body = ByAccessor { accessor: &reference.accessor, increment: None };
        match self.post(held.now, path, &body).await {
            Ok(_) => {}
            Err(Failure::Refused(refused)) if refused.is_gone() => {}
            Err(failure) => return Err(failure.blame(Blame::Broker, path)),
        }
        match &reference.kind {
            What::Unknown | What::Token | What::Wrapped => Ok(()),
            What::Unleased => {
                Err(ProviderError::Unsupported("Vault gave this without a lease: it ends by itself".into()))
            }
            What::Lease(lease) => {
                for wait in LOOKS_MS {
                    if self.is_gone(held.now, lease).await? {
                        return Ok(());
                    }
                    http::pause(wait).await;
                }
                Err(ProviderError::Transient(
                    "the token is ended, and Vault has not ended its lease yet".into(),
                ))
            }
        }
    }

    async fn check(&self) -> Vec<Check> {
        checks::run(self, Timestamp::now()).await
    }
}

fn unknown() -> ProviderError {
    ProviderError::Unsupported("nothing is known of this lease at Vault".into())
}

/// What is gone cannot be prolonged; that is nobody's mistake.
fn lost(failure: Failure, path: &str) -> ProviderError {
    match failure {
        Failure::Refused(refused) if refused.is_gone() => {
            ProviderError::Denied("Vault does not know this lease any more".into())
        }
        other => other.blame(Blame::Broker, path),
    }
}
