//! MySQL and MariaDB users: an account per lease, with roles or with grants on schemas and tables.
//!
//! These servers end nothing by their own clock: what a lease issued lives until the broker removes it. Nor is any of
//! their statements undone by a later one's failure, so making and removing can each be run again whole. Removing locks
//! the account first, since dropping an account leaves its sessions alive and able to write.
//!
//! MariaDB is told the hash of a password; MySQL the password itself, which it keeps out of its logs.

mod check;
mod errors;
mod settings;
mod sql;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::sync::OnceCell;

use self::errors::{classify, number};
use self::settings::{Parameters, Settings};
use self::sql::{Account, Dialect, NewUser, Telling};
use super::database::pool::{Failure, Pool, Speaks, run_apart};
use super::database::server::{self, Expected, Security, Server, Written};
use super::database::{GRACE, PASSWORD_LENGTH, own};
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError,
};
use crate::secret::{self, Secret};

/// MySQL and MariaDB users.
pub(crate) static KIND: Kind = Kind {
    name: "mysql",
    about: "a MySQL or MariaDB user with roles or grants on schemas and tables",
    variables: &[
        ("username", "MYSQL_USER"),
        ("password", "MYSQL_PWD"),
        ("host", "MYSQL_HOST"),
        ("port", "MYSQL_TCP_PORT"),
        ("database", "MYSQL_DATABASE"),
        ("url", "DATABASE_URL"),
    ],
    example: "\
url: mysql://claviger@db.internal:3306/app
password: {file: /etc/claviger/mysql-password}
tls: {ca_file: /etc/claviger/db-ca.pem}
user_host: 10.%
require_tls: true
",
    parameters: "\
grants:
  - {privileges: [SELECT, INSERT], on: app.*}
connection_limit: 5
",
    build: |settings| Ok(Arc::new(MySql::build(settings)?)),
};

/// Where to find it.
const SERVER: Expected = Expected { schemes: &["mysql", "mariadb"], port: 3306 };
/// What a password ends with, to please rules that want every class of characters. It needs no quoting anywhere.
const TAIL: &[u8] = b"_Aa0";
/// How often removing looks again while something is left, and the pause between.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// The longest life: as long as the broker can say.
const LONGEST_S: u32 = 10 * 366 * 86_400;

/// A server.
struct MySql {
    settings: Settings,
    server: Server,
    pool: Pool<MySqlConnection>,
    statement_s: u64,
    dialect: OnceCell<Dialect>,
    /// The account may not set others' default roles: each new user sets its own.
    sets_its_own: AtomicBool,
    /// The server refuses hashes, since its password rules cannot judge them.
    refuses_hashes: AtomicBool,
}

impl MySql {
    fn build(from: &super::Settings<'_>) -> Result<MySql, SettingsError> {
        let settings: Settings = SettingsError::parse(from.value)?;
        let written = Written {
            url: settings.url.as_deref(),
            host: settings.host.as_deref(),
            port: settings.port,
            user: settings.user.as_deref(),
            database: settings.database.as_deref(),
            tls: settings.tls.as_ref(),
        };
        let server = Server::read(&written, &SERVER)?;
        let password = server::password(settings.password.as_ref(), from.secrets)?;
        let options = options(&server, &server.user, password.as_ref());
        let statement_s = settings.statement_s()?;
        let pool = Pool::new(options, settings.connections()?, Duration::from_secs(statement_s) + GRACE);
        Ok(MySql {
            settings,
            server,
            pool,
            statement_s,
            dialect: OnceCell::new(),
            sets_its_own: AtomicBool::new(false),
            refuses_hashes: AtomicBool::new(false),
        })
    }

    fn parameters(&self, value: &Value) -> Result<Parameters, SettingsError> {
        Parameters::read(value, self.settings.roles.as_deref())
    }

    /// Asked of the server once.
    async fn dialect(&self) -> Result<Dialect, Failure> {
        let ask = async || {
            let rows = self.pool.run("SELECT VERSION()").await?;
            let version = rows.first().map(|row| text(row, 0)).unwrap_or_default();
            Ok(if version.to_lowercase().contains("mariadb") { Dialect::MariaDb } else { Dialect::MySql })
        };
        self.dialect.get_or_try_init(ask).await.copied()
    }

    fn credential(&self, name: &str, password: Secret, parameters: Parameters) -> Credential {
        let at = self.server.told(self.settings.advertise.as_ref());
        let mut server = self.server.clone();
        server.database = parameters.database.map(|name| name.as_ref().to_owned()).or(server.database);
        let url = server.login_url("mysql", at, name, &password, "");
        let credential = Credential::default()
            .public("username", name)
            .secret("password", password)
            .public("host", at.0)
            .public("port", at.1.to_string());
        let credential = match server.database {
            Some(database) => credential.public("database", database),
            None => credential,
        };
        credential.secret("url", url)
    }

    fn needs_tls(&self) -> bool {
        self.settings.require_tls.unwrap_or(self.server.security != Security::Plaintext)
    }
}

fn options(server: &Server, user: &str, password: Option<&Secret>) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .port(server.port)
        .username(user)
        // No statements of the driver's own at the start.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging();
    if let Some(password) = password.and_then(Secret::expose_text) {
        options = options.password(password);
    }
    options = match &server.security {
        Security::Plaintext => options.ssl_mode(MySqlSslMode::Disabled),
        Security::Verified { authorities } => options
            .ssl_mode(MySqlSslMode::VerifyIdentity)
            .ssl_ca_from_pem(authorities.clone().unwrap_or_default()),
    };
    if server.is_socket() { options.socket(&server.host) } else { options.host(&server.host) }
}

impl Speaks for MySqlConnection {
    type Row = MySqlRow;

    async fn batch(&mut self, sql: &str) -> Result<Vec<MySqlRow>, sqlx::Error> {
        // Every name and value in it was quoted in `sql`.
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(self).await
    }

    fn code(error: &dyn DatabaseError) -> String {
        let own = error.try_downcast_ref::<MySqlDatabaseError>();
        own.map_or_else(String::new, |own| own.number().to_string())
    }
}

/// A column of a row; all our columns are text. Empty if it is not.
fn text(row: &MySqlRow, index: usize) -> String {
    let text: Result<Option<String>, _> = row.try_get(index);
    text.ok().flatten().unwrap_or_default()
}

#[async_trait]
impl Provider for MySql {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: false,
            expires_itself: false,
            leaves_nothing: false,
            revocable: true,
            renewable: true,
            listable: true,
            ttl: (1, LONGEST_S),
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        self.parameters(parameters).map(drop)
    }

    async fn issue(&self, request: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        let name = own(request.name)?;
        let parameters =
            self.parameters(request.parameters).map_err(|e| ProviderError::Misconfigured(e.to_string()))?;
        let doing = |failure| classify(failure, "creating the user");
        let dialect = self.dialect().await.map_err(doing)?;
        if dialect == Dialect::MariaDb && parameters.roles.len() > 1 {
            let what = "MariaDB activates one role at a time: make one that has the others";
            return Err(ProviderError::Misconfigured(what.into()));
        }
        let password = password();
        self.create(name, &password, dialect, &parameters).await?;
        Ok(Issued {
            credential: self.credential(name, password, parameters),
            expires: request.expires,
            reference: None,
        })
    }

    async fn renew(&self, held: &Held<'_>, until: Timestamp) -> Result<Timestamp, ProviderError> {
        // The end is the broker's alone: there is nothing to change at the server.
        match self.pool.run(&sql::exists(own(held.name)?)).await {
            Ok(rows) if rows.is_empty() => {
                Err(ProviderError::Denied("the user is not there any more".into()))
            }
            Ok(_) => Ok(until),
            Err(failure) => Err(classify(failure, "prolonging the user")),
        }
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        let name = own(held.name)?;
        let doing = |failure| classify(failure, "removing the user");
        let dialect = self.dialect().await.map_err(doing)?;
        let mut hosts = vec![self.settings.user_host().to_owned()];
        for _ in 0..LOOKS {
            let left = self.remove_once(dialect, name, &hosts).await.map_err(doing)?;
            if left.is_empty() {
                return Ok(());
            }
            // Made under another `user_host` than today's, or made again meanwhile.
            hosts.extend(left.into_iter().filter_map(|(what, host)| (what == "account").then_some(host)));
            hosts.sort();
            hosts.dedup();
            tokio::time::sleep(PAUSE).await;
        }
        Err(ProviderError::Transient("the user or sessions of it are still there".into()))
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        let doing = |failure| classify(failure, "listing users");
        let dialect = self.dialect().await.map_err(doing)?;
        let rows = self.pool.run(&sql::list(dialect)).await.map_err(doing)?;
        let mut names: Vec<String> =
            rows.iter().map(|row| text(row, 0)).filter(|name| own(name).is_ok()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn check(&self) -> Vec<Check> {
        self.look().await
    }
}

impl MySql {
    /// Makes the user; tries the ways that its server and its account leave open.
    async fn create(
        &self,
        name: &str,
        password: &Secret,
        dialect: Dialect,
        parameters: &Parameters,
    ) -> Result<(), ProviderError> {
        let refuses_hashes = dialect == Dialect::MySql || self.refuses_hashes.load(Ordering::Relaxed);
        let mut user = NewUser {
            account: Account { name, host: self.settings.user_host() },
            password,
            telling: if refuses_hashes { Telling::Clear } else { Telling::Hashed },
            needs_tls: self.needs_tls(),
            parameters,
        };
        let mut done = self.create_once(&user, dialect).await;
        if user.telling == Telling::Hashed
            && done.as_ref().is_err_and(|failure| failure.has_number(&[number::OPTION_FORBIDS]))
        {
            user.telling = Telling::Clear;
            done = self.create_once(&user, dialect).await;
            self.refuses_hashes.store(done.is_ok(), Ordering::Relaxed);
        }
        done.map_err(|failure| self.explain(failure, password))
    }

    async fn create_once(&self, user: &NewUser<'_>, dialect: Dialect) -> Result<(), Failure> {
        let role = user.parameters.roles.first().filter(|_| dialect == Dialect::MariaDb);
        let sets_its_own = role.is_some() && self.sets_its_own.load(Ordering::Relaxed);
        let made = self.pool.run(&user.create(dialect, self.statement_s, !sets_its_own)).await;
        let Some(role) = role else { return made.map(drop) };
        match made {
            Ok(_) if !sets_its_own => return Ok(()),
            Ok(_) => {}
            // It may fail at the last statement for want of a right over the server's own tables, which nobody should
            // give it; or at one before, and then the next step fails, too.
            Err(failure) if failure.has_number(&[number::SCHEMA_DENIED, number::TABLE_DENIED]) => {
                let own = self.own_default_role(user, role.as_ref()).await;
                self.sets_its_own.store(own.is_ok(), Ordering::Relaxed);
                return own.map_err(|_| failure);
            }
            Err(failure) => return Err(failure),
        }
        self.own_default_role(user, role.as_ref()).await
    }

    /// Logs in as the new user, which may choose its own default role.
    async fn own_default_role(&self, user: &NewUser<'_>, role: &str) -> Result<(), Failure> {
        let options = options(&self.server, user.account.name, Some(user.password));
        let answer = Duration::from_secs(self.statement_s) + GRACE;
        run_apart::<MySqlConnection>(&options, &sql::own_default_role(role), answer).await.map(drop)
    }

    /// The class of a failure to issue. The server may repeat a statement: the password does not pass.
    fn explain(&self, failure: Failure, password: &Secret) -> ProviderError {
        let is_denied = failure.has_number(&[
            number::SCHEMA_DENIED,
            number::ACCESS_DENIED,
            number::TABLE_DENIED,
            number::PRIVILEGE_MISSING,
        ]);
        let failure = match (failure, password.expose_text()) {
            (Failure::Said { code, words }, Some(secret)) => {
                Failure::Said { code, words: words.replace(secret, "(password)") }
            }
            (failure, _) => failure,
        };
        match classify(failure, "creating the user") {
            ProviderError::Misconfigured(text) if is_denied => ProviderError::Misconfigured(format!(
                "{text}; `claviger provider check` says which rights it lacks"
            )),
            other => other,
        }
    }

    /// Goes once through all steps; gives what is left: `account` and host, `session` and id.
    async fn remove_once(
        &self,
        dialect: Dialect,
        name: &str,
        hosts: &[String],
    ) -> Result<Vec<(String, String)>, Failure> {
        let mut left = Vec::new();
        for host in hosts {
            let account = Account { name, host };
            left = self.pairs(&sql::remove(dialect, account, self.statement_s)).await?;
        }
        if dialect == Dialect::MySql {
            for (_, id) in left.iter().filter(|(what, _)| what == "session") {
                let killed = self.pool.run(&sql::kill(id.parse().unwrap_or_default())).await;
                if let Err(failure) = killed
                    && !failure.has_number(&[number::NO_SUCH_SESSION])
                {
                    return Err(failure);
                }
            }
            for host in hosts {
                self.pool.run(&sql::drop_account(Account { name, host })).await?;
            }
            left = self.pairs(&sql::left(dialect, name)).await?;
        }
        Ok(left)
    }

    async fn pairs(&self, sql: &str) -> Result<Vec<(String, String)>, Failure> {
        let rows = self.pool.run(sql).await?;
        Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
    }
}

/// A new password.
fn password() -> Secret {
    let mut bytes = Vec::with_capacity(PASSWORD_LENGTH + TAIL.len());
    bytes.extend_from_slice(secret::password(PASSWORD_LENGTH).expose());
    bytes.extend_from_slice(TAIL);
    Secret::new(bytes)
}
