//! Leases in a SQLite file: one broker, nothing to install.
//!
//! All writing goes through one task, which runs whatever waits in one transaction and answers when it is synced to the
//! disk; see `writer`. Reading has connections of its own and is not held up by that (write-ahead log).
//!
//! The file and its log are readable by their owner alone.

mod begin;
mod file;
#[allow(clippy::duplicate_mod, reason = "one text for two databases")]
#[path = "many.rs"]
mod many;
#[allow(clippy::duplicate_mod, reason = "one text for two databases")]
#[path = "ops.rs"]
mod ops;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Sqlite as Database, SqliteConnection as Connection};

use self::begin::Begun;
use self::writer::Writer;
use super::row::{self, Beginning};
use super::{BeginError, Counts, Filter, Overdue, Store, StoreError, Want, migrations};
use crate::lease::{HandleHash, Hold, HoldId, Intent, Lease, LeaseId, Reason, State};

/// There is one writer: nothing to skip.
const SKIP_LOCKED: &str = "";
/// How long another process may hold the file before an operation fails.
const BUSY: Duration = Duration::from_secs(5);
/// At so many pages (64 MB) the log is carried over into the file by whoever commits. That costs two syncs, and a page
/// that was changed often is carried over once: an eighth less is written than with SQLite's default of 1000.
const CARRY_OVER_PAGES: &str = "16384";
/// Memory for pages of the writer's connection, in KiB below zero: the upper parts of all indexes of 100,000 leases.
const WRITER_CACHE: &str = "-16384";
/// Connections for reading.
const READERS: u32 = 4;
/// Statements whose compiled form is kept, for each connection.
const STATEMENTS: usize = 100;

/// Leases in a SQLite file.
pub struct Sqlite {
    readers: SqlitePool,
    /// `None` when the file was opened for reading only.
    writer: Option<Writer>,
}

impl Sqlite {
    /// Opens the file, made with its folder if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// `Unfit`: others than the owner can read or write it, or a newer version wrote it. `Damaged`: it is no SQLite file
    /// or its structure is broken. `Unavailable`: the system does not let us.
    pub async fn open(path: &Path) -> Result<Sqlite, StoreError> {
        file::prepare(path)?;
        let options = options(path);
        let writing = options.clone().pragma("cache_size", WRITER_CACHE);
        let mut conn = writing.connect().await.map_err(|e| fault(&e))?;
        file::check(&mut conn, path).await?;
        migrations::run(&migrations::SQLITE, &mut conn).await.map_err(|e| migrations::fault(e, fault))?;
        let readers = readers(options).await?;
        Ok(Sqlite { readers, writer: Some(Writer::start(conn, writing)) })
    }

    /// Opens the file for reading only: whatever would write is refused.
    ///
    /// # Errors
    /// As of [`Sqlite::open`]; `Unavailable` if it is not there.
    pub async fn open_read_only(path: &Path) -> Result<Sqlite, StoreError> {
        let options = options(path).create_if_missing(false).read_only(true);
        let mut conn = options.connect().await.map_err(|e| fault(&e))?;
        file::check(&mut conn, path).await?;
        Ok(Sqlite { readers: readers(options).await?, writer: None })
    }

    /// Finishes what was accepted, and closes the file. Whatever comes later is refused.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close().await;
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        let refused = || StoreError::Unavailable("it was opened for reading only".into());
        self.writer.as_ref().ok_or_else(refused)
    }

    async fn reader(&self) -> Result<PoolConnection<Database>, StoreError> {
        self.readers.acquire().await.map_err(|e| fault(&e))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(PathBuf::from(path))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("wal_autocheckpoint", CARRY_OVER_PAGES)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

async fn readers(options: SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(1)
        .acquire_timeout(BUSY)
        .idle_timeout(Duration::from_secs(600))
        .test_before_acquire(false);
    // `query_only` keeps an operation that writes from slipping past the writer.
    pool.connect_with(options.pragma("query_only", "on")).await.map_err(|e| fault(&e))
}

/// What an error means, when nothing was committed.
fn fault(error: &sqlx::Error) -> StoreError {
    if let Some(known) = row::common(error) {
        return known;
    }
    let text = error.to_string();
    match error.as_database_error().and_then(|it| it.code()).and_then(|code| code.parse::<u32>().ok()) {
        // The lower byte is the class: https://www.sqlite.org/rescode.html
        Some(code) => match code & 0xff {
            5 | 6 => StoreError::Unavailable("another process holds the file".into()),
            8 => StoreError::Unavailable("the file cannot be written to".into()),
            10 => StoreError::Unavailable(format!("reading or writing the file failed: {text}")),
            11 => StoreError::Damaged(format!(
                "the SQLite file is damaged; stop the broker and restore it from a backup, or save what \
                 `sqlite3 FILE .recover` finds: {text}"
            )),
            13 => StoreError::Unavailable("the disk is full".into()),
            14 => StoreError::Unavailable(format!("the file cannot be opened: {text}")),
            19 => StoreError::Damaged(format!("a lease of this id or handle exists already: {text}")),
            26 => StoreError::Damaged(
                "the file is no SQLite database; if it should be one, restore it from a backup".into(),
            ),
            _ => StoreError::Unavailable(text),
        },
        None => StoreError::Unavailable(text),
    }
}

/// Runs one of [`ops`] in the writer, with arguments that it owns.
macro_rules! write {
    ($store:expr, $args:expr, |$conn:ident, $bound:pat_param| $call:expr) => {
        $store.writer()?.run($args, |$conn, $bound| Box::pin($call)).await
    };
}

#[async_trait]
impl Store for Sqlite {
    async fn begin(&self, intent: &Intent) -> Result<(), BeginError> {
        match write!(self, Beginning::new(intent), |conn, new| begin::begin(conn, new))? {
            Begun::Done => Ok(()),
            Begun::HeldBack(reason) => Err(BeginError::HeldBack(reason)),
            Begun::Replayed => Err(BeginError::Replayed),
            Begun::Limit(which) => Err(BeginError::LimitReached(which)),
        }
    }

    async fn keep(&self, id: LeaseId, reference: &[u8]) -> Result<bool, StoreError> {
        write!(self, (id, reference.to_vec()), |conn, (id, reference)| ops::keep(conn, *id, reference))
    }

    async fn activate(
        &self,
        id: LeaseId,
        expires: Timestamp,
        reference: Option<&[u8]>,
        fingerprints: &[String],
    ) -> Result<bool, StoreError> {
        let args = (id, expires, reference.map(<[u8]>::to_vec), fingerprints.to_vec());
        write!(self, args, |conn, (id, expires, reference, fingerprints)| {
            ops::activate(conn, *id, *expires, reference.as_deref(), fingerprints)
        })
    }

    async fn abandon(
        &self,
        id: LeaseId,
        reason: Reason,
        reference: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = (id, reason, reference.map(<[u8]>::to_vec), now);
        write!(self, args, |conn, (id, reason, reference, now)| {
            ops::abandon(conn, *id, *reason, reference.as_deref(), *now)
        })
    }

    async fn find(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        ops::find(&mut *self.reader().await?, id).await.map_err(|e| fault(&e))
    }

    async fn find_held(&self, handle: &HandleHash) -> Result<Option<Lease>, StoreError> {
        ops::find_held(&mut *self.reader().await?, handle).await.map_err(|e| fault(&e))
    }

    async fn renew(&self, id: LeaseId, before: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        write!(self, (id, before, until), |conn, (id, before, until)| {
            ops::renew(conn, *id, *before, *until)
        })
    }

    async fn heard(&self, handle: &HandleHash, now: Timestamp) -> Result<bool, StoreError> {
        write!(self, (*handle, now), |conn, (handle, now)| ops::heard(conn, handle, *now))
    }

    async fn revoke(
        &self,
        filter: &Filter,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Vec<LeaseId>, StoreError> {
        write!(self, (filter.clone(), reason, now), |conn, (filter, reason, now)| {
            many::revoke(conn, filter, *reason, *now)
        })
    }

    async fn claim(
        &self,
        worker: &str,
        wants: &[Want<'_>],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        let args = (worker.to_owned(), many::wants(wants), now, until);
        write!(self, args, |conn, (worker, wants, now, until)| {
            many::claim(conn, worker, wants, *now, *until)
        })
    }

    async fn take(
        &self,
        worker: &str,
        id: LeaseId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let args = (worker.to_owned(), id, now, until);
        write!(self, args, |conn, (worker, id, now, until)| ops::take(conn, worker, *id, *now, *until))
    }

    async fn close(
        &self,
        worker: &str,
        id: LeaseId,
        state: State,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = (worker.to_owned(), id, state, now);
        write!(self, args, |conn, (worker, id, state, now)| ops::close(conn, worker, *id, *state, *now))
    }

    async fn failed(
        &self,
        worker: &str,
        id: LeaseId,
        next: Timestamp,
        error: &str,
    ) -> Result<bool, StoreError> {
        let args = (worker.to_owned(), id, next, error.to_owned());
        write!(self, args, |conn, (worker, id, next, error)| ops::failed(conn, worker, *id, *next, error))
    }

    async fn wake(&self, filter: &Filter, now: Timestamp) -> Result<u64, StoreError> {
        write!(self, (filter.clone(), now), |conn, (filter, now)| many::wake(conn, filter, *now))
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<LeaseId>,
        most: u32,
    ) -> Result<Vec<Lease>, StoreError> {
        many::list(&mut *self.reader().await?, filter, after, most).await.map_err(|e| fault(&e))
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        many::counts(&mut *self.reader().await?).await.map_err(|e| fault(&e))
    }

    async fn overdue(&self, since: Timestamp, now: Timestamp) -> Result<Vec<Overdue>, StoreError> {
        many::overdue(&mut *self.reader().await?, since, now).await.map_err(|e| fault(&e))
    }

    async fn hold(&self, hold: &Hold) -> Result<(), StoreError> {
        write!(self, hold.clone(), |conn, hold| many::insert_hold(conn, hold))
    }

    async fn release(&self, id: HoldId) -> Result<bool, StoreError> {
        write!(self, id, |conn, id| many::release(conn, *id))
    }

    async fn holds(&self, now: Timestamp) -> Result<Vec<Hold>, StoreError> {
        many::holds(&mut *self.reader().await?, now).await.map_err(|e| fault(&e))
    }

    async fn purge(&self, now: Timestamp, closed_before: Timestamp) -> Result<u64, StoreError> {
        let mut gone = 0;
        loop {
            let args = (now, closed_before);
            let (leases, rows) = write!(self, args, |conn, (now, before)| many::purge(conn, *now, *before))?;
            gone += leases;
            if rows < many::PURGE as u64 {
                return Ok(gone);
            }
        }
    }
}
