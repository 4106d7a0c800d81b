//! `claviger audit serve`: tiles and checkpoint over HTTP/1.1, read-only.
//!
//! As little of HTTP as the format needs: GET and HEAD of one path, one request a connection. The head is short, must
//! arrive in time, and only so many connections are served at once; the rest wait in the system's queue.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use claviger_audit::files::Files;
use claviger_audit::serve::{Answer, answer};

use super::log_files;
use crate::Outcome;
use crate::args_audit::Serve;
use crate::commands::print;
use crate::warn;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// A head must have arrived after this time, however slowly it is dripped.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// An answer, which is below 17 MB, must have gone after this time in each of its parts.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer that are written in one go.
const PART: usize = 64 * 1024;
/// An answer must have gone as a whole after this time.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Connections served at once.
const MAX_CONNECTIONS: usize = 64;

pub(super) fn run(args: &Serve) -> anyhow::Result<Outcome> {
    let files = log_files(&args.dir)?;
    let checkpoint = Path::new(&args.dir).join("checkpoint");
    ensure!(checkpoint.is_file(), "{}: no checkpoint", args.dir.display());
    ensure!(
        args.public || args.listen.ip().is_loopback(),
        "{}: others could read the events there; add --public if they may",
        args.listen
    );
    let listener = TcpListener::bind(args.listen).with_context(|| args.listen.to_string())?;
    print(&format!("http://{}/checkpoint\n", listener.local_addr()?))?;
    let seats = Arc::new(Seats::default());
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
        let files = Arc::clone(&files);
        let spawned = std::thread::Builder::new().spawn(move || {
            // Whatever goes wrong with one connection is its own affair.
            let _ = serve(connection, &*files);
            drop(seat);
        });
        if let Err(e) = spawned {
            warn(&format!("thread: {e}"));
        }
    }
    Ok(Outcome::Clean)
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

fn serve(mut connection: TcpStream, files: &dyn Files) -> io::Result<()> {
    connection.set_write_timeout(Some(WRITE_TIME))?;
    let head = match read_head(&mut connection)? {
        Some(head) => head,
        None => return write(&mut connection, &refusal(431, "the request is too long\n"), false, ""),
    };
    let (reply, with_body, more) = reply(&head, files);
    write(&mut connection, &reply, with_body, more)
}

/// The request's head; `None` if it is too long.
fn read_head(connection: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + HEAD_TIME;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        let count = connection.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..count]);
        if head.windows(4).any(|four| four == b"\r\n\r\n") {
            return Ok(Some(head));
        }
        if head.len() > MAX_HEAD {
            return Ok(None);
        }
    }
}

/// The answer, whether its body is sent, and more headers.
fn reply(head: &[u8], files: &dyn Files) -> (Answer, bool, &'static str) {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let words: Option<Vec<&str>> = std::str::from_utf8(line).ok().map(|line| line.split(' ').collect());
    match words.as_deref() {
        Some([method @ ("GET" | "HEAD"), path, "HTTP/1.1" | "HTTP/1.0"]) if path.starts_with('/') => {
            (answer(files, path), *method == "GET", "")
        }
        Some([_, path, "HTTP/1.1" | "HTTP/1.0"]) if path.starts_with('/') => {
            (refusal(405, "only GET and HEAD\n"), true, "Allow: GET, HEAD\r\n")
        }
        _ => (refusal(400, "not a request\n"), true, ""),
    }
}

fn refusal(status: u16, text: &str) -> Answer {
    let content_type = "text/plain; charset=utf-8";
    Answer { status, content_type, cache_control: "no-store", body: text.as_bytes().to_vec() }
}

fn write(connection: &mut TcpStream, answer: &Answer, with_body: bool, more: &str) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: {}\r\n\
         X-Content-Type-Options: nosniff\r\n{more}Connection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len(),
        answer.cache_control
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
