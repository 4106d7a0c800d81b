//! Remarks on the whole configuration.

use std::collections::BTreeSet;

use super::Severity;
use crate::config::Config;
use crate::config::document::{Place, step_of};

/// Audiences that other services accept, or that every token has unless its job asks for another.
const SHARED: &[(&str, &str)] = &[
    ("api://AzureADTokenExchange", "Azure"),
    ("api://AzureADTokenExchangeUSGov", "Azure"),
    ("api://AzureADTokenExchangeChina", "Azure"),
    ("sts.amazonaws.com", "AWS"),
    ("https://iam.googleapis.com/", "Google Cloud"),
    ("https://github.com/", "jobs that ask for no audience"),
    ("https://gitlab.com", "GitLab"),
    ("sigstore", "Sigstore"),
    ("pypi", "PyPI"),
    ("npm:registry.npmjs.org", "npm"),
    ("crates.io", "crates.io"),
];

type Said = (Severity, Place, String);

fn shared(audience: &str) -> Option<&'static str> {
    let is_shared = |known: &str| audience == known || (known.ends_with('/') && audience.starts_with(known));
    SHARED.iter().find(|(known, _)| is_shared(known)).map(|(_, who)| *who)
}

pub(super) fn shared_audience(config: &Config, out: &mut Vec<Said>) {
    let place = |pointer: &str| config.documents[0].place(pointer);
    let what = |who: &str| {
        format!(
            "tokens with this audience are meant for {who}: whoever gets one there can use it here, and the other way round; \
             choose the broker's own URL"
        )
    };
    if let Some(who) = shared(&config.audience) {
        out.push((Severity::Warning, place("/audience"), what(who)));
    }
    for (name, issuer) in &config.issuers {
        let at = format!("/issuers{}", step_of(name));
        let audience = issuer.audience.as_deref().unwrap_or(&config.audience);
        if issuer.platform.0.name() == "azure_devops" {
            let what = "Azure DevOps gives all its tokens one audience, that of Azure: what opens a role here opens Azure there, \
                        and the other way round; keep the service connection for the broker alone";
            out.push((Severity::Warning, place(&at), what.to_owned()));
        } else if let Some(who) = shared(audience).filter(|_| issuer.audience.is_some()) {
            out.push((Severity::Warning, place(&format!("{at}/audience")), what(who)));
        }
    }
}

pub(super) fn delegated_protected(config: &Config, out: &mut Vec<Said>) {
    for (index, delegated) in config.delegated.iter().enumerate() {
        let mut names = delegated.ceiling.environments.iter();
        let is_protected = |name: &&String| config.environments.get(*name).is_some_and(|it| it.protected);
        if let Some(name) = names.find(is_protected) {
            let what = format!(
                "whoever may change a repository's policy file decides who gets credentials of `{name}`"
            );
            let at = config.documents[0].place(&format!("/delegated/{index}/ceiling/environments"));
            out.push((Severity::Warning, at, what));
        }
    }
}

pub(super) fn unused(config: &Config, out: &mut Vec<Said>) {
    let roles = &config.policy.roles;
    let issuers: BTreeSet<&str> = roles.iter().flat_map(|role| role.issuers.iter().map(|it| &**it)).collect();
    let providers: BTreeSet<&str> = roles.iter().map(|role| role.provider.as_str()).collect();
    let used: BTreeSet<&str> = config.providers.values().map(|it| it.environment.as_str()).collect();
    let mut say = |section: &str, name: &str, what: &str| {
        let at = config.documents[0].place(&format!("/{section}{}", step_of(name)));
        out.push((Severity::Note, at, format!("`{name}`: {what}")));
    };
    for name in config.issuers.keys().filter(|name| !issuers.contains(name.as_str())) {
        say("issuers", name, "no role takes tokens of this issuer");
    }
    for name in config.providers.keys().filter(|name| !providers.contains(name.as_str())) {
        say("providers", name, "no role grants anything of this provider");
    }
    for name in config.environments.keys().filter(|name| !used.contains(name.as_str())) {
        say("environments", name, "no provider belongs to this environment");
    }
}
