//! A Redis server with an ACL file, a closed default user, and the account of a broker.

use std::path::PathBuf;

use claviger_broker::secret;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::guard::{Guard, script};
use super::{free_port, is_installed, tls};

/// A running server.
pub(crate) struct Redis {
    folder: PathBuf,
    port: u16,
    tls_port: u16,
    admin: String,
    /// The password of the broker's account.
    pub(crate) broker: String,
    _guard: Guard,
}

/// The server that all tests of this process share; `None` where there is none installed.
pub(crate) async fn shared() -> Option<&'static Redis> {
    static SHARED: OnceCell<Option<Redis>> = OnceCell::const_new();
    SHARED.get_or_init(|| async { Redis::start(true) }).await.as_ref()
}

fn word() -> String {
    secret::password(24).expose_text().expect("letters").to_owned()
}

impl Redis {
    /// Starts one, with an ACL file or without.
    pub(crate) fn start(with_file: bool) -> Option<Redis> {
        if !is_installed("redis-server") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder").keep();
        let (port, tls_port, admin, broker) = (free_port(), free_port(), word(), word());
        tls::write(&folder);
        let users = format!(
            "user default on >{admin} ~* &* +@all\n\
             user broker on >{broker} -@all +auth +hello +ping +acl|setuser +acl|deluser +acl|getuser \
             +acl|users +acl|whoami +acl|save +acl|dryrun +client|kill +info\n"
        );
        let config = if with_file {
            std::fs::write(folder.join("users.acl"), &users).expect("a file");
            format!("aclfile {}\n", folder.join("users.acl").display())
        } else {
            users
        };
        let at = folder.display();
        let config = format!(
            "{config}port {port}\ntls-port {tls_port}\nbind 127.0.0.1\nsave \"\"\ndir {at}\npidfile {at}/pid\n\
             logfile {at}/log\ndaemonize yes\ntls-cert-file {at}/server.crt\ntls-key-file {at}/server.key\n\
             tls-ca-cert-file {at}/ca.crt\ntls-auth-clients no\n"
        );
        std::fs::write(folder.join("conf"), config).expect("a file");
        let guard = Guard::over(&folder, "kill -9 $(cat $D/pid)");
        let server = Redis { folder, port, tls_port, admin, broker, _guard: guard };
        server.go();
        Some(server)
    }

    /// Starts it, when it was stopped.
    pub(crate) fn go(&self) {
        script(
            &self.folder,
            &format!(
                "redis-server $D/conf; for i in $(seq 100); do redis-cli -p {} ping 2>&1 | grep -qE 'PONG|NOAUTH' && exit 0; sleep 0.05; done; cat $D/log; exit 1",
                self.port
            ),
        );
    }

    /// Stops it hard.
    pub(crate) fn stop(&self) {
        script(
            &self.folder,
            "p=$(cat $D/pid); kill -9 $p; while kill -0 $p 2> /dev/null; do sleep 0.02; done",
        );
    }

    /// Stops it hard and starts it again.
    pub(crate) fn restart(&self) {
        self.stop();
        self.go();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// A file in its folder: `ca.crt`, `users.acl`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A provider's settings for the broker's account.
    pub(crate) fn settings(&self) -> Value {
        json!({
            "nodes": [format!("127.0.0.1:{}", self.port)],
            "user": "broker",
            "password": {"value": self.broker},
        })
    }

    /// Logs in.
    pub(crate) async fn login(
        &self,
        user: &str,
        password: &str,
    ) -> redis::RedisResult<MultiplexedConnection> {
        let url = format!("redis://{user}:{password}@127.0.0.1:{}", self.port);
        redis::Client::open(url)?.get_multiplexed_async_connection().await
    }

    /// Asks as the administrator.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut admin = self.login("default", &self.admin).await.expect("the administrator logs in");
        run(&mut admin, words).await
    }
}

/// Runs a command.
pub(crate) async fn run<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> redis::RedisResult<T> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(connection).await
}
