//! Leases in PostgreSQL, for any number of brokers at once.
//!
//! Nothing is kept in the process. Unique indexes decide which of two brokers used a token first; limits are counted
//! under a lock of the role; due work is taken with `FOR UPDATE SKIP LOCKED`. A transaction that the server gives up in
//! favour of another one is run again. A connection that is lost during a commit leaves it open what happened, and the
//! caller hears that.
//!
//! TLS, certificates, passwords and the schema come from the URL, as for `psql`: `sslmode=verify-full`,
//! `sslrootcert=FILE`, `options=-csearch_path=NAME`.

mod begin;
#[allow(clippy::duplicate_mod, reason = "one text for two databases")]
#[path = "many.rs"]
mod many;
#[allow(clippy::duplicate_mod, reason = "one text for two databases")]
#[path = "ops.rs"]
mod ops;
mod transaction;

use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr as _;
use std::time::Duration;

use async_trait::async_trait;
use claviger_audit::log::Connections;
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection as Connection, Postgres as Database, Row as _};

use self::begin::Begun;
use self::transaction::{Failure, fault, is_lost, pause, transaction};
use super::row::{self, Beginning};
use super::{BeginError, Counts, Filter, Overdue, Store, StoreError, Want, migrations};
use crate::lease::{HandleHash, Hold, HoldId, Intent, Lease, LeaseId, Reason, State};
use crate::secret::Secret;

const SKIP_LOCKED: &str = "FOR UPDATE SKIP LOCKED";
/// How much longer than a statement may take a server is waited for.
const SILENCE: Duration = Duration::from_secs(5);
/// How often a transaction that lost against another one is run again.
const RETRIES: u32 = 6;
/// The first key of this module's advisory locks; the second is 0 for holds, and taken from the role for limits.
const LOCK: i32 = 7_309_943;
/// The advisory lock of those who bring the tables up to date.
const MIGRATION_LOCK: i64 = 7_309_944;

/// How the database is used.
#[derive(Debug)]
pub struct Options {
    /// The password of the URL's user, if it does not come from elsewhere.
    pub password: Option<Secret>,
    /// A file with certificate authorities (PEM) that are trusted besides the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// Connections at most.
    pub connections: u32,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long one statement may take at the server.
    pub statement_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            password: None,
            ca_file: None,
            connections: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

/// Leases in PostgreSQL.
pub struct Postgres {
    connections: Connections,
    /// A call that takes longer is given up, whatever the server may still do.
    limit: Duration,
}

type Running<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;
type Operation<A, T> = for<'c> fn(&'c mut Connection, &'c A) -> Running<'c, T>;

impl Postgres {
    /// Connects to the database of the URL and brings its tables up to date.
    ///
    /// # Errors
    /// `Unfit`: the URL cannot be read, the server does not keep what it acknowledges, or a newer version wrote the
    /// tables. `Unavailable`: no connection.
    pub async fn open(url: &str, options: &Options) -> Result<Postgres, StoreError> {
        // The URL may hold a password: the parser's own words are not shown.
        let unfit = || StoreError::Unfit("the URL is none of a PostgreSQL database: postgres://...".into());
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(unfit());
        }
        let parsed = PgConnectOptions::from_str(url).map_err(|_| unfit())?;
        let mut parsed = parsed;
        if let Some(password) = &options.password {
            parsed = parsed.password(password.expose_text().ok_or_else(unfit)?);
        }
        if let Some(path) = &options.ca_file {
            parsed = parsed.ssl_root_cert(path);
        }
        let connect = parsed.disable_statement_logging().options([
            ("statement_timeout", options.statement_timeout.as_millis().to_string()),
            ("lock_timeout", options.statement_timeout.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", "60000".to_owned()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.connect_timeout)
            .after_connect(|conn, _| Box::pin(make_durable(conn)));
        // The server ends what takes too long, and says so; a server that says nothing at all is given up a little later.
        let limit = options.statement_timeout + SILENCE;
        let store = Postgres { connections: Connections::new(pool, connect), limit };
        store.check().await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut conn = self.acquire().await?;
        for setting in ["fsync", "full_page_writes"] {
            let row = sqlx::query("SELECT current_setting($1)").bind(setting).fetch_one(&mut *conn).await;
            let value: String = row.and_then(|row| row.try_get(0)).map_err(|e| fault(&e))?;
            if value != "on" {
                return Err(StoreError::Unfit(format!(
                    "the server runs with `{setting}` {value}: it would lose leases; set it to on"
                )));
            }
        }
        Ok(())
    }

    /// Brings the tables up to date, one broker at a time.
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut conn = self.acquire().await?;
        let run = async |text: &'static str, conn: &mut Connection| {
            sqlx::query(text).bind(MIGRATION_LOCK).execute(conn).await.map_err(|e| fault(&e))
        };
        run("SELECT pg_advisory_lock($1)", &mut conn).await?;
        let done = migrations::run(&migrations::POSTGRES, &mut *conn).await;
        // The lock goes with the connection if this fails.
        let unlocked = run("SELECT pg_advisory_unlock($1)", &mut conn).await;
        if unlocked.is_err() {
            drop(conn.detach());
        }
        done.map_err(|e| migrations::fault(e, fault))
    }

    /// A connection. When none comes in time, those that are waited for are given up, so that the next call fares better.
    async fn acquire(&self) -> Result<PoolConnection<Database>, StoreError> {
        let generation = self.connections.generation();
        self.connections.pool().acquire().await.map_err(|error| {
            if matches!(error, sqlx::Error::PoolTimedOut) {
                self.connections.renew(generation);
            }
            fault(&error)
        })
    }

    /// Waits for what a connection is used for, but not for a server that fell silent.
    async fn limited<T>(
        &self,
        given_up: fn(String) -> StoreError,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.connections.within(self.limit, call).await.unwrap_or_else(|| {
            Err(given_up(format!("the server said nothing for {} s", self.limit.as_secs())))
        })
    }

    /// Runs an operation of one statement.
    async fn once<A, T>(&self, args: A, operation: Operation<A, T>) -> Result<T, StoreError> {
        let mut conn = self.acquire().await?;
        let attempts = async {
            for attempt in 1.. {
                match operation(&mut conn, &args).await {
                    Ok(said) => return Ok(said),
                    Err(error) if attempt <= RETRIES && is_lost(&error) => pause(attempt).await,
                    Err(error) if error.as_database_error().is_none() && row::common(&error).is_none() => {
                        return Err(StoreError::Unknown(error.to_string()));
                    }
                    Err(error) => return Err(fault(&error)),
                }
            }
            unreachable!("the attempts are counted")
        };
        self.limited(StoreError::Unknown, attempts).await
    }

    /// Runs an operation in a transaction that begins with `first`.
    async fn whole<A, T>(&self, first: String, args: A, operation: Operation<A, T>) -> Result<T, StoreError> {
        let mut conn = self.acquire().await?;
        let attempts = async {
            for attempt in 1.. {
                match transaction(&mut conn, &first, &args, operation).await {
                    Ok(said) => return Ok(said),
                    Err(Failure::Undone(error)) if attempt <= RETRIES && is_lost(&error) => {
                        pause(attempt).await;
                    }
                    Err(Failure::Undone(error)) => return Err(fault(&error)),
                    Err(Failure::InDoubt(error)) => {
                        return Err(StoreError::Unknown(format!("the commit was not answered: {error}")));
                    }
                }
            }
            unreachable!("the attempts are counted")
        };
        self.limited(StoreError::Unknown, attempts).await
    }

    async fn read<A, T>(&self, args: A, operation: Operation<A, T>) -> Result<T, StoreError> {
        let mut conn = self.acquire().await?;
        let call = async { operation(&mut conn, &args).await.map_err(|e| fault(&e)) };
        self.limited(StoreError::Unavailable, call).await
    }
}

/// Whatever the server's default: an answer means that it is on the disk.
async fn make_durable(conn: &mut Connection) -> Result<(), sqlx::Error> {
    let text = "SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off'";
    sqlx::query(text).execute(conn).await.map(drop)
}

/// Runs one of [`ops`] by the given method, with arguments that it owns.
macro_rules! run {
    ($store:ident.once, $args:expr, |$conn:ident, $bound:pat_param| $call:expr) => {
        $store.once($args, |$conn, $bound| Box::pin($call)).await
    };
    ($store:ident.read, $args:expr, |$conn:ident, $bound:pat_param| $call:expr) => {
        $store.read($args, |$conn, $bound| Box::pin($call)).await
    };
    ($store:ident.whole, $args:expr, |$conn:ident, $bound:pat_param| $call:expr) => {
        $store.whole("BEGIN".into(), $args, |$conn, $bound| Box::pin($call)).await
    };
}

#[async_trait]
impl Store for Postgres {
    async fn begin(&self, intent: &Intent) -> Result<(), BeginError> {
        let new = Beginning::new(intent);
        let begun =
            self.whole(begin::first(&new), new, |conn, new| Box::pin(begin::begin(conn, new))).await?;
        match begun {
            Begun::Done => Ok(()),
            Begun::HeldBack(reason) => Err(BeginError::HeldBack(reason)),
            Begun::Replayed => Err(BeginError::Replayed),
            Begun::Limit(which) => Err(BeginError::LimitReached(which)),
        }
    }

    async fn keep(&self, id: LeaseId, reference: &[u8]) -> Result<bool, StoreError> {
        run!(self.once, (id, reference.to_vec()), |conn, (id, reference)| ops::keep(conn, *id, reference))
    }

    async fn activate(
        &self,
        id: LeaseId,
        expires: Timestamp,
        reference: Option<&[u8]>,
        fingerprints: &[String],
    ) -> Result<bool, StoreError> {
        let args = (id, expires, reference.map(<[u8]>::to_vec), fingerprints.to_vec());
        run!(self.whole, args, |conn, (id, expires, reference, fingerprints)| {
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
        run!(self.once, args, |conn, (id, reason, reference, now)| {
            ops::abandon(conn, *id, *reason, reference.as_deref(), *now)
        })
    }

    async fn find(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        run!(self.read, id, |conn, id| ops::find(conn, *id))
    }

    async fn find_held(&self, handle: &HandleHash) -> Result<Option<Lease>, StoreError> {
        run!(self.read, *handle, |conn, handle| ops::find_held(conn, handle))
    }

    async fn renew(&self, id: LeaseId, before: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        run!(self.once, (id, before, until), |conn, (id, before, until)| {
            ops::renew(conn, *id, *before, *until)
        })
    }

    async fn heard(&self, handle: &HandleHash, now: Timestamp) -> Result<bool, StoreError> {
        run!(self.once, (*handle, now), |conn, (handle, now)| ops::heard(conn, handle, *now))
    }

    async fn revoke(
        &self,
        filter: &Filter,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Vec<LeaseId>, StoreError> {
        run!(self.once, (filter.clone(), reason, now), |conn, (filter, reason, now)| {
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
        run!(self.whole, args, |conn, (worker, wants, now, until)| {
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
        run!(self.once, args, |conn, (worker, id, now, until)| ops::take(conn, worker, *id, *now, *until))
    }

    async fn close(
        &self,
        worker: &str,
        id: LeaseId,
        state: State,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = (worker.to_owned(), id, state, now);
        run!(self.once, args, |conn, (worker, id, state, now)| ops::close(conn, worker, *id, *state, *now))
    }

    async fn failed(
        &self,
        worker: &str,
        id: LeaseId,
        next: Timestamp,
        error: &str,
    ) -> Result<bool, StoreError> {
        let args = (worker.to_owned(), id, next, error.to_owned());
        run!(self.once, args, |conn, (worker, id, next, error)| {
            ops::failed(conn, worker, *id, *next, error)
        })
    }

    async fn wake(&self, filter: &Filter, now: Timestamp) -> Result<u64, StoreError> {
        run!(self.once, (filter.clone(), now), |conn, (filter, now)| many::wake(conn, filter, *now))
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<LeaseId>,
        most: u32,
    ) -> Result<Vec<Lease>, StoreError> {
        run!(self.read, (filter.clone(), after, most), |conn, (filter, after, most)| {
            many::list(conn, filter, *after, *most)
        })
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        run!(self.read, (), |conn, ()| many::counts(conn))
    }

    async fn overdue(&self, since: Timestamp, now: Timestamp) -> Result<Vec<Overdue>, StoreError> {
        run!(self.read, (since, now), |conn, (since, now)| many::overdue(conn, *since, *now))
    }

    async fn hold(&self, hold: &Hold) -> Result<(), StoreError> {
        // Waits for whoever is beginning a lease, and lets nobody begin one before the hold is there.
        let first = format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK}, 0)");
        self.whole(first, hold.clone(), |conn, hold| Box::pin(many::insert_hold(conn, hold))).await
    }

    async fn release(&self, id: HoldId) -> Result<bool, StoreError> {
        run!(self.once, id, |conn, id| many::release(conn, *id))
    }

    async fn holds(&self, now: Timestamp) -> Result<Vec<Hold>, StoreError> {
        run!(self.read, now, |conn, now| many::holds(conn, *now))
    }

    async fn purge(&self, now: Timestamp, closed_before: Timestamp) -> Result<u64, StoreError> {
        let mut gone = 0;
        loop {
            let args = (now, closed_before);
            let (leases, rows) =
                run!(self.whole, args, |conn, (now, before)| many::purge(conn, *now, *before))?;
            gone += leases;
            if rows < many::PURGE as u64 {
                return Ok(gone);
            }
        }
    }
}
