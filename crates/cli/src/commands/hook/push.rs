//! What a push would send.
//!
//! Git gives a pre-push hook one line for each ref: its local name and commit, its remote name and commit
//! (<https://git-scm.com/docs/githooks#_pre_push>).

use std::io::Read as _;

use anyhow::{Context as _, bail};
use git2::{Oid, Repository};

use super::{scan, worse};
use crate::Outcome;

/// Longest list of refs that is read, in bytes.
const MOST: u64 = 16 << 20;

/// Scans what each line on standard input would send to `remote`.
pub(super) fn scan_push(remote: &str) -> anyhow::Result<Outcome> {
    let mut lines = String::new();
    std::io::stdin().take(MOST).read_to_string(&mut lines).context("what git gives the hook")?;
    let repository = Repository::discover(".").context("a hook runs in a repository")?;
    let mut outcome = Outcome::Clean;
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, local, _, there] = words[..] else { bail!("not a line of git's: {line:?}") };
        let oid = |text: &str| Oid::from_str(text).with_context(|| format!("not an object id: {text:?}"));
        let (local, there) = (oid(local)?, oid(there)?);
        if local.is_zero() {
            // A ref that goes sends nothing.
            continue;
        }
        let scanned = match known(&repository, remote, local, there) {
            Some(base) if base == local => continue,
            Some(base) => scan(&["--range", &format!("{base}..{local}")])?,
            None => scan(&["--history-only", "--branch", &local.to_string()])?,
        };
        outcome = worse(outcome, scanned);
    }
    Ok(outcome)
}

/// The commit up to which the remote has everything: what the ref points at there, or else the newest commit that the new
/// ref shares with what was fetched from that remote. A remote that has more than this makes the scan longer, never less.
fn known(repository: &Repository, remote: &str, local: Oid, there: Oid) -> Option<Oid> {
    if !there.is_zero() && repository.find_commit(there).is_ok() {
        return Some(there);
    }
    let fetched = repository.references_glob(&format!("refs/remotes/{remote}/*")).ok()?;
    let tips = fetched.flatten().filter_map(|tip| tip.peel_to_commit().ok()).map(|tip| tip.id());
    let shared = tips.filter_map(|tip| repository.merge_base(local, tip).ok());
    shared.max_by_key(|base| repository.find_commit(*base).map_or(i64::MIN, |commit| commit.time().seconds()))
}
