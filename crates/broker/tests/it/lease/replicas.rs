//! Three brokers on one PostgreSQL, one of them killed every now and then, while tokens are used and used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use claviger_broker::lease::reaper::Options;
use claviger_broker::lease::{Intent, State};
use claviger_broker::store::{BeginError, Filter, Store};
use jiff::SignedDuration;
use tokio::task::JoinSet;

use super::bed::{Bed, Fake, Mood, USERS, draw};
use crate::store::{Schema, intent, lease, open};

/// Exchanges in all; `CLAVIGER_EXCHANGES` for more.
fn exchanges() -> usize {
    std::env::var("CLAVIGER_EXCHANGES").ok().and_then(|it| it.parse().ok()).unwrap_or(1500)
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_killed_lose_no_lease() {
    let Some(schema) = Schema::make("replicas").await else { return };
    let db =
        Arc::new(Fake { latency: Duration::from_millis(2), ..Arc::into_inner(Fake::new(USERS, 7)).unwrap() });
    db.set(Mood::Flaky(20));
    let mut beds = Vec::new();
    for _ in 0..3 {
        let store: Arc<dyn Store> = Arc::new(open(&schema.url()).await);
        beds.push(Bed::new(store, &[("db", Arc::clone(&db))]));
    }
    let beds = Arc::new(beds);
    // Short, so that what a killed reaper held falls to another within the test.
    let options = || Options {
        poll: Duration::from_millis(100),
        call: Duration::from_millis(300),
        backoff: Duration::from_millis(500),
        ..Options::default()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let (beds, stop) = (Arc::clone(&beds), Arc::clone(&stop));
        async move {
            let (mut running, mut random, mut killed) = (Vec::new(), 5, 0);
            for bed in beds.iter() {
                running.push(bed.start(options()));
            }
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let victim = draw(&mut random, 3) as usize;
                running[victim].abort();
                killed += 1;
                running[victim] = beds[victim].start(options());
            }
            killed
        }
    });
    let (used, replayed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..12 {
        let (beds, used, replayed) = (Arc::clone(&beds), Arc::clone(&used), Arc::clone(&replayed));
        let db = Arc::clone(&db);
        clients.spawn(async move {
            for number in (client..exchanges()).step_by(12) {
                let now = beds[0].clock.now();
                let mut one = intent(lease());
                one.lease.created = now;
                one.lease.expires = now + SignedDuration::from_secs(60);
                one.lease.max_expires = now + SignedDuration::from_secs(300);
                // The same token at two brokers at once.
                let again = Intent { lease: crate::store::lease(), ..one.clone() };
                let (here, there) = (&beds[number % 3].store, &beds[(number + 1) % 3].store);
                let both = tokio::join!(here.begin(&one), there.begin(&again));
                let winner = match both {
                    (Ok(()), Err(BeginError::Replayed)) => one.lease.id,
                    (Err(BeginError::Replayed), Ok(())) => again.lease.id,
                    other => panic!("{other:?}"),
                };
                used.fetch_add(1, Ordering::Relaxed);
                replayed.fetch_add(1, Ordering::Relaxed);
                db.make(winner);
                let end = now + SignedDuration::from_millis(200 + 37 * (number as i64 % 50));
                here.activate(winner, end, None, &[]).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    let store = &beds[0].store;
    let states = vec![State::Pending, State::Active, State::Revoking];
    let open = Filter { states, ..Filter::default() };
    for _ in 0..600 {
        if store.list(&open, None, 1).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let killed = killer.await.unwrap();
    let left = store.list(&open, None, 10).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(used.load(Ordering::Relaxed), exchanges());
    assert!(db.is_empty(), "targets hold nothing that the store does not know");
    let removed = db.removed.lock().unwrap();
    assert_eq!(removed.len(), exchanges());
    assert!(removed.values().all(|times| *times == 1));
    println!("{} tokens used once, {killed} reapers killed", exchanges());
}
