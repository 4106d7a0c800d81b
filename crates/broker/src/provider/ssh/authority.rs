//! The key that signs SSH certificates, read once.
//!
//! Signs with aws-lc: for P-256 that is ten times faster than the portable code, for Ed25519 it saves the check of the
//! public key that comes with each signature otherwise.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use ed25519_dalek::Signer;
use ed25519_dalek::ed25519::signature::Error as SignatureError;
use ssh_key::encoding::Encode as _;
use ssh_key::private::{EcdsaKeypair, KeypairData};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, Mpint, PrivateKey, PublicKey, Signature};

use crate::secret::Secret;

/// The key of a certificate authority.
pub(crate) struct Authority {
    key: Key,
    public: KeyData,
}

enum Key {
    Ed25519(Ed25519KeyPair),
    P256(Box<EcdsaKeyPair>),
}

impl Authority {
    /// Reads an OpenSSH private key file.
    ///
    /// # Errors
    /// Not such a file, with a passphrase, or of a kind that is not supported; in words for the operator.
    pub(crate) fn parse(file: &Secret) -> Result<Authority, String> {
        let private = PrivateKey::from_openssh(file.expose()).map_err(|_| {
            "not a private key in OpenSSH's format; make one by `ssh-keygen -t ed25519 -N '' -f FILE`"
                .to_owned()
        })?;
        if private.is_encrypted() {
            return Err("has a passphrase, which nobody could type here; take it off by \
                        `ssh-keygen -p -N '' -f FILE` and keep the file readable by the broker alone"
                .into());
        }
        let unusable = |_| "the private key does not fit its public key".to_owned();
        let key = match private.key_data() {
            KeypairData::Ed25519(pair) => Key::Ed25519(
                Ed25519KeyPair::from_seed_and_public_key(pair.private.as_ref(), pair.public.as_ref())
                    .map_err(unusable)?,
            ),
            KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private }) => Key::P256(Box::new(
                EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    private.as_slice(),
                    public.as_bytes(),
                )
                .map_err(unusable)?,
            )),
            _ => return Err("a certificate authority's key must be Ed25519 or ECDSA on P-256".into()),
        };
        Ok(Authority { key, public: private.public_key().key_data().clone() })
    }

    /// Its public key as on the wire.
    ///
    /// # Errors
    /// Never for a key that was read.
    pub(crate) fn wire(&self) -> Result<Vec<u8>, ssh_key::Error> {
        PublicKey::from(self.public.clone()).to_bytes()
    }

    /// Its public key as one line, for `TrustedUserCAKeys` or `@cert-authority`.
    pub(crate) fn line(&self) -> String {
        PublicKey::from(self.public.clone()).to_openssh().unwrap_or_default()
    }

    /// Its public key's fingerprint, `SHA256:...`.
    pub(crate) fn fingerprint(&self) -> String {
        self.public.fingerprint(HashAlg::Sha256).to_string()
    }
}

impl From<&Authority> for KeyData {
    fn from(authority: &Authority) -> KeyData {
        authority.public.clone()
    }
}

impl Signer<Signature> for Authority {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignatureError> {
        let failed = |_| SignatureError::new();
        match &self.key {
            Key::Ed25519(pair) => {
                let bytes = pair.try_sign(message).map_err(failed)?;
                Signature::new(Algorithm::Ed25519, bytes.as_ref()).map_err(|_| SignatureError::new())
            }
            Key::P256(pair) => {
                let bytes = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                p256_signature(bytes.as_ref()).ok_or_else(SignatureError::new)
            }
        }
    }
}

/// `r` and `s` of 32 bytes each as two `mpint` (RFC 5656, section 3.1.2).
fn p256_signature(fixed: &[u8]) -> Option<Signature> {
    let (r, s) = fixed.split_at_checked(32)?;
    let mut data = Vec::with_capacity(80);
    for number in [r, s] {
        Mpint::from_positive_bytes(number).encode(&mut data).ok()?;
    }
    Signature::new(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }, data).ok()
}

#[cfg(test)]
mod tests {
    use ssh_key::LineEnding;
    use ssh_key::certificate::Builder;
    use ssh_key::private::Ed25519Keypair;

    use super::*;
    use crate::secret;

    fn file(key: &PrivateKey) -> Secret {
        Secret::text(key.to_openssh(LineEnding::LF).unwrap().to_string())
    }

    #[test]
    fn signs_what_others_verify() {
        let mut rng = ssh_key::rand_core::UnwrapErr(ssh_key::getrandom::SysRng);
        let p256 = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
        for algorithm in [Algorithm::Ed25519, p256] {
            let key = PrivateKey::random(&mut rng, algorithm.clone()).unwrap();
            let authority = Authority::parse(&file(&key)).unwrap();
            assert_eq!(authority.line().split(' ').next(), Some(algorithm.as_str()));
            // Several, as `r` and `s` have a leading zero in half of all signatures.
            for serial in 0..20 {
                let mut builder = Builder::new([1; 16], key.public_key(), 10, 20).unwrap();
                builder.serial(serial).unwrap().valid_principal("root").unwrap();
                let certificate = builder.sign(&authority).unwrap();
                let print = [key.fingerprint(HashAlg::Sha256)];
                certificate.validate_at(15, &print).unwrap();
            }
        }
    }

    #[test]
    fn refuses_other_keys_in_clear_words() {
        let words = |text: &str| Authority::parse(&Secret::text(text.to_owned())).err().unwrap();
        assert!(words("hello").contains("ssh-keygen -t ed25519"));
        let seed = secret::random();
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let mut broken = key.to_openssh(LineEnding::LF).unwrap().to_string();
        broken.truncate(200);
        assert!(words(&broken).contains("not a private key"));
    }
}
