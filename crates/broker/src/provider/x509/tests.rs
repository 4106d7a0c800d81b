//! Certificates as they come out, read back by another parser.

#![allow(clippy::needless_pass_by_value, reason = "takes `json!` as it comes")]

use std::collections::BTreeMap;
use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use super::*;
use crate::provider::SecretSource;
use crate::secret::Secret;
use crate::testing;

struct NoNotes;

#[async_trait]
impl Notes for NoNotes {
    async fn keep(&self, _: &[u8]) -> Result<(), ProviderError> {
        Ok(())
    }
}

struct Files;

impl SecretSource for Files {
    fn read(&self, reference: &Value) -> Result<Secret, String> {
        fs::read(reference["file"].as_str().unwrap()).map(Secret::new).map_err(|e| e.to_string())
    }
}

/// An authority's files.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        change(&mut params);
        fs::write(folder.path().join("ca.crt"), params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(folder.path().join("ca.key"), pair.serialize_pem()).unwrap();
        Bed { folder }
    }

    fn build(&self, more: Value) -> Result<Arc<dyn Provider>, SettingsError> {
        let path = |name: &str| self.folder.path().join(name);
        let mut value = json!({"ca_certificate": path("ca.crt"), "ca_key": {"file": path("ca.key")}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (KIND.build)(&Settings { name: "x", value: &value, secrets: &Files })
    }
}

async fn issue(
    provider: &dyn Provider,
    parameters: Value,
    now: &str,
    ttl: u64,
) -> Result<(LeaseId, Issued), ProviderError> {
    let identity = testing::identity(json!({"sub": "s", "id": "7"}));
    let input = BTreeMap::from([("generate".to_owned(), "true".to_owned())]);
    let (lease, ttl, now) = (LeaseId::new(), Ttl::from_secs(ttl).unwrap(), now.parse().unwrap());
    let request = Request {
        lease,
        name: &lease.object_name(),
        identity: &identity,
        parameters: &parameters,
        input: &input,
        target_token: None,
        ttl,
        now,
        expires: ttl.after(now),
    };
    Ok((lease, provider.issue(&request, &NoNotes).await?))
}

fn der(issued: &Issued) -> Vec<u8> {
    let text = issued.credential.field("certificate").unwrap();
    Pem::read(std::io::Cursor::new(text.expose())).unwrap().0.contents
}

const NOW: &str = "2026-01-02T03:04:05.678Z";
const NOW_S: i64 = 1_767_323_045;

#[tokio::test]
async fn a_certificate_has_the_shape_of_an_svid() {
    let bed = Bed::new(|_| {});
    let provider = bed.build(json!({"crl_url": "http://crl.example/ca.crl"})).unwrap();
    let parameters = json!({"spiffe_id": "spiffe://ci.example/r/{id}", "dns_names": ["r{id}.ci.example"]});
    let (lease, issued) = issue(&*provider, parameters, NOW, 900).await.unwrap();
    let der = der(&issued);
    let (_, cert) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(cert.validity().not_before.timestamp(), NOW_S - 60);
    assert_eq!(cert.validity().not_after.timestamp(), NOW_S + 900);
    assert_eq!(issued.expires.as_second(), NOW_S + 900);
    assert_eq!(cert.raw_serial(), serial(lease));
    let names = cert.subject_alternative_name().unwrap().unwrap();
    assert!(
        names.critical && cert.subject().iter().next().is_none(),
        "no subject, so the names are critical"
    );
    let uri = GeneralName::URI("spiffe://ci.example/r/7");
    assert_eq!(names.value.general_names, [uri, GeneralName::DNSName("r7.ci.example")]);
    let constraints = cert.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    let usage = cert.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.flags == 1, "digitalSignature alone: {:b}", usage.value.flags);
    let extended = cert.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any);
    assert!(issued.credential.fields.iter().all(|field| field.is_secret == (field.name == "private_key")));
}

#[tokio::test]
async fn no_certificate_outlives_its_authority_or_the_bound() {
    let bed = Bed::new(|_| {});
    let provider = bed.build(json!({"max_ttl": "2h"})).unwrap();
    let parameters = json!({"common_name": "r{id}"});
    let (_, long) = issue(&*provider, parameters.clone(), NOW, 86_400).await.unwrap();
    assert_eq!(long.expires.as_second(), NOW_S + 7200);
    let (_, last) = issue(&*provider, parameters.clone(), "2029-12-31T23:50:00Z", 3600).await.unwrap();
    assert_eq!(last.expires.to_string(), "2030-01-01T00:00:00Z");
    let (_, first) = issue(&*provider, parameters.clone(), "2020-01-01T00:00:10Z", 60).await.unwrap();
    let first = der(&first);
    let start = X509Certificate::from_der(&first).unwrap().1.validity().not_before.timestamp();
    assert_eq!(start, 1_577_836_800, "not before its authority");
    for outside in ["2019-12-31T00:00:00Z", "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"] {
        let refused = issue(&*provider, parameters.clone(), outside, 60).await;
        assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{outside}");
    }
}

/// Servers refuse everybody when a list is out of date: what is issued never outlives it.
#[tokio::test]
async fn the_list_outlives_every_certificate() {
    let bed = Bed::new(|_| {});
    let crl = bed.folder.path().join("ca.crl");
    let provider = bed.build(json!({"crl": crl, "max_ttl": "8h", "crl_lifetime": "24h"})).unwrap();
    let start: Timestamp = NOW.parse().unwrap();
    for hour in 0..80 {
        let now = start + jiff::SignedDuration::from_hours(hour);
        let (_, issued) =
            issue(&*provider, json!({"common_name": "a"}), &now.to_string(), 28_800).await.unwrap();
        let list = Pem::read(std::io::Cursor::new(fs::read(&crl).unwrap())).unwrap().0.contents;
        let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(&list).unwrap();
        assert!(list.next_update().unwrap().timestamp() >= issued.expires.as_second(), "hour {hour}");
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_written_stops_issuing() {
    let bed = Bed::new(|_| {});
    let provider = bed.build(json!({"crl": "/nonexistent/ca.crl"})).unwrap();
    let refused = issue(&*provider, json!({"common_name": "a"}), NOW, 60).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))));
    assert!(provider.check().await.iter().any(|check| check.problem.is_some() && !check.is_warning));
}

#[test]
fn authorities_that_are_none_do_not_load() {
    let at = |bed: &Bed, more: Value| bed.build(more).err().map(|e| e.at);
    let good = Bed::new(|_| {});
    assert_eq!(at(&good, json!({})), None);
    assert_eq!(at(&good, json!({"crl": "relative"})), Some("crl".into()));
    assert_eq!(at(&good, json!({"crl_der": "/x"})), Some("crl_der".into()));
    assert_eq!(at(&good, json!({"crl_lifetime": "25h"})), Some("crl_lifetime".into()));
    assert_eq!(at(&good, json!({"ca_certificate": "/nonexistent"})), Some("ca_certificate".into()));
    assert_eq!(at(&Bed::new(|p| p.is_ca = IsCa::ExplicitNoCa), json!({})), Some("ca_certificate".into()));
    let no_signing = Bed::new(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(at(&no_signing, json!({})), Some("ca_certificate".into()));
    let no_lists = Bed::new(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    assert_eq!(at(&no_lists, json!({})), None);
    assert_eq!(at(&no_lists, json!({"crl": "/x"})), Some("ca_certificate".into()));
    fs::write(good.folder.path().join("ca.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert_eq!(at(&good, json!({})), Some("ca_key".into()));
    fs::write(good.folder.path().join("ca.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----").unwrap();
    assert!(good.build(json!({})).err().unwrap().what.contains("passphrase"));
}

#[tokio::test]
async fn renewing_is_refused() {
    let bed = Bed::new(|_| {});
    let provider = bed.build(json!({})).unwrap();
    let parameters = json!({"common_name": "a"});
    let now: Timestamp = NOW.parse().unwrap();
    let lease = LeaseId::new();
    let held = Held { lease, name: "n", parameters: &parameters, reference: None, now, expires: now };
    assert!(matches!(provider.renew(&held, now).await, Err(ProviderError::Unsupported(_))));
    assert!(!provider.abilities().renewable);
}
