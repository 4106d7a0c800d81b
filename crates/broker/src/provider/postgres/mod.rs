//! PostgreSQL users: a role per lease, member of the operator's group roles.
//!
//! A user gets its rights by membership only. Grants to users themselves would lengthen the access lists of tables
//! until the server can hold no more (at 2,444 grants on one table). Its sessions begin as the group's role, so that
//! what they create belongs to the group and outlives the user. The server is sent a verifier of the password, never
//! the password. It refuses logins after the expiry by its own clock (`VALID UNTIL`); sessions that are open then, it
//! does not end: removing does.
//!
//! Behind a pooler in transaction mode the sessions of a user bear the pooler's name: connect jobs directly.

mod check;
mod errors;
mod remove;
mod scram;
mod settings;
mod sql;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use self::errors::{classify, code};
use self::settings::{Parameters, Settings};
use super::database::pool::{Failure, Pool, Speaks};
use super::database::server::{self, Expected, Security, Server, Written};
use super::database::{GRACE, PASSWORD_LENGTH, own};
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError,
};
use crate::secret::{self, Secret};

/// PostgreSQL users.
pub(crate) static KIND: Kind = Kind {
    name: "postgres",
    about: "a PostgreSQL user, member of the groups that the role names",
    variables: &[
        ("username", "PGUSER"),
        ("password", "PGPASSWORD"),
        ("host", "PGHOST"),
        ("port", "PGPORT"),
        ("database", "PGDATABASE"),
        ("sslmode", "PGSSLMODE"),
        ("url", "DATABASE_URL"),
    ],
    example: "\
url: postgres://claviger@db.internal:5432/app
password: {file: /etc/claviger/postgres-password}
tls: {ca_file: /etc/claviger/db-ca.pem}
roles: [app_ro, app_rw]
owner: app_owner
",
    parameters: "\
member_of: [app_ro]
connection_limit: 5
",
    build: |settings| Ok(Arc::new(Postgres::build(settings)?)),
};

/// Where to find it.
const SERVER: Expected = Expected { schemes: &["postgres", "postgresql"], port: 5432 };
/// What sessions of the broker are called at the server.
const APPLICATION: &str = "claviger";

/// A PostgreSQL server.
struct Postgres {
    settings: Settings,
    server: Server,
    options: PgConnectOptions,
    pool: Pool<PgConnection>,
    answer: Duration,
    /// Oids of roles dropped a short while ago, and when; held to look, never across I/O.
    dropped: Mutex<VecDeque<(Timestamp, u32)>>,
    /// One at a time: handing over needs connections beside the pool's.
    handing_over: tokio::sync::Mutex<()>,
}

impl Postgres {
    fn build(from: &super::Settings<'_>) -> Result<Postgres, SettingsError> {
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
        let options = options(&server, password.as_ref(), settings.statement_s()?);
        let answer = Duration::from_secs(settings.statement_s()?) + GRACE;
        let pool = Pool::new(options.clone(), settings.connections()?, answer);
        Ok(Postgres {
            settings,
            server,
            options,
            pool,
            answer,
            dropped: Mutex::default(),
            handing_over: tokio::sync::Mutex::default(),
        })
    }

    fn parameters(&self, value: &Value) -> Result<Parameters, SettingsError> {
        Parameters::read(value, self.settings.roles.as_deref())
    }

    fn credential(&self, name: &str, password: Secret, parameters: Parameters) -> Credential {
        let at = self.server.told(self.settings.advertise.as_ref());
        let mut server = self.server.clone();
        server.database = parameters.database.or(server.database);
        let is_plain = server.security == Security::Plaintext;
        let (mode, query) = if is_plain { ("prefer", "") } else { ("verify-full", "?sslmode=verify-full") };
        let url = server.login_url("postgresql", at, name, &password, query);
        let credential = Credential::default()
            .public("username", name)
            .secret("password", password)
            .public("host", at.0)
            .public("port", at.1.to_string());
        let credential = match server.database {
            Some(database) => credential.public("database", database),
            None => credential,
        };
        credential.public("sslmode", mode).secret("url", url)
    }
}

/// How to connect. The driver takes what is not said from the environment; so everything is said.
fn options(server: &Server, password: Option<&Secret>, statement_s: u64) -> PgConnectOptions {
    let mode =
        if server.security == Security::Plaintext { PgSslMode::Disable } else { PgSslMode::VerifyFull };
    let authorities = match &server.security {
        Security::Verified { authorities: Some(pem) } => pem.clone(),
        _ => Vec::new(),
    };
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(server.port)
        .username(&server.user)
        .password(password.and_then(Secret::expose_text).unwrap_or_default())
        .database(server.database.as_deref().unwrap_or("postgres"))
        .ssl_mode(mode)
        .ssl_root_cert_from_pem(authorities)
        .application_name(APPLICATION)
        .options(sql::SESSION)
        .options([("statement_timeout", format!("{statement_s}s"))])
        .disable_statement_logging();
    options = if server.is_socket() { options.socket(&server.host) } else { options.host(&server.host) };
    options
}

impl Speaks for PgConnection {
    type Row = PgRow;

    async fn batch(&mut self, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        // Every name and value in it went through `sql::identifier` or `sql::literal`.
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(self).await
    }

    fn code(error: &dyn DatabaseError) -> String {
        error.code().unwrap_or_default().into_owned()
    }
}

/// A column of a row; all our columns are text.
fn column(row: &PgRow, index: usize) -> Result<String, ProviderError> {
    let text: Result<Option<String>, _> = row.try_get(index);
    let text =
        text.map_err(|e| ProviderError::Transient(format!("an answer that was not asked for: {e}")))?;
    Ok(text.unwrap_or_default())
}

#[async_trait]
impl Provider for Postgres {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: false,
            expires_itself: true,
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
        let (password, verifier) = new_password().await?;
        let made = self.pool.run(&sql::create(name, &verifier, request.expires, &parameters)).await;
        let rows = match made {
            // The lease's own name: an earlier try made it, and its answer was lost.
            Err(failure) if failure.is(&[code::DUPLICATE_OBJECT, code::UNIQUE_VIOLATION]) => {
                self.pool.run(&sql::adopt(name, &verifier, request.expires, &parameters)).await
            }
            made => made,
        };
        let rows = rows.map_err(|failure| self.explain(failure, &parameters))?;
        let oid = rows.first().map(|row| column(row, 0)).transpose()?;
        Ok(Issued {
            credential: self.credential(name, password, parameters),
            expires: request.expires,
            reference: oid.map(Secret::text),
        })
    }

    async fn renew(&self, held: &Held<'_>, until: Timestamp) -> Result<Timestamp, ProviderError> {
        let renewed = self.pool.run(&sql::renew(own(held.name)?, until)).await;
        match renewed {
            Ok(_) => Ok(until),
            Err(failure) if failure.is(&[code::UNDEFINED_OBJECT]) => {
                Err(ProviderError::Denied("the user is not there any more".into()))
            }
            Err(failure) => Err(classify(failure, "prolonging the user")),
        }
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        self.remove(held).await
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        let rows = self.pool.run(sql::LIST).await.map_err(|failure| classify(failure, "listing users"))?;
        let names: Result<Vec<String>, _> = rows.iter().map(|row| column(row, 0)).collect();
        Ok(names?.into_iter().filter(|name| own(name).is_ok()).collect())
    }

    async fn check(&self) -> Vec<Check> {
        self.look().await
    }
}

impl Postgres {
    /// The class of a failure to issue, with the statement that would mend it.
    fn explain(&self, failure: Failure, parameters: &Parameters) -> ProviderError {
        let is_lack = failure.is(&["42501"]);
        match classify(failure, "creating the user") {
            ProviderError::Misconfigured(text) if is_lack => {
                let groups: Vec<String> =
                    parameters.member_of.iter().map(|role| sql::identifier(role.as_ref())).collect();
                let (groups, me) = (groups.join(", "), sql::identifier(&self.server.user));
                ProviderError::Misconfigured(format!(
                    "{text}; as an administrator run: ALTER ROLE {me} CREATEROLE; \
                     GRANT {groups} TO {me} WITH ADMIN OPTION"
                ))
            }
            other => other,
        }
    }
}

/// The longest life that the target allows: as long as the broker can say.
const LONGEST_S: u32 = 10 * 366 * 86_400;

/// A new password and its verifier.
async fn new_password() -> Result<(Secret, String), ProviderError> {
    // Half a millisecond of hashing: not for the threads that answer others.
    let made = tokio::task::spawn_blocking(|| {
        let password = secret::password(PASSWORD_LENGTH);
        let verifier = scram::verifier(password.expose(), &secret::random());
        (password, verifier)
    });
    made.await.map_err(|_| ProviderError::Transient("the broker is shutting down".into()))
}
