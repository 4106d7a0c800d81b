//! Sealing what must rest in the store and still be read again: AES-256-GCM under the broker's master key.
//!
//! A sealed value is bound to its place (table, row, column) by its associated data: moved elsewhere, it does not open.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::secret::{self, Secret};

const NONCE: usize = 12;
const TAG: usize = 16;

/// Why a value did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key it was sealed under is not configured any more.
    #[error("sealed under key `{0}`, which is not configured; add it to the list of old keys")]
    UnknownKey(String),
    /// Damaged, moved, or sealed under another key of the same name.
    #[error("the sealed value does not open: damaged, moved from another row, or the key is a different one")]
    Broken,
    /// A master key must have 32 bytes.
    #[error("the master key has {0} bytes; it must have 32")]
    KeyLength(usize),
}

/// Seals under the newest key, opens under any that is configured.
pub struct Seal {
    current: String,
    keys: BTreeMap<String, LessSafeKey>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Seal {
    /// With one key, of 32 bytes, named `id`.
    ///
    /// # Errors
    /// The key has another length.
    pub fn new(id: impl Into<String>, key: &Secret) -> Result<Seal, SealError> {
        let id = id.into();
        let mut seal = Seal { current: id.clone(), keys: BTreeMap::new() };
        seal.add(id, key)?;
        Ok(seal)
    }

    /// With a key that nobody else knows and that is gone with the process: for the in-memory store.
    pub fn ephemeral() -> Seal {
        let key = Secret::new(secret::random::<32>().to_vec());
        Seal::new("ephemeral", &key).expect("the key has 32 bytes")
    }

    /// Adds an older key, with which values are opened and not sealed.
    ///
    /// # Errors
    /// The key has not 32 bytes.
    pub fn add(&mut self, id: impl Into<String>, key: &Secret) -> Result<(), SealError> {
        let unbound =
            UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| SealError::KeyLength(key.len()))?;
        self.keys.insert(id.into(), LessSafeKey::new(unbound));
        Ok(())
    }

    /// The name of the key that seals now.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// The name of the key under which `sealed` lies, if it can be told.
    pub fn key_of(sealed: &[u8]) -> Option<&str> {
        let length = usize::from(*sealed.first()?);
        std::str::from_utf8(sealed.get(1..=length)?).ok()
    }

    /// Seals `value` for `place`, for example `lease/ID/reference`.
    ///
    /// # Panics
    /// The key's name is longer than 255 bytes, which configuration does not allow.
    pub fn seal(&self, place: &str, value: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = secret::random();
        let length = u8::try_from(self.current.len()).expect("key names are short");
        let mut out = Vec::with_capacity(1 + self.current.len() + NONCE + value.len() + TAG);
        out.push(length);
        out.extend_from_slice(self.current.as_bytes());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(value);
        let tag = self.keys[&self.current]
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut out[start..],
            )
            .expect("values are far below the cipher's limit");
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret, SealError> {
        let id = Seal::key_of(sealed).ok_or(SealError::Broken)?;
        let key = self.keys.get(id).ok_or_else(|| SealError::UnknownKey(id.to_owned()))?;
        let rest = &sealed[1 + id.len()..];
        let (nonce, body) = rest.split_at_checked(NONCE).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut body = zeroize::Zeroizing::new(body.to_vec());
        let plain = key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut body)
            .map_err(|_| SealError::Broken)?;
        Ok(Secret::new(plain.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_in_its_place() {
        let seal = Seal::ephemeral();
        let sealed = seal.seal("lease/1", b"value");
        assert!(seal.open("lease/1", &sealed).expect("opens").matches(b"value"));
        assert_eq!(seal.open("lease/2", &sealed).err(), Some(SealError::Broken));
    }

    #[test]
    fn every_damage_is_noticed() {
        let seal = Seal::ephemeral();
        let sealed = seal.seal("p", b"value");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(seal.open("p", &bad).is_err(), "byte {at}");
            assert!(seal.open("p", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn old_keys_open_and_new_ones_seal() {
        let (old, new) = (secret::password(32), secret::password(32));
        let before = Seal::new("2025", &old).expect("32 bytes").seal("p", b"v");
        let mut seal = Seal::new("2026", &new).expect("32 bytes");
        assert_eq!(seal.open("p", &before).err(), Some(SealError::UnknownKey("2025".into())));
        seal.add("2025", &old).expect("32 bytes");
        assert!(seal.open("p", &before).is_ok());
        assert_eq!(Seal::key_of(&seal.seal("p", b"v")), Some("2026"));
    }
}
