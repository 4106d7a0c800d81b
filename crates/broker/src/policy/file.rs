//! Roles and ceilings as they are written in YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::matcher::Matcher;
pub use super::network::Network;
use crate::platform::Hazard;
use crate::ttl::Ttl;

/// A role: who may take which grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleFile {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The issuers whose tokens may take it.
    pub issuer: OneOrMany<String>,
    /// What claims must be. All must hold; a missing claim matches nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub r#match: BTreeMap<String, Matcher>,
    /// What claims must not be. All must hold, and each claim must be there: a missing one is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not: BTreeMap<String, Matcher>,
    /// Runs in which a stranger may have a hand. Refused unless named here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<Hazard>,
    /// Whose machines the job may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_environment: Option<Runner>,
    /// The networks that the caller's address must be in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<Network>,
    /// The environment; the provider must be of the same.
    pub environment: String,
    /// Whether what is granted can change something.
    #[serde(default)]
    pub access: Access,
    /// The word `accepted` admits that the role binds no id that is never given to anybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutable: Option<Accepted>,
    /// Remarks of `policy check` that are known and accepted: the remark's id, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accept: BTreeMap<String, String>,
    /// The role ends at this instant: a day (its beginning, UTC) or RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "instant")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// What it grants.
    pub grant: GrantFile,
}

/// What a role grants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantFile {
    /// The provider that issues.
    pub provider: String,
    /// What is asked of it; see `provider kinds`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// How long the credential lives at first.
    #[serde(default = "ttl")]
    pub ttl: Ttl,
    /// How long it may live in all, renewals included.
    #[serde(default = "max_ttl")]
    pub max_ttl: Ttl,
    /// A run may take the role once. Jobs of one run that each need it (a matrix) want `false`.
    #[serde(default = "yes")]
    pub single_use: bool,
    /// How many leases there may be at once.
    #[serde(default)]
    pub limits: LimitsFile,
}

/// How many leases there may be at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsFile {
    /// Of the role.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub role: Option<u32>,
    /// Of one run under the role.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub run: Option<u32>,
}

/// The default of `ttl`.
pub const DEFAULT_TTL: Ttl = Ttl::minutes(15);
/// The default of `max_ttl`.
pub const DEFAULT_MAX_TTL: Ttl = Ttl::minutes(60);

fn ttl() -> Ttl {
    DEFAULT_TTL
}

fn max_ttl() -> Ttl {
    DEFAULT_MAX_TTL
}

fn yes() -> bool {
    true
}

/// Whether what is granted can change something.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It reads only.
    Read,
    /// It can change something: what nobody called `read` counts as that.
    #[default]
    Write,
}

/// Whose machines a job runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// The platform's own, new for each job.
    Hosted,
    /// The organisation's.
    SelfHosted,
}

impl Runner {
    /// The claim that says it.
    pub const CLAIM: &'static str = "runner_environment";

    /// What the claim says then.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Runner::Hosted => &["github-hosted", "gitlab-hosted", "buildkite-hosted"],
            Runner::SelfHosted => &["self-hosted"],
        }
    }
}

/// The word `accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accepted {
    /// It is.
    Accepted,
}

/// A cap on roles: whatever a role says, an identity that the ceiling is for gets no more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CeilingFile {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Only for tokens of these issuers; for all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<OneOrMany<String>>,
    /// Only for tokens with these claims; for all if absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub r#match: BTreeMap<String, Matcher>,
    /// What is allowed there.
    #[serde(flatten)]
    pub caps: Caps,
}

/// What a ceiling allows. Members that are absent do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Caps {
    /// The longest life of a credential, renewals included. Longer ones are shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Ttl>,
    /// The most that a role's `access` may say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The only environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<String>>,
    /// The only providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<BTreeSet<String>>,
    /// By provider, the only parameters and their only values: a list of allowed values, an object of allowed members, or
    /// `"*"` for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// The only hazards that a role may allow; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<BTreeSet<Hazard>>,
}

/// Policy files that repositories keep themselves, and what they may reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegatedFile {
    /// The issuer of the repositories' tokens.
    pub issuer: String,
    /// The claim with a repository's id; by default what the platform has for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// By name, the repositories that keep a file. Roles of the file are called NAME/ROLE.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repositories: BTreeMap<String, RepositoryFile>,
    /// A folder with one file for each repository, ID.yaml. Roles of the file are called ID/ROLE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// What their roles may reach. Both `environments` and `providers` must be listed.
    pub ceiling: DelegatedCeiling,
}

/// What delegated roles may reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegatedCeiling {
    /// The longest life of a credential, renewals included.
    pub max_ttl: Ttl,
    /// The most that a role's `access` may say.
    #[serde(default = "read")]
    pub access: Access,
    /// The only environments.
    pub environments: BTreeSet<String>,
    /// By provider, the only parameters and their only values; see `ceilings`.
    pub providers: BTreeMap<String, Value>,
    /// The only hazards that a role may allow; none by default.
    #[serde(default)]
    pub allow: BTreeSet<Hazard>,
}

fn read() -> Access {
    Access::Read
}

impl DelegatedCeiling {
    /// The same as caps.
    pub fn caps(&self) -> Caps {
        Caps {
            max_ttl: Some(self.max_ttl),
            access: Some(self.access),
            environments: Some(self.environments.clone()),
            providers: Some(self.providers.keys().cloned().collect()),
            parameters: self.providers.clone(),
            allow: Some(self.allow.clone()),
        }
    }
}

/// A repository that keeps a policy file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryFile {
    /// Its id: the value of the claim.
    pub id: String,
    /// The file.
    pub file: PathBuf,
}

/// A file that holds roles only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The roles, by name.
    #[serde(default)]
    pub roles: BTreeMap<String, RoleFile>,
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Some.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            OneOrMany::One(one) => one.serialize(serializer),
            OneOrMany::Many(many) => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Derived untagged enums say only that nothing matched.
        match Value::deserialize(deserializer)? {
            Value::String(one) => Ok(OneOrMany::One(one)),
            Value::Array(items) => {
                let texts = items.into_iter().map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(serde::de::Error::custom("every item must be a text")),
                });
                texts.collect::<Result<Vec<String>, D::Error>>().map(OneOrMany::Many)
            }
            _ => Err(serde::de::Error::custom("write a text, or a list of texts")),
        }
    }
}

/// Writes and reads the end of a role.
mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        super::read_instant(&text).map(Some).map_err(serde::de::Error::custom)
    }
}

/// Reads a day (its beginning in UTC) or an RFC 3339 instant.
pub(crate) fn read_instant(text: &str) -> Result<Timestamp, String> {
    let day = || -> Option<Timestamp> {
        let day: jiff::civil::Date = text.parse().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok()
    };
    let is_day = text.len() == 10;
    let read = if is_day { day() } else { text.parse().ok() };
    read.ok_or_else(|| "write a day (2027-01-31) or an instant (2027-01-31T12:00:00Z)".to_owned())
}
