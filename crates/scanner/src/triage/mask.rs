//! Masks secrets in paths that are written down: a path can be the very place where a secret was found.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::finding::{Finding, PlaceKind};
use crate::path::printable;

/// Stands for what is not shown.
const HIDDEN: &str = "…";

/// The secrets that were found in paths.
pub(super) enum Mask {
    Nothing,
    Secrets(AhoCorasick),
    /// More secrets than can be searched for: no path is shown.
    Everything,
}

impl Mask {
    /// Of all findings that will be written down.
    pub(super) fn of(findings: &[Finding]) -> Self {
        let in_path = |f: &&Finding| f.places.iter().any(|place| place.kind == PlaceKind::PathName);
        let secrets: Vec<&[u8]> = findings.iter().filter(in_path).map(|f| f.secret.expose()).collect();
        if secrets.is_empty() {
            return Mask::Nothing;
        }
        // The longest, or the end of a secret would stay when its beginning is one too.
        match AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(secrets) {
            Ok(search) => Mask::Secrets(search),
            Err(_) => Mask::Everything,
        }
    }

    /// The path of a finding's first place, to be written down.
    pub(super) fn path(&self, finding: &Finding) -> String {
        let mut path = finding.place().path.as_bytes().to_vec();
        if let Mask::Secrets(search) = self {
            let mut masked = Vec::with_capacity(path.len());
            search.replace_all_with_bytes(&path, &mut masked, |_, _, out| {
                out.extend_from_slice(HIDDEN.as_bytes());
                true
            });
            path = masked;
        }
        let is_left = memchr::memmem::find(&path, finding.secret.expose()).is_some();
        if is_left || matches!(self, Mask::Everything) { HIDDEN.to_owned() } else { printable(&path) }
    }
}
