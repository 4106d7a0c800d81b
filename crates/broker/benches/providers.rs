//! How many users a second the database providers make and remove. Run with
//! `cargo bench -p claviger-broker --bench providers -- [postgres] [mysql] [redis]`; `CLAVIGER_USERS` is how many (2000),
//! `CLAVIGER_CLIENTS` how many tasks ask at once (64), `CLAVIGER_CONNECTIONS` how many connections they share (8). Each server is started for this, with its usual durability.

#![allow(clippy::unwrap_used, reason = "a bench may panic")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]
#![allow(dead_code, reason = "the servers have more than a bench needs")]

#[path = "../tests/it/ground.rs"]
mod ground;
#[path = "../tests/it/servers/mod.rs"]
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use claviger_broker::provider::Provider;
use claviger_broker::testing;
use serde_json::{Value, json};

use ground::Asking;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_asked = |kind: &str| asked.is_empty() || asked.iter().any(|word| word == kind);
    println!("{:<10}{:>8}{:>10}{:>12}{:>10}{:>10}", "", "users", "clients", "users/s", "p50 ms", "p99 ms");
    if is_asked("postgres")
        && let Some(server) = servers::postgres::Postgres::start("on").await
    {
        let mut settings = server.settings();
        settings["max_connections"] = number("CLAVIGER_CONNECTIONS", 8).into();
        run("postgres", &settings, json!({"member_of": ["app_ro"]})).await;
    }
    let grants = json!({"grants": [{"privileges": ["SELECT"], "on": "app_main.*"}]});
    if is_asked("mysql")
        && let Some(server) = servers::mariadb::MariaDb::start("1")
    {
        let mut settings = server.settings();
        settings["max_connections"] = number("CLAVIGER_CONNECTIONS", 8).into();
        run("mysql", &settings, grants).await;
    }
    if is_asked("redis")
        && let Some(server) = servers::redis::Redis::start(true)
    {
        run("redis", &server.settings(), json!({"keys": ["app:*"], "commands": ["+@read"]})).await;
    }
}

/// Has users made by many tasks at once, and removed by as many.
async fn run(kind: &str, settings: &Value, parameters: Value) {
    let provider = ground::build(kind, settings).unwrap();
    let (users, clients) = (number("CLAVIGER_USERS", 2000), number("CLAVIGER_CLIENTS", 64));
    let identity = testing::identity(json!({"sub": "bench"}));
    let asking = (0..users).map(|_| Arc::new(Asking::new(identity.clone(), parameters.clone())));
    let asking: Arc<Vec<_>> = Arc::new(asking.collect());
    for step in ["issue", "revoke"] {
        let start = Instant::now();
        let mut took = many(&provider, &asking, clients, step).await;
        let rate = users as f64 / start.elapsed().as_secs_f64();
        took.sort();
        let at = |share: f64| took[((users - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let (p50, p99) = (at(0.5), at(0.99));
        println!("{kind:<10}{users:>8}{clients:>10}{rate:>12.0}{p50:>10.1}{p99:>10.1}  {step}");
    }
    assert!(provider.list().await.unwrap().is_empty());
}

async fn many(
    provider: &Arc<dyn Provider>,
    asking: &Arc<Vec<Arc<Asking>>>,
    clients: usize,
    step: &str,
) -> Vec<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let is_issue = step == "issue";
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (provider, asking, next) = (Arc::clone(provider), Arc::clone(asking), Arc::clone(&next));
            tokio::spawn(async move {
                let mut took = Vec::new();
                while let Some(asking) = asking.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    if is_issue {
                        asking.issue(&*provider).await.unwrap();
                    } else {
                        asking.revoke(&*provider, None).await.unwrap();
                    }
                    took.push(start.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}
