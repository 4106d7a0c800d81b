//! One Redis server: a connection that all share, and what its failures mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::provider::database::server::{Security, Server};
use crate::provider::database::{CONNECT, STATEMENT_S, said};
use crate::provider::{ProviderError, SettingsError};
use crate::secret::Secret;

/// Codes of errors after which the same command may succeed later.
const PASSING: [&str; 8] =
    ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "MISCONF", "READONLY"];

/// Why a node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing was sent.
    Unreachable(String),
    /// Nothing was sent: it must not be used like this.
    Unfit(String),
    /// It says no.
    Refused(ProviderError),
    /// It was sent, and no answer came.
    Silent(String),
}

impl Failure {
    /// Its class, for a single node.
    pub(super) fn classify(self, doing: &str) -> ProviderError {
        match self {
            Failure::Unreachable(words) => ProviderError::Transient(format!("{doing}: {words}")),
            Failure::Unfit(words) => ProviderError::Misconfigured(format!("{doing}: {words}")),
            Failure::Refused(error) => error,
            Failure::Silent(words) => ProviderError::Ambiguous(format!("{doing}: {words}")),
        }
    }
}

/// A server.
pub(super) struct Node {
    pub(super) server: Server,
    client: Client,
    /// Whether its default user may be open to everybody.
    may_be_open: bool,
    /// Held while connecting, so that many callers make one connection.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// It keeps its users in no file, so that nothing can be saved.
    keeps_no_file: AtomicBool,
}

impl Node {
    /// Prepares to speak to a server; does not connect.
    ///
    /// # Errors
    /// The authorities' certificates cannot be used.
    pub(super) fn new(
        server: Server,
        password: Option<&Secret>,
        may_be_open: bool,
    ) -> Result<Node, SettingsError> {
        let client =
            client(&server, password).map_err(|e| SettingsError::new("tls", said(&e.to_string())))?;
        Ok(Node {
            server,
            client,
            may_be_open,
            connection: Mutex::new(None),
            keeps_no_file: AtomicBool::new(false),
        })
    }

    /// Its name, for operators.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.server.host, self.server.port)
    }

    /// Runs commands as one message; an answer or an error for each. They must be repeatable: when a connection that
    /// was there before breaks, they are sent again on a new one.
    ///
    /// # Errors
    /// No answers came.
    pub(super) async fn run(&self, commands: &[Cmd]) -> Result<Vec<Result<Value, RedisError>>, Failure> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let (mut connection, is_new) = self.connection().await?;
        match pipeline.query_async(&mut connection).await {
            Ok(answers) => return Ok(answers),
            Err(error) if !is_new && error.is_connection_dropped() => self.forget().await,
            Err(error) => {
                self.forget().await;
                return Err(Failure::Silent(said(&error.to_string())));
            }
        }
        let (mut connection, _) = self.connection().await?;
        match pipeline.query_async(&mut connection).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                self.forget().await;
                Err(Failure::Silent(said(&error.to_string())))
            }
        }
    }

    /// The connection, and whether it was made just now.
    async fn connection(&self) -> Result<(MultiplexedConnection, bool), Failure> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok((connection.clone(), false));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(Duration::from_secs(STATEMENT_S)));
        let made = timeout(CONNECT, self.client.get_multiplexed_async_connection_with_config(&config)).await;
        let late = |_| Failure::Unreachable(format!("no connection within {} s", CONNECT.as_secs()));
        let mut connection = made.map_err(late)?.map_err(|error| unconnected(&error))?;
        if !self.may_be_open {
            refuse_open_default_user(&mut connection).await?;
        }
        // It may have been restarted with another configuration.
        self.keeps_no_file.store(false, Ordering::Relaxed);
        *held = Some(connection.clone());
        Ok((connection, true))
    }

    /// Drops the connection, so that the next caller makes a new one.
    pub(super) async fn forget(&self) {
        self.connection.lock().await.take();
    }

    /// Whether users are worth saving.
    pub(super) fn may_save(&self) -> bool {
        !self.keeps_no_file.load(Ordering::Relaxed)
    }

    /// What became of `ACL SAVE`. A server that keeps its users in no file has nothing to save; it says so in words
    /// only, with the code of every other error.
    ///
    /// # Errors
    /// It could not save.
    pub(super) fn saved(&self, answer: Result<Value, RedisError>) -> Result<(), Failure> {
        match answer {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .detail()
                    .is_some_and(|words| words.contains("not configured to use an ACL file")) =>
            {
                self.keeps_no_file.store(true, Ordering::Relaxed);
                Ok(())
            }
            // The disk is full, for example. The user that was removed would be back after a restart.
            Err(error) if error.code() == Some("ERR") => {
                let text = format!("saving users: {}", said(&error.to_string()));
                Err(Failure::Refused(ProviderError::Transient(text)))
            }
            Err(error) => Err(refused(&error, "saving users")),
        }
    }
}

/// What an error among the answers means.
pub(super) fn refused(error: &RedisError, doing: &str) -> Failure {
    let text = format!("{doing}: the server says: {}", said(&error.to_string()));
    let is_passing = error.code().is_some_and(|code| PASSING.contains(&code));
    Failure::Refused(if is_passing {
        ProviderError::Transient(text)
    } else {
        ProviderError::Misconfigured(text)
    })
}

fn client(server: &Server, password: Option<&Secret>) -> Result<Client, RedisError> {
    let (host, port) = (server.host.clone(), server.port);
    let mut settings = RedisConnectionInfo::default().set_username(&server.user).set_skip_set_lib_name();
    if let Some(password) = password.and_then(Secret::expose_text) {
        settings = settings.set_password(password);
    }
    match &server.security {
        Security::Plaintext => {
            let info = ConnectionAddr::Tcp(host, port).into_connection_info()?;
            Client::open(info.set_redis_settings(settings))
        }
        Security::Verified { authorities } => {
            let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
            let info = address.into_connection_info()?.set_redis_settings(settings);
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: authorities.clone() })
        }
    }
}

/// Why there is no connection.
fn unconnected(error: &RedisError) -> Failure {
    let words = said(&error.to_string());
    match error.kind() {
        ErrorKind::AuthenticationFailed => Failure::Unfit(words),
        ErrorKind::Server(kind) if kind != ServerErrorKind::ResponseError => refused(error, "connecting"),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::InvalidClientConfig => Failure::Unfit(words),
        // This is how the TLS library says that it does not trust the certificate.
        ErrorKind::Io if is_untrusted(error) => Failure::Unfit(format!("TLS: {words}")),
        _ => Failure::Unreachable(words),
    }
}

fn is_untrusted(error: &RedisError) -> bool {
    // The library keeps the cause in an `Arc`, and shows that as the source.
    let source = std::error::Error::source(error).and_then(|it| it.downcast_ref::<Cause>());
    let io = source.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData)
}

/// How the library keeps the cause of an error.
type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A client whose login failed goes on as the default user: when that one is open, every wrong password has its rights.
async fn refuse_open_default_user(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let mut ask = redis::cmd("ACL");
    ask.arg("GETUSER").arg("default");
    let answer: Value = match ask.query_async(connection).await {
        Ok(answer) => answer,
        Err(error) if error.is_io_error() => return Err(Failure::Unreachable(said(&error.to_string()))),
        Err(error) => return Err(refused(&error, "looking at the default user")),
    };
    let flags = member(&answer, "flags").map(texts).unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    if has("on") && has("nopass") {
        return Err(Failure::Unfit(OPEN.into()));
    }
    Ok(())
}

/// What is wrong with an open default user, and the way out.
pub(super) const OPEN: &str = "its default user is on and needs no password: whoever fails to log in has its rights; run: \
    ACL SETUSER default off (or give it a password), or write `open_default_user: accepted`";

/// A member of an answer that is a list of names and values.
pub(super) fn member<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    match answer {
        Value::Array(items) => {
            let mut pairs = items.chunks_exact(2);
            pairs.find(|pair| text(&pair[0]).as_deref() == Some(name)).map(|pair| &pair[1])
        }
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| text(key).as_deref() == Some(name)).map(|(_, value)| value)
        }
        _ => None,
    }
}

/// A text of an answer.
pub(super) fn text(value: &Value) -> Option<String> {
    redis::from_redis_value_ref(value).ok()
}

/// A list of texts of an answer.
pub(super) fn texts(value: &Value) -> Vec<String> {
    redis::from_redis_value_ref(value).unwrap_or_default()
}
