//! The configuration of a program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Exec;
use super::contract::Operation;
use super::program::Program;
use crate::provider::{SecretSource, Settings, SettingsError};
use crate::secret::Secret;
use crate::ttl::Ttl;

/// The longest time limit: a caller waits for the answer.
const MAX_TIMEOUT: Ttl = Ttl::minutes(5);
/// Programs that look for others find them here, unless the configuration lists a `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecSettings {
    /// The program, by its absolute path. Nobody but root and the broker's user may be able to change it.
    program: PathBuf,
    /// Its arguments. No secrets: every user of the machine can see them.
    #[serde(default)]
    args: Vec<String>,
    /// Its environment, and all of it: texts, or secrets as `{file: PATH}` and the like. `PATH` has a default.
    #[serde(default)]
    env: BTreeMap<String, Value>,
    /// Secrets that it reads with its standard input, as `secrets`.
    #[serde(default)]
    secrets: BTreeMap<String, Value>,
    /// What it can do beside `issue`; `[issue, revoke]` if absent.
    #[serde(default = "usual_operations")]
    operations: Vec<Operation>,
    /// How long a run may take, at most 5m; 30s if absent.
    #[serde(default)]
    timeout: Option<Ttl>,
    /// How many runs there may be at once; 8 if absent.
    #[serde(default = "usual_runs")]
    runs: u16,
    /// Whether the target ends the credential at its expiry by its own clock.
    #[serde(default)]
    expires_itself: bool,
    /// Whether nothing has to be removed at the target after that.
    #[serde(default)]
    leaves_nothing: bool,
    /// The shortest life that the target allows; 1s if absent.
    #[serde(default)]
    min_ttl: Option<Ttl>,
    /// The longest life that the target allows; 24h if absent.
    #[serde(default)]
    max_ttl: Option<Ttl>,
}

fn usual_operations() -> Vec<Operation> {
    vec![Operation::Issue, Operation::Revoke]
}

fn usual_runs() -> u16 {
    8
}

/// Reads the configuration of a program. Does not look for the program.
///
/// # Errors
/// A member is wrong, or a secret cannot be read.
pub(super) fn build(settings: &Settings<'_>) -> Result<Exec, SettingsError> {
    let wanted: ExecSettings = SettingsError::parse(settings.value)?;
    let wrong = |at: &str, what: &str| Err(SettingsError::new(at, what));
    if !wanted.program.is_absolute() {
        return wrong("program", "must be an absolute path");
    }
    if wanted.args.iter().any(|arg| arg.contains('\0')) {
        return wrong("args", "must not hold a zero byte");
    }
    if !wanted.operations.contains(&Operation::Issue) {
        return wrong("operations", "a program that does not issue is of no use: add `issue`");
    }
    let limit = wanted.timeout.unwrap_or(const { Ttl::from_secs(30).expect("within the bounds") });
    if limit > MAX_TIMEOUT {
        return wrong("timeout", "at most 5m: a caller waits for the answer");
    }
    if wanted.runs == 0 {
        return wrong("runs", "at least 1");
    }
    if wanted.leaves_nothing && !wanted.expires_itself {
        return wrong("leaves_nothing", "needs `expires_itself`: what does not end by itself stays");
    }
    let seconds = |ttl: Option<Ttl>, usual: u32| {
        ttl.map_or(usual, |ttl| u32::try_from(ttl.seconds()).unwrap_or(u32::MAX))
    };
    let ttl = (seconds(wanted.min_ttl, 1), seconds(wanted.max_ttl, 86_400));
    if ttl.0 > ttl.1 {
        return wrong("min_ttl", "is longer than `max_ttl`");
    }
    Ok(Exec {
        program: Program {
            path: wanted.program,
            args: wanted.args,
            env: environment(&wanted.env, settings.secrets)?,
            limit: limit.duration(),
            slots: Semaphore::new(usize::from(wanted.runs)),
        },
        secrets: wanted
            .secrets
            .iter()
            .map(|(name, value)| {
                let at = format!("secrets.{name}");
                let secret = settings.secrets.read(value).map_err(|what| SettingsError::new(&at, what))?;
                let is_text = secret.expose_text().is_some();
                if is_text { Ok((name.clone(), secret)) } else { Err(SettingsError::new(&at, "is not text")) }
            })
            .collect::<Result<_, _>>()?,
        operations: wanted.operations,
        expires_itself: wanted.expires_itself,
        leaves_nothing: wanted.leaves_nothing,
        ttl,
    })
}

/// The environment of the program: literal texts and secrets.
fn environment(
    wanted: &BTreeMap<String, Value>,
    secrets: &dyn SecretSource,
) -> Result<Vec<(String, Secret)>, SettingsError> {
    let mut env = Vec::new();
    if !wanted.contains_key("PATH") {
        env.push(("PATH".to_owned(), Secret::text(PATH.to_owned())));
    }
    for (name, value) in wanted {
        let at = format!("env.{name}");
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(SettingsError::new(at, "is no name of a variable"));
        }
        let value = match value {
            Value::String(text) => Secret::text(text.clone()),
            Value::Object(_) => secrets.read(value).map_err(|what| SettingsError::new(&at, what))?,
            _ => return Err(SettingsError::new(at, "write a text, or a secret as `{file: PATH}`")),
        };
        if value.expose().contains(&0) {
            return Err(SettingsError::new(at, "must not hold a zero byte"));
        }
        env.push((name.clone(), value));
    }
    Ok(env)
}
