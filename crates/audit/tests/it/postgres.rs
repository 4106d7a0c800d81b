//! The log in PostgreSQL, with the suite of the one on disk where it applies. `CLAVIGER_TEST_POSTGRES` is the URL of a
//! database that may be written to; without it the tests say so and pass.

use crate::month;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use claviger_audit::log::{AppendError, Database, Log, Options, Publish, Stamp};
use claviger_audit::note::{KeyKind, SigningKey, VerifyingKey};
use claviger_audit::pin::FilePin;
use claviger_audit::query::{self, Filter, Index};
use claviger_audit::reader::Reader;
use claviger_audit::recorder::Recorder;
use claviger_audit::tree::{Edge, leaf_hash};
use claviger_audit::verify::{Options as Verify, verify};

/// A log of its own for each test and run.
struct Fixture {
    database: Database,
    url: String,
    origin: String,
}

fn fixture(test: &str) -> Option<Fixture> {
    let Ok(url) = std::env::var("CLAVIGER_TEST_POSTGRES") else {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!is_ci, "CLAVIGER_TEST_POSTGRES is not set: `tests/run` starts a server and sets it");
        println!("skipped: CLAVIGER_TEST_POSTGRES is not set");
        return None;
    };
    let now = jiff::Timestamp::now().as_nanosecond();
    Some(Fixture {
        database: Database::connect(&url).unwrap(),
        url,
        origin: format!("audit.example/{test}/{now}"),
    })
}

fn options() -> Options {
    Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, ..Options::default() }
}

impl Fixture {
    fn key(&self) -> SigningKey {
        SigningKey::from_seed(&self.origin, KeyKind::Ed25519, &[7; 32]).unwrap()
    }

    fn keys(&self) -> Vec<VerifyingKey> {
        vec![self.key().verifying_key().clone()]
    }

    fn open(&self, options: Options) -> Log {
        Database::connect(&self.url).unwrap().open(vec![self.key()], options).unwrap()
    }

    fn verify(&self) -> u64 {
        let options = Verify { origin: self.origin.clone(), keys: self.keys(), ..Verify::default() };
        verify(&self.database.files(&self.origin), &options).unwrap().entries
    }

    fn reader(&self) -> Reader {
        Reader::open(self.database.files(&self.origin), &self.keys()).unwrap()
    }
}

#[test]
fn receipts_publication_and_opening_again() {
    let Some(fixture) = fixture("receipts") else { return };
    let log = fixture.open(options());
    for n in 0..300u32 {
        let done = log.append(n.to_string().into_bytes()).unwrap();
        done.receipt().verify(n.to_string().as_bytes(), &fixture.origin, &fixture.keys()).unwrap();
        assert_eq!(done.index(), u64::from(n));
    }
    log.publish().unwrap();
    log.append(b"behind".to_vec()).unwrap();
    drop(log);
    let log = fixture.open(options());
    assert_eq!((log.recovery().replayed, log.head().checkpoint().size), (1, 301));
    log.close().unwrap();
    assert_eq!(fixture.verify(), 301);
    let receipt = fixture.reader().receipt(12).unwrap();
    receipt.verify(b"12", &fixture.origin, &fixture.keys()).unwrap();
    let stranger = SigningKey::from_seed(&fixture.origin, KeyKind::Ed25519, &[8; 32]).unwrap();
    assert!(fixture.database.open(vec![stranger], options()).is_err());
}

#[test]
fn several_brokers_write_one_log() {
    let Some(fixture) = fixture("brokers") else { return };
    let brokers: Vec<Log> = (0..3)
        .map(|_| fixture.open(Options { publish: Publish::Every(Duration::from_millis(20)), ..options() }))
        .collect();
    let done: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..24)
            .map(|thread: usize| {
                let log = &brokers[thread % 3];
                scope.spawn(move || {
                    (0..40)
                        .map(|n| log.append(format!("{thread}/{n}").into_bytes()).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for broker in brokers {
        broker.close().unwrap();
    }
    let indexes: BTreeSet<u64> = done.iter().map(|done| done.index()).collect();
    assert_eq!((indexes.len(), indexes.last()), (960, Some(&959)));
    assert_eq!(fixture.verify(), 960);
    let reader = fixture.reader();
    let (mut edge, mut roots) = (Edge::default(), BTreeMap::new());
    for index in 0..960 {
        edge.push_hash(leaf_hash(&reader.entry(index).unwrap()));
        roots.insert(edge.size(), edge.root());
    }
    for done in &done {
        assert_eq!(reader.entry(done.index()).unwrap(), done.entry());
        let head = done.head().checkpoint();
        assert_eq!(roots[&head.size], head.root);
    }
}

#[test]
fn events_queries_and_pruning() {
    let Some(fixture) = fixture("events") else { return };
    let recorder =
        Recorder::on(fixture.open(Options { stamp: Stamp::Event, ..options() }), &Options::default())
            .unwrap();
    recorder.record_all(&month::month(6000)).unwrap();
    recorder.prune(600, None).unwrap();
    recorder.close().unwrap();
    assert_eq!(fixture.verify(), 6003 - 512);
    let filter = Filter::parse("identity=acme/shop-004").unwrap();
    let mut hits = 0;
    for index in [Index::at(fixture.database.files(&fixture.origin)), Index::none()] {
        let before = std::mem::take(&mut hits);
        query::run(&fixture.reader(), &index, &filter, 0, |_| {
            hits += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(hits > 10 && (before == 0 || before == hits));
    }
}

#[test]
fn connections_cut_at_any_time_lose_nothing() {
    let Some(fixture) = fixture("cut") else { return };
    // Only this test's connections are cut.
    let named = Database::connect(&format!("{}?application_name=cut-me", fixture.url)).unwrap();
    let often = Options { publish: Publish::Every(Duration::from_millis(10)), ..options() };
    let log = named.open(vec![fixture.key()], often).unwrap();
    let (stop, lost) = (AtomicBool::new(false), AtomicU64::new(0));
    let done: Vec<_> = std::thread::scope(|scope| {
        let _end = OnDrop(|| stop.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let pool = sqlx::PgPool::connect(&fixture.url).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(15));
                    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name = 'cut-me' AND random() < 0.5";
                    sqlx::query(cut).execute(&pool).await.ok();
                }
            });
        });
        let running: Vec<_> = (0..8)
            .map(|thread| {
                let (log, lost) = (&log, &lost);
                scope.spawn(move || {
                    let mut done = vec![];
                    for n in 0..300 {
                        match log.append(format!("{thread}/{n}").into_bytes()) {
                            Ok(appended) => done.push(appended),
                            Err(AppendError::Unavailable(_)) => drop(lost.fetch_add(1, Ordering::Relaxed)),
                            Err(other) => panic!("{other}"),
                        }
                    }
                    done
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(lost.load(Ordering::Relaxed) > 0, "no cut was felt");
    let until = Instant::now() + Duration::from_secs(20);
    while log.publish().is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(log);
    fixture.open(options()).close().unwrap();
    let reader = fixture.reader();
    for done in &done {
        assert_eq!(reader.entry(done.index()).unwrap(), done.entry());
    }
    assert!(fixture.verify() >= done.len() as u64);
    println!("{} acknowledged, {} told to try again", done.len(), lost.into_inner());
}

/// Stands between a log and its server: lets through, refuses, or swallows everything without a word.
struct Proxy {
    port: u16,
    mode: Arc<AtomicU8>,
}

const OPEN: u8 = 0;
const REFUSE: u8 = 1;
const SWALLOW: u8 = 2;

impl Proxy {
    fn before(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, mode) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU8::new(OPEN)));
        let proxy = Proxy { port, mode: Arc::clone(&mode) };
        std::thread::spawn(move || {
            let mut swallowed = vec![];
            for client in listener.incoming().map(Result::unwrap) {
                match mode.load(Ordering::Relaxed) {
                    OPEN => {
                        let server = TcpStream::connect(&server).unwrap();
                        for (mut from, mut to) in [
                            (client.try_clone().unwrap(), server.try_clone().unwrap()),
                            (server.try_clone().unwrap(), client.try_clone().unwrap()),
                        ] {
                            let mode = Arc::clone(&mode);
                            std::thread::spawn(move || pass(&mut from, &mut to, &mode));
                        }
                    }
                    REFUSE => drop(client),
                    _ => swallowed.push(client),
                }
            }
        });
        proxy
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, mode: &AtomicU8) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let got = from.read(&mut bytes);
        match mode.load(Ordering::Relaxed) {
            OPEN => {}
            REFUSE => {
                from.shutdown(std::net::Shutdown::Both).ok();
                to.shutdown(std::net::Shutdown::Both).ok();
                return;
            }
            // Never to be heard of again, as when a cable is pulled.
            _ => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
        }
        match got {
            Ok(0) => return,
            Ok(count) if to.write_all(&bytes[..count]).is_err() => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The server is out of reach, then silent. `CLAVIGER_GONE_S` says for how long (2 seconds by default).
#[test]
fn a_server_that_is_gone_for_a_while_costs_nothing() {
    let Some(fixture) = fixture("gone") else { return };
    let seconds = std::env::var("CLAVIGER_GONE_S").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let (before, rest) = fixture.url.rsplit_once('@').unwrap();
    let (server, name) = rest.split_once('/').unwrap();
    let proxy = Proxy::before(server.to_owned());
    let through = format!("{before}@127.0.0.1:{}/{name}", proxy.port);
    let often = || Options { publish: Publish::Every(Duration::from_millis(20)), ..options() };
    let log = Database::connect(&through).unwrap().open(vec![fixture.key()], often()).unwrap();
    let beside = fixture.open(often());
    let (stop, count, told) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let done: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|thread| {
                let (log, stop, count, told) = (&log, &stop, &count, &told);
                scope.spawn(move || {
                    let mut done = vec![];
                    while !stop.load(Ordering::Relaxed) {
                        match log.append(format!("{thread}/{}", done.len()).into_bytes()) {
                            Ok(appended) => done.push(appended),
                            Err(AppendError::Unavailable(_)) => {
                                told.fetch_add(1, Ordering::Relaxed);
                                std::thread::sleep(Duration::from_millis(50));
                            }
                            Err(other) => panic!("{other}"),
                        }
                        count.store(done.len() as u64, Ordering::Relaxed);
                    }
                    done
                })
            })
            .collect();
        // Whatever fails here is said: the scope waits for its threads first.
        let _end = OnDrop(|| stop.store(true, Ordering::Relaxed));
        for mode in [REFUSE, SWALLOW] {
            std::thread::sleep(Duration::from_millis(500));
            proxy.set(mode);
            std::thread::sleep(Duration::from_secs(seconds));
            // The other broker goes on, at most after the server gave up on the one that vanished.
            let waited = Instant::now();
            while let Err(e) = beside.append(b"beside".to_vec()) {
                assert!(waited.elapsed() < Duration::from_secs(40), "{e}");
            }
            proxy.set(OPEN);
            let (back, until) = (count.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(40));
            while count.load(Ordering::Relaxed) == back {
                assert!(Instant::now() < until, "the log did not come back after mode {mode}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        stop.store(true, Ordering::Relaxed);
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(told.load(Ordering::Relaxed) > 0, "nobody was told");
    drop(log);
    beside.close().unwrap();
    fixture.open(options()).close().unwrap();
    let reader = fixture.reader();
    for done in &done {
        assert_eq!(reader.entry(done.index()).unwrap(), done.entry());
    }
    assert!(fixture.verify() > done.len() as u64);
    println!("{} acknowledged, {} told to try again", done.len(), told.into_inner());
}

/// A broker opens, uses and drops its log inside an asynchronous runtime.
#[test]
fn nothing_special_is_needed_in_asynchronous_code() {
    let Some(fixture) = fixture("async") else { return };
    for runtime in [
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
    ] {
        runtime.block_on(async {
            let log = fixture.open(Options { stamp: Stamp::Event, ..options() });
            let recorder = Recorder::on(log, &Options::default()).unwrap();
            recorder.record_all(&month::month(20)).unwrap();
            recorder.close().unwrap();
            fixture.verify();
        });
    }
}

/// What is committed and not in files yet is read and verified all the same.
#[test]
fn the_tail_behind_the_files_is_seen_and_verified() {
    let Some(fixture) = fixture("tail") else { return };
    let log = fixture.open(options());
    log.append_all((0..300u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.publish().unwrap();
    log.append_all((300..310u32).map(|n| n.to_string().into_bytes())).unwrap();
    let tail = fixture.reader().tail().unwrap();
    assert_eq!((tail.len(), tail[9].0, tail[9].1.as_slice()), (10, 309, &b"309"[..]));
    let options = Verify { origin: fixture.origin.clone(), keys: fixture.keys(), ..Verify::default() };
    let files = Database::reader(&fixture.url).unwrap().files(&fixture.origin);
    let verified = verify(&files, &options).unwrap();
    assert_eq!((verified.entries, verified.tail, verified.torn_bytes), (300, 10, 0));
    assert!(fixture.database.origins().unwrap().contains(&fixture.origin));
    let change = |text: &'static str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pool = sqlx::PgPool::connect(&fixture.url).await.unwrap();
            assert!(
                sqlx::query(text).bind(&fixture.origin).execute(&pool).await.unwrap().rows_affected() > 0
            );
        });
        verify(&files, &options).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let changed = change("UPDATE claviger_audit_entry SET entry = 'x' WHERE origin = $1 AND index = 305");
    assert!(changed.contains("contradicts"), "{changed}");
    let removed = change("DELETE FROM claviger_audit_entry WHERE origin = $1 AND index = 305");
    assert!(removed.contains("out of order"), "{removed}");
    let gone = change("DELETE FROM claviger_audit_entry WHERE origin = $1");
    assert!(gone.contains("is missing"), "{gone}");
}

#[test]
fn a_restored_database_is_refused() {
    let Some(fixture) = fixture("restored") else { return };
    let dir = tempfile::tempdir().unwrap();
    let pinned = || Options { pin: Some(Box::new(FilePin::new(dir.path().join("pin")))), ..options() };
    let log = fixture.open(pinned());
    log.append_all((0..10u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.close().unwrap();
    fixture.open(pinned()).close().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = sqlx::PgPool::connect(&fixture.url).await.unwrap();
        for table in [
            "DELETE FROM claviger_audit_head WHERE origin = $1",
            "DELETE FROM claviger_audit_file WHERE origin = $1",
        ] {
            sqlx::query(table).bind(&fixture.origin).execute(&pool).await.unwrap();
        }
    });
    let error = fixture.database.open(vec![fixture.key()], pinned()).err().unwrap();
    assert!(error.to_string().contains("the log shrank"), "{error}");
}

/// A figure, not a test: `cargo test --release --features postgres --test it postgres -- --ignored --nocapture`.
#[test]
#[ignore = "a figure"]
fn events_per_second() {
    let Some(fixture) = fixture("rate") else { return };
    let log = fixture.open(Options { publish: Publish::Every(Duration::from_secs(1)), ..options() });
    let until = Instant::now() + Duration::from_secs(5);
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..256 {
            scope.spawn(|| {
                while Instant::now() < until {
                    log.append(vec![b'x'; 600]).unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("PostgreSQL, 256 callers: {} events/s", count.into_inner() / 5);
}
