//! A secret value in memory.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret found in scanned bytes.
///
/// Wiped when dropped, never printed: no `Display`, no `Serialize`, no `Clone`. [`Secret::expose`] is the one way out.
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes a copy of the bytes. Its owner stays responsible for the original.
    pub fn new(bytes: &[u8]) -> Self {
        Secret(Zeroizing::new(bytes.into()))
    }

    /// The value itself. Every caller is a place where a secret could escape.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second, equally guarded copy.
    pub fn duplicate(&self) -> Self {
        Secret::new(self.expose())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What may be shown of the secret: a few of its first characters, never more than a quarter of it, and its
    /// length. Control characters and bytes that are not ASCII are shown as `.`.
    pub fn redacted(&self) -> String {
        let shown = (self.len() / 4).min(4);
        let head: String =
            self.0[..shown].iter().map(|&b| if b.is_ascii_graphic() { char::from(b) } else { '.' }).collect();
        format!("{head}…({})", self.len())
    }
}

impl PartialEq for Secret {
    /// Compares in constant time for equal lengths.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_redaction_show_no_value() {
        let secret = Secret::new(b"correct horse battery");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.redacted(), "corr…(21)");
        assert_eq!(Secret::new(b"abc").redacted(), "…(3)");
        assert_eq!(Secret::new(b"\x1b[31m\xff..").redacted(), ".[…(8)");
    }
}
