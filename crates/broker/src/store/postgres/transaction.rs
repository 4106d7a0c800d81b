//! A transaction, and what its errors mean.

use std::time::Duration;

use sqlx::Connection as _;

use super::{Connection, Operation};
use crate::store::{StoreError, row};

pub(super) enum Failure {
    /// Nothing was done.
    Undone(sqlx::Error),
    /// It may have been done.
    InDoubt(sqlx::Error),
}

pub(super) async fn transaction<A, T>(
    conn: &mut Connection,
    first: &str,
    args: &A,
    operation: Operation<A, T>,
) -> Result<T, Failure> {
    let first = sqlx::AssertSqlSafe(first.to_owned());
    let mut transaction = conn.begin_with(first).await.map_err(Failure::Undone)?;
    let said = operation(&mut transaction, args).await.map_err(Failure::Undone)?;
    // Stop here: nothing happened. Stop during the commit: all of it or nothing.
    transaction.commit().await.map_err(|error| match error.as_database_error() {
        Some(_) => Failure::Undone(error),
        None => Failure::InDoubt(error),
    })?;
    Ok(said)
}

/// Did it lose against another transaction, so that it can be run again?
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    // serialization_failure, deadlock_detected
    let code = error.as_database_error().and_then(|it| it.code());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// A few milliseconds, longer each time, not the same for all.
pub(super) async fn pause(attempt: u32) {
    let [random] = crate::secret::random::<1>();
    tokio::time::sleep(Duration::from_millis(u64::from(attempt) * (1 + u64::from(random) / 16))).await;
}

/// What an error means, when nothing was committed.
pub(super) fn fault(error: &sqlx::Error) -> StoreError {
    if let Some(known) = row::common(error) {
        return known;
    }
    let text = error.to_string();
    let Some(code) = error.as_database_error().and_then(|it| it.code()) else {
        return StoreError::Unavailable(text);
    };
    match &*code {
        "23505" => StoreError::Damaged(format!("a lease of this id or handle exists already: {text}")),
        "25006" => StoreError::Unavailable("the server only reads (a standby?)".into()),
        "53100" => StoreError::Unavailable("the server's disk is full".into()),
        "57014" => StoreError::Unavailable("the server took too long".into()),
        "55P03" => StoreError::Unavailable("others held what was needed for too long".into()),
        "42P01" | "42703" => StoreError::Damaged(format!("a table or column is gone: {text}")),
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => StoreError::Damaged(format!("the server found its files damaged: {text}")),
        _ => StoreError::Unavailable(text),
    }
}
