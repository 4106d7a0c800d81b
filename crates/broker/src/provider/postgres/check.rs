//! Looks whether the broker's account has what it needs at the server, and no more.

use super::errors::classify;
use super::{Postgres, column, sql};
use crate::provider::database::pool::Failure;
use crate::provider::database::server::Security;
use crate::provider::{Check, ProviderError};

/// The oldest version that is supported: `pg_terminate_backend` waits from there on.
const OLDEST: u32 = 140_000;
/// From here on, adding members to a group needs its ADMIN option, and making roles is no right over all of them.
const ADMIN_NEEDED: u32 = 160_000;

/// About the account and its connection: one row.
const ACCOUNT: &str = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
    current_user::text, r.rolsuper::text, r.rolcreaterole::text, (r.rolcreatedb OR r.rolreplication OR \
    r.rolbypassrls)::text, pg_has_role('pg_signal_backend', 'USAGE')::text, pg_is_in_recovery()::text, \
    coalesce((SELECT s.version FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()), '') \
    FROM pg_roles r WHERE r.rolname = current_user";
/// Databases in which nothing could be handed over.
const CLOSED: &str = "SELECT datname::text FROM pg_database \
    WHERE datallowconn AND NOT has_database_privilege(datname, 'CONNECT') ORDER BY 1";

/// What is known of the account.
struct Account {
    version: u32,
    shown: String,
    me: String,
    is_super: bool,
    may_create: bool,
    is_more: bool,
    may_signal: bool,
    is_standby: bool,
    tls: String,
}

impl Postgres {
    /// All that [`check`](crate::provider::Provider::check) looks at.
    pub(super) async fn look(&self) -> Vec<Check> {
        let account = match self.account().await {
            Ok(account) => account,
            Err(error) => return vec![Check::bad("connects", error.to_string())],
        };
        let mut checks = vec![Check::good(format!("connects to PostgreSQL {}", account.shown))];
        checks.extend(self.about(&account));
        match self.groups(&account).await {
            Ok(groups) => checks.extend(groups),
            Err(failure) => {
                checks.push(Check::bad("looks at the groups", classify(failure, "groups").to_string()))
            }
        }
        checks.push(self.databases().await);
        checks
    }

    async fn account(&self) -> Result<Account, ProviderError> {
        let rows = self.pool.run(ACCOUNT).await.map_err(|failure| classify(failure, "connecting"))?;
        let row =
            rows.first().ok_or_else(|| ProviderError::Transient("the account does not see itself".into()))?;
        let is = |index| column(row, index).map(|text| text == "true");
        Ok(Account {
            version: column(row, 0)?.parse().unwrap_or_default(),
            shown: column(row, 1)?,
            me: sql::identifier(&column(row, 2)?),
            is_super: is(3)?,
            may_create: is(4)?,
            is_more: is(5)?,
            may_signal: is(6)?,
            is_standby: is(7)?,
            tls: column(row, 8)?,
        })
    }

    fn about(&self, account: &Account) -> Vec<Check> {
        let me = &account.me;
        let good_unless = |what: &str, is_bad: bool, problem: String| match is_bad {
            true => Check::bad(what, problem),
            false => Check::good(what),
        };
        let mut checks = vec![
            good_unless("version 14 or newer", account.version < OLDEST, format!("it is {}", account.shown)),
            good_unless("may write", account.is_standby, "it is a standby; name the primary".into()),
            good_unless(
                "may create roles",
                !account.may_create && !account.is_super,
                format!("run: ALTER ROLE {me} CREATEROLE"),
            ),
            good_unless(
                "may end the users' sessions",
                !account.may_signal && !account.is_super,
                format!("run: GRANT pg_signal_backend TO {me}"),
            ),
        ];
        let no_more = "has no more rights than it needs";
        checks.push(if account.is_super {
            Check::warn(no_more, format!("it is a superuser; run: ALTER ROLE {me} NOSUPERUSER CREATEROLE"))
        } else if account.is_more {
            Check::warn(no_more, format!("run: ALTER ROLE {me} NOCREATEDB NOREPLICATION NOBYPASSRLS"))
        } else {
            Check::good(no_more)
        });
        checks.push(match (&self.server.security, account.tls.as_str()) {
            (Security::Plaintext, _) if self.server.is_near() => {
                Check::good("is on this machine, not encrypted")
            }
            (Security::Plaintext, _) => {
                Check::warn("speaks TLS", "`tls.mode` says plaintext: anybody on the way reads along")
            }
            (Security::Verified { .. }, "") => {
                Check::warn("speaks TLS", "with somebody in between: the server sees none")
            }
            (Security::Verified { .. }, version) => Check::good(format!("speaks {version}")),
        });
        checks
    }

    /// Looks at each group that the settings name, or at those that the account may give.
    async fn groups(&self, account: &Account) -> Result<Vec<Check>, Failure> {
        let owner = self.settings.owner.as_ref().map(AsRef::as_ref);
        let Some(roles) = &self.settings.roles else {
            let mut checks = vec![Check::warn("lists the groups that it may give", "write `roles: [...]`")];
            if let Some(owner) = owner {
                checks.extend(self.group(owner, account, false).await?);
            }
            return Ok(checks);
        };
        let mut checks = Vec::new();
        for role in roles {
            checks.extend(self.group(role.as_ref(), account, true).await?);
        }
        if let Some(owner) = owner.filter(|owner| !roles.iter().any(|role| role.as_ref() == *owner)) {
            checks.extend(self.group(owner, account, false).await?);
        }
        Ok(checks)
    }

    async fn group(&self, role: &str, account: &Account, is_given: bool) -> Result<Vec<Check>, Failure> {
        let text = sql::literal(role);
        let rows = self
            .pool
            .run(&format!(
                "SELECT rolsuper::text, (rolcreaterole OR rolreplication OR rolbypassrls)::text, \
                 pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')::text, pg_has_role(oid, 'USAGE')::text, \
                 rolcanlogin::text FROM pg_roles WHERE rolname = {text}"
            ))
            .await?;
        let (name, me) = (sql::identifier(role), &account.me);
        let Some(row) = rows.first() else {
            return Ok(vec![Check::bad(
                format!("group {name} exists"),
                format!("run: CREATE ROLE {name} NOLOGIN"),
            )]);
        };
        let is = |index| column(row, index).is_ok_and(|text| text == "true");
        let (is_super, is_more, is_admin, is_usable, may_login) = (is(0), is(1), is(2), is(3), is(4));
        let mut checks = Vec::new();
        if is_given {
            let may_give =
                is_admin || account.is_super || account.version < ADMIN_NEEDED && account.may_create;
            let what = format!("may make members of {name}");
            checks.push(match may_give && (account.is_super || !is_super) {
                true => Check::good(what),
                false => Check::bad(what, format!("run: GRANT {name} TO {me} WITH ADMIN OPTION")),
            });
            if is_super || is_more {
                let problem = "it can make roles, replicate or pass row security; its members can become it";
                checks.push(Check::warn(format!("group {name} reaches data only"), problem));
            }
            if may_login {
                checks.push(Check::warn(
                    format!("group {name} is no login"),
                    format!("run: ALTER ROLE {name} NOLOGIN"),
                ));
            }
        }
        let what = format!("may hand over to {name}");
        let grant = if account.version >= ADMIN_NEEDED { " WITH INHERIT TRUE, SET TRUE" } else { "" };
        let fix = format!("what users leave behind cannot be given to it; run: GRANT {name} TO {me}{grant}");
        checks.push(match (is_usable || account.is_super, is_given) {
            (true, _) => Check::good(what),
            // A group whose members act as it owns everything from the start.
            (false, true) => Check::warn(what, fix),
            (false, false) => Check::bad(what, fix),
        });
        Ok(checks)
    }

    async fn databases(&self) -> Check {
        let what = "reaches every database, to hand over what users leave there";
        match self.pool.run(CLOSED).await {
            Ok(rows) if rows.is_empty() => Check::good(what),
            Ok(rows) => {
                let names = rows.iter().filter_map(|row| column(row, 0).ok());
                let names: Vec<String> = names.map(|name| sql::identifier(&name)).collect();
                let me = sql::identifier(&self.server.user);
                Check::warn(what, format!("run: GRANT CONNECT ON DATABASE {} TO {me}", names.join(", ")))
            }
            Err(failure) => Check::bad(what, classify(failure, "databases").to_string()),
        }
    }
}
