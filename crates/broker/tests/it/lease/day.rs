//! A simulated day: three brokers' reapers on one store, a virtual clock, targets that fail by a seed. A failing seed is
//! printed, and `CLAVIGER_SEED` replays it.

use std::sync::Arc;
use std::time::Duration;

use claviger_broker::lease::alert::Alert;
use claviger_broker::lease::reaper::Options;
use claviger_broker::lease::{LeaseId, Reason, State, watch};
use claviger_broker::store::Filter;
use claviger_broker::store::memory::Memory;

use super::bed::{Bed, CERTIFICATES, Fake, Mood, USERS, draw, sleep};

const DAY: u64 = 86_400;

fn id(number: u64, seed: u64) -> LeaseId {
    let mut state = seed ^ number.wrapping_mul(0x1000_0001);
    let bytes = [(); 16].map(|()| draw(&mut state, 256) as u8);
    LeaseId::from_bytes(bytes)
}

/// Says which seed it was, if it panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with CLAVIGER_SEED={}", self.0);
        }
    }
}

async fn day(seed: u64, leases: u64) {
    let guard = Seed(seed);
    let mut random = seed;
    let fakes = [
        ("db", Fake::new(USERS, seed + 1)),
        ("cache", Fake::new(USERS, seed + 2)),
        ("ca", Fake::new(CERTIFICATES, seed + 3)),
    ];
    let bed = Arc::new(Bed::new(Arc::new(Memory::new()), &fakes));
    // A minute's precision is enough for most of a day.
    let options = || Options { poll: Duration::from_secs(5), ..Options::default() };
    let mut reapers: Vec<_> = (0..3).map(|_| bed.start(options())).collect();
    tokio::spawn(bed.watch(watch::Options { every: Duration::from_secs(60), ..Default::default() }).run());
    bed.targets["cache"].set(Mood::Flaky(100));
    // One hour well, then the database is down for a whole day: refused, hanging, or flaky to the brim.
    let down = [Mood::Refusing, Mood::Hanging, Mood::Flaky(1000)][draw(&mut random, 3) as usize];
    let (from, until) = (3600, 3600 + DAY);
    let mut ids = Vec::new();
    for number in 0..leases {
        let now = number * (from + DAY) / leases;
        let passed = bed.clock.now().duration_since(crate::store::at(0)).as_secs() as u64;
        sleep(now.saturating_sub(passed)).await;
        if now >= from && *bed.targets["db"].mood.lock().unwrap() == Mood::Well {
            bed.targets["db"].set(down);
        }
        let provider = ["db", "db", "cache", "ca"][draw(&mut random, 4) as usize];
        let end = now + 300 + draw(&mut random, 5400);
        ids.push((provider, bed.lease(provider, id(number, seed), end.min(until - 60) as i64).await));
        match draw(&mut random, 400) {
            // A broker dies, another starts.
            0 => {
                let victim = draw(&mut random, 3) as usize;
                reapers[victim].abort();
                reapers[victim] = bed.start(options());
            }
            // An operator revokes a lease that may be in any state.
            1..=20 => {
                let (_, some) = ids[draw(&mut random, ids.len() as u64) as usize];
                let filter = Filter { ids: vec![some], ..Filter::default() };
                bed.store.revoke(&filter, Reason::Operator, bed.clock.now()).await.unwrap();
                bed.due.notify_one();
            }
            _ => {}
        }
    }
    let passed = bed.clock.now().duration_since(crate::store::at(0)).as_secs() as u64;
    sleep(until.saturating_sub(passed)).await;
    let left = bed.targets["db"].objects.lock().unwrap().len();
    if down != Mood::Flaky(1000) {
        assert!(left as u64 > leases * 4 / 10, "only {left} were left: it was not down");
    }
    bed.targets["db"].set(Mood::Well);
    sleep(60).await;
    for (provider, id) in &ids {
        let lease = bed.store.find(*id).await.unwrap().unwrap();
        let wanted = if *provider == "ca" { State::Expired } else { State::Revoked };
        assert_eq!(lease.state, wanted, "seed {seed}: a minute after its target's return: {lease:?}");
    }
    for fake in bed.targets.values() {
        assert!(fake.is_empty());
        assert!(fake.removed.lock().unwrap().values().all(|times| *times == 1));
    }
    let ends = bed.ledger.ends();
    assert_eq!(ends.len() as u64, leases);
    let alerted = |alert: &Alert| matches!(alert, Alert::Overdue(it) if it.provider == "db");
    assert!(bed.bell.0.lock().unwrap().iter().any(alerted));
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_simulated_day() {
    let given = std::env::var("CLAVIGER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond() as u64);
    day(seed, 10_000).await;
}

/// The three ways to be down, whatever the random seed brings.
#[tokio::test(start_paused = true)]
async fn simulated_days_of_each_kind() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 1.. {
        let mut random = seed;
        if kinds.insert(draw(&mut random, 3)) {
            day(seed, 2_000).await;
        }
        if kinds.len() == 3 {
            return;
        }
    }
}
