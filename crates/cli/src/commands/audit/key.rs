//! Private keys, several of which may sign one log: from a file that only its owner may read, or from the environment; never from the command line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use claviger_audit::note::SigningKey;
use zeroize::Zeroizing;

/// The variable that may hold the private key itself.
pub(super) const KEY_VARIABLE: &str = "CLAVIGER_AUDIT_KEY";
/// Longest secret file, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Where a log's private keys come from.
pub(super) enum Source {
    Environment,
    File(PathBuf),
}

impl Source {
    /// The file that was named, else the variable, else the file beside the log.
    pub(super) fn of(log: &Path, file: Option<&Path>) -> anyhow::Result<Source> {
        if let Some(file) = file {
            return Ok(Source::File(file.to_owned()));
        }
        if from_environment(KEY_VARIABLE)?.is_some() {
            return Ok(Source::Environment);
        }
        own_file(log).map(Source::File)
    }

    /// The keys, which all sign; the oldest stands first.
    pub(super) fn keys(&self) -> anyhow::Result<Vec<SigningKey>> {
        let (text, name) = match self {
            Source::Environment => {
                (from_environment(KEY_VARIABLE)?.unwrap_or_default(), KEY_VARIABLE.to_owned())
            }
            Source::File(path) => (read_secret(path)?, path.display().to_string()),
        };
        let lines = text.split_ascii_whitespace();
        let keys =
            lines.map(SigningKey::parse).collect::<Result<Vec<_>, _>>().with_context(|| name.clone())?;
        let first = keys.first().with_context(|| format!("{name}: no private key in it"))?;
        let origin = first.verifying_key().name();
        ensure!(keys.iter().all(|key| key.verifying_key().name() == origin), "{name}: keys of several logs");
        Ok(keys)
    }
}

/// The private keys of a log, which all sign it.
pub(super) fn signing_keys(log: &Path, file: Option<&Path>) -> anyhow::Result<Vec<SigningKey>> {
    Source::of(log, file)?.keys()
}

/// The only private key that there must be.
pub(super) fn only_key(log: &Path, file: Option<&Path>) -> anyhow::Result<SigningKey> {
    let mut keys = signing_keys(log, file)?;
    ensure!(keys.len() == 1, "one private key is expected there, not {}", keys.len());
    keys.pop().context("no private key")
}

/// A secret in a variable; `None` if it is not set or empty.
pub(super) fn from_environment(name: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.into_string().map_err(|_| anyhow::anyhow!("{name}: not text"))?;
    Ok(Some(Zeroizing::new(text)))
}

/// A secret in a file, which nobody but its owner may read.
pub(super) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let name = || format!("{}", path.display());
    let file = File::open(path).with_context(name)?;
    let meta = file.metadata().with_context(name)?;
    ensure!(meta.is_file(), "{}: not a regular file", path.display());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            bail!("{path}: others than its owner may use this secret (mode {mode:o}); `chmod 600 {path}`");
        }
    }
    // Room for the whole file at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(meta.len().min(MAX_SECRET) as usize + 1));
    file.take(MAX_SECRET).read_to_string(&mut text).with_context(name)?;
    Ok(text)
}

/// Writes private keys to a new file, one a line, durably.
pub(super) fn write_keys(path: &Path, keys: &[&SigningKey]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let write = || -> io::Result<()> {
        let mut file = options.open(path)?;
        for key in keys {
            file.write_all(key.expose().as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.sync_all()
    };
    write().with_context(|| format!("{}", path.display()))
}

/// Replaces a file of private keys: after a crash it holds the old ones or the new ones.
pub(super) fn replace_keys(path: &Path, keys: &[&SigningKey]) -> anyhow::Result<()> {
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    fs::remove_file(&temporary).ok();
    write_keys(&temporary, keys)?;
    fs::rename(&temporary, path).with_context(|| format!("{}", path.display()))
}

/// Writes public halves, one a line. An old file is replaced: the private keys decide.
pub(super) fn write_public(path: &Path, keys: &[&SigningKey]) -> anyhow::Result<()> {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.verifying_key())).collect();
    fs::write(path, lines).with_context(|| format!("{}", path.display()))
}

/// The file for a log's private key, where none is named.
pub(super) fn own_file(log: &Path) -> anyhow::Result<PathBuf> {
    ensure!(!log.to_string_lossy().contains("://"), "say with --signing-key where the private key is");
    beside(log, "key")
}

/// The file beside a log: `log` and `key` give `log.key`.
pub(super) fn beside(dir: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let Some(name) = dir.file_name() else {
        bail!("{}: say with --signing-key where the private key is", dir.display());
    };
    let mut name = name.to_owned();
    name.push(".");
    name.push(ending);
    Ok(dir.with_file_name(name))
}

/// Whether a file lies in a directory.
pub(super) fn is_inside(file: &Path, dir: &Path) -> bool {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (parent.canonicalize(), dir.canonicalize()) {
        (Ok(parent), Ok(dir)) => parent.starts_with(dir),
        _ => false,
    }
}
