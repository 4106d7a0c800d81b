//! What verifying a token costs beside the bare signature check. Run with `cargo bench -p claviger-broker --bench verify`.
//!
//! The bound is 1.3 times of the bare check. `bare_check` is the fastest there is: the key parsed once, the signature
//! decoded already, no token. `jsonwebtoken` is the card's library with a cached key.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claviger_audit::clock::SystemClock;
use claviger_broker::claims::Claims;
use claviger_broker::identity::issuer::IssuerConfig;
use claviger_broker::identity::token::Unverified;
use claviger_broker::identity::verifier::Verifier;
use claviger_broker::secret::Secret;
use claviger_broker::testing::{AUDIENCE, TestIssuer, TestKey, claims};
use serde_json::{Value, json};

/// A GitHub token, its key, and all that verifies it.
struct Subject {
    runtime: tokio::runtime::Runtime,
    verifier: Verifier,
    token: Secret,
    signed: Vec<u8>,
    signature: Vec<u8>,
    parsed: ParsedPublicKey,
    cached: jsonwebtoken::DecodingKey,
    _folder: tempfile::TempDir,
}

impl Subject {
    fn new() -> Subject {
        let issuer = TestIssuer::named("https://issuer.test");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        std::fs::write(&path, issuer.key_set().to_string()).expect("written");
        let config = IssuerConfig { jwks_file: Some(path), internal: false, ..issuer.config("github") };
        let verifier = Verifier::new([("github", &config)], AUDIENCE, Arc::new(SystemClock)).expect("right");
        let token = issuer.mint(claims::github(json!({})));
        let text = token.expose_text().expect("text");
        let (signed, signature) = text.rsplit_once('.').expect("parts");
        let jwk = TestKey::Rsa.jwk();
        let number = |name: &str| {
            URL_SAFE_NO_PAD
                .decode(jwk.get(name).and_then(Value::as_str).expect("a number"))
                .expect("base64url")
        };
        let (n, e) = (number("n"), number("e"));
        let parts = RsaPublicKeyComponents { n: &n, e: &e };
        Subject {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            verifier,
            signed: signed.as_bytes().to_vec(),
            signature: URL_SAFE_NO_PAD.decode(signature).expect("base64url"),
            parsed: parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).expect("a key"),
            cached: jsonwebtoken::DecodingKey::from_rsa_raw_components(&n, &e),
            token,
            _folder: folder,
        }
    }

    fn bare(&self) {
        assert!(self.parsed.verify_sig(black_box(&self.signed), &self.signature).is_ok());
    }

    fn library(&self) {
        let signature = self.token.expose_text().and_then(|text| text.rsplit('.').next()).expect("parts");
        let algorithm = jsonwebtoken::Algorithm::RS256;
        let verdict =
            jsonwebtoken::crypto::verify(signature, black_box(&self.signed), &self.cached, algorithm);
        assert!(verdict.is_ok_and(|good| good));
    }

    async fn whole(&self) {
        assert!(self.verifier.verify(black_box(&self.token)).await.is_ok());
    }
}

#[divan::bench]
fn bare_check(bencher: divan::Bencher<'_, '_>) {
    let subject = Subject::new();
    bencher.bench_local(|| subject.bare());
}

#[divan::bench]
fn jsonwebtoken_check(bencher: divan::Bencher<'_, '_>) {
    let subject = Subject::new();
    bencher.bench_local(|| subject.library());
}

#[divan::bench]
fn taking_apart(bencher: divan::Bencher<'_, '_>) {
    let subject = Subject::new();
    bencher.bench_local(|| Unverified::parse(black_box(subject.token.expose())).is_ok());
}

#[divan::bench]
fn claims_alone(bencher: divan::Bencher<'_, '_>) {
    let subject = Subject::new();
    let payload = subject.signed.split(|byte| *byte == b'.').nth(1).expect("parts");
    let json = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    bencher.bench_local(|| Claims::parse(black_box(&json)).is_ok());
}

#[divan::bench]
fn whole_verification(bencher: divan::Bencher<'_, '_>) {
    let subject = Subject::new();
    bencher.bench_local(|| subject.runtime.block_on(subject.whole()));
}

/// The best of many short rounds, in nanoseconds a call: what others do on the machine makes rounds longer, never
/// shorter. The rounds of all take turns.
fn best(subject: &Subject) -> [f64; 3] {
    const CALLS: u32 = 20;
    let time = |round: &mut dyn FnMut()| {
        let begun = Instant::now();
        round();
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    let mut best = [f64::INFINITY; 3];
    for _ in 0..1000 {
        let round = [
            time(&mut || (0..CALLS).for_each(|_| subject.bare())),
            time(&mut || (0..CALLS).for_each(|_| subject.library())),
            time(&mut || {
                subject.runtime.block_on(async {
                    for _ in 0..CALLS {
                        subject.whole().await;
                    }
                });
            }),
        ];
        best = std::array::from_fn(|place| f64::min(best[place], round[place]));
    }
    best
}

#[expect(clippy::print_stdout, reason = "a bench prints")]
fn main() {
    let [bare, library, whole] = best(&Subject::new());
    println!(
        "RS256, GitHub's claims: bare check {bare:.0} ns, jsonwebtoken {library:.0} ns, whole {whole:.0} ns: {:.2} times \
         the bare check",
        whole / bare
    );
    divan::Divan::default().run_benches();
}
