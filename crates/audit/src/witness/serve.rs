//! Being a witness: check that a head extends the last one seen, keep it durably, and only then cosign.
//!
//! One file for each log, `<SHA-256 of the origin, in hex>/checkpoint`: the head with the log's and this witness's
//! signatures. It is what the read side gives out, too.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::{AddCheckpoint, WitnessError};
use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::clock::Clock;
use crate::files::{Files, Group};
use crate::note::{KeyKind, NoteError, SigningKey, VerifyingKey};

const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = "lock";
const TEXT: &str = "text/plain; charset=utf-8";
/// The type of a 409 answer.
const SIZE: &str = "text/x.tlog.size";

/// What to answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    fn text(status: u16, body: impl Into<String>) -> Reply {
        Reply { status, content_type: TEXT, body: body.into() }
    }
}

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WitnessKeyError {
    /// Cosignatures need a key of their own kind, which signs nothing else.
    #[error("`{0}` is not a witness's key")]
    Kind(String),
    /// Another process is this witness, or the directory cannot be used.
    #[error("the witness's directory: {0}")]
    Io(#[from] io::Error),
}

/// A witness of some logs.
pub struct Witness {
    files: Arc<dyn Files>,
    key: SigningKey,
    logs: Vec<VerifyingKey>,
    clock: Arc<dyn Clock>,
    /// Held from reading the head kept to keeping the next one.
    step: Mutex<()>,
    _lock: Box<dyn Send + Sync>,
}

impl Witness {
    /// A witness that keeps what it saw in `files`, for the logs that sign with `logs`.
    ///
    /// # Errors
    /// See [`WitnessKeyError`].
    pub fn open(
        files: Arc<dyn Files>,
        key: SigningKey,
        logs: Vec<VerifyingKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Witness, WitnessKeyError> {
        if key.verifying_key().kind() != KeyKind::Cosignature {
            return Err(WitnessKeyError::Kind(key.verifying_key().name().to_owned()));
        }
        let lock = files.lock(LOCK)?;
        Ok(Witness { files, key, logs, clock, step: Mutex::default(), _lock: lock })
    }

    /// Answers `POST <prefix>/add-checkpoint`.
    pub fn add_checkpoint(&self, body: &[u8]) -> Reply {
        let request = std::str::from_utf8(body).map_err(|_| WitnessError::Malformed("not text"));
        let request = match request.and_then(AddCheckpoint::parse) {
            Ok(request) => request,
            Err(e) => return Reply::text(400, format!("{e}\n")),
        };
        let origin = request.checkpoint.split('\n').next().unwrap_or_default();
        let keys: Vec<VerifyingKey> = self.logs.iter().filter(|key| key.name() == origin).cloned().collect();
        if keys.is_empty() {
            return Reply::text(404, "this log is not known here\n");
        }
        let _step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match self.seen(origin) {
            Ok(seen) => seen,
            Err(why) => return Reply::text(500, format!("what was seen last cannot be read: {why}\n")),
        };
        match request.check(&seen, &keys) {
            Ok(signed) => self.keep(origin, signed),
            Err(WitnessError::Conflict { seen, .. }) => {
                Reply { status: 409, content_type: SIZE, body: format!("{seen}\n") }
            }
            Err(WitnessError::Checkpoint(CheckpointError::Note(e)))
                if !matches!(e, NoteError::Malformed(_)) =>
            {
                Reply::text(403, format!("{e}\n"))
            }
            Err(WitnessError::Proof(e)) => Reply::text(422, format!("{e}\n")),
            Err(e) => Reply::text(400, format!("{e}\n")),
        }
    }

    /// Answers `GET <prefix>/<name>`: the head of a log that was cosigned last.
    pub fn get(&self, name: &str) -> Reply {
        let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let known = name.strip_suffix("/checkpoint").is_some_and(is_hex);
        let note = known.then(|| self.files.read(name).ok()).flatten();
        match note.and_then(|note| String::from_utf8(note).ok()) {
            Some(note) => Reply::text(200, note),
            None => Reply::text(404, "there is no such file\n"),
        }
    }

    /// The head of a log that was cosigned last; the empty one of a log that is new here.
    fn seen(&self, origin: &str) -> Result<Checkpoint, String> {
        let bytes = match self.files.read(&checkpoint_path(origin)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Checkpoint::empty(origin)),
            other => other.map_err(|e| e.to_string())?,
        };
        let note = String::from_utf8(bytes).map_err(|_| "not text")?;
        // The own signature: whoever can write the file cannot make the witness forget.
        let own = self.key.verifying_key().clone();
        let keys: Vec<VerifyingKey> = self.logs.iter().cloned().chain([own.clone()]).collect();
        let signed = SignedCheckpoint::verify(&note, origin, &keys).map_err(|e| e.to_string())?;
        let vouched = signed.witnesses(&[own]).map_err(|e| e.to_string())?;
        if vouched.is_empty() { Err("it is not cosigned".into()) } else { Ok(signed.checkpoint().clone()) }
    }

    fn keep(&self, origin: &str, mut signed: SignedCheckpoint) -> Reply {
        let now = u64::try_from(self.clock.now().as_second()).unwrap_or(0);
        let line = self.key.sign(&signed.note().text, now);
        let text = line.to_string();
        signed.add_signatures(vec![line]);
        let path = checkpoint_path(origin);
        let put = || {
            let mut group = Group::new(&*self.files);
            group.dir(crate::files::parent(&path))?;
            group.put(&path, signed.to_string().as_bytes())?;
            group.finish()
        };
        // Stop here: kept but not answered; asked again, the head is cosigned again.
        match put() {
            Ok(()) => Reply::text(200, text),
            Err(e) => Reply::text(500, format!("the head cannot be kept: {e}\n")),
        }
    }
}

/// Where a checkpoint of a log is kept beside those of others: `<SHA-256 of the origin, in hex>/checkpoint`.
pub fn checkpoint_path(origin: &str) -> String {
    let mut path = String::with_capacity(80);
    for byte in Sha256::digest(origin.as_bytes()) {
        write!(path, "{byte:02x}").expect("strings grow");
    }
    path + "/" + CHECKPOINT
}
