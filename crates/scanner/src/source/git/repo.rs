//! Opening repositories, and reading single objects out of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use git2::{ErrorCode, ObjectFormat, ObjectType, Oid, RepositoryOpenFlags};

use super::object::{EntryKind, entries};
use super::odb::{Loose, Object, Odb};
use super::setup;
use crate::coverage::{Coverage, Reason};
use crate::path::printable;
use crate::source::SourceError;

/// Largest file that is read through [`Repository::file_at`], in bytes: configuration, not content.
const MAX_FILE: usize = 64 * 1024 * 1024;

/// A git repository, open for reading.
pub struct Repository {
    path: PathBuf,
    inner: git2::Repository,
    /// Object folders of a push that is not accepted yet.
    extra: Vec<PathBuf>,
    loose: OnceLock<Arc<Loose>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.path.display())
    }
}

impl Repository {
    /// Opens the repository whose top level is this folder: a work tree (also a linked one or a submodule) or a bare
    /// repository. `None` when the folder is neither.
    ///
    /// # Errors
    /// [`SourceError::Repository`] for a repository that cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, SourceError> {
        if !path.join(".git").exists() && !looks_bare(path) {
            return Ok(None);
        }
        open(path, RepositoryOpenFlags::NO_SEARCH)
    }

    /// Opens the repository that a folder is in.
    ///
    /// # Errors
    /// [`SourceError::Repository`] for a repository that cannot be read.
    pub fn discover(path: &Path) -> Result<Option<Self>, SourceError> {
        open(path, RepositoryOpenFlags::empty())
    }

    /// The top level of the work tree.
    pub fn workdir(&self) -> Option<&Path> {
        self.inner.workdir()
    }

    /// Whether there is no work tree.
    pub fn is_bare(&self) -> bool {
        self.inner.is_bare()
    }

    /// Paths of the submodules in the work tree, relative to it.
    pub fn submodules(&self) -> Vec<PathBuf> {
        let Ok(modules) = self.inner.submodules() else { return Vec::new() };
        let mut paths: Vec<PathBuf> = modules.iter().map(|m| m.path().to_owned()).collect();
        paths.retain(|p| p.components().all(|c| matches!(c, std::path::Component::Normal(_))));
        paths.sort();
        paths
    }

    /// The id of the commit that a name means.
    ///
    /// # Errors
    /// [`SourceError::Revision`] when it means none.
    pub fn resolve(&self, name: &str) -> Result<Oid, SourceError> {
        let commit = self.inner.revparse_single(name).and_then(|o| o.peel_to_commit());
        commit.map(|c| c.id()).map_err(|e| self.revision(name, e.message()))
    }

    /// The content of a file in a commit; `None` when the commit has none there.
    ///
    /// # Errors
    /// [`SourceError::Revision`] for an unknown commit, [`SourceError::Repository`] for a damaged object.
    pub fn file_at(&self, name: &str, path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
        let commit = self.resolve(name)?;
        let damaged = |e: &git2::Error| self.damaged(e);
        let tree = self.inner.find_commit(commit).and_then(|c| c.tree()).map_err(|e| damaged(&e))?;
        let Ok(entry) = tree.get_path(path) else { return Ok(None) };
        let blob = self.inner.find_blob(entry.id()).map_err(|e| damaged(&e))?;
        if blob.content().len() > MAX_FILE {
            return Err(SourceError::Repository {
                path: self.path.clone(),
                why: format!("{}: larger than {MAX_FILE} bytes", path.display()),
            });
        }
        Ok(Some(blob.content().to_vec()))
    }

    /// The id in hex of what HEAD's tree has at a path; `None` when it has nothing there, or there is no HEAD.
    pub fn head_blob(&self, path: &Path) -> Option<String> {
        let tree = self.inner.head().ok()?.peel_to_tree().ok()?;
        tree.get_path(path).ok().map(|entry| entry.id().to_string())
    }

    /// Lets objects of further folders be found, as git does for a push that is not accepted yet.
    pub(super) fn with_objects(mut self, folders: Vec<PathBuf>) -> Result<Self, SourceError> {
        self.extra = folders;
        attach(&self.inner, &self.extra).map_err(|e| self.damaged(&e))?;
        Ok(self)
    }

    pub(super) fn git(&self) -> &git2::Repository {
        &self.inner
    }

    pub(super) fn format(&self) -> ObjectFormat {
        self.inner.object_format()
    }

    pub(super) fn revision(&self, name: &str, why: &str) -> SourceError {
        SourceError::Revision {
            name: printable(name.as_bytes()),
            path: self.path.clone(),
            why: printable(why.as_bytes()),
        }
    }

    pub(super) fn damaged(&self, error: &git2::Error) -> SourceError {
        damaged(&self.path, error)
    }

    /// A reader of objects for this thread.
    pub(super) fn reader(&self) -> Result<Odb<'_>, SourceError> {
        let odb = self.inner.odb().map_err(|e| self.damaged(&e))?;
        Ok(Odb::new(odb, self.loose()))
    }

    /// The loose objects, listed when first needed.
    fn loose(&self) -> &Arc<Loose> {
        self.loose.get_or_init(|| Arc::new(Loose::list(&self.object_folders(), self.format())))
    }

    /// Folders in which objects are: the repository's own and those of a push. Alternates are not followed.
    pub(super) fn object_folders(&self) -> Vec<PathBuf> {
        let own = self.inner.commondir().join("objects");
        std::iter::once(own).chain(self.extra.iter().cloned()).collect()
    }

    /// Handles for many threads.
    pub(super) fn pool(&self) -> Pool {
        Pool {
            path: self.path.clone(),
            git_dir: self.inner.path().to_owned(),
            extra: self.extra.clone(),
            loose: Arc::clone(self.loose()),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Commits behind which a shallow clone has nothing.
    pub(super) fn shallow(&self) -> Vec<Oid> {
        let Ok(text) = fs::read(self.inner.commondir().join("shallow")) else { return Vec::new() };
        text.split(|b| *b == b'\n').filter_map(|line| super::object::parse_id(line, self.format())).collect()
    }
}

fn looks_bare(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir()
}

fn open(path: &Path, flags: RepositoryOpenFlags) -> Result<Option<Repository>, SourceError> {
    setup::once();
    let none: [&Path; 0] = [];
    match git2::Repository::open_ext(path, flags, none) {
        Ok(inner) => {
            Ok(Some(Repository { path: path.to_owned(), inner, extra: Vec::new(), loose: OnceLock::new() }))
        }
        Err(e) if e.code() == ErrorCode::NotFound && flags.is_empty() => Ok(None),
        Err(e) => {
            let why = printable(e.message().as_bytes());
            Err(SourceError::Repository { path: path.to_owned(), why })
        }
    }
}

fn attach(repository: &git2::Repository, folders: &[PathBuf]) -> Result<(), git2::Error> {
    let odb = repository.odb()?;
    folders
        .iter()
        .filter(|f| f.is_dir())
        .filter_map(|f| f.to_str())
        .try_for_each(|f| odb.add_disk_alternate(f))
}

/// libgit2 handles of one repository, each used by one thread at a time.
pub(super) struct Pool {
    /// As the user named it, for messages.
    path: PathBuf,
    git_dir: PathBuf,
    extra: Vec<PathBuf>,
    loose: Arc<Loose>,
    /// Held to push and pop, never while reading.
    idle: Mutex<Vec<git2::Repository>>,
}

impl Pool {
    /// Runs something with a handle of this thread's own.
    pub(super) fn with<T>(&self, run: impl FnOnce(&Odb<'_>) -> T) -> Result<T, SourceError> {
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let handle = match idle {
            Some(handle) => handle,
            None => self.open().map_err(|e| damaged(&self.path, &e))?,
        };
        let result =
            handle.odb().map(|odb| run(&Odb::new(odb, &self.loose))).map_err(|e| damaged(&self.path, &e));
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(handle);
        result
    }

    fn open(&self) -> Result<git2::Repository, git2::Error> {
        let none: [&Path; 0] = [];
        let handle = git2::Repository::open_ext(&self.git_dir, RepositoryOpenFlags::NO_SEARCH, none)?;
        attach(&handle, &self.extra)?;
        Ok(handle)
    }
}

fn damaged(path: &Path, error: &git2::Error) -> SourceError {
    SourceError::Repository { path: path.to_owned(), why: printable(error.message().as_bytes()) }
}

/// Reads an object, or notes in the ledger why that is not possible.
pub(super) fn read<'a>(odb: &'a Odb<'_>, id: Oid, what: &str, coverage: &mut Coverage) -> Option<Object<'a>> {
    match odb.read(id) {
        Ok(object) => Some(object),
        Err(e) => {
            let reason = if e.code() == ErrorCode::NotFound { Reason::Missing } else { Reason::Corrupt };
            coverage.skip(reason, id.to_string().as_bytes(), &format!("{what}: {}", e.message()));
            None
        }
    }
}

/// The blob at a path below a tree, link by link.
pub(super) fn blob_at(odb: &Odb<'_>, format: ObjectFormat, tree: Oid, path: &[u8]) -> Option<Oid> {
    let mut at = tree;
    let mut parts = path.split(|b| *b == b'/').peekable();
    while let Some(name) = parts.next() {
        let object = odb.read(at).ok().filter(|o| o.kind() == ObjectType::Tree)?;
        let entry = entries(object.data(), format).find(|entry| entry.name == name)?;
        match (entry.kind, parts.peek()) {
            (EntryKind::Blob, None) => return Some(entry.id),
            (EntryKind::Tree, Some(_)) => at = entry.id,
            _ => return None,
        }
    }
    None
}
