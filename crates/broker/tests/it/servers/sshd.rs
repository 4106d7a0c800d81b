//! An OpenSSH server that trusts one certificate authority and honours one revocation list.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{free_port, is_installed};

const SSHD: &str = "/usr/sbin/sshd";

/// A running server; stopped when dropped.
pub(crate) struct Sshd {
    folder: PathBuf,
    port: u16,
    child: Child,
}

/// What a client said.
#[derive(Debug)]
pub(crate) struct Said {
    /// The command's output, if it was let in.
    pub(crate) out: String,
    /// Whether the command ran well.
    pub(crate) success: bool,
    /// What the client complained about.
    pub(crate) err: String,
}

impl Sshd {
    /// Whether there is a server to start, and rights to: it changes to the user who logs in.
    pub(crate) fn is_installed() -> bool {
        is_installed(SSHD) && is_installed("ssh") && is_installed("ssh-keygen") && {
            let is_root = run(Command::new("id").arg("-u")).out.trim() == "0";
            if !is_root {
                eprintln!("skipped: sshd is started by root");
            }
            is_root
        }
    }

    /// Starts one in `folder` that trusts `authority` (a public key line) and reads revoked keys from `krl`.
    pub(crate) fn start(folder: &Path, authority: &str, krl: &Path) -> Sshd {
        let path = |name: &str| folder.join(name).display().to_string();
        let made =
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path("host")]));
        assert!(made.success, "{made:?}");
        fs::write(folder.join("authority.pub"), format!("{authority}\n")).unwrap();
        // The server keeps an empty folder for its unprivileged half.
        fs::create_dir_all("/run/sshd").unwrap();
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nTrustedUserCAKeys {}\nRevokedKeys {}\n\
             UsePAM no\nAuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nStrictModes no\nMaxStartups 100\nLogLevel VERBOSE\n",
            path("host"),
            path("authority.pub"),
            krl.display(),
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-f", &path("sshd_config"), "-E", &path("log")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Sshd { folder: folder.to_owned(), port, child };
        let give_up = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "sshd does not listen: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Logs in with a certificate and its private key, and runs a command.
    pub(crate) fn run(&self, user: &str, private_key: &[u8], certificate: &str, command: &str) -> Said {
        let key = self.folder.join("client");
        fs::write(&key, private_key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let certificate_file = self.folder.join("client-cert.pub");
        fs::write(&certificate_file, format!("{certificate}\n")).unwrap();
        let certificate_option = format!("CertificateFile={}", certificate_file.display());
        let options = [
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            &certificate_option,
        ];
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &self.port.to_string(), "-i"]).arg(&key);
        for option in options {
            ssh.args(["-o", option]);
        }
        run(ssh.arg(format!("{user}@127.0.0.1")).arg(command).stdin(Stdio::null()))
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Said {
        out: String::from_utf8_lossy(&stdout).into_owned(),
        success: status.success(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
