//! `claviger.yaml`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claviger_scanner::rule::closest;
use schemars::JsonSchema;
use serde::Deserialize;

/// Largest configuration file that is read, in bytes.
pub(crate) const MAX_SIZE: u64 = 1024 * 1024;

/// The configuration of a project. Flags win over it; lists add up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Version of the format; 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    pub(crate) version: u32,
    /// Which rules run.
    #[serde(default)]
    pub(crate) rules: Rules,
    /// Globs of the only paths to scan.
    #[serde(default)]
    pub(crate) include: Vec<String>,
    /// Globs of paths not to scan. They are listed in the report's coverage.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// Least confidence to show.
    #[serde(default)]
    pub(crate) min_confidence: Option<Level>,
    /// Leave out files larger than this many bytes.
    #[serde(default)]
    pub(crate) max_file_size: Option<u64>,
    /// Baseline file, relative to this file.
    #[serde(default)]
    pub(crate) baseline: Option<PathBuf>,
    /// Ignore file, relative to this file; default `.clavigerignore`.
    #[serde(default)]
    pub(crate) ignore_file: Option<PathBuf>,
    /// How fingerprints are made.
    #[serde(default)]
    pub(crate) fingerprint: Fingerprint,
}

/// Which rules run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    /// More rule files or folders, relative to this file.
    #[serde(default)]
    pub(crate) paths: Vec<PathBuf>,
    /// Whether the built-in rules run.
    #[serde(default = "yes")]
    pub(crate) builtin: Option<bool>,
    /// Only these ids; `*` stands for any text.
    #[serde(default)]
    pub(crate) only: Vec<String>,
    /// Not these ids.
    #[serde(default)]
    pub(crate) skip: Vec<String>,
}

/// How fingerprints are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprint {
    /// The project's salt: any random text of 16 characters or more.
    #[serde(default)]
    #[schemars(length(min = 16, max = 256))]
    pub(crate) salt: Option<String>,
}

/// A confidence as written in the configuration or on the command line.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Low,
    Medium,
    High,
}

impl From<Level> for claviger_scanner::rule::Confidence {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
        }
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default must have the field's type")]
fn yes() -> Option<bool> {
    Some(true)
}

/// Every key of the format, for hints.
const KEYS: &[&str] = &[
    "version",
    "rules",
    "include",
    "exclude",
    "min_confidence",
    "max_file_size",
    "baseline",
    "ignore_file",
    "fingerprint",
    "paths",
    "builtin",
    "only",
    "skip",
    "salt",
];

/// Reads a configuration from its text; `name` is for messages.
pub(crate) fn parse(text: &str, name: &Path) -> anyhow::Result<Config> {
    if text.len() as u64 > MAX_SIZE {
        bail!("{}: larger than {MAX_SIZE} bytes", name.display());
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Config { version: 1, ..Config::default() });
    }
    let config: Config = serde_yaml::from_str(text)
        .map_err(|e| anyhow::anyhow!("{}: {}", name.display(), with_hint(&e.to_string())))?;
    if config.version != 1 {
        bail!("{}: version {} is not known; this claviger reads version 1", name.display(), config.version);
    }
    if config.fingerprint.salt.as_ref().is_some_and(|salt| salt.len() < 16) {
        bail!("{}: fingerprint.salt must have at least 16 characters", name.display());
    }
    Ok(config)
}

/// Reads a configuration file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Config> {
    let bytes = read_file(path, MAX_SIZE).with_context(|| format!("{}", path.display()))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", path.display()))?;
    parse(&text, path)
}

/// Reads a regular file of at most so many bytes. Nothing else is opened: a FIFO would be waited for, a device has no
/// end.
pub(crate) fn read_file(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        bail!("not a regular file");
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        bail!("larger than {most} bytes");
    }
    Ok(bytes)
}

/// Adds "did you mean" to serde's message on an unknown key.
fn with_hint(message: &str) -> String {
    let unknown = message.split("unknown field `").nth(1).and_then(|rest| rest.split('`').next());
    match unknown.and_then(|key| closest(key, KEYS.iter().copied())) {
        Some(hint) => format!("{message}; did you mean `{hint}`?"),
        None => message.to_owned(),
    }
}

/// JSON Schema of the file.
pub(crate) fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_place_and_a_hint() {
        let error = parse("version: 1\nexlude: [a]\n", Path::new("claviger.yaml")).unwrap_err().to_string();
        assert!(
            error.contains("claviger.yaml") && error.contains("line 2") && error.contains("`exclude`?"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_file_is_a_default_configuration() {
        assert_eq!(parse("# nothing\n\n", Path::new("x")).unwrap().version, 1);
        assert!(parse("version: 2\n", Path::new("x")).is_err());
    }
}
