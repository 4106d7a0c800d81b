//! Over TLS: authorities of one's own, wrong names, and the cluster that a pod asks for a token.

use std::collections::HashMap;
use std::path::Path;

use claviger_broker::fetch::{Call, Fetch, FetchError, Guard, Options};
use claviger_broker::platform::by_name;
use claviger_broker::testing::TestEnv;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// Answers by path.
type Pages = Arc<Mutex<HashMap<String, String>>>;

/// A server with a certificate for `name`; its port, its authority in PEM, and what it was asked.
async fn server(name: &str, pages: Pages) -> (u16, String, Arc<Mutex<Vec<String>>>) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, pages, seen) = (acceptor.clone(), Arc::clone(&pages), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let request = request(&mut stream).await?;
                let path = request.split(' ').nth(1)?.to_owned();
                seen.lock().ok()?.push(request);
                let page = pages.lock().ok()?.get(&path).cloned();
                let status = if page.is_some() { "200 OK" } else { "404 Not Found" };
                let page = page.unwrap_or_default();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                    page.len()
                );
                stream.write_all(answer.as_bytes()).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    (port, authority.pem(), asked)
}

/// A request with the body that its length announces.
async fn request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await.ok()? {
            0 => return None,
            length => request.extend_from_slice(&piece[..length]),
        }
    }
}

#[tokio::test]
async fn an_issuer_with_an_authority_of_its_own() {
    let pages = Pages::default();
    let (port, authority, _) = server("localhost", Arc::clone(&pages)).await;
    let url = format!("https://localhost:{port}");
    let issuer = TestIssuer::named(&url);
    let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string();
    pages.lock().expect("no panic").extend([
        ("/.well-known/openid-configuration".to_owned(), discovery),
        ("/keys".to_owned(), issuer.key_set().to_string()),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &authority).expect("written");
    let config = IssuerConfig { ca_file: Some(path), ..issuer.config("oidc") };
    assert!(verifier(&config).verify(&issuer.mint(json!({}))).await.is_ok());
    // Without it nobody vouches for the server.
    let stranger = verifier(&issuer.config("oidc"));
    let refused = stranger.verify(&issuer.mint(json!({}))).await.expect_err("no keys");
    assert_eq!(refused.code(), Code::KeysUnavailable);
    // Not marked as internal, it is not even called.
    let public = verifier(&IssuerConfig { internal: false, ..config });
    assert!(public.verify(&issuer.mint(json!({}))).await.is_err());
    let trouble = public.status()[0].trouble.as_ref().expect("trouble").to_string();
    assert!(trouble.contains("is not public"), "{trouble}");
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let (port, authority, asked) = server("other.test", Pages::default()).await;
    let options = Options { ca_pem: Some(authority.into_bytes()), ..Options::new(Guard::Internal) };
    let fetch = Fetch::new(&options).expect("a client");
    let secret = Secret::text("the-secret".to_owned());
    let call = Call::get(format!("https://localhost:{port}/")).bearer(&secret);
    let error = fetch.send(call).await.expect_err("refused");
    assert!(matches!(error, FetchError::NoConnection { .. }), "{error:?}");
    assert!(!error.is_ambiguous(), "nothing was sent");
    assert!(asked.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn authorities_that_are_none() {
    let empty = ["-----BEGIN", " CERTIFICATE-----\nAAAA\n-----END", " CERTIFICATE-----\n"].concat();
    for pem in ["", "rubbish", &empty] {
        let options = Options { ca_pem: Some(pem.as_bytes().to_vec()), ..Options::new(Guard::Internal) };
        assert!(matches!(Fetch::new(&options), Err(FetchError::Authorities(_))), "{pem}");
    }
}

#[tokio::test]
async fn calls_that_are_not_made() {
    let public = Fetch::new(&Options::new(Guard::Public)).expect("a client");
    for url in [
        "http://1.1.1.1/",
        "https://10.0.0.1/",
        "https://user@1.1.1.1/",
        "https://localhost/",
        "ftp://1.1.1.1/",
        "not a URL",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::ffff:a00:1]/",
    ] {
        let error = public.send(Call::get(url)).await.expect_err(url);
        assert!(matches!(error, FetchError::Forbidden { .. }), "{url}: {error:?}");
        assert!(!error.is_transient() && !error.is_ambiguous());
    }
    let internal = Fetch::new(&Options::new(Guard::Internal)).expect("a client");
    let error = internal.send(Call::get("http://10.0.0.1/")).await.expect_err("plain HTTP");
    assert!(matches!(error, FetchError::Forbidden { .. }), "{error:?}");
    let injected = internal.send(Call::get("http://127.0.0.1:1/").header("x-a", "b\r\nx-c: d")).await;
    assert!(matches!(injected, Err(FetchError::Forbidden { .. })));
}

#[tokio::test]
async fn a_pod_asks_its_cluster() {
    let issuer = TestIssuer::named("https://cluster.test");
    let own = issuer.mint(json!({ "sub": "system:serviceaccount:shop:deployer", "aud": "cluster" }));
    let answer = json!({ "status": { "token": "the-token", "expirationTimestamp": "2026-11-25T00:00:00Z" } });
    let path = "/api/v1/namespaces/shop/serviceaccounts/deployer/token";
    let pages = Pages::default();
    pages.lock().expect("no panic").insert(path.to_owned(), answer.to_string());
    let (port, authority, asked) = server("127.0.0.1", Arc::clone(&pages)).await;
    let port = port.to_string();
    let account = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
    let pod = |token: &str| {
        TestEnv::new([("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", port.as_str())])
            .file(account.join("token"), token)
            .file(account.join("ca.crt"), &authority)
    };
    let ask = async |env: TestEnv| {
        let http = Fetch::new(&Options::new(Guard::Ambient)).expect("a client");
        let token = by_name("kubernetes").expect("a platform").token(&env, AUDIENCE, &http).await?;
        Ok::<_, claviger_broker::platform::TokenError>(token.expose_text().expect("text").to_owned())
    };
    let own = own.expose_text().expect("text").to_owned();
    assert_eq!(ask(pod(&own)).await.as_deref(), Ok("the-token"));
    let request = asked.lock().expect("no panic")[0].clone();
    assert!(request.starts_with(&format!("POST {path} ")), "{request}");
    assert!(request.contains("\"audiences\":[\"https://broker.test\"]"), "{request}");
    // A cluster that refuses.
    pages.lock().expect("no panic").clear();
    let error = ask(pod(&own)).await.expect_err("refused");
    assert!(error.to_string().contains("serviceaccounts/token") && !error.is_transient(), "{error}");
    // A token that would lead elsewhere.
    let nasty = issuer.mint(json!({ "sub": "system:serviceaccount:shop/../../x:deployer" }));
    let error = ask(pod(nasty.expose_text().expect("text"))).await.expect_err("no path in a name");
    assert!(error.to_string().contains("not a service account's"), "{error}");
    assert!(ask(pod("rubbish")).await.is_err());
    let bare = TestEnv::new([("KUBERNETES_SERVICE_HOST", "127.0.0.1")]);
    let error = ask(bare).await.expect_err("nothing mounted");
    assert!(error.to_string().contains("serviceAccountToken"), "{error}");
}
