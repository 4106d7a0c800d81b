//! As little of an HTTP/1.1 server as the formats need: one request a connection, of bounded size, within bounded time.
//!
//! Only so many connections are served at once; the rest wait in the system's queue.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::commands::print;
use crate::warn;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// A request must have arrived after this time, however slowly it is dripped.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Each part of an answer must have gone after this time.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer that are written in one go.
const PART: usize = 64 * 1024;
/// An answer must have gone as a whole after this time.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Connections served at once.
const MAX_CONNECTIONS: usize = 64;

/// A request, as read.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Begins with `/`.
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
    /// More headers, each with its line end.
    pub(super) more: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A few words that nobody keeps.
    pub(super) fn text(status: u16, text: &str) -> Answer {
        Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            cache_control: "no-store",
            more: "",
            body: text.as_bytes().to_vec(),
        }
    }

    /// For a method that is none of those allowed.
    pub(super) fn wrong_method(allowed: &'static str) -> Answer {
        Answer { more: allowed, ..Answer::text(405, "this method is not allowed here\n") }
    }
}

/// How a server is set up.
pub(super) struct Server {
    pub(super) listen: SocketAddr,
    /// May others than this machine reach it?
    pub(super) public: bool,
    /// Longest body of a request, in bytes.
    pub(super) most: usize,
    /// What is printed behind the address once it listens.
    pub(super) path: &'static str,
}

impl Server {
    /// Serves until the process ends.
    pub(super) fn run(
        &self,
        answer: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        ensure!(
            self.public || self.listen.ip().is_loopback(),
            "{}: others could reach what is served there; add --public if they may",
            self.listen
        );
        let listener = TcpListener::bind(self.listen).with_context(|| self.listen.to_string())?;
        print(&format!("http://{}{}\n", listener.local_addr()?, self.path))?;
        let (seats, answer, most) = (Arc::new(Seats::default()), Arc::new(answer), self.most);
        for connection in listener.incoming() {
            let connection = match connection {
                Ok(connection) => connection,
                Err(e) => {
                    // Out of descriptors, or the other side has gone: a short rest, and on.
                    warn(&format!("accept: {e}"));
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let seat = Seats::take(&seats);
            let answer = Arc::clone(&answer);
            let spawned = std::thread::Builder::new().spawn(move || {
                // Whatever goes wrong with one connection is its own affair.
                let _ = serve(connection, most, &*answer);
                drop(seat);
            });
            if let Err(e) = spawned {
                warn(&format!("thread: {e}"));
            }
        }
        Ok(())
    }
}

/// How many connections are being served.
#[derive(Default)]
struct Seats {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One of them, given back when dropped, also by a panic.
struct Seat(Arc<Seats>);

impl Seats {
    /// Waits until one is free.
    fn take(seats: &Arc<Seats>) -> Seat {
        let taken = seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            seats.freed.wait_while(taken, |n| *n >= MAX_CONNECTIONS).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Seat(Arc::clone(seats))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

fn serve(mut connection: TcpStream, most: usize, answer: &dyn Fn(&Request<'_>) -> Answer) -> io::Result<()> {
    connection.set_write_timeout(Some(WRITE_TIME))?;
    let mut arriving =
        Arriving { connection: &connection, deadline: Instant::now() + REQUEST_TIME, bytes: Vec::new() };
    let Some(end) = arriving.until_blank_line()? else {
        return write(&mut connection, &Answer::text(431, "the request is too long\n"), true);
    };
    let head = std::str::from_utf8(&arriving.bytes[..end]).unwrap_or_default().to_owned();
    let words: Vec<&str> = head.split("\r\n").next().unwrap_or_default().split(' ').collect();
    let (method, path) = match words[..] {
        [method, path, "HTTP/1.1" | "HTTP/1.0"] if path.starts_with('/') => (method, path),
        _ => return write(&mut connection, &Answer::text(400, "not a request\n"), true),
    };
    let length = match length(&head) {
        Ok(length) if length <= most => length,
        Ok(_) => return write(&mut connection, &Answer::text(413, "the body is too long\n"), true),
        Err(why) => return write(&mut connection, &Answer::text(411, why), true),
    };
    arriving.until(end + length)?;
    let body = &arriving.bytes[end..end + length];
    let answer = answer(&Request { method, path, body });
    write(&mut connection, &answer, method != "HEAD")
}

/// The length of the body that a head announces.
fn length(head: &str) -> Result<usize, &'static str> {
    let mut length = None;
    for (name, value) in head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a body must say its length\n");
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim();
            let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            // Two lengths are how requests are smuggled.
            if length.is_some() || !is_number {
                return Err("the length is not a number\n");
            }
            length = Some(value.parse().unwrap_or(usize::MAX));
        }
    }
    Ok(length.unwrap_or(0))
}

/// A request on its way in.
struct Arriving<'a> {
    connection: &'a TcpStream,
    deadline: Instant,
    bytes: Vec<u8>,
}

impl Arriving<'_> {
    fn more(&mut self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.connection.set_read_timeout(Some(left))?;
        let mut piece = [0; 4096];
        let count = self.connection.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend_from_slice(&piece[..count]);
        Ok(())
    }

    /// Where the head ends; `None` if it is too long.
    fn until_blank_line(&mut self) -> io::Result<Option<usize>> {
        loop {
            self.more()?;
            if let Some(at) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(at + 4));
            }
            if self.bytes.len() > MAX_HEAD {
                return Ok(None);
            }
        }
    }

    fn until(&mut self, length: usize) -> io::Result<()> {
        while self.bytes.len() < length {
            self.more()?;
        }
        Ok(())
    }
}

fn write(connection: &mut TcpStream, answer: &Answer, with_body: bool) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: {}\r\n\
         X-Content-Type-Options: nosniff\r\n{}Connection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len(),
        answer.cache_control,
        answer.more
    );
    connection.write_all(head.as_bytes())?;
    let deadline = Instant::now() + ANSWER_TIME;
    for part in answer.body.chunks(PART).take_while(|_| with_body) {
        // A reader that takes a byte now and then must not hold its seat for ever.
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.write_all(part)?;
    }
    connection.flush()
}
