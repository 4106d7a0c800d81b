//! Policies (C2SP tlog-policy): log keys, witnesses with where they are, groups of them, and a quorum.

use std::collections::HashMap;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::note::{KeyKind, VerifyingKey};

/// Whose word is enough (C2SP tlog-policy): log keys, witnesses, groups of them, and a quorum.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The logs' keys.
    pub logs: Vec<VerifyingKey>,
    /// The witnesses, by their names in the policy.
    members: HashMap<String, Member>,
    /// The member that must be satisfied; none if no witness is needed.
    quorum: Option<String>,
}

#[derive(Debug, Clone)]
enum Member {
    Witness(Box<VerifyingKey>, Option<String>),
    Group { threshold: usize, members: Vec<String> },
}

/// Why a policy is not one, or is not met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A line cannot be read.
    #[error("line {line}: {why}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The checkpoint itself was not accepted.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Too few witnesses cosigned.
    #[error("the quorum `{quorum}` is not met; cosigned by: {found}")]
    Quorum {
        /// The name of the quorum's group.
        quorum: String,
        /// The witnesses that did.
        found: String,
    },
}

impl Policy {
    /// Reads a policy. Every name must be defined before it is used, so that there are no circles.
    ///
    /// # Errors
    /// A line is wrong, or there is no `quorum` line.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let mut policy = Policy::default();
        let mut has_quorum = false;
        for (line, content) in (1..).zip(text.lines()) {
            let bad = |why| PolicyError::Malformed { line, why };
            let words: Vec<&str> = content.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key] | ["log", key, _] => {
                    let key: VerifyingKey = key.parse().map_err(|_| bad("not a verifier key"))?;
                    policy.logs.push(key);
                }
                ["witness", name, key, url @ ..] if url.len() < 2 => {
                    let key: VerifyingKey = key.parse().map_err(|_| bad("not a verifier key"))?;
                    if key.kind() != KeyKind::Cosignature {
                        return Err(bad("the key is not a witness's"));
                    }
                    let url = url.first().map(|url| (*url).trim_end_matches('/').to_owned());
                    policy.define(name, Member::Witness(Box::new(key), url)).map_err(bad)?;
                }
                ["group", name, threshold, members @ ..] if !members.is_empty() => {
                    let threshold = match *threshold {
                        "any" => 1,
                        "all" => members.len(),
                        number => {
                            number.parse().map_err(|_| bad("the threshold is not any, all or a number"))?
                        }
                    };
                    if threshold == 0 || threshold > members.len() {
                        return Err(bad("the threshold does not fit the members"));
                    }
                    if members.iter().any(|member| !policy.members.contains_key(*member)) {
                        return Err(bad("a member is not defined above"));
                    }
                    let members = members.iter().map(|member| (*member).to_owned()).collect();
                    policy.define(name, Member::Group { threshold, members }).map_err(bad)?;
                }
                ["quorum", name] if !has_quorum => {
                    has_quorum = true;
                    if *name != "none" {
                        if !policy.members.contains_key(*name) {
                            return Err(bad("the quorum is not defined above"));
                        }
                        policy.quorum = Some((*name).to_owned());
                    }
                }
                _ => return Err(bad("expected log, witness, group or one quorum")),
            }
        }
        if !has_quorum {
            return Err(PolicyError::Malformed {
                line: text.lines().count(),
                why: "there is no quorum line",
            });
        }
        Ok(policy)
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), &'static str> {
        if name == "none" || self.members.contains_key(name) {
            return Err("the name is taken");
        }
        self.members.insert(name.to_owned(), member);
        Ok(())
    }

    /// Every witness, with the prefix of its URL if the policy says it, sorted by name.
    pub fn witnesses(&self) -> Vec<(&VerifyingKey, Option<&str>)> {
        let mut all = Vec::new();
        for member in self.members.values() {
            if let Member::Witness(key, url) = member {
                all.push((&**key, url.as_deref()));
            }
        }
        all.sort_by_key(|(key, _)| key.to_string());
        all
    }

    /// The keys of logs and witnesses.
    pub fn keys(&self) -> Vec<VerifyingKey> {
        let witnesses = self.witnesses();
        self.logs.iter().chain(witnesses.into_iter().map(|(key, _)| key)).cloned().collect()
    }

    /// Checks a checkpoint: signed by the log, and cosigned by a quorum.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn verify(&self, note: &str, origin: &str) -> Result<SignedCheckpoint, PolicyError> {
        let keys = self.keys();
        let signed = SignedCheckpoint::verify(note, origin, &keys)?;
        self.is_quorum(&signed)?;
        Ok(signed)
    }

    /// Was a head cosigned by a quorum?
    ///
    /// # Errors
    /// It was not, or a known witness's line is wrong.
    pub fn is_quorum(&self, head: &SignedCheckpoint) -> Result<(), PolicyError> {
        let seen = head.witnesses(&self.keys()).map_err(CheckpointError::from)?;
        let seen: Vec<&VerifyingKey> = seen.iter().map(|vouched| &vouched.key).collect();
        match &self.quorum {
            Some(quorum) if !self.is_met(quorum, &seen) => {
                let mut found: Vec<&str> = seen.iter().map(|key| key.name()).collect();
                found.sort_unstable();
                let found = if found.is_empty() { "nobody".to_owned() } else { found.join(", ") };
                Err(PolicyError::Quorum { quorum: quorum.clone(), found })
            }
            _ => Ok(()),
        }
    }

    fn is_met(&self, name: &str, seen: &[&VerifyingKey]) -> bool {
        match self.members.get(name) {
            Some(Member::Witness(key, _)) => seen.contains(&&**key),
            Some(Member::Group { threshold, members }) => {
                members.iter().filter(|member| self.is_met(member, seen)).count() >= *threshold
            }
            None => false,
        }
    }
}
