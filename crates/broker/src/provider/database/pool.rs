//! A few connections to one server, each lent to one batch of statements at a time.
//!
//! A connection comes back only after a batch that went well. Whatever else happens, an error, a time limit, a caller
//! that goes away, it is closed: no batch ever meets the rest of another one. Batches must be repeatable, since one
//! that met a connection that died while it was idle is run again on a new one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{CONNECT, said};

/// A connection that lay idle for longer is asked whether it still lives.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long a free connection is awaited: others may be many, and that is no fault of the server.
const WAIT: Duration = Duration::from_secs(10);
/// How long it may take to answer that, and to say farewell.
const QUICK: Duration = Duration::from_secs(1);

/// A driver: what differs between the databases.
pub(crate) trait Speaks:
    Connection<Options: ConnectOptions<Connection = Self>> + Send + 'static
{
    /// A row of an answer.
    type Row: Send;

    /// Sends statements as one message, and collects the rows of all their answers.
    fn batch(&mut self, sql: &str) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// The code of an error, the one that the database's manual lists.
    fn code(error: &dyn DatabaseError) -> String;
}

/// Why a batch did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server says so: its code and its words.
    Said { code: String, words: String },
    /// No connection; nothing was sent.
    Unreachable(String),
    /// The server's certificate is not trusted, or it speaks no TLS; nothing was sent.
    Untrusted(String),
    /// It was sent, and no answer came.
    Silent(String),
}

/// The connections.
pub(crate) struct Pool<C: Speaks> {
    options: C::Options,
    permits: Semaphore,
    /// Held to push or pop, never across I/O.
    idle: Mutex<Vec<(Instant, C)>>,
    answer: Duration,
}

/// How a batch ended on one connection.
enum Once<C: Speaks> {
    Done(Vec<C::Row>),
    /// The connection broke before an answer.
    Broke(String),
    Failed(Failure),
}

impl<C: Speaks> Pool<C> {
    /// At most `size` connections; an answer is awaited for `answer`.
    pub(crate) fn new(options: C::Options, size: usize, answer: Duration) -> Pool<C> {
        Pool { options, permits: Semaphore::new(size), idle: Mutex::new(Vec::new()), answer }
    }

    /// Runs statements as one message.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(&self, sql: &str) -> Result<Vec<C::Row>, Failure> {
        let busy = |_| Failure::Unreachable("all connections to it are busy".into());
        let permit = timeout(WAIT, self.permits.acquire()).await.map_err(busy)?;
        let _permit = permit.map_err(|_| Failure::Unreachable("closed".into()))?;
        if let Some(connection) = self.living().await {
            match self.once(connection, sql).await {
                Once::Done(rows) => return Ok(rows),
                Once::Failed(failure) => return Err(failure),
                // Closed while it was idle, most likely: so are the others, after a restart.
                Once::Broke(_) => self.idle().clear(),
            }
        }
        let connection = connect(&self.options).await?;
        match self.once(connection, sql).await {
            Once::Done(rows) => Ok(rows),
            Once::Failed(failure) => Err(failure),
            Once::Broke(words) => Err(Failure::Silent(words)),
        }
    }

    /// Closes the idle connections: some servers read an account's rights when it logs in.
    pub(crate) fn forget_idle(&self) {
        self.idle().clear();
    }

    /// An idle connection that still lives.
    async fn living(&self) -> Option<C> {
        loop {
            let (since, mut connection) = self.idle().pop()?;
            if since.elapsed() < TRUSTED || matches!(timeout(QUICK, connection.ping()).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    async fn once(&self, mut connection: C, sql: &str) -> Once<C> {
        match timeout(self.answer, connection.batch(sql)).await {
            Ok(Ok(rows)) => {
                self.idle().push((Instant::now(), connection));
                Once::Done(rows)
            }
            Ok(Err(sqlx::Error::Database(error))) => {
                let _ = timeout(QUICK, connection.close()).await;
                Once::Failed(answer::<C>(&*error))
            }
            Ok(Err(error)) => Once::Broke(said(&error.to_string())),
            Err(_) => Once::Failed(Failure::Silent(format!("none within {} s", self.answer.as_secs()))),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, C)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection.
///
/// # Errors
/// See [`Failure`]; never `Silent`, since nothing was asked for yet.
pub(crate) async fn connect<C: Speaks>(options: &C::Options) -> Result<C, Failure> {
    match timeout(CONNECT, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(sqlx::Error::Database(error))) => Err(answer::<C>(&*error)),
        Ok(Err(sqlx::Error::Tls(error))) => Err(Failure::Untrusted(said(&error.to_string()))),
        // This is how the TLS library says that it does not trust the certificate.
        Ok(Err(sqlx::Error::Io(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(Failure::Untrusted(said(&error.to_string())))
        }
        Ok(Err(error)) => Err(Failure::Unreachable(said(&error.to_string()))),
        Err(_) => Err(Failure::Unreachable(format!("no connection within {} s", CONNECT.as_secs()))),
    }
}

/// Runs statements on a connection of its own and closes it.
///
/// # Errors
/// See [`Failure`].
pub(crate) async fn run_apart<C: Speaks>(
    options: &C::Options,
    sql: &str,
    answer: Duration,
) -> Result<Vec<C::Row>, Failure> {
    let pool = Pool::<C>::new(options.clone(), 1, answer);
    let rows = pool.run(sql).await?;
    let idle = pool.idle().pop();
    if let Some((_, connection)) = idle {
        let _ = timeout(QUICK, connection.close()).await;
    }
    Ok(rows)
}

fn answer<C: Speaks>(error: &dyn DatabaseError) -> Failure {
    Failure::Said { code: C::code(error), words: said(error.message()) }
}
