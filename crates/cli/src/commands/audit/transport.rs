//! Ways out for events: standard output, a file, syslog over UDP, TCP and TLS, HTTP and HTTPS. Each is a [`Sink`] of the
//! library; none waits for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::export::{Outgoing, Sink, SinkError};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::screen::Screen;
use crate::commands::net::Net;

/// How long a connection or a write may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request with its answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Turns a batch into what goes over the wire, message by message.
pub(super) type Encode = Box<dyn Fn(&[Outgoing]) -> Vec<Vec<u8>>>;
/// Gives more headers for a body.
pub(super) type Headers = Box<dyn Fn(&[u8]) -> Vec<(&'static str, String)>>;

/// A way out. Receivers that are away come back; a pipe that nobody reads any more does not, and is no error worth a
/// message, so its error is kept as it is.
pub(super) trait WayOut: Sink {
    /// The error of the last delivery, where it was this machine's and not the receiver's.
    fn failure(&mut self) -> Option<io::Error> {
        None
    }
}

/// Writes lines.
pub(super) struct Lines {
    to: Lineout,
    encode: Encode,
    failure: Option<io::Error>,
}

impl Lines {
    pub(super) fn new(to: Lineout, encode: Encode) -> Lines {
        Lines { to, encode, failure: None }
    }
}

impl WayOut for Lines {
    fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

impl WayOut for Udp {}
impl WayOut for Stream {}
impl WayOut for Http {}

pub(super) enum Lineout {
    Screen(Screen),
    File(File),
}

impl Lineout {
    /// A file to append to, which only its owner may read.
    pub(super) fn file(path: &Path) -> anyhow::Result<Lineout> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        Ok(Lineout::File(options.open(path).with_context(|| format!("{}", path.display()))?))
    }
}

impl Sink for Lines {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        let mut bytes = Vec::new();
        for message in (self.encode)(batch) {
            bytes.extend_from_slice(&message);
            bytes.push(b'\n');
        }
        let written = match &mut self.to {
            Lineout::Screen(screen) => screen.write_all(&bytes).and_then(|()| screen.flush()),
            // The cursor moves on after this: what it says was delivered must not be lost.
            Lineout::File(file) => file.write_all(&bytes).and_then(|()| file.sync_data()),
        };
        written.map_err(|e| {
            let why = e.to_string();
            self.failure = Some(e);
            SinkError::Refused(why)
        })
    }
}

/// Sends each message as a datagram.
pub(super) struct Udp {
    socket: UdpSocket,
    encode: Encode,
}

impl Udp {
    pub(super) fn new(address: &str, encode: Encode) -> anyhow::Result<Udp> {
        let to = resolve(address)?;
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).and_then(|socket| socket.connect(to).map(|()| socket));
        Ok(Udp { socket: socket.with_context(|| address.to_owned())?, encode })
    }
}

impl Sink for Udp {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        (self.encode)(batch).iter().try_for_each(|message| self.socket.send(message).map(drop)).map_err(again)
    }
}

/// Sends messages over one connection, each after its length (RFC 6587 octet counting, RFC 5425 with TLS); connects anew
/// after a failure.
pub(super) struct Stream {
    address: String,
    /// The name that the receiver's certificate must have.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    connection: Option<Connection>,
    encode: Encode,
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(address: &str, encode: Encode) -> Stream {
        Stream { address: address.to_owned(), tls: None, connection: None, encode }
    }

    /// With TLS, for a receiver whose certificate the system trusts.
    pub(super) fn tls(address: &str, encode: Encode) -> anyhow::Result<Stream> {
        let (host, _) = address.rsplit_once(':').with_context(|| format!("{address}: expected HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = ServerName::try_from(host).with_context(|| format!("{address}: not a host's name"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        let tls = Some((Arc::new(config), host));
        Ok(Stream { address: address.to_owned(), tls, connection: None, encode })
    }

    fn connect(&self) -> io::Result<Connection> {
        let plain = connect(&self.address)?;
        let Some((config, host)) = &self.tls else { return Ok(Connection::Plain(plain)) };
        plain.set_read_timeout(Some(TIMEOUT))?;
        let session = ClientConnection::new(Arc::clone(config), host.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, plain);
        // The handshake is done before anything is counted as sent.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection::Tls(Box::new(stream)))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(mut connection) => {
                if connection.is_open() {
                    connection
                } else {
                    self.connect()?
                }
            }
            None => self.connect()?,
        };
        match &mut connection {
            Connection::Plain(stream) => stream.write_all(bytes)?,
            Connection::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush())?,
        }
        self.connection = Some(connection);
        Ok(())
    }
}

impl Connection {
    /// Whether the receiver has not hung up. Syslog answers nothing, so that a write alone would not tell in time.
    fn is_open(&mut self) -> bool {
        let nothing = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
        match self {
            Connection::Plain(stream) => {
                let seen = without_waiting(stream, |stream| stream.peek(&mut [0]));
                seen.map_or_else(|e| nothing(&e), |seen| seen > 0)
            }
            Connection::Tls(stream) => {
                // Tickets and the like are taken in; a goodbye is found.
                let StreamOwned { conn, sock } = &mut **stream;
                let seen = without_waiting(sock, |mut sock| conn.read_tls(&mut sock));
                match seen {
                    Ok(0) => false,
                    Ok(_) => conn.process_new_packets().is_ok_and(|state| !state.peer_has_closed()),
                    Err(e) => nothing(&e),
                }
            }
        }
    }
}

fn without_waiting<T>(stream: &TcpStream, read: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
    stream.set_nonblocking(true)?;
    let seen = read(stream);
    stream.set_nonblocking(false)?;
    seen
}

impl Sink for Stream {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        let mut bytes = Vec::new();
        for message in (self.encode)(batch) {
            bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
            bytes.extend_from_slice(&message);
        }
        self.send(&bytes).map_err(again)
    }
}

/// Posts each message; 2xx is delivered, 408, 425, 429 and 5xx mean again, anything else is for good.
pub(super) struct Http {
    net: Net,
    url: Url,
    content_type: &'static str,
    headers: Headers,
    encode: Encode,
}

impl Http {
    pub(super) fn new(
        url: &str,
        content_type: &'static str,
        headers: Headers,
        encode: Encode,
    ) -> anyhow::Result<Http> {
        let url = Url::parse(url).context("--to: not a URL")?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "--to: no user and password in the URL: it could be read by others"
        );
        Ok(Http { net: Net::new(ANSWER_TIME, false)?, url, content_type, headers, encode })
    }

    fn post(&self, body: Vec<u8>) -> anyhow::Result<u16> {
        let mut request = self.net.client().post(self.url.clone()).header(CONTENT_TYPE, self.content_type);
        for (name, value) in (self.headers)(&body) {
            request = request.header(name, value);
        }
        self.net.status(request.body(body))
    }
}

impl Sink for Http {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        for body in (self.encode)(batch) {
            match self.post(body).map_err(|e| SinkError::Again(format!("{e:#}")))? {
                200..300 => {}
                status @ (408 | 425 | 429 | 500..600) => {
                    return Err(SinkError::Again(format!("the receiver answered {status}")));
                }
                status => return Err(SinkError::Refused(format!("the receiver answered {status}"))),
            }
        }
        Ok(())
    }
}

/// Everything that the network does may pass: the batch comes again.
#[expect(clippy::needless_pass_by_value, reason = "to be named where a result's error is mapped")]
fn again(error: io::Error) -> SinkError {
    SinkError::Again(match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    })
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let to = resolve(address).map_err(io::Error::other)?;
    let connection = TcpStream::connect_timeout(&to, TIMEOUT)?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

fn resolve(address: &str) -> anyhow::Result<std::net::SocketAddr> {
    let mut found = address.to_socket_addrs().with_context(|| format!("{address}: expected HOST:PORT"))?;
    match found.next() {
        Some(to) => Ok(to),
        None => bail!("{address}: no such host"),
    }
}
