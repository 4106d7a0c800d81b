//! X.509 revocation lists (RFC 5280, section 5), as the broker keeps them.
//!
//! A certificate is revoked by its serial number, which follows from the lease. Until when an entry must stay is not in
//! a CRL; it stands as text before the PEM block (RFC 7468 allows for that, servers skip it). An entry without such a
//! line stays as long as the authority itself: losing the text never loses a revocation (CVE-2021-29653).
//!
//! Servers refuse *every* client once a list is past its `nextUpdate`. So it is renewed at half its life, and nothing is
//! issued that would outlive it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::authority::Authority;
use crate::provider::ProviderError;
use crate::provider::revocation_file::{Format, KEEP_S};
use crate::ttl::Ttl;

/// A list is valid this long before it is written, for servers whose clock is slow.
const BACKDATE_S: i64 = 300;
/// What the lines before the list begin with.
const MARK: &str = "# revoked ";

/// A revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// Its serial number, without leading zeros.
    pub(crate) serial: Vec<u8>,
    /// When it was revoked, in Unix seconds.
    pub(crate) since: i64,
    /// Until when it must be listed, in Unix seconds.
    pub(crate) until: i64,
}

/// The lists of one authority.
pub(crate) struct CrlFormat {
    /// Who signs them.
    pub(crate) authority: Arc<Authority>,
    /// How long each is valid.
    pub(crate) lifetime: Ttl,
    /// Where the same list goes as DER.
    pub(crate) der_path: Option<PathBuf>,
}

/// A list as it was read.
struct Crl {
    number: u64,
    next_update: i64,
    revoked: Vec<Revoked>,
}

impl CrlFormat {
    /// The entry for a certificate that ends at `expires`.
    pub(crate) fn entry(serial: &[u8], now: Timestamp, expires: Timestamp) -> Revoked {
        let until = expires.as_second().saturating_add(KEEP_S);
        Revoked { serial: trim(serial).to_owned(), since: now.as_second(), until }
    }

    fn parse(&self, file: &[u8]) -> Result<Crl, String> {
        let damaged = |_| "not a certificate revocation list in PEM, or a damaged one".to_owned();
        let (pem, _) =
            Pem::read(std::io::Cursor::new(file)).map_err(|_| "not a certificate revocation list in PEM")?;
        if pem.label != "X509 CRL" {
            return Err("not a certificate revocation list in PEM".into());
        }
        let (_, list) = CertificateRevocationList::from_der(&pem.contents).map_err(damaged)?;
        let (_, own) = X509Certificate::from_der(self.authority.der()).map_err(damaged)?;
        list.verify_signature(own.public_key()).map_err(|_| {
            "is not signed by this authority; choose another path, and leave the old list to the servers until the \
             certificates of the old authority have ended"
        })?;
        let ends = ends(file);
        let revoked = list.iter_revoked_certificates().map(|entry| {
            let serial = trim(entry.raw_serial()).to_owned();
            let until = ends.get(&serial).copied().unwrap_or(self.authority.not_after);
            Revoked { serial, since: entry.revocation_date.timestamp(), until }
        });
        let number =
            list.crl_number().and_then(|number| number.to_u64_digits().first().copied()).unwrap_or_default();
        let next_update = list.next_update().map_or(0, |time| time.timestamp());
        Ok(Crl { number, next_update, revoked: revoked.collect() })
    }

    fn encode(&self, crl: &Crl, now: i64) -> Result<Vec<u8>, rcgen::Error> {
        let at = |seconds: i64| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        let revoked_certs = crl.revoked.iter().map(|revoked| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&revoked.serial),
            revocation_time: at(revoked.since),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at(now - BACKDATE_S),
            next_update: at(crl.next_update),
            crl_number: SerialNumber::from_slice(&crl.number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: self.key_id(),
        };
        let mut text = String::new();
        for revoked in &crl.revoked {
            text.push_str(&format!("{MARK}{} until {}\n", hex::encode(&revoked.serial), revoked.until));
        }
        text.push_str(&params.signed_by(self.authority.issuer())?.pem()?);
        Ok(text.into_bytes())
    }

    /// The authority's own key id, so that a list names its signer as the certificates do.
    fn key_id(&self) -> KeyIdMethod {
        let id = X509Certificate::from_der(self.authority.der()).ok().and_then(|(_, own)| {
            own.iter_extensions().find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            })
        });
        id.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified)
    }
}

impl Format for CrlFormat {
    type Entry = Revoked;

    fn update(
        &self,
        old: Option<&[u8]>,
        add: &[Revoked],
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, ProviderError> {
        let now = now.as_second();
        let mut crl = match old {
            None => Crl { number: 0, next_update: 0, revoked: Vec::new() },
            Some(file) => self
                .parse(file)
                .map_err(|what| ProviderError::Misconfigured(format!("the revocation list {what}")))?,
        };
        let lifetime = i64::try_from(self.lifetime.seconds()).unwrap_or(i64::MAX);
        let is_due = crl.next_update.saturating_sub(now) < lifetime / 2;
        if !merge(&mut crl.revoked, add) && !is_due {
            return Ok(None);
        }
        crl.revoked.retain(|revoked| revoked.until > now);
        // Grows also when the file was lost in between.
        crl.number = crl.number.saturating_add(1).max(u64::try_from(now).unwrap_or_default());
        crl.next_update = now.saturating_add(lifetime);
        let bytes = self.encode(&crl, now).map_err(|e| {
            ProviderError::Misconfigured(format!("the revocation list cannot be signed: {e}"))
        })?;
        Ok(Some(bytes))
    }

    fn copies(&self, list: &[u8]) -> Vec<(PathBuf, Vec<u8>)> {
        let der = self.der_path.clone().and_then(|path| {
            let (pem, _) = Pem::read(std::io::Cursor::new(list)).ok()?;
            Some((path, pem.contents))
        });
        der.into_iter().collect()
    }

    fn verify(&self, list: &[u8]) -> Result<(), ProviderError> {
        let parsed = self.parse(list);
        parsed.map(drop).map_err(|what| ProviderError::Misconfigured(format!("the revocation list {what}")))
    }
}

/// Adds entries; says whether any is new.
fn merge(revoked: &mut Vec<Revoked>, add: &[Revoked]) -> bool {
    let mut places: HashMap<Vec<u8>, usize> =
        revoked.iter().enumerate().map(|(place, known)| (known.serial.clone(), place)).collect();
    let mut changed = false;
    for new in add {
        match places.get(&new.serial) {
            Some(place) if revoked[*place].until >= new.until => continue,
            Some(place) => revoked[*place].until = new.until,
            None => {
                places.insert(new.serial.clone(), revoked.len());
                revoked.push(new.clone());
            }
        }
        changed = true;
    }
    changed
}

/// The ends that stand before the list.
fn ends(file: &[u8]) -> HashMap<Vec<u8>, i64> {
    let text = String::from_utf8_lossy(file);
    let before = text.lines().take_while(|line| !line.starts_with("-----"));
    let end = |line: &str| {
        let (serial, until) = line.strip_prefix(MARK)?.split_once(" until ")?;
        Some((hex::decode(serial).ok()?, until.trim().parse().ok()?))
    };
    before.filter_map(end).collect()
}

/// Without leading zeros.
fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests;
