//! The rules that a role or a ceiling must keep to be taken at all.

use std::collections::BTreeSet;

use serde_json::Value;

use super::build::{Delegation, Known};
use super::file::{Accepted, Caps, RoleFile, Runner};
use super::lint;
use super::matcher::Matcher;
use super::role::{Condition, Role};
use crate::config::document::{Document, Problem, closest, step_of};
use crate::platform::{Binding, Platform};

/// Longest name of a claim, in bytes.
const MAX_CLAIM: usize = 256;

/// Looks at one entry of a document.
pub(super) struct Check<'a> {
    pub(super) known: &'a Known,
    pub(super) document: &'a Document,
    pub(super) pointer: &'a str,
    pub(super) problems: &'a mut Vec<Problem>,
    pub(super) is_good: bool,
}

impl Check<'_> {
    /// It is not taken, because of the member at `below` it.
    pub(super) fn no(&mut self, below: &str, what: String) {
        self.is_good = false;
        self.problems.push(self.document.problem(&format!("{}{below}", self.pointer), what));
    }

    pub(super) fn is_known<'n>(
        &mut self,
        below: &str,
        kind: &str,
        name: &str,
        known: impl Iterator<Item = &'n String> + Clone,
    ) -> bool {
        if known.clone().any(|it| it == name) {
            return true;
        }
        let shown = name.escape_default();
        let hint = match closest(name, known.clone().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match known.take(10).map(String::as_str).collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => format!("there are none; add it under `{kind}s`"),
                names => format!("there are {names}"),
            },
        };
        self.no(below, format!("there is no {kind} `{shown}`; {hint}"));
        false
    }

    /// Names of issuers, environment and provider, and that the latter two agree.
    pub(super) fn references(&mut self, file: &RoleFile) {
        let known = self.known;
        if file.issuer.as_slice().is_empty() {
            self.no("/issuer", "no issuer: nobody could take the role".to_owned());
        }
        for issuer in file.issuer.as_slice() {
            self.is_known("/issuer", "issuer", issuer, known.issuers.keys());
        }
        self.is_known("/environment", "environment", &file.environment, known.environments.keys());
        let provider = &file.grant.provider;
        if !self.is_known("/grant/provider", "provider", provider, known.providers.keys()) {
            return;
        }
        let theirs = known.providers.get(provider).map(String::as_str).unwrap_or_default();
        if theirs != file.environment {
            let what = format!(
                "provider `{provider}` is of environment `{theirs}`, the role of `{}`; a role grants only what its \
                 environment holds",
                file.environment.escape_default()
            );
            self.no("/grant/provider", what);
        }
    }

    pub(super) fn conditions(&mut self, file: &RoleFile) {
        for (member, map) in [("match", &file.r#match), ("not", &file.not)] {
            for claim in map.keys() {
                let below = format!("/{member}{}", step_of(claim));
                if claim.is_empty() || claim.len() > MAX_CLAIM || claim == "/" {
                    self.no(&below, format!("a claim's name has 1 to {MAX_CLAIM} bytes"));
                }
                if file.runner_environment.is_some() && member == "match" && claim == Runner::CLAIM {
                    self.no(&below, format!("`{claim}` stands in the role already; write one of the two"));
                }
            }
        }
        for id in file.accept.keys().filter(|id| lint::about(id).is_none()) {
            let hint = match closest(id, lint::LINTS.iter().map(|lint| lint.id)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`claviger policy check --help` lists them".to_owned(),
            };
            self.no(
                &format!("/accept{}", step_of(id)),
                format!("there is no remark `{}`; {hint}", id.escape_default()),
            );
        }
        for (id, _) in file.accept.iter().filter(|(_, why)| why.trim().is_empty()) {
            self.no(&format!("/accept{}", step_of(id)), "say why it is accepted".to_owned());
        }
    }

    pub(super) fn times(&mut self, file: &RoleFile) {
        let grant = &file.grant;
        if grant.ttl > grant.max_ttl {
            let what = format!("`ttl` {} is longer than `max_ttl` {}", grant.ttl, grant.max_ttl);
            self.no("/grant/ttl", what);
        }
        for (member, limit) in [("role", grant.limits.role), ("run", grant.limits.run)] {
            if limit == Some(0) {
                self.no(
                    &format!("/grant/limits/{member}"),
                    "0 allows nothing; remove the role instead".to_owned(),
                );
            }
        }
    }

    /// A repository's own role is for that repository, and lies under its lid.
    pub(super) fn delegated(&mut self, file: &RoleFile, role: &mut Role, delegation: &Delegation<'_>) {
        if file.issuer.as_slice().iter().any(|issuer| issuer != delegation.issuer) {
            self.no("/issuer", format!("roles of this file are for the issuer `{}` only", delegation.issuer));
        }
        if file.mutable.is_some() {
            self.no("/mutable", "a role of a repository's own file is bound to the repository".to_owned());
        }
        if !file.accept.is_empty() {
            self.no("/accept", "remarks are accepted in the central configuration only".to_owned());
        }
        let own = Matcher::text(delegation.id);
        match file.r#match.get(delegation.claim) {
            None => role.conditions.push(Condition {
                claim: delegation.claim.to_owned(),
                matcher: own,
                is_negated: false,
            }),
            Some(said) if *said == own => {}
            Some(_) => {
                let what =
                    format!("roles of this file are for `{}: \"{}\"` only", delegation.claim, delegation.id);
                self.no(&format!("/match{}", step_of(delegation.claim)), what);
            }
        }
        if let Some(excess) = delegation.caps.excess(role) {
            let what = format!(
                "`{}` is `{}`; repositories' own roles may have only: {}",
                excess.member, excess.said, excess.allowed
            );
            self.no(&format!("/{}", excess.member.replace('.', "/")), what);
        }
        role.max_ttl = delegation.caps.max_ttl.map_or(role.max_ttl, |cap| cap.min(role.max_ttl));
        role.ttl = role.ttl.min(role.max_ttl);
    }

    /// The role must be bound to something whose id is never given to anybody else.
    pub(super) fn binding(&mut self, file: &RoleFile, role: &mut Role) {
        let platforms = file.issuer.as_slice().iter().filter_map(|name| self.known.issuers.get(name));
        let platforms: Vec<&'static dyn Platform> = platforms.copied().collect();
        let bindings = platforms
            .iter()
            .map(|platform| platform.immutable_claims().iter().find(|binding| is_bound(role, binding)));
        let bindings: Option<Vec<&Binding>> = bindings.collect();
        match (bindings, file.mutable) {
            (Some(bindings), _) if !bindings.is_empty() => {
                let claims: BTreeSet<&str> =
                    bindings.iter().flat_map(|it| it.claims.iter().copied()).collect();
                role.reach = bindings.iter().map(|it| it.reach).max();
                role.bound = claims.into_iter().map(str::to_owned).collect();
            }
            (_, Some(Accepted::Accepted)) => {}
            _ => {
                let choices: BTreeSet<String> = platforms
                    .iter()
                    .flat_map(|platform| platform.immutable_claims())
                    .map(|binding| binding.claims.join(" with "))
                    .collect();
                let choices: Vec<String> = choices.into_iter().collect();
                if !choices.is_empty() {
                    let what = format!(
                        "the role binds no immutable claim, so that a name given to somebody else would open it: give an \
                         exact value to {} under `match`, or write `mutable: accepted`",
                        choices.join(", or to ")
                    );
                    self.no("", what);
                }
            }
        }
    }

    pub(super) fn caps(&mut self, below: &str, caps: &Caps) {
        let known = self.known;
        for environment in caps.environments.iter().flatten() {
            let at = format!("{below}/environments");
            self.is_known(&at, "environment", environment, known.environments.keys());
        }
        for provider in caps.providers.iter().flatten().chain(caps.parameters.keys()) {
            let at = if caps.parameters.contains_key(provider) { "parameters" } else { "providers" };
            self.is_known(&format!("{below}/{at}"), "provider", provider, known.providers.keys());
        }
        for (provider, cap) in &caps.parameters {
            if !matches!(cap, Value::Object(_) | Value::Null) && cap != "*" {
                let what = format!("what `{provider}` may be asked for is an object of parameters, or \"*\"");
                self.no(&format!("{below}/parameters{}", step_of(provider)), what);
            }
        }
    }
}

/// Whether the role gives an exact value to each claim of the binding.
fn is_bound(role: &Role, binding: &Binding) -> bool {
    binding.claims.iter().all(|claim| role.wants(claim).is_some_and(Matcher::is_exact))
}
