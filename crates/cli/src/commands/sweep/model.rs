//! What a sweep knows: repositories, and what they hold. Never a secret's value.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// On this machine; read where it is.
    Path(PathBuf),
    /// Somewhere else; mirrored.
    Url(String),
}

/// A repository to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// What it is called in state and reports; printable. Equal names are one repository.
    pub(super) name: String,
    pub(super) at: Where,
}

impl Target {
    /// A name for files: what can be kept of the name, and enough of its hash to be its own.
    pub(super) fn file_stem(&self) -> String {
        let tail = self.name.trim_end_matches(".git");
        let start = tail.char_indices().rev().nth(59).map_or(0, |(at, _)| at);
        let safe: String = tail[start..]
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
            .collect();
        format!("{}-{}", safe.trim_start_matches('-'), &digest(&[self.name.as_bytes()])[..16])
    }
}

/// SHA-256 in hex over parts, each with its length before it.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place of a secret in one repository. All texts are printable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot {
    /// As in the reports of a scan: `history`, `commit-message`, ...
    pub(super) kind: String,
    pub(super) path: String,
    pub(super) line: u32,
    /// The blob, commit or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<String>,
    /// The commit that brought it, and its date in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<i64>,
    /// Whether HEAD holds it at this path.
    pub(super) in_head: bool,
    /// What HEAD had at this path when that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) head_blob: Option<String>,
    /// As CODEOWNERS at HEAD says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) owners: Vec<String>,
}

impl Spot {
    /// Whether two are the same place, whatever HEAD has become.
    pub(super) fn is_at(&self, other: &Spot) -> bool {
        (&self.kind, &self.path, self.line, &self.object)
            == (&other.kind, &other.path, other.line, &other.object)
    }
}

/// A secret in one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) fingerprint: String,
    pub(super) rule: String,
    pub(super) title: String,
    pub(super) severity: String,
    pub(super) confidence: String,
    /// A few characters and the length.
    pub(super) preview: String,
    /// Never empty.
    pub(super) spots: Vec<Spot>,
}

/// How a repository fared in a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    /// Scanned from its first commit on.
    Whole,
    /// Only what was new.
    News,
    /// Nothing new: not scanned.
    Unchanged,
    /// Scanned, but not everything could be read.
    Incomplete,
    /// Not scanned. What is known of it is older.
    Failed,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Whole => "whole",
            Status::News => "news",
            Status::Unchanged => "unchanged",
            Status::Incomplete => "incomplete",
            Status::Failed => "failed",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Status> {
        [Status::Whole, Status::News, Status::Unchanged, Status::Incomplete, Status::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// Whether everything that is in the repository is known.
    pub(super) fn is_complete(self) -> bool {
        !matches!(self, Status::Incomplete | Status::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_stems_are_safe_and_apart() {
        let stem = |name: &str| Target { name: name.to_owned(), at: Where::Url(String::new()) }.file_stem();
        let odd = [
            "https://h/a/../../b.git",
            "https://h/ä b",
            "h:x\ny",
            "--upload-pack=x",
            ".",
            "",
            "https://h/a_b",
            "https://h/a-b",
        ];
        let stems: Vec<String> = odd.iter().map(|name| stem(name)).collect();
        for (at, stem) in stems.iter().enumerate() {
            assert!(stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{stem}");
            assert!(stem.len() < 100 && !stems[..at].contains(stem));
        }
    }
}
