//! How places are called: for a person, as a path, as a URI.

use std::borrow::Cow;
use std::path::{Component, Path};

use super::veil::Veil;
use crate::finding::{CommitInfo, Place, PlaceKind};

/// Digits of an object id that people get to see.
const SHORT: usize = 12;

/// The beginning of an object id.
pub(super) fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

/// The place for a person, without line and column.
pub(super) fn name(place: &Place, veil: &Veil<'_>) -> String {
    let object = place.object.as_deref().map_or("?", short);
    match place.kind {
        PlaceKind::Stdin => "(standard input)".to_owned(),
        PlaceKind::CommitMessage => format!("message of commit {object}"),
        PlaceKind::TagMessage => format!("message of tag {object}"),
        _ => veil.bytes(&joined(place)),
    }
}

/// The place for a person, with line and column.
pub(super) fn address(place: &Place, veil: &Veil<'_>) -> String {
    let name = name(place, veil);
    match place.kind {
        PlaceKind::PathName => format!("{name} (in the name)"),
        _ => format!("{name}:{}:{}", place.line, place.column),
    }
}

/// The path as the target and the rest below it make it.
fn joined(place: &Place) -> Cow<'_, [u8]> {
    let path = place.path.as_bytes();
    let target = place.target.trim_start_matches("./").trim_end_matches('/');
    if matches!(target, "" | ".") && !place.target.starts_with('/') {
        return Cow::Borrowed(path);
    }
    // Lists may name files that are elsewhere.
    if path.starts_with(b"/") {
        return Cow::Borrowed(path);
    }
    if path.is_empty() {
        return Cow::Borrowed(target.as_bytes());
    }
    Cow::Owned([target.as_bytes(), b"/", path].concat())
}

/// The path for tools that resolve against the root of a repository or of a CI job: relative, with `/`.
///
/// What is no file gets a path below `.git`, where none can be tracked: `.git/commit-message/ID`.
pub(super) fn from_root(place: &Place) -> Cow<'_, [u8]> {
    let object = place.object.as_deref().unwrap_or("unknown");
    match place.kind {
        PlaceKind::Stdin => Cow::Borrowed(b"stdin"),
        PlaceKind::CommitMessage => Cow::Owned(format!(".git/commit-message/{object}").into_bytes()),
        PlaceKind::TagMessage => Cow::Owned(format!(".git/tag-message/{object}").into_bytes()),
        _ if is_below_here(&place.target) => joined(place),
        // Nobody knows where the root is, but that the target is the checkout is the best guess.
        _ => Cow::Borrowed(place.path.as_bytes()),
    }
}

fn is_below_here(target: &str) -> bool {
    Path::new(target).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
}

/// [`from_root`] as a relative URI reference.
pub(super) fn uri(place: &Place, veil: &Veil<'_>) -> String {
    percent(&veil.hide(&from_root(place)))
}

/// Address of a file on disk for a terminal's hyperlink; `None` for what is not there.
pub(super) fn file_url(place: &Place) -> Option<String> {
    if !matches!(place.kind, PlaceKind::File | PlaceKind::GitConfig) {
        return None;
    }
    let bytes = joined(place);
    let path = std::path::absolute(std::str::from_utf8(&bytes).ok()?).ok()?;
    let path = path.to_str()?.replace('\\', "/");
    Some(format!("file:///{}", percent(path.trim_start_matches('/').as_bytes())))
}

/// A path as a relative URI reference (RFC 3986): all but unreserved characters and `/` are written as `%XX`.
pub fn percent(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &b in bytes {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// A commit's moment after RFC 3339, in UTC; `None` when no calendar has it (authors can write any number).
pub(super) fn rfc3339(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|moment| moment.to_string())
}

/// `3f2a1bc4d5e6 by Ada on 2024-05-01`.
pub(super) fn commit(commit: &CommitInfo, veil: &Veil<'_>) -> String {
    let mut out = short(&commit.id).to_owned();
    if !commit.author.is_empty() {
        out += &format!(" by {}", veil.text(&commit.author));
    }
    if let Some(date) = rfc3339(commit.time) {
        out += &format!(" on {}", date.split('T').next().unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::RepoPath;

    fn place(target: &str, path: &[u8]) -> Place {
        Place {
            kind: PlaceKind::File,
            target: target.to_owned(),
            path: RepoPath::new(path),
            span: 0..1,
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 2,
            excerpt: String::new(),
            object: None,
            introduced: None,
            removed: None,
            in_head: false,
            branches: Vec::new(),
            tags: Vec::new(),
            shallow: false,
            allow: None,
        }
    }

    #[test]
    fn targets_and_paths_join() {
        let check = |target, path: &[u8], person, root| {
            let place = place(target, path);
            assert_eq!(name(&place, &Veil::default()), person, "{target}");
            assert_eq!(uri(&place, &Veil::default()), root, "{target}");
        };
        check(".", b"a/b", "a/b", "a/b");
        check("sub/", b"b", "sub/b", "sub/b");
        check("./sub", b"b", "sub/b", "sub/b");
        check("b", b"b", "b/b", "b/b");
        check("sub", b"/else/b", "/else/b", "/else/b");
        check("../..", b"b", "../../b", "b");
        check("/abs/repo", b"a b", "/abs/repo/a b", "a%20b");
        check("../other", b"b\n\xff", "../other/b\\n\\xff", "b%0A%FF");
    }
}
