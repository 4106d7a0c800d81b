//! Secret values: zeroed when dropped, never printed, with one way out that can be searched for.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A secret value. Not `Clone`, `Display` or `Serialize`: it leaves only by [`expose`](Secret::expose).
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the value over.
    pub fn new(value: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(value))
    }

    /// Takes a text over.
    pub fn text(value: String) -> Secret {
        Secret::new(value.into_bytes())
    }

    /// The value. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second copy, zeroed on its own. Spelled out, so that copies are seen.
    pub fn duplicate(&self) -> Secret {
        Secret::new(self.0.to_vec())
    }

    /// Whether two secrets are equal, in a time that depends on their lengths only.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Random bytes of the system's generator.
///
/// # Panics
/// When the system has no randomness: nothing can be issued safely then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// Characters of generated passwords: no quoting matters in any shell, URL, SQL or INI file.
const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A password of `length` letters and digits, each drawn evenly (5.95 bits a character).
pub fn password(length: usize) -> Secret {
    let mut out = Vec::with_capacity(length);
    while out.len() < length {
        let mut bytes: [u8; 64] = random();
        // 248 is the largest multiple of 62 in a byte: what lies above would favour the first letters.
        let drawn = bytes.iter().filter(|byte| **byte < 248).map(|byte| ALPHANUMERIC[usize::from(byte % 62)]);
        out.extend(drawn.take(length - out.len()));
        bytes.zeroize();
    }
    Secret::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", password(40)), "Secret(..)");
    }

    #[test]
    fn passwords_have_their_length_and_alphabet() {
        for length in [0, 1, 32, 63, 64, 200] {
            let made = password(length);
            assert_eq!(made.len(), length);
            assert!(made.expose().iter().all(u8::is_ascii_alphanumeric));
        }
        assert!(!password(32).matches(password(32).expose()));
    }
}
