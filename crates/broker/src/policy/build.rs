//! From what is written to what decides: every rule that a policy must keep is checked here, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::ceiling::{Ceiling, Ceilings};
use super::file::{Accepted, Caps, CeilingFile, RoleFile};
use super::grant::Limits;
use super::lint;
use super::matcher::Matcher;
use super::role::{Condition, Origin, Role, bad_name};
use super::{Policy, Takers};
use crate::config::document::{Document, Problem, closest, step_of};
use crate::platform::{Binding, Platform};
use crate::ttl::Ttl;

/// Most roles in a configuration.
const MAX_ROLES: usize = 100_000;
/// Longest name of a claim, in bytes.
const MAX_CLAIM: usize = 256;

/// What the rest of the configuration says, as far as roles refer to it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Issuers and their platforms.
    pub(crate) issuers: BTreeMap<String, &'static dyn Platform>,
    /// Environments and the longest life in each.
    pub(crate) environments: BTreeMap<String, Option<Ttl>>,
    /// Providers and their environments.
    pub(crate) providers: BTreeMap<String, String>,
}

/// Under whose name and lid a repository's own roles stand.
#[derive(Debug)]
pub(crate) struct Delegation<'a> {
    /// What stands before the role's name.
    pub(crate) namespace: &'a str,
    pub(crate) issuer: &'a str,
    /// The claim that holds the repository's id.
    pub(crate) claim: &'a str,
    pub(crate) id: &'a str,
    pub(crate) caps: &'a Caps,
}

/// Builds a policy, and gathers all that is wrong.
pub(crate) struct Builder<'k> {
    known: &'k Known,
    issuers: BTreeMap<&'k str, Arc<str>>,
    roles: BTreeMap<String, Role>,
    ceilings: Vec<Ceiling>,
    /// What the digest is of, by kind and name.
    written: BTreeMap<String, Value>,
}

impl<'k> Builder<'k> {
    pub(crate) fn new(known: &'k Known) -> Builder<'k> {
        let issuers = known.issuers.keys().map(|name| (name.as_str(), name.as_str().into())).collect();
        let platforms: BTreeMap<&str, &str> =
            known.issuers.iter().map(|(name, platform)| (name.as_str(), platform.name())).collect();
        let written = [
            ("issuers".to_owned(), json!(platforms)),
            ("environments".to_owned(), json!(known.environments)),
            ("providers".to_owned(), json!(known.providers)),
        ];
        Builder {
            known,
            issuers,
            roles: BTreeMap::new(),
            ceilings: Vec::new(),
            written: written.into_iter().collect(),
        }
    }

    /// Adds a role. What is wrong with it goes to `problems`; it is not added then.
    pub(crate) fn role(
        &mut self,
        at: (usize, &Document, &str),
        name: &str,
        file: &RoleFile,
        delegation: Option<&Delegation<'_>>,
        problems: &mut Vec<Problem>,
    ) {
        let (index, document, pointer) = at;
        let full = match delegation {
            Some(delegation) => format!("{}/{name}", delegation.namespace),
            None => name.to_owned(),
        };
        let mut check = Check { known: self.known, document, pointer, problems, is_good: true };
        if self.roles.len() >= MAX_ROLES {
            check.no("", format!("more than {MAX_ROLES} roles"));
        }
        if let Some(why) = bad_name(&full) {
            check.no("", format!("role `{}`: {why}", full.escape_default()));
        }
        if self.roles.contains_key(&full) {
            check.no("", format!("there is a role `{full}` already"));
        }
        check.references(file);
        check.conditions(file);
        check.times(file);
        let origin =
            Origin { document: index, pointer: pointer.to_owned(), is_delegated: delegation.is_some() };
        let mut role = self.checked(&full, file, origin);
        if let Some(delegation) = delegation {
            check.delegated(file, &mut role, delegation);
        }
        check.binding(file, &mut role);
        if check.is_good {
            let bound = delegation.map(|it| json!([it.issuer, it.claim, it.id, it.caps]));
            self.written.insert(format!("role/{full}"), json!([file, bound]));
            self.roles.insert(full, role);
        }
    }

    fn checked(&self, name: &str, file: &RoleFile, origin: Origin) -> Role {
        let conditions = |map: &BTreeMap<String, Matcher>, is_negated| -> Vec<Condition> {
            let each = map.iter().map(|(claim, matcher)| Condition {
                claim: claim.clone(),
                matcher: matcher.clone(),
                is_negated,
            });
            each.collect()
        };
        let grant = &file.grant;
        let cap = self.known.environments.get(&file.environment).copied().flatten();
        let max_ttl = cap.map_or(grant.max_ttl, |cap| cap.min(grant.max_ttl));
        let shared = |name: &String| self.issuers.get(name.as_str()).cloned();
        Role {
            name: name.to_owned(),
            about: file.about.clone(),
            issuers: file.issuer.as_slice().iter().filter_map(shared).collect(),
            conditions: [conditions(&file.r#match, false), conditions(&file.not, true)].concat(),
            allow: file.allow.clone(),
            runner: file.runner_environment,
            network: file.network.clone(),
            environment: file.environment.clone(),
            access: file.access,
            until: file.until,
            provider: grant.provider.clone(),
            parameters: Value::Object(grant.parameters.clone()),
            ttl: grant.ttl.min(max_ttl),
            max_ttl,
            written_max_ttl: grant.max_ttl,
            limits: Limits { role: grant.limits.role, run: grant.limits.run, once_per_run: grant.single_use },
            bound: Vec::new(),
            reach: None,
            origin,
            accept: file.accept.keys().cloned().collect(),
        }
    }

    /// Adds a ceiling.
    pub(crate) fn ceiling(
        &mut self,
        document: &Document,
        pointer: &str,
        file: &CeilingFile,
        problems: &mut Vec<Problem>,
    ) {
        let mut check = Check { known: self.known, document, pointer, problems, is_good: true };
        for issuer in file.issuer.iter().flat_map(|it| it.as_slice()) {
            check.is_known("/issuer", "issuer", issuer, self.known.issuers.keys());
        }
        if file.issuer.is_none() && !file.r#match.is_empty() {
            check.no(
                "",
                "a ceiling with `match` needs `issuer`: each issuer has claims of its own".to_owned(),
            );
        }
        if file.issuer.as_ref().is_some_and(|it| it.as_slice().is_empty()) {
            check.no("/issuer", "an empty list; leave `issuer` out if it is for all".to_owned());
        }
        check.caps("", &file.caps);
        let place = document.place(pointer);
        if check.is_good {
            let shared = |name: &String| self.issuers.get(name.as_str()).cloned();
            let issuers = file.issuer.iter().flat_map(|it| it.as_slice()).filter_map(shared).collect();
            let conditions = file.r#match.iter().map(|(claim, it)| (claim.clone(), it.clone())).collect();
            let name = format!("ceiling at {place}");
            self.ceilings.push(Ceiling { name, issuers, conditions, caps: file.caps.clone() });
            self.written.insert(format!("ceiling/{:06}", self.ceilings.len()), json!(file));
        }
    }

    /// Checks caps that stand at `below` the pointer.
    pub(crate) fn caps(&self, document: &Document, pointer: &str, caps: &Caps, problems: &mut Vec<Problem>) {
        Check { known: self.known, document, pointer, problems, is_good: true }.caps("", caps);
    }

    pub(crate) fn finish(self) -> Policy {
        let issuers: Vec<Arc<str>> = self.issuers.into_values().collect();
        let mut policy = Policy {
            digest: digest(&self.written),
            ceilings: Ceilings::new(self.ceilings, &issuers),
            roles: self.roles.into_values().collect(),
            ..Policy::default()
        };
        for (index, role) in policy.roles.iter().enumerate() {
            policy.by_name.insert(role.name.clone(), index);
            for issuer in &role.issuers {
                policy.by_issuer.entry(Arc::clone(issuer)).or_default().add(index, role);
            }
        }
        policy
    }
}

impl Takers {
    fn add(&mut self, index: usize, role: &Role) {
        let exact = role.bound.iter().find_map(|claim| {
            let texts = role.wants(claim)?.exact_texts()?;
            Some((claim, texts))
        });
        match exact {
            Some((claim, texts)) => {
                let by_text = self.by_claim.entry(claim.clone()).or_default();
                let texts: BTreeSet<&str> = texts.into_iter().collect();
                for text in texts {
                    by_text.entry(text.to_owned()).or_default().push(index);
                }
            }
            None => self.others.push(index),
        }
    }
}

/// Looks at one entry of a document.
struct Check<'a> {
    known: &'a Known,
    document: &'a Document,
    pointer: &'a str,
    problems: &'a mut Vec<Problem>,
    is_good: bool,
}

impl Check<'_> {
    /// It is not taken, because of the member at `below` it.
    fn no(&mut self, below: &str, what: String) {
        self.is_good = false;
        self.problems.push(self.document.problem(&format!("{}{below}", self.pointer), what));
    }

    fn is_known<'n>(
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
    fn references(&mut self, file: &RoleFile) {
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

    fn conditions(&mut self, file: &RoleFile) {
        for (member, map) in [("match", &file.r#match), ("not", &file.not)] {
            for claim in map.keys() {
                let below = format!("/{member}{}", step_of(claim));
                if claim.is_empty() || claim.len() > MAX_CLAIM || claim == "/" {
                    self.no(&below, format!("a claim's name has 1 to {MAX_CLAIM} bytes"));
                }
                if file.runner_environment.is_some()
                    && member == "match"
                    && claim == super::file::Runner::CLAIM
                {
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

    fn times(&mut self, file: &RoleFile) {
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
    fn delegated(&mut self, file: &RoleFile, role: &mut Role, delegation: &Delegation<'_>) {
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
    fn binding(&mut self, file: &RoleFile, role: &mut Role) {
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

    fn caps(&mut self, below: &str, caps: &Caps) {
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

/// SHA-256 over the canonical JSON of what was written: members sorted, no white space.
fn digest(written: &BTreeMap<String, Value>) -> String {
    let mut hash = Sha256::new();
    for (name, value) in written {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(canonical(value).to_string().as_bytes());
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

/// The same value with the members of every object sorted.
pub(super) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, Value> =
                map.iter().map(|(name, it)| (name, canonical(it))).collect();
            Value::Object(sorted.into_iter().map(|(name, it)| (name.clone(), it)).collect())
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}
