//! Files too large for memory: scanned in overlapping chunks.

use std::io::{self, Read};
use std::ops::Range;

use super::{Context, Engine};
use crate::finding::Match;

/// Bytes read at a time. Smaller files are scanned whole.
pub const CHUNK: usize = 8 * 1024 * 1024;
/// What a chunk shares with the next besides the longest reach: the line around a match.
const MARGIN: usize = 8 * 1024;

/// A stream that ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Engine {
    /// Finds the secrets in a stream of any length with bounded memory, and counts its bytes. `go_on` is asked between
    /// chunks with the number of bytes done; `false` ends the scan early.
    ///
    /// Encodings are guessed for each chunk alone; a UTF-16 file over [`CHUNK`] bytes is decoded in its first chunk only.
    ///
    /// # Errors
    /// [`StreamError::Io`]; what was found until then is lost.
    pub fn scan_stream(
        &self,
        mut reader: &mut dyn Read,
        context: &Context<'_>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(Vec<Match>, u64), StreamError> {
        let overlap = self.reach + MARGIN;
        let mut buffer: Vec<u8> = Vec::new();
        let mut found: Vec<Match> = Vec::new();
        let (mut base, mut line, mut column) = (0_usize, 0_u32, 0_u32);
        let mut accepted_to = 0;
        loop {
            let room = CHUNK + 2 * overlap - buffer.len();
            let read = Read::take(&mut reader, room as u64).read_to_end(&mut buffer)?;
            let last = read < room;
            let limit = if last { buffer.len() } else { buffer.len() - overlap };
            let wanted = accepted_to - base..limit;
            for mut hit in self.scan(&buffer, context) {
                if accepts(&wanted, &hit.span, last) {
                    shift(&mut hit, base, line, column);
                    found.push(hit);
                }
            }
            if last || !go_on((base + buffer.len()) as u64) {
                return Ok((found, (base + buffer.len()) as u64));
            }
            accepted_to = base + limit;
            let drop = limit - overlap;
            let newlines = memchr::memchr_iter(b'\n', &buffer[..drop]).count();
            line = line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
            column = match memchr::memrchr(b'\n', &buffer[..drop]) {
                Some(at) => u32::try_from(drop - at - 1).unwrap_or(u32::MAX),
                None => column.saturating_add(u32::try_from(drop).unwrap_or(u32::MAX)),
            };
            buffer.copy_within(drop.., 0);
            buffer.truncate(buffer.len() - drop);
            base += drop;
        }
    }
}

/// A match belongs to the chunk in which it starts, so that none is found twice.
fn accepts(wanted: &Range<usize>, span: &Range<usize>, last: bool) -> bool {
    span.start >= wanted.start && (last || span.start < wanted.end)
}

/// Moves a match from its chunk into the file: `line` newlines and `column` bytes of a line came before.
fn shift(hit: &mut Match, base: usize, line: u32, column: u32) {
    if hit.line == 1 {
        hit.column = hit.column.saturating_add(column);
    }
    if hit.end_line == 1 {
        hit.end_column = hit.end_column.saturating_add(column);
    }
    hit.line = hit.line.saturating_add(line);
    hit.end_line = hit.end_line.saturating_add(line);
    hit.span = hit.span.start + base..hit.span.end + base;
}
