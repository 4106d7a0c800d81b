//! Remarks on a policy that is valid and may still be unwise. One entry in [`LINTS`] per kind.
//!
//! A role accepts a remark by its id and with a reason (`accept: {wildcard-reach: "..."}`); then it is counted and not
//! shown. In protected environments, warnings on roles that can change something are errors.

mod config;
mod role;
mod twins;

use std::fmt;

use serde::Serialize;

use super::file::Access;
use super::role::Role;
use crate::config::Config;
use crate::config::document::Place;
use crate::platform::Platform;

/// How grave a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It can never work, or it opens what was meant to be closed.
    Error,
    /// Somebody should look at it and mend or accept it.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of remark.
pub struct Lint {
    /// Its id, for `accept` in a role.
    pub id: &'static str,
    /// What it is about, in one sentence for the help.
    pub about: &'static str,
    look: Look,
}

/// What a lint looks at.
enum Look {
    /// One role at a time: says what is wrong with which member.
    Role(fn(&View<'_>, &mut Vec<Said>)),
    /// The whole configuration.
    Config(fn(&Config, &mut Vec<(Severity, Place, String)>)),
    /// Roles that grant the same.
    Twins,
}

/// What a lint of roles says: how grave, about which member below the role, and what.
type Said = (Severity, String, String);

/// A role, with what it stands in.
struct View<'a> {
    config: &'a Config,
    role: &'a Role,
    platforms: Vec<&'static dyn Platform>,
}

impl View<'_> {
    fn can_write(&self) -> bool {
        self.role.access == Access::Write
    }

    /// Grave for a role that can change something, good to know for others.
    fn by_access(&self) -> Severity {
        if self.can_write() { Severity::Warning } else { Severity::Note }
    }
}

/// Every kind of remark, in the order the help lists them.
pub static LINTS: &[Lint] = &[
    Lint {
        id: "never-granted",
        about: "no token can ever take the role: its conditions contradict each other, or a ceiling forbids it",
        look: Look::Role(role::never_granted),
    },
    Lint {
        id: "claim-type",
        about: "the platform writes the claim as a text, and the role wants a number or a truth value",
        look: Look::Role(role::claim_type),
    },
    Lint {
        id: "ids-across-issuers",
        about: "an id names one thing within one issuer; the role takes the same id from several",
        look: Look::Role(role::ids_across_issuers),
    },
    Lint {
        id: "unbound-id",
        about: "the role binds nothing that lasts, so whoever gets the names next may take it",
        look: Look::Role(role::unbound_id),
    },
    Lint {
        id: "owner-reach",
        about: "the role is open to every repository of an owner",
        look: Look::Role(role::owner_reach),
    },
    Lint {
        id: "wildcard-reach",
        about: "a segment of a pattern may be anything",
        look: Look::Role(role::wildcard_reach),
    },
    Lint {
        id: "unprotected-ref",
        about: "a branch or tag is bound without a claim that says that it is protected",
        look: Look::Role(role::unprotected_ref),
    },
    Lint {
        id: "authored-claim",
        about: "a claim is bound that the author of a change chooses: it protects nothing",
        look: Look::Role(role::authored_claim),
    },
    Lint {
        id: "write-without-environment",
        about: "the role can change something and wants no environment of the CI, where people approve",
        look: Look::Role(role::write_without_environment),
    },
    Lint {
        id: "self-hosted-write",
        about: "the role can change something and takes jobs of runners that keep what other jobs left",
        look: Look::Role(role::self_hosted_write),
    },
    Lint {
        id: "hazard-allowed",
        about: "the role is open to runs in which a stranger may have a hand",
        look: Look::Role(role::hazard_allowed),
    },
    Lint {
        id: "reusable-workflow",
        about: "only one of the calling and the reusable workflow is bound",
        look: Look::Role(role::reusable_workflow),
    },
    Lint {
        id: "ttl-over-ceiling",
        about: "the role says a longer life than its environment or a ceiling allows, and gets less",
        look: Look::Role(role::ttl_over_ceiling),
    },
    Lint { id: "duplicate-role", about: "two roles say the same", look: Look::Twins },
    Lint {
        id: "shadowed-role",
        about: "whoever may take the role may take a wider one that grants the same",
        look: Look::Twins,
    },
    Lint {
        id: "shared-audience",
        about: "tokens for the broker also open something else, or the other way round",
        look: Look::Config(config::shared_audience),
    },
    Lint {
        id: "delegated-protected",
        about: "repositories' own policy files reach a protected environment",
        look: Look::Config(config::delegated_protected),
    },
    Lint {
        id: "unused",
        about: "an issuer, environment or provider that no role refers to",
        look: Look::Config(config::unused),
    },
];

/// The kind of remark with this id.
pub fn about(id: &str) -> Option<&'static Lint> {
    LINTS.iter().find(|lint| lint.id == id)
}

impl fmt::Debug for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lint").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How grave it is.
    pub severity: Severity,
    /// Where.
    pub at: Place,
    /// Its kind; see [`LINTS`].
    pub id: &'static str,
    /// The role it is about.
    pub role: Option<String>,
    /// What is unwise and what to do.
    pub what: String,
}

/// What a look at a policy gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Remarks, the gravest first, then by place.
    pub shown: Vec<Remark>,
    /// How many remarks are accepted in words.
    pub accepted: usize,
}

impl Config {
    /// Looks for what is unwise.
    pub fn lint(&self) -> Remarks {
        let mut remarks = Remarks::default();
        for lint in LINTS {
            match lint.look {
                Look::Config(look) => {
                    let mut said = Vec::new();
                    look(self, &mut said);
                    let remark =
                        |(severity, at, what)| Remark { severity, at, id: lint.id, role: None, what };
                    remarks.shown.extend(said.into_iter().map(remark));
                }
                Look::Role(look) => {
                    for role in &self.policy.roles {
                        let platforms = role.issuers.iter().filter_map(|name| self.issuers.get(&**name));
                        let platforms = platforms.map(|issuer| issuer.platform.0).collect();
                        let mut said = Vec::new();
                        look(&View { config: self, role, platforms }, &mut said);
                        remarks.add(self, role, lint.id, said);
                    }
                }
                Look::Twins => {}
            }
        }
        for (role, id, what) in twins::find(&self.policy.roles) {
            remarks.add(self, role, id, vec![(Severity::Warning, String::new(), what)]);
        }
        let order = |it: &Remark| (it.severity, it.at.clone(), it.id);
        remarks.shown.sort_by_cached_key(order);
        remarks
    }
}

impl Remarks {
    fn add(&mut self, config: &Config, role: &Role, id: &'static str, said: Vec<Said>) {
        if role.accept.contains(id) {
            self.accepted += said.len();
            return;
        }
        let is_protected = config.environments.get(&role.environment).is_some_and(|it| it.protected);
        for (severity, below, what) in said {
            let is_graver = is_protected && role.access == Access::Write && severity == Severity::Warning;
            let severity = if is_graver { Severity::Error } else { severity };
            let at = config.place(&role.origin, &below);
            self.shown.push(Remark { severity, at, id, role: Some(role.name.clone()), what });
        }
    }
}
