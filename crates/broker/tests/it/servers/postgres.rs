//! A PostgreSQL server that speaks TLS as well, with two databases, groups, and the account of a broker.

use std::path::PathBuf;

use claviger_broker::secret;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::sync::OnceCell;

use super::guard::{Guard, script};
use super::{free_port, is_installed, tls};

/// A running server.
pub(crate) struct Postgres {
    folder: PathBuf,
    port: u16,
    admin: String,
    /// The password of the broker's account.
    pub(crate) broker: String,
    _guard: Guard,
}

/// The broker's account has what the fact sheet says it needs, and the owner's membership to hand things over.
const SET_UP: &str = "
CREATE ROLE app_owner NOLOGIN;
CREATE ROLE app_ro NOLOGIN;
CREATE ROLE app_rw NOLOGIN;
CREATE ROLE broker LOGIN CREATEROLE PASSWORD 'PASSWORD';
GRANT pg_signal_backend, app_owner TO broker;
GRANT app_ro, app_rw TO broker WITH ADMIN OPTION;
";
const IN_EACH_DATABASE: &str = "
CREATE SCHEMA work AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA work TO app_ro, app_rw;
GRANT CREATE ON SCHEMA work TO app_rw;
CREATE TABLE work.things (id int);
ALTER TABLE work.things OWNER TO app_owner;
INSERT INTO work.things VALUES (1);
GRANT SELECT ON work.things TO app_ro, app_rw;
GRANT INSERT ON work.things TO app_rw;
";

/// The server that all tests of this process share; `None` where there is none installed.
pub(crate) async fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceCell<Option<Postgres>> = OnceCell::const_new();
    SHARED.get_or_init(|| Postgres::start("off")).await.as_ref()
}

fn password() -> String {
    secret::password(24).expose_text().expect("letters").to_owned()
}

impl Postgres {
    /// Starts one, with `fsync` as said.
    pub(crate) async fn start(fsync: &str) -> Option<Postgres> {
        let bin = newest().unwrap_or_else(|| "/usr/lib/postgresql".to_owned());
        if !is_installed(&format!("{bin}/initdb")) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder").keep();
        let (port, admin, broker) = (free_port(), password(), password());
        std::fs::write(folder.join("pw"), &admin).expect("a file");
        tls::write(&folder);
        script(
            &folder,
            &format!(
                "as=; if [ \"$(id -u)\" = 0 ]; then chown -R postgres \"$D\"; as='runuser -u postgres --'; fi\n\
                 chmod 0600 \"$D/server.key\"\n\
                 $as {bin}/initdb -D $D/data -A scram-sha-256 --pwfile=$D/pw -U postgres --no-sync --no-locale -E UTF8\n\
                 $as {bin}/pg_ctl -D $D/data -l $D/log -w -o \"-p {port} -k $D -c fsync={fsync} -c ssl=on \
                 -c listen_addresses=127.0.0.1,127.0.0.2 -c max_connections=200 -c ssl_cert_file=$D/server.crt \
                 -c ssl_key_file=$D/server.key -c log_statement=all\" start"
            ),
        );
        let stop = format!(
            "as=; [ \"$(id -u)\" = 0 ] && as='runuser -u postgres --'; $as {bin}/pg_ctl -D $D/data -m immediate stop"
        );
        let guard = Guard::over(&folder, &stop);
        let server = Postgres { folder, port, admin, broker, _guard: guard };
        server
            .run("postgres", &SET_UP.replace("PASSWORD 'PASSWORD'", &format!("PASSWORD '{}'", server.broker)))
            .await;
        server.run("postgres", "CREATE DATABASE app").await;
        server.run("postgres", "CREATE DATABASE reports").await;
        server.run("app", IN_EACH_DATABASE).await;
        server.run("reports", IN_EACH_DATABASE).await;
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A file in its folder: `ca.crt`, `log`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A provider's settings for the broker's account.
    pub(crate) fn settings(&self) -> Value {
        json!({
            "url": format!("postgres://broker@127.0.0.1:{}/app", self.port),
            "password": {"value": self.broker},
            "roles": ["app_ro", "app_rw"],
            "owner": "app_owner",
        })
    }

    /// Logs in.
    pub(crate) async fn login(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> sqlx::Result<PgConnection> {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(user)
            .password(password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
    }

    /// Logs in as the administrator.
    pub(crate) async fn admin(&self, database: &str) -> PgConnection {
        self.login("postgres", &self.admin, database).await.expect("the administrator logs in")
    }

    /// Runs statements as the administrator.
    pub(crate) async fn run(&self, database: &str, sql: &str) {
        let mut admin = self.admin(database).await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await;
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// One text, as the administrator sees it.
    pub(crate) async fn ask(&self, database: &str, sql: &str) -> Option<String> {
        let mut admin = self.admin(database).await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut admin).await.expect("an answer")
    }

    /// Whether there is a role of this name.
    pub(crate) async fn has_role(&self, name: &str) -> bool {
        let count = format!("SELECT count(*)::text FROM pg_roles WHERE rolname = '{name}'");
        self.ask("postgres", &count).await.as_deref() == Some("1")
    }
}

/// The folder of the newest installed version's programs.
fn newest() -> Option<String> {
    let mut found: Vec<(u32, String)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(|version| (version, format!("/usr/lib/postgresql/{version}/bin")))
        .filter(|(_, bin)| std::path::Path::new(bin).join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}
