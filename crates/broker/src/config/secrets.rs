//! Where the secrets of a configuration come from. A configuration never holds one: it says where it lies.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::provider::SecretSource;
use crate::secret::Secret;

/// Largest secret that is read, in bytes.
pub const MAX_SECRET: usize = 64 << 10;

/// Names where a secret lies. Exactly one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// A file that only its owner may read; one line end at its end does not count. Relative to the configuration.
    File(PathBuf),
    /// A variable of the broker's environment.
    Env(String),
    /// A secret in the broker's own store.
    Secret(String),
}

/// Gives the value of a variable of the environment.
pub type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;
/// Gives a secret of the broker's own store; the error is for the operator.
pub type Stored = dyn Fn(&str) -> Result<Secret, String> + Send + Sync;

/// Reads secrets from files, the environment and the store.
pub struct Secrets {
    base: PathBuf,
    environment: Box<Environment>,
    stored: Option<Box<Stored>>,
}

impl Secrets {
    /// Reads files relative to `base`, the folder of the configuration.
    pub fn new(base: impl Into<PathBuf>, environment: Box<Environment>) -> Secrets {
        Secrets { base: base.into(), environment, stored: None }
    }

    /// Also reads secrets of the broker's store.
    #[must_use]
    pub fn with_store(mut self, stored: Box<Stored>) -> Secrets {
        self.stored = Some(stored);
        self
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// It is not there, others may read it, it is empty or longer than [`MAX_SECRET`]; in words for the operator.
    pub fn get(&self, reference: &SecretRef) -> Result<Secret, String> {
        match reference {
            SecretRef::File(path) => file(&self.base.join(path)),
            SecretRef::Env(name) => {
                let value = (self.environment)(name).map(Zeroizing::new);
                let value = value.ok_or_else(|| format!("the variable {name} is not set"))?;
                checked(value.as_bytes(), || format!("the variable {name}"))
            }
            SecretRef::Secret(name) => match &self.stored {
                Some(stored) => stored(name),
                None => Err(format!("the secret `{name}` lies in the store, which is not open here")),
            },
        }
    }
}

impl SecretSource for Secrets {
    fn read(&self, reference: &Value) -> Result<Secret, String> {
        let reference = SecretRef::deserialize(reference).map_err(|_| {
            // What stands there may be the secret itself, so it is not repeated.
            "a secret is named, not written: `{file: PATH}`, `{env: NAME}` or `{secret: NAME}`".to_owned()
        })?;
        self.get(&reference)
    }
}

/// Reads a secret file. The rights are those of the file that was opened, not of whatever has its name a moment later.
fn file(path: &Path) -> Result<Secret, String> {
    let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
    // Looked at first, as opening a FIFO would wait for ever.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err(format!("{}: not a regular file", path.display()));
    }
    let file = File::open(path).map_err(wrong)?;
    let meta = file.metadata().map_err(wrong)?;
    if let Some(mode) = mode_of(&meta).filter(|mode| mode & 0o077 != 0) {
        return Err(format!(
            "{}: others may read it (mode {:o}); run `chmod 600` on it",
            path.display(),
            mode & 0o777
        ));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 1));
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    checked(&bytes, || path.display().to_string())
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no mode")]
fn mode_of(meta: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(meta.mode())
}

#[cfg(not(unix))]
fn mode_of(_: &std::fs::Metadata) -> Option<u32> {
    None
}

/// A secret without the line end that editors put behind it.
fn checked(bytes: &[u8], name: impl Fn() -> String) -> Result<Secret, String> {
    if bytes.len() > MAX_SECRET {
        return Err(format!("{}: longer than {} KiB", name(), MAX_SECRET >> 10));
    }
    let value = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    if value.is_empty() {
        return Err(format!("{}: empty", name()));
    }
    Ok(Secret::new(value.to_vec()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secrets(base: &Path) -> Secrets {
        Secrets::new(base, Box::new(|name| (name == "PGPASSWORD").then(|| "from env".to_owned())))
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "value\r\n").unwrap();
        for (mode, is_good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = secrets(folder.path()).read(&json!({ "file": "key" }));
            match read {
                Ok(secret) => assert!(is_good && secret.matches(b"value"), "{mode:o}"),
                Err(e) => assert!(!is_good && e.contains("chmod 600"), "{mode:o}: {e}"),
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn odd_files_are_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in
            [("empty", String::new()), ("end", "\n".into()), ("long", "x".repeat(MAX_SECRET + 1))]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(secrets(folder.path()).read(&json!({ "file": name })).is_err(), "{name}");
        }
        assert!(secrets(folder.path()).read(&json!({ "file": "." })).is_err());
        assert!(secrets(folder.path()).read(&json!({ "file": "missing" })).is_err());
    }

    #[test]
    fn a_secret_written_out_is_refused_and_not_repeated() {
        let secrets = secrets(Path::new("."));
        assert!(secrets.read(&json!({ "env": "PGPASSWORD" })).is_ok_and(|it| it.matches(b"from env")));
        for wrong in
            [json!("swordfish"), json!({ "value": "swordfish" }), json!({ "env": "A", "file": "swordfish" })]
        {
            let error = secrets.read(&wrong).expect_err("refused");
            assert!(!error.contains("swordfish"), "{error}");
        }
        assert!(secrets.read(&json!({ "secret": "x" })).is_err());
        assert!(secrets.read(&json!({ "env": "NOT_SET" })).is_err());
    }
}
