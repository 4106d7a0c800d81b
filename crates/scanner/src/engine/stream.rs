//! Files too large for memory: scanned in overlapping chunks, several at a time.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Context, Engine};
use crate::finding::Match;

/// Bytes read at a time. Smaller files are scanned whole.
pub const CHUNK: usize = 8 * 1024 * 1024;
/// What a chunk shares with the next besides the longest reach: the line around a match.
const MARGIN: usize = 8 * 1024;
/// Most chunks in memory at once.
const BATCH: usize = 4;

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
    /// Several chunks are scanned at once by the threads of rayon's pool, for one stream at a time; further streams are
    /// scanned by the thread that asks, so that memory does not grow with the number of large files.
    ///
    /// Encodings are guessed for each chunk alone; a UTF-16 file over [`CHUNK`] bytes is decoded in its first chunk only.
    ///
    /// # Errors
    /// [`StreamError::Io`]; what was found until then is lost.
    pub fn scan_stream(
        &self,
        reader: &mut dyn Read,
        context: &Context<'_>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(Vec<Match>, u64), StreamError> {
        let alone = self.stream.try_lock();
        let batch = if alone.is_ok() && rayon::current_num_threads() > 1 { BATCH } else { 1 };
        self.scan_chunks(reader, context, go_on, CHUNK, batch)
    }

    fn scan_chunks(
        &self,
        reader: &mut dyn Read,
        context: &Context<'_>,
        go_on: &mut dyn FnMut(u64) -> bool,
        size: usize,
        batch: usize,
    ) -> Result<(Vec<Match>, u64), StreamError> {
        let mut chunks = Chunks { reader, size, overlap: self.reach + MARGIN, next: Chunk::default() };
        let mut all: Vec<Match> = Vec::new();
        let (mut line, mut column) = (0_u32, 0_u32);
        let mut spare: Vec<Vec<u8>> = Vec::new();
        loop {
            for scanned in self.scan_batch(&mut chunks, context, batch, &mut spare)? {
                let Scanned { chunk, found, newlines, last_newline } = scanned;
                all.extend(found.into_iter().map(|mut hit| {
                    shift(&mut hit, chunk.base, line, column);
                    hit
                }));
                let end = chunk.base + chunk.bytes.len();
                if chunk.is_last || !go_on(end as u64) {
                    return Ok((all, end as u64));
                }
                line = line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
                let before = if last_newline.is_some() { 0 } else { column };
                let after = chunk.drop - last_newline.map_or(0, |at| at + 1);
                column = before.saturating_add(u32::try_from(after).unwrap_or(u32::MAX));
                spare.push(chunk.bytes);
            }
        }
    }

    /// Reads up to `batch` chunks and scans each as soon as it is read. In the order of the stream.
    fn scan_batch(
        &self,
        chunks: &mut Chunks<'_>,
        context: &Context<'_>,
        batch: usize,
        spare: &mut Vec<Vec<u8>>,
    ) -> io::Result<Vec<Scanned>> {
        let mut read = || chunks.read(spare.pop().unwrap_or_default());
        if batch == 1 {
            return Ok(vec![self.scan_chunk(read()?, context)]);
        }
        let done = Mutex::new(Vec::with_capacity(batch));
        rayon::in_place_scope(|scope| {
            for _ in 0..batch {
                let chunk = read()?;
                let is_last = chunk.is_last;
                scope.spawn(|_| {
                    let scanned = self.scan_chunk(chunk, context);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(scanned);
                });
                if is_last {
                    break;
                }
            }
            io::Result::Ok(())
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|scanned| scanned.chunk.base);
        Ok(done)
    }

    fn scan_chunk(&self, chunk: Chunk, context: &Context<'_>) -> Scanned {
        let mut found = self.scan(&chunk.bytes, context);
        found.retain(|hit| chunk.accepts(hit));
        let before = &chunk.bytes[..chunk.drop];
        let newlines = memchr::memchr_iter(b'\n', before).count();
        Scanned { found, newlines, last_newline: memchr::memrchr(b'\n', before), chunk }
    }
}

/// A stretch of the stream.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where it begins in the stream.
    base: usize,
    /// A match belongs to the chunk in which it starts here, so that none is found twice.
    wanted: Range<usize>,
    /// Bytes that the next chunk has no more.
    drop: usize,
    is_last: bool,
}

impl Chunk {
    fn accepts(&self, hit: &Match) -> bool {
        hit.span.start >= self.wanted.start && (self.is_last || hit.span.start < self.wanted.end)
    }
}

/// What was found in a chunk, counted from its start.
#[derive(Debug)]
struct Scanned {
    chunk: Chunk,
    found: Vec<Match>,
    /// Newlines among the bytes that the next chunk has no more, and where the last is.
    newlines: usize,
    last_newline: Option<usize>,
}

/// Cuts a stream into chunks.
struct Chunks<'a> {
    reader: &'a mut dyn Read,
    /// Bytes of a chunk without what it shares with others.
    size: usize,
    overlap: usize,
    /// The next chunk as far as it is known: its place, and what it shares with the one before.
    next: Chunk,
}

impl Chunks<'_> {
    /// The next chunk. `spare` is a buffer to be used again.
    fn read(&mut self, mut spare: Vec<u8>) -> io::Result<Chunk> {
        let mut chunk = std::mem::take(&mut self.next);
        let room = self.size + 2 * self.overlap - chunk.bytes.len();
        chunk.bytes.reserve_exact(room);
        let read = Read::take(&mut *self.reader, room as u64).read_to_end(&mut chunk.bytes)?;
        chunk.is_last = read < room;
        let length = chunk.bytes.len();
        let limit = if chunk.is_last { length } else { length - self.overlap };
        chunk.wanted.end = limit;
        chunk.drop = if chunk.is_last { length } else { limit - self.overlap };
        spare.clear();
        spare.extend_from_slice(&chunk.bytes[chunk.drop..]);
        let wanted = limit - chunk.drop..0;
        self.next = Chunk { bytes: spare, base: chunk.base + chunk.drop, wanted, ..Chunk::default() };
        Ok(chunk)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{RuleSet, fill};

    /// A scan of the whole text is the oracle.
    #[test]
    fn chunks_give_what_the_whole_gives() {
        let engine = Engine::new(RuleSet::builtin()).expect("the rules are good");
        let rule = engine.rules().get("gitlab-personal-token").expect("it is there");
        let mut text = Vec::new();
        for i in 0..300 {
            let seed = i.to_string();
            text.extend_from_slice(fill(&rule.examples_match[0], &seed).expect("a good template").as_bytes());
            text.extend_from_slice(&b" a few words"[..i % 13]);
            text.extend(std::iter::repeat_n(b'.', i * 7 % 3000));
            text.extend_from_slice(if i % 3 == 0 { b"\n\n" } else { b" ; " });
        }
        let context = Context { path: Some(b"a.txt"), now: 1 };
        let show = |found: &[Match]| found.iter().map(|m| format!("{m:?}\n")).collect::<String>();
        let whole = show(&engine.scan(&text, &context));
        assert!(whole.lines().count() >= 300);
        for (size, batch) in [(1000, 1), (1000, 4), (50_000, 3), (1 << 20, 2)] {
            let mut asked = 0;
            let mut go_on = |_: u64| {
                asked += 1;
                true
            };
            let (found, bytes) = engine
                .scan_chunks(&mut text.as_slice(), &context, &mut go_on, size, batch)
                .expect("memory can be read");
            assert_eq!((show(&found), bytes), (whole.clone(), text.len() as u64), "{size} {batch}");
        }
    }

    #[test]
    fn an_early_end_says_how_far_it_came() {
        let engine = Engine::new(RuleSet::builtin()).expect("the rules are good");
        let text = vec![b'x'; 1 << 20];
        let mut go_on = |_: u64| false;
        let (_, bytes) = engine
            .scan_chunks(&mut text.as_slice(), &Context::default(), &mut go_on, 1000, 3)
            .expect("memory can be read");
        assert!(bytes > 0 && bytes < text.len() as u64);
    }
}
