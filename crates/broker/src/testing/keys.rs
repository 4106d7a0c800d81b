//! Keys made at run time, once per process: no key ever stands in a file.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key of a test issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TestKey {
    /// RSA of 2048 bits, in the issuer's key set: RS256. What tokens are signed with unless a test says otherwise.
    Rsa,
    /// P-256, in the issuer's key set: ES256.
    P256,
    /// RSA of 2048 bits that joins the key set when the issuer rotates.
    NextRsa,
    /// RSA of 2048 bits that is in no key set: a forger's.
    Stranger,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
}

impl TestKey {
    /// Its `kid`.
    pub fn kid(self) -> &'static str {
        match self {
            TestKey::Rsa => "rsa-1",
            TestKey::P256 => "p256-1",
            TestKey::NextRsa => "rsa-2",
            TestKey::Stranger => "stranger",
        }
    }

    /// Its `alg`.
    pub fn algorithm(self) -> &'static str {
        if self == TestKey::P256 { "ES256" } else { "RS256" }
    }

    /// Signs, and gives the signature as a token carries it.
    ///
    /// # Panics
    /// The library cannot sign.
    pub fn sign(self, message: &[u8]) -> String {
        let random = SystemRandom::new();
        URL_SAFE_NO_PAD.encode(match self.pair() {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("RSA signs");
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message).expect("ECDSA signs").as_ref().to_vec(),
        })
    }

    /// The public half as a JWK.
    pub fn jwk(self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self.pair() {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "kid": self.kid(), "use": "sig", "alg": "RS256", "n": b64(n), "e": b64(e) })
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({
                    "kty": "EC", "crv": "P-256", "kid": self.kid(), "use": "sig", "alg": "ES256",
                    "x": b64(&point[1..33]), "y": b64(&point[33..])
                })
            }
        }
    }

    fn pair(self) -> &'static Pair {
        static PAIRS: [OnceLock<Pair>; 4] = [const { OnceLock::new() }; 4];
        PAIRS[self as usize].get_or_init(|| match self {
            TestKey::P256 => {
                Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"))
            }
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"))),
        })
    }
}
