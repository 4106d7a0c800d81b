//! Exchanges end to end: HTTP, RS256 tokens, policy, an SSH certificate, the lease, the record. With the durable store
//! and audit log, and with both in memory, in one run.
//!
//! `cargo bench -p claviger-broker --bench exchange [-- CLIENTS EXCHANGES]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and prints its figures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claviger_audit::clock::SystemClock;
use claviger_audit::files::Directory;
use claviger_audit::log::Options as LogOptions;
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::recorder::Recorder;
use claviger_broker::config::Config;
use claviger_broker::run::{Running, Surroundings, start};
use claviger_broker::testing::{self, AUDIENCE, TestIssuer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let clients = numbers.first().copied().unwrap_or(64);
    let exchanges = numbers.get(1).copied().unwrap_or(10_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{clients} clients, {exchanges} exchanges, client and server in one process");
    for ephemeral in [false, true] {
        runtime.block_on(measure(clients, exchanges, ephemeral));
    }
}

async fn measure(clients: usize, exchanges: usize, ephemeral: bool) {
    let folder = tempfile::tempdir_in(std::env::var_os("CLAVIGER_BENCH_DIR").unwrap_or(".".into())).unwrap();
    let issuer = TestIssuer::named("https://ci.example.com");
    let running = broker(folder.path(), &issuer, ephemeral).await;
    let before = resident_kib();
    let run = |n: usize| json!({ "run_id": n.to_string(), "jti": format!("bench-{ephemeral}-{n}"), "aud": AUDIENCE });
    let public_key = public_key();
    let bodies: Vec<String> = (0..exchanges)
        .map(|n| {
            let token = issuer.mint(testing::claims::github(run(n)));
            json!({
                "subject_token": token.expose_text().unwrap(),
                "role": "deploy",
                "input": { "public_key": &public_key },
            })
            .to_string()
        })
        .collect();
    let started = Instant::now();
    let mut tasks = Vec::new();
    let bodies = Arc::new(bodies);
    for client in 0..clients {
        let (bodies, address) = (Arc::clone(&bodies), running.address());
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut times = Vec::new();
            for body in bodies.iter().skip(client).step_by(clients) {
                let began = Instant::now();
                exchange(&mut stream, body).await;
                times.push(began.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let took = started.elapsed();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{:<28} {:>7.0}/s   p50 {:>6.1} ms   p99 {:>6.1} ms   {} MiB idle, {} MiB with {exchanges} leases",
        if ephemeral { "in memory, no sync" } else { "SQLite and audit, durable" },
        times.len() as f64 / took.as_secs_f64(),
        milliseconds(at(0.5)),
        milliseconds(at(0.99)),
        before / 1024,
        resident_kib() / 1024,
    );
    running.stop().await;
}

/// A job's public key.
fn public_key() -> String {
    let key = claviger_broker::run::dev::ssh_authority().unwrap();
    let key = ssh_key::PrivateKey::from_openssh(key.expose()).unwrap();
    key.public_key().to_openssh().unwrap()
}

async fn exchange(stream: &mut TcpStream, body: &str) {
    let head = format!(
        "POST /v1/exchange HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if answer.len() >= end + 4 + length.parse::<usize>().unwrap() {
            assert!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            return;
        }
    }
}

async fn broker(folder: &Path, issuer: &TestIssuer, ephemeral: bool) -> Running {
    let at = |name: &str| folder.join(name);
    std::fs::write(at("jwks.json"), issuer.key_set().to_string()).unwrap();
    private(&at("ca"), claviger_broker::run::dev::ssh_authority().unwrap().expose());
    private(&at("master.key"), "ab".repeat(32).as_bytes());
    let key = SigningKey::generate("bench.example.com/audit", KeyKind::Ed25519).unwrap();
    private(&at("audit.key"), key.expose().as_bytes());
    std::fs::create_dir(at("audit")).unwrap();
    let files = Arc::new(Directory::new(at("audit")));
    Recorder::create(files, key, LogOptions::default(), None).unwrap().close().unwrap();
    let config = format!(
        "audience: {AUDIENCE}\n\
         server: {{listen: \"127.0.0.1:0\", limits: {{identity_per_minute: 100000000, address_per_minute: 100000000}}}}\n\
         store: {{url: \"sqlite:broker.db\"}}\n\
         audit: {{log: audit, key: {{file: audit.key}}}}\n\
         keys: {{current: {{id: \"1\", from: {{file: master.key}}}}}}\n\
         issuers:\n  ci: {{platform: github, issuer: \"{}\", jwks_file: jwks.json}}\n\
         environments: {{prod: {{}}}}\n\
         providers: {{ssh: {{kind: ssh, environment: prod, ca_key: {{file: ca}}}}}}\n\
         roles:\n  deploy:\n    issuer: ci\n    match: {}\n    environment: prod\n    \
         grant: {{provider: ssh, parameters: {{principals: [deploy]}}, single_use: false}}\n",
        issuer.url(),
        bound(),
    );
    let config = Config::parse("bench", config, folder).unwrap_or_else(|error| panic!("{error}"));
    let secrets = Arc::new(config.secrets(Box::new(|_| None)));
    let around = Surroundings { ephemeral, ..Surroundings::new(secrets, Arc::new(SystemClock)) };
    start(&config, around).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The ids that the test claims have.
fn bound() -> String {
    let claims = testing::claims::github(json!({}));
    let ids: BTreeMap<&str, &serde_json::Value> =
        ["repository_id", "repository_owner_id"].into_iter().map(|name| (name, &claims[name])).collect();
    serde_json::to_string(&ids).unwrap()
}

fn private(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
