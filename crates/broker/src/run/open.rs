//! Opens what a configuration names.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_audit::files::Directory;
use claviger_audit::log::{Database, Options as LogOptions, Publish, Stamp};
use claviger_audit::note::SigningKey;
use claviger_audit::pin::FilePin;
use claviger_audit::recorder::Recorder;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{StartError, Surroundings, over};
use crate::broker::FingerprintKey;
use crate::config::{Config, KeySource, MasterKey};
use crate::lease::job_end::JobStatus;
use crate::lease::ledger::{Ledger, MemoryLedger};
use crate::seal::Seal;
use crate::secret::Secret;
use crate::store::memory::Memory;
use crate::store::postgres::{self, Postgres};
use crate::store::sqlite::Sqlite;
use crate::{fetch, store};

/// A store of one of the kinds, which can be closed.
pub enum Store {
    /// In memory.
    Memory(Arc<Memory>),
    /// In a file.
    Sqlite(Arc<Sqlite>),
    /// In PostgreSQL.
    Postgres(Arc<Postgres>),
}

impl Store {
    /// The store as everybody else sees it.
    pub fn shared(&self) -> Arc<dyn store::Store> {
        match self {
            Store::Memory(store) => Arc::clone(store) as Arc<dyn store::Store>,
            Store::Sqlite(store) => Arc::clone(store) as Arc<dyn store::Store>,
            Store::Postgres(store) => Arc::clone(store) as Arc<dyn store::Store>,
        }
    }

    pub(super) async fn close(&self) {
        if let Store::Sqlite(store) = self {
            store.close().await;
        }
    }
}

pub(super) async fn store(config: &Config, around: &Surroundings) -> Result<Store, StartError> {
    let section = &config.store;
    if around.ephemeral || section.url == "memory:" {
        return Ok(Store::Memory(Arc::new(Memory::new())));
    }
    if let Some(path) = section.url.strip_prefix("sqlite:") {
        return Ok(Store::Sqlite(Arc::new(Sqlite::open(Path::new(path)).await?)));
    }
    let mut options = postgres::Options::default();
    if let Some(reference) = &section.password {
        let password = around.secrets.get(reference);
        options.password = Some(password.map_err(|why| secret("store.password", why))?);
    }
    options.ca_file = section.ca_file.clone();
    Ok(Store::Postgres(Arc::new(Postgres::open(&section.url, &options).await?)))
}

type Opened = (Arc<dyn Ledger>, Option<Arc<Recorder>>);

pub(super) fn ledger(config: &Config, around: &Surroundings) -> Result<Opened, StartError> {
    if around.ephemeral {
        return Ok((Arc::new(MemoryLedger::default()), None));
    }
    let section = config.audit.as_ref().ok_or(StartError::Missing(
        "`audit` is missing: no credential leaves without a record. Make a log with `claviger audit init DIR --origin \
         NAME`, then write `audit: {log: DIR, key: {file: DIR.key}}`",
    ))?;
    let key = around.secrets.get(&section.key).map_err(|why| secret("audit.key", why))?;
    let key = key
        .expose_text()
        .ok_or_else(|| secret("audit.key", "it is no text".into()))
        .and_then(|text| SigningKey::parse(text).map_err(|error| secret("audit.key", error.to_string())))?;
    let pins: Vec<FilePin> = section.pins.iter().map(FilePin::new).collect();
    let options = LogOptions {
        publish: Publish::Every(std::time::Duration::from_millis(250)),
        clock: Arc::clone(&around.clock),
        pin: (!pins.is_empty()).then(|| Box::new(pins) as Box<dyn claviger_audit::pin::Pin>),
        ..LogOptions::default()
    };
    let failed =
        |error: &dyn std::fmt::Display| StartError::Audit(format!("{}: {error}", section.log.display()));
    let recorder = match section.database() {
        None => Recorder::open(Arc::new(Directory::new(&section.log)), vec![key], options),
        Some(url) => {
            let options = LogOptions { stamp: Stamp::Event, ..options };
            let recording = LogOptions { clock: Arc::clone(&around.clock), ..LogOptions::default() };
            let database = Database::connect(url).map_err(|error| failed(&error))?;
            let log = database.open(vec![key], options).map_err(|error| failed(&error))?;
            Recorder::on(log, &recording)
        }
    };
    let recorder = recorder.map_err(|error| failed(&error))?;
    let recorder = Arc::new(recorder);
    Ok((over(&recorder)?, Some(recorder)))
}

/// The master keys: the current one first, the oldest last. None for a broker that keeps nothing.
pub(super) fn master_keys(
    config: &Config,
    around: &Surroundings,
) -> Result<Vec<(String, Secret)>, StartError> {
    let Some(keys) = &config.keys else {
        // What a lease needs to be revoked after a restart may be sealed: a key that is gone then is no choice.
        if around.ephemeral {
            return Ok(Vec::new());
        }
        return Err(StartError::Missing(
            "`keys` is missing: what must rest in the store is sealed. Make a key with `head -c 32 /dev/urandom | base64 \
             > master.key; chmod 600 master.key`, then write `keys: {current: {id: \"1\", from: {file: master.key}}}`",
        ));
    };
    let read = |key: &MasterKey| {
        let value = master(key, config, around).map_err(|why| secret(&format!("keys `{}`", key.id), why))?;
        Ok((key.id.clone(), value))
    };
    std::iter::once(&keys.current).chain(&keys.old).map(read).collect()
}

pub(super) fn seal(keys: &[(String, Secret)]) -> Result<Seal, StartError> {
    let Some(((id, current), old)) = keys.split_first() else { return Ok(Seal::ephemeral()) };
    let unfit = |id: &str, source| StartError::Key { what: format!("keys `{id}`"), source };
    let mut seal = Seal::new(id.clone(), current).map_err(|source| unfit(id, source))?;
    for (id, old) in old {
        seal.add(id.clone(), old).map_err(|source| unfit(id, source))?;
    }
    Ok(seal)
}

/// Reads a master key: 32 bytes in hex or base64.
fn master(key: &MasterKey, config: &Config, around: &Surroundings) -> Result<Secret, String> {
    use crate::config::secrets::SecretRef;
    let text = match &key.from {
        KeySource::File(path) => around.secrets.get(&SecretRef::File(path.clone()))?,
        KeySource::Env(name) => around.secrets.get(&SecretRef::Env(name.clone()))?,
        KeySource::Command(command) => printed(command, &config.base)?,
    };
    let text = text.expose_text().ok_or("it is no text; write it in hex or base64")?.trim();
    let bytes = hex::decode(text).or_else(|_| STANDARD.decode(text));
    bytes.map(Secret::new).map_err(|_| "it is neither hex nor base64".into())
}

/// What a program prints, for example `age --decrypt -i identity master.key.age`.
fn printed(command: &[String], base: &Path) -> Result<Secret, String> {
    let [program, arguments @ ..] = command else { return Err("the command is empty".into()) };
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(base)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    let text = Secret::new(output.stdout);
    if output.status.success() { Ok(text) } else { Err(format!("`{program}` failed: {}", output.status)) }
}

/// The key of fingerprints follows from the oldest master key, so that it stays the same when that is replaced by a new
/// one and kept among the old.
pub(super) fn fingerprint_key(keys: &[(String, Secret)]) -> FingerprintKey {
    let Some((id, oldest)) = keys.last() else {
        return FingerprintKey { id: "ephemeral".into(), key: Zeroizing::new(crate::secret::random()) };
    };
    let mut hash = Sha256::new();
    hash.update(b"claviger fingerprint of credentials v1\0");
    hash.update(oldest.expose());
    FingerprintKey { id: id.clone(), key: Zeroizing::new(hash.finalize().into()) }
}

/// Whom to ask whether jobs have ended, by issuer.
pub(super) fn job_status(
    config: &Config,
    around: &Surroundings,
) -> Result<BTreeMap<String, Arc<dyn JobStatus>>, StartError> {
    use crate::lease::job_end::{GitHub, GitLab};
    let mut platforms: BTreeMap<String, Arc<dyn JobStatus>> = BTreeMap::new();
    for (issuer, section) in &config.job_status {
        let what = format!("job_status.{issuer}");
        let token = around.secrets.get(&section.token).map_err(|why| secret(&what, why))?;
        let guard = if section.internal { fetch::Guard::Internal } else { fetch::Guard::Public };
        let client =
            fetch::Fetch::new(&fetch::Options::new(guard)).map_err(|e| secret(&what, e.to_string()))?;
        let platform: Arc<dyn JobStatus> = match section.kind {
            crate::config::JobStatusKind::Github => {
                Arc::new(GitHub::new(client, &section.api, token, Arc::clone(&around.clock)))
            }
            crate::config::JobStatusKind::Gitlab => {
                Arc::new(GitLab::new(client, &section.api, token, Arc::clone(&around.clock)))
            }
        };
        platforms.insert(issuer.clone(), platform);
    }
    Ok(platforms)
}

fn secret(what: &str, why: String) -> StartError {
    StartError::Secret { what: what.to_owned(), why }
}
