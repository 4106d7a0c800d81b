//! Which identity may take which role: deny by default, no prefix, no substring, no free regular expression.
//!
//! `docs/policy.md` is the rule in words, and a plain evaluator written from it stands among the tests. A [`Policy`] is
//! checked when it is built; after that nobody checks again. [`Policy::decide`] is the one way to a
//! [`Grant`], and only a verified identity goes in.

mod build;
pub mod cases;
mod ceiling;
mod check;
pub mod explain;
pub mod file;
pub mod glob;
pub mod grant;
pub mod lint;
pub mod matcher;
mod network;
mod refusal;
mod role;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use self::build::{Builder, Delegation, Known};
use self::ceiling::{Ceilings, shortest};
use self::grant::Grant;
pub use self::refusal::{Answer, Code, Refusal, Told};
use self::refusal::{Failure, MAX_FAILED, shown};
pub use self::role::Context;
pub(crate) use self::role::Origin;
use self::role::{Asker, Look, Role};
use crate::identity::Identity;
use crate::ttl::Ttl;

/// All roles and ceilings of a configuration. Cheap to ask: a look-up by name, then the conditions of one role.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    roles: Vec<Role>,
    by_name: HashMap<String, usize>,
    by_issuer: HashMap<Arc<str>, Takers>,
    ceilings: Ceilings,
    digest: String,
}

/// The roles of an issuer, arranged for "which roles may I take".
#[derive(Debug, Clone, Default)]
struct Takers {
    /// By claim, then by text: roles that are bound to exactly that.
    by_claim: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Roles that are not bound.
    others: Vec<usize>,
}

/// What one role grants, for whoever validates it.
#[derive(Debug, Clone, Copy)]
pub struct Granted<'a> {
    /// The role.
    pub role: &'a str,
    /// What it is for.
    pub about: Option<&'a str>,
    /// The provider.
    pub provider: &'a str,
    /// The environment of both.
    pub environment: &'a str,
    /// What is asked of the provider.
    pub parameters: &'a Value,
    /// How long the credential lives at first.
    pub ttl: Ttl,
    /// How long it may live in all.
    pub max_ttl: Ttl,
    /// Whether it comes from a repository's own file.
    pub is_delegated: bool,
    origin: &'a Origin,
}

impl<'a> Granted<'a> {
    pub(crate) fn origin(&self) -> &'a Origin {
        self.origin
    }
}

impl Policy {
    /// Whether `who` may take `role`, and what that grants.
    ///
    /// # Errors
    /// It may not; the refusal says why to whom it may be said.
    pub fn decide(&self, who: &Identity, role: &str, context: &Context) -> Result<Grant, Refusal> {
        let asker = Asker { issuer: who.issuer(), platform: who.platform(), claims: who.claims() };
        self.judge(asker, role, context)
    }

    /// The roles that `who` may take now, by name.
    pub fn open_to(&self, who: &Identity, context: &Context) -> Vec<&str> {
        let asker = Asker { issuer: who.issuer(), platform: who.platform(), claims: who.claims() };
        let mut names: Vec<&str> = self
            .near(asker)
            .into_iter()
            .filter_map(|index| self.roles.get(index))
            .filter(|role| self.weigh(role, asker, context).is_ok())
            .map(|role| role.name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    /// SHA-256 of the policy, in hex: the same roles, ceilings, environments and bindings of providers give the same.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What all roles grant, in the order of their names.
    pub fn granted(&self) -> impl Iterator<Item = Granted<'_>> {
        self.roles.iter().map(|role| Granted {
            role: &role.name,
            about: role.about.as_deref(),
            provider: &role.provider,
            environment: &role.environment,
            parameters: &role.parameters,
            ttl: role.ttl,
            max_ttl: role.max_ttl,
            is_delegated: role.origin.is_delegated,
            origin: &role.origin,
        })
    }

    /// How many roles there are.
    pub fn len(&self) -> usize {
        self.roles.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// The issuer of a role that has one only.
    pub(crate) fn only_issuer(&self, role: &str) -> Option<&str> {
        match self.find(role)?.issuers.as_slice() {
            [only] => Some(&**only),
            _ => None,
        }
    }

    fn find(&self, name: &str) -> Option<&Role> {
        self.by_name.get(name).and_then(|index| self.roles.get(*index))
    }

    /// Roles whose binding does not speak against the asker.
    fn near(&self, asker: Asker<'_>) -> Vec<usize> {
        let Some(takers) = self.by_issuer.get(asker.issuer) else { return Vec::new() };
        let mut near = takers.others.clone();
        for (claim, by_text) in &takers.by_claim {
            if let Some(text) = asker.claims.text(claim) {
                near.extend(by_text.get(text).into_iter().flatten());
            }
        }
        near
    }

    fn judge(&self, asker: Asker<'_>, name: &str, context: &Context) -> Result<Grant, Refusal> {
        match self.find(name) {
            Some(role) => self.weigh(role, asker, context),
            None => Err(Refusal {
                role: name.to_owned(),
                code: Code::UnknownRole,
                failed: Vec::new(),
                is_stranger: true,
                policy: self.digest.clone(),
            }),
        }
    }

    fn weigh(&self, role: &Role, asker: Asker<'_>, context: &Context) -> Result<Grant, Refusal> {
        let mut failed: Vec<(Code, Failure)> = Vec::new();
        role.examine(asker, context, |look, holds| {
            if !holds && failed.len() < MAX_FAILED {
                failed.push((look.code(), look.failure(asker, role, context)));
            }
        });
        let ceilings = self.ceilings.of(asker.issuer, asker.claims);
        for ceiling in &ceilings {
            if let Some(excess) = ceiling.caps.excess(role).filter(|_| failed.len() < MAX_FAILED) {
                let failure = Failure {
                    claim: "ceiling".to_owned(),
                    wanted: format!("{} within {} ({})", excess.member, excess.allowed, ceiling.name),
                    told: None,
                    seen: Some(format!("{} in the role", excess.said)),
                };
                failed.push((Code::OverCeiling, failure));
            }
        }
        let Some((code, _)) = failed.first() else {
            return Ok(self.grant(role, ceilings.iter().map(|ceiling| ceiling.caps.max_ttl), context));
        };
        Err(Refusal {
            role: role.name.clone(),
            code: *code,
            is_stranger: !role.is_bound_to(asker),
            failed: failed.into_iter().map(|(_, failure)| failure).collect(),
            policy: self.digest.clone(),
        })
    }

    fn grant(&self, role: &Role, caps: impl Iterator<Item = Option<Ttl>>, context: &Context) -> Grant {
        let rest = role.until.and_then(|until| Ttl::between(context.now, until));
        let max_ttl = shortest(role.max_ttl, caps.chain([rest]));
        Grant {
            role: role.name.clone(),
            provider: role.provider.clone(),
            environment: role.environment.clone(),
            parameters: role.parameters.clone(),
            ttl: role.ttl.min(max_ttl),
            max_ttl,
            limits: role.limits,
            policy: self.digest.clone(),
        }
    }
}

impl Look<'_> {
    fn code(&self) -> Code {
        match self {
            // To somebody of another issuer a role does not exist.
            Look::Issuer => Code::UnknownRole,
            Look::Claim(_) | Look::Runner(_) => Code::ClaimMismatch,
            Look::Hazard(_) => Code::Hazard,
            Look::Network => Code::Network,
            Look::Until(_) => Code::RoleEnded,
        }
    }

    /// What it is called in answers.
    pub(crate) fn claim(&self) -> &str {
        match self {
            Look::Issuer => "issuer",
            Look::Claim(condition) => &condition.claim,
            Look::Hazard(_) => "hazard",
            Look::Runner(_) => file::Runner::CLAIM,
            Look::Network => "address",
            Look::Until(_) => "until",
        }
    }

    /// What the policy wants, for operators.
    pub(crate) fn wanted(&self, role: &Role) -> String {
        match self {
            Look::Issuer => role.issuers.join(" or "),
            Look::Claim(condition) if condition.is_negated => format!("anything but {}", condition.matcher),
            Look::Claim(condition) => condition.matcher.to_string(),
            Look::Hazard(hazard) => format!("`allow: [{hazard}]` in the role, as {}", hazard.about()),
            Look::Runner(runner) => runner.values().join(" or "),
            Look::Network => {
                let networks: Vec<String> = role.network.iter().map(ToString::to_string).collect();
                networks.join(" or ")
            }
            Look::Until(until) => format!("an instant before {until}"),
        }
    }

    /// What the asker says; `None` if nothing.
    pub(crate) fn seen(&self, asker: Asker<'_>, context: &Context) -> Option<String> {
        let claim = |name: &str| asker.claims.get(name).filter(|it| !it.is_null()).map(shown);
        match self {
            Look::Issuer => Some(asker.issuer.to_owned()),
            Look::Claim(condition) => claim(&condition.claim),
            Look::Hazard(hazard) => Some(hazard.name().to_owned()),
            Look::Runner(_) => claim(file::Runner::CLAIM),
            Look::Network => context.address.map(|address| address.to_canonical().to_string()),
            Look::Until(_) => Some(context.now.to_string()),
        }
    }

    fn failure(&self, asker: Asker<'_>, role: &Role, context: &Context) -> Failure {
        let wanted = self.wanted(role);
        let told = match self {
            Look::Claim(condition) if condition.matcher.is_exact() => Some(wanted.clone()),
            Look::Hazard(_) | Look::Runner(_) | Look::Until(_) => Some(wanted.clone()),
            Look::Claim(_) | Look::Network | Look::Issuer => None,
        };
        Failure { claim: self.claim().to_owned(), wanted, told, seen: self.seen(asker, context) }
    }
}
