//! The tables and their versions: one list for each database, the same steps in both.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use super::StoreError;

/// A step: its number, what it brings, and its text.
type Step = (i64, &'static str, &'static str);

/// For SQLite. Steps are only ever added.
pub(super) const SQLITE: [Step; 1] = [(1, "leases", include_str!("migrations/sqlite/0001_leases.sql"))];
/// For PostgreSQL.
pub(super) const POSTGRES: [Step; 1] = [(1, "leases", include_str!("migrations/postgres/0001_leases.sql"))];

/// Takes the steps that the database lacks.
pub(super) async fn run<C>(steps: &[Step], conn: &mut C) -> Result<(), MigrateError>
where
    C: Migrate,
{
    let migration = |(version, name, text): &Step| {
        let (name, text) = (Cow::Borrowed(*name), (*text).into_sql_str());
        Migration::new(*version, name, MigrationType::Simple, text, false)
    };
    let mut migrator = Migrator::with_migrations(steps.iter().map(migration).collect());
    // Set before the first release, so nothing was recorded under another name.
    migrator.dangerous_set_table_name("claviger_migration");
    migrator.run_direct(None, conn, false).await
}

/// What a failed step means; `other` reads the database's own errors.
pub(super) fn fault(error: MigrateError, other: impl Fn(&sqlx::Error) -> StoreError) -> StoreError {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            StoreError::Unfit("a newer version of claviger wrote it; use that version".into())
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => other(&error),
        MigrateError::Dirty(version) => {
            StoreError::Unfit(format!("step {version} of its tables was begun and not finished"))
        }
        error => StoreError::Unfit(format!("its tables are not those of this version: {error}")),
    }
}
