//! The figures of the log. Run with `cargo bench -p claviger-audit`; a filter names one, `CLAVIGER_EVENTS` sets the
//! size of the big log (1,000,000 by default; the first run makes it under the system's temporary directory).
//!
//! Each figure about durability is printed beside what a bare write and sync of the same bytes takes on that disk.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and may panic")]

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use claviger_audit::event::Event;
use claviger_audit::files::{Directory, Files};
use claviger_audit::log::{Log, Options, Publish};
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::query::{self, Filter, Index};
use claviger_audit::reader::Reader;
use claviger_audit::receipt::Receipt;
use claviger_audit::recorder::Recorder;
use claviger_audit::report::{Config, Period, Report, Rows, html};
use claviger_audit::verify::{Options as Verify, verify};

#[path = "../tests/it/month.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod month;
#[path = "../tests/it/support.rs"]
mod support;

const ORIGIN: &str = "audit.example/bench";

fn key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[7; 32]).unwrap()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all: &[(&str, fn())] = &[
        ("sync", sync),
        ("append", append),
        ("offered", offered),
        ("receipt", receipt),
        ("verify", verify_big),
        ("query", query_big),
        ("report", report_big),
    ];
    for (name, bench) in all {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            bench();
        }
    }
    if wanted.is_empty() || wanted.iter().any(|want| want == "micro") {
        divan::Divan::default().run_benches();
    }
}

fn scratch() -> tempfile::TempDir {
    // Beside the target directory, not in memory: a sync must be one.
    tempfile::tempdir_in(
        std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(|| PathBuf::from("."), PathBuf::from),
    )
    .unwrap()
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// What the disk can do: one write and one fdatasync.
fn bare_sync(bytes: usize) -> Duration {
    let dir = scratch();
    let mut file = std::fs::File::create(dir.path().join("bare")).unwrap();
    let block = vec![7; bytes];
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&block).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    quantile(&mut times, 0.5)
}

fn sync() {
    for entries in [1, 16, 256] {
        println!("bare write and fdatasync of {entries} x 600 bytes: median {:?}", bare_sync(entries * 600));
    }
}

/// A body of about 600 bytes.
fn body() -> Vec<u8> {
    let mut event = month::issued(month::START, "acme/shop", "deploy-prod", "lease-0123456789abcdef");
    event.source = Some("10.0.0.1".into());
    event.correlation = Some("req-0123456789abcdef".into());
    event.encode().unwrap()
}

fn append() {
    let body = body();
    for callers in [1, 16, 64, 256, 1024] {
        let bare = bare_sync(callers.min(1024) * (body.len() + 80));
        let dir = scratch();
        let files: Arc<dyn Files> = Arc::new(Directory::new(dir.path()));
        let log = Log::create(files, key(), Options::default()).unwrap();
        let until = Instant::now() + Duration::from_secs(4);
        let done = AtomicU64::new(0);
        let start = Instant::now();
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..callers)
                .map(|_| {
                    scope.spawn(|| {
                        let mut times = Vec::new();
                        while Instant::now() < until {
                            let start = Instant::now();
                            log.append(body.clone()).unwrap();
                            times.push(start.elapsed());
                        }
                        done.fetch_add(times.len() as u64, Ordering::Relaxed);
                        times
                    })
                })
                .collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        let closing = Instant::now();
        log.close().unwrap();
        println!(
            "append, {callers} callers, {}-byte bodies: {rate:.0} events/s durable, p50 {:?}, p99 {:?}; bare sync of a batch {bare:?}; publishing the rest at close took {:?}",
            body.len(),
            quantile(&mut times, 0.5),
            quantile(&mut times, 0.99),
            closing.elapsed()
        );
    }
}

/// 5,000 events a second, each from a caller that waits for its verifiable receipt.
fn offered() {
    let body = body();
    let dir = scratch();
    let files: Arc<dyn Files> = Arc::new(Directory::new(dir.path()));
    let log = Log::create(files, key(), Options::default()).unwrap();
    let keys = [key().verifying_key().clone()];
    let callers = 100u32;
    let start = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..callers)
            .map(|caller| {
                let (log, body, keys) = (&log, &body, &keys);
                scope.spawn(move || {
                    let mut times = Vec::new();
                    for n in 0..250u32 {
                        let due = start + Duration::from_micros(u64::from(n * callers + caller) * 200);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let begun = Instant::now();
                        let done = log.append(body.clone()).unwrap();
                        let receipt = done.receipt();
                        times.push(begun.elapsed());
                        if n % 50 == 0 {
                            receipt.verify(done.entry(), ORIGIN, keys).unwrap();
                        }
                    }
                    times
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!(
        "event to receipt, 5,000/s offered, {} events: p50 {:?}, p99 {:?}; bare sync {:?}",
        times.len(),
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99),
        bare_sync(600 * 5)
    );
}

fn receipt() {
    let (reader, keys) = (big(), [key().verifying_key().clone()]);
    let entry = reader.entry(12_345).unwrap();
    let text = reader.receipt(12_345).unwrap().to_string();
    let mut times: Vec<Duration> = (0..1000)
        .map(|_| {
            let start = Instant::now();
            text.parse::<Receipt>().unwrap().verify(&entry, ORIGIN, &keys).unwrap();
            start.elapsed()
        })
        .collect();
    println!(
        "a receipt read and verified offline: median {:?}, p99 {:?}",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99)
    );
}

/// The big log, made once.
fn big() -> Reader {
    let count: usize =
        std::env::var("CLAVIGER_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let path = std::env::temp_dir().join(format!("claviger-bench-{count}"));
    let files: Arc<dyn Files> = Arc::new(Directory::new(&path));
    let keys = [key().verifying_key().clone()];
    if let Ok(reader) = Reader::open(Arc::clone(&files), &keys)
        && reader.size() > count as u64
    {
        return reader;
    }
    std::fs::remove_dir_all(&path).ok();
    std::fs::create_dir_all(&path).unwrap();
    let start = Instant::now();
    let events: Vec<Event> = month::month(count);
    let made = start.elapsed();
    let options = Options { publish: Publish::Every(Duration::from_secs(1)), ..Options::default() };
    let recorder = Recorder::create(Arc::clone(&files), key(), options, None).unwrap();
    for chunk in events.chunks(10_000) {
        recorder.record_all(chunk).unwrap();
    }
    recorder.close().unwrap();
    println!("made a log of {count} events in {:?}, of which the events took {made:?}", start.elapsed());
    Reader::open(files, &keys).unwrap()
}

/// Drops the page cache if this process may, so that the next reading is cold.
fn cold() -> &'static str {
    std::process::Command::new("sync").status().ok();
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok() { "cold" } else { "warm" }
}

/// The most memory this process has held, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: 0");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn verify_big() {
    let reader = big();
    let options = Verify { keys: vec![key().verifying_key().clone()], ..Verify::default() };
    for _ in 0..3 {
        let state = cold();
        let start = Instant::now();
        let verified = verify(reader.files(), &options).unwrap();
        println!(
            "verify {} events, {state}: {:?}, {} MB hashed, peak {} MiB",
            verified.entries,
            start.elapsed(),
            verified.bytes / 1_000_000,
            peak_mib()
        );
    }
}

fn query_big() {
    let reader = big();
    let filter = Filter::parse("identity=acme/mobile-042").unwrap();
    for (name, index) in [("index", Index::at(Arc::clone(reader.files()))), ("no index", Index::none())] {
        for round in 1..=3 {
            let (start, mut hits) = (Instant::now(), 0);
            query::run(&reader, &index, &filter, 0, |_| {
                hits += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
            println!(
                "query by identity over {} events, {name}, round {round}: {hits} hits in {:?}",
                reader.size(),
                start.elapsed()
            );
        }
    }
}

fn report_big() {
    let reader = big();
    let start = Instant::now();
    let rows = Rows::read(&reader).unwrap();
    let read = start.elapsed();
    let period = Period::until((month::START + 31 * 86_400) * 1000);
    let report = Report::of(&rows, reader.head().checkpoint(), &period, &Config::default());
    let counted = start.elapsed();
    let page = html(&report);
    println!(
        "report over {} events: read {read:?}, counted {counted:?}, page of {} KB {:?}, {} anomalies, peak {} MiB",
        reader.size(),
        page.len() / 1000,
        start.elapsed(),
        report.anomalies.len(),
        peak_mib()
    );
    std::fs::write(std::env::temp_dir().join("claviger-report.html"), page).unwrap();
}

/// The steps of one event.
mod micro {
    #[divan::bench]
    fn leaf_hash_600_bytes(bencher: divan::Bencher<'_, '_>) {
        let body = vec![7; 600];
        bencher.bench(|| claviger_audit::tree::leaf_hash(divan::black_box(&body)));
    }

    #[divan::bench]
    fn encode_event(bencher: divan::Bencher<'_, '_>) {
        let event = super::month::issued(super::month::START, "acme/shop", "deploy-prod", "lease");
        bencher.bench(|| event.encode().unwrap());
    }

    #[divan::bench]
    fn slim_parse(bencher: divan::Bencher<'_, '_>) {
        let body = super::body();
        bencher.bench(|| claviger_audit::event::Slim::parse(divan::black_box(&body)).is_some());
    }
}
