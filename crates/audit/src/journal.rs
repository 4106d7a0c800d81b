//! The journal: where entries become durable, batch by batch, each with its signed head.
//!
//! A segment is `journal/<first index>.seg`: a header, then records of `length, crc, kind, index, payload`. A batch is
//! its entries followed by one head record, written with one write and one sync; the next batch is not begun before.
//! So after a crash only the last batch of the last segment can be damaged, and its callers were never answered.

use crc32fast::Hasher;

const MAGIC: &[u8; 8] = b"clvgrjl1";
/// Magic, first index, crc of both.
const HEADER: usize = 20;
/// Length, crc, kind, index.
const RECORD: usize = 17;
const KIND_ENTRY: u8 = 1;
const KIND_HEAD: u8 = 2;
/// No record is larger: entries are at most 65,535 bytes, notes at most 1 MiB.
const MAX_PAYLOAD: usize = (1 << 20) + 1;

/// Where the segments are.
pub(crate) const DIR: &str = "journal";

/// The path of the segment that begins with entry `first`.
pub(crate) fn path(first: u64) -> String {
    format!("{DIR}/{first:020}.seg")
}

/// The first index of a segment, by its name.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// The bytes a segment begins with.
pub(crate) fn header(first: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&first.to_be_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Writes an entry's record behind `buffer`, with the payload that `fill` appends; gives the payload's range.
pub(crate) fn put_entry(
    buffer: &mut Vec<u8>,
    index: u64,
    fill: impl FnOnce(&mut Vec<u8>),
) -> std::ops::Range<usize> {
    put(buffer, KIND_ENTRY, index, fill)
}

/// Writes the record of the head of `size` entries behind `buffer`.
pub(crate) fn put_head(buffer: &mut Vec<u8>, size: u64, note: &str) {
    put(buffer, KIND_HEAD, size, |buffer| buffer.extend_from_slice(note.as_bytes()));
}

fn put(
    buffer: &mut Vec<u8>,
    kind: u8,
    index: u64,
    fill: impl FnOnce(&mut Vec<u8>),
) -> std::ops::Range<usize> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    buffer.push(kind);
    buffer.extend_from_slice(&index.to_be_bytes());
    fill(buffer);
    let payload = start + RECORD..buffer.len();
    let crc = crc32fast::hash(&buffer[start + 8..]);
    buffer[start..start + 4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    buffer[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
    payload
}

/// One record, as read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An entry and its index.
    Entry(u64, &'a [u8]),
    /// The size of a head, and its note.
    Head(u64, &'a [u8]),
}

/// The first index of a segment, or `None` if its header is damaged.
pub(crate) fn read_header(bytes: &[u8]) -> Option<u64> {
    let head = bytes.get(..HEADER)?;
    let first = u64::from_be_bytes(head[8..16].try_into().ok()?);
    (header(first) == head).then_some(first)
}

/// Where the first record of a segment is.
pub(crate) const FIRST_RECORD: usize = HEADER;

/// Reads the record at `offset`: it and the offset behind it, or `None` if there is no whole one.
pub(crate) fn read_record(bytes: &[u8], offset: usize) -> Option<(Record<'_>, usize)> {
    let rest = bytes.get(offset..)?;
    let head = rest.get(..RECORD)?;
    let length = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
    if length > MAX_PAYLOAD || !(KIND_ENTRY..=KIND_HEAD).contains(&head[8]) {
        return None;
    }
    let payload = rest.get(RECORD..RECORD + length)?;
    let mut crc = Hasher::new();
    crc.update(&head[8..]);
    crc.update(payload);
    if crc.finalize().to_be_bytes() != head[4..8] {
        return None;
    }
    let index = u64::from_be_bytes(head[9..].try_into().ok()?);
    let record =
        if head[8] == KIND_ENTRY { Record::Entry(index, payload) } else { Record::Head(index, payload) };
    Some((record, offset + RECORD + length))
}

/// Is what follows a damaged record explained by one batch that a crash tore? Yes, unless a whole record follows a
/// whole head: the next batch is begun only after the sync of the one before.
pub(crate) fn is_torn_tail(bytes: &[u8], damaged: usize) -> bool {
    let mut at = damaged + 1;
    let mut seen_head = false;
    while at + RECORD <= bytes.len() {
        match read_record(bytes, at) {
            Some(_) if seen_head => return false,
            Some((record, behind)) => {
                seen_head = matches!(record, Record::Head(..));
                at = behind;
            }
            None => at += 1,
        }
    }
    true
}
