//! Ceilings: whatever a role says, certain identities get no more than this.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::file::{Access, Caps};
use super::matcher::{Matcher, Verdict};
use super::role::Role;
use crate::claims::Claims;
use crate::ttl::Ttl;

/// A ceiling, checked.
#[derive(Debug, Clone)]
pub(crate) struct Ceiling {
    /// What messages call it.
    pub(crate) name: String,
    /// Of these issuers only; of all if empty.
    pub(crate) issuers: Vec<Arc<str>>,
    /// With these claims only.
    pub(crate) conditions: Vec<(String, Matcher)>,
    /// What is allowed.
    pub(crate) caps: Caps,
}

/// How a role reaches over a ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excess {
    /// The member of the role: `environment`, `grant.provider`, ...
    pub(crate) member: String,
    /// What the ceiling allows.
    pub(crate) allowed: String,
    /// What the role says.
    pub(crate) said: String,
}

impl Ceiling {
    /// Whether it is for tokens of this issuer.
    pub(crate) fn is_of(&self, issuer: &str) -> bool {
        self.issuers.is_empty() || self.issuers.iter().any(|it| **it == *issuer)
    }

    /// Whether it is for tokens with these claims. One that is missing cannot be told from one that would match, so the
    /// ceiling holds then: removing a claim must never take a lid off.
    fn holds_for(&self, claims: &Claims) -> bool {
        let holds =
            |(claim, matcher): &(String, Matcher)| matcher.compare(claims.get(claim)) != Verdict::Differs;
        self.conditions.iter().all(holds)
    }
}

impl Caps {
    /// How the role reaches over it, first of all ways; its life is shortened instead, by [`Caps::max_ttl`].
    pub(crate) fn excess(&self, role: &Role) -> Option<Excess> {
        let excess = |member: &str, allowed: String, said: &str| {
            Some(Excess { member: member.to_owned(), allowed, said: said.to_owned() })
        };
        if self.access == Some(Access::Read) && role.access == Access::Write {
            return excess("access", "read".into(), "write");
        }
        if let Some(environments) = self.environments.as_ref().filter(|it| !it.contains(&role.environment)) {
            return excess("environment", list(environments), &role.environment);
        }
        if let Some(providers) = self.providers.as_ref().filter(|it| !it.contains(&role.provider)) {
            return excess("grant.provider", list(providers), &role.provider);
        }
        if let Some(hazard) = self.allow.as_ref().and_then(|it| role.allow.difference(it).next()) {
            let allowed = self.allow.iter().flatten().map(|it| it.name());
            return excess("allow", list(allowed), hazard.name());
        }
        let cap = self.parameters.get(&role.provider)?;
        beyond(cap, &role.parameters, "grant.parameters")
    }
}

fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether a value reaches over its cap, and where. An object allows its members only; a list allows its values only, for
/// a value as for each value of a list; `"*"` allows anything.
fn beyond(cap: &Value, value: &Value, at: &str) -> Option<Excess> {
    let excess = || Some(Excess { member: at.to_owned(), allowed: short(cap), said: short(value) });
    match (cap, value) {
        (Value::String(any), _) if any == "*" => None,
        (Value::Object(allowed), Value::Object(members)) => members.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match allowed.get(name) {
                Some(cap) => beyond(cap, value, &at),
                None => Some(Excess { member: at, allowed: list(allowed.keys()), said: short(value) }),
            }
        }),
        // Nothing asked for is less than anything; a cap of nothing allows only that.
        (_, Value::Null) => None,
        (Value::Null, Value::Object(members)) if members.is_empty() => None,
        (Value::Array(allowed), Value::Array(values)) => {
            if values.iter().all(|value| allowed.contains(value)) { None } else { excess() }
        }
        (Value::Array(allowed), value) if allowed.contains(value) => None,
        (one, value) if one == value => None,
        _ => excess(),
    }
}

/// A value in a message.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Array(items) => {
            let each: Vec<String> = items.iter().map(short).collect();
            each.join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(200) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// All ceilings, so arranged that those for an identity are found without looking at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ceilings {
    all: Vec<Ceiling>,
    /// By issuer; those that are for every issuer stand under each.
    by_issuer: HashMap<Arc<str>, Index>,
}

/// The ceilings of an issuer.
#[derive(Debug, Clone, Default)]
struct Index {
    /// By claim, then by its exact text: ceilings that want just that.
    by_claim: HashMap<String, HashMap<String, Vec<usize>>>,
    /// All others.
    others: Vec<usize>,
}

impl Ceilings {
    /// Arranges ceilings for these issuers.
    pub(crate) fn new(all: Vec<Ceiling>, issuers: &[Arc<str>]) -> Ceilings {
        let mut by_issuer: HashMap<Arc<str>, Index> = HashMap::new();
        for issuer in issuers {
            let index = by_issuer.entry(Arc::clone(issuer)).or_default();
            for (at, ceiling) in all.iter().enumerate().filter(|(_, ceiling)| ceiling.is_of(issuer)) {
                index.add(at, ceiling);
            }
        }
        Ceilings { all, by_issuer }
    }

    /// The ceilings for an identity.
    pub(crate) fn of(&self, issuer: &str, claims: &Claims) -> Vec<&Ceiling> {
        let Some(index) = self.by_issuer.get(issuer) else { return Vec::new() };
        let mut found = index.others.clone();
        for (claim, by_text) in &index.by_claim {
            match claims.text(claim) {
                Some(text) => found.extend(by_text.get(text).into_iter().flatten()),
                // Without the claim, each of them may be meant.
                None => found.extend(by_text.values().flatten()),
            }
        }
        let ceilings = found.into_iter().filter_map(|at| self.all.get(at));
        ceilings.filter(|ceiling| ceiling.holds_for(claims)).collect()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Ceiling> {
        self.all.iter()
    }
}

impl Index {
    fn add(&mut self, at: usize, ceiling: &Ceiling) {
        let exact = ceiling
            .conditions
            .iter()
            .find_map(|(claim, matcher)| matcher.exact_texts().map(|texts| (claim, texts)));
        match exact {
            Some((claim, texts)) => {
                let by_text = self.by_claim.entry(claim.clone()).or_default();
                for text in texts {
                    by_text.entry(text.to_owned()).or_default().push(at);
                }
            }
            None => self.others.push(at),
        }
    }
}

/// The shortest of some lives.
pub(crate) fn shortest(life: Ttl, caps: impl Iterator<Item = Option<Ttl>>) -> Ttl {
    caps.flatten().fold(life, Ttl::min)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_stay_under_their_cap() {
        let cap = json!({"roles": ["ro", "rw"], "permissions": {"contents": ["read"]}, "any": "*", "n": 3});
        for (value, member) in [
            (json!({}), None),
            (json!({"roles": "ro"}), None),
            (json!({"roles": ["ro", "rw"]}), None),
            (json!({"roles": ["ro", "admin"]}), Some("p.roles")),
            (json!({"roles": {"ro": 1}}), Some("p.roles")),
            (json!({"permissions": {"contents": "read"}}), None),
            (json!({"permissions": {"contents": "write"}}), Some("p.permissions.contents")),
            (json!({"permissions": {"members": "write"}}), Some("p.permissions.members")),
            (json!({"permissions": "write-all"}), Some("p.permissions")),
            (json!({"any": [1, {"x": 2}]}), None),
            (json!({"n": 3}), None),
            (json!({"n": 4}), Some("p.n")),
            (json!({"other": 1}), Some("p.other")),
        ] {
            assert_eq!(beyond(&cap, &value, "p").map(|it| it.member).as_deref(), member, "{value}");
        }
    }
}
