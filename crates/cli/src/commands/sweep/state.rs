//! What is known of each repository between sweeps.
//!
//! [`State`] is what the rest of the sweep asks; [`Sqlite`] keeps it in one file for one machine. A store that
//! several machines share has to answer the same questions.
//!
//! Each repository's result is one transaction: after a crash at any instant it is either wholly there or not at all,
//! and the next run does what is missing. A sweep has a number; one that did not end is taken up again.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex;

use super::model::{Held, Status};
use super::shown;
use crate::commands::net::runtime;

/// A repository that was done longer ago is done again, though its sweep did not end. Seconds.
const RESUME_FOR_S: i64 = 24 * 3600;
/// Version of the tables.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS sweep (id INTEGER PRIMARY KEY, started INTEGER NOT NULL, finished INTEGER);
CREATE TABLE IF NOT EXISTS repository (
    name TEXT PRIMARY KEY, sweep INTEGER NOT NULL, at INTEGER NOT NULL, status TEXT NOT NULL, why TEXT NOT NULL,
    tips TEXT NOT NULL, rules TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (
    repository TEXT NOT NULL, fingerprint TEXT NOT NULL, data TEXT NOT NULL, first_sweep INTEGER NOT NULL,
    gone_sweep INTEGER, PRIMARY KEY (repository, fingerprint)) WITHOUT ROWID;
";

/// What a repository was when it was scanned last.
#[derive(Debug)]
pub(super) struct Known {
    /// What its refs named; empty when not everything could be read.
    pub(super) tips: Vec<String>,
    /// With what it was scanned: rules, fingerprints, triage.
    pub(super) rules: String,
    pub(super) held: Vec<Held>,
}

/// A repository's result.
#[derive(Debug)]
pub(super) struct Swept {
    pub(super) status: Status,
    /// Why it is not complete; printable.
    pub(super) why: String,
    /// What is to be kept; `None` leaves everything as it was.
    pub(super) news: Option<News>,
}

/// What a scan found out.
#[derive(Debug)]
pub(super) struct News {
    pub(super) tips: Vec<String>,
    pub(super) rules: String,
    /// All that the repository holds, not only what is new.
    pub(super) held: Vec<Held>,
}

/// A secret in a repository, and since when.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) held: Held,
    /// The sweep that found it first.
    pub(super) first_sweep: i64,
    /// The sweep that found it no more.
    pub(super) gone_sweep: Option<i64>,
}

/// A repository as the reports show it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) why: String,
    pub(super) rows: Vec<Row>,
}

/// Where a sweep keeps what it knows. Used by many threads at once.
pub(super) trait State: Sync {
    /// Begins a sweep, or takes up the one that did not end. Its number, and whether it is an old one.
    fn begin(&self, now: i64) -> anyhow::Result<(i64, bool)>;
    /// Whether the sweep that goes on has dealt with a repository.
    fn is_done(&self, sweep: i64, name: &str, now: i64) -> anyhow::Result<bool>;
    /// What is known of a repository.
    fn known(&self, name: &str) -> anyhow::Result<Option<Known>>;
    /// Keeps a repository's result, wholly or not at all.
    fn save(&self, sweep: i64, name: &str, now: i64, result: &Swept) -> anyhow::Result<()>;
    /// What is known of a repository for the reports; `None` when it was never looked at.
    fn record(&self, sweep: i64, name: &str) -> anyhow::Result<Option<Record>>;
    /// Ends the sweep.
    fn finish(&self, sweep: i64, now: i64) -> anyhow::Result<()>;
}

/// State in a SQLite file. One sweep at a time has it.
pub(super) struct Sqlite(Mutex<SqliteConnection>);

impl Sqlite {
    /// Opens the file, made if it is not there, readable by its owner alone.
    pub(super) fn open(path: &Path) -> anyhow::Result<Sqlite> {
        let shown = shown(path);
        own(path).with_context(|| shown.clone())?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(2))
            .disable_statement_logging();
        let opened = runtime()?.block_on(async {
            let mut conn = options.connect().await?;
            let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await?;
            if version <= VERSION {
                sqlx::raw_sql(TABLES).execute(&mut conn).await?;
                sqlx::raw_sql("PRAGMA user_version = 1").execute(&mut conn).await?;
            }
            anyhow::Ok((conn, version))
        });
        // The lower byte is the class; 5 and 6 say that somebody else has the file: https://www.sqlite.org/rescode.html
        let is_locked = |e: &anyhow::Error| {
            let code = e.downcast_ref::<sqlx::Error>().and_then(|e| e.as_database_error()?.code());
            code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
        };
        let (conn, version) = match opened {
            Ok(opened) => opened,
            Err(e) if is_locked(&e) => anyhow::bail!("{shown}: another sweep uses it"),
            Err(e) => return Err(e.context(shown)),
        };
        anyhow::ensure!(version <= VERSION, "{shown}: a newer version of claviger made it");
        Ok(Sqlite(Mutex::new(conn)))
    }
}

/// Makes the file, so that nobody else can read it: it says where secrets are.
fn own(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

impl State for Sqlite {
    fn begin(&self, now: i64) -> anyhow::Result<(i64, bool)> {
        runtime()?.block_on(async {
            let conn = &mut *self.0.lock().await;
            let open = sqlx::query_scalar("SELECT max(id) FROM sweep WHERE finished IS NULL");
            if let Some(id) = open.fetch_one(&mut *conn).await? {
                return Ok((id, true));
            }
            let insert = sqlx::query_scalar("INSERT INTO sweep (started) VALUES (?) RETURNING id");
            Ok((insert.bind(now).fetch_one(&mut *conn).await?, false))
        })
    }

    fn is_done(&self, sweep: i64, name: &str, now: i64) -> anyhow::Result<bool> {
        runtime()?.block_on(async {
            let conn = &mut *self.0.lock().await;
            let query =
                sqlx::query_scalar("SELECT status FROM repository WHERE name = ? AND sweep = ? AND at > ?");
            let status: Option<String> =
                query.bind(name).bind(sweep).bind(now - RESUME_FOR_S).fetch_optional(&mut *conn).await?;
            Ok(status.and_then(|text| Status::parse(&text)).is_some_and(Status::is_complete))
        })
    }

    fn known(&self, name: &str) -> anyhow::Result<Option<Known>> {
        runtime()?.block_on(async {
            let conn = &mut *self.0.lock().await;
            let query = sqlx::query("SELECT tips, rules FROM repository WHERE name = ?");
            let Some(row) = query.bind(name).fetch_optional(&mut *conn).await? else { return Ok(None) };
            let query =
                "SELECT data FROM held WHERE repository = ? AND gone_sweep IS NULL ORDER BY fingerprint";
            let held: Vec<String> = sqlx::query_scalar(query).bind(name).fetch_all(&mut *conn).await?;
            let tips: String = row.try_get("tips")?;
            Ok(Some(Known {
                tips: tips.split_whitespace().map(str::to_owned).collect(),
                rules: row.try_get("rules")?,
                held: held
                    .iter()
                    .map(|data| serde_json::from_str(data))
                    .collect::<std::result::Result<_, _>>()?,
            }))
        })
    }

    fn save(&self, sweep: i64, name: &str, now: i64, result: &Swept) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let conn = &mut *self.0.lock().await;
            // Stop before its commit: nothing of this repository has changed, and it is scanned again.
            let mut all = conn.begin().await?;
            let upsert = "INSERT INTO repository (name, sweep, at, status, why, tips, rules) \
                          VALUES (?, ?, ?, ?, ?, '', '') ON CONFLICT (name) DO UPDATE SET \
                          sweep = excluded.sweep, at = excluded.at, status = excluded.status, why = excluded.why";
            sqlx::query(upsert)
                .bind(name)
                .bind(sweep)
                .bind(now)
                .bind(result.status.as_str())
                .bind(&result.why)
                .execute(&mut *all)
                .await?;
            if let Some(news) = &result.news {
                sqlx::query("UPDATE repository SET tips = ?, rules = ? WHERE name = ?")
                    .bind(news.tips.join(" "))
                    .bind(&news.rules)
                    .bind(name)
                    .execute(&mut *all)
                    .await?;
                // All are gone, but those that are held.
                sqlx::query("UPDATE held SET gone_sweep = ? WHERE repository = ? AND gone_sweep IS NULL")
                    .bind(sweep)
                    .bind(name)
                    .execute(&mut *all)
                    .await?;
                for held in &news.held {
                    let upsert = "INSERT INTO held (repository, fingerprint, data, first_sweep) \
                                  VALUES (?, ?, ?, ?) ON CONFLICT (repository, fingerprint) DO UPDATE SET \
                                  data = excluded.data, gone_sweep = NULL, first_sweep = \
                                  CASE WHEN gone_sweep < excluded.first_sweep THEN excluded.first_sweep \
                                  ELSE first_sweep END";
                    sqlx::query(upsert)
                        .bind(name)
                        .bind(&held.fingerprint)
                        .bind(serde_json::to_string(held)?)
                        .bind(sweep)
                        .execute(&mut *all)
                        .await?;
                }
            }
            all.commit().await?;
            Ok(())
        })
    }

    fn record(&self, sweep: i64, name: &str) -> anyhow::Result<Option<Record>> {
        runtime()?.block_on(async {
            let conn = &mut *self.0.lock().await;
            let query = sqlx::query("SELECT status, why FROM repository WHERE name = ?");
            let Some(row) = query.bind(name).fetch_optional(&mut *conn).await? else { return Ok(None) };
            let query = sqlx::query(
                "SELECT data, first_sweep, gone_sweep FROM held WHERE repository = ? \
                 AND (gone_sweep IS NULL OR gone_sweep = ?) ORDER BY fingerprint",
            );
            let rows = query.bind(name).bind(sweep).fetch_all(&mut *conn).await?;
            let one = |row: &sqlx::sqlite::SqliteRow| {
                anyhow::Ok(Row {
                    held: serde_json::from_str(&row.try_get::<String, _>("data")?)?,
                    first_sweep: row.try_get("first_sweep")?,
                    gone_sweep: row.try_get("gone_sweep")?,
                })
            };
            let status: String = row.try_get("status")?;
            Ok(Some(Record {
                name: name.to_owned(),
                status: Status::parse(&status).context("a status that this version does not know")?,
                why: row.try_get("why")?,
                rows: rows.iter().map(one).collect::<anyhow::Result<_>>()?,
            }))
        })
    }

    fn finish(&self, sweep: i64, now: i64) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let conn = &mut *self.0.lock().await;
            let update = sqlx::query("UPDATE sweep SET finished = ? WHERE id = ?");
            update.bind(now).bind(sweep).execute(&mut *conn).await?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Spot;
    use super::*;

    fn held(fingerprint: &str) -> Held {
        let spot = Spot {
            kind: "history".to_owned(),
            path: "a".to_owned(),
            line: 1,
            object: None,
            commit: None,
            time: None,
            in_head: true,
            head_blob: None,
            owners: Vec::new(),
        };
        let text = || "x".to_owned();
        Held {
            fingerprint: fingerprint.to_owned(),
            rule: text(),
            title: text(),
            severity: text(),
            confidence: text(),
            preview: text(),
            spots: vec![spot],
        }
    }

    #[test]
    fn a_sweep_that_did_not_end_goes_on_and_what_is_gone_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let whole = |held: Vec<Held>| Swept {
            status: Status::Whole,
            why: String::new(),
            news: Some(News { tips: vec!["t".to_owned()], rules: "r".to_owned(), held }),
        };
        let state = Sqlite::open(&file).unwrap();
        assert_eq!(state.begin(10).unwrap(), (1, false));
        state.save(1, "a", 10, &whole(vec![held("1"), held("2")])).unwrap();
        assert!(Sqlite::open(&file).is_err(), "two at once");
        drop(state);

        let state = Sqlite::open(&file).unwrap();
        assert_eq!(state.begin(20).unwrap(), (1, true));
        assert!(state.is_done(1, "a", 20).unwrap());
        assert!(!state.is_done(1, "a", 20 + RESUME_FOR_S).unwrap());
        assert!(state.known("b").unwrap().is_none());
        state.finish(1, 20).unwrap();

        for (sweep, gone) in [(2, 1), (3, 0)] {
            assert_eq!(state.begin(30).unwrap(), (sweep, false));
            assert!(!state.is_done(sweep, "a", 30).unwrap());
            state.save(sweep, "a", 30, &whole(vec![held("2")])).unwrap();
            let rows = state.record(sweep, "a").unwrap().unwrap().rows;
            assert_eq!(rows.iter().filter(|row| row.gone_sweep == Some(sweep)).count(), gone);
            assert_eq!(rows.iter().filter(|row| row.gone_sweep.is_none()).count(), 1);
            state.finish(sweep, 30).unwrap();
        }
        state.begin(40).unwrap();
        let failed = Swept { status: Status::Failed, why: "w".to_owned(), news: None };
        state.save(4, "a", 40, &failed).unwrap();
        let known = state.known("a").unwrap().unwrap();
        assert!(!state.is_done(4, "a", 40).unwrap() && known.held == [held("2")] && known.tips == ["t"]);
    }
}
