//! Whether the broker's token may do what leases need.

use jiff::Timestamp;
use reqwest::Method;
use serde::Serialize;

use super::VaultProvider;
use super::api::Blame;
use super::datum::Datum;
use crate::provider::{Check, ProviderError};

/// Looks at seal, token, rights and the token role.
pub(super) async fn run(provider: &VaultProvider, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    let what = "the server is unsealed";
    match provider.vault.is_sealed().await {
        Ok(false) => checks.push(Check::good(what)),
        Ok(true) => return vec![Check::bad(what, "unseal it")],
        Err(error) => return vec![Check::bad("the server answers", error.to_string())],
    }
    if let Err(error) = provider.account.current(&provider.vault, now).await {
        checks.push(Check::bad("the broker's token works", error.to_string()));
        return checks;
    }
    checks.push(Check::good("the broker's token works"));
    let creation = provider.creation_path();
    let needed = [
        (creation.as_str(), "make tokens", true),
        ("auth/token/revoke-accessor", "end tokens", true),
        ("auth/token/renew-accessor", "prolong tokens", false),
        ("sys/leases/renew", "prolong leases", false),
        ("sys/leases/lookup", "see that a lease is gone", false),
    ];
    match capabilities(provider, now, &needed.map(|(path, ..)| path)).await {
        Err(error) => checks.push(Check::warn("its rights can be seen", error.to_string())),
        Ok(rights) => {
            for (path, purpose, is_needed) in needed {
                checks.push(right(&rights, path, purpose, is_needed));
            }
        }
    }
    checks.push(orphans(provider, now).await);
    checks
}

fn right(rights: &Datum, path: &str, purpose: &str, is_needed: bool) -> Check {
    let what = format!("may {purpose}");
    let has = |wanted: &[&str]| match rights.get(path) {
        Some(Datum::List(found)) => found.iter().filter_map(Datum::text).any(|found| wanted.contains(&found)),
        _ => false,
    };
    if has(&["root"]) {
        return Check::warn(what, "the token is a root token; make one that can only do what is needed");
    }
    if has(&["update", "create"]) {
        return Check::good(what);
    }
    let problem = format!("its policies lack: path \"{path}\" {{ capabilities = [\"update\"] }}");
    if is_needed { Check::bad(what, problem) } else { Check::warn(what, problem) }
}

/// Without orphans, the end of the broker's own token is the end of everything it made.
async fn orphans(provider: &VaultProvider, now: Timestamp) -> Check {
    let what = "leases outlive the broker's own token";
    let Some(role) = &provider.token_role else {
        return Check::warn(what, "set `token_role` to a token role with `orphan=true`");
    };
    let path = format!("auth/token/roles/{role}");
    let read = provider.own::<()>(now, Method::GET, &path, None).await;
    match read.map(|response| response.data) {
        Ok(Some(data)) => match data.get("orphan") {
            Some(Datum::Flag(true)) => Check::good(what),
            _ => Check::warn(what, format!("set `orphan=true` on the token role `{role}`")),
        },
        Ok(None) => Check::warn(what, format!("there is no token role `{role}`")),
        Err(failure) => match failure.status() {
            Some(403) => Check::warn(what, format!("cannot be seen; allow `read` on {path}")),
            Some(404) => Check::bad(what, format!("there is no token role `{role}`")),
            _ => Check::bad(what, failure.blame(Blame::Broker, &path).to_string()),
        },
    }
}

async fn capabilities(
    provider: &VaultProvider,
    now: Timestamp,
    paths: &[&str],
) -> Result<Datum, ProviderError> {
    #[derive(Serialize)]
    struct Paths<'a> {
        paths: &'a [&'a str],
    }
    let path = "sys/capabilities-self";
    let response = provider
        .post(now, path, &Paths { paths })
        .await
        .map_err(|failure| failure.blame(Blame::Broker, path))?;
    response.data.ok_or_else(|| ProviderError::Misconfigured(format!("{path}: the answer is empty")))
}
