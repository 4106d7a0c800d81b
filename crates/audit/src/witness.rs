//! Witnesses (C2SP tlog-witness, tlog-policy): asking others to cosign a head, and saying whose word is enough.
//!
//! The transport is the caller's: this module makes the body of `POST <prefix>/add-checkpoint` and reads the answer.

use std::collections::HashMap;
use std::fmt::Write;

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::note::{KeyKind, NoteError, Signature, VerifyingKey};
use crate::reader::{ReadError, Reader};
use crate::tree::{Hash, MAX_PROOF, ProofError, verify_consistency};

/// The body of `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness saw last.
    pub old: u64,
    /// The proof that the checkpoint extends it.
    pub proof: Vec<Hash>,
    /// The checkpoint, as a note.
    pub checkpoint: String,
}

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It cosigned.
    Cosigned(Vec<Signature>),
    /// It has seen another size: ask again from there, if the log goes that far. If it does not, the log went
    /// backwards.
    Seen(u64),
}

/// Why a witness did not cosign, or a request to one is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The body is not a request.
    #[error("not an add-checkpoint request: {0}")]
    Malformed(&'static str),
    /// The checkpoint was not accepted.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The proof was not accepted.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The request starts from another size than the one seen last.
    #[error("the request extends {asked} entries, but {seen} were seen last")]
    Conflict {
        /// The size in the request.
        asked: u64,
        /// The size seen last.
        seen: u64,
    },
    /// The witness does not know the log, does not trust the key, or finds the proof wrong.
    #[error("the witness answered {status}: {meaning}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the specification says it means.
        meaning: &'static str,
    },
}

impl AddCheckpoint {
    /// The request that brings a witness from `old` entries to the published head.
    ///
    /// # Errors
    /// Tiles cannot be read, or `old` is beyond the head.
    pub fn from_reader(reader: &Reader, old: u64) -> Result<AddCheckpoint, ReadError> {
        Ok(AddCheckpoint { old, proof: reader.consistency(old)?, checkpoint: reader.head().to_string() })
    }

    /// The body to send.
    pub fn body(&self) -> String {
        let mut body = format!("old {}\n", self.old);
        for hash in &self.proof {
            writeln!(body, "{hash}").expect("strings grow");
        }
        body.push('\n');
        body.push_str(&self.checkpoint);
        body
    }

    /// Reads a body, as a witness.
    ///
    /// # Errors
    /// It is not a request.
    pub fn parse(body: &str) -> Result<AddCheckpoint, WitnessError> {
        let bad = WitnessError::Malformed;
        let (head, checkpoint) = body.split_once("\n\n").ok_or(bad("no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(bad("no `old` line"))?;
        let size: u64 = old.parse().map_err(|_| bad("the old size is not a number"))?;
        if size.to_string() != old {
            return Err(bad("the old size is not in its shortest form"));
        }
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF {
                return Err(bad("the proof is too long"));
            }
            proof.push(line.parse().map_err(|_| bad("a proof line is not a hash"))?);
        }
        Ok(AddCheckpoint { old: size, proof, checkpoint: checkpoint.to_owned() })
    }

    /// Checks a request against what was seen last of this log. The caller keeps the result durably before it
    /// cosigns, in one atomic step.
    ///
    /// # Errors
    /// See [`WitnessError`].
    pub fn check(&self, seen: &Checkpoint, keys: &[VerifyingKey]) -> Result<SignedCheckpoint, WitnessError> {
        let signed = SignedCheckpoint::verify(&self.checkpoint, &seen.origin, keys)?;
        if self.old != seen.size {
            return Err(WitnessError::Conflict { asked: self.old, seen: seen.size });
        }
        let head = signed.checkpoint();
        verify_consistency(seen.size, head.size, &self.proof, &seen.root, &head.root)?;
        Ok(signed)
    }
}

/// Reads a witness's answer. Cosignatures still have to be verified: [`SignedCheckpoint::add_signatures`], then
/// [`SignedCheckpoint::witnesses`].
///
/// # Errors
/// It refused, or the answer is not one.
pub fn read_answer(status: u16, body: &str) -> Result<Answer, WitnessError> {
    let refused = |meaning| Err(WitnessError::Refused { status, meaning });
    match status {
        200 => {
            let lines = body.lines().map(str::parse).collect::<Result<Vec<Signature>, NoteError>>();
            match lines {
                Ok(lines) if !lines.is_empty() && lines.len() <= 16 => Ok(Answer::Cosigned(lines)),
                _ => Err(WitnessError::Malformed("the answer has no signature lines")),
            }
        }
        409 => match body.trim_end().parse() {
            Ok(size) => Ok(Answer::Seen(size)),
            Err(_) => Err(WitnessError::Malformed("the answer is not a size")),
        },
        400 => refused("the request is wrong"),
        403 => refused("it trusts none of the signatures"),
        404 => refused("it does not know the log"),
        422 => refused("the proof is wrong, or it saw another head of the same size"),
        _ => refused("an unexpected status"),
    }
}

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
    Witness(Box<VerifyingKey>),
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
                ["witness", name, key] | ["witness", name, key, _] => {
                    let key: VerifyingKey = key.parse().map_err(|_| bad("not a verifier key"))?;
                    if key.kind() != KeyKind::Cosignature {
                        return Err(bad("the key is not a witness's"));
                    }
                    policy.define(name, Member::Witness(Box::new(key))).map_err(bad)?;
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

    /// Checks a checkpoint: signed by the log, and cosigned by a quorum.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn verify(&self, note: &str, origin: &str) -> Result<SignedCheckpoint, PolicyError> {
        let mut keys = self.logs.clone();
        for member in self.members.values() {
            if let Member::Witness(key) = member {
                keys.push((**key).clone());
            }
        }
        let signed = SignedCheckpoint::verify(note, origin, &keys)?;
        let seen = signed.witnesses(&keys).map_err(CheckpointError::from)?;
        let seen: Vec<&VerifyingKey> = seen.iter().map(|vouched| &vouched.key).collect();
        match &self.quorum {
            Some(quorum) if !self.is_met(quorum, &seen) => {
                let mut found: Vec<&str> = seen.iter().map(|key| key.name()).collect();
                found.sort_unstable();
                Err(PolicyError::Quorum { quorum: quorum.clone(), found: found.join(", ") })
            }
            _ => Ok(signed),
        }
    }

    fn is_met(&self, name: &str, seen: &[&VerifyingKey]) -> bool {
        match self.members.get(name) {
            Some(Member::Witness(key)) => seen.contains(&&**key),
            Some(Member::Group { threshold, members }) => {
                members.iter().filter(|member| self.is_met(member, seen)).count() >= *threshold
            }
            None => false,
        }
    }
}
