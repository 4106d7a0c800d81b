//! The file itself: where it lies, who may read it, whether it is whole.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use sqlx::{Row as _, query};

use super::{Connection, fault};
use crate::store::StoreError;

/// Makes the file and its folder if they are not there, for the owner alone, and refuses those that others reach.
/// SQLite gives its log and index files the rights of the file.
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    let io = |what: &Path, e: &std::io::Error| StoreError::Unavailable(format!("{}: {e}", what.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|e| io(folder, &e))?;
        // A folder that others may write to lets them replace the file.
        refuse(folder, 0o022, "chmod go-w")?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => refuse(path, 0o077, "chmod 600"),
        Err(e) => Err(io(path, &e)),
        Ok(_) => Ok(()),
    }
}

/// Refuses what is open to others in one of the ways of `mask`.
#[cfg(unix)]
fn refuse(path: &Path, mask: u32, remedy: &str) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = path.display();
    let mode = match path.metadata() {
        Ok(metadata) => metadata.permissions().mode(),
        Err(e) => return Err(StoreError::Unavailable(format!("{shown}: {e}"))),
    };
    // In a folder like /tmp nobody can replace the files of another.
    let is_sticky = mode & 0o1000 != 0;
    if mode & mask == 0 || is_sticky {
        return Ok(());
    }
    let mode = mode & 0o777;
    Err(StoreError::Unfit(format!("{shown} is open to others (mode {mode:o}); {remedy} {shown}")))
}

#[cfg(not(unix))]
fn refuse(_: &Path, _: u32, _: &str) -> Result<(), StoreError> {
    Ok(())
}

/// Reads the whole file once and looks whether its structure is right.
pub(super) async fn check(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let rows = query("PRAGMA quick_check(1)").fetch_all(conn).await;
    let row = rows.and_then(|rows| rows.into_iter().next().ok_or(sqlx::Error::RowNotFound));
    let said: String = row.and_then(|row| row.try_get(0)).map_err(|e| located(fault(&e), path))?;
    if said == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "{}: the SQLite file is damaged; restore it from a backup, or save what `sqlite3 FILE .recover` finds: {said}",
        path.display()
    )))
}

fn located(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::Damaged(text) => StoreError::Damaged(format!("{}: {text}", path.display())),
        other => other,
    }
}
