//! Commits, trees and tags, parsed from their bytes.
//!
//! Parsed here and not by libgit2, because a scan must read what a strict parser refuses: odd modes, missing headers,
//! names that no checkout would take. What cannot be made out is left out, never an error.

use std::ops::Range;

use git2::{ObjectFormat, Oid};

use crate::finding::CommitInfo;
use crate::path::printable;

/// An entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) kind: EntryKind,
    pub(super) name: &'a [u8],
    pub(super) id: Oid,
}

/// What an entry names, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Tree,
    /// File or symbolic link: a link's target is its content.
    Blob,
    /// A commit of another repository.
    Submodule,
}

/// The entries of a tree. Stops where the bytes make no sense.
pub(super) fn entries(mut bytes: &[u8], format: ObjectFormat) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let (entry, rest) = entry(bytes, format)?;
        bytes = rest;
        Some(entry)
    })
}

/// The first entry of these bytes of a tree, and what follows it.
pub(super) fn entry(bytes: &[u8], format: ObjectFormat) -> Option<(Entry<'_>, &[u8])> {
    let width = id_width(format);
    let space = memchr::memchr(b' ', bytes)?;
    let nul = space + 1 + memchr::memchr(0, &bytes[space + 1..])?;
    let id = bytes.get(nul + 1..nul + 1 + width)?;
    let mode = bytes[..space].iter().try_fold(0_u32, |mode, digit| {
        (b'0'..=b'7').contains(digit).then(|| mode.wrapping_mul(8) + u32::from(digit - b'0'))
    })?;
    let kind = match mode & 0o170_000 {
        0o040_000 => EntryKind::Tree,
        0o160_000 => EntryKind::Submodule,
        _ => EntryKind::Blob,
    };
    let entry = Entry { kind, name: &bytes[space + 1..nul], id: Oid::from_bytes(id).ok()? };
    Some((entry, &bytes[nul + 1 + width..]))
}

/// Bytes of an object id.
pub(super) fn id_width(format: ObjectFormat) -> usize {
    match format {
        ObjectFormat::Sha256 => 32,
        _ => 20,
    }
}

/// What the graph needs of a commit.
#[derive(Clone, Debug)]
pub(super) struct CommitHead {
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// Seconds since 1970 of the committer's date.
    pub(super) time: i64,
}

/// Reads the headers of a commit; `None` without a tree.
pub(super) fn commit(bytes: &[u8], format: ObjectFormat) -> Option<CommitHead> {
    let mut tree = None;
    let mut parents = Vec::new();
    let mut time = 0;
    for line in headers(bytes) {
        if let Some(id) = line.strip_prefix(b"tree ") {
            tree = tree.or_else(|| parse_id(id, format));
        } else if let Some(id) = line.strip_prefix(b"parent ") {
            parents.extend(parse_id(id, format));
        } else if let Some(person) = line.strip_prefix(b"committer ") {
            time = signature(person).2;
        }
    }
    Some(CommitHead { tree: tree?, parents, time })
}

/// The object a tag names.
pub(super) fn tag_target(bytes: &[u8], format: ObjectFormat) -> Option<Oid> {
    headers(bytes).find_map(|line| parse_id(line.strip_prefix(b"object ")?, format))
}

/// Author and first line of a commit, for reports.
pub(super) fn commit_info(id: Oid, bytes: &[u8]) -> CommitInfo {
    let author = headers(bytes).find_map(|line| line.strip_prefix(b"author ")).unwrap_or_default();
    let (name, email, time) = signature(author);
    let body = memchr::memmem::find(bytes, b"\n\n").map_or(&b""[..], |at| &bytes[at + 2..]);
    let summary = body.split(|b| *b == b'\n').next().unwrap_or_default();
    CommitInfo {
        time,
        id: id.to_string(),
        author: printable(name),
        email: printable(email),
        summary: printable(&summary[..summary.len().min(200)]),
    }
}

/// What people wrote into a commit or tag: from the first header that is no id (author, tagger) to the end.
pub(super) fn written(bytes: &[u8]) -> Range<usize> {
    let mut at = 0;
    for line in bytes.split(|b| *b == b'\n') {
        let is_id = ["tree ", "parent ", "object ", "type "].iter().any(|h| line.starts_with(h.as_bytes()));
        if !is_id {
            break;
        }
        at += line.len() + 1;
    }
    at.min(bytes.len())..bytes.len()
}

fn headers(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'\n').take_while(|line| !line.is_empty())
}

pub(super) fn parse_id(hex: &[u8], format: ObjectFormat) -> Option<Oid> {
    let text = std::str::from_utf8(hex.trim_ascii()).ok()?;
    (text.len() == 2 * id_width(format)).then(|| Oid::from_str_ext(text, format).ok()).flatten()
}

/// Name, address and seconds of `Name <address> seconds zone`.
fn signature(person: &[u8]) -> (&[u8], &[u8], i64) {
    let open = memchr::memchr(b'<', person).unwrap_or(person.len());
    let close = memchr::memrchr(b'>', person).filter(|c| *c > open).unwrap_or(person.len());
    let email = person.get(open + 1..close).unwrap_or_default();
    let rest = person.get(close + 1..).unwrap_or_default();
    let time =
        std::str::from_utf8(rest).ok().and_then(|r| r.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    (person[..open].trim_ascii(), email, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_commit_with_odd_people_is_read() {
        let id = "1".repeat(40);
        let text =
            format!("tree {id}\nparent {id}\nauthor A <B> <a@b> 12 +0000\ncommitter no date\n\nhi\x1b\nmore");
        let head = commit(text.as_bytes(), ObjectFormat::Sha1).unwrap();
        assert_eq!((head.parents.len(), head.time), (1, 0));
        let info = commit_info(head.tree, text.as_bytes());
        assert_eq!((info.time, info.summary.as_str(), info.email.as_str()), (12, "hi\\u{1b}", "B> <a@b"));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
                let _ = entries(&bytes, format).count();
                let _ = commit(&bytes, format);
                let _ = tag_target(&bytes, format);
            }
        }
    }
}
