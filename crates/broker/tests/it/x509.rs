//! X.509 client certificates against nginx (OpenSSL), `openssl verify` and rustls.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use claviger_broker::provider::{Issued, Provider, ProviderError};
use claviger_broker::testing;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

use crate::ground::{Asking, build, field};
use crate::servers::nginx::{Files, Nginx};
use crate::servers::sshd::run;

/// An authority's files, a server's certificate of it, and the provider.
struct Ground {
    folder: tempfile::TempDir,
    provider: Arc<dyn Provider>,
}

impl Ground {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// With an authority whose key is of this kind.
fn ground(algorithm: &'static rcgen::SignatureAlgorithm) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let pair = KeyPair::generate_for(algorithm).unwrap();
    let mut params = named("Test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    fs::write(folder.path().join("ca.crt"), params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(folder.path().join("ca.key"), pair.serialize_pem()).unwrap();
    let issuer = Issuer::new(params, pair);
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    fs::write(folder.path().join("server.crt"), params.signed_by(&own, &issuer).unwrap().pem()).unwrap();
    fs::write(folder.path().join("server.key"), own.serialize_pem()).unwrap();
    let path = |name: &str| folder.path().join(name);
    let provider = build(
        "x509",
        &json!({"ca_certificate": path("ca.crt"), "ca_key": {"file": path("ca.key")}, "crl": path("ca.crl"), "crl_der": path("ca.crl.der")}),
    );
    Ground { provider: provider.unwrap(), folder }
}

fn asking(parameters: Value) -> Asking {
    Asking::new(testing::identity(json!({"sub": "s", "repository_id": "42"})), parameters)
}

/// What a server says to this client; a refusal is its status.
async fn get(ground: &Ground, port: u16, issued: Option<&Issued>) -> Result<String, u16> {
    let root = reqwest::Certificate::from_pem(&fs::read(ground.path("ca.crt")).unwrap()).unwrap();
    let mut client =
        reqwest::Client::builder().tls_certs_only([root]).resolve("localhost", ([127, 0, 0, 1], port).into());
    if let Some(issued) = issued {
        let both = format!("{}{}", field(issued, "certificate"), field(issued, "private_key"));
        client = client.identity(reqwest::Identity::from_pem(both.as_bytes()).unwrap());
    }
    let answer = client.build().unwrap().get(format!("https://localhost:{port}/")).send().await.unwrap();
    match answer.status().as_u16() {
        200 => Ok(answer.text().await.unwrap()),
        other => Err(other),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_takes_a_certificate_until_it_is_revoked() {
    if !Nginx::is_installed() {
        return;
    }
    let ground = ground(&rcgen::PKCS_ECDSA_P256_SHA256);
    let provider = &*ground.provider;
    let names =
        json!({"spiffe_id": "spiffe://ci.example/r/{repository_id}", "common_name": "r{repository_id}"});
    let (first, second) =
        (asking(names.clone()).with("generate", "true"), asking(names.clone()).with("generate", "true"));
    let (one, two) = (first.issue(provider).await.unwrap(), second.issue(provider).await.unwrap());
    let short = asking(names).with("generate", "true").lasting(3).issue(provider).await.unwrap();
    let (certificate, key) = (ground.path("server.crt"), ground.path("server.key"));
    let (authority, crl) = (ground.path("ca.crt"), ground.path("ca.crl"));
    let files = Files { own: (&certificate, &key), authority: &authority, crl: &crl };
    let server = Nginx::start(ground.folder.path(), &files);

    assert_eq!(get(&ground, server.port(), None).await, Err(400));
    assert_eq!(
        get(&ground, server.port(), Some(&short)).await.as_deref(),
        Ok("hello CN=r42\n"),
        "{}",
        server.log()
    );
    assert_eq!(get(&ground, server.port(), Some(&one)).await.as_deref(), Ok("hello CN=r42\n"));
    first.revoke(provider, None).await.unwrap();
    server.reload();
    assert_eq!(get(&ground, server.port(), Some(&one)).await, Err(400));
    assert!(server.log().contains("certificate revoked"), "{}", server.log());
    assert_eq!(get(&ground, server.port(), Some(&two)).await.as_deref(), Ok("hello CN=r42\n"));
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(get(&ground, server.port(), Some(&short)).await, Err(400));
    assert!(server.log().contains("certificate has expired"), "{}", server.log());

    // After a restart the list still holds the first, and takes the second.
    let again = build(
        "x509",
        &json!({"ca_certificate": authority, "ca_key": {"file": ground.path("ca.key")}, "crl": crl}),
    );
    second.revoke(&*again.unwrap(), None).await.unwrap();
    server.reload();
    for revoked in [&one, &two] {
        assert_eq!(get(&ground, server.port(), Some(revoked)).await, Err(400));
    }
}

#[tokio::test]
async fn openssl_verifies_strictly() {
    if !crate::servers::is_installed("openssl") {
        return;
    }
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let ground = ground(algorithm);
        let ask =
            asking(json!({"spiffe_id": "spiffe://ci.example/r/{repository_id}"})).with("generate", "true");
        let issued = ask.issue(&*ground.provider).await.unwrap();
        fs::write(ground.path("client.crt"), field(&issued, "certificate")).unwrap();
        let verify = || {
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-x509_strict", "-crl_check", "-purpose", "sslclient", "-CAfile"]);
            openssl.arg(ground.path("ca.crt")).arg("-CRLfile").arg(ground.path("ca.crl"));
            run(openssl.arg(ground.path("client.crt")))
        };
        let said = verify();
        assert!(said.success, "{said:?}");
        ask.revoke(&*ground.provider, None).await.unwrap();
        let said = verify();
        assert!(!said.success && said.err.contains("certificate revoked"), "{said:?}");
        let mut openssl = Command::new("openssl");
        let said = run(openssl
            .args(["crl", "-inform", "DER", "-noout", "-text", "-in"])
            .arg(ground.path("ca.crl.der")));
        assert!(said.out.to_lowercase().replace(':', "").contains(field(&issued, "serial")), "{said:?}");
    }
}

/// A request made by another tool: only its key is taken, not the names it wishes for.
#[tokio::test]
async fn a_request_of_openssl_gets_the_roles_names() {
    if !crate::servers::is_installed("openssl") {
        return;
    }
    let ground = ground(&rcgen::PKCS_ECDSA_P256_SHA256);
    for kind in [&["ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..], &["rsa:3072"], &["ed25519"]] {
        let (key, csr) = (ground.path("own.key"), ground.path("own.csr"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-new",
            "-nodes",
            "-subj",
            "/CN=root",
            "-addext",
            "basicConstraints=critical,CA:true",
        ]);
        openssl
            .args(["-addext", "subjectAltName=URI:spiffe://evil.example/x,DNS:evil.example", "-newkey"])
            .args(kind);
        let said = run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&csr));
        assert!(said.success, "{said:?}");
        let ask = asking(json!({"spiffe_id": "spiffe://ci.example/r/{repository_id}"}));
        let issued =
            ask.with("csr", fs::read_to_string(&csr).unwrap()).issue(&*ground.provider).await.unwrap();
        assert!(issued.credential.field("private_key").is_none());
        let file = ground.path("own.crt");
        fs::write(&file, field(&issued, "certificate")).unwrap();
        let shown = run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&file)).out;
        assert!(shown.contains("URI:spiffe://ci.example/r/42") && shown.contains("CA:FALSE"), "{shown}");
        assert!(!shown.contains("evil.example") && !shown.contains("CN = root"), "{shown}");
        let public = |args: &[&str], file: &PathBuf| run(Command::new("openssl").args(args).arg(file)).out;
        assert_eq!(
            public(&["x509", "-noout", "-pubkey", "-in"], &file),
            public(&["pkey", "-pubout", "-in"], &key)
        );
    }
    let weak = ground.path("weak.csr");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-new",
        "-nodes",
        "-subj",
        "/CN=x",
        "-newkey",
        "rsa:2048",
        "-keyout",
        "/dev/null",
        "-out",
    ]);
    assert!(run(openssl.arg(&weak)).success);
    let ask = asking(json!({"common_name": "x"})).with("csr", fs::read_to_string(&weak).unwrap());
    let refused = ask.issue(&*ground.provider).await;
    assert!(matches!(refused, Err(ProviderError::Denied(_))), "{refused:?}");
}

/// The other common verifier, in this process: takes the certificate, and not once the list names it.
#[tokio::test]
async fn rustls_agrees() {
    let ground = ground(&rcgen::PKCS_ECDSA_P384_SHA384);
    let names = json!({"spiffe_id": "spiffe://ci.example/r/{repository_id}"});
    let ask = asking(names).with("generate", "true");
    let issued = ask.issue(&*ground.provider).await.unwrap();
    assert_eq!(rustls_says(&ground, &issued).await, Ok(()));
    ask.revoke(&*ground.provider, None).await.unwrap();
    let refused = rustls_says(&ground, &issued).await.unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
}

async fn rustls_says(ground: &Ground, issued: &Issued) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ground.path("ca.crt")).unwrap()).unwrap();
    let roots = Arc::new(roots);
    let list = CertificateRevocationListDer::from(fs::read(ground.path("ca.crl.der")).unwrap());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&roots),
        Arc::clone(&provider),
    );
    let clients = clients.with_crls([list]).enforce_revocation_expiration().build().unwrap();
    let own = vec![CertificateDer::from_pem_file(ground.path("server.crt")).unwrap()];
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let server = server.unwrap().with_client_cert_verifier(clients);
    let server = server
        .with_single_cert(own, PrivateKeyDer::from_pem_file(ground.path("server.key")).unwrap())
        .unwrap();

    let certificate = CertificateDer::from_pem_slice(field(issued, "certificate").as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(field(issued, "private_key").as_bytes()).unwrap();
    let client =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key).unwrap();

    let (near, far) = tokio::io::duplex(64 << 10);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let connecting = connector.connect(ServerName::try_from("localhost").unwrap(), near);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let (_client, accepted) = tokio::join!(connecting, acceptor.accept(far));
    accepted.map(drop).map_err(|e| e.to_string())
}
