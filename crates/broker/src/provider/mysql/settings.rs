//! What the configuration says about a MySQL or MariaDB server, and what a role asks of it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::lease::NAME_PREFIX;
use crate::provider::SettingsError;
use crate::provider::database::STATEMENT_S;
use crate::provider::database::server::{Advertise, TlsSettings};
use crate::ttl::Ttl;

/// The longest name of a schema, a table or a role, in characters.
const MAX_NAME: usize = 64;
/// Roles, and grants, that one user may have.
const MAX_LIST: usize = 16;
/// Schemas of the server itself.
const SYSTEM: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];
/// What may be granted on a schema or a table.
const PRIVILEGES: [&str; 12] = [
    "ALTER",
    "CREATE",
    "CREATE TEMPORARY TABLES",
    "DELETE",
    "DROP",
    "EXECUTE",
    "INDEX",
    "INSERT",
    "LOCK TABLES",
    "REFERENCES",
    "SELECT",
    "UPDATE",
];
/// What makes objects that run as their maker: they stop working, and writes to their tables with them, when the user
/// is removed.
const DEFINING: [&str; 5] = ["ALTER ROUTINE", "CREATE ROUTINE", "CREATE VIEW", "EVENT", "TRIGGER"];

/// A provider's settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// `mysql://USER@HOST:PORT/DATABASE`, without a password. Or the next four members.
    pub(super) url: Option<String>,
    /// The server's name or address; the path of its socket, if it begins with `/`.
    pub(super) host: Option<String>,
    /// Its port; 3306 by default.
    pub(super) port: Option<u16>,
    /// The database that jobs are told.
    pub(super) database: Option<String>,
    /// The broker's own account.
    pub(super) user: Option<String>,
    /// Its password: `{file: PATH}`, `{env: NAME}` or `{secret: NAME}`.
    pub(super) password: Option<Value>,
    /// How the server is trusted.
    pub(super) tls: Option<TlsSettings>,
    /// The host part of the users' accounts: from where they may log in. `%`, everywhere, by default.
    pub(super) user_host: Option<AccountHost>,
    /// Whether users must use TLS. By default, if the broker does.
    pub(super) require_tls: Option<bool>,
    /// The roles that users may be given. All that the account may grant, if it is not said.
    pub(super) roles: Option<Vec<Name>>,
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

    /// The host part of the users' accounts.
    pub(super) fn user_host(&self) -> &str {
        self.user_host.as_ref().map_or("%", |host| &host.0)
    }
}

/// What a role asks for: roles or grants.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Roles of the server, active from the login on. MariaDB activates one.
    #[serde(default)]
    pub(super) roles: Vec<Name>,
    /// Privileges on schemas or tables.
    #[serde(default)]
    pub(super) grants: Vec<Grant>,
    /// Sessions at once; 1 to 1000, 10 by default.
    #[serde(default = "connection_limit")]
    pub(super) connection_limit: u32,
    /// The database that the job is told, if not the provider's.
    pub(super) database: Option<Name>,
}

/// Privileges on one thing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    /// For example `SELECT`.
    pub(super) privileges: Vec<Privilege>,
    /// `SCHEMA.*` or `SCHEMA.TABLE`.
    pub(super) on: On,
}

fn connection_limit() -> u32 {
    10
}

impl Parameters {
    /// Reads a role's parameters under a provider's settings.
    ///
    /// # Errors
    /// They are malformed, or name a role that the settings do not list.
    pub(super) fn read(value: &Value, allowed: Option<&[Name]>) -> Result<Parameters, SettingsError> {
        let parameters: Parameters = SettingsError::parse(value)?;
        let Parameters { roles, grants, .. } = &parameters;
        if roles.is_empty() && grants.is_empty() {
            return Err(SettingsError::new("", "write `roles` or `grants`"));
        }
        if roles.len() > MAX_LIST || grants.len() > MAX_LIST {
            return Err(SettingsError::new("", format!("at most {MAX_LIST} roles and as many grants")));
        }
        if let Some(reserved) = roles.iter().find(|role| role.is_reserved()) {
            return Err(SettingsError::new("roles", format!("`{}` is no role", reserved.0)));
        }
        if let Some(other) = allowed.and_then(|allowed| roles.iter().find(|role| !allowed.contains(role))) {
            return Err(SettingsError::new(
                "roles",
                format!("the provider's `roles` do not list `{}`", other.0),
            ));
        }
        if let Some(index) = grants.iter().position(|grant| grant.privileges.is_empty()) {
            return Err(SettingsError::new(format!("grants[{index}].privileges"), "at least one"));
        }
        if !(1..=1000).contains(&parameters.connection_limit) {
            return Err(SettingsError::new("connection_limit", "from 1 to 1000"));
        }
        Ok(parameters)
    }
}

/// A name of a schema, a table or a role. Invariant: 1 to 64 characters that are no control characters, no space at
/// the end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Name, String> {
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err(format!("a name has 1 to {MAX_NAME} characters"));
        }
        if name.chars().any(|c| c.is_control() || c > '\u{ffff}') || name.ends_with(' ') {
            return Err(
                "a name has no control characters, none beyond U+FFFF, and no space at its end".into()
            );
        }
        Ok(Name(name))
    }
}

impl Name {
    /// Whether it means something else than a role, or belongs to a broker.
    fn is_reserved(&self) -> bool {
        ["none", "public", "default", "all"].contains(&self.0.to_lowercase().as_str())
            || self.0.starts_with(NAME_PREFIX)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A privilege that may be granted. Invariant: one of [`PRIVILEGES`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct Privilege(String);

impl TryFrom<String> for Privilege {
    type Error = String;

    fn try_from(text: String) -> Result<Privilege, String> {
        let upper = text.to_uppercase();
        if PRIVILEGES.contains(&upper.as_str()) {
            return Ok(Privilege(upper));
        }
        if DEFINING.contains(&upper.as_str()) {
            return Err(format!(
                "`{upper}` is not given: what it makes runs as its maker, and breaks when the user is removed"
            ));
        }
        Err(format!("one of {}", PRIVILEGES.join(", ")))
    }
}

impl AsRef<str> for Privilege {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What privileges are granted on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct On {
    pub(super) schema: Name,
    /// None: all tables, those to come included.
    pub(super) table: Option<Name>,
}

impl TryFrom<String> for On {
    type Error = String;

    fn try_from(text: String) -> Result<On, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let [schema, table] = parts.as_slice() else {
            return Err("`SCHEMA.*` or `SCHEMA.TABLE`".into());
        };
        if *schema == "*" {
            return Err("names one schema; `*.*` reaches everything".into());
        }
        if SYSTEM.contains(&schema.to_lowercase().as_str()) {
            return Err(format!("`{schema}` is the server's own"));
        }
        let table = if *table == "*" { None } else { Some(Name::try_from((*table).to_owned())?) };
        Ok(On { schema: Name::try_from((*schema).to_owned())?, table })
    }
}

/// The host part of an account. Invariant: made of what host names, addresses, masks and wildcards are made of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct AccountHost(String);

impl TryFrom<String> for AccountHost {
    type Error = String;

    fn try_from(text: String) -> Result<AccountHost, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%/".contains(c);
        if text.is_empty() || text.len() > 60 || !text.chars().all(is_plain) {
            return Err("a host, an address, `ADDRESS/MASK`, or a pattern with `%`".into());
        }
        Ok(AccountHost(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_and_their_bounds() {
        let good = json!({"grants": [{"privileges": ["select", "INSERT"], "on": "app.*"}]});
        let good = Parameters::read(&good, None).expect("good");
        assert_eq!(good.grants[0].privileges, ["SELECT", "INSERT"].map(|it| Privilege(it.into())));
        assert_eq!(good.grants[0].on.table, None);
        let grant = |privilege: &str, on: &str| json!({"grants": [{"privileges": [privilege], "on": on}]});
        for (bad, at) in [
            (json!({}), ""),
            (json!({"roles": ["PUBLIC"]}), "roles"),
            (json!({"roles": ["clv_x"]}), "roles"),
            (json!({"roles": ["a\nb"]}), "roles[0]"),
            (json!({"roles": ["a"], "connection_limit": 0}), "connection_limit"),
            (json!({"grants": [{"privileges": [], "on": "app.*"}]}), "grants[0].privileges"),
            (grant("ALL", "app.*"), "grants[0].privileges[0]"),
            (grant("GRANT OPTION", "app.*"), "grants[0].privileges[0]"),
            (grant("SELECT, FILE", "app.*"), "grants[0].privileges[0]"),
            (grant("TRIGGER", "app.*"), "grants[0].privileges[0]"),
            (grant("SELECT", "*.*"), "grants[0].on"),
            (grant("SELECT", "mysql.user"), "grants[0].on"),
            (grant("SELECT", "MySQL.*"), "grants[0].on"),
            (grant("SELECT", "app"), "grants[0].on"),
            (grant("SELECT", "app.t.c"), "grants[0].on"),
            (grant("SELECT", ".t"), "grants[0].on"),
        ] {
            assert_eq!(Parameters::read(&bad, None).expect_err("bad").at, at, "{bad}");
        }
    }

    #[test]
    fn hosts() {
        for good in ["%", "10.0.%", "10.0.0.0/255.255.0.0", "fe80::%", "ci.example.org"] {
            assert!(AccountHost::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a'b", "a b", "\\", "`"] {
            assert!(AccountHost::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
