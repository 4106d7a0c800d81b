//! From what is written to what decides. What must hold is in [`check`](super::check); after that nobody checks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::ceiling::{Ceiling, Ceilings};
use super::check::Check;
use super::file::{Caps, CeilingFile, RoleFile};
use super::grant::Limits;
use super::matcher::Matcher;
use super::role::{Condition, Origin, Role, bad_name};
use super::{Policy, Takers};
use crate::config::document::{Document, Problem};
use crate::platform::Platform;
use crate::ttl::Ttl;

/// Most roles in a configuration.
const MAX_ROLES: usize = 100_000;

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
