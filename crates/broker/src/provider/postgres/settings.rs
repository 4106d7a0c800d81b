//! What the configuration says about a PostgreSQL server, and what a role asks of it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::lease::NAME_PREFIX;
use crate::provider::SettingsError;
use crate::provider::database::STATEMENT_S;
use crate::provider::database::server::{Advertise, TlsSettings};
use crate::ttl::Ttl;

/// The longest name, in bytes; the server cuts longer ones silently.
const MAX_NAME: usize = 63;
/// Groups that one user may be a member of.
const MAX_GROUPS: usize = 16;
/// The server's own roles that reach no further than its data. The others read files, run programs or signal sessions.
const HARMLESS: [&str; 6] = [
    "pg_monitor",
    "pg_read_all_data",
    "pg_read_all_settings",
    "pg_read_all_stats",
    "pg_stat_scan_tables",
    "pg_write_all_data",
];

/// A provider's settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// `postgres://USER@HOST:PORT/DATABASE`, without a password. Or the next four members.
    pub(super) url: Option<String>,
    /// The server's name or address; the folder of its socket, if it begins with `/`.
    pub(super) host: Option<String>,
    /// Its port; 5432 by default.
    pub(super) port: Option<u16>,
    /// The database to connect to, and the one that jobs are told.
    pub(super) database: Option<String>,
    /// The broker's own account.
    pub(super) user: Option<String>,
    /// Its password: `{file: PATH}`, `{env: NAME}` or `{secret: NAME}`.
    pub(super) password: Option<Value>,
    /// How the server is trusted.
    pub(super) tls: Option<TlsSettings>,
    /// The groups that users may be made members of. All that the account may grant, if it is not said.
    pub(super) roles: Option<Vec<RoleName>>,
    /// Who gets what a user leaves behind. By default the role it acts as, or else its first group.
    pub(super) owner: Option<RoleName>,
    /// Connections at most; 1 to 64, 8 by default.
    pub(super) max_connections: Option<u32>,
    /// How long a statement may take; 1 to 60 seconds, 10 by default.
    pub(super) statement_timeout: Option<Ttl>,
    /// The address that jobs are told, if it differs.
    pub(super) advertise: Option<Advertise>,
}

impl Settings {
    /// Connections at most.
    ///
    /// # Errors
    /// Out of bounds.
    pub(super) fn connections(&self) -> Result<usize, SettingsError> {
        match self.max_connections.unwrap_or(8) {
            count @ 1..=64 => Ok(count as usize),
            _ => Err(SettingsError::new("max_connections", "from 1 to 64")),
        }
    }

    /// How long a statement may take, in seconds.
    ///
    /// # Errors
    /// Out of bounds.
    pub(super) fn statement_s(&self) -> Result<u64, SettingsError> {
        match self.statement_timeout.map_or(STATEMENT_S, Ttl::seconds) {
            seconds @ 1..=60 => Ok(seconds),
            _ => Err(SettingsError::new("statement_timeout", "from 1s to 60s")),
        }
    }
}

/// What a role asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The groups whose rights the user gets; nothing is granted to the user itself.
    pub(super) member_of: Vec<RoleName>,
    /// The group as which sessions begin, and to which belongs what they create. By default the only one of
    /// `member_of`. With several groups and nothing said here, sessions have the rights of all of them, and what they
    /// create is handed over when the user is removed.
    pub(super) acts_as: Option<RoleName>,
    /// Sessions at once; 1 to 1000, 10 by default.
    #[serde(default = "connection_limit")]
    pub(super) connection_limit: u32,
    /// The database that the job is told, if not the provider's.
    pub(super) database: Option<String>,
}

fn connection_limit() -> u32 {
    10
}

impl Parameters {
    /// Reads a role's parameters under a provider's settings.
    ///
    /// # Errors
    /// They are malformed, or name a group that the settings do not list.
    pub(super) fn read(value: &Value, allowed: Option<&[RoleName]>) -> Result<Parameters, SettingsError> {
        let parameters: Parameters = SettingsError::parse(value)?;
        if parameters.member_of.is_empty() || parameters.member_of.len() > MAX_GROUPS {
            return Err(SettingsError::new("member_of", format!("1 to {MAX_GROUPS} groups")));
        }
        if let Some(allowed) = allowed
            && let Some(other) = parameters.member_of.iter().find(|role| !allowed.contains(role))
        {
            let what = format!("the provider's `roles` do not list `{}`", other.0);
            return Err(SettingsError::new("member_of", what));
        }
        if parameters.acts_as.as_ref().is_some_and(|role| !parameters.member_of.contains(role)) {
            return Err(SettingsError::new("acts_as", "is one of `member_of`"));
        }
        if !(1..=1000).contains(&parameters.connection_limit) {
            return Err(SettingsError::new("connection_limit", "from 1 to 1000"));
        }
        if let Some(database) = &parameters.database {
            plain(database).map_err(|what| SettingsError::new("database", what))?;
        }
        Ok(parameters)
    }

    /// The group as which sessions begin.
    pub(super) fn acts_as(&self) -> Option<&RoleName> {
        match (&self.acts_as, self.member_of.as_slice()) {
            (Some(role), _) => Some(role),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// The name of a group. Invariant: 1 to 63 bytes without control characters, no role that the server or the broker
/// keeps for itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct RoleName(String);

impl TryFrom<String> for RoleName {
    type Error = String;

    fn try_from(name: String) -> Result<RoleName, String> {
        plain(&name)?;
        if name == "none" || name == "public" {
            return Err(format!("`{name}` is a keyword, no role"));
        }
        if name.starts_with("pg_") && !HARMLESS.contains(&name.as_str()) {
            return Err(format!(
                "`{name}` reaches beyond the data; of the server's own roles only {HARMLESS:?} are given"
            ));
        }
        if name.starts_with(NAME_PREFIX) {
            return Err(format!("`{name}` looks like a user that a broker made"));
        }
        Ok(RoleName(name))
    }
}

impl AsRef<str> for RoleName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Whether a text can be a name at all.
fn plain(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("a name has 1 to {MAX_NAME} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err("a name has no control characters".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_and_their_bounds() {
        let good = Parameters::read(&json!({"member_of": ["app_ro"]}), None).expect("good");
        assert_eq!(good.acts_as().map(AsRef::as_ref), Some("app_ro"));
        assert_eq!(good.connection_limit, 10);
        let two = Parameters::read(&json!({"member_of": ["a", "b\"; DROP ROLE c; --"]}), None)
            .expect("odd, allowed");
        assert_eq!(two.acts_as(), None);
        for (bad, at) in [
            (json!({}), ""),
            (json!({"member_of": []}), "member_of"),
            (json!({"member_of": ["pg_execute_server_program"]}), "member_of[0]"),
            (json!({"member_of": ["clv_x"]}), "member_of[0]"),
            (json!({"member_of": ["public"]}), "member_of[0]"),
            (json!({"member_of": ["a\u{0}b"]}), "member_of[0]"),
            (json!({"member_of": ["x".repeat(64)]}), "member_of[0]"),
            (json!({"member_of": ["a"], "acts_as": "b"}), "acts_as"),
            (json!({"member_of": ["a"], "connection_limit": 0}), "connection_limit"),
            (json!({"member_of": ["a"], "superuser": true}), "superuser"),
        ] {
            assert_eq!(Parameters::read(&bad, None).expect_err("bad").at, at, "{bad}");
        }
    }

    #[test]
    fn only_listed_groups_are_given() {
        let allowed = [RoleName("app_ro".into())];
        assert!(Parameters::read(&json!({"member_of": ["app_ro"]}), Some(&allowed)).is_ok());
        let error = Parameters::read(&json!({"member_of": ["app_ro", "app_rw"]}), Some(&allowed))
            .expect_err("not listed");
        assert!(error.what.contains("app_rw"), "{error}");
    }
}
