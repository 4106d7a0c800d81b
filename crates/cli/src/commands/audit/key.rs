//! Private keys: from a file that only its owner may read, or from the environment; never from the command line.

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

/// The log's private key.
pub(super) fn signing_key(dir: &Path, file: Option<&Path>) -> anyhow::Result<SigningKey> {
    if file.is_none()
        && let Some(key) = from_environment(KEY_VARIABLE)?
    {
        return SigningKey::parse(&key).with_context(|| KEY_VARIABLE);
    }
    let path = file.map_or_else(|| beside(dir, "key"), |file| Ok(file.to_owned()))?;
    read_key(&path)
}

/// The private key in a file.
pub(super) fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    let text = read_secret(path)?;
    SigningKey::parse(&text).with_context(|| format!("{}", path.display()))
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

/// Writes a private key to a new file, durably.
pub(super) fn write_key(path: &Path, key: &SigningKey) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let write = || -> io::Result<()> {
        let mut file = options.open(path)?;
        file.write_all(key.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().with_context(|| format!("{}", path.display()))
}

/// Writes the public half. An old file is replaced: the private key decides.
pub(super) fn write_public(path: &Path, key: &SigningKey) -> anyhow::Result<()> {
    fs::write(path, format!("{}\n", key.verifying_key())).with_context(|| format!("{}", path.display()))
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
