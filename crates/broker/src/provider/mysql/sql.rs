//! The statements of both dialects, and the one place where names and values are quoted.
//!
//! DDL takes no bind parameters, so texts are put together: names through [`identifier`], values through [`literal`],
//! which holds nothing that needs escaping. None of this is transactional: a batch that fails leaves what it did.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use zeroize::Zeroizing;

use super::settings::{On, Parameters};
use crate::secret::Secret;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    MariaDb,
    MySql,
}

/// An account: a user name that a broker gave, and from where it may log in.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a str,
}

/// How a password is told to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// As the hash that the server keeps.
    Hashed,
    /// In clear: the server hashes it, and keeps it out of its own logs.
    Clear,
}

/// A name, quoted; good with `ANSI_QUOTES` and without.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A schema's name where the server reads a pattern: `_` and `%` would match others' schemas.
fn pattern(name: &str) -> String {
    identifier(&name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"))
}

/// A text of letters, digits and what host patterns and base64 are made of, quoted. Whether the server takes a
/// backslash for an escape is a matter of its mode, so there is none; nor a quote.
///
/// # Panics
/// There is.
fn literal(text: &str) -> String {
    assert!(!text.contains(['\'', '\\', '\0']), "only texts of known alphabets are values");
    format!("'{text}'")
}

impl Account<'_> {
    fn quoted(self) -> String {
        format!("{}@{}", literal(self.name), literal(self.host))
    }
}

/// What every batch begins with: waiting for a lock, and for the answer, has an end.
fn limits(dialect: Dialect, statement_s: u64) -> String {
    match dialect {
        Dialect::MariaDb => format!("SET lock_wait_timeout = 5, max_statement_time = {statement_s};\n"),
        Dialect::MySql => "SET lock_wait_timeout = 5;\n".to_owned(),
    }
}

/// The hash of MariaDB's `mysql_native_password`. Fast, but of a password that cannot be guessed.
fn native_hash(password: &Secret) -> String {
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.expose());
    let once = Zeroizing::new(once.as_ref().to_vec());
    format!("*{}", hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, &once)))
}

/// What a new user is.
pub(super) struct NewUser<'a> {
    pub(super) account: Account<'a>,
    pub(super) password: &'a Secret,
    pub(super) telling: Telling,
    pub(super) needs_tls: bool,
    pub(super) parameters: &'a Parameters,
}

impl NewUser<'_> {
    /// Makes the user, anew if it is there. `with_default` ends with the role's activation at login.
    pub(super) fn create(&self, dialect: Dialect, statement_s: u64, with_default: bool) -> String {
        let account = self.account.quoted();
        let password = match self.telling {
            Telling::Hashed => format!("PASSWORD {}", literal(&native_hash(self.password))),
            Telling::Clear => literal(self.password.expose_text().unwrap_or_default()),
        };
        let tls = if self.needs_tls { "SSL" } else { "NONE" };
        let create = match dialect {
            Dialect::MariaDb => "CREATE OR REPLACE USER".to_owned(),
            Dialect::MySql => format!("DROP USER IF EXISTS {account};\nCREATE USER"),
        };
        let limit = self.parameters.connection_limit;
        let mut sql = limits(dialect, statement_s);
        sql += &format!(
            "{create} {account} IDENTIFIED BY {password} REQUIRE {tls} WITH MAX_USER_CONNECTIONS {limit};\n"
        );
        for grant in &self.parameters.grants {
            let privileges: Vec<&str> = grant.privileges.iter().map(AsRef::as_ref).collect();
            sql += &format!("GRANT {} ON {} TO {account};\n", privileges.join(", "), on(&grant.on));
        }
        for role in &self.parameters.roles {
            sql += &format!("GRANT {} TO {account};\n", identifier(role.as_ref()));
        }
        if with_default && !self.parameters.roles.is_empty() {
            sql += &self.default_roles(dialect);
        }
        sql
    }

    fn default_roles(&self, dialect: Dialect) -> String {
        let account = self.account.quoted();
        let roles: Vec<String> = self.parameters.roles.iter().map(|role| identifier(role.as_ref())).collect();
        match dialect {
            Dialect::MariaDb => format!("SET DEFAULT ROLE {} FOR {account};\n", roles.join(", ")),
            Dialect::MySql => format!("SET DEFAULT ROLE {} TO {account};\n", roles.join(", ")),
        }
    }
}

/// What a user of MariaDB runs itself to have its role from the next login on.
pub(super) fn own_default_role(role: &str) -> String {
    format!("SET DEFAULT ROLE {}", identifier(role))
}

fn on(on: &On) -> String {
    match &on.table {
        None => format!("{}.*", pattern(on.schema.as_ref())),
        Some(table) => format!("{}.{}", identifier(on.schema.as_ref()), identifier(table.as_ref())),
    }
}

/// Locks an account out. On MariaDB also ends its sessions, drops it, and ends them again: the drop leaves sessions
/// alive and able to write. Answers what is [left](left).
pub(super) fn remove(dialect: Dialect, account: Account<'_>, statement_s: u64) -> String {
    let (quoted, user) = (account.quoted(), literal(account.name));
    let mut sql = limits(dialect, statement_s);
    sql += &format!("ALTER USER IF EXISTS {quoted} ACCOUNT LOCK;\n");
    if dialect == Dialect::MariaDb {
        sql += &format!("KILL USER {user};\nDROP USER IF EXISTS {quoted};\nKILL USER {user};\n");
    }
    sql + &left(dialect, account.name)
}

/// Drops an account.
pub(super) fn drop_account(account: Account<'_>) -> String {
    format!("DROP USER IF EXISTS {}", account.quoted())
}

/// Ends a session of MySQL.
pub(super) fn kill(session: u64) -> String {
    format!("KILL {session}")
}

/// What is left of a user: rows `account`, host and `session`, id.
pub(super) fn left(dialect: Dialect, name: &str) -> String {
    let user = literal(name);
    format!(
        "SELECT 'account', CAST(host AS CHAR) FROM mysql.user WHERE user = {user};\n\
         SELECT 'session', CAST(id AS CHAR) FROM {} WHERE user = {user}",
        sessions(dialect)
    )
}

/// Whether there is such a user: a row if so.
pub(super) fn exists(name: &str) -> String {
    format!("SELECT CAST(host AS CHAR) FROM mysql.user WHERE user = {}", literal(name))
}

/// Users that a broker may have made; sessions count, since they outlive their users.
pub(super) fn list(dialect: Dialect) -> String {
    format!(
        "SELECT DISTINCT CAST(user AS CHAR) FROM mysql.user WHERE LEFT(user, 4) = 'clv_';\n\
         SELECT DISTINCT CAST(user AS CHAR) FROM {} WHERE LEFT(user, 4) = 'clv_'",
        sessions(dialect)
    )
}

fn sessions(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MariaDb => "information_schema.processlist",
        Dialect::MySql => "performance_schema.processlist",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_inside_their_quotes() {
        assert_eq!(identifier("a`; DROP TABLE t; --"), "`a``; DROP TABLE t; --`");
        assert_eq!(pattern("app_prod"), "`app\\_prod`");
        assert_eq!(pattern("50%"), "`50\\%`");
    }

    #[test]
    #[should_panic(expected = "known alphabets")]
    fn a_value_with_a_quote_is_a_bug() {
        literal("a'b");
    }

    /// The statements for MySQL, by its manual: no such server is tested against.
    #[test]
    fn mysql_statements() {
        let value = json!({
            "roles": ["app_ro", "app_x"],
            "grants": [{"privileges": ["SELECT"], "on": "app_a.*"}, {"privileges": ["INSERT"], "on": "app_a.t"}],
        });
        let parameters = Parameters::read(&value, None).expect("parameters");
        let account = Account { name: "clv_x", host: "%" };
        let password = Secret::text("word".into());
        let user = NewUser {
            account,
            password: &password,
            telling: Telling::Clear,
            needs_tls: true,
            parameters: &parameters,
        };
        let sql = user.create(Dialect::MySql, 10, true);
        assert_eq!(
            sql,
            "SET lock_wait_timeout = 5;\n\
             DROP USER IF EXISTS 'clv_x'@'%';\n\
             CREATE USER 'clv_x'@'%' IDENTIFIED BY 'word' REQUIRE SSL WITH MAX_USER_CONNECTIONS 10;\n\
             GRANT SELECT ON `app\\_a`.* TO 'clv_x'@'%';\n\
             GRANT INSERT ON `app_a`.`t` TO 'clv_x'@'%';\n\
             GRANT `app_ro` TO 'clv_x'@'%';\n\
             GRANT `app_x` TO 'clv_x'@'%';\n\
             SET DEFAULT ROLE `app_ro`, `app_x` TO 'clv_x'@'%';\n"
        );
        let sql = remove(Dialect::MySql, account, 10);
        assert!(sql.contains("ACCOUNT LOCK") && !sql.contains("KILL USER"), "{sql}");
    }
}
