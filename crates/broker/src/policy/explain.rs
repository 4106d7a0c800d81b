//! Why an identity may take a role or not, for operators: every condition, wanted and seen.
//!
//! What is explained is a supposition: claims that nobody verified. No grant comes out of it, only words about one.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::refusal::{Answer, Code, shown};
use super::role::{Asker, Context, Role};
use crate::claims::Claims;
use crate::config::Config;
use crate::config::document::closest;

/// Claims as a token of an issuer would have them, not verified.
#[derive(Debug, Clone)]
pub struct Supposed {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The claims.
    pub claims: Claims,
}

/// One thing that a decision looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The claim, or `issuer`, `hazard`, `address`, `until`, `ceiling`.
    pub claim: String,
    /// What the policy wants.
    pub wanted: String,
    /// What the token or the connection says; nothing if it says nothing.
    pub seen: Option<String>,
    /// Whether it holds.
    pub holds: bool,
}

/// How a decision would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// It would be granted.
    Allowed {
        /// The provider.
        provider: String,
        /// The environment.
        environment: String,
        /// What is asked of the provider.
        parameters: Value,
        /// How long the credential would live at first.
        ttl: String,
        /// How long in all.
        max_ttl: String,
        /// Whether the run may take it once only.
        single_use: bool,
    },
    /// It would be refused.
    Refused {
        /// The true reason.
        code: Code,
        /// What the caller would hear.
        answer: Answer,
    },
}

/// An explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The role that was asked for.
    pub role: String,
    /// Where it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// A role with a similar name, when there is none of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similar: Option<String>,
    /// How it would be decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// All that the decision looks at, in order.
    pub steps: Vec<Step>,
}

impl Explanation {
    /// Whether it would be granted.
    pub fn is_allowed(&self) -> bool {
        matches!(self.decision, Decision::Allowed { .. })
    }

    /// What does not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !step.holds)
    }
}

/// Why supposed claims cannot be decided on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupposedError {
    /// No issuer is configured under this name.
    #[error("there is no issuer `{name}`; there are {known}")]
    NoIssuer {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// No configured issuer has this URL.
    #[error("the token's issuer {url} is not configured, so the broker refuses it; {hint}")]
    UnknownUrl {
        /// What the token says.
        url: String,
        /// What to do.
        hint: String,
    },
    /// Nothing says whose token it would be.
    #[error("the claims have no `iss`, and there are several issuers: name one of {0}")]
    Unclear(String),
}

impl Config {
    /// Finds out which issuer claims are of: by name if one is given, else by `iss`, else there is only one.
    ///
    /// # Errors
    /// See [`SupposedError`].
    pub fn suppose(&self, claims: Claims, issuer: Option<&str>) -> Result<Supposed, SupposedError> {
        let known = || self.issuers.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if let Some(name) = issuer {
            if !self.issuers.contains_key(name) {
                return Err(SupposedError::NoIssuer {
                    name: name.escape_default().to_string(),
                    known: known(),
                });
            }
            return Ok(Supposed { issuer: name.to_owned(), claims });
        }
        let url = |name: &str| {
            let issuer = &self.issuers[name];
            issuer.issuer.as_deref().or(issuer.platform.0.issuer())
        };
        match claims.get("iss") {
            Some(seen) => match self.issuers.keys().find(|name| url(name) == seen.as_str()) {
                Some(name) => Ok(Supposed { issuer: name.clone(), claims }),
                None => {
                    let urls: Vec<&str> = self.issuers.keys().filter_map(|name| url(name)).collect();
                    let near = seen.as_str().and_then(|it| closest(it, urls.iter().copied()));
                    let hint = match near {
                        Some(near) => format!("it is compared byte by byte, and {near} is another"),
                        None => "add it under `issuers`".to_owned(),
                    };
                    Err(SupposedError::UnknownUrl { url: shown(seen), hint })
                }
            },
            None => match self.issuers.keys().next() {
                Some(only) if self.issuers.len() == 1 => Ok(Supposed { issuer: only.clone(), claims }),
                _ => Err(SupposedError::Unclear(known())),
            },
        }
    }

    /// Why the claims would be refused before any role is looked at: the subject contradicts the other claims, claims that
    /// every token of the platform has are missing, or audience and times, if they are there, are wrong.
    pub fn objections(&self, supposed: &Supposed, now: Timestamp) -> Vec<Step> {
        let Some(issuer) = self.issuers.get(&supposed.issuer) else { return Vec::new() };
        let claims = &supposed.claims;
        let mut steps = Vec::new();
        let mut no = |claim: &str, wanted: String, seen: Option<String>| {
            steps.push(Step { claim: claim.to_owned(), wanted, seen, holds: false });
        };
        if let Err(mismatch) = issuer.platform.0.subject(claims) {
            no(mismatch.claim, mismatch.wanted, mismatch.seen.as_ref().map(shown));
        }
        let audience = issuer.audience.as_deref().unwrap_or(&self.audience);
        if let Some(seen) = claims.get("aud") {
            let one = match seen {
                Value::Array(items) if items.len() == 1 => items.first().unwrap_or(seen),
                other => other,
            };
            if one != audience {
                no("aud", format!("\"{audience}\" and nothing else"), Some(shown(seen)));
            }
        }
        let leeway = i64::try_from(issuer.leeway.seconds()).unwrap_or_default();
        if let Some(end) = claims.get("exp").and_then(Value::as_i64)
            && end.saturating_add(leeway) <= now.as_second()
        {
            no("exp", format!("an instant after {now}"), Some(instant(end)));
        }
        steps
    }

    /// Explains the decision on one role.
    pub fn explain(&self, supposed: &Supposed, role: &str, context: &Context) -> Explanation {
        let issuer = self.issuers.get(&supposed.issuer);
        let (Some(found), Some(issuer)) = (self.policy.find(role), issuer) else { return self.unknown(role) };
        let asker = Asker { issuer: &supposed.issuer, platform: issuer.platform.0, claims: &supposed.claims };
        self.explained(found, asker, context)
    }

    /// Explains the decisions on all roles that are open to the claims, or are bound to what they name, by name.
    pub fn explain_all(&self, supposed: &Supposed, context: &Context) -> Vec<Explanation> {
        let Some(issuer) = self.issuers.get(&supposed.issuer) else { return Vec::new() };
        let asker = Asker { issuer: &supposed.issuer, platform: issuer.platform.0, claims: &supposed.claims };
        let near = self.policy.near(asker);
        let roles = near.into_iter().filter_map(|index| self.policy.roles.get(index));
        let mut all: Vec<Explanation> = roles
            .map(|role| (role.is_bound_to(asker), self.explained(role, asker, context)))
            .filter(|(is_bound, it)| *is_bound || it.is_allowed())
            .map(|(_, it)| it)
            .collect();
        all.sort_by(|a, b| a.role.cmp(&b.role));
        all
    }

    fn unknown(&self, role: &str) -> Explanation {
        let names = self.policy.roles.iter().map(|role| role.name.as_str());
        let similar = closest(role, names).map(str::to_owned);
        let refusal = super::Refusal {
            role: role.to_owned(),
            code: Code::UnknownRole,
            failed: Vec::new(),
            is_stranger: true,
            policy: String::new(),
        };
        Explanation {
            role: role.to_owned(),
            place: None,
            similar,
            decision: Decision::Refused { code: Code::UnknownRole, answer: refusal.answer() },
            steps: Vec::new(),
        }
    }

    fn explained(&self, role: &Role, asker: Asker<'_>, context: &Context) -> Explanation {
        let mut steps = Vec::new();
        role.examine(asker, context, |look, holds| {
            let (wanted, seen) = (look.wanted(role), look.seen(asker, context));
            steps.push(Step { claim: look.claim().to_owned(), wanted, seen, holds });
        });
        for ceiling in self.policy.ceilings.of(asker.issuer, asker.claims) {
            let excess = ceiling.caps.excess(role);
            let wanted = match &excess {
                Some(excess) => format!("{} within {} ({})", excess.member, excess.allowed, ceiling.name),
                None => format!("what the {} allows", ceiling.name),
            };
            let seen = match &excess {
                Some(excess) => format!("{} in the role", excess.said),
                None => format!("within the {}", ceiling.name),
            };
            steps.push(Step {
                claim: "ceiling".to_owned(),
                wanted,
                seen: Some(seen),
                holds: excess.is_none(),
            });
        }
        let decision = match self.policy.weigh(role, asker, context) {
            Ok(grant) => Decision::Allowed {
                provider: grant.provider,
                environment: grant.environment,
                parameters: grant.parameters,
                ttl: grant.ttl.to_string(),
                max_ttl: grant.max_ttl.to_string(),
                single_use: grant.limits.once_per_run,
            },
            Err(refusal) => Decision::Refused { code: refusal.code(), answer: refusal.answer() },
        };
        let place = Some(self.place(&role.origin, "").to_string());
        Explanation { role: role.name.clone(), place, similar: None, decision, steps }
    }
}

/// Seconds since 1970 as people read them.
fn instant(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
