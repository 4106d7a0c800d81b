//! An nginx that wants client certificates of one authority and reads its revocation list.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{free_port, is_installed};

const NGINX: &str = "/usr/sbin/nginx";

/// A running server; stopped when dropped.
pub(crate) struct Nginx {
    folder: PathBuf,
    port: u16,
    child: Child,
}

/// Where its files are.
pub(crate) struct Files<'a> {
    /// Its own certificate and key, PEM.
    pub(crate) own: (&'a Path, &'a Path),
    /// Whose clients it takes.
    pub(crate) authority: &'a Path,
    /// Who of them is revoked.
    pub(crate) crl: &'a Path,
}

impl Nginx {
    /// Whether there is one.
    pub(crate) fn is_installed() -> bool {
        is_installed(NGINX)
    }

    /// Starts one in `folder`. It answers `hello SUBJECT` to clients it takes, and 400 to others.
    pub(crate) fn start(folder: &Path, files: &Files<'_>) -> Nginx {
        let port = free_port();
        let at = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .concat();
        let config = format!(
            "daemon off;\npid {at}/pid;\nerror_log {at}/log info;\nworker_processes 1;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}\
             server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
             ssl_client_certificate {};\nssl_crl {};\nssl_verify_client on;\nssl_verify_depth 3;\nssl_session_cache off;\n\
             ssl_session_tickets off;\n\
             location / {{ return 200 \"hello $ssl_client_s_dn\\n\"; }}\n}}\n}}\n",
            files.own.0.display(),
            files.own.1.display(),
            files.authority.display(),
            files.crl.display(),
        );
        fs::write(folder.join("nginx.conf"), config).unwrap();
        let child = Command::new(NGINX)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Nginx { folder: folder.to_owned(), port, child };
        let give_up = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "nginx does not listen: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has it read its files again, and waits until the old worker is gone.
    pub(crate) fn reload(&self) {
        let master = self.child.id();
        let workers = || {
            let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
            children.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let before = workers();
        let sent = Command::new("kill").args(["-HUP", &master.to_string()]).status().unwrap();
        assert!(sent.success());
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            let now = workers();
            if !now.is_empty() && before.iter().all(|old| !now.contains(old)) {
                return;
            }
            assert!(Instant::now() < give_up, "nginx does not reload: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master leaves its workers behind; one that is asked to stop takes them along.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
