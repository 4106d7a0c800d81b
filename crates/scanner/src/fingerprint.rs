//! Fingerprints: names for secrets that may be written down.
//!
//! A fingerprint depends on the rule and the value only, so it survives moved lines, renamed files and rewritten
//! histories. What it must withstand is guessing: baselines and ignore files are committed, and a plain hash of
//! `hunter2` is `hunter2`.
//!
//! - With a **key** (`CLAVIGER_FINGERPRINT_KEY`, 16 bytes or more, the same on every machine), it is
//!   HMAC-SHA-256: without the key no guess can be checked at all.
//! - Without one it is **salted and slow**: scrypt (RFC 7914) with 2^10 rounds of 8 blocks, 1 MiB for each guess. The
//!   salt is the project's own, from `claviger.yaml`, the ignore file or the baseline; without any it is a constant,
//!   and a table made once serves against all such projects.
//! - A value that a machine made (20 characters or more that look random) cannot be guessed; it gets the HMAC with the salt as key, which
//!   is quick.
//!
//! What stays possible without a key: checking a guess of a weak password at some 400 guesses a second and core, and
//! seeing that two places hold the same secret.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::check::entropy;
use crate::secret::Secret;

/// Bytes of a fingerprint; 96 bits keep doubles out of a collection of any size.
const LENGTH: usize = 12;
/// Fewest bytes of a key.
pub const MIN_KEY: usize = 16;
/// Salt of projects that have none.
const NO_SALT: &[u8] = b"claviger/fingerprint/v1";
/// scrypt's cost as a power of two; with r = 8, 1 MiB and about 2.5 ms: a scan that finds thousands of passwords must
/// end, too.
const LOG_N: u8 = 10;

/// The printed form of a fingerprint: `k1:`, `s1:` (which way it was made) and 24 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The printed form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the printed form; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("k1:").or_else(|| text.strip_prefix("s1:"))?;
        let well_formed = digits.len() == 2 * LENGTH
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        well_formed.then(|| Fingerprint(text.to_owned()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes fingerprints.
#[derive(Debug)]
pub struct Fingerprinter(Way);

enum Way {
    Keyed(Zeroizing<Vec<u8>>),
    Salted(Vec<u8>),
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Keyed(_) => "Keyed(..)",
            Way::Salted(_) => "Salted",
        })
    }
}

/// The key is too short to be one.
#[derive(Debug, thiserror::Error)]
#[error("the fingerprint key has fewer than {MIN_KEY} bytes; make one with `openssl rand -hex 32`")]
pub struct WeakKey;

impl Fingerprinter {
    /// Keyed fingerprints.
    ///
    /// # Errors
    /// [`WeakKey`] for fewer than 16 bytes.
    pub fn keyed(key: &[u8]) -> Result<Self, WeakKey> {
        if key.len() < MIN_KEY {
            return Err(WeakKey);
        }
        Ok(Fingerprinter(Way::Keyed(Zeroizing::new(key.to_vec()))))
    }

    /// Slow fingerprints with the project's salt, or the common one.
    pub fn salted(salt: Option<&str>) -> Self {
        Fingerprinter(Way::Salted(salt.map_or(NO_SALT, str::as_bytes).to_vec()))
    }

    /// Whether a key is in use.
    pub fn is_keyed(&self) -> bool {
        matches!(self.0, Way::Keyed(_))
    }

    /// The fingerprint of a secret found by a rule.
    pub fn fingerprint(&self, rule: &str, secret: &Secret) -> Fingerprint {
        match &self.0 {
            Way::Keyed(key) => Fingerprint(format!("k1:{}", hex::encode(mac(key, rule, secret)))),
            Way::Salted(salt) if is_unguessable(secret) => {
                Fingerprint(format!("s1:{}", hex::encode(mac(salt, rule, secret))))
            }
            Way::Salted(salt) => Fingerprint(format!("s1:{}", hex::encode(slow(salt, rule, secret)))),
        }
    }
}

fn mac(key: &[u8], rule: &str, secret: &Secret) -> [u8; LENGTH] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(rule.as_bytes());
    mac.update(&[0]);
    mac.update(secret.expose());
    let full = mac.finalize().into_bytes();
    full[..LENGTH].try_into().expect("SHA-256 gives 32 bytes")
}

fn slow(salt: &[u8], rule: &str, secret: &Secret) -> [u8; LENGTH] {
    let params = scrypt::Params::new(LOG_N, 8, 1).expect("the constants are valid scrypt parameters");
    let salt = [salt, &[0], rule.as_bytes()].concat();
    let mut out = [0; LENGTH];
    scrypt::scrypt(secret.expose(), &salt, &params, &mut out).expect("12 bytes are a valid output length");
    out
}

/// Whether nobody can guess the value: long, and of mixed random-looking characters. A passphrase of words has lower
/// entropy per character than this asks for only when it is short, so words with spaces never count.
fn is_unguessable(secret: &Secret) -> bool {
    let bytes = secret.expose();
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    let is_mixed = digits >= 3 && bytes.len() >= 24
        || digits >= 1 && bytes.len() >= 20 && entropy::wordiness(bytes).is_none_or(|w| w < 0.6);
    is_mixed && !bytes.contains(&b' ') && entropy::shannon(bytes) >= 3.2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_rule_value_and_salt_only() {
        let weak = Secret::new(b"hunter2");
        let a = Fingerprinter::salted(None);
        let b = Fingerprinter::salted(Some("project"));
        assert_eq!(a.fingerprint("x", &weak), a.fingerprint("x", &weak));
        assert_ne!(a.fingerprint("x", &weak), a.fingerprint("y", &weak));
        assert_ne!(a.fingerprint("x", &weak), b.fingerprint("x", &weak));
        let keyed = Fingerprinter::keyed(&[7; 32]).unwrap();
        assert!(keyed.fingerprint("x", &weak).as_str().starts_with("k1:"));
        assert!(Fingerprinter::keyed(b"short").is_err());
    }

    #[test]
    fn only_the_printed_form_parses() {
        let f = Fingerprinter::salted(None).fingerprint("x", &Secret::new(b"hunter2"));
        assert_eq!(Fingerprint::parse(f.as_str()), Some(f));
        assert_eq!(Fingerprint::parse("s1:abc"), None);
        assert_eq!(Fingerprint::parse("md5:aaaaaaaaaaaaaaaaaaaaaaaa"), None);
    }
}
