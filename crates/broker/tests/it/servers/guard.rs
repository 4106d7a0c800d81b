//! Ends a server when the process that needs it ends, however it ends: servers that all tests share are in statics,
//! and statics are not dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that waits for the end of its input, and then cleans up.
pub(crate) struct Guard {
    shell: Child,
}

impl Guard {
    /// Runs `stop` and removes `folder` when this is dropped, or this process is no more. `stop` finds the folder in
    /// `$D`.
    pub(crate) fn over(folder: &Path, stop: &str) -> Guard {
        let script = format!("trap '' INT TERM HUP; read -r _; {stop}; rm -rf \"$D\"");
        let shell = Command::new("sh")
            .args(["-c", &script])
            .env("D", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Guard { shell }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Runs a shell script with the folder in `$D`.
///
/// # Panics
/// It fails.
pub(crate) fn script(folder: &Path, script: &str) {
    let done = Command::new("sh").args(["-euc", script]).env("D", folder).output().expect("a shell");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}\n{}{said}", String::from_utf8_lossy(&done.stdout));
}
