//! Ways out for events: standard output, a file, syslog over UDP and TCP, HTTP. Each is a [`Sink`] of the library; none
//! waits for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use claviger_audit::export::{Outgoing, Sink, SinkError};

use super::screen::Screen;

/// How long a connection, a write, or a whole answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of an answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Turns a batch into what goes over the wire, message by message.
pub(super) type Encode = Box<dyn Fn(&[Outgoing]) -> Vec<Vec<u8>>>;
/// Gives more headers for a body, each with its line end.
pub(super) type Headers = Box<dyn Fn(&[u8]) -> String>;

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
impl WayOut for Tcp {}
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

/// Sends messages over one connection, each after its length (RFC 6587 octet counting); connects anew after a failure.
pub(super) struct Tcp {
    pub(super) address: String,
    pub(super) connection: Option<TcpStream>,
    pub(super) encode: Encode,
}

impl Tcp {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) if is_open(connection) => connection,
            none => none.insert(connect(&self.address)?),
        };
        connection.write_all(bytes)
    }
}

/// Whether the receiver has not hung up. Syslog answers nothing, so that a write alone would not tell in time.
fn is_open(connection: &TcpStream) -> bool {
    let peek = || {
        connection.set_nonblocking(true)?;
        let seen = connection.peek(&mut [0]);
        connection.set_nonblocking(false)?;
        seen
    };
    match peek() {
        Ok(seen) => seen > 0,
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}

impl Sink for Tcp {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        let mut bytes = Vec::new();
        for message in (self.encode)(batch) {
            bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
            bytes.extend_from_slice(&message);
        }
        self.send(&bytes).map_err(|e| {
            self.connection = None;
            again(e)
        })
    }
}

/// Posts each message; 2xx is delivered, 408, 425, 429 and 5xx mean again, anything else is for good.
pub(super) struct Http {
    host: String,
    address: String,
    path: String,
    content_type: &'static str,
    headers: Headers,
    encode: Encode,
}

impl Http {
    /// `rest` is what follows `http://`.
    pub(super) fn new(
        rest: &str,
        content_type: &'static str,
        headers: Headers,
        encode: Encode,
    ) -> anyhow::Result<Http> {
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        ensure!(!host.contains('@'), "--to: no user and password in the URL: it could be read by others");
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        ensure!(is_plain(host) && is_plain(path), "--to: not a URL; spaces and such are written as %20");
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Http { host: host.to_owned(), address, path: path.to_owned(), content_type, headers, encode })
    }

    fn post(&self, body: &[u8]) -> io::Result<u16> {
        let mut connection = connect(&self.address)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nUser-Agent: claviger/{}\r\n\
             {}Connection: close\r\n\r\n",
            self.path,
            self.host,
            self.content_type,
            body.len(),
            env!("CARGO_PKG_VERSION"),
            (self.headers)(body)
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        read_status(&mut connection)
    }
}

impl Sink for Http {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        for body in (self.encode)(batch) {
            match self.post(&body).map_err(again)? {
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

/// The status of an answer. Its head must arrive within [`TIMEOUT`], however slowly it is dripped.
fn read_status(connection: &mut TcpStream) -> io::Result<u16> {
    let deadline = Instant::now() + TIMEOUT;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        let count = connection.read(&mut piece)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the receiver hung up without an answer",
            ));
        }
        head.extend_from_slice(&piece[..count]);
        if head.len() > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the receiver's answer is too long"));
        }
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let status = std::str::from_utf8(line).ok().and_then(|line| {
        line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()
    });
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the receiver does not speak HTTP"))
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
