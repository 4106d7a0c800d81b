//! `--pin`: the last head seen, in a file or on a branch of a git repository.
//!
//! A branch keeps every head that was pinned, each a commit on the one before, for any number of logs: a file
//! `<SHA-256 of the origin>/checkpoint` for each. Pushing it elsewhere is left to whoever owns the repository.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use claviger_audit::checkpoint::SignedCheckpoint;
use claviger_audit::pin::{FilePin, Pin, PinError};
use claviger_audit::witness::checkpoint_path;
use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Repository, Signature};

use crate::warn;

/// The branch, unless another is named.
const BRANCH: &str = "claviger-audit";
/// A commit for every head that is published would be thousands a day: heads that follow within this time wait for the
/// next, or for the end. A pin may lag the log.
const EVERY: Duration = Duration::from_secs(60);

/// The pin that an argument names.
pub(super) fn pin(argument: &str, origin: &str) -> anyhow::Result<Box<dyn Pin>> {
    let Some(place) = argument.strip_prefix("git:") else {
        return Ok(Box::new(FilePin::new(argument)));
    };
    let (path, branch) = place.rsplit_once('@').unwrap_or((place, BRANCH));
    let reference = format!("refs/heads/{branch}");
    anyhow::ensure!(
        git2::Reference::is_valid_name(&reference),
        "--pin: `{branch}` is not the name of a branch"
    );
    Ok(Box::new(GitPin::open(Path::new(path), reference, origin)?))
}

struct GitPin {
    path: PathBuf,
    reference: String,
    /// Of the checkpoint, inside the tree.
    file: String,
    state: Mutex<State>,
}

struct State {
    repository: Repository,
    committed: Option<Instant>,
    /// A head that was not committed yet.
    waiting: Option<SignedCheckpoint>,
}

impl GitPin {
    fn open(path: &Path, reference: String, origin: &str) -> anyhow::Result<GitPin> {
        let repository = Repository::open(path).map_err(|e| {
            anyhow::anyhow!(
                "--pin: {}: {}; `git init --bare` makes a repository",
                path.display(),
                e.message()
            )
        })?;
        let state = Mutex::new(State { repository, committed: None, waiting: None });
        Ok(GitPin { path: path.to_owned(), reference, file: checkpoint_path(origin), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: &git2::Error) -> PinError {
        let at = format!("git:{}", self.path.display());
        PinError::Io { at, source: io::Error::other(error.message().to_owned()) }
    }

    fn read(&self, repository: &Repository) -> Result<Option<String>, git2::Error> {
        let tip = match repository.find_reference(&self.reference) {
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
            other => other?.peel_to_tree()?,
        };
        let blob = match tip.get_path(Path::new(&self.file)) {
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
            other => repository.find_blob(other?.id())?,
        };
        let note = std::str::from_utf8(blob.content());
        note.map(|note| Some(note.to_owned())).map_err(|_| git2::Error::from_str("the pin is not text"))
    }

    /// One commit. The branch moves only if nobody else moved it meanwhile.
    fn commit(&self, repository: &Repository, head: &SignedCheckpoint) -> Result<(), git2::Error> {
        let parent = match repository.find_reference(&self.reference) {
            Err(e) if e.code() == ErrorCode::NotFound => None,
            other => Some(other?.peel_to_commit()?),
        };
        let base = match &parent {
            Some(parent) => parent.tree()?,
            None => repository.find_tree(repository.treebuilder(None)?.write()?)?,
        };
        let blob = repository.blob(head.to_string().as_bytes())?;
        let mut update = TreeUpdateBuilder::new();
        update.upsert(self.file.as_str(), blob, FileMode::Blob);
        let tree = repository.find_tree(update.create_updated(repository, &base)?)?;
        let who = repository.signature().or_else(|_| Signature::now("claviger", "claviger@localhost"))?;
        let seen = head.checkpoint();
        let message = format!("{}: {} entries\n\nroot {}\n", seen.origin, seen.size, seen.root);
        let parents: Vec<_> = parent.iter().collect();
        repository.commit(Some(&self.reference), &who, &who, &message, &tree, &parents)?;
        Ok(())
    }
}

impl Pin for GitPin {
    fn load(&self) -> Result<Vec<String>, PinError> {
        let kept = self.read(&self.state().repository).map_err(|e| self.error(&e))?;
        Ok(kept.into_iter().collect())
    }

    fn store(&self, head: &SignedCheckpoint) -> Result<(), PinError> {
        let mut state = self.state();
        if state.committed.is_some_and(|last| last.elapsed() < EVERY) {
            state.waiting = Some(head.clone());
            return Ok(());
        }
        if self.read(&state.repository).is_ok_and(|kept| kept.as_deref() == Some(&head.to_string())) {
            return Ok(());
        }
        self.commit(&state.repository, head).map_err(|e| self.error(&e))?;
        (state.committed, state.waiting) = (Some(Instant::now()), None);
        Ok(())
    }
}

impl Drop for GitPin {
    /// Commits the head that waits. What is not pinned is only a pin that lags, so it is no failure of the log.
    fn drop(&mut self) {
        let waiting = self.state().waiting.take();
        if let Some(head) = waiting
            && let Err(e) = self.commit(&self.state().repository, &head)
        {
            warn(&format!("{}; the pin stands behind the log", self.error(&e)));
        }
    }
}
