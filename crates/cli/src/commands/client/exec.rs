//! `claviger exec`: a credential for one program, gone when that ends.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use claviger_broker::client::Broker;
use claviger_broker::client::handover::Variable;
use claviger_broker::client::keeper::{Keeper, News};
use claviger_broker::client::variables::{Choice, variables};
use claviger_broker::server::wire::ReceivedLease;
use claviger_broker::ttl::Ttl;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::job::{obtain, usual};
use super::{address, connect, harden, runtime, steps};
use crate::args_client::Exec;
use crate::warn;

/// There was no credential: nothing was run.
const NO_CREDENTIAL: u8 = 125;
/// The program is there and cannot be run.
const NOT_RUNNABLE: u8 = 126;
/// The program is not there.
const NOT_FOUND: u8 = 127;
/// The broker is told at least this often that somebody is there.
const HEARTBEAT: &str = "60s";

/// By which a CI proves a job's identity: whoever has them can ask for more, so the program does not get them.
const IDENTITY: &[&str] = &[
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "CIRCLE_OIDC_TOKEN",
    "CIRCLE_OIDC_TOKEN_V2",
    "BITBUCKET_STEP_OIDC_TOKEN",
    "SYSTEM_ACCESSTOKEN",
    "TFC_WORKLOAD_IDENTITY_TOKEN",
    "CLAVIGER_ID_TOKEN",
    "CLAVIGER_ID_TOKEN_FILE",
    "CLAVIGER_HANDLE",
];

/// Runs the program with the credential; gives the status to exit with.
pub(crate) fn run(args: &Exec) -> u8 {
    harden();
    let started = runtime().and_then(|runtime| {
        let url = address(&args.reach, None)?;
        let broker = connect(&args.reach, None)?;
        Ok((runtime, url, broker))
    });
    let (runtime, url, broker) = match started {
        Ok(started) => started,
        Err(error) => return refused(&error),
    };
    runtime.block_on(async {
        let mut leases = Vec::new();
        let ran = supervise(args, &broker, &url, &mut leases).await;
        give_back(&broker, &leases).await;
        match ran {
            Ok(code) => code,
            Err(error) => refused(&error),
        }
    })
}

fn refused(error: &anyhow::Error) -> u8 {
    warn(&format!("{error:#}"));
    NO_CREDENTIAL
}

/// Obtains the credentials, runs the program, and waits for its end. What was leased is in `leases` whatever happens.
async fn supervise(
    args: &Exec,
    broker: &Broker,
    url: &str,
    leases: &mut Vec<ReceivedLease>,
) -> anyhow::Result<u8> {
    let promised: Ttl = HEARTBEAT.parse().context("a constant")?;
    let folder = tempfile::Builder::new().prefix("claviger-").tempdir().context("no folder for files")?;
    // Caught from here on: a job that is cancelled now must still give back what it gets.
    let mut signals = Signals::new()?;
    let mut wanted: Vec<Variable> = Vec::new();
    for role in &args.role {
        let mut received = tokio::select! {
            received = obtain(broker, url, role, &args.ask, Some(promised)) => received?,
            signal = signals.next() => bail!("stopped by {signal:?} before the program was started"),
        };
        let lease = std::mem::replace(&mut received.lease, ReceivedLease::nothing());
        let names = usual(&lease.kind);
        leases.push(lease);
        wanted.extend(chosen(&received, args, names)?);
    }
    let mut command = command(args);
    for variable in &wanted {
        if args.file.iter().any(|choice| choice.name == variable.name) {
            let path = folder.path().join(&variable.name);
            steps::write_private(&path, variable.value.expose()).context("a file of the credential")?;
            command.env(&variable.name, path);
        } else {
            let text = variable.value.expose_text();
            let text = text.with_context(|| {
                format!("`{}` is no text; hand it over as a file: --file {0}=FIELD", variable.name)
            })?;
            command.env(&variable.name, text);
        }
    }
    drop(wanted);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            warn(&format!("cannot run `{}`: {error}", args.command[0].display()));
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(if missing { NOT_FOUND } else { NOT_RUNNABLE });
        }
    };
    // The environment of the command is a copy of the credential.
    drop(command);
    let keepers = leases.iter().map(|lease| Keeper::new(broker, lease, Timestamp::now(), Some(promised)));
    let kept = keepers.map(|keeper| keeper.run(Timestamp::now, tell)).collect::<Vec<_>>();
    let status = tokio::select! {
        status = wait(&mut child, &mut signals, args.grace.duration()) => status?,
        never = all(kept) => never,
    };
    Ok(exit_code(status))
}

/// Runs all of the futures, and never ends.
async fn all(keepers: Vec<impl Future<Output = ()>>) -> ExitStatus {
    let mut running: Vec<_> = keepers.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        running.retain_mut(|keeper| keeper.as_mut().poll(context).is_pending());
        std::task::Poll::Pending
    })
    .await
}

/// The variables and files that were asked for; every field, if nothing was.
fn chosen(
    received: &claviger_broker::server::wire::ReceivedExchange,
    args: &Exec,
    usual: &[(&str, &str)],
) -> anyhow::Result<Vec<Variable>> {
    let asked: Vec<Choice> = args.ask.variables.iter().chain(&args.file).cloned().collect();
    Ok(variables(received, &asked, usual)?)
}

fn command(args: &Exec) -> Command {
    let [program, arguments @ ..] = args.command.as_slice() else {
        // clap requires at least one word.
        return Command::new(OsString::new());
    };
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    if !args.keep_identity {
        for name in IDENTITY {
            command.env_remove(name);
        }
    }
    command
}

/// Waits for the program; passes signals on. After the first, it has `grace` to end by itself.
async fn wait(child: &mut Child, signals: &mut Signals, grace: Duration) -> anyhow::Result<ExitStatus> {
    let mut deadline = None;
    loop {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => return status.context("the program"),
            received = signals.next() => {
                pass_on(child, received);
                if received != Signal::HUP {
                    deadline.get_or_insert_with(|| tokio::time::Instant::now() + grace);
                }
            }
            () = late => {
                warn("the program did not end in time: it is killed, and the credential given back");
                child.kill().await.context("cannot kill the program")?;
                return child.wait().await.context("the program");
            }
        }
    }
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended at this moment.
        let _ = kill_process(pid, signal);
    }
}

/// The signals by which CIs and people end a job.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Signals {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

/// Gives the leases back. Whatever fails here is ended by the broker, which hears no heartbeat any more.
async fn give_back(broker: &Broker, leases: &[ReceivedLease]) {
    for lease in leases {
        if let Err(error) = broker.revoke(&lease.handle).await {
            warn(&format!(
                "lease {} was not given back, and ends by silence or at its time: {error}",
                lease.id
            ));
        }
    }
}

fn tell(news: News) {
    match news {
        News::Renewed(_) => {}
        News::Failing(error) => warn(&format!("the lease could not be renewed yet: {error}")),
        News::Last(error) => warn(&format!("the lease cannot be renewed further: {error}")),
        News::Gone(error) => warn(&format!("the credential was taken away: {error}")),
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}
