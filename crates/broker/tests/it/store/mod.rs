//! The stores: one suite for all three, and what is particular to each. `CLAVIGER_TEST_POSTGRES` is the URL of a database
//! that may be written to; without it the tests of that store say so and pass, except in CI.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on may panic; a skip says why"
)]

mod behaviour;
mod concurrent;
mod files;
mod model;
mod replicas;
mod sequence;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use claviger_audit::event::Who;
use claviger_broker::lease::{Handle, Intent, Lease, LeaseId, State, TokenUse};
use claviger_broker::policy::grant::Limits;
use claviger_broker::store::Store;
use claviger_broker::store::memory::Memory;
use claviger_broker::store::postgres::{Options, Postgres};
use claviger_broker::store::sqlite::Sqlite;
use jiff::Timestamp;
use serde_json::json;

/// A store that is empty, and goes with the fixture.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    _keep: Box<dyn Any + Send + Sync>,
}

pub(crate) async fn memory() -> Option<Fixture> {
    Some(Fixture { store: Arc::new(Memory::new()), _keep: Box::new(()) })
}

pub(crate) async fn sqlite() -> Option<Fixture> {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("leases.db")).await.unwrap();
    Some(Fixture { store: Arc::new(store), _keep: Box::new(folder) })
}

pub(crate) async fn postgres() -> Option<Fixture> {
    let url = Schema::make("suite").await?.url();
    Some(Fixture { store: Arc::new(open(&url).await), _keep: Box::new(()) })
}

pub(crate) async fn open(url: &str) -> Postgres {
    Postgres::open(url, &Options::default()).await.unwrap()
}

/// A schema of its own in the server's database. It stays: the server is gone with the tests.
pub(crate) struct Schema {
    base: String,
    pub(crate) name: String,
}

impl Schema {
    pub(crate) async fn make(test: &str) -> Option<Schema> {
        let Ok(base) = std::env::var("CLAVIGER_TEST_POSTGRES") else {
            let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!is_ci, "CLAVIGER_TEST_POSTGRES is not set: `tests/run` starts a server and sets it");
            println!("skipped: CLAVIGER_TEST_POSTGRES is not set");
            return None;
        };
        let schema = Schema { base, name: format!("{test}_{}", LeaseId::new()) };
        schema.run(&format!("CREATE SCHEMA {}", schema.name)).await;
        Some(schema)
    }

    pub(crate) fn url(&self) -> String {
        let join = if self.base.contains('?') { '&' } else { '?' };
        format!("{}{join}options=-csearch_path%3D{}", self.base, self.name)
    }

    /// Runs statements on the side.
    pub(crate) async fn run(&self, text: &str) {
        use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
        let mut conn = PgConnection::connect(&self.base).await.unwrap();
        conn.execute(AssertSqlSafe(text.to_owned())).await.unwrap();
    }
}

/// Makes a test of each function for each store.
macro_rules! on_all {
    ($($(#[$doc:meta])* $name:ident,)*) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn memory() {
                let Some(fixture) = crate::store::memory().await else { return };
                super::run::$name(fixture.store).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                let Some(fixture) = crate::store::sqlite().await else { return };
                super::run::$name(fixture.store).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                let Some(fixture) = crate::store::postgres().await else { return };
                super::run::$name(fixture.store).await;
            }
        }
    )* };
}
pub(crate) use on_all;

/// So many seconds into the tests' day.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A pending lease that begins at 0, is given up at 60, and may live until 3600.
pub(crate) fn lease() -> Lease {
    Lease {
        id: LeaseId::new(),
        state: State::Pending,
        handle: Handle::new().hash(),
        who: Who {
            issuer: Some("github".into()),
            subject: Some("repo:acme/shop:ref:refs/heads/main".into()),
            repository: Some("acme/shop".into()),
            run_id: Some("4711".into()),
            ..Who::default()
        },
        role: "deploy".into(),
        provider: "db".into(),
        environment: "prod".into(),
        parameters: json!({"groups": ["app"], "limit": 3}),
        created: at(0),
        expires: at(60),
        max_expires: at(3600),
        renewals: 0,
        heard: None,
        silence_s: None,
        reference: None,
        fingerprints: Vec::new(),
        reason: None,
        revoking_since: None,
        attempts: 0,
        next_attempt: None,
        last_error: None,
        closed: None,
    }
}

/// An intent with a token of its own and no limits.
pub(crate) fn intent(lease: Lease) -> Intent {
    let token_id = format!("jti:{}", LeaseId::new());
    let token = TokenUse { issuer: "github".into(), token_id, keep_until: at(600) };
    Intent { lease, token, limits: Limits::default() }
}

/// A short wait that no test relies on.
pub(crate) async fn soon() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
