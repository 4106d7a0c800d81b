//! What a file server answers for a log: which paths there are, and with which headers (C2SP tlog-tiles).
//!
//! The HTTP server is the caller's. Only the checkpoint, tiles and bundles are ever given out; every other path, and
//! every spelling of a path but the one, does not exist.

use std::io;

use crate::files::Files;
use crate::publish::CHECKPOINT;
use crate::tree::tile::Tile;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// Answers a GET for a path, which begins with `/` and has no query.
pub fn answer(files: &dyn Files, path: &str) -> Answer {
    let name = path.strip_prefix('/').unwrap_or("");
    let (content_type, cache_control) = if name == CHECKPOINT {
        (TEXT, "public, max-age=2")
    } else if Tile::parse(name).is_some() {
        (BYTES, "public, max-age=31536000, immutable")
    } else {
        return refusal(404, "there is no such file\n");
    };
    match files.read(name) {
        Ok(body) => Answer { status: 200, content_type, cache_control, body },
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            refusal(404, "there is no such file\n")
        }
        Err(_) => refusal(503, "the log cannot be read now\n"),
    }
}

fn refusal(status: u16, text: &str) -> Answer {
    Answer { status, content_type: TEXT, cache_control: "no-store", body: text.as_bytes().to_vec() }
}
