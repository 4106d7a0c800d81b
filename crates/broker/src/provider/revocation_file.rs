//! A file that lists revoked certificates, and that servers read: an OpenSSH KRL or an X.509 CRL.
//!
//! The file is the only state. Each change takes a lock beside it (`FILE.lock`), reads the file as it is, and replaces
//! it as a whole: written to `FILE.tmp`, synced, renamed, and the folder synced. So a server never sees half a list, a
//! crash leaves the old list or the new one, and several brokers may share one file on one file system. Brokers without
//! a common file system must not share a certificate authority either: each would know only its own revocations.
//!
//! Revocations that arrive while the file is being written go into the next write together.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::ProviderError;

/// No list grows beyond this: 64 MiB hold millions of entries.
const MAX_FILE: u64 = 64 << 20;
/// How long another broker may hold the lock; a write takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How much longer than its certificate an entry is kept: a server's clock may be slow.
pub(crate) const KEEP_S: i64 = 300;

/// How such a file is read and written.
pub(crate) trait Format: Send + Sync + 'static {
    /// A revoked certificate.
    type Entry: Send + 'static;

    /// The new list: what `old` holds and is not over yet, and `add`. `None` if that is what `old` says already.
    ///
    /// # Errors
    /// `old` is not a list of ours, or the new one cannot be signed.
    fn update(
        &self,
        old: Option<&[u8]>,
        add: &[Self::Entry],
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, ProviderError>;

    /// Looks whether a list is one of ours.
    ///
    /// # Errors
    /// It is not.
    fn verify(&self, list: &[u8]) -> Result<(), ProviderError>;

    /// Other files with the same list; they are written first, so that none is behind the main one.
    fn copies(&self, list: &[u8]) -> Vec<(PathBuf, Vec<u8>)> {
        let _ = list;
        Vec::new()
    }
}

/// One such file.
pub(crate) struct RevocationFile<F: Format>(Arc<Shared<F>>);

struct Shared<F: Format> {
    path: PathBuf,
    format: F,
    waiting: Mutex<Vec<Waiting<F::Entry>>>, // held to push or take, never across a write
    turn: tokio::sync::Mutex<()>,           // held by the one task that writes
}

struct Waiting<E> {
    entry: Option<E>,
    now: Timestamp,
    done: oneshot::Sender<Result<(), ProviderError>>,
}

impl<F: Format> RevocationFile<F> {
    /// The list at `path`. Does not touch it.
    pub(crate) fn new(path: PathBuf, format: F) -> RevocationFile<F> {
        RevocationFile(Arc::new(Shared {
            path,
            format,
            waiting: Mutex::new(Vec::new()),
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Puts an entry into the list; when this returns, it is on disk. Without one, brings the list up to date.
    ///
    /// # Errors
    /// `Misconfigured`: no such folder, no permission, not our file. `Transient`: anything else with the disk.
    pub(crate) async fn write(&self, entry: Option<F::Entry>, now: Timestamp) -> Result<(), ProviderError> {
        let (done, answer) = oneshot::channel();
        self.waiting().push(Waiting { entry, now, done });
        {
            let _turn = self.0.turn.lock().await;
            let batch = std::mem::take(&mut *self.waiting());
            if !batch.is_empty() {
                let shared = Arc::clone(&self.0);
                // The task goes on when this future is dropped: what others wait for is written all the same.
                let written = tokio::task::spawn_blocking(move || shared.write_batch(batch)).await;
                written
                    .map_err(|_| ProviderError::Transient("writing the revocation list broke off".into()))?;
            }
        }
        answer
            .await
            .unwrap_or_else(|_| Err(ProviderError::Transient("the revocation list was not written".into())))
    }

    /// Looks whether the list can be written, without writing it; whether it is there.
    ///
    /// # Errors
    /// As [`write`](RevocationFile::write).
    pub(crate) async fn probe(&self) -> Result<bool, ProviderError> {
        let shared = Arc::clone(&self.0);
        let looked = tokio::task::spawn_blocking(move || {
            let _lock = lock(&beside(&shared.path, ".lock"))?;
            match read(&shared.path)? {
                Some(list) => shared.format.verify(&list).map(|()| true),
                None => Ok(false),
            }
        });
        looked.await.unwrap_or_else(|_| Err(ProviderError::Transient("looking at the list broke off".into())))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting<F::Entry>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Format> Shared<F> {
    fn write_batch(&self, batch: Vec<Waiting<F::Entry>>) {
        let now = batch.iter().map(|waiting| waiting.now).max().unwrap_or(Timestamp::UNIX_EPOCH);
        let mut entries = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for waiting in batch {
            entries.extend(waiting.entry);
            answers.push(waiting.done);
        }
        let result = self.rewrite(&entries, now);
        for answer in answers {
            // Whoever asked may have gone.
            let _ = answer.send(result.clone());
        }
    }

    fn rewrite(&self, entries: &[F::Entry], now: Timestamp) -> Result<(), ProviderError> {
        let _lock = lock(&beside(&self.path, ".lock"))?;
        let old = read(&self.path)?;
        let Some(new) = self.format.update(old.as_deref(), entries, now)? else { return Ok(()) };
        if new.len() as u64 > MAX_FILE {
            return Err(ProviderError::Misconfigured(format!(
                "{}: the revocation list is full; use shorter certificates",
                self.path.display()
            )));
        }
        for (path, bytes) in self.format.copies(&new) {
            replace(&path, &bytes)?;
        }
        replace(&self.path, &new)
    }
}

/// `PATH` with something after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// In words for the operator; what only they can mend is told from what may pass.
fn failed(path: &Path, what: &str, error: &io::Error) -> ProviderError {
    let text = format!("{}: {what}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::ReadOnlyFilesystem => ProviderError::Misconfigured(text),
        _ => ProviderError::Transient(text),
    }
}

/// Takes the lock, which goes when the file is closed, also by a crash.
fn lock(path: &Path) -> Result<File, ProviderError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| failed(path, "cannot open the lock", &e))?;
    let give_up = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(ProviderError::Transient(format!("{}: another broker holds it", path.display())));
            }
            Err(TryLockError::Error(e)) => return Err(failed(path, "cannot lock", &e)),
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ProviderError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(path, "cannot read", &e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| failed(path, "cannot read", &e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ProviderError::Misconfigured(format!(
            "{}: too big for a revocation list",
            path.display()
        )));
    }
    Ok(Some(bytes))
}

/// Replaces a file as a whole. Stopped before the rename, the old file stands; after it, the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ProviderError> {
    let draft = beside(path, ".tmp");
    let done = write_new(&draft, bytes).and_then(|()| fs::rename(&draft, path)).and_then(|()| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    done.map_err(|e| {
        let _ = fs::remove_file(&draft);
        failed(path, "cannot write", &e)
    })
}

/// A new file, on disk. It is for servers that run as other users: everybody may read what is revoked.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Never through a link that somebody may have put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One number a line; refuses anything else; keeps the even ones.
    struct Lines;

    impl Format for Lines {
        type Entry = u32;

        fn update(
            &self,
            old: Option<&[u8]>,
            add: &[u32],
            _: Timestamp,
        ) -> Result<Option<Vec<u8>>, ProviderError> {
            let text = String::from_utf8(old.unwrap_or_default().to_vec()).unwrap();
            let mut all = Vec::new();
            for line in text.lines() {
                let known = line.parse::<u32>();
                all.push(known.map_err(|_| ProviderError::Misconfigured("not ours".into()))?);
            }
            let before = all.clone();
            all.extend(add);
            all.sort_unstable();
            all.dedup();
            let unchanged = old.is_some() && all == before;
            Ok((!unchanged).then(|| all.iter().map(|n| format!("{n}\n")).collect::<String>().into_bytes()))
        }

        fn verify(&self, _: &[u8]) -> Result<(), ProviderError> {
            Ok(())
        }
    }

    fn numbers(path: &Path) -> Vec<u32> {
        fs::read_to_string(path).unwrap().lines().map(|line| line.parse().unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_brokers_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let brokers = [(); 2].map(|()| Arc::new(RevocationFile::new(path.clone(), Lines)));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..400_u32 {
            let broker = Arc::clone(&brokers[n as usize % 2]);
            tasks.spawn(async move { broker.write(Some(n), Timestamp::UNIX_EPOCH).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(numbers(&path), (0..400).collect::<Vec<_>>());
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["list", "list.lock"]);
    }

    #[tokio::test]
    async fn a_cancelled_caller_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(RevocationFile::new(folder.path().join("list"), Lines));
        let other = Arc::clone(&file);
        let cancelled = tokio::spawn(async move { other.write(Some(1), Timestamp::UNIX_EPOCH).await });
        tokio::task::yield_now().await;
        cancelled.abort();
        file.write(Some(2), Timestamp::UNIX_EPOCH).await.unwrap();
        assert!(numbers(file.path()).contains(&2));
    }

    #[tokio::test]
    async fn errors_reach_everybody_and_leave_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        fs::write(&path, "somebody else's\n").unwrap();
        let file = RevocationFile::new(path.clone(), Lines);
        let (one, two) = tokio::join!(
            file.write(Some(1), Timestamp::UNIX_EPOCH),
            file.write(Some(2), Timestamp::UNIX_EPOCH)
        );
        assert!(matches!(
            (one, two),
            (Err(ProviderError::Misconfigured(_)), Err(ProviderError::Misconfigured(_)))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else's\n");
        let nowhere = RevocationFile::new(folder.path().join("no/such/list"), Lines);
        let failed = nowhere.write(Some(1), Timestamp::UNIX_EPOCH).await;
        assert!(matches!(failed, Err(ProviderError::Misconfigured(_))), "{failed:?}");
    }

    #[tokio::test]
    async fn a_draft_that_a_crash_left_or_a_link_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let elsewhere = folder.path().join("precious");
        fs::write(&elsewhere, "p").unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("list.tmp")).unwrap();
        let file = RevocationFile::new(path.clone(), Lines);
        file.write(Some(5), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(numbers(&path), [5]);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "p");
    }
}
