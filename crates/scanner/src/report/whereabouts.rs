//! Where a secret came from and where it is now, over all places of a finding.

use std::collections::{BTreeSet, HashSet};

use super::location;
use super::veil::Veil;
use crate::finding::{CommitInfo, Finding, Place, PlaceKind};

/// Names of branches or tags that are listed before the rest is only counted.
const NAMED: usize = 3;

/// The history of a finding in a few facts.
pub(super) struct Whereabouts<'a> {
    /// The first commit that brought it, and to which place.
    pub(super) introduced: Option<(&'a CommitInfo, &'a Place)>,
    /// The last commit that took it away, if HEAD and disk are free of it.
    pub(super) removed: Option<&'a CommitInfo>,
    /// Whether the history ends before the introduction.
    pub(super) shallow: bool,
    kinds: BTreeSet<PlaceKind>,
    in_head: bool,
    branches: BTreeSet<&'a str>,
    tags: BTreeSet<&'a str>,
}

impl<'a> Whereabouts<'a> {
    pub(super) fn of(finding: &'a Finding) -> Self {
        let places = &finding.places;
        let mut all = Whereabouts {
            introduced: places.iter().find_map(|p| p.introduced.as_ref().map(|c| (c, p))),
            removed: None,
            shallow: places.iter().any(|p| p.shallow),
            kinds: places.iter().map(|p| p.kind).collect(),
            in_head: places.iter().any(|p| p.in_head),
            branches: places.iter().flat_map(|p| p.branches.iter().map(String::as_str)).collect(),
            tags: places.iter().flat_map(|p| p.tags.iter().map(String::as_str)).collect(),
        };
        if !all.in_head && !all.kinds.contains(&PlaceKind::File) {
            all.removed = places.iter().filter_map(|p| p.removed.as_ref()).max();
        }
        all
    }

    /// Whether commits hold it, so that deleting a line does not take it back.
    pub(super) fn is_committed(&self) -> bool {
        self.kinds.contains(&PlaceKind::Blob) || self.is_in_message() || self.introduced.is_some()
    }

    fn is_in_message(&self) -> bool {
        self.kinds.contains(&PlaceKind::CommitMessage) || self.kinds.contains(&PlaceKind::TagMessage)
    }

    /// Where it is now: `on disk, in HEAD, on branches main and dev`.
    pub(super) fn now(&self, veil: &Veil<'_>) -> String {
        let mut parts: Vec<String> = Vec::new();
        let kinds = [
            (PlaceKind::Stdin, "on standard input"),
            (PlaceKind::File, "on disk"),
            (PlaceKind::Staged, "staged for the next commit"),
            (PlaceKind::GitConfig, "in the repository's own configuration"),
            (PlaceKind::PathName, "in the name of a file"),
        ];
        parts
            .extend(kinds.iter().filter(|(kind, _)| self.kinds.contains(kind)).map(|(_, t)| (*t).to_owned()));
        if self.in_head {
            parts.push("in HEAD".to_owned());
        }
        parts.extend(list("on", "branch", "branches", &self.branches, veil));
        parts.extend(list("under", "tag", "tags", &self.tags, veil));
        if self.kinds.contains(&PlaceKind::CommitMessage) {
            parts.push("in a commit's message, which only a rewritten history loses".to_owned());
        }
        if self.kinds.contains(&PlaceKind::TagMessage) {
            parts.push("in a tag's message".to_owned());
        }
        if parts.is_empty() {
            parts.push("only in history".to_owned());
        }
        let mut out = parts.join(", ");
        if let Some(commit) = self.removed {
            out += &format!("; removed last in {}", location::commit(commit, veil));
        }
        out
    }
}

/// `on branches a, b, c and 4 more`; nothing for an empty list.
fn list(word: &str, one: &str, many: &str, names: &BTreeSet<&str>, veil: &Veil<'_>) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let noun = if names.len() == 1 { one } else { many };
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| veil.text(name)).collect();
    let more = names.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{word} {noun} {}{rest}", shown.join(", ")))
}

/// The places of a finding after the first, without those that are the same spot seen twice: on disk and in HEAD.
pub(super) fn further(finding: &Finding) -> impl Iterator<Item = &Place> {
    let spot = |p: &Place| {
        let message = if p.path.is_empty() { p.object.clone() } else { None };
        (p.target.clone(), p.path.clone(), p.line, p.column, p.kind == PlaceKind::PathName, message)
    };
    let mut seen = HashSet::from([spot(finding.place())]);
    finding.places.iter().skip(1).filter(move |place| seen.insert(spot(place)))
}
