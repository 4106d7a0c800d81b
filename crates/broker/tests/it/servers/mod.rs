//! Servers on free ports of the loopback address, in folders of their own, gone when dropped.

pub(crate) mod aws;
pub(crate) mod guard;
pub(crate) mod mariadb;
pub(crate) mod nginx;
pub(crate) mod oauth;
pub(crate) mod openbao;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod sshd;
pub(crate) mod standin;
pub(crate) mod sts;
pub(crate) mod tls;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// A port that nobody listens on at the moment.
#[allow(dead_code, reason = "each server's tests use it")]
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// Whether `program` can be run. Where it cannot, a test may be skipped on a developer's machine and fails in CI.
///
/// # Panics
/// It cannot, and the environment says `CI=true`.
#[allow(dead_code, reason = "each server's tests use it")]
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Path::new(program).exists()
        || Command::new("sh")
            .args(["-c", "command -v \"$0\"", program])
            .output()
            .is_ok_and(|it| it.status.success());
    assert!(
        found || std::env::var("CI").as_deref() != Ok("true"),
        "{program} is not installed; tests/run does that"
    );
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
