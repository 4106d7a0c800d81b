//! What a repository has that it had not when it was scanned last.
//!
//! Who scans the same repository again and again keeps what named its objects ([`tips`]) beside the findings, and hands
//! it to [`news`] the next time. Only what the old names do not reach is read then. Where that is not enough, because
//! history was rewritten, nothing is guessed: the whole history must be scanned again.

use std::collections::HashSet;

use git2::{ObjectType, Oid};

use super::change::{Scan, commits};
use super::graph::all_tips;
use super::history::HistoryOptions;
use super::object::parse_id;
use super::repo::Repository;
use crate::coverage::Coverage;
use crate::engine::Engine;
use crate::finding::PlaceKind;
use crate::scan::{Harvest, Monitor};
use crate::source::SourceError;

/// The ids in hex of all objects that some ref or reflog names and that are there; sorted, each once.
///
/// # Errors
/// [`SourceError::Repository`] when the objects cannot be read at all.
pub fn tips(repo: &Repository) -> Result<Vec<String>, SourceError> {
    let odb = repo.git().odb().map_err(|e| repo.damaged(&e))?;
    let all = all_tips(repo, &mut Coverage::default());
    let mut ids: Vec<String> =
        all.iter().filter(|tip| tip.required || odb.exists(tip.id)).map(|tip| tip.id.to_string()).collect();
    ids.sort();
    Ok(ids)
}

/// Scans what `now` reaches and `old` does not; both as [`tips`] gave them. Every secret of a blob that is new at its
/// path counts, also one that stood there before.
///
/// `None`: something that `old` named is no longer reachable, or one of the new names leads to no commit. Then only a
/// scan of the whole history tells what is still there.
///
/// # Errors
/// [`SourceError`] when the repository cannot be read.
pub fn news(
    repo: &Repository,
    engine: &Engine,
    old: &[String],
    now: &[String],
    options: &HistoryOptions,
    target: &str,
    monitor: &Monitor,
) -> Result<Option<Harvest>, SourceError> {
    let (Some(old_ids), Some(now_ids)) = (ids(repo, old), ids(repo, now)) else { return Ok(None) };
    let leads_to_commit =
        |id: &Oid| repo.git().find_object(*id, None).and_then(|o| o.peel_to_commit()).is_ok();
    // Reflogs make many tips.
    let without = |all: &[Oid], others: &[Oid]| -> Vec<Oid> {
        let others: HashSet<&Oid> = others.iter().collect();
        all.iter().filter(|id| !others.contains(id)).copied().collect()
    };
    let (new, lost) = (without(&now_ids, &old_ids), without(&old_ids, &now_ids));
    if !new.iter().all(leads_to_commit) || !lost.iter().all(|id| is_commit(repo, *id)) {
        return Ok(None);
    }
    if !commits(repo, &lost, &now_ids)?.is_empty() {
        return Ok(None);
    }
    let scan = Scan { repo, engine, options, target, monitor, kind: PlaceKind::Blob, with_known: true };
    let mut change = scan.commits(&commits(repo, &new, &old_ids)?)?;
    scan.tags(&new, &mut change.harvest)?;
    Ok(Some(change.harvest))
}

/// The ids as numbers; `None` when one is none, or is not there.
fn ids(repo: &Repository, hex: &[String]) -> Option<Vec<Oid>> {
    let odb = repo.git().odb().ok()?;
    let id = |text: &String| parse_id(text.as_bytes(), repo.format()).filter(|id| odb.exists(*id));
    hex.iter().map(id).collect()
}

fn is_commit(repo: &Repository, id: Oid) -> bool {
    repo.git().find_object(id, Some(ObjectType::Commit)).is_ok()
}
