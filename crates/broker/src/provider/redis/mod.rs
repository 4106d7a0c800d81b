//! Redis users: an entry of the access list (ACL) per lease, on every node.
//!
//! Access lists are replicated by nothing, so each node that jobs may reach is named and gets the user. Redis ends
//! nothing by its own clock; removing a user closes its connections in the same breath. A node that keeps its users in
//! a file (`aclfile`) is told to save it, so that a restart brings back none that was removed. One that keeps none
//! forgets the users at a restart, which fails safe; but `CONFIG REWRITE` at the wrong moment keeps them, and then the
//! sweep of what no lease knows removes them.
//!
//! The server is sent the SHA-256 of the password, which is what it keeps.

mod check;
mod node;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Cmd, Value as Answer};
use serde_json::Value;
use tokio::task::JoinSet;

use self::node::{Failure, Node, refused, texts};
use self::settings::{Parameters, Settings};
use super::database::server::{self, Expected, Security, Server, Written};
use super::database::{PASSWORD_LENGTH, own};
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError,
};
use crate::secret::{self, Secret};

/// Redis users.
pub(crate) static KIND: Kind = Kind {
    name: "redis",
    about: "a Redis user with rights on keys, channels and commands",
    variables: &[
        ("username", "REDIS_USERNAME"),
        ("password", "REDISCLI_AUTH"),
        ("host", "REDIS_HOST"),
        ("port", "REDIS_PORT"),
        ("url", "REDIS_URL"),
    ],
    example: "\
nodes: [redis-0.internal:6379, redis-1.internal:6379]
user: claviger
password: {file: /etc/claviger/redis-password}
tls: {ca_file: /etc/claviger/db-ca.pem}
",
    parameters: "\
keys: ['app:*']
channels: ['app:*']
commands: ['+@read', '+@write']
",
    build: |settings| Ok(Arc::new(Redis::build(settings)?)),
};

/// Where to find it.
const SERVER: Expected = Expected { schemes: &[], port: 6379 };
/// Nodes at most.
const MAX_NODES: usize = 64;
/// The longest life: as long as the broker can say.
const LONGEST_S: u32 = 10 * 366 * 86_400;

/// Redis servers with the same users.
struct Redis {
    settings: Settings,
    nodes: Vec<Arc<Node>>,
}

impl Redis {
    fn build(from: &super::Settings<'_>) -> Result<Redis, SettingsError> {
        let settings: Settings = SettingsError::parse(from.value)?;
        if settings.nodes.is_empty() || settings.nodes.len() > MAX_NODES {
            return Err(SettingsError::new("nodes", format!("1 to {MAX_NODES}")));
        }
        let password = server::password(settings.password.as_ref(), from.secrets)?;
        let node = |(index, address): (usize, &String)| {
            let wrong = |what: &str| SettingsError::new(format!("nodes[{index}]"), what);
            let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("`HOST:PORT`"))?;
            let port = port.parse().map_err(|_| wrong("`HOST:PORT`"))?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let written = Written {
                url: None,
                host: Some(host),
                port: Some(port),
                user: Some(&settings.user),
                database: None,
                tls: settings.tls.as_ref(),
            };
            let server = Server::read(&written, &SERVER)?;
            Node::new(server, password.as_ref(), settings.open_default_user.is_some()).map(Arc::new)
        };
        let nodes: Result<Vec<_>, _> = settings.nodes.iter().enumerate().map(node).collect();
        Ok(Redis { nodes: nodes?, settings })
    }

    fn credential(&self, name: &str, password: Secret, parameters: &Parameters) -> Credential {
        let mut first = self.nodes[0].server.clone();
        first.database = Some(parameters.database.to_string());
        let at = first.told(self.settings.advertise.as_ref());
        let scheme = if first.security == Security::Plaintext { "redis" } else { "rediss" };
        let url = first.login_url(scheme, at, name, &password, "");
        let nodes: Vec<String> = self.nodes.iter().map(|node| node.name()).collect();
        Credential::default()
            .public("username", name)
            .secret("password", password)
            .public("host", at.0)
            .public("port", at.1.to_string())
            .public("nodes", nodes.join(","))
            .secret("url", url)
    }

    /// Asks every node at once; how it went for each, in their order.
    async fn everywhere<F>(&self, ask: impl Fn(Arc<Node>) -> F) -> Vec<Result<F::Output, ProviderError>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let asked = ask(Arc::clone(node));
            tasks.spawn(async move { (index, asked.await) });
        }
        let mut done: Vec<_> = Vec::new();
        done.resize_with(self.nodes.len(), || {
            Err(ProviderError::Ambiguous("the broker is shutting down".into()))
        });
        while let Some(task) = tasks.join_next().await {
            if let Ok((index, outcome)) = task {
                done[index] = Ok(outcome);
            }
        }
        done
    }
}

/// `ACL` with these words.
fn acl(words: &[&str]) -> Cmd {
    let mut command = redis::cmd("ACL");
    command.arg(words);
    command
}

#[async_trait]
impl Provider for Redis {
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
        Parameters::read(parameters).map(drop)
    }

    async fn issue(&self, request: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        let name = own(request.name)?;
        let parameters =
            Parameters::read(request.parameters).map_err(|e| ProviderError::Misconfigured(e.to_string()))?;
        let password = secret::password(PASSWORD_LENGTH);
        let mut command = acl(&["SETUSER", name]);
        command.arg(parameters.rules(&password));
        let done = self.everywhere(|node| make(node, command.clone())).await;
        issued_everywhere(&self.nodes, done)?;
        Ok(Issued {
            credential: self.credential(name, password, &parameters),
            expires: request.expires,
            reference: None,
        })
    }

    async fn renew(&self, held: &Held<'_>, until: Timestamp) -> Result<Timestamp, ProviderError> {
        // The end is the broker's alone: there is nothing to change at the servers.
        let name = own(held.name)?.to_owned();
        let done = self.everywhere(|node| exists(node, name.clone())).await;
        for (node, outcome) in self.nodes.iter().zip(done) {
            let doing = format!("prolonging the user on {}", node.name());
            if !outcome?.map_err(|failure| failure.classify(&doing))? {
                return Err(ProviderError::Denied(format!(
                    "the user is not there any more on {}",
                    node.name()
                )));
            }
        }
        Ok(until)
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        let name = own(held.name)?.to_owned();
        let done = self.everywhere(|node| remove(node, name.clone())).await;
        for (node, outcome) in self.nodes.iter().zip(done) {
            outcome?
                .map_err(|failure| failure.classify(&format!("removing the user from {}", node.name())))?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        let done = self.everywhere(|node| async move { node.run(&[acl(&["USERS"])]).await }).await;
        let mut names = Vec::new();
        for (node, outcome) in self.nodes.iter().zip(done) {
            let doing = format!("listing users of {}", node.name());
            let answers = outcome?.map_err(|failure| failure.classify(&doing))?;
            for answer in answers {
                let answer = answer.map_err(|error| refused(&error, &doing).classify(&doing))?;
                names.extend(texts(&answer).into_iter().filter(|name| own(name).is_ok()));
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn check(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for node in &self.nodes {
            checks.extend(check::look(node).await);
        }
        checks.push(Check::good("ends nothing by its own clock: users live until the broker removes them"));
        checks
    }
}

/// Makes a user, and saves it where that can be.
async fn make(node: Arc<Node>, command: Cmd) -> Result<(), Failure> {
    let may_save = node.may_save();
    let mut commands = vec![command];
    commands.extend(may_save.then(|| acl(&["SAVE"])));
    let mut answers = node.run(&commands).await?.into_iter();
    if let Some(Err(error)) = answers.next() {
        return Err(refused(&error, "creating the user"));
    }
    match answers.next() {
        Some(answer) => node.saved(answer),
        None => Ok(()),
    }
}

/// Removes a user and its connections, and makes sure that it is gone.
async fn remove(node: Arc<Node>, name: String) -> Result<(), Failure> {
    let mut end = redis::cmd("CLIENT");
    end.arg("KILL").arg("USER").arg(&name);
    let mut commands = vec![end, acl(&["DELUSER", &name]), acl(&["GETUSER", &name])];
    commands.extend(node.may_save().then(|| acl(&["SAVE"])));
    let mut answers = node.run(&commands).await?.into_iter();
    // An error when there is no such user; and removing the user closes its connections, too.
    let _ended = answers.next();
    if let Some(Err(error)) = answers.next() {
        return Err(refused(&error, "removing the user"));
    }
    match answers.next() {
        Some(Ok(Answer::Nil)) => {}
        Some(Err(error)) => return Err(refused(&error, "making sure that the user is gone")),
        _ => return Err(Failure::Refused(ProviderError::Transient("the user is there again".into()))),
    }
    match answers.next() {
        Some(answer) => node.saved(answer),
        None => Ok(()),
    }
}

/// Whether there is such a user.
async fn exists(node: Arc<Node>, name: String) -> Result<bool, Failure> {
    match node.run(&[acl(&["GETUSER", &name])]).await?.pop() {
        Some(Ok(answer)) => Ok(answer != Answer::Nil),
        Some(Err(error)) => Err(refused(&error, "looking for the user")),
        None => Err(Failure::Silent("no answer".into())),
    }
}

/// What making a user came to. When some nodes have it and others do not, it is not known to have failed: it has to be
/// removed.
fn issued_everywhere(
    nodes: &[Arc<Node>],
    done: Vec<Result<Result<(), Failure>, ProviderError>>,
) -> Result<(), ProviderError> {
    let mut failures = Vec::new();
    let mut is_anywhere = false;
    for (node, outcome) in nodes.iter().zip(done) {
        match outcome? {
            Ok(()) => is_anywhere = true,
            Err(failure) => {
                is_anywhere |= matches!(failure, Failure::Silent(_));
                failures.push(failure.classify(&format!("creating the user on {}", node.name())));
            }
        }
    }
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) if is_anywhere && nodes.len() > 1 => {
            Err(ProviderError::Ambiguous(format!("some nodes have the user, others do not: {first}")))
        }
        Some(first) => Err(first),
    }
}
