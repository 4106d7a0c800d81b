//! Signed notes (C2SP signed-note): a text, a blank line, and signatures by named keys.
//!
//! Only Ed25519 signs (type 0x01, and 0x04 for cosignatures by witnesses), but every key carries its type, so that
//! another algorithm is one more arm. Signatures by unknown keys are skipped, as the format wants; a *known* key with
//! a bad signature rejects the whole note.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The largest note that is read, in bytes: a checkpoint with some hundred cosignatures fits.
pub const MAX_NOTE: usize = 1 << 20;
/// The most signatures a note may carry. The format asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// Why a note or key was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text is not a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// A key in text form is wrong.
    #[error("not a key: {0}")]
    BadKey(&'static str),
    /// A known key's signature does not match the text.
    #[error("the signature by `{name}` is wrong")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// None of the known keys signed.
    #[error("no signature by a known key (signed by: {found})")]
    NoKnownSignature {
        /// The names that did sign, separated by commas.
        found: String,
    },
}

/// What a key is for; the number is part of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// 0x01: signs notes.
    Ed25519,
    /// 0x04: a witness's, signs a checkpoint and the time at which it was seen.
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            KeyKind::Ed25519 => 0x01,
            KeyKind::Cosignature => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<KeyKind> {
        [KeyKind::Ed25519, KeyKind::Cosignature].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// A name that a key may have: not empty, no space, no `+`, no control character.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn key_id(name: &str, kind: KeyKind, public: &[u8]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update([b'\n', kind.byte()]);
    hasher.update(public);
    let digest = hasher.finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A public key with its name, as `name+id+base64` (Go's verifier key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    kind: KeyKind,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// The key's name; for a log's key, the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key is for.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The first four bytes of the hash over name, kind and key.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    fn has_signed(&self, signature: &Signature) -> bool {
        self.id == signature.id && self.name == signature.name
    }

    /// Checks one signature over `text`. For a witness's key, gives the time (seconds since 1970) it vouches for.
    fn check(&self, text: &str, signature: &Signature) -> Option<u64> {
        let (time, message, raw) = match self.kind {
            KeyKind::Ed25519 => (0, text.to_owned(), signature.bytes.as_slice()),
            KeyKind::Cosignature => {
                let (time, raw) = signature.bytes.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                (time, cosigned_message(time, text), raw)
            }
        };
        let raw = ed25519_dalek::Signature::from_slice(raw).ok()?;
        // Strict: no second key or malleated signature may pass for the same text.
        self.key.verify_strict(message.as_bytes(), &raw).ok().map(|()| time)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raw = vec![self.kind.byte()];
        raw.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(raw))
    }
}

impl FromStr for VerifyingKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<VerifyingKey, NoteError> {
        let bad = NoteError::BadKey;
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(raw)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("expected name+id+base64"));
        };
        if !is_key_name(name) {
            return Err(bad("the name is empty or has a space or `+`"));
        }
        let raw = STANDARD.decode(raw).map_err(|_| bad("the last part is not base64"))?;
        let (&kind, public) = raw.split_first().ok_or(bad("the last part is empty"))?;
        let kind = KeyKind::from_byte(kind).ok_or(bad("unknown key type"))?;
        let public: [u8; 32] = public.try_into().map_err(|_| bad("the key is not 32 bytes long"))?;
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(&public).map_err(|_| bad("not a point of the curve"))?;
        let expected = key_id(name, kind, &public);
        if hex::encode(expected) != id {
            return Err(bad("the id does not fit the name and the key"));
        }
        Ok(VerifyingKey { name: name.to_owned(), kind, id: expected, key })
    }
}

/// A private key with its name. No `Display`, no `Clone`; [`expose`](SigningKey::expose) is the one way out.
pub struct SigningKey {
    public: VerifyingKey,
    key: ed25519_dalek::SigningKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ..)", self.public.name)
    }
}

impl SigningKey {
    /// A new random key.
    ///
    /// # Errors
    /// The name is not allowed, or the system gave no random bytes.
    pub fn generate(name: &str, kind: KeyKind) -> Result<SigningKey, NoteError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| NoteError::BadKey("no random bytes from the system"))?;
        SigningKey::from_seed(name, kind, &seed)
    }

    /// The key that grows from this seed.
    ///
    /// # Errors
    /// The name is not allowed.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<SigningKey, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::BadKey("the name is empty or has a space or `+`"));
        }
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifying = key.verifying_key();
        let id = key_id(name, kind, verifying.as_bytes());
        Ok(SigningKey { public: VerifyingKey { name: name.to_owned(), kind, id, key: verifying }, key })
    }

    /// Reads the private form that [`expose`](SigningKey::expose) writes (Go's `PRIVATE+KEY+...`).
    ///
    /// # Errors
    /// The text is not such a key. The message never quotes it.
    pub fn parse(text: &str) -> Result<SigningKey, NoteError> {
        let bad = NoteError::BadKey;
        let rest = text.trim().strip_prefix("PRIVATE+KEY+").ok_or(bad("expected PRIVATE+KEY+..."))?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(raw)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("expected PRIVATE+KEY+name+id+base64"));
        };
        let raw = Zeroizing::new(STANDARD.decode(raw).map_err(|_| bad("the last part is not base64"))?);
        let (&kind, seed) = raw.split_first().ok_or(bad("the last part is empty"))?;
        let kind = KeyKind::from_byte(kind).ok_or(bad("unknown key type"))?;
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| bad("the seed is not 32 bytes"))?);
        let key = SigningKey::from_seed(name, kind, &seed)?;
        if hex::encode(key.public.id) != id {
            return Err(bad("the id does not fit the name and the key"));
        }
        Ok(key)
    }

    /// The private form, to be written to a file that only its owner may read.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut raw = Zeroizing::new(vec![self.public.kind.byte()]);
        raw.extend_from_slice(self.key.as_bytes());
        let encoded = Zeroizing::new(STANDARD.encode(raw.as_slice()));
        Zeroizing::new(format!(
            "PRIVATE+KEY+{}+{}+{}",
            self.public.name,
            hex::encode(self.public.id),
            *encoded
        ))
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs a text (kind [`KeyKind::Ed25519`]), or cosigns a checkpoint seen at `time` seconds since 1970.
    pub fn sign(&self, text: &str, time: u64) -> Signature {
        let bytes = match self.public.kind {
            KeyKind::Ed25519 => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            KeyKind::Cosignature => {
                let mut bytes = time.to_be_bytes().to_vec();
                bytes.extend_from_slice(&self.key.sign(cosigned_message(time, text).as_bytes()).to_bytes());
                bytes
            }
        };
        Signature { name: self.public.name.clone(), id: self.public.id, bytes }
    }
}

fn cosigned_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name of the key that signed.
    pub name: String,
    /// Its id.
    pub id: [u8; 4],
    /// What follows the id: for Ed25519 the 64 bytes, for a cosignature the time before them.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = [self.id.as_slice(), &self.bytes].concat();
        writeln!(f, "— {} {}", self.name, STANDARD.encode(raw))
    }
}

impl FromStr for Signature {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Signature, NoteError> {
        let bad = NoteError::Malformed("a signature line is not `— name base64`");
        let (name, raw) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(|| bad.clone())?;
        let raw = STANDARD.decode(raw).map_err(|_| bad.clone())?;
        match raw.split_first_chunk::<4>() {
            Some((id, bytes)) if is_key_name(name) && !bytes.is_empty() => {
                Ok(Signature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
            }
            _ => Err(bad),
        }
    }
}

/// A key that vouched for a note, and when, if it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// The key.
    pub key: VerifyingKey,
    /// Seconds since 1970, from a witness; 0 from a log's own key.
    pub time: u64,
}

/// A text with its signatures, as read: nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The signed text, with its last line feed.
    pub text: String,
    /// Signatures in the order of the note.
    pub signatures: Vec<Signature>,
}

impl Note {
    /// Checks the signatures of `keys`.
    ///
    /// # Errors
    /// A key of `keys` has signed wrongly, or none of them has signed.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Vec<Vouched>, NoteError> {
        let mut vouched: Vec<Vouched> = Vec::new();
        for signature in &self.signatures {
            for key in keys.iter().filter(|key| key.has_signed(signature)) {
                let time = key
                    .check(&self.text, signature)
                    .ok_or_else(|| NoteError::BadSignature { name: key.name.clone() })?;
                if !vouched.iter().any(|known| known.key == *key) {
                    vouched.push(Vouched { key: key.clone(), time });
                }
            }
        }
        if vouched.is_empty() {
            let names: Vec<&str> = self.signatures.iter().map(|s| s.name.as_str()).collect();
            return Err(NoteError::NoKnownSignature { found: names.join(", ") });
        }
        Ok(vouched)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| write!(f, "{signature}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Note, NoteError> {
        let bad = NoteError::Malformed;
        if note.len() > MAX_NOTE {
            return Err(bad("too long"));
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(bad("has control characters"));
        }
        let split = note.rfind("\n\n").ok_or(bad("no blank line before the signatures"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(bad("the last line does not end"))?;
        let signatures = lines.split('\n').map(str::parse).collect::<Result<Vec<Signature>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(bad("too many signatures"));
        }
        Ok(Note { text: text.to_owned(), signatures })
    }
}
