//! The figures of the stores. Run with `cargo bench -p claviger-broker --bench store`; arguments name some of them,
//! `CLAVIGER_TEST_POSTGRES` is the URL of a database that may be written to, `CLAVIGER_LEASES` the size of the full
//! store (100,000 by default).
//!
//! Figures about durability stand beside what a bare write and sync takes on that disk.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and may panic")]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use claviger_audit::event::Who;
use claviger_broker::lease::{Handle, Intent, Lease, LeaseId, State, TokenUse};
use claviger_broker::policy::grant::Limits;
use claviger_broker::store::memory::Memory;
use claviger_broker::store::postgres::{Options, Postgres};
use claviger_broker::store::sqlite::Sqlite;
use claviger_broker::store::{Store, Want};
use jiff::Timestamp;
use serde_json::json;

const CLIENTS: u64 = 64;
const SPAN: Duration = Duration::from_secs(4);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// What a GitHub job's exchange for an SSH certificate writes.
fn intent(number: u64, state: State) -> Intent {
    let who = Who {
        issuer: Some("github".into()),
        subject: Some("repo:acme@1/shop@2:environment:production".into()),
        repository: Some(format!("acme/shop-{:03}", number % 200)),
        reference: Some("refs/heads/main".into()),
        workflow: Some("acme/shop/.github/workflows/release.yml@refs/heads/main".into()),
        job: Some("deploy".into()),
        run_id: Some((17_000_000_000 + number / 3).to_string()),
        actor: Some("octocat".into()),
        ..Who::default()
    };
    let lease = Lease {
        id: LeaseId::new(),
        state,
        handle: Handle::new().hash(),
        who,
        role: format!("deploy-{}", number % 20),
        provider: "hosts".into(),
        environment: "production".into(),
        parameters: json!({"principals": ["deploy"], "extensions": ["permit-pty"]}),
        created: at((number / 1000) as i64),
        expires: at((number / 1000) as i64 + 600),
        max_expires: at((number / 1000) as i64 + 3600),
        renewals: 0,
        heard: None,
        silence_s: None,
        reference: None,
        fingerprints: Vec::new(),
        reason: None,
        revoking_since: None,
        attempts: 0,
        next_attempt: None,
        last_error: None,
        closed: None,
    };
    let token_id = format!("jti:{}", LeaseId::new());
    let token = TokenUse { issuer: "github".into(), token_id, keep_until: at(900) };
    Intent { lease, token, limits: Limits::default() }
}

/// Beside the target directory, not in memory: a sync must be one.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target")).unwrap()
}

/// Runs `CLIENTS` clients for a while; prints operations a second and how long each took.
async fn load<F, R>(name: &str, operations_each: u64, run: F)
where
    F: Fn(u64) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let number = Arc::new(AtomicU64::new(0));
    let (start, cpu, written) = (Instant::now(), cpu_ms(), written_kb());
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (run, number) = (run.clone(), Arc::clone(&number));
            tokio::spawn(async move {
                let mut took = Vec::new();
                while start.elapsed() < SPAN {
                    let one = Instant::now();
                    run(number.fetch_add(1, Ordering::Relaxed)).await;
                    took.push(one.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let rate = all.len() as f64 / start.elapsed().as_secs_f64();
    let operations = all.len() as f64 * operations_each as f64;
    let each = (cpu_ms() - cpu) * 1000.0 / operations;
    let written = (written_kb() - written) / operations;
    all.sort();
    let at = |share: usize| all[(all.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    println!(
        "{name}: {rate:.0}/s, {:.0} operations/s of {each:.0} us CPU and {written:.1} KB written; p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
        rate * operations_each as f64,
        at(500),
        at(990),
        at(999)
    );
}

async fn begin(store: &Arc<dyn Store>, name: &str) {
    let local = Arc::clone(store);
    load(&format!("{name}, begin of a local credential"), 1, move |number| {
        let store = Arc::clone(&local);
        async move { store.begin(&intent(number, State::Active)).await.unwrap() }
    })
    .await;
    let both = Arc::clone(store);
    load(&format!("{name}, begin and activate"), 2, move |number| {
        let store = Arc::clone(&both);
        async move {
            let new = intent(number, State::Pending);
            store.begin(&new).await.unwrap();
            assert!(store.activate(new.lease.id, at(900), Some(&[7; 60]), &["f".repeat(64)]).await.unwrap());
        }
    })
    .await;
    let life = Arc::clone(store);
    load(&format!("{name}, a whole life: begin, take, close"), 3, move |number| {
        let store = Arc::clone(&life);
        async move {
            let new = intent(number, State::Active);
            store.begin(&new).await.unwrap();
            let wants = [Want { provider: "hosts", most: 1 }];
            for lease in store.claim("bench", &wants, at(5000), at(9000)).await.unwrap() {
                store.close("bench", lease.id, State::Expired, at(5000)).await.unwrap();
            }
        }
    })
    .await;
}

async fn fill(store: &Arc<dyn Store>) -> u64 {
    let leases = std::env::var("CLAVIGER_LEASES").ok().and_then(|it| it.parse().ok()).unwrap_or(100_000);
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for number in (client..leases).step_by(CLIENTS as usize) {
                    store.begin(&intent(number, State::Active)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    leases
}

/// What this process has written to files.
fn written_kb() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap_or("0");
    line.trim().parse::<f64>().unwrap_or(0.0) / 1000.0
}

/// What this process has used of the processors, its part of the kernel's work included.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0);
    // The 14th and 15th field, in hundredths of a second.
    (ticks(11) + ticks(12)) * 10.0
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn sync() {
    let folder = scratch();
    let mut file = std::fs::File::create(folder.path().join("log")).unwrap();
    for size in [4096, 65_536, 262_144] {
        let bytes = vec![7; size];
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(1) {
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            count += 1;
        }
        println!("the disk: {count} syncs/s of {size} bytes");
    }
}

async fn sqlite() {
    let folder = scratch();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("leases.db")).await.unwrap());
    begin(&store, "SQLite").await;
}

async fn sqlite_full() {
    let folder = scratch();
    let path = folder.path().join("leases.db");
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).await.unwrap());
    let (start, before) = (Instant::now(), resident_mb());
    let leases = fill(&store).await;
    println!(
        "SQLite: {leases} leases in {:.1} s; the process grew by {:.0} MB to {:.0} MB, the file to {:.0} MB",
        start.elapsed().as_secs_f64(),
        resident_mb() - before,
        resident_mb(),
        path.metadata().unwrap().len() as f64 / 1e6
    );
    begin(&store, &format!("SQLite with {leases} leases")).await;
    let start = Instant::now();
    drop(Sqlite::open(&path).await.unwrap());
    println!("SQLite: opened, with its structure checked, in {:.2} s", start.elapsed().as_secs_f64());
}

async fn memory() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    begin(&store, "memory").await;
}

async fn memory_full() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let before = resident_mb();
    let leases = fill(&store).await;
    println!(
        "memory: {leases} leases; the process grew by {:.0} MB to {:.0} MB",
        resident_mb() - before,
        resident_mb()
    );
    begin(&store, &format!("memory with {leases} leases")).await;
}

async fn postgres() {
    let Ok(url) = std::env::var("CLAVIGER_TEST_POSTGRES") else { return println!("no PostgreSQL") };
    let schema = format!("bench_{}", LeaseId::new());
    {
        use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
        let mut conn = PgConnection::connect(&url).await.unwrap();
        conn.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
    }
    let url = format!("{url}?options=-csearch_path%3D{schema}");
    let store: Arc<dyn Store> = Arc::new(Postgres::open(&url, &Options::default()).await.unwrap());
    begin(&store, "PostgreSQL").await;
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|want| want == name);
    if is_wanted("sync") {
        sync();
    }
    // The order matters: memory that was freed stays with the process.
    for name in ["memory_full", "memory", "sqlite_full", "sqlite", "postgres"] {
        if is_wanted(name) {
            match name {
                "memory_full" => runtime.block_on(memory_full()),
                "memory" => runtime.block_on(memory()),
                "sqlite_full" => runtime.block_on(sqlite_full()),
                "sqlite" => runtime.block_on(sqlite()),
                _ => runtime.block_on(postgres()),
            }
        }
    }
}
