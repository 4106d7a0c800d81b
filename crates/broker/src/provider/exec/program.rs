//! Runs an operator's program once: in a clean environment, in a process group of its own, with a limit on its time and
//! on what it says.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The most bytes of complaints (standard error); of these the last [`TAIL`] are kept.
const MAX_COMPLAINTS: usize = 1 << 20;
/// How much of the complaints is kept.
const TAIL: usize = 4096;
/// How long pipes may stay open when the group is dead: only a process that left the group can hold them.
const PIPE_GRACE: Duration = Duration::from_secs(1);
/// How often a program that is just being replaced is tried again, and how long after.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(30);

/// A program and how it is run.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, Secret)>,
    pub(crate) limit: Duration,
    pub(crate) slots: Semaphore,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Exited(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// It took too long and was killed.
    TimedOut,
    /// It said too much and was killed.
    Flooded,
}

/// A run.
pub(crate) struct Finished {
    /// What it wrote to its standard output. May hold secrets.
    pub(crate) out: Zeroizing<Vec<u8>>,
    /// The end of what it complained, from the beginning of a line on. May hold secrets.
    pub(crate) complaints: Zeroizing<Vec<u8>>,
    /// How it ended.
    pub(crate) end: End,
}

/// Why there was no run.
#[derive(Debug)]
pub(crate) enum NotRun {
    /// The program cannot or must not be run.
    Unfit(String),
    /// Not at the moment.
    Busy(String),
}

impl Program {
    /// Runs it with this on its standard input; at most `max_out` bytes are taken from it.
    ///
    /// # Errors
    /// It did not start, so that nothing was done.
    pub(crate) async fn run(&self, input: Zeroizing<Vec<u8>>, max_out: usize) -> Result<Finished, NotRun> {
        let busy = || NotRun::Busy("too many runs of the program at once".into());
        let _slot =
            timeout(self.limit, self.slots.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
        let path = trusted(&self.path).map_err(NotRun::Unfit)?;
        let child = self.spawn(&path).await?;
        // Goes on to its end when whoever asked has gone: a half-run program must not be forgotten.
        let run = tokio::spawn(supervise(child, input, self.limit, max_out));
        run.await.map_err(|_| NotRun::Busy("the broker is stopping".into()))
    }

    async fn spawn(&self, path: &Path) -> Result<Child, NotRun> {
        let mut command = Command::new(path);
        command
            .args(&self.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for (name, value) in &self.env {
            command.env(name, os_string(value));
        }
        let mut tries = 0;
        loop {
            match command.spawn() {
                Ok(child) => return Ok(child),
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                    tries += 1;
                    sleep(BUSY_PAUSE).await;
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory) => {
                    return Err(NotRun::Busy(format!("{}: {e}", path.display())));
                }
                Err(e) => return Err(NotRun::Unfit(format!("{}: {e}", path.display()))),
            }
        }
    }
}

fn os_string(value: &Secret) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(value.expose().to_vec())
}

/// The program's real path, if nobody but root and the broker itself can change what runs.
///
/// # Errors
/// Not absolute, not there, not a program, or writable by others, it or a folder above it.
pub(crate) fn trusted(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("{shown}: must be an absolute path"));
    }
    let real = std::fs::canonicalize(path).map_err(|e| format!("{shown}: {e}"))?;
    let me = rustix::process::geteuid().as_raw();
    for place in real.ancestors() {
        let at = place.display();
        let meta = std::fs::metadata(place).map_err(|e| format!("{at}: {e}"))?;
        if place == real && (!meta.is_file() || meta.mode() & 0o111 == 0) {
            return Err(format!("{at}: is not an executable file"));
        }
        if meta.uid() != 0 && meta.uid() != me {
            return Err(format!("{at}: belongs to another user, who could change what runs"));
        }
        // In a sticky folder others may add files and not touch ours.
        let is_sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.mode() & 0o022 != 0 && !is_sticky {
            return Err(format!("{at}: is writable by others; take that off by `chmod go-w`"));
        }
    }
    Ok(real)
}

/// What is read of one pipe.
#[derive(Default)]
struct Heard {
    bytes: Zeroizing<Vec<u8>>,
    is_cut: bool,
    is_too_much: bool,
}

type Shared = Arc<Mutex<Heard>>;

fn heard(shared: &Shared) -> std::sync::MutexGuard<'_, Heard> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn supervise(mut child: Child, input: Zeroizing<Vec<u8>>, limit: Duration, max_out: usize) -> Finished {
    let (out, complaints, flooded) = (Shared::default(), Shared::default(), Arc::new(Notify::new()));
    let mut pipes: Vec<JoinHandle<()>> = Vec::new();
    if let Some(mut stdin) = child.stdin.take() {
        // A program need not read what it does not want: a closed pipe is no error.
        pipes.push(tokio::spawn(async move {
            let _ = stdin.write_all(&input).await;
        }));
    }
    if let Some(stdout) = child.stdout.take() {
        pipes.push(tokio::spawn(listen(stdout, Arc::clone(&out), max_out, max_out, Arc::clone(&flooded))));
    }
    if let Some(stderr) = child.stderr.take() {
        pipes.push(tokio::spawn(listen(
            stderr,
            Arc::clone(&complaints),
            TAIL,
            MAX_COMPLAINTS,
            Arc::clone(&flooded),
        )));
    }
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let early = tokio::select! {
        () = sleep(limit) => Some(End::TimedOut),
        () = flooded.notified() => Some(End::Flooded),
        () = exited(group) => None,
    };
    // Whatever it started goes with it. Nobody has waited for the leader yet, so its number is still its own.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().await;
    let drained = async {
        for pipe in &mut pipes {
            let _ = pipe.await;
        }
    };
    let is_drained = timeout(PIPE_GRACE, drained).await.is_ok();
    if !is_drained {
        pipes.iter().for_each(JoinHandle::abort);
    }
    let out = std::mem::take(&mut *heard(&out));
    let complaints = std::mem::take(&mut *heard(&complaints));
    let end = match early {
        Some(end) => end,
        // It ended before we could kill it, perhaps because nobody listened any more.
        None if out.is_too_much || complaints.is_too_much => End::Flooded,
        None => status.map_or(End::Signal(0), end_of),
    };
    Finished { out: out.bytes, complaints: whole_lines(complaints), end }
}

/// Waits until the group's leader has ended, without taking its status: its number must not be given to another
/// process before the group is killed.
async fn exited(leader: Option<Pid>) {
    let Some(leader) = leader else { return };
    let waiting = tokio::task::spawn_blocking(move || {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
    });
    let _ = waiting.await;
}

fn end_of(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt as _;
    match status.code() {
        Some(code) => End::Exited(code),
        None => End::Signal(status.signal().unwrap_or_default()),
    }
}

/// Reads a pipe to its end, keeps the last `keep` bytes, and gives up beyond `max`.
async fn listen<R: AsyncRead + Unpin>(
    mut pipe: R,
    into: Shared,
    keep: usize,
    max: usize,
    flooded: Arc<Notify>,
) {
    let mut chunk = Zeroizing::new(vec![0; 8192]);
    heard(&into).bytes.reserve_exact(keep + chunk.len());
    let mut total = 0;
    loop {
        let count = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        total += count;
        {
            let mut heard = heard(&into);
            // Never beyond what was reserved: growing would leave a copy behind.
            heard.bytes.extend_from_slice(&chunk[..count]);
            let surplus = heard.bytes.len().saturating_sub(keep);
            if surplus > 0 {
                heard.bytes.drain(..surplus);
                heard.is_cut = true;
            }
        }
        if total > max {
            heard(&into).is_too_much = true;
            flooded.notify_one();
            return;
        }
    }
}

/// From the beginning of a line on: what was cut in its middle could be the rest of a secret that nobody recognises.
fn whole_lines(heard: Heard) -> Zeroizing<Vec<u8>> {
    let mut bytes = heard.bytes;
    if heard.is_cut {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..end);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_programs_that_others_cannot_change_are_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&path, 0o644);
        assert!(trusted(&path).unwrap_err().contains("not an executable"));
        mode(&path, 0o755);
        assert!(trusted(&path).is_ok());
        for open in [0o775, 0o757, 0o777] {
            mode(&path, open);
            assert!(trusted(&path).unwrap_err().contains("writable by others"), "{open:o}");
        }
        mode(&path, 0o755);
        mode(folder.path(), 0o777);
        assert!(trusted(&path).unwrap_err().contains("writable by others"));
        mode(folder.path(), 0o700);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(trusted(&link).unwrap(), fs::canonicalize(&path).unwrap());
        assert!(trusted(folder.path()).unwrap_err().contains("not an executable"));
        assert!(trusted(Path::new("program")).unwrap_err().contains("absolute"));
        assert!(trusted(Path::new("/nonexistent/program")).is_err());
    }

    #[test]
    fn a_cut_line_is_dropped() {
        let kept = |text: &str, is_cut| {
            let bytes = whole_lines(Heard {
                bytes: Zeroizing::new(text.as_bytes().to_vec()),
                is_cut,
                is_too_much: false,
            });
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert_eq!(kept("ret\nnext\n", true), "next\n");
        assert_eq!(kept("ret\nnext\n", false), "ret\nnext\n");
        assert_eq!(kept("all of one line", true), "");
    }
}
