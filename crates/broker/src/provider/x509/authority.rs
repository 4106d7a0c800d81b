//! The certificate authority: its certificate and key, read once.

use std::time::Duration;

use rcgen::{
    CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use super::parameters::{Names, Usage};
use super::subject::Subject;
use crate::secret::Secret;

/// A certificate is valid this long before it is issued, for servers whose clock is slow.
const BACKDATE_S: i64 = 60;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, DER.
    der: Vec<u8>,
    /// Its name, in words.
    pub(crate) name: String,
    /// When its certificate begins, in Unix seconds.
    pub(crate) not_before: i64,
    /// When its certificate ends, in Unix seconds.
    pub(crate) not_after: i64,
    /// Whether its certificate lets it sign revocation lists.
    pub(crate) signs_lists: bool,
    /// The certificates that a client sends after its own, PEM; empty if the authority is a root.
    pub(crate) chain: String,
    /// The roots among its certificates, PEM; the authority itself if there is none.
    pub(crate) roots: String,
}

/// What goes into one certificate.
pub(crate) struct Content<'a> {
    /// Its names.
    pub(crate) names: &'a Names,
    /// What it is good for.
    pub(crate) usages: &'a [Usage],
    /// Its serial number.
    pub(crate) serial: &'a [u8],
    /// When it is issued, in Unix seconds.
    pub(crate) now: i64,
    /// When it ends, in Unix seconds.
    pub(crate) expires: i64,
    /// Where its revocation list can be fetched.
    pub(crate) crl_url: Option<&'a str>,
}

impl Authority {
    /// Reads the authority's certificate, which comes first in `certificates` (PEM), and its key.
    ///
    /// # Errors
    /// The member that is wrong, `ca_certificate` or `ca_key`, and in which way; in words for the operator.
    pub(crate) fn parse(certificates: &[u8], key: &Secret) -> Result<Authority, (&'static str, String)> {
        let wrong = |what: &str| ("ca_certificate", what.to_owned());
        let all = read_certificates(certificates).map_err(|what| wrong(&what))?;
        let pair = read_key(key).map_err(|what| ("ca_key", what))?;
        let der = all[0].clone();
        let (_, own) = X509Certificate::from_der(&der).map_err(|_| wrong("not a certificate"))?;
        if !own.is_ca() {
            return Err(wrong("the first certificate is not an authority's (basic constraints, CA)"));
        }
        let usage = own.key_usage().map_err(|_| wrong("its key usage cannot be read"))?;
        let may =
            |bit: fn(&x509_parser::extensions::KeyUsage) -> bool| usage.as_ref().is_none_or(|u| bit(u.value));
        if !may(|usage| usage.key_cert_sign()) {
            return Err(wrong("its key usage does not let it sign certificates"));
        }
        if own.public_key().raw != pair.subject_public_key_info() {
            return Err(("ca_key", "is not the key of the first certificate in `ca_certificate`".into()));
        }
        let (mut chain, mut roots) = (String::new(), String::new());
        for der in &all {
            let (_, one) = X509Certificate::from_der(der).map_err(|_| wrong("not a certificate"))?;
            let is_root = one.subject() == one.issuer();
            (if is_root { &mut roots } else { &mut chain }).push_str(&pem("CERTIFICATE", der));
        }
        if roots.is_empty() {
            roots = pem("CERTIFICATE", &der);
        }
        let name = own.subject().to_string();
        let (not_before, not_after) =
            (own.validity().not_before.timestamp(), own.validity().not_after.timestamp());
        let signs_lists = may(|usage| usage.crl_sign());
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), pair)
            .map_err(|e| wrong(&format!("its name or extensions are not supported: {e}")))?;
        Ok(Authority { issuer, name, not_before, not_after, signs_lists, chain, roots, der })
    }

    /// Who signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Its certificate, DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// A certificate for the subject's key, PEM.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub(crate) fn certify(&self, subject: &Subject, content: &Content<'_>) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        let at = |seconds: i64| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        params.not_before = at((content.now - BACKDATE_S).max(self.not_before));
        params.not_after = at(content.expires);
        params.serial_number = Some(SerialNumber::from_slice(content.serial));
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &content.names.common_name {
            params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(name.clone()));
        }
        if let Some(id) = &content.names.spiffe_id {
            params.subject_alt_names.push(SanType::URI(id.as_str().try_into()?));
        }
        for name in &content.names.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = content.usages.iter().map(|usage| (*usage).into()).collect();
        params.use_authority_key_identifier_extension = true;
        if let Some(url) = content.crl_url {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
        }
        Ok(params.signed_by(&subject.public, &self.issuer)?.pem())
    }
}

impl From<Usage> for ExtendedKeyUsagePurpose {
    fn from(usage: Usage) -> ExtendedKeyUsagePurpose {
        match usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

/// All certificates of a PEM file, DER.
pub(crate) fn read_certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    for block in Pem::iter_from_buffer(file) {
        let block = block.map_err(|e| format!("not a PEM file: {e}"))?;
        if block.label == "CERTIFICATE" {
            all.push(block.contents);
        }
    }
    if all.is_empty() { Err("holds no certificate in PEM".into()) } else { Ok(all) }
}

fn read_key(file: &Secret) -> Result<KeyPair, String> {
    let text = file.expose_text().unwrap_or_default();
    if text.contains("ENCRYPTED") {
        return Err("has a passphrase, which nobody could type here; take it off by `openssl pkey -in FILE -out NEW` \
                    and keep the file readable by the broker alone"
            .into());
    }
    // What `openssl ecparam -genkey` puts before the key.
    let start = text.find("-----BEGIN EC PRIVATE KEY").unwrap_or(0);
    KeyPair::from_pem(&text[start..]).map_err(|_| {
        "not a private key in PEM (RSA, P-256, P-384, P-521 or Ed25519); make one by \
         `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
            .into()
    })
}

/// PEM, for what everybody may see.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
