//! An issuer on the loopback address: discovery, keys, tokens, and everything that can go wrong with them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::keys::TestKey;
use crate::identity::issuer::IssuerConfig;
use crate::platform;
use crate::secret::{self, Secret};

/// The audience that the tokens of a test issuer name.
pub const AUDIENCE: &str = "https://broker.test";

/// One of the documents that an issuer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// The key set.
    Keys,
}

/// What goes wrong with a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is not there: 404.
    Gone,
    /// The issuer answers with this status.
    Status(u16),
    /// It begins as it should and goes on for ten megabytes; no length is said beforehand.
    Huge,
    /// The answer takes this long to begin.
    Slow(Duration),
    /// A byte comes now and then.
    Drip,
    /// It lies elsewhere, says the issuer.
    Redirect(String),
    /// It is this instead.
    Instead(String),
}

struct Shared {
    url: String,
    keys: Vec<TestKey>,
    faults: Vec<(Document, Fault)>,
    served: [usize; 2],
}

/// An issuer for tests. Its server ends with it.
pub struct TestIssuer {
    shared: Arc<Mutex<Shared>>,
    url: String,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

impl TestIssuer {
    /// Starts an issuer on a free port of the loopback address.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start() -> TestIssuer {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let mut issuer = TestIssuer::named(&url);
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .with_state(Arc::clone(&issuer.shared));
        issuer.server = Some(tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the server runs until it is aborted");
        }));
        issuer
    }

    /// An issuer of this name that serves nothing: for tests that read its keys from a file.
    pub fn named(url: &str) -> TestIssuer {
        let shared = Shared {
            url: url.to_owned(),
            keys: vec![TestKey::Rsa, TestKey::P256],
            faults: Vec::new(),
            served: [0; 2],
        };
        TestIssuer { shared: Arc::new(Mutex::new(shared)), url: url.to_owned(), server: None }
    }

    /// Its name in tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its entry in a configuration, as an issuer of this platform.
    ///
    /// # Panics
    /// There is no such platform.
    pub fn config(&self, platform: &str) -> IssuerConfig {
        let platform = platform::by_name(platform).expect("the name of a platform");
        IssuerConfig { issuer: Some(self.url.clone()), internal: true, ..IssuerConfig::new(platform) }
    }

    /// A token that is accepted: issued a second ago, good for five minutes, with a new `jti`. `claims` are added and
    /// win; `mint(json!({"sub": "me"}))`.
    ///
    /// # Panics
    /// The claims are not an object.
    pub fn mint(&self, claims: Value) -> Secret {
        self.mint_at(Timestamp::now(), claims)
    }

    /// The same, at another time.
    ///
    /// # Panics
    /// The claims are not an object.
    pub fn mint_at(&self, now: Timestamp, claims: Value) -> Secret {
        self.mint_with(TestKey::Rsa, &self.header(TestKey::Rsa), &self.standard(now, claims))
    }

    /// A token with exactly this header and these claims, signed with this key.
    pub fn mint_with(&self, key: TestKey, header: &Value, claims: &Value) -> Secret {
        self.mint_text(key, &header.to_string(), &claims.to_string())
    }

    /// A token with exactly this text as header and claims, signed with this key.
    pub fn mint_text(&self, key: TestKey, header: &str, claims: &str) -> Secret {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = key.sign(signed.as_bytes());
        Secret::text(format!("{signed}.{signature}"))
    }

    /// The header of tokens signed with this key.
    pub fn header(&self, key: TestKey) -> Value {
        json!({ "typ": "JWT", "alg": key.algorithm(), "kid": key.kid() })
    }

    /// The claims of a token that is accepted, with `claims` added.
    ///
    /// # Panics
    /// The claims are not an object.
    pub fn standard(&self, now: Timestamp, claims: Value) -> Value {
        let now = now.as_second();
        let mut all = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "test", "jti": hex::encode(secret::random::<16>()),
            "iat": now - 1, "nbf": now - 6, "exp": now + 299,
        });
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        all.as_object_mut().expect("an object").extend(claims);
        all
    }

    /// Its key set.
    pub fn key_set(&self) -> Value {
        key_set(&self.shared().keys)
    }

    /// Changes its keys: [`TestKey::Rsa`] goes, [`TestKey::NextRsa`] comes.
    pub fn rotate(&self) {
        self.shared().keys = vec![TestKey::NextRsa, TestKey::P256];
    }

    /// From now on this goes wrong with the document.
    pub fn fault(&self, document: Document, fault: Fault) {
        let mut shared = self.shared();
        shared.faults.retain(|(known, _)| *known != document);
        shared.faults.push((document, fault));
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.shared().faults.clear();
    }

    /// How often the document was asked for.
    pub fn served(&self, document: Document) -> usize {
        self.shared().served[document as usize]
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_set(keys: &[TestKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}

async fn discovery(State(shared): State<Arc<Mutex<Shared>>>) -> Response {
    let document = {
        let url = &lock(&shared).url;
        json!({ "issuer": url, "jwks_uri": format!("{url}/keys"), "id_token_signing_alg_values_supported": ["RS256"] })
    };
    serve(&shared, Document::Discovery, &document).await
}

async fn keys(State(shared): State<Arc<Mutex<Shared>>>) -> Response {
    let document = key_set(&lock(&shared).keys);
    serve(&shared, Document::Keys, &document).await
}

async fn serve(shared: &Mutex<Shared>, which: Document, document: &Value) -> Response {
    let fault = {
        let mut shared = lock(shared);
        shared.served[which as usize] += 1;
        shared.faults.iter().find(|(known, _)| *known == which).map(|(_, fault)| fault.clone())
    };
    let text = document.to_string();
    match fault {
        None => plain(text),
        Some(Fault::Gone) => status(404),
        Some(Fault::Status(code)) => status(code),
        Some(Fault::Huge) => Response::new(streamed(text, Duration::ZERO)),
        Some(Fault::Drip) => Response::new(streamed(text, Duration::from_millis(500))),
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            plain(text)
        }
        Some(Fault::Redirect(to)) => {
            let mut response = status(302);
            let to = HeaderValue::from_str(&to).expect("a redirect's target is a header's value");
            response.headers_mut().insert(header::LOCATION, to);
            response
        }
        Some(Fault::Instead(other)) => plain(other),
    }
}

fn plain(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(code: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

/// A body without a length: without a pause ten megabytes of spaces after the text, else byte by byte.
fn streamed(text: String, pause: Duration) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    tokio::spawn(async move {
        let pieces: Box<dyn Iterator<Item = Vec<u8>> + Send> = if pause.is_zero() {
            let spaces = std::iter::repeat_n(vec![b' '; 64 * 1024], 160);
            Box::new(std::iter::once(text.into_bytes()).chain(spaces))
        } else {
            Box::new(text.into_bytes().into_iter().map(|byte| vec![byte]))
        };
        for piece in pieces {
            if sender.send(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
    });
    Body::new(Pieces(receiver))
}

struct Pieces(tokio::sync::mpsc::Receiver<Vec<u8>>);

impl hyper::body::Body for Pieces {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(hyper::body::Frame::data(piece.into()))))
    }
}
