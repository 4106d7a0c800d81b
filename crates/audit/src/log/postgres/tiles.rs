//! Publication from the database into itself: entries become bundles, tiles and a checkpoint, all in one transaction.

use std::io;
use std::sync::Arc;

use sqlx::{Postgres, Row, Transaction};

use super::super::publisher::{Publishing, cosigned};
use super::super::sequencer::Failure;
use super::table::{Staged, Table, other, write_files};
use super::{Database, read_row};
use crate::checkpoint::SignedCheckpoint;
use crate::files::Group;
use crate::note::VerifyingKey;
use crate::pin::Pin;
use crate::publish::{Builder, CHECKPOINT};
use crate::reader::read_head;
use crate::witness::{CosignError, Cosigners};

/// Entries that one publication reads at most at once.
const READ: i64 = 65_536;
/// The same for a publication, during which witnesses may be waited for.
const PUBLICATION_SETTINGS: &str =
    "SET LOCAL lock_timeout = '20s'; SET LOCAL idle_in_transaction_session_timeout = '15s'";

/// Turns entries into the files that readers see; any process does it, one at a time.
pub(super) struct Tiles {
    pub(super) database: Database,
    pub(super) origin: String,
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) cosigners: Option<Box<dyn Cosigners>>,
    pub(super) pin: Option<Box<dyn Pin>>,
}

impl Publishing for Tiles {
    fn publish(&self, _: &SignedCheckpoint) -> Result<(), Failure> {
        self.database
            .run(async {
                let mut tx = self.database.pool().begin().await?;
                let row = read_row(&mut tx, &self.origin, false).await?;
                row.ok_or(sqlx::Error::RowNotFound)
            })
            .map_err(|e: sqlx::Error| Failure::Batch(e.to_string()))
            .and_then(|head| {
                let head = SignedCheckpoint::verify(&head.note, &self.origin, &self.keys)
                    .map_err(|e| Failure::Batch(e.to_string()))?;
                self.run(&head).map(drop).map_err(|e| match e {
                    Unpublished::Database(e) => Failure::Batch(e.to_string()),
                    Unpublished::Witness(e) => e.into(),
                })
            })
    }
}

/// Why a head was not published.
pub(super) enum Unpublished {
    /// The server did not answer, or its rows do not fit.
    Database(io::Error),
    /// Witnesses did not cosign.
    Witness(CosignError),
}

impl From<io::Error> for Unpublished {
    fn from(error: io::Error) -> Unpublished {
        Unpublished::Database(error)
    }
}

impl From<CosignError> for Unpublished {
    fn from(error: CosignError) -> Unpublished {
        Unpublished::Witness(error)
    }
}

impl Tiles {
    /// Publishes up to `head`; gives the number of entries that this call published.
    pub(super) fn run(&self, head: &SignedCheckpoint) -> Result<u64, Unpublished> {
        let table = Table { database: self.database.clone(), origin: self.origin.clone() };
        // A transaction that is dropped half way gives its connection back to the pool through the runtime.
        let _inside = self.database.runtime.get().enter();
        // One lock for the whole publication, held by this transaction; released whatever happens.
        let mut tx = self
            .database
            .run(async {
                let mut tx = self.database.pool().begin().await?;
                sqlx::raw_sql(PUBLICATION_SETTINGS).execute(&mut *tx).await?;
                sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 7309942))")
                    .bind(&self.origin)
                    .execute(&mut *tx)
                    .await?;
                Ok(tx)
            })
            .map_err(|e| other(&e))?;
        let published = read_head(&table, &self.origin, &self.keys).map_err(io::Error::other)?;
        let (from, wanted) = (published.checkpoint(), head.checkpoint());
        if wanted.size <= from.size {
            return Ok(0);
        }
        let staged = Staged { below: table, files: Arc::default() };
        let mut builder = Builder::load(&staged, from.size, &from.root).map_err(io::Error::other)?;
        let mut group = Group::new(&staged);
        while builder.size() < wanted.size {
            let rows = self
                .database
                .run(read_entries(&mut tx, &self.origin, builder.size(), wanted.size))
                .map_err(|e| other(&e))?;
            for (index, entry) in rows {
                if index != builder.size() {
                    return Err(io::Error::other(format!("entry {} is missing", builder.size())).into());
                }
                builder.push(&entry, &mut group)?;
            }
        }
        if builder.edge().root() != wanted.root {
            return Err(io::Error::other("the table does not hold what was signed").into());
        }
        builder.write_partial(&mut group)?;
        group.finish()?;
        let head = &cosigned(head, self.cosigners.as_deref(), &staged)?;
        let mut group = Group::new(&staged);
        group.put(CHECKPOINT, head.to_string().as_bytes())?;
        group.finish()?;
        let files = std::mem::take(&mut *staged.pending());
        self.database
            .run(async {
                write_files(&mut tx, &self.origin, &files).await?;
                sqlx::query("DELETE FROM claviger_audit_entry WHERE origin = $1 AND index < $2")
                    .bind(&self.origin)
                    .bind(wanted.size as i64)
                    .execute(&mut *tx)
                    .await?;
                // Stop here: nothing was published; files, checkpoint and entries change together.
                tx.commit().await
            })
            .map_err(|e| other(&e))?;
        if let Some(pin) = &self.pin {
            pin.store(head).map_err(io::Error::other)?;
        }
        Ok(wanted.size - from.size)
    }
}

async fn read_entries(
    tx: &mut Transaction<'_, Postgres>,
    origin: &str,
    from: u64,
    until: u64,
) -> Result<Vec<(u64, Vec<u8>)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT index, entry FROM claviger_audit_entry WHERE origin = $1 AND index >= $2 AND index < $3
         ORDER BY index LIMIT $4",
    )
    .bind(origin)
    .bind(from as i64)
    .bind(until as i64)
    .bind(READ)
    .fetch_all(&mut **tx)
    .await?;
    if rows.is_empty() {
        return Err(sqlx::Error::Protocol(format!("entry {from} is missing")));
    }
    let pair = |row: &sqlx::postgres::PgRow| Ok((row.try_get::<i64, _>(0)? as u64, row.try_get(1)?));
    rows.iter().map(pair).collect()
}
