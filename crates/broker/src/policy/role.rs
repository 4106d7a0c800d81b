//! A role, checked: what the decision reads.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::file::{Access, Network, Runner};
use super::grant::Limits;
use super::matcher::{Matcher, Verdict};
use crate::claims::Claims;
use crate::platform::{Hazard, Platform, Reach};
use crate::ttl::Ttl;

/// Longest name of a role, in bytes.
const MAX_NAME: usize = 200;

/// A role.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) about: Option<String>,
    /// Never empty.
    pub(crate) issuers: Vec<Arc<str>>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) allow: BTreeSet<Hazard>,
    pub(crate) runner: Option<Runner>,
    pub(crate) network: Vec<Network>,
    pub(crate) environment: String,
    pub(crate) access: Access,
    pub(crate) until: Option<Timestamp>,
    pub(crate) provider: String,
    pub(crate) parameters: Value,
    pub(crate) ttl: Ttl,
    /// Shortened to what its environment and its delegation allow.
    pub(crate) max_ttl: Ttl,
    /// As it is written.
    pub(crate) written_max_ttl: Ttl,
    pub(crate) limits: Limits,
    /// The claims that bind it to one thing for ever. Empty if it binds none, which its author accepted.
    pub(crate) bound: Vec<String>,
    /// How much that lets in.
    pub(crate) reach: Option<Reach>,
    /// Where it is written.
    pub(crate) origin: Origin,
    /// Remarks that its author accepts.
    pub(crate) accept: BTreeSet<String>,
}

/// Where a role is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Index of its document.
    pub(crate) document: usize,
    /// Its pointer there.
    pub(crate) pointer: String,
    /// Whether it comes from a repository's own file.
    pub(crate) is_delegated: bool,
}

/// What a claim must be, or must not be.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) claim: String,
    pub(crate) matcher: Matcher,
    pub(crate) is_negated: bool,
}

impl Condition {
    /// Whether it holds. What is missing or of another type fails, also under `not`.
    pub(crate) fn holds(&self, claims: &Claims) -> bool {
        let wanted = if self.is_negated { Verdict::Differs } else { Verdict::Matches };
        self.matcher.compare(claims.get(&self.claim)) == wanted
    }
}

/// Who asks, for the decision's eyes: a verified identity, or one that an operator supposes.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) platform: &'static dyn Platform,
    pub(crate) claims: &'a Claims,
}

/// What the decision knows besides the identity.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The caller's network address, if it is known.
    pub address: Option<IpAddr>,
    /// Now.
    pub now: Timestamp,
}

/// One thing that the decision looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look<'a> {
    Issuer,
    Claim(&'a Condition),
    Hazard(Hazard),
    Runner(Runner),
    Network,
    Until(Timestamp),
}

impl Role {
    /// Looks at everything and tells `note` of each thing whether it holds. Nothing is left out after a failure, so that
    /// an answer can name all that is wrong.
    pub(crate) fn examine(&self, asker: Asker<'_>, context: &Context, mut note: impl FnMut(Look<'_>, bool)) {
        note(Look::Issuer, self.is_of(asker.issuer));
        for condition in &self.conditions {
            note(Look::Claim(condition), condition.holds(asker.claims));
        }
        for hazard in asker.platform.hazards(asker.claims) {
            note(Look::Hazard(hazard), self.allow.contains(&hazard));
        }
        if let Some(runner) = self.runner {
            let says = asker.claims.text(Runner::CLAIM);
            note(Look::Runner(runner), says.is_some_and(|says| runner.values().contains(&says)));
        }
        if !self.network.is_empty() {
            let is_in = context.address.is_some_and(|at| self.network.iter().any(|net| net.contains(at)));
            note(Look::Network, is_in);
        }
        if let Some(until) = self.until {
            note(Look::Until(until), context.now < until);
        }
    }

    /// Whether tokens of this issuer may take it.
    pub(crate) fn is_of(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|known| **known == *issuer)
    }

    /// Whether the identity is what the role is bound to, whatever else it lacks. Such a caller is told more.
    pub(crate) fn is_bound_to(&self, asker: Asker<'_>) -> bool {
        let mut bound = self.conditions.iter().filter(|it| !it.is_negated && self.bound.contains(&it.claim));
        self.is_of(asker.issuer) && !self.bound.is_empty() && bound.all(|it| it.holds(asker.claims))
    }

    /// The condition on a claim, if it wants something of it.
    pub(crate) fn wants(&self, claim: &str) -> Option<&Matcher> {
        self.conditions.iter().find(|it| !it.is_negated && it.claim == claim).map(|it| &it.matcher)
    }
}

/// Why a name is not taken: it ends up in paths, headers, logs and audit records.
pub(crate) fn bad_name(name: &str) -> Option<String> {
    let is_good = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '/');
    if name.is_empty() || name.len() > MAX_NAME {
        return Some(format!("a name has 1 to {MAX_NAME} characters"));
    }
    if !name.chars().all(is_good) {
        return Some("a name is made of a-z, 0-9, `-`, `_`, `.` and `/`".to_owned());
    }
    if name.split('/').any(|part| part.is_empty() || part.chars().all(|c| c == '.')) {
        return Some("a name has no empty part and none of dots alone between its `/`".to_owned());
    }
    None
}
