//! Bare mirrors of repositories that are elsewhere, made and kept by git itself.
//!
//! Git is given nothing to decide: no prompt, no hooks, only the protocols that a list may name, and bounds on time,
//! size and disk. A new mirror grows under another name and is renamed when it is whole, so that one that is there was
//! whole once. A mirror that is damaged is thrown away and made again.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use claviger_scanner::path::printable;

use super::model::Target;
use super::shown;

/// Time between two looks at a running git.
const TICK: Duration = Duration::from_millis(25);
/// Time between two measurements of a growing mirror.
const MEASURE: Duration = Duration::from_secs(2);
/// Bytes of git's messages that are kept.
const MAX_SAID: u64 = 64 * 1024;

/// A token for the URLs of one host.
pub(super) struct Access {
    /// Beginning of the URLs, with a slash at the end.
    pub(super) base: String,
    /// An HTTP header; secret.
    pub(super) header: zeroize::Zeroizing<String>,
}

/// Makes and updates mirrors below one folder.
pub(super) struct Mirrors<'a> {
    pub(super) folder: PathBuf,
    pub(super) time_limit: Duration,
    pub(super) size_limit: u64,
    pub(super) keep_free: u64,
    pub(super) access: Vec<Access>,
    /// Set when the sweep is to stop.
    pub(super) stop: &'a AtomicBool,
}

impl Mirrors<'_> {
    /// The mirror of a URL, as new as the original.
    pub(super) fn update(&self, target: &Target, url: &str) -> anyhow::Result<PathBuf> {
        let mirror = self.path(target);
        if mirror.exists() {
            let fetched =
                self.git(&mirror, url, &["fetch", "--prune", "--prune-tags", "--force", "--quiet", "origin"]);
            match fetched {
                // Without a HEAD the default branch has another name now, which a fetch does not tell.
                Ok(()) if !is_headless(&mirror) => return Ok(mirror),
                Ok(()) => {}
                Err(e) => {
                    // Whose fault? The other side's, if it does not even say what it has.
                    self.git(&self.folder, url, &["ls-remote", "--quiet", "--exit-code", "--", url, "HEAD"])
                        .map_err(|_| e)?;
                }
            }
        }
        self.renew(target, url)
    }

    /// Throws a mirror away, if there is one, and makes it again.
    pub(super) fn renew(&self, target: &Target, url: &str) -> anyhow::Result<PathBuf> {
        let mirror = self.path(target);
        let growing = self.folder.join(format!(".claviger-{}", target.file_stem()));
        // Left by a run that was killed.
        remove(&growing)?;
        let path = growing.to_str().context("--mirrors: the folder's name is not UTF-8")?.to_owned();
        let made =
            self.git(&growing, url, &["clone", "--mirror", "--quiet", "--no-hardlinks", "--", url, &path]);
        if let Err(e) = made {
            remove(&growing)?;
            return Err(e);
        }
        // Stop between these two: no mirror, and the next sweep makes one.
        remove(&mirror)?;
        std::fs::rename(&growing, &mirror).with_context(|| shown(&mirror))?;
        Ok(mirror)
    }

    pub(super) fn path(&self, target: &Target) -> PathBuf {
        self.folder.join(format!("{}.git", target.file_stem()))
    }

    /// Runs git; `place` is the mirror that it works on.
    fn git(&self, place: &Path, url: &str, args: &[&str]) -> anyhow::Result<()> {
        self.check_disk()?;
        let mut command = Command::new("git");
        for setting in ["core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.autoDetach=false"] {
            command.args(["-c", setting]);
        }
        if args.first() == Some(&"fetch") {
            command.arg("--git-dir").arg(place);
        }
        command.args(args).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_TRACE",
            "GIT_TRACE_CURL",
        ] {
            command.env_remove(name);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "https:http:ssh:file");
        command.env("GIT_ASKPASS", "true").env("LC_ALL", "C");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        // A token goes through the environment: arguments can be read by every user of the machine.
        if let Some(access) = self.access.iter().find(|access| url.starts_with(&access.base)) {
            command.env("GIT_CONFIG_COUNT", "2");
            command.env("GIT_CONFIG_KEY_0", format!("http.{}.extraHeader", access.base));
            command.env("GIT_CONFIG_VALUE_0", access.header.as_str());
            command.env("GIT_CONFIG_KEY_1", "http.followRedirects").env("GIT_CONFIG_VALUE_1", "false");
        }
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
        }
        let mut child = command.spawn().context("git cannot be started; mirrors need it")?;
        let mut pipe = child.stderr.take().context("git has no standard error")?;
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = pipe.by_ref().take(MAX_SAID).read_to_end(&mut said);
            // The rest is read too, or git would wait for a reader.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            said
        });
        let ended = self.wait(&mut child, place);
        if ended.is_err() {
            end(&mut child);
        }
        let said = reader.join().unwrap_or_default();
        if ended? {
            return Ok(());
        }
        bail!("git {}: {}", args[0], reason(&said))
    }

    /// Waits for git; whether it ended well.
    fn wait(&self, child: &mut Child, place: &Path) -> anyhow::Result<bool> {
        let (start, mut measured) = (Instant::now(), Instant::now());
        loop {
            if let Some(status) = child.try_wait().context("git")? {
                let is_too_large = size(place) > self.size_limit;
                anyhow::ensure!(!is_too_large, "larger than --size-limit ({} bytes)", self.size_limit);
                return Ok(status.success());
            }
            if self.stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if start.elapsed() > self.time_limit {
                bail!("not done after --time-limit ({} s)", self.time_limit.as_secs());
            }
            if measured.elapsed() > MEASURE {
                measured = Instant::now();
                let is_too_large = size(place) > self.size_limit;
                anyhow::ensure!(!is_too_large, "larger than --size-limit ({} bytes)", self.size_limit);
                self.check_disk()?;
            }
            std::thread::sleep(TICK);
        }
    }

    fn check_disk(&self) -> anyhow::Result<()> {
        #[cfg(unix)]
        if let Ok(disk) = rustix::fs::statvfs(&self.folder) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            anyhow::ensure!(
                free >= self.keep_free,
                "{free} bytes are free on the disk, less than --keep-free"
            );
        }
        Ok(())
    }
}

/// Whether a repository has refs, and HEAD names none of them.
fn is_headless(mirror: &Path) -> bool {
    let has_refs = |r: &git2::Repository| r.references().is_ok_and(|mut refs| refs.next().is_some());
    git2::Repository::open_bare(mirror).is_ok_and(|r| r.head().is_err() && has_refs(&r))
}

/// Ends git and what it has started.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Git's last words, in one line. A password of a credential helper in a URL is not among them: git leaves it out.
fn reason(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fatal = lines.iter().rev().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line: String = fatal.or(lines.last()).map_or("failed", |line| line).chars().take(300).collect();
    printable(line.as_bytes())
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).with_context(|| shown(folder)),
        _ => Ok(()),
    }
}

/// Bytes of the objects of a repository, as far as they can be counted.
pub(super) fn size(repository: &Path) -> u64 {
    let own = [repository.join("objects"), repository.join(".git/objects")];
    let objects = own.into_iter().find(|folder| folder.is_dir());
    objects.map_or(0, |folder| below(&folder, 0))
}

fn below(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() && depth < 4 => below(&entry.path(), depth + 1),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    };
    entries.flatten().map(one).sum()
}
