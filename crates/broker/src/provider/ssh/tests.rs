//! Certificates as they come out, without a server.

use std::collections::BTreeMap;

use serde_json::json;
use ssh_key::certificate::CertType;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::*;
use crate::identity::Identity;
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

struct Key(PrivateKey);

impl SecretSource for Key {
    fn read(&self, _: &Value) -> Result<Secret, String> {
        Ok(Secret::text(self.0.to_openssh(LineEnding::LF).unwrap().to_string()))
    }
}

struct Bed {
    key: Key,
    provider: Arc<dyn Provider>,
    now: Timestamp,
}

fn bed(settings: Value) -> Bed {
    let key = Key(PrivateKey::from(Ed25519Keypair::from_seed(&secret::random())));
    let mut value = settings;
    value["ca_key"] = json!({"file": "x"});
    let built = (KIND.build)(&Settings { name: "ssh", value: &value, secrets: &key });
    Bed { provider: built.unwrap(), key, now: "2026-01-02T03:04:05.678Z".parse().unwrap() }
}

impl Bed {
    async fn issue(
        &self,
        identity: &Identity,
        parameters: Value,
        lease: LeaseId,
        ttl: u64,
    ) -> Result<Issued, ProviderError> {
        let input = BTreeMap::from([("generate".to_owned(), "true".to_owned())]);
        let ttl = Ttl::from_secs(ttl).unwrap();
        let request = Request {
            lease,
            name: &lease.object_name(),
            identity,
            parameters: &parameters,
            input: &input,
            target_token: None,
            ttl,
            now: self.now,
            expires: ttl.after(self.now),
        };
        self.provider.issue(&request, &NoNotes).await
    }
}

fn certificate(issued: &Issued) -> Certificate {
    Certificate::from_openssh(issued.credential.field("certificate").unwrap().expose_text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_certificate_says_what_the_role_says_and_no_more() {
    let bed = bed(json!({}));
    let identity = testing::identity(json!({"sub": "repo:a/b:ref:refs/heads/main", "id": "7"}));
    let lease = LeaseId::new();
    let parameters = json!({"principals": ["deploy", "r{id}"], "force_command": "id", "source_address": ["10.0.0.0/8", "::1"]});
    let issued = bed.issue(&identity, parameters, lease, 900).await.unwrap();
    let cert = certificate(&issued);
    let start = u64::try_from(bed.now.as_second()).unwrap();
    cert.validate_at(start, &[bed.key.0.fingerprint(HashAlg::Sha256)]).unwrap();
    assert_eq!((cert.valid_after(), cert.valid_before()), (start - 60, start + 900));
    assert_eq!(issued.expires.as_second(), bed.now.as_second() + 900);
    assert_eq!(cert.valid_principals(), ["deploy", "r7"]);
    assert_eq!(cert.cert_type(), CertType::User);
    assert_eq!(cert.key_id(), format!("{}=repo:a/b:ref:refs/heads/main", lease.object_name()));
    assert!(cert.extensions().is_empty());
    let options: Vec<_> = cert.critical_options().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(options, [("force-command", "id"), ("source-address", "10.0.0.0/8,::1")]);
    assert!(issued.credential.fields.iter().all(|field| field.is_secret == (field.name == "private_key")));

    // Again for the same lease: another key, the same serial.
    let again = bed.issue(&identity, json!({"principals": ["deploy"]}), lease, 900).await.unwrap();
    assert_eq!(certificate(&again).serial(), cert.serial());
    assert_ne!(certificate(&again).public_key(), cert.public_key());
}

#[tokio::test]
async fn a_subject_cannot_forge_a_log_line() {
    let bed = bed(json!({}));
    let subject = format!("x (serial 1) CA\n\u{202e}Accepted publickey for root{}", "y".repeat(5000));
    let identity = testing::identity(json!({"sub": subject}));
    let issued = bed.issue(&identity, json!({"principals": ["a"]}), LeaseId::new(), 60).await.unwrap();
    let id = certificate(&issued).key_id().to_owned();
    assert!(id.len() <= MAX_KEY_ID && id.chars().all(|c| c.is_ascii_graphic()), "{id}");
}

#[tokio::test]
async fn no_certificate_outlives_the_providers_bound() {
    let bed = bed(json!({"max_ttl": "10m"}));
    let identity = testing::identity(json!({"sub": "s"}));
    let issued = bed.issue(&identity, json!({"principals": ["a"]}), LeaseId::new(), 86_400).await.unwrap();
    assert_eq!(issued.expires.as_second(), bed.now.as_second() + 600);
    assert_eq!(certificate(&issued).valid_before(), u64::try_from(bed.now.as_second()).unwrap() + 600);
}

#[tokio::test]
async fn without_a_list_nothing_is_issued_that_should_be_revocable() {
    let bed = bed(json!({"krl": "/nonexistent/folder/krl"}));
    let identity = testing::identity(json!({"sub": "s"}));
    let refused = bed.issue(&identity, json!({"principals": ["a"]}), LeaseId::new(), 60).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    assert!(bed.provider.check().await.iter().any(|check| check.problem.is_some() && !check.is_warning));
}

#[tokio::test]
async fn a_claim_that_is_missing_issues_nothing() {
    let bed = bed(json!({}));
    let identity = testing::identity(json!({"sub": "s"}));
    let refused = bed.issue(&identity, json!({"principals": ["{nobody}"]}), LeaseId::new(), 60).await;
    assert!(matches!(refused, Err(ProviderError::Denied(_))), "{refused:?}");
}

#[test]
fn serials_are_never_zero() {
    assert_eq!(serial(LeaseId::from_bytes([0; 16])), 1);
    assert_eq!(serial(LeaseId::from_bytes([255; 16])), u64::MAX);
}

#[test]
fn settings_are_strict() {
    let key = Key(PrivateKey::from(Ed25519Keypair::from_seed(&secret::random())));
    let build = |value: Value| {
        (KIND.build)(&Settings { name: "s", value: &value, secrets: &key }).err().map(|e| e.at)
    };
    assert_eq!(build(json!({"ca_key": {}})), None);
    assert_eq!(build(json!({"ca_key": {}, "krl": "relative"})), Some("krl".into()));
    assert_eq!(build(json!({"ca_key": {}, "max_tll": "1h"})), Some("max_tll".into()));
}
