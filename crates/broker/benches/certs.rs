//! What a certificate costs. Run with `cargo bench -p claviger-broker --bench certs`.

#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use claviger_broker::identity::Identity;
use claviger_broker::lease::LeaseId;
use claviger_broker::provider::{self, Notes, Provider, ProviderError, Request, SecretSource, Settings};
use claviger_broker::secret::Secret;
use claviger_broker::testing;
use claviger_broker::ttl::Ttl;
use jiff::Timestamp;
use serde_json::{Value, json};
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};

fn main() {
    divan::main();
}

struct NoNotes;

#[async_trait::async_trait]
impl Notes for NoNotes {
    async fn keep(&self, _: &[u8]) -> Result<(), ProviderError> {
        Ok(())
    }
}

struct Key(String);

impl SecretSource for Key {
    fn read(&self, _: &Value) -> Result<Secret, String> {
        Ok(Secret::text(self.0.clone()))
    }
}

fn build(kind: &str, settings: &Value, key: String) -> Arc<dyn Provider> {
    let kind = provider::KINDS.iter().find(|known| known.name == kind).unwrap();
    (kind.build)(&Settings { name: "bench", value: settings, secrets: &Key(key) }).unwrap()
}

fn ssh(algorithm: Algorithm) -> Arc<dyn Provider> {
    let mut rng = ssh_key::rand_core::UnwrapErr(ssh_key::getrandom::SysRng);
    let key = PrivateKey::random(&mut rng, algorithm).unwrap();
    build("ssh", &json!({"ca_key": {"file": "k"}}), key.to_openssh(LineEnding::LF).unwrap().to_string())
}

struct Asked {
    identity: Identity,
    parameters: Value,
    input: BTreeMap<String, String>,
    now: Timestamp,
}

impl Asked {
    fn new(parameters: Value, name: &str, value: String) -> Asked {
        let identity =
            testing::identity(json!({"sub": "repo:example/app:ref:refs/heads/main", "id": "1234"}));
        Asked {
            identity,
            parameters,
            input: BTreeMap::from([(name.to_owned(), value)]),
            now: Timestamp::now(),
        }
    }

    /// One certificate, all the way to its text.
    fn issue(&self, runtime: &tokio::runtime::Runtime, provider: &dyn Provider) -> usize {
        let lease = LeaseId::new();
        let ttl = Ttl::minutes(15);
        let request = Request {
            lease,
            name: &lease.object_name(),
            identity: &self.identity,
            parameters: &self.parameters,
            input: &self.input,
            target_token: None,
            ttl,
            now: self.now,
            expires: ttl.after(self.now),
        };
        let issued = runtime.block_on(provider.issue(&request, &NoNotes)).unwrap();
        issued.credential.field("certificate").unwrap().len()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn own_key() -> String {
    let mut rng = ssh_key::rand_core::UnwrapErr(ssh_key::getrandom::SysRng);
    PrivateKey::random(&mut rng, Algorithm::Ed25519).unwrap().public_key().to_openssh().unwrap()
}

#[divan::bench]
fn ssh_ed25519_authority(bencher: divan::Bencher<'_, '_>) {
    let (runtime, provider) = (runtime(), ssh(Algorithm::Ed25519));
    let asked = Asked::new(json!({"principals": ["deploy"], "force_command": "id"}), "public_key", own_key());
    bencher.bench_local(|| asked.issue(&runtime, &*provider));
}

#[divan::bench]
fn ssh_p256_authority(bencher: divan::Bencher<'_, '_>) {
    let (runtime, provider) = (runtime(), ssh(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }));
    let asked = Asked::new(json!({"principals": ["deploy"]}), "public_key", own_key());
    bencher.bench_local(|| asked.issue(&runtime, &*provider));
}

#[divan::bench]
fn ssh_with_a_new_pair(bencher: divan::Bencher<'_, '_>) {
    let (runtime, provider) = (runtime(), ssh(Algorithm::Ed25519));
    let asked = Asked::new(json!({"principals": ["deploy"]}), "generate", "true".into());
    bencher.bench_local(|| asked.issue(&runtime, &*provider));
}

/// With an authority on P-256; its certificate lies in a folder that goes with it.
fn x509() -> (tempfile::TempDir, Arc<dyn Provider>) {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, params.self_signed(&pair).unwrap().pem()).unwrap();
    let provider =
        build("x509", &json!({"ca_certificate": path, "ca_key": {"file": "k"}}), pair.serialize_pem());
    (folder, provider)
}

#[divan::bench]
fn x509_for_a_request(bencher: divan::Bencher<'_, '_>) {
    let (runtime, (_folder, provider)) = (runtime(), x509());
    let pair = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap();
    let asked = Asked::new(json!({"spiffe_id": "spiffe://ci.example/r/{id}"}), "csr", csr);
    bencher.bench_local(|| asked.issue(&runtime, &*provider));
}

#[divan::bench]
fn x509_with_a_new_key(bencher: divan::Bencher<'_, '_>) {
    let (runtime, (_folder, provider)) = (runtime(), x509());
    let asked = Asked::new(json!({"spiffe_id": "spiffe://ci.example/r/{id}"}), "generate", "true".into());
    bencher.bench_local(|| asked.issue(&runtime, &*provider));
}
