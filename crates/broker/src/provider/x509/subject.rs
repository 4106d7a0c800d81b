//! The key that a certificate is for: from a signing request, or made here.
//!
//! Of a request only the public key is taken, after its signature has shown that the caller holds the private half.
//! Names, extensions and everything else in it are the caller's wishes and count for nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use rcgen::{KeyPair, PublicKeyData as _, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use zeroize::{Zeroize as _, Zeroizing};

use crate::provider::ProviderError;
use crate::secret::Secret;

/// The most bytes of a signing request: one for RSA of 8,192 bits takes 3 KB.
const MAX_INPUT: usize = 16 << 10;
/// The fewest bits of an RSA key (NIST SP 800-57: good beyond 2030).
const MIN_RSA_BITS: usize = 3072;

/// The key to certify.
pub(crate) struct Subject {
    /// Its public half.
    pub(crate) public: SubjectPublicKeyInfo,
    /// Its private half as PEM (PKCS #8), if it was made here.
    pub(crate) private: Option<Secret>,
}

impl Subject {
    /// The key of the request that the caller sent as `csr`, or a new one on P-256 for `generate=true`.
    ///
    /// # Errors
    /// `Denied`: neither or both, something else, a request that is not signed by its own key, or a weak key.
    pub(crate) fn of(input: &BTreeMap<String, String>) -> Result<Subject, ProviderError> {
        let denied = |text: &str| Err(ProviderError::Denied(text.into()));
        if input.keys().any(|name| name != "csr" && name != "generate") {
            return denied("an X.509 certificate takes `csr` or `generate`, and nothing else");
        }
        let generate = match input.get("generate").map(String::as_str) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return denied("`generate` is `true` or `false`"),
        };
        match (input.get("csr"), generate) {
            (Some(_), true) => denied("send `csr` or `generate=true`, not both"),
            (None, false) => denied(
                "send a signing request (PKCS #10, PEM) as `csr`, or `generate=true` to get a key, too",
            ),
            (Some(pem), false) => {
                Ok(Subject { public: requested(pem).map_err(ProviderError::Denied)?, private: None })
            }
            (None, true) => new_key(),
        }
    }
}

fn new_key() -> Result<Subject, ProviderError> {
    let failed = |e: rcgen::Error| ProviderError::Transient(format!("no new key: {e}"));
    let mut pair = KeyPair::generate().map_err(failed)?;
    let public = SubjectPublicKeyInfo::from_der(&pair.subject_public_key_info()).map_err(failed)?;
    let private = pem_private_key(pair.serialized_der());
    pair.zeroize();
    Ok(Subject { public, private: Some(private) })
}

/// PKCS #8 as PEM, without leaving copies behind.
fn pem_private_key(der: &[u8]) -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(der.len() * 2 + 100));
    let mut body = Zeroizing::new(String::with_capacity(der.len() * 2));
    base64::engine::general_purpose::STANDARD.encode_string(der, &mut body);
    let label = "PRIVATE KEY";
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    Secret::text(std::mem::take(&mut *text))
}

/// The public key of a signing request whose signature is right.
fn requested(text: &str) -> Result<SubjectPublicKeyInfo, String> {
    if text.len() > MAX_INPUT {
        return Err(format!("`csr` is longer than {MAX_INPUT} bytes"));
    }
    let malformed = || "`csr` is not a signing request in PEM (PKCS #10)".to_owned();
    if !text.is_ascii() {
        return Err(malformed());
    }
    let (pem, _) = Pem::read(std::io::Cursor::new(text.as_bytes())).map_err(|_| malformed())?;
    if !matches!(pem.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(malformed());
    }
    let (rest, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    let key = &request.certification_request_info.subject_pki;
    match key.parsed().map_err(|_| malformed())? {
        PublicKey::RSA(rsa) => {
            let bits = bits(rsa.modulus);
            if bits < MIN_RSA_BITS {
                return Err(format!("the RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed"));
            }
        }
        PublicKey::EC(_) | PublicKey::Unknown(_) => {}
        _ => return Err("keys on P-256 or P-384, Ed25519 and RSA are certified, others are not".into()),
    }
    request
        .verify_signature()
        .map_err(|_| "`csr` is not signed by its own key, or in a way that is not supported".to_owned())?;
    SubjectPublicKeyInfo::from_der(key.raw)
        .map_err(|_| "keys on P-256 or P-384, Ed25519 and RSA are certified, others are not".into())
}

/// How long a number is.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let rest = &number[zeros..];
    rest.len() * 8 - rest.first().map_or(0, |byte| byte.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn input(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    fn request(pair: &KeyPair) -> Vec<u8> {
        let parameters = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        parameters.serialize_request(pair).unwrap().der().to_vec()
    }

    fn pem(der: &[u8]) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            lines.join("\n")
        )
    }

    fn refusal(text: &str) -> String {
        match Subject::of(&input("csr", text)) {
            Err(ProviderError::Denied(text)) => text,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn takes_the_key_of_a_request() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let subject = Subject::of(&input("csr", &pem(&request(&pair)))).unwrap();
            assert_eq!(subject.public.subject_public_key_info(), pair.subject_public_key_info());
            assert!(subject.private.is_none());
        }
    }

    #[test]
    fn makes_a_key_that_fits() {
        let subject = Subject::of(&input("generate", "true")).unwrap();
        let private = subject.private.unwrap();
        let pair = KeyPair::from_pem(private.expose_text().unwrap()).unwrap();
        assert_eq!(pair.subject_public_key_info(), subject.public.subject_public_key_info());
    }

    #[test]
    fn a_request_proves_possession() {
        let (mine, yours) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        // Your public key in my request, under my signature.
        let mut der = request(&mine);
        let at = der.windows(65).position(|part| part == mine.public_key_raw()).unwrap();
        der[at..at + 65].copy_from_slice(yours.public_key_raw());
        assert!(refusal(&pem(&der)).contains("not signed by its own key"));
    }

    #[test]
    fn hostile_requests_are_refused() {
        let good = pem(&request(&KeyPair::generate().unwrap()));
        for bad in [
            String::new(),
            "hello".into(),
            good.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
            good[..good.len() / 2].to_owned(),
            format!("{}{good}", "x".repeat(MAX_INPUT)),
            good.replacen('\n', "\n\u{e9}", 1),
        ] {
            refusal(&bad);
        }
        let mut longer = request(&KeyPair::generate().unwrap());
        longer.push(0);
        refusal(&pem(&longer));
        let mut both = input("csr", &good);
        both.insert("generate".into(), "true".into());
        assert!(Subject::of(&both).is_err());
        both.insert("subject".into(), "CN=root".into());
        assert!(Subject::of(&both).is_err());
    }

    #[test]
    fn counts_bits() {
        assert_eq!([bits(&[]), bits(&[0, 0]), bits(&[0, 1]), bits(&[0x80]), bits(&[1, 0])], [0, 0, 1, 8, 9]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// No byte of a request can be changed without its being refused, or the key in it staying the same.
        #[test]
        fn changed_requests_are_refused(at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            let mut der = request(&pair);
            let at = at.index(der.len());
            der[at] ^= flip;
            if let Ok(subject) = Subject::of(&input("csr", &pem(&der))) {
                prop_assert_eq!(subject.public.subject_public_key_info(), pair.subject_public_key_info());
            }
        }
    }
}
