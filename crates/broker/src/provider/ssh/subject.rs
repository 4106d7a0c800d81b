//! The key that a certificate is for: the caller's own, or one made here.

use std::collections::BTreeMap;

use ssh_key::private::Ed25519Keypair;
use ssh_key::public::KeyData;
use ssh_key::{LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroize as _;

use super::parameters::KeyType;
use crate::provider::ProviderError;
use crate::secret::{self, Secret};

/// The most bytes of a public key: RSA of 16,384 bits takes 2.8 KB.
const MAX_INPUT: usize = 16 << 10;
/// The fewest bits of an RSA key (NIST SP 800-57: good beyond 2030).
const MIN_RSA_BITS: usize = 3072;

/// The key to certify.
pub(crate) struct Subject {
    /// Its public half.
    pub(crate) public: KeyData,
    /// Its private half as a file of OpenSSH's format, if it was made here.
    pub(crate) private: Option<Secret>,
}

impl Subject {
    /// The key that the caller sent as `public_key`, or a new one for `generate=true`.
    ///
    /// # Errors
    /// `Denied`: neither or both, something else, not a public key, or of a kind that is not allowed.
    pub(crate) fn of(
        input: &BTreeMap<String, String>,
        allowed: &[KeyType],
    ) -> Result<Subject, ProviderError> {
        let denied = |text: &str| Err(ProviderError::Denied(text.into()));
        if input.keys().any(|name| name != "public_key" && name != "generate") {
            return denied("an SSH certificate takes `public_key` or `generate`, and nothing else");
        }
        let generate = match input.get("generate").map(String::as_str) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return denied("`generate` is `true` or `false`"),
        };
        match (input.get("public_key"), generate) {
            (Some(_), true) => denied("send `public_key` or `generate=true`, not both"),
            (None, false) => {
                denied("send a public key as `public_key`, or `generate=true` to get a new pair")
            }
            (Some(line), false) => Ok(Subject { public: parse(line, allowed)?, private: None }),
            (None, true) if !allowed.contains(&KeyType::Ed25519) => denied(
                "this role does not take Ed25519 keys, and others are not generated; send `public_key`",
            ),
            (None, true) => new_pair(),
        }
    }

    /// Whether it is the key of a hardware token.
    pub(crate) fn is_hardware(&self) -> bool {
        KeyType::of(&self.public) == Some(KeyType::Sk)
    }
}

fn new_pair() -> Result<Subject, ProviderError> {
    let mut seed: [u8; 32] = secret::random();
    let private = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    seed.zeroize();
    let file = private
        .to_openssh(LineEnding::LF)
        .map_err(|e| ProviderError::Transient(format!("a new key cannot be written: {e}")))?;
    Ok(Subject {
        public: private.public_key().key_data().clone(),
        private: Some(Secret::new(file.as_bytes().to_vec())),
    })
}

/// Reads one line of OpenSSH's public key format.
fn parse(line: &str, allowed: &[KeyType]) -> Result<KeyData, ProviderError> {
    let denied = |text: String| Err(ProviderError::Denied(text));
    if line.len() > MAX_INPUT {
        return denied(format!("`public_key` is longer than {MAX_INPUT} bytes"));
    }
    let line = line.trim();
    if line.contains(['\n', '\r', '\0']) {
        return denied("`public_key` must be one line".into());
    }
    let Ok(key) = PublicKey::from_openssh(line) else {
        return denied("`public_key` is not an OpenSSH public key: `ssh-ed25519 AAAA... comment`".into());
    };
    let Some(kind) = KeyType::of(key.key_data()) else {
        return denied(
            "`public_key` is of a kind that is not certified here: DSA, a certificate, or unknown".into(),
        );
    };
    if !allowed.contains(&kind) {
        return denied(format!("this role does not take {} keys", kind.as_str()));
    }
    if let Some(rsa) = key.key_data().rsa() {
        let n = rsa.n().as_positive_bytes().unwrap_or_default();
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if bits < MIN_RSA_BITS {
            return denied(format!("the RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed"));
        }
        let e = rsa.e().as_positive_bytes().unwrap_or_default();
        if e == [1] || e.last().is_none_or(|low| low % 2 == 0) {
            return denied("the RSA key's exponent makes it worthless".into());
        }
    }
    Ok(key.key_data().clone())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::*;

    fn input(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        match Subject::of(&input(pairs), KeyType::ALL) {
            Err(ProviderError::Denied(text)) => text,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }

    /// A public key line of RSA with the modulus `2^(bits-1)+1`, which no signature needs here.
    fn rsa_line(bits: usize, e: &[u8]) -> String {
        let mut n = vec![0; bits.div_ceil(8)];
        n[0] = 1 << ((bits - 1) % 8);
        *n.last_mut().unwrap() |= 1;
        if n[0] & 0x80 != 0 {
            n.insert(0, 0);
        }
        let mut blob = Vec::new();
        for part in [b"ssh-rsa".as_slice(), e, &n] {
            blob.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(part);
        }
        format!("ssh-rsa {}", base64::engine::general_purpose::STANDARD.encode(blob))
    }

    #[test]
    fn makes_a_pair_on_request() {
        let made = Subject::of(&input(&[("generate", "true")]), KeyType::ALL).unwrap();
        let file = made.private.unwrap();
        let read = PrivateKey::from_openssh(file.expose()).unwrap();
        assert_eq!(read.public_key().key_data(), &made.public);
    }

    #[test]
    fn asks_for_exactly_one_key() {
        assert!(refusal(&[]).contains("generate=true"));
        assert!(refusal(&[("generate", "yes")]).contains("true"));
        assert!(refusal(&[("csr", "x")]).contains("nothing else"));
        assert!(refusal(&[("generate", "true"), ("public_key", "x")]).contains("not both"));
    }

    #[test]
    fn rsa_keys_need_their_bits() {
        let e = [1, 0, 1];
        assert!(Subject::of(&input(&[("public_key", &rsa_line(3072, &e))]), KeyType::ALL).is_ok());
        assert!(refusal(&[("public_key", &rsa_line(3071, &e))]).contains("3071 bits"));
        assert!(refusal(&[("public_key", &rsa_line(1024, &e))]).contains("1024 bits"));
        for worthless in [&[1_u8][..], &[2], &[4]] {
            assert!(
                refusal(&[("public_key", &rsa_line(3072, worthless))]).contains("exponent"),
                "{worthless:?}"
            );
        }
        let only_rsa = Subject::of(&input(&[("public_key", &rsa_line(4096, &e))]), &[KeyType::Ed25519]);
        assert!(only_rsa.is_err());
    }

    #[test]
    fn hostile_lines_are_refused() {
        let made = Subject::of(&input(&[("generate", "true")]), KeyType::ALL).unwrap();
        let good = PublicKey::from(made.public).to_openssh().unwrap();
        assert!(Subject::of(&input(&[("public_key", &format!("{good} me@here\n"))]), KeyType::ALL).is_ok());
        for bad in [
            format!("{good}\n{good}"),
            format!("command=\"id\" {good}"),
            format!("{good} {}", "x".repeat(MAX_INPUT)),
            good.replacen("ssh-ed25519", "ssh-rsa", 1),
            format!("{}AAAA", good),
            good[..good.len() - 4].to_owned(),
            "ssh-dss AAAAB3NzaC1kc3MAAAAA".into(),
            String::new(),
        ] {
            refusal(&[("public_key", &bad)]);
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(kind in "(ssh-rsa|ssh-ed25519|sk-ssh-ed25519@openssh.com|ecdsa-sha2-nistp256|x)",
                          blob in prop::collection::vec(any::<u8>(), 0..80)) {
            let encoded = base64::engine::general_purpose::STANDARD.encode(blob);
            let _ = Subject::of(&input(&[("public_key", &format!("{kind} {encoded}"))]), KeyType::ALL);
        }
    }
}
