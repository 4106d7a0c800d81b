//! The broker's whole configuration: one YAML file, and the policy files it names.
//!
//! What is read here is checked here: names that refer to something, times, environments, bindings, ceilings. Only what
//! a provider's kind alone knows is left to [`Config::build`]. Every problem names file, line and column and says what to
//! write; problems are gathered, so that one run shows them all. A secret never stands in the configuration, only where
//! it lies; see [`secrets`].

mod checks;
pub mod document;
mod files;
mod load;
pub(crate) mod places;
mod providers;
pub mod secrets;
pub mod sections;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use self::document::{Document, Place, Problem};
pub use self::providers::{Built, Unread};
pub use self::sections::{
    AuditSection, Environment, JobStatusKind, JobStatusSection, KeySource, Keys, MasterKey, OperatorEntry,
    ProviderEntry, Server, ServerLimits, StoreSection, Tls,
};
use crate::identity::issuer::IssuerConfig;
use crate::policy::file::{CeilingFile, DelegatedFile, RoleFile};
use crate::policy::{Granted, Policy};

/// The file's usual name.
pub const FILE: &str = "claviger-broker.yaml";

/// The configuration as it is written.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "claviger-broker.yaml")]
pub struct ConfigFile {
    /// Version of the format; 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// What tokens must name as their audience: the broker's own name, which nothing else accepts.
    pub audience: String,
    /// Whose tokens are accepted, by a name of your choice.
    #[serde(default)]
    pub issuers: BTreeMap<String, IssuerConfig>,
    /// Environments, by name.
    #[serde(default)]
    pub environments: BTreeMap<String, Environment>,
    /// Providers, by a name of your choice.
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderEntry>,
    /// Roles, by name.
    #[serde(default)]
    pub roles: BTreeMap<String, RoleFile>,
    /// More roles: files, or folders of which every `.yaml` file is read.
    #[serde(default)]
    pub policy: Vec<PathBuf>,
    /// Caps that hold whatever a role says.
    #[serde(default)]
    pub ceilings: Vec<CeilingFile>,
    /// Policy files that repositories keep themselves.
    #[serde(default)]
    pub delegated: Vec<DelegatedFile>,
    /// The service.
    #[serde(default)]
    pub server: Server,
    /// Where leases rest.
    #[serde(default)]
    pub store: StoreSection,
    /// The audit log.
    #[serde(default)]
    pub audit: Option<AuditSection>,
    /// The keys under which values rest sealed in the store.
    #[serde(default)]
    pub keys: Option<Keys>,
    /// Where it can be asked whether jobs have ended, by the issuer's name: their leases end with them then.
    #[serde(default)]
    pub job_status: BTreeMap<String, JobStatusSection>,
}

fn one() -> u32 {
    1
}

/// A configuration, checked. Paths are relative to nothing any more, but for those in providers' settings.
#[derive(Debug)]
pub struct Config {
    /// The folder of the file, to which paths in it are relative.
    pub base: PathBuf,
    /// The broker's audience.
    pub audience: String,
    /// Issuers by name.
    pub issuers: BTreeMap<String, IssuerConfig>,
    /// Environments by name.
    pub environments: BTreeMap<String, Environment>,
    /// Providers by name.
    pub providers: BTreeMap<String, ProviderEntry>,
    /// Who may take what.
    pub policy: Arc<Policy>,
    /// The service.
    pub server: Server,
    /// Where leases rest.
    pub store: StoreSection,
    /// The audit log.
    pub audit: Option<AuditSection>,
    /// The keys that seal.
    pub keys: Option<Keys>,
    /// Where it can be asked whether jobs have ended, by issuer.
    pub job_status: BTreeMap<String, JobStatusSection>,
    /// Who keeps policy files of their own.
    pub(crate) delegated: Vec<DelegatedFile>,
    /// What is wrong in repositories' own policy files. Their roles are missing; all else is good.
    pub delegated_problems: Vec<Problem>,
    /// The files it came from; the first is the configuration itself.
    pub(crate) documents: Vec<Document>,
}

/// A configuration that is not taken: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<Problem>);

impl ConfigError {
    pub(crate) fn new(mut problems: Vec<Problem>) -> ConfigError {
        problems.sort();
        problems.dedup();
        ConfigError(problems)
    }

    /// What is wrong, by place.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a configuration file and all that it names.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text =
            files::text(path, document::MAX_FILE).map_err(|problem| ConfigError::new(vec![problem]))?;
        let base = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Config::parse(&path.display().to_string(), text, base)
    }

    /// Reads a configuration from its text. `name` is for messages; paths in it are relative to `base`.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn parse(name: &str, text: String, base: &Path) -> Result<Config, ConfigError> {
        load::config(name, text, base)
    }

    /// SHA-256 of the policy, in hex.
    pub fn digest(&self) -> &str {
        self.policy.digest()
    }

    /// The secrets that the configuration names, read from files below its folder and from `environment`.
    pub fn secrets(&self, environment: Box<secrets::Environment>) -> secrets::Secrets {
        secrets::Secrets::new(&self.base, environment)
    }

    /// Providers whose targets are this broker's alone.
    pub fn owned_targets(&self) -> BTreeSet<String> {
        self.providers.iter().filter(|(_, entry)| entry.owns_target).map(|(name, _)| name.clone()).collect()
    }

    /// Where a role is written.
    pub fn place_of(&self, granted: &Granted<'_>) -> Place {
        self.place(granted.origin(), "")
    }

    /// Where the member at `below` a role is written.
    pub(crate) fn place(&self, origin: &crate::policy::Origin, below: &str) -> Place {
        match self.documents.get(origin.document) {
            Some(document) => document.place(&format!("{}{below}", origin.pointer)),
            None => Place::file(FILE),
        }
    }

    /// JSON Schema (2020-12) of the file.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(ConfigFile).into()
    }
}
