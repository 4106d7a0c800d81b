//! Creating a log, and opening one: check the published head, replay the journal, begin a new segment.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::meta::{self, Meta};
use super::publisher::{Cursor, Publisher, cosigned, segments};
use super::sequencer::{Commit, Journal, Segment, Shared};
use super::{Log, OpenError, Options};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::files::{Files, Group, TEMPORARY};
use crate::journal::{self, Record};
use crate::note::{SigningKey, VerifyingKey};
use crate::pin;
use crate::publish::{Builder, CHECKPOINT, LoadError, put_checkpoint, remove_partials};
use crate::reader::tile_nodes;

/// The file whose lock the writer holds.
const LOCK: &str = "lock";

/// What opening a log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that were durable but not yet in tiles.
    pub replayed: u64,
    /// A batch that a crash cut short; none of its callers had been answered.
    pub torn: Option<TornTail>,
}

/// The end of a journal that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's path, relative to the log.
    pub segment: String,
    /// Where in it the whole batches end, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
}

impl Log {
    /// Creates a log for the name of `key`, which becomes its origin, and opens it.
    ///
    /// # Errors
    /// There is a log or something else in the directory, or it cannot be written.
    pub fn create(files: Arc<dyn Files>, key: SigningKey, options: Options) -> Result<Log, OpenError> {
        let lock = take_lock(&*files)?;
        if let Some(meta) = Meta::read(&*files)? {
            return Err(OpenError::Exists { origin: meta.origin });
        }
        let ours = [LOCK, CHECKPOINT, journal::DIR, meta::PATH];
        let names = files.list("").map_err(io_at(""))?;
        let is_ours = |name: &String| ours.contains(&name.strip_suffix(TEMPORARY).unwrap_or(name));
        if let Some(name) = names.iter().find(|name| !is_ours(name)) {
            return Err(OpenError::Foreign { why: format!("it holds `{name}`") });
        }
        let origin = key.verifying_key().name().to_owned();
        let head = Checkpoint::empty(&origin);
        let signed = head.sign_after(&head, &[], std::slice::from_ref(&key))?;
        let mut group = Group::new(&*files);
        group.dir(journal::DIR).map_err(io_at(journal::DIR))?;
        group.finish().map_err(io_at(journal::DIR))?;
        Segment::begin(&*files, 0).map_err(io_at(journal::DIR))?;
        put_checkpoint(&*files, &signed).map_err(io_at(CHECKPOINT))?;
        // Stop here or before: no `log.json`, so creating starts over.
        let meta = Meta { origin, keys: vec![key.verifying_key().clone()] };
        meta.write(&*files).map_err(io_at(meta::PATH))?;
        open(files, meta, vec![key], options, lock)
    }

    /// Opens a log to append. The first of `keys` must have signed it before; all of them sign from now on.
    ///
    /// # Errors
    /// See [`OpenError`]. A log that contradicts itself, its key or its pin is left as it is.
    pub fn open(files: Arc<dyn Files>, keys: Vec<SigningKey>, options: Options) -> Result<Log, OpenError> {
        let lock = take_lock(&*files)?;
        let meta = Meta::read(&*files)?
            .ok_or_else(|| OpenError::Foreign { why: format!("{} is missing", meta::PATH) })?;
        open(files, meta, keys, options, lock)
    }
}

fn io_at(path: &str) -> impl Fn(io::Error) -> OpenError + '_ {
    move |source| OpenError::Io { path: path.to_owned(), source }
}

fn damaged(path: &str, why: impl Into<String>) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), why: why.into() }
}

fn take_lock(files: &dyn Files) -> Result<Box<dyn Send + Sync>, OpenError> {
    files.lock(LOCK).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => io_at(LOCK)(e),
    })
}

/// The published head, signed by a key that the caller holds or that such a key's log names.
fn published_head(
    files: &dyn Files,
    meta: &Meta,
    keys: &[SigningKey],
) -> Result<SignedCheckpoint, OpenError> {
    let first = keys.first().ok_or_else(|| OpenError::Foreign { why: "no key was given".into() })?;
    let held: Vec<VerifyingKey> = keys.iter().map(|key| key.verifying_key().clone()).collect();
    let bytes = files.read(CHECKPOINT).map_err(io_at(CHECKPOINT))?;
    let note = String::from_utf8(bytes).map_err(|_| damaged(CHECKPOINT, "is not text"))?;
    let signed = SignedCheckpoint::verify(&note, first.verifying_key().name(), &held)?;
    if meta.origin != signed.checkpoint().origin {
        return Err(damaged(meta::PATH, "names another origin than the signed head"));
    }
    Ok(signed)
}

fn open(
    files: Arc<dyn Files>,
    mut meta: Meta,
    keys: Vec<SigningKey>,
    options: Options,
    lock: Box<dyn Send + Sync>,
) -> Result<Log, OpenError> {
    let published = published_head(&*files, &meta, &keys)?;
    let head = published.checkpoint();
    let builder = Builder::load(&*files, head.size, &head.root).map_err(|e| match e {
        LoadError::Io { path, source } => OpenError::Io { path, source },
        LoadError::Damaged { path } => damaged(&path, "does not fit the signed head"),
    })?;
    if let Some(key) = keys.iter().map(SigningKey::verifying_key).find(|key| !meta.keys.contains(key)) {
        meta.keys.push(key.clone());
        meta.write(&*files).map_err(io_at(meta::PATH))?;
    }
    let replay = scan(&*files, head.size, &meta)?;
    let durable = match replay.head {
        Some(newer) if newer.checkpoint().size > head.size => newer,
        _ => published.clone(),
    };
    let size = durable.checkpoint().size;
    let cursor = Cursor { segment: replay.first, offset: journal::FIRST_RECORD as u64 };
    let replayer = Publisher::new(Arc::clone(&files), builder, cursor, None, None);
    replayer.write_tiles(&durable).map_err(|e| damaged(journal::DIR, e.to_string()))?;
    let builder = replayer.into_builder();
    if let Some(pin) = &options.pin {
        pin::check(&**pin, &durable, &meta.keys, &tile_nodes(&*files, size))?;
    }
    let durable = cosigned(&durable, options.cosigners.as_deref(), &*files)?;
    // Stop here: tiles that no checkpoint speaks of yet, and nobody was shown a head that a pin or witness contradicts.
    if size > head.size || options.cosigners.is_some() {
        put_checkpoint(&*files, &durable).map_err(io_at(CHECKPOINT))?;
        remove_partials(&*files, head.size, size);
    }
    let last_stamp = last_stamp(&*files, size)?;

    // Stop here or before: tiles and `checkpoint` are as far as the journal; replaying again changes nothing.
    let segment = Segment::begin(&*files, size).map_err(io_at(journal::DIR))?;
    for first in segments(&*files).map_err(io_at(journal::DIR))? {
        if first < size {
            files.remove(&journal::path(first)).map_err(io_at(journal::DIR))?;
        }
    }
    let recovery = Recovery { replayed: size - head.size, torn: replay.torn };
    let initial = Commit::initial(builder.edge().clone(), durable);
    let shared = Arc::new(Shared::new(initial, keys, options.stamp, options.batch_entries));
    let cursor = Cursor { segment: size, offset: journal::FIRST_RECORD as u64 };
    let publisher = Publisher::new(Arc::clone(&files), builder, cursor, options.cosigners, options.pin);
    let journal = Journal {
        files: Arc::clone(&files),
        segment,
        segment_bytes: options.segment_bytes,
        clock: options.clock,
        last_stamp,
    };
    Ok(Log::start(files, shared, journal, publisher, options.publish, recovery, lock))
}

/// What the journal holds.
struct Replay {
    /// The segment with the first unpublished entry.
    first: u64,
    /// The last head behind which everything is whole.
    head: Option<SignedCheckpoint>,
    torn: Option<TornTail>,
}

fn scan(files: &dyn Files, published: u64, meta: &Meta) -> Result<Replay, OpenError> {
    let all = segments(files).map_err(io_at(journal::DIR))?;
    let first = all.iter().rev().find(|first| **first <= published).copied();
    let first =
        first.ok_or_else(|| damaged(journal::DIR, "the segment behind the published head is missing"))?;
    let mut replay = Replay { first, head: None, torn: None };
    let mut next = first;
    for start in all.iter().copied().filter(|start| *start >= first) {
        let path = journal::path(start);
        let last = all.last() == Some(&start);
        let bytes = files.read(&path).map_err(io_at(&path))?;
        let whole = scan_segment(&bytes, &path, start, &mut next, &mut replay.head, meta)?;
        let torn = bytes.len() - whole;
        if torn == 0 {
            continue;
        }
        // A damaged stretch that is in tiles already costs nothing, as long as what follows is whole.
        if !last || !journal::is_torn_tail(&bytes, whole) {
            return Err(damaged(
                &path,
                format!("damaged at byte {whole}, and what follows is not a torn batch"),
            ));
        }
        replay.torn = Some(TornTail { segment: path, offset: whole as u64, bytes: torn as u64 });
    }
    Ok(replay)
}

/// Reads one segment; gives the length of its whole batches. `next` is the index that must come next.
fn scan_segment(
    bytes: &[u8],
    path: &str,
    start: u64,
    next: &mut u64,
    head: &mut Option<SignedCheckpoint>,
    meta: &Meta,
) -> Result<usize, OpenError> {
    match journal::read_header(bytes) {
        Some(first) if first == start && start == *next => {}
        Some(_) => return Err(damaged(path, "does not follow the segment before it")),
        None => return Ok(0),
    }
    let (mut whole, mut at, mut reached) = (journal::FIRST_RECORD, journal::FIRST_RECORD, start);
    let mut note = None;
    while let Some((record, behind)) = journal::read_record(bytes, at) {
        at = behind;
        match record {
            Record::Entry(index, _) if index == reached => reached += 1,
            Record::Head(size, text) if size == reached => {
                (whole, *next, note) = (at, reached, Some(text));
            }
            _ => return Err(damaged(path, format!("entries out of order before byte {at}"))),
        }
    }
    if let Some(note) = note {
        let note = std::str::from_utf8(note).map_err(|_| damaged(path, "a head is not text"))?;
        let signed = SignedCheckpoint::verify(note, &meta.origin, &meta.keys)?;
        if signed.checkpoint().size != *next {
            return Err(damaged(path, "a head speaks of another size than its place"));
        }
        *head = Some(signed);
    }
    Ok(whole)
}

/// The time in the last entry's stamp, if it has one: stamps go on from there.
fn last_stamp(files: &dyn Files, size: u64) -> Result<Timestamp, OpenError> {
    #[derive(serde::Deserialize)]
    struct Stamped {
        logged: String,
    }
    let Some(last) = size.checked_sub(1) else { return Ok(Timestamp::MIN) };
    let entry =
        crate::reader::entry_at(files, last, size).map_err(|e| damaged("tile/entries", e.to_string()))?;
    let stamped = serde_json::from_slice::<Stamped>(&entry).ok();
    Ok(stamped.and_then(|stamped| stamped.logged.parse().ok()).unwrap_or(Timestamp::MIN))
}
