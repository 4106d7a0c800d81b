//! `claviger serve`: the broker as a service.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use claviger_audit::clock::SystemClock;
use claviger_broker::config::Config;
use claviger_broker::config::secrets::Secrets;
use claviger_broker::run::dev::DevIssuer;
use claviger_broker::run::{Running, Surroundings, start};
use tokio::signal::unix::SignalKind;
use tracing_subscriber::EnvFilter;

use super::client::harden;
use super::ends::{Ends, catch};
use crate::args_serve::{LogFormat, Serve};
use crate::commands::print;
use crate::{Outcome, warn};

/// Where `--dev` listens.
const DEV_ADDRESS: &str = "127.0.0.1:8700";

/// Serves until a signal ends it.
pub(crate) fn run(args: &Serve) -> anyhow::Result<Outcome> {
    harden();
    log(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async { if args.dev { dev(args).await } else { serve(args).await } })
}

/// The service's own log goes to standard error; it holds no secret and no claim's value that its owner may not see.
fn log(args: &Serve) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).with_context(|| format!("--log {}", args.log))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let done = match args.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

async fn serve(args: &Serve) -> anyhow::Result<Outcome> {
    let mut config = Config::read(&args.config)?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    for problem in &config.delegated_problems {
        warn(&problem.to_string());
    }
    let around = Surroundings::new(secrets(&config), Arc::new(SystemClock));
    // Caught from here on: a signal during the start must not leave half of it.
    let (mut hangup, mut ends) = (catch(SignalKind::hangup())?, Ends::new()?);
    let running = start(&config, around).await?;
    if args.check {
        running.stop().await;
        print("the broker can start\n")?;
        return Ok(Outcome::Clean);
    }
    tracing::info!(address = %running.address(), roles = config.policy.len(), "serving");
    loop {
        tokio::select! {
            () = ends.next() => break,
            _ = hangup.recv() => reload(&running, &args.config).await,
        }
    }
    tracing::info!("stopping: requests under way are finished");
    running.stop().await;
    Ok(Outcome::Clean)
}

/// Reads the configuration again. What is wrong with it leaves the old one in place.
async fn reload(running: &Running, path: &Path) {
    let reloaded = match Config::read(path) {
        Ok(config) => {
            let secrets = secrets(&config);
            running.reload(&config, secrets).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match reloaded {
        Ok(()) => tracing::info!("issuers, policy and providers were read again"),
        Err(error) => tracing::error!(%error, "the configuration was not taken; the old one goes on"),
    }
}

fn secrets(config: &Config) -> Arc<Secrets> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Arc::new(config.secrets(Box::new(environment)))
}

/// A broker that keeps nothing, with an issuer of its own.
async fn dev(args: &Serve) -> anyhow::Result<Outcome> {
    let listen = match args.listen {
        Some(listen) => listen,
        None => DEV_ADDRESS.parse::<SocketAddr>().context("a constant")?,
    };
    if !listen.ip().is_loopback() || listen.port() == 0 {
        bail!(
            "--dev gives tokens to whoever asks: it listens on a loopback address, with a port of your choice"
        );
    }
    let broker = format!("http://{listen}");
    let folder = tempfile::Builder::new().prefix("claviger-dev-").tempdir().context("no folder")?;
    let issuer = Arc::new(DevIssuer::new(&broker, Arc::new(SystemClock))?);
    let write = |name: &str, content: &[u8]| {
        super::client::write_private(&folder.path().join(name), content).with_context(|| name.to_owned())
    };
    write("jwks.json", issuer.jwks().to_string().as_bytes())?;
    write("ca", claviger_broker::run::dev::ssh_authority()?.expose())?;
    let text = issuer.config(&listen.to_string(), folder.path());
    let config = Config::parse("--dev", text, folder.path())?;
    let around = Surroundings {
        ephemeral: true,
        routes: issuer.router(),
        ..Surroundings::new(secrets(&config), Arc::new(SystemClock))
    };
    let mut ends = Ends::new()?;
    let running = start(&config, around).await?;
    print(&format!(
        "A broker to try things out, on {broker}. It keeps nothing, and gives a token to whoever asks.\n\n\
         In another terminal, be a CI job and log in somewhere with what it gets:\n\n  \
         export CLAVIGER_BROKER={broker}\n  \
         export CLAVIGER_ID_TOKEN=$(curl -s {broker}/dev/token)\n  \
         ssh-keygen -q -t ed25519 -N '' -f /tmp/id\n  \
         claviger exchange --role demo --input public_key=@/tmp/id.pub --format json\n\n\
         The same token once more is refused. Other claims: {broker}/dev/token?ref=refs/heads/x&repository_id=2\n\
         Ctrl-C ends it.\n"
    ))?;
    ends.next().await;
    running.stop().await;
    Ok(Outcome::Clean)
}
