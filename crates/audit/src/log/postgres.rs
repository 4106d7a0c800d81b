//! The log in PostgreSQL, for several brokers at once.
//!
//! One row holds the head; a batch locks it, reads it, puts its entries behind it, signs, and commits all in one
//! transaction. So any number of processes append, and each head extends the last one, whoever signed it. The index
//! comes from the locked row, never from a sequence: sequences have gaps. Published files are rows, too, and readers,
//! verification and queries see them through [`Files`] like those of a directory.
//!
//! A connection lost at the commit leaves a batch that may or may not be in: its callers get an error, the next batch
//! reads the row. What no table can show, a database that was restored or failed over to an older state, the pin shows.

mod connections;
mod table;
mod tiles;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Row, Transaction};
use tokio::runtime::{Handle, Runtime};

use super::meta::{self, Meta};
use super::publisher::cosigned;
use super::sequencer::{Commit, Failure, Shared, Store};
use super::{Log, OpenError, Options, Recovery};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::clock::Clock;
use crate::files::Files;
use crate::note::{SigningKey, VerifyingKey};
use crate::pin;
use crate::publish::CHECKPOINT;
use crate::reader::tile_nodes;
use crate::tree::{Edge, Hash};
pub use connections::Connections;
use table::{Table, write_files};
use tiles::{Tiles, Unpublished};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS claviger_audit_head (
    origin text PRIMARY KEY, size bigint NOT NULL, note text NOT NULL, peaks bytea NOT NULL, stamp bigint NOT NULL);
CREATE TABLE IF NOT EXISTS claviger_audit_entry (
    origin text NOT NULL, index bigint NOT NULL, entry bytea NOT NULL, PRIMARY KEY (origin, index));
CREATE TABLE IF NOT EXISTS claviger_audit_file (
    origin text NOT NULL, path text NOT NULL, content bytea NOT NULL, PRIMARY KEY (origin, path));
";
/// Connections a process holds at most: the writer, the publisher, and readers.
const CONNECTIONS: u32 = 8;
/// A pool may take this long to hand out a connection: longer than any call, so that the call gives up first and what it
/// waited for is renewed.
const ACQUIRE_TIME: Duration = Duration::from_secs(60);
/// A call that takes longer is given up: a connection that nothing comes back through looks like a slow server.
const CALL_TIME: Duration = Duration::from_secs(30);
/// As [`CALL_TIME`] for a batch, whose callers wait.
const BATCH_TIME: Duration = Duration::from_secs(10);
/// Said at the beginning of each batch. A broker that vanishes with the head row locked must not stop the others for
/// longer than it takes them to give up.
const BATCH_SETTINGS: &str = "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '10s';
    SET LOCAL idle_in_transaction_session_timeout = '10s'";
/// A database that logs live in. Its methods block; they may be called, and the value dropped, inside an asynchronous
/// runtime, too, but hold up the thread that calls them.
#[derive(Clone)]
pub struct Database {
    connections: Arc<Connections>,
    runtime: Arc<Own>,
}

/// A runtime of our own. It is ended in the background: waiting for that is forbidden inside another runtime.
struct Own(Option<Runtime>);

impl Own {
    fn get(&self) -> &Runtime {
        self.0.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Database {
    /// Connects, creates the tables if need be, and checks that the server keeps what it acknowledges. What the URL does
    /// not say comes from the variables and the password file that PostgreSQL's own programs read.
    ///
    /// # Errors
    /// The server cannot be reached, or runs with `fsync` or `full_page_writes` off.
    pub fn connect(url: &str) -> Result<Database, OpenError> {
        let database = Database::reach(url)?;
        let prepared = database.run(async {
            for setting in ["fsync", "full_page_writes"] {
                let value: String = sqlx::query("SELECT current_setting($1)")
                    .bind(setting)
                    .fetch_one(&database.pool())
                    .await?
                    .try_get(0)?;
                if value != "on" {
                    return Err(sqlx::Error::Configuration(format!("{setting} is {value}").into()));
                }
            }
            // Two processes that start at once must not create the tables at once.
            let mut tx = database.pool().begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock(7309941)").execute(&mut *tx).await?;
            sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
            tx.commit().await
        });
        prepared.map_err(|e| database_error(&e))?;
        Ok(database)
    }

    /// Connects to read: nothing is created or changed, so that a role that may only read is enough.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn reader(url: &str) -> Result<Database, OpenError> {
        let database = Database::reach(url)?;
        database
            .run(async { sqlx::query("SELECT 1").execute(&database.pool()).await })
            .map_err(|e| database_error(&e))?;
        Ok(database)
    }

    fn reach(url: &str) -> Result<Database, OpenError> {
        let options: PgConnectOptions = url.parse().map_err(|e: sqlx::Error| database_error(&e))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| OpenError::Database(e.to_string()))?;
        let inside = runtime.enter();
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIME);
        let connections = Arc::new(Connections::new(pool, options));
        drop(inside);
        Ok(Database { connections, runtime: Arc::new(Own(Some(runtime))) })
    }

    /// The origins of all logs in the database, sorted.
    ///
    /// # Errors
    /// It cannot be read, or was never prepared.
    pub fn origins(&self) -> Result<Vec<String>, OpenError> {
        let rows = self.run(
            sqlx::query_scalar("SELECT origin FROM claviger_audit_head ORDER BY origin")
                .fetch_all(&self.pool()),
        );
        rows.map_err(|e| database_error(&e))
    }

    /// The published files of a log, for [`Reader`](crate::reader::Reader) and [`verify`](crate::verify).
    pub fn files(&self, origin: &str) -> Arc<dyn Files> {
        Arc::new(Table { database: self.clone(), origin: origin.to_owned() })
    }

    /// Opens a log for appending, or creates it. The first of `keys` names it; all of them sign.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, keys: Vec<SigningKey>, options: Options) -> Result<Log, OpenError> {
        let first = keys.first().ok_or_else(|| OpenError::Foreign { why: "no key was given".into() })?;
        let origin = first.verifying_key().name().to_owned();
        let files = self.files(&origin);
        let head = self.run(create(self, &origin, &keys)).map_err(|e| database_error(&e))?;
        let mut known = Meta::read(&*files)?.map_or_else(Vec::new, |meta| meta.keys);
        let held = keys.iter().map(|key| key.verifying_key().clone());
        let held: Vec<VerifyingKey> = held.collect();
        let durable = SignedCheckpoint::verify(&head.note, &origin, &held)?;
        for key in held {
            if !known.contains(&key) {
                known.push(key);
            }
        }
        let meta = Meta { origin: origin.clone(), keys: known };
        meta.write(&*files).map_err(|source| OpenError::Io { path: meta::PATH.into(), source })?;
        let edge = head.edge().map_err(|why| OpenError::Damaged { path: "head".into(), why })?;
        let publisher = Tiles {
            database: self.clone(),
            origin,
            keys: meta.keys.clone(),
            cosigners: options.cosigners,
            pin: options.pin,
        };
        let published = publisher.run(&durable).map_err(|e| match e {
            Unpublished::Database(e) => OpenError::Database(e.to_string()),
            Unpublished::Witness(e) => e.into(),
        })?;
        let size = durable.checkpoint().size;
        if let Some(pin) = &publisher.pin {
            pin::check(&**pin, &durable, &meta.keys, &tile_nodes(&*files, size))?;
        }
        // A database restored to an older state may have nothing to publish: asked all the same.
        cosigned(&durable, publisher.cosigners.as_deref(), &*files)?;
        let recovery = Recovery { replayed: published, torn: None };
        let shared = Shared::new(Commit::initial(edge, durable), keys, options.stamp, options.batch_entries);
        let store = Rows { database: self.clone(), clock: options.clock };
        Ok(Log::start(files, Arc::new(shared), store, publisher, options.publish, recovery, Box::new(())))
    }

    fn pool(&self) -> PgPool {
        self.connections.pool()
    }

    /// Waits for a call, for [`CALL_TIME`] at most.
    fn run<T: Send, E: From<sqlx::Error> + Send>(
        &self,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        self.run_for(CALL_TIME, call)
    }

    fn run_for<T: Send, E: From<sqlx::Error> + Send>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let in_time = async {
            self.connections.within(limit, call).await.unwrap_or_else(|| {
                let why = format!("no answer within {} s", limit.as_secs());
                Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why)).into())
            })
        };
        if Handle::try_current().is_err() {
            return self.runtime.get().block_on(in_time);
        }
        // A thread that belongs to another runtime must not wait for this one; a thread of its own may.
        let ran = std::thread::scope(|scope| scope.spawn(|| self.runtime.get().block_on(in_time)).join());
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn database_error(e: &sqlx::Error) -> OpenError {
    OpenError::Database(e.to_string())
}

/// The row that every batch locks.
struct Head {
    size: u64,
    note: String,
    peaks: Vec<u8>,
    stamp: i64,
}

impl Head {
    fn edge(&self) -> Result<Edge, String> {
        let peaks: Option<Vec<Hash>> = self.peaks.chunks(32).map(Hash::from_slice).collect();
        let edge = peaks.and_then(|peaks| Edge::from_peaks(self.size, &peaks));
        edge.ok_or_else(|| "the head row does not hold the peaks of its tree".to_owned())
    }
}

/// Reads the head; with `lock`, nobody else changes it before the transaction ends.
async fn read_row(
    tx: &mut Transaction<'_, Postgres>,
    origin: &str,
    lock: bool,
) -> Result<Option<Head>, sqlx::Error> {
    let text = match lock {
        true => "SELECT size, note, peaks, stamp FROM claviger_audit_head WHERE origin = $1 FOR UPDATE",
        false => "SELECT size, note, peaks, stamp FROM claviger_audit_head WHERE origin = $1",
    };
    let Some(row) = sqlx::query(text).bind(origin).fetch_optional(&mut **tx).await? else { return Ok(None) };
    let size: i64 = row.try_get(0)?;
    Ok(Some(Head {
        size: size.try_into().unwrap_or(0),
        note: row.try_get(1)?,
        peaks: row.try_get(2)?,
        stamp: row.try_get(3)?,
    }))
}

/// The head of the log, made if there is none.
async fn create(database: &Database, origin: &str, keys: &[SigningKey]) -> Result<Head, sqlx::Error> {
    let mut tx = database.pool().begin().await?;
    let empty = Checkpoint::empty(origin);
    let signed = empty.sign_after(&empty, &[], keys).map_err(|e| sqlx::Error::Protocol(e.to_string()))?;
    let made =
        sqlx::query("INSERT INTO claviger_audit_head VALUES ($1, 0, $2, '', 0) ON CONFLICT DO NOTHING")
            .bind(origin)
            .bind(signed.to_string())
            .execute(&mut *tx)
            .await?;
    if made.rows_affected() == 1 {
        let files = BTreeMap::from([(CHECKPOINT.to_owned(), signed.to_string().into_bytes())]);
        write_files(&mut tx, origin, &files).await?;
    }
    let head = read_row(&mut tx, origin, false).await?.ok_or(sqlx::Error::RowNotFound)?;
    tx.commit().await?;
    Ok(head)
}

/// The writing thread's side.
struct Rows {
    database: Database,
    clock: Arc<dyn Clock>,
}

impl Store for Rows {
    /// A transaction takes several round trips: one that starts with the first caller alone would leave the rest to
    /// wait for another.
    const GATHER: Duration = Duration::from_millis(2);

    fn commit(&mut self, shared: &Shared, entries: &[Vec<u8>]) -> Result<Commit, Failure> {
        let origin = shared.durable().signed.checkpoint().origin.clone();
        let now = self.clock.now();
        let append = append(&self.database, shared, &origin, entries, now);
        self.database.run_for(BATCH_TIME, append).map_err(|e| match e {
            NotAppended::Contradiction(why) => Failure::Log(why),
            NotAppended::Database(e) => Failure::Batch(e.to_string()),
        })
    }
}

/// Why a batch was not appended.
enum NotAppended {
    /// The log contradicts itself: it is over. Never what a driver says: a server that is away comes back.
    Contradiction(String),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotAppended {
    fn from(error: sqlx::Error) -> NotAppended {
        NotAppended::Database(error)
    }
}

async fn append(
    database: &Database,
    shared: &Shared,
    origin: &str,
    entries: &[Vec<u8>],
    now: Timestamp,
) -> Result<Commit, NotAppended> {
    let broken = NotAppended::Contradiction;
    let mut tx = database.pool().begin().await?;
    sqlx::raw_sql(BATCH_SETTINGS).execute(&mut *tx).await?;
    let row = read_row(&mut tx, origin, true).await?.ok_or_else(|| broken("the head row is gone".into()))?;
    let known: Vec<VerifyingKey> = shared.signers().iter().map(|key| key.verifying_key().clone()).collect();
    let head = SignedCheckpoint::verify(&row.note, origin, &known).map_err(|e| broken(e.to_string()))?;
    let edge = row.edge().map_err(broken)?;
    if edge.root() != head.checkpoint().root || head.checkpoint().size != row.size {
        return Err(broken("the head row contradicts its signed head".into()));
    }
    let last = Timestamp::from_microsecond(row.stamp).unwrap_or(Timestamp::MIN);
    let stamp = last.max(now);
    let commit = Commit::prepare(shared, head.checkpoint(), edge, entries, stamp).map_err(broken)?;
    let size = i64::try_from(commit.edge.size()).map_err(|_| broken("the log is full".into()))?;
    let first = size - entries.len() as i64;
    let stored: Vec<Vec<u8>> = commit.entries().map(<[u8]>::to_vec).collect();
    // The keys are fences: a second writer that slipped past the lock fails here.
    sqlx::query(
        "INSERT INTO claviger_audit_entry
         SELECT $1, $2 + row - 1, entry FROM unnest($3::bytea[]) WITH ORDINALITY AS new (entry, row)",
    )
    .bind(origin)
    .bind(first)
    .bind(stored)
    .execute(&mut *tx)
    .await?;
    let peaks: Vec<u8> = commit.edge.peaks().iter().flat_map(|peak| peak.0).collect();
    sqlx::query(
        "UPDATE claviger_audit_head SET size = $2, note = $3, peaks = $4, stamp = $5 WHERE origin = $1",
    )
    .bind(origin)
    .bind(size)
    .bind(commit.signed.to_string())
    .bind(peaks)
    .bind(stamp.as_microsecond())
    .execute(&mut *tx)
    .await?;
    // Stop here: nothing happened. Stop during the commit: the next batch reads what became of it.
    tx.commit().await?;
    Ok(commit)
}
