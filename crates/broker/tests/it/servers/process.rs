//! Servers that are programs: found, started, waited for, and killed with all their children.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{free_port, is_installed};

/// How long a server may take to listen: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running program that listens on the loopback address.
pub(crate) struct Process {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// The path of a tool that `tests/run` installed, or its name if it is installed for everybody.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CLAVIGER_TEST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/bin"),
        PathBuf::from,
    );
    let path = folder.join(name);
    let path = if path.exists() { path } else { PathBuf::from(name) };
    is_installed(path.to_str()?).then_some(path)
}

impl Process {
    /// Starts what `command` makes of a free port and an empty folder, and waits until it listens.
    pub(crate) fn start(command: impl FnOnce(u16, &Path) -> Command) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let log = folder.path().join("log");
        let out = File::create(&log).unwrap();
        let mut command = command(port, folder.path());
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        // A group of its own, so that a server behind a wrapper is killed with it.
        let child = command.process_group(0).spawn().unwrap();
        let mut process = Process { child, port, folder };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let has_ended = process.child.try_wait().unwrap().is_some();
            if has_ended || start.elapsed() > PATIENCE {
                panic!("the server does not listen:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        process
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}
