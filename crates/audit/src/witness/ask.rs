//! Asking witnesses for a head that is about to be published.
//!
//! A witness remembers the last head it cosigned, and cosigns only what extends it. So asking before anything is
//! appended also shows a log that went backwards: the witness has seen more than there is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{AddCheckpoint, Answer, Policy, PolicyError, WitnessError, read_answer};
use crate::checkpoint::SignedCheckpoint;
use crate::note::{Signature, VerifyingKey};
use crate::reader::ReadError;
use crate::tree::Hash;

/// Why a head was not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignError {
    /// A witness has seen a longer log, or another one of this size: this one went backwards or forked. It ends here.
    #[error("witness `{witness}` has seen another log: {why}")]
    Contradicted {
        /// The witness's name.
        witness: String,
        /// What it answered.
        why: String,
    },
    /// Too few witnesses answered; they may later.
    #[error("{why}; not answered: {failed}")]
    Late {
        /// Which quorum is not met.
        why: PolicyError,
        /// Who did not cosign, and why.
        failed: String,
    },
}

/// Cosigns heads before they are published.
pub trait Cosigners: Send + Sync {
    /// The cosignatures of `head`. `prove` gives the proof that it extends the log of an older size.
    ///
    /// # Errors
    /// See [`CosignError`].
    fn cosign(
        &self,
        head: &SignedCheckpoint,
        prove: &(dyn Fn(u64) -> Result<Vec<Hash>, ReadError> + Sync),
    ) -> Result<Vec<Signature>, CosignError>;
}

/// The way to a witness.
pub trait Transport: Send + Sync {
    /// Posts `body` to `<prefix>/add-checkpoint`; status and body of the answer. It must end within seconds.
    ///
    /// # Errors
    /// There was no answer, in words.
    fn add_checkpoint(&self, prefix: &str, body: &str) -> Result<(u16, String), String>;
}

/// The witnesses of a policy, asked all at once.
pub struct Witnesses<T> {
    policy: Policy,
    transport: T,
    /// The size that each witness cosigned last, as far as this process knows; held to look and to note.
    seen: Mutex<HashMap<String, u64>>,
}

impl<T: Transport> Witnesses<T> {
    /// The witnesses of `policy` that have a URL there.
    pub fn new(policy: Policy, transport: T) -> Witnesses<T> {
        Witnesses { policy, transport, seen: Mutex::default() }
    }

    fn last(&self, key: &VerifyingKey) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&key.to_string()).copied().unwrap_or(0)
    }

    fn note(&self, key: &VerifyingKey, size: u64) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_string(), size);
    }

    /// One witness: from the size it is believed to know, and once more from the size that it says.
    fn ask(
        &self,
        key: &VerifyingKey,
        prefix: &str,
        head: &SignedCheckpoint,
        prove: &(dyn Fn(u64) -> Result<Vec<Hash>, ReadError> + Sync),
    ) -> Result<Vec<Signature>, Refusal> {
        let size = head.checkpoint().size;
        let contradicted =
            |why: String| Refusal::Log(CosignError::Contradicted { witness: key.name().into(), why });
        let mut old = self.last(key).min(size);
        for _ in 0..2 {
            let proof = prove(old).map_err(|e| Refusal::Witness(e.to_string()))?;
            let request = AddCheckpoint { old, proof, checkpoint: head.to_string() };
            let (status, body) =
                self.transport.add_checkpoint(prefix, &request.body()).map_err(Refusal::Witness)?;
            match read_answer(status, &body) {
                Ok(Answer::Cosigned(lines)) => {
                    let lines = own_lines(head, key, lines)?;
                    self.note(key, size);
                    return Ok(lines);
                }
                Ok(Answer::Seen(seen)) if seen > size => {
                    return Err(contradicted(format!("it has {seen} entries, this one has {size}")));
                }
                Ok(Answer::Seen(seen)) => old = seen,
                Err(e @ WitnessError::Refused { status: 422, .. }) => {
                    return Err(contradicted(e.to_string()));
                }
                Err(e) => return Err(Refusal::Witness(e.to_string())),
            }
        }
        Err(Refusal::Witness("it says another size each time".into()))
    }
}

enum Refusal {
    /// This log is not to go on.
    Log(CosignError),
    /// This witness does not help now.
    Witness(String),
}

/// The lines of that witness, which must be right.
fn own_lines(
    head: &SignedCheckpoint,
    key: &VerifyingKey,
    mut lines: Vec<Signature>,
) -> Result<Vec<Signature>, Refusal> {
    lines.retain(|line| line.id == key.id() && line.name == key.name());
    let mut cosigned = head.clone();
    cosigned.add_signatures(lines.clone());
    match cosigned.witnesses(std::slice::from_ref(key)) {
        Ok(found) if !found.is_empty() => Ok(lines),
        Ok(_) => Err(Refusal::Witness("it cosigned with another key".into())),
        Err(e) => Err(Refusal::Witness(e.to_string())),
    }
}

impl<T: Transport> Cosigners for Witnesses<T> {
    fn cosign(
        &self,
        head: &SignedCheckpoint,
        prove: &(dyn Fn(u64) -> Result<Vec<Hash>, ReadError> + Sync),
    ) -> Result<Vec<Signature>, CosignError> {
        let witnesses = self.policy.witnesses();
        // What was cosigned before says nothing of now: a restored head brings its old lines with it.
        let keys: Vec<VerifyingKey> = witnesses.iter().map(|(key, _)| (*key).clone()).collect();
        let head = &head.clone().without(&keys);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = witnesses
                .iter()
                .filter_map(|(key, prefix)| Some((*key, (*prefix)?)))
                .map(|(key, prefix)| (key, scope.spawn(move || self.ask(key, prefix, head, prove))))
                .collect();
            let lost = || Err(Refusal::Witness("asking it failed".into()));
            asked.into_iter().map(|(key, thread)| (key, thread.join().unwrap_or_else(|_| lost()))).collect()
        });
        let (mut lines, mut failed) = (Vec::new(), Vec::new());
        for (key, answer) in answers {
            match answer {
                Ok(found) => lines.extend(found),
                Err(Refusal::Log(error)) => return Err(error),
                Err(Refusal::Witness(why)) => failed.push(format!("{}: {why}", key.name())),
            }
        }
        let mut cosigned = head.clone();
        cosigned.add_signatures(lines.clone());
        match self.policy.is_quorum(&cosigned) {
            Ok(()) => Ok(lines),
            Err(why) => Err(CosignError::Late { why, failed: failed.join("; ") }),
        }
    }
}
