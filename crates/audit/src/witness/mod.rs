//! Witnesses (C2SP tlog-witness, tlog-policy): asking others to cosign a head, being one, and whose word is enough.
//!
//! The transport is the caller's: this module makes the body of `POST <prefix>/add-checkpoint` and reads the answer, and
//! the other way round.

mod ask;
mod policy;
mod serve;

use std::fmt::Write;

pub use ask::{CosignError, Cosigners, Transport, Witnesses};
pub use policy::{Policy, PolicyError};
pub use serve::{Reply, Witness, WitnessKeyError, checkpoint_path};

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::note::{NoteError, Signature, VerifyingKey};
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
