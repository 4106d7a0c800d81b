//! Listening: TLS with files that are read again when they change, client certificates where wanted, limits on how long
//! a client may take and how many there may be, and an end that lets requests finish.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// How a server listens.
#[derive(Debug, Clone)]
pub struct Options {
    /// TLS; without it only loopback addresses may be listened on.
    pub tls: Option<TlsFiles>,
    /// Whether plain HTTP may be served on an address that others reach: a proxy on another machine ends TLS.
    pub is_open_allowed: bool,
    /// Connections at once; more wait.
    pub connections: usize,
    /// A client has so long for the TLS handshake, and again for the head of each request.
    pub head: Duration,
    /// A connection ends after this time, when the request under way is answered: one that reads its answer a byte at a
    /// time does not keep its place for ever.
    pub life: Duration,
    /// After the word to stop, or the end of a connection's life, a request has so long to finish.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tls: None,
            is_open_allowed: false,
            connections: 4096,
            head: Duration::from_secs(10),
            life: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(30),
        }
    }
}

/// Where the server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM certificates, the server's own first.
    pub certificates: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// PEM certificates of the authorities whose client certificates are accepted. With it, every client needs one.
    pub client_authorities: Option<PathBuf>,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Without TLS, tokens and credentials would travel in the open.
    #[error(
        "{0} is no loopback address: configure `server.tls`, or listen on 127.0.0.1 behind a proxy that speaks TLS"
    )]
    Open(SocketAddr),
    /// A file for TLS is not usable.
    #[error("{path}: {what}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A socket that is listened on, not served yet.
pub struct Listening {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Reloading>>,
    options: Options,
}

impl Listening {
    /// Listens on `address`.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn on(address: SocketAddr, options: Options) -> Result<Listening, ListenError> {
        if options.tls.is_none() && !options.is_open_allowed && !address.ip().is_loopback() {
            return Err(ListenError::Open(address));
        }
        let tls = options.tls.clone().map(Reloading::new).transpose()?.map(Arc::new);
        let failed = |source| ListenError::Address { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listening { socket, address, tls, options })
    }

    /// The address, with the port that the system gave.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` says true, then lets what is under way finish.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.options.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.socket, &places) => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                () = stopped(&mut stop) => break,
            };
            let (stream, peer, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: they come back when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (router, stop, tls) = (router.clone(), stop.clone(), self.tls.clone());
            let times = Times { head: self.options.head, life: self.options.life, drain: self.options.drain };
            connections.spawn(async move {
                let _place = place;
                if let Err(error) = connection(stream, peer, tls.as_deref(), router, times, stop).await {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
            });
        }
        drop(self.socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.options.drain, drained).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
    }
}

/// How long the parts of a connection may take, see [`Options`].
#[derive(Clone, Copy)]
struct Times {
    head: Duration,
    life: Duration,
    drain: Duration,
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// Takes a place first: beyond the limit, connections wait in the system's queue.
async fn accept(socket: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, Place)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means stop as well.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Serves one connection.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&Reloading>,
    router: Router,
    times: Times,
    stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match tls {
        None => http(TokioIo::new(stream), peer, router, times, stop).await,
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.current());
            let stream = tokio::time::timeout(times.head, acceptor.accept(stream)).await??;
            http(TokioIo::new(stream), peer, router, times, stop).await
        }
    }
}

async fn http<S>(
    io: TokioIo<S>,
    peer: SocketAddr,
    router: Router,
    times: Times,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(times.head).max_headers(64).max_buf_size(64 * 1024);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        done = connection.as_mut() => return Ok(done?),
        () = stopped(&mut stop) => {}
        () = tokio::time::sleep(times.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(tokio::time::timeout(times.drain, connection).await??)
}

/// A TLS configuration that follows its files.
struct Reloading {
    files: TlsFiles,
    state: Mutex<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    /// When each file was changed last.
    changed: Vec<Option<SystemTime>>,
    looked: std::time::Instant,
}

/// Files are looked at once in so long.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Reloading {
    fn new(files: TlsFiles) -> Result<Reloading, ListenError> {
        let loaded =
            Loaded { changed: changes(&files), config: load(&files)?, looked: std::time::Instant::now() };
        Ok(Reloading { files, state: Mutex::new(loaded) })
    }

    /// The configuration for a new connection. Files that changed and cannot be used leave the old one in place.
    fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = std::time::Instant::now();
            let changed = changes(&self.files);
            if changed != state.changed {
                match load(&self.files) {
                    Ok(config) => {
                        state.config = config;
                        state.changed = changed;
                        tracing::info!("the server's certificate was read again");
                    }
                    Err(error) => tracing::error!(%error, "the server's new certificate cannot be used"),
                }
            }
        }
        Arc::clone(&state.config)
    }
}

fn changes(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let all = [Some(&files.certificates), Some(&files.key), files.client_authorities.as_ref()];
    let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    all.into_iter().flatten().map(changed).collect()
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, ListenError> {
    let wrong = |path: &PathBuf, what: String| ListenError::File { path: path.clone(), what };
    let read = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, ListenError> {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(|e| wrong(path, e.to_string()))?.collect();
        let found = found.map_err(|e| wrong(path, e.to_string()))?;
        if found.is_empty() { Err(wrong(path, "it holds no PEM certificate".into())) } else { Ok(found) }
    };
    let certificates = read(&files.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&files.certificates, e.to_string()))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for authority in read(path)? {
                roots.add(authority).map_err(|e| wrong(path, e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| wrong(path, e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|e| wrong(&files.key, format!("it does not fit the certificate: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
