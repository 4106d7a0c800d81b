//! A MariaDB server that speaks TLS as well, with schemas, a role, and the account of a broker.

use std::path::PathBuf;

use claviger_broker::secret;
use serde_json::{Value, json};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::sync::OnceCell;

use super::guard::{Guard, script};
use super::{free_port, is_installed, tls};

/// A running server.
pub(crate) struct MariaDb {
    folder: PathBuf,
    port: u16,
    /// The password of the broker's account.
    pub(crate) broker: String,
    _guard: Guard,
}

/// The broker's account has what the fact sheet says it needs. `appxmain` matches `app_main` where that is a pattern.
const SET_UP: &str = "
DELETE FROM mysql.global_priv WHERE User = '';
FLUSH PRIVILEGES;
CREATE DATABASE app_main;
CREATE DATABASE appxmain;
CREATE TABLE app_main.things (id int);
CREATE TABLE appxmain.things (id int);
INSERT INTO app_main.things VALUES (1);
CREATE ROLE app_ro;
GRANT SELECT ON `app\\_main`.* TO app_ro;
CREATE USER broker@'%' IDENTIFIED BY 'PASSWORD';
GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO broker@'%';
GRANT SELECT ON mysql.user TO broker@'%';
GRANT app_ro TO broker@'%' WITH ADMIN OPTION;
GRANT SELECT, INSERT, CREATE ON `app\\_main`.* TO broker@'%' WITH GRANT OPTION;
";

/// The server that all tests of this process share; `None` where there is none installed.
pub(crate) async fn shared() -> Option<&'static MariaDb> {
    static SHARED: OnceCell<Option<MariaDb>> = OnceCell::const_new();
    SHARED.get_or_init(|| async { MariaDb::start("2") }).await.as_ref()
}

impl MariaDb {
    /// Starts one; `flush` is InnoDB's habit at a commit: 1 is durable.
    pub(crate) fn start(flush: &str) -> Option<MariaDb> {
        let program = "/usr/sbin/mariadbd";
        if !is_installed(program) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder").keep();
        let port = free_port();
        let broker = secret::password(24).expose_text().expect("letters").to_owned();
        tls::write(&folder);
        script(
            &folder,
            &format!(
                "u=; if [ \"$(id -u)\" = 0 ]; then u=--user=mysql; chown -R mysql \"$D\"; fi\n\
                 mariadb-install-db --no-defaults $u --datadir=$D/data --auth-root-authentication-method=normal \
                 --skip-test-db > $D/install\n\
                 {program} --no-defaults $u --datadir=$D/data --socket=$D/s --pid-file=$D/pid --port={port} \
                 --bind-address=127.0.0.1 --ssl-cert=$D/server.crt --ssl-key=$D/server.key --ssl-ca=$D/ca.crt \
                 --general-log --general-log-file=$D/log --innodb-flush-log-at-trx-commit={flush} \
                 --max-connections=200 --innodb-buffer-pool-size=16M > $D/err 2>&1 &\n\
                 for i in $(seq 200); do mariadb-admin --no-defaults -S $D/s -u root ping > $D/ping 2>&1 && exit 0; \
                 sleep 0.1; done; cat $D/err; exit 1"
            ),
        );
        let guard = Guard::over(&folder, "kill -9 $(cat $D/pid)");
        let server = MariaDb { folder, port, broker, _guard: guard };
        server.run(&SET_UP.replace("'PASSWORD'", &format!("'{}'", server.broker)));
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
            "url": format!("mysql://broker@127.0.0.1:{}/app_main", self.port),
            "password": {"value": self.broker},
            "roles": ["app_ro"],
        })
    }

    /// Logs in; over TLS without looking at the certificate, if so asked.
    pub(crate) async fn login(
        &self,
        user: &str,
        password: &str,
        with_tls: bool,
    ) -> sqlx::Result<MySqlConnection> {
        MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(self.port)
            .username(user)
            .password(password)
            .ssl_mode(if with_tls { MySqlSslMode::Required } else { MySqlSslMode::Disabled })
            .connect()
            .await
    }

    /// Runs statements as the administrator; gives what they print.
    pub(crate) fn run(&self, sql: &str) -> String {
        let file = self.folder.join(format!("sql-{}", secret::password(12).expose_text().expect("letters")));
        std::fs::write(&file, sql).expect("a file");
        let done = std::process::Command::new("mariadb")
            .args(["--no-defaults", "-N", "-u", "root", "-S"])
            .arg(self.folder.join("s"))
            .stdin(std::fs::File::open(&file).expect("the file"))
            .output()
            .expect("the client runs");
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Whether there is a user of this name.
    pub(crate) fn has_user(&self, name: &str) -> bool {
        self.run(&format!("SELECT COUNT(*) FROM mysql.user WHERE user = '{name}'")) != "0"
    }
}

/// Runs statements.
pub(crate) async fn run(connection: &mut MySqlConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}
