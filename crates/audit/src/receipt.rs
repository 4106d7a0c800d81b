//! Receipts (C2SP tlog-proof): what an appender takes home, checkable offline and without trust in the operator.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::note::{MAX_NOTE, VerifyingKey};
use crate::tree::{Hash, MAX_PROOF, ProofError, leaf_hash, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The longest `extra` that is read, in bytes of text.
const MAX_EXTRA: usize = 1 << 16;

/// Why a receipt was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The text is not a receipt.
    #[error("not a receipt: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is wrong.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its proof is wrong.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// The proof that one entry is in a log. As read: nothing is verified before [`Receipt::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's index.
    pub index: u64,
    /// The inclusion proof, leaf side first.
    pub proof: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
    /// Bytes for the application. The log does not authenticate them.
    pub extra: Option<Vec<u8>>,
}

impl Receipt {
    /// Checks that `entry` is in the log `origin`, whose checkpoint a key of `keys` signed.
    ///
    /// The size of the tree is taken from the signed checkpoint only.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn verify(
        &self,
        entry: &[u8],
        origin: &str,
        keys: &[VerifyingKey],
    ) -> Result<SignedCheckpoint, ReceiptError> {
        let signed = SignedCheckpoint::verify(&self.checkpoint, origin, keys)?;
        let head = signed.checkpoint();
        verify_inclusion(leaf_hash(entry), self.index, head.size, &self.proof, &head.root)?;
        Ok(signed)
    }

    /// The origin that the receipt claims, before anything is verified: to look up the keys with.
    pub fn claimed_origin(&self) -> Option<&str> {
        self.checkpoint.split('\n').next()
    }

    /// The checkpoint that the receipt claims, before anything is verified.
    pub fn claimed_checkpoint(&self) -> Option<Checkpoint> {
        let end = self.checkpoint.rfind("\n\n")?;
        self.checkpoint[..=end].parse().ok()
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Receipt, ReceiptError> {
        let bad = ReceiptError::Malformed;
        if text.len() > MAX_NOTE {
            return Err(bad("too long"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(bad("the first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) if line.len() <= MAX_EXTRA => {
                Some(STANDARD.decode(&line["extra ".len()..]).map_err(|_| bad("`extra` is not base64"))?)
            }
            Some(_) => return Err(bad("`extra` is too long")),
            None => None,
        };
        let digits =
            lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(bad("no `index` line"))?;
        let index: u64 = digits.parse().map_err(|_| bad("the index is not a number"))?;
        if index.to_string() != digits {
            return Err(bad("the index is not in its shortest form"));
        }
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF {
                return Err(ProofError::Length { found: MAX_PROOF + 1 }.into());
            }
            let hash: Hash = line.parse().map_err(|_| bad("a proof line is not a hash in base64"))?;
            proof.push(hash);
        }
        Ok(Receipt { index, proof, checkpoint: checkpoint.to_owned(), extra })
    }
}
