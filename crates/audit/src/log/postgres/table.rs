//! The published files of a log as rows of a table, behind the same trait as a directory.
//!
//! A file is stored as a whole when it is synced; names and directories need no syncs of their own.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Postgres, Row, Transaction};

use super::{Database, read_row};
use crate::files::{Files, Writer};
use crate::journal;

/// Writes files, each as a whole.
pub(super) async fn write_files(
    tx: &mut Transaction<'_, Postgres>,
    origin: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), sqlx::Error> {
    let (paths, contents): (Vec<String>, Vec<Vec<u8>>) = files.clone().into_iter().unzip();
    sqlx::query(
        "INSERT INTO claviger_audit_file SELECT $1, * FROM unnest($2::text[], $3::bytea[])
         ON CONFLICT (origin, path) DO UPDATE SET content = excluded.content",
    )
    .bind(origin)
    .bind(paths)
    .bind(contents)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Removes one file.
const REMOVE: &str = "DELETE FROM claviger_audit_file WHERE origin = $1 AND path = $2";

/// A stretch of a file, shorter at its end.
fn cut(content: &[u8], offset: u64, length: usize) -> Vec<u8> {
    let start = content.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
    content[start..content.len().min(start.saturating_add(length))].to_vec()
}

pub(super) fn other(e: &sqlx::Error) -> io::Error {
    io::Error::other(e.to_string())
}

/// The files of one log in the table.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) database: Database,
    pub(super) origin: String,
}

impl Table {
    /// Entries that are not in files yet, and the head over them, in the form of a journal segment, so that readers
    /// and verification see what is behind the published head as they do on disk. `None` if there is no log.
    fn tail(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let tail = self.database.run(async {
            let mut tx = self.database.pool().begin().await?;
            // Head and entries as of one instant.
            sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
            let Some(head) = read_row(&mut tx, &self.origin, false).await? else { return Ok(None) };
            let rows =
                sqlx::query("SELECT index, entry FROM claviger_audit_entry WHERE origin = $1 ORDER BY index")
                    .bind(&self.origin)
                    .fetch_all(&mut *tx)
                    .await?;
            let first = rows.first().map_or(Ok(head.size as i64), |row| row.try_get(0))?;
            let mut segment = journal::header(first as u64);
            for row in &rows {
                let entry: Vec<u8> = row.try_get(1)?;
                let index: i64 = row.try_get(0)?;
                journal::put_entry(&mut segment, index as u64, |buffer| buffer.extend_from_slice(&entry));
            }
            journal::put_head(&mut segment, head.size, &head.note);
            Ok(Some((first as u64, segment)))
        });
        tail.map_err(|e| other(&e))
    }
}

impl Files for Table {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path.starts_with(journal::DIR) {
            let tail = self.tail()?.filter(|(first, _)| journal::path(*first) == path);
            return tail.map(|(_, segment)| segment).ok_or(io::ErrorKind::NotFound.into());
        }
        let found = self.database.run(
            sqlx::query("SELECT content FROM claviger_audit_file WHERE origin = $1 AND path = $2")
                .bind(&self.origin)
                .bind(path)
                .fetch_optional(&self.database.pool()),
        );
        let row = found.map_err(|e| other(&e))?.ok_or(io::ErrorKind::NotFound)?;
        row.try_get(0).map_err(|e| other(&e))
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        Ok(cut(&self.read(path)?, offset, length))
    }

    fn read_parts(&self, path: &str, parts: &[(u64, usize)]) -> io::Result<Vec<Vec<u8>>> {
        let content = self.read(path)?;
        Ok(parts.iter().map(|(offset, length)| cut(&content, *offset, *length)).collect())
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn Writer>> {
        Ok(Box::new(Content { to: Arc::new(self.clone()), path: path.to_owned(), bytes: Vec::new() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let moved = self.database.run(async {
            let mut tx = self.database.pool().begin().await?;
            sqlx::query(REMOVE).bind(&self.origin).bind(to).execute(&mut *tx).await?;
            sqlx::query("UPDATE claviger_audit_file SET path = $3 WHERE origin = $1 AND path = $2")
                .bind(&self.origin)
                .bind(from)
                .bind(to)
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        });
        moved.map_err(|e| other(&e))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let gone = self
            .database
            .run(sqlx::query(REMOVE).bind(&self.origin).bind(path).execute(&self.database.pool()));
        if gone.map_err(|e| other(&e))?.rows_affected() == 0 {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Ok(())
        }
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        if path == journal::DIR {
            let name = |first| journal::path(first)[journal::DIR.len() + 1..].to_owned();
            return Ok(self.tail()?.map(|(first, _)| name(first)).into_iter().collect());
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let rows = self.database.run(
            sqlx::query("SELECT path FROM claviger_audit_file WHERE origin = $1 AND starts_with(path, $2)")
                .bind(&self.origin)
                .bind(&prefix)
                .fetch_all(&self.database.pool()),
        );
        let mut names = Vec::new();
        for row in rows.map_err(|e| other(&e))? {
            let path: String = row.try_get(0).map_err(|e| other(&e))?;
            let name = path[prefix.len()..].split('/').next().unwrap_or("").to_owned();
            names.push(name);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Writers do not lock: the head row does.
    fn lock(&self, _: &str) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

/// A file being written; it is stored as a whole when it is synced.
struct Content {
    to: Arc<dyn Whole>,
    path: String,
    bytes: Vec<u8>,
}

/// Takes whole files.
trait Whole: Send + Sync {
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
}

impl Writer for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.to.put(&self.path, &self.bytes)
    }
}

impl Whole for Table {
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let files = BTreeMap::from([(path.to_owned(), bytes.to_vec())]);
        self.database
            .run(async {
                let mut tx = self.database.pool().begin().await?;
                write_files(&mut tx, &self.origin, &files).await?;
                tx.commit().await
            })
            .map_err(|e| other(&e))
    }
}

pub(super) type Pending = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Files of a publication that are not in the table yet; reads fall through to the table.
pub(super) struct Staged {
    pub(super) below: Table,
    pub(super) files: Pending,
}

impl Staged {
    /// The files staged so far.
    pub(super) fn pending(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Stage(Pending);

impl Whole for Stage {
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
}

impl Files for Staged {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match self.pending().get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None => self.below.read(path),
        }
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.below.read_at(path, offset, length)
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn Writer>> {
        let to: Arc<dyn Whole> = Arc::new(Stage(Arc::clone(&self.files)));
        Ok(Box::new(Content { to, path: path.to_owned(), bytes: Vec::new() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.pending();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.pending().remove(path);
        Ok(())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.below.list(path)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.below.lock(path)
    }
}
