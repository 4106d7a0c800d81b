//! One task that writes: what waits goes into one transaction, with one sync for all.
//!
//! While a transaction is synced the next operations gather, so under load a sync is shared by as many callers as there
//! are, and a lone caller waits for its own only. Nobody is answered before the sync.
//!
//! An operation that fails must not spoil the others': the transaction is rolled back and each is run alone.

use std::pin::Pin;
use std::sync::Mutex;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Connection, fault};
use crate::store::StoreError;

/// The most operations in one transaction.
const MOST: usize = 256;
/// Callers that wait beyond these wait in line for the queue.
const QUEUE: usize = 4096;

type Running<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;
type Operation<A, T> = for<'c> fn(&'c mut Connection, &'c A) -> Running<'c, T>;

/// An operation that waits, with its caller.
struct Job<A, T> {
    args: A,
    operation: Operation<A, T>,
    /// What it said in the transaction that is not committed yet.
    said: Option<T>,
    answer: Option<oneshot::Sender<Result<T, StoreError>>>,
}

/// A [`Job`] of any type.
trait AnyJob: Send {
    fn run<'c>(&'c mut self, conn: &'c mut Connection) -> Running<'c, ()>;
    /// Answers with what the operation said, or with the error.
    fn answer(&mut self, error: Option<StoreError>);
}

impl<A: Send + Sync, T: Send> AnyJob for Job<A, T> {
    fn run<'c>(&'c mut self, conn: &'c mut Connection) -> Running<'c, ()> {
        Box::pin(async move {
            self.said = Some((self.operation)(conn, &self.args).await?);
            Ok(())
        })
    }

    fn answer(&mut self, error: Option<StoreError>) {
        let result = match (error, self.said.take()) {
            (None, Some(said)) => Ok(said),
            (error, _) => Err(error.unwrap_or_else(|| StoreError::Unknown("it was not run".into()))),
        };
        if let Some(answer) = self.answer.take() {
            // Whoever asked may be gone; what was done stays done.
            drop(answer.send(result));
        }
    }
}

/// The way to the writing task. It ends when this is dropped or closed, after what was accepted.
pub(super) struct Writer {
    /// Taken when it is closed.
    queue: Mutex<Option<mpsc::Sender<Box<dyn AnyJob>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the task.
    pub(super) fn start(conn: Connection, options: SqliteConnectOptions) -> Writer {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(Task { options, conn: Some(conn) }.serve(waiting));
        Writer { queue: Mutex::new(Some(queue)), task: Mutex::new(Some(task)) }
    }

    /// Runs an operation; it is durable when this answers.
    pub(super) async fn run<A, T>(&self, args: A, operation: Operation<A, T>) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let closed = || StoreError::Unavailable("it was closed".into());
        let queue = self.queue.lock().ok().and_then(|queue| queue.clone()).ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { args, operation, said: None, answer: Some(answer) };
        queue.send(Box::new(job)).await.map_err(|_| closed())?;
        drop(queue);
        answered.await.map_err(|_| StoreError::Unknown("the writing task ended".into()))?
    }

    /// Finishes what was accepted.
    pub(super) async fn close(&self) {
        drop(self.queue.lock().ok().and_then(|mut queue| queue.take()));
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

struct Task {
    options: SqliteConnectOptions,
    /// None after a failure that leaves a connection in doubt.
    conn: Option<Connection>,
}

impl Task {
    async fn serve(mut self, mut queue: mpsc::Receiver<Box<dyn AnyJob>>) {
        let mut batch = Vec::with_capacity(MOST);
        while queue.recv_many(&mut batch, MOST).await > 0 {
            self.run(&mut batch).await;
            batch.clear();
        }
        if let Some(conn) = self.conn {
            drop(conn.close().await);
        }
    }

    async fn run(&mut self, batch: &mut [Box<dyn AnyJob>]) {
        match self.transaction(batch).await {
            Ok(()) => batch.iter_mut().for_each(|job| job.answer(None)),
            Err(Failure::Operation(_)) if batch.len() > 1 => {
                for job in batch {
                    let result = self.transaction(std::slice::from_mut(job)).await;
                    job.answer(result.err().map(|e| e.meaning()));
                }
            }
            Err(failure) => batch.iter_mut().for_each(|job| job.answer(Some(failure.meaning()))),
        }
    }

    async fn transaction(&mut self, batch: &mut [Box<dyn AnyJob>]) -> Result<(), Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.options.connect().await.map_err(Failure::Undone)?,
        };
        // Immediate: a transaction that reads first and writes later fails when another process wrote in between.
        conn.execute("BEGIN IMMEDIATE").await.map_err(Failure::Undone)?;
        for job in batch {
            if let Err(error) = job.run(&mut conn).await {
                if conn.execute("ROLLBACK").await.is_ok() {
                    self.conn = Some(conn);
                }
                return Err(Failure::Operation(error));
            }
        }
        // Stop here: nothing happened. Stop during the commit: all of it or nothing; nobody was answered.
        match conn.execute("COMMIT").await {
            Ok(_) => self.conn = Some(conn),
            Err(error) => return Err(Failure::in_commit(error)),
        }
        Ok(())
    }
}

enum Failure {
    /// Nothing was done, since one of the operations failed.
    Operation(sqlx::Error),
    /// Nothing was done, and the same would happen to each alone.
    Undone(sqlx::Error),
    /// It may have been done.
    InDoubt(sqlx::Error),
}

impl Failure {
    /// A commit that finds the disk full is undone. One whose writing or sync failed may be found in the log by whoever
    /// opens the file next.
    fn in_commit(error: sqlx::Error) -> Failure {
        let code = error.as_database_error().and_then(|it| it.code()).and_then(|it| it.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(5 | 6 | 13) => Failure::Undone(error),
            _ => Failure::InDoubt(error),
        }
    }

    fn meaning(&self) -> StoreError {
        match self {
            Failure::Operation(error) | Failure::Undone(error) => fault(error),
            Failure::InDoubt(error) => StoreError::Unknown(format!("the commit failed: {error}")),
        }
    }
}
