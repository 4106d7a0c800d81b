//! `claviger audit bench`: what the log does on this machine, each figure about durability beside what the disk does.

use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use claviger_audit::event::{Action, Decision, Event, Expired, Issued, Outcome as How, Target, Used, Who};
use claviger_audit::files::{Directory, Files};
use claviger_audit::log::{Appended, Log, Options, Publish};
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::query::{self, Filter, Index};
use claviger_audit::reader::Reader;
use claviger_audit::receipt::Receipt;
use claviger_audit::recorder::{RecordError, Recorder};
use claviger_audit::report::{Config, Period, Report, Rows, html};
use claviger_audit::verify;

use super::place::{Place, append_to};
use crate::Outcome;
use crate::args_audit::Bench;
use crate::commands::print;

/// Callers that append at the same time.
const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// Clients behind one thread that batches for them, as in a broker.
const CLIENTS: usize = 64;
/// The first event's time, in seconds since 1970.
const START_S: i64 = 1_793_491_200;

pub(super) fn run(args: &Bench) -> anyhow::Result<Outcome> {
    if let Some(database) = &args.database {
        let Place::Database(url) = Place::of(database)? else {
            bail!("--database: postgres://HOST/DATABASE")
        };
        let origin = format!("bench.example/{}", jiff::Timestamp::now().as_nanosecond());
        let log = append_to(&url, vec![key(&origin)?], Options::default())?;
        print(&format!("log {origin}, which stays in the database\n"))?;
        appends(&log, 256, args.seconds, None)?;
        log.close()?;
        return Ok(Outcome::Clean);
    }
    let dir = tempfile::tempdir_in(&args.dir).with_context(|| args.dir.display().to_string())?;
    for callers in CALLERS {
        let path = dir.path().join(format!("append-{callers}"));
        std::fs::create_dir(&path)?;
        let bare = bare_sync(dir.path(), callers * event(0).encode()?.len())?;
        let log = Log::create(files(&path), key("bench.example/append")?, Options::default())?;
        appends(&log, callers, args.seconds, Some(bare))?;
        log.close()?;
    }
    batched(dir.path(), args.seconds)?;
    answers(dir.path(), args.events)?;
    Ok(Outcome::Clean)
}

fn key(origin: &str) -> anyhow::Result<SigningKey> {
    Ok(SigningKey::generate(origin, KeyKind::Ed25519)?)
}

fn files(path: &Path) -> Arc<dyn Files> {
    Arc::new(Directory::new(path))
}

/// One write and one sync, in the median of many.
fn bare_sync(dir: &Path, bytes: usize) -> anyhow::Result<Duration> {
    let mut file = File::create(dir.join("bare"))?;
    let block = vec![7; bytes];
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(quantile(&mut times, 0.5))
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or_default()
}

/// Callers that each append one event after the other.
fn appends(log: &Log, callers: usize, seconds: u64, bare: Option<Duration>) -> anyhow::Result<()> {
    let body = event(0).encode()?;
    let (start, until) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let caller = || -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            log.append(body.clone())?;
            times.push(begun.elapsed());
        }
        Ok(times)
    };
    let times: anyhow::Result<Vec<Vec<Duration>>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a caller ended"))).collect()
    });
    let mut times = times?.concat();
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let floor = bare.map_or_else(String::new, |bare| format!("; a bare sync of as many bytes {bare:?}"));
    print(&format!(
        "append, {callers} callers: {rate:.0} events/s durable, p50 {:?}, p99 {:?}{floor}\n",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99)
    ))
}

/// One thread records whatever waits, in one go, for clients that each wait for theirs.
fn batched(dir: &Path, seconds: u64) -> anyhow::Result<()> {
    type Answer = Result<Appended, String>;
    let path = dir.join("batched");
    std::fs::create_dir(&path)?;
    let recorder = Recorder::create(files(&path), key("bench.example/batched")?, Options::default(), None)?;
    let (start, until) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let (send, asked) = mpsc::channel::<(Event, mpsc::Sender<Answer>)>();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let recorder = &recorder;
        scope.spawn(move || {
            while let Ok(first) = asked.recv() {
                let waiting: Vec<_> = std::iter::once(first).chain(asked.try_iter()).collect();
                let (events, callers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
                let done: Result<Vec<Appended>, RecordError> = recorder.record_all(&events);
                match done {
                    Ok(done) => callers.iter().zip(done).for_each(|(caller, one)| drop(caller.send(Ok(one)))),
                    Err(e) => callers.iter().for_each(|caller| drop(caller.send(Err(e.to_string())))),
                }
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let send = send.clone();
                scope.spawn(move || {
                    let (mut times, (back, answer)) = (Vec::new(), mpsc::channel());
                    while Instant::now() < until {
                        let begun = Instant::now();
                        let sent = send.send((event(client as u64), back.clone()));
                        if sent.is_err() || !matches!(answer.recv(), Ok(Ok(_))) {
                            break;
                        }
                        times.push(begun.elapsed());
                    }
                    times
                })
            })
            .collect();
        drop(send);
        clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect()
    });
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    recorder.close()?;
    print(&format!(
        "append, one batching thread for {CLIENTS} clients: {rate:.0} events/s durable, p50 {:?}, p99 {:?}\n",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99)
    ))
}

/// Verification, a receipt, a query and a report.
fn answers(dir: &Path, count: u64) -> anyhow::Result<()> {
    let path = dir.join("answers");
    std::fs::create_dir(&path)?;
    let key = key("bench.example/answers")?;
    let keys = [key.verifying_key().clone()];
    let options = Options { publish: Publish::Every(Duration::from_secs(1)), ..Options::default() };
    let recorder = Recorder::create(files(&path), key, options, None)?;
    for start in (0..count).step_by(10_000) {
        let events: Vec<Event> = (start..count.min(start + 10_000)).map(event).collect();
        recorder.record_all(&events)?;
    }
    recorder.close()?;

    let start = Instant::now();
    let options = verify::Options { keys: keys.to_vec(), ..verify::Options::default() };
    let verified = verify::verify(&files(&path), &options)?;
    let (entries, mb) = (verified.entries, verified.bytes / 1_000_000);
    print(&format!("verify: {entries} entries, {mb} MB hashed, in {:?}\n", start.elapsed()))?;

    let reader = Reader::open(files(&path), &keys)?;
    let (entry, text) = (reader.entry(count / 2)?, reader.receipt(count / 2)?.to_string());
    let start = Instant::now();
    text.parse::<Receipt>()?.verify(&entry, &reader.meta().origin, &keys)?;
    print(&format!("a receipt, read and verified offline: {:?}\n", start.elapsed()))?;

    let filter = Filter::parse("identity=acme/app-042")?;
    let index = Index::at(files(&path));
    for state in ["while the index is made", "with the index"] {
        let (start, mut hits) = (Instant::now(), 0);
        query::run(&reader, &index, &filter, 0, |_| {
            hits += 1;
            ControlFlow::Continue(())
        })?;
        print(&format!("query by identity, {state}: {hits} hits in {:?}\n", start.elapsed()))?;
    }

    let start = Instant::now();
    let rows = Rows::read(&reader)?;
    let period = Period::until(i64::MAX);
    let report = Report::of(&rows, reader.head().checkpoint(), &period, &Config::default());
    let page = html(&report);
    print(&format!(
        "report over {} events, a page of {} kB: {:?}\n",
        report.events,
        page.len() / 1000,
        start.elapsed()
    ))
}

/// One of many events: 200 identities, five steps a lease, spread over a month at a million.
fn event(number: u64) -> Event {
    let (lease, step) = (number / 5, number % 5);
    let who = lease * 7 % 200;
    let second = START_S + (number * 2592 / 1000) as i64;
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let (action, outcome) = match step {
        0 if lease % 11 == 3 => (Action::Decision(Decision::default()), How::Refused),
        0 => (Action::Decision(Decision::default()), How::Success),
        1 => (Action::Issued(Issued { kind: Some("sts".into()), ..Issued::default() }), How::Success),
        4 => (Action::Expired(Expired::default()), How::Success),
        _ => (Action::Used(Used::default()), How::Success),
    };
    let mut event = Event::new(time, action, outcome);
    event.who = Who {
        issuer: Some("https://token.actions.githubusercontent.com".into()),
        subject: Some(format!("repo:acme/app-{who:03}:ref:refs/heads/main")),
        repository: Some(format!("acme/app-{who:03}")),
        reference: Some("refs/heads/main".into()),
        workflow: Some(".github/workflows/deploy.yml".into()),
        job: Some("deploy".into()),
        run_id: Some((9_000_000_000 + lease).to_string()),
        actor: Some("octo".into()),
        ..Who::default()
    };
    event.target = Target {
        provider: Some(["aws", "gcp", "azure", "postgres"][(who % 4) as usize].into()),
        environment: Some(["prod", "staging"][(who % 2) as usize].into()),
        role: Some(["deploy", "migrate", "read", "plan", "publish"][(who % 5) as usize].into()),
        ..Target::default()
    };
    event.source = Some(format!("10.0.{}.{}", who / 16, who % 16));
    event.lease = Some(format!("lease-{lease:016x}"));
    event.ttl_s = Some(900);
    event.correlation = Some(format!("req-{lease:016x}"));
    event
}
