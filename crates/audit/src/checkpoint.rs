//! Checkpoints (C2SP tlog-checkpoint): a log's signed statement of its size and root.
//!
//! Two checkpoints of one log that contradict each other end the log, so signing goes through one function,
//! [`Checkpoint::sign_after`], which wants the proof that the new head extends the last durable one.

use std::fmt;
use std::str::FromStr;

use crate::note::{KeyKind, Note, NoteError, Signature, SigningKey, VerifyingKey, Vouched, is_key_name};
use crate::tree::{Hash, ProofError, empty_root, verify_consistency};

/// Why a checkpoint was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it is wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text inside is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// It speaks for another log.
    #[error("the checkpoint is of log `{found}`, not of `{expected}`")]
    Origin {
        /// The log that was asked for.
        expected: String,
        /// The log it is of.
        found: String,
    },
    /// The head to be signed does not extend the last one.
    #[error("the new head does not extend the last signed one: {0}")]
    Contradiction(#[from] ProofError),
}

/// Size and root of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: a URL without scheme and trailing slash. It never changes.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint of a log without entries.
    pub fn empty(origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: 0, root: empty_root() }
    }

    /// Signs this head, which extends `last` as `proof` shows, with each of `keys`.
    ///
    /// # Errors
    /// The origin differs, or the proof does not show that this head extends `last`.
    pub fn sign_after(
        &self,
        last: &Checkpoint,
        proof: &[Hash],
        keys: &[SigningKey],
    ) -> Result<SignedCheckpoint, CheckpointError> {
        if last.origin != self.origin {
            return Err(CheckpointError::Origin {
                expected: last.origin.clone(),
                found: self.origin.clone(),
            });
        }
        verify_consistency(last.size, self.size, proof, &last.root, &self.root)?;
        let text = self.to_string();
        let signatures = keys.iter().map(|key| key.sign(&text, 0)).collect();
        Ok(SignedCheckpoint { checkpoint: self.clone(), note: Note { text, signatures } })
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Extension lines are allowed and ignored.
    fn from_str(text: &str) -> Result<Checkpoint, CheckpointError> {
        let bad = CheckpointError::Malformed;
        let mut lines = text.strip_suffix('\n').ok_or(bad("the last line does not end"))?.split('\n');
        let origin = lines.next().filter(|line| is_key_name(line)).ok_or(bad("no origin"))?;
        let digits = lines.next().ok_or(bad("no size"))?;
        let size: u64 = digits.parse().map_err(|_| bad("the size is not a number"))?;
        if size.to_string() != digits {
            return Err(bad("the size is not in its shortest form"));
        }
        let hash = lines.next().ok_or(bad("no root"))?;
        let root: Hash = hash.parse().map_err(|_| bad("the root is not a hash in base64"))?;
        if root.to_string() != hash || (size == 0) != (root == empty_root()) {
            return Err(bad("the root does not fit"));
        }
        if lines.any(str::is_empty) {
            return Err(bad("an extension line is empty"));
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }
}

/// A checkpoint with its signatures. Made by signing, or by [`SignedCheckpoint::verify`] alone: whoever holds one
/// knows that a known key of the log signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads a note and checks it: it must be of `origin`, and signed by a log key of `keys`.
    ///
    /// # Errors
    /// See [`CheckpointError`]. Witness keys among `keys` are checked where they signed, but do not suffice.
    pub fn verify(
        note: &str,
        origin: &str,
        keys: &[VerifyingKey],
    ) -> Result<SignedCheckpoint, CheckpointError> {
        let note: Note = note.parse()?;
        let checkpoint: Checkpoint = note.text.parse()?;
        if checkpoint.origin != origin {
            return Err(CheckpointError::Origin { expected: origin.to_owned(), found: checkpoint.origin });
        }
        let (logs, witnesses): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|key| key.kind() == KeyKind::Ed25519);
        note.verify(&logs)?;
        match note.verify(&witnesses) {
            Ok(_) | Err(NoteError::NoKnownSignature { .. }) => Ok(SignedCheckpoint { checkpoint, note }),
            Err(e) => Err(e.into()),
        }
    }

    /// Size and root.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note, as it is served and stored.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Adds cosignatures. The same key's older line is replaced.
    pub fn add_signatures(&mut self, signatures: Vec<Signature>) {
        for signature in signatures {
            self.note.signatures.retain(|old| old.id != signature.id || old.name != signature.name);
            self.note.signatures.push(signature);
        }
    }

    /// The same head without the lines of these keys.
    pub(crate) fn without(mut self, keys: &[VerifyingKey]) -> SignedCheckpoint {
        let is_theirs =
            |line: &Signature| keys.iter().any(|key| key.id() == line.id && key.name() == line.name);
        self.note.signatures.retain(|line| !is_theirs(line));
        self
    }

    /// The witnesses of `keys` that cosigned, with the time they say.
    ///
    /// # Errors
    /// A known witness's line is wrong.
    pub fn witnesses(&self, keys: &[VerifyingKey]) -> Result<Vec<Vouched>, NoteError> {
        let witnesses: Vec<_> =
            keys.iter().filter(|key| key.kind() == KeyKind::Cosignature).cloned().collect();
        match self.note.verify(&witnesses) {
            Err(NoteError::NoKnownSignature { .. }) => Ok(Vec::new()),
            other => other,
        }
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}
