//! The sections of the configuration beside roles and providers.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secrets::SecretRef;
use crate::policy::file::Network;
use crate::server::operator::Rights;
use crate::ttl::Ttl;

/// An environment: what isolates providers, roles and secrets from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// What it is.
    #[serde(default)]
    pub about: Option<String>,
    /// What matters most: remarks of `policy check` on roles that can change something there are errors.
    #[serde(default)]
    pub protected: bool,
    /// The longest life of a credential there, renewals included; roles that say more get this.
    #[serde(default)]
    pub max_ttl: Option<Ttl>,
}

/// A provider. Members beside these two belong to its kind; see `claviger provider kinds`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
pub struct ProviderEntry {
    /// Its kind.
    pub kind: String,
    /// The environment it belongs to.
    pub environment: String,
    /// Its target is used by this broker alone: what bears a broker's name there and belongs to no lease is removed.
    /// Otherwise it is reported and left to whoever may have made it.
    #[serde(default)]
    pub owns_target: bool,
    /// What its kind wants to know.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// The service.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// TLS. Without it only a loopback address can be listened on, or a proxy's word must be taken with `behind_proxy`.
    pub tls: Option<Tls>,
    /// A proxy on another machine ends TLS: plain HTTP is served on an address that others reach.
    pub behind_proxy: bool,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Who may look at everybody's leases, revoke them and hold back.
    pub operators: Vec<OperatorEntry>,
    /// Bounds on requests.
    pub limits: ServerLimits,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8700)),
            tls: None,
            behind_proxy: false,
            trusted_proxies: Vec::new(),
            operators: Vec::new(),
            limits: ServerLimits::default(),
        }
    }
}

/// Certificate and key of the service. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM; only its owner may read the file.
    pub key: PathBuf,
    /// Authorities of client certificates, PEM. With it, every client must have one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// An operator of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorEntry {
    /// The name in the audit log.
    pub name: String,
    /// SHA-256 of the operator's token, in hex: `openssl rand -hex 32 | tee token | tr -d '\n' | sha256sum`.
    pub token_sha256: TokenHash,
    /// `leaks` (ask about leaked secrets), `read` (see leases too) or `write` (revoke and hold back too).
    #[serde(default = "OperatorEntry::reading")]
    pub rights: Rights,
}

impl OperatorEntry {
    fn reading() -> Rights {
        Rights::Read
    }
}

/// A SHA-256 in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TokenHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| serde::de::Error::custom("not a SHA-256: 64 hex digits, not the token itself"))?;
        Ok(TokenHash(bytes))
    }
}

impl schemars::JsonSchema for TokenHash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TokenHash".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

/// Where it can be asked whether the jobs of an issuer have ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStatusSection {
    /// Whose API it is.
    pub kind: JobStatusKind,
    /// The API: `https://api.github.com`, `https://gitlab.example.com/api/v4`.
    pub api: String,
    /// A token that may read runs (GitHub: `actions: read`) or jobs (GitLab: `read_api`).
    pub token: SecretRef,
    /// It is inside: its name may resolve to private addresses.
    #[serde(default)]
    pub internal: bool,
}

/// Whose API it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatusKind {
    /// GitHub's, or an Enterprise Server's.
    Github,
    /// GitLab's.
    Gitlab,
}

/// Bounds on requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerLimits {
    /// Largest body of a request, in bytes.
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub body: u32,
    /// How long a request may take in all.
    pub request: Ttl,
    /// Requests at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrent: u32,
    /// Exchanges of one identity (repository or subject) in a minute.
    #[schemars(range(min = 1))]
    pub identity_per_minute: u32,
    /// Requests of one address in a minute.
    #[schemars(range(min = 1))]
    pub address_per_minute: u32,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            body: 64 << 10,
            request: const { Ttl::from_secs(30).expect("within bounds") },
            concurrent: 1024,
            identity_per_minute: 120,
            address_per_minute: 1200,
        }
    }
}

/// Where leases rest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// `sqlite:PATH`, `postgres://USER@HOST/DATABASE` without a password, or `memory:` for trying things out.
    pub url: String,
    /// The password of the database user.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// A file with certificate authorities (PEM) that are trusted for the database besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl Default for StoreSection {
    fn default() -> StoreSection {
        StoreSection { url: "sqlite:claviger-broker.db".to_owned(), password: None, ca_file: None }
    }
}

/// The audit log that every decision goes to before an answer leaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditSection {
    /// The log's folder, made by `claviger audit init`; or `postgres://HOST/DATABASE`, for several brokers that write one
    /// log.
    pub log: PathBuf,
    /// The log's private key.
    pub key: SecretRef,
    /// The log's name; by default what the log says.
    #[serde(default)]
    pub origin: Option<String>,
    /// Files, elsewhere, that remember the last head; a log that does not extend them is refused.
    #[serde(default)]
    pub pins: Vec<PathBuf>,
}

impl AuditSection {
    /// The database that the log is in, if it is in one.
    pub fn database(&self) -> Option<&str> {
        let is_url = |text: &&str| ["postgres://", "postgresql://"].iter().any(|it| text.starts_with(it));
        self.log.to_str().filter(is_url)
    }
}

/// The keys under which values rest sealed in the store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The key that seals.
    pub current: MasterKey,
    /// Older keys, which only open.
    #[serde(default)]
    pub old: Vec<MasterKey>,
}

/// A master key: 32 bytes, written in hex or base64.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MasterKey {
    /// Its name, which stands with each value it sealed: 1 to 64 of a-z, 0-9, `-`, `_`, `.`.
    pub id: String,
    /// Where it comes from.
    pub from: KeySource,
}

/// Where a master key comes from. Exactly one member.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeySource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A variable of the broker's environment.
    Env(String),
    /// A program and its arguments, which prints the key. It runs once, at the start.
    Command(Vec<String>),
}
