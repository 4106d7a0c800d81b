//! Looks whether the broker's account has what it needs at the server, and no more.

use super::errors::classify;
use super::sql::{self, Dialect};
use super::{MySql, text};
use crate::provider::Check;
use crate::provider::database::pool::Failure;
use crate::provider::database::server::Security;

/// What the account has globally, as the two dialects name it.
const PRIVILEGES: &str = "SELECT CAST(privilege_type AS CHAR) FROM information_schema.user_privileges \
    WHERE grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";
/// Rights over the server's own tables, with which an account can make itself anything.
const OWN_TABLES: &str = "SELECT DISTINCT CAST(privilege_type AS CHAR) FROM information_schema.schema_privileges \
    WHERE table_schema = 'mysql' AND privilege_type IN ('INSERT', 'UPDATE', 'DELETE') \
    AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";
/// Roles that it has, and whether it may give them.
const ROLES: &str =
    "SELECT CAST(role_name AS CHAR), CAST(is_grantable AS CHAR) FROM information_schema.applicable_roles";
/// Rights that let an account do anything.
const TOO_MUCH: [&str; 6] = ["FILE", "SHUTDOWN", "SUPER", "UPDATE", "INSERT", "DELETE"];

impl MySql {
    /// All that [`check`](crate::provider::Provider::check) looks at.
    pub(super) async fn look(&self) -> Vec<Check> {
        // What is held now has the rights of an earlier day.
        self.pool.forget_idle();
        let dialect = match self.dialect().await {
            Ok(dialect) => dialect,
            Err(failure) => return vec![Check::bad("connects", classify(failure, "connecting").to_string())],
        };
        let mut checks = Vec::new();
        for looked in [
            self.account(dialect, &mut checks).await,
            self.users(&mut checks).await,
            self.roles(&mut checks).await,
            self.encryption(&mut checks).await,
        ] {
            if let Err(failure) = looked {
                checks.push(Check::bad("looks at its rights", classify(failure, "looking").to_string()));
            }
        }
        checks.push(Check::good("ends nothing by its own clock: users live until the broker removes them"));
        checks
    }

    /// The account as statements name it.
    async fn me(&self) -> Result<String, Failure> {
        let rows = self.pool.run("SELECT CURRENT_USER(), VERSION()").await?;
        let me = rows.first().map(|row| text(row, 0)).unwrap_or_default();
        let (user, host) = me.rsplit_once('@').unwrap_or((&me, "%"));
        Ok(format!("{}@{}", sql::identifier(user), sql::identifier(host)))
    }

    async fn account(&self, dialect: Dialect, checks: &mut Vec<Check>) -> Result<(), Failure> {
        let rows = self.pool.run("SELECT VERSION()").await?;
        checks.push(Check::good(format!(
            "connects to {dialect:?} {}",
            rows.first().map(|row| text(row, 0)).unwrap_or_default()
        )));
        let me = self.me().await?;
        let has: Vec<String> = self.pool.run(PRIVILEGES).await?.iter().map(|row| text(row, 0)).collect();
        let may = |names: &[&str]| names.iter().any(|name| has.iter().any(|it| it == name));
        let kill = if dialect == Dialect::MariaDb { "CONNECTION ADMIN" } else { "CONNECTION_ADMIN" };
        for (what, names) in [
            ("may create users", ["CREATE USER", "CREATE USER"]),
            ("may see others' sessions", ["PROCESS", "PROCESS"]),
            ("may end others' sessions", [kill, "SUPER"]),
        ] {
            checks.push(match may(&names) {
                true => Check::good(what),
                false => Check::bad(what, format!("run: GRANT {} ON *.* TO {me}", names[0])),
            });
        }
        let own: Vec<String> = self.pool.run(OWN_TABLES).await?.iter().map(|row| text(row, 0)).collect();
        let more: Vec<&str> = TOO_MUCH.into_iter().filter(|name| may(&[name])).collect();
        let no_more = "has no more rights than it needs";
        if !more.is_empty() {
            checks.push(Check::warn(no_more, format!("run: REVOKE {} ON *.* FROM {me}", more.join(", "))));
        } else if !own.is_empty() {
            let problem =
                format!("it can make itself anything; run: REVOKE {} ON mysql.* FROM {me}", own.join(", "));
            checks.push(Check::warn(no_more, problem));
        } else {
            checks.push(Check::good(no_more));
        }
        Ok(())
    }

    async fn users(&self, checks: &mut Vec<Check>) -> Result<(), Failure> {
        let what = "may list users";
        let anonymous = match self.pool.run(&sql::exists("")).await {
            Ok(rows) => rows,
            Err(failure @ Failure::Said { .. }) => {
                let me = self.me().await?;
                let problem =
                    format!("{}; run: GRANT SELECT ON mysql.user TO {me}", classify(failure, "looking"));
                checks.push(Check::bad(what, problem));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        checks.push(Check::good(what));
        let hosts: Vec<String> =
            anonymous.iter().map(|row| format!("''@{}", sql::identifier(&text(row, 0)))).collect();
        let what = "has no anonymous users";
        checks.push(match hosts.is_empty() {
            true => Check::good(what),
            // They match first where their host is the more exact one, and the user's password is then wrong.
            false => Check::warn(what, format!("they shadow the users; run: DROP USER {}", hosts.join(", "))),
        });
        Ok(())
    }

    async fn roles(&self, checks: &mut Vec<Check>) -> Result<(), Failure> {
        let Some(roles) = &self.settings.roles else { return Ok(()) };
        let me = self.me().await?;
        let has: Vec<(String, String)> = self.pairs(ROLES).await?;
        for role in roles {
            let name = sql::identifier(role.as_ref());
            let may = has.iter().any(|(it, grantable)| it == role.as_ref() && grantable == "YES");
            let what = format!("may give the role {name}");
            checks.push(match may {
                true => Check::good(what),
                false => Check::bad(what, format!("run: GRANT {name} TO {me} WITH ADMIN OPTION")),
            });
        }
        Ok(())
    }

    async fn encryption(&self, checks: &mut Vec<Check>) -> Result<(), Failure> {
        let version = self.pairs("SHOW SESSION STATUS LIKE 'Ssl_version'").await?.pop().map(|(_, it)| it);
        checks.push(match (&self.server.security, version.unwrap_or_default()) {
            (Security::Plaintext, _) if self.server.is_near() => {
                Check::good("is on this machine, not encrypted")
            }
            (Security::Plaintext, _) => {
                Check::warn("speaks TLS", "`tls.mode` says plaintext: anybody on the way reads along")
            }
            (Security::Verified { .. }, version) => Check::good(format!("speaks {version}")),
        });
        if !self.needs_tls() && !self.server.is_near() {
            checks.push(Check::warn("users must use TLS", "write `require_tls: true`"));
        }
        Ok(())
    }
}
