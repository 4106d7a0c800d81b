//! One reaper and its targets, in virtual time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use claviger_broker::lease::alert::Alert;
use claviger_broker::lease::reaper::Options;
use claviger_broker::lease::{LeaseId, Reason, State, reference_place, watch};
use claviger_broker::provider::Abilities;
use claviger_broker::seal::Seal;
use claviger_broker::store::Filter;
use claviger_broker::store::memory::Memory;

use super::bed::{Bed, CERTIFICATES, Fake, Mood, USERS, sleep};
use crate::store::at;

fn bed(targets: &[(&'static str, Arc<Fake>)]) -> Bed {
    Bed::new(Arc::new(Memory::new()), targets)
}

#[tokio::test(start_paused = true)]
async fn leases_end_when_they_are_due_or_when_somebody_says_so() {
    let bed = bed(&[("db", Fake::new(USERS, 1))]);
    bed.start(Options::default());
    let short = bed.lease("db", LeaseId::new(), 100).await;
    let long = bed.lease("db", LeaseId::new(), 10_000).await;
    sleep(99).await;
    assert_eq!(bed.state(short).await, State::Active);
    sleep(3).await;
    assert_eq!((bed.state(short).await, bed.state(long).await), (State::Revoked, State::Active));
    bed.store.revoke(&Filter::default(), Reason::Operator, bed.clock.now()).await.unwrap();
    bed.due.notify_one();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bed.state(long).await, State::Revoked);
    assert!(bed.targets["db"].is_empty());
    assert_eq!(bed.ledger.ends().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_issuer_died_is_revoked_by_its_name() {
    let bed = bed(&[("db", Fake::new(USERS, 1))]);
    bed.start(Options::default());
    let new = crate::store::intent(crate::store::lease());
    bed.store.begin(&new).await.unwrap();
    bed.targets["db"].make(new.lease.id);
    sleep(58).await;
    assert_eq!(bed.state(new.lease.id).await, State::Pending);
    sleep(4).await;
    assert_eq!(bed.state(new.lease.id).await, State::Revoked);
    assert!(bed.targets["db"].is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_loses_its_lease() {
    let bed = bed(&[("db", Fake::new(USERS, 1))]);
    bed.start(Options::default());
    let mut new = crate::store::intent(crate::store::lease());
    new.lease.silence_s = Some(30);
    new.lease.heard = Some(at(0));
    bed.store.begin(&new).await.unwrap();
    bed.store.activate(new.lease.id, at(3000), None, &[]).await.unwrap();
    for _ in 0..10 {
        sleep(20).await;
        assert!(bed.store.heard(&new.lease.handle, bed.clock.now()).await.unwrap());
    }
    sleep(32).await;
    let lease = bed.store.find(new.lease.id).await.unwrap().unwrap();
    assert_eq!((lease.state, lease.reason), (State::Revoked, Some(Reason::Silent)));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_for_a_minute() {
    for mood in [Mood::Refusing, Mood::Hanging] {
        let bed = bed(&[("db", Fake::new(USERS, 1)), ("cache", Fake::new(USERS, 2))]);
        bed.start(Options::default());
        let options = watch::Options { overdue: "30s".parse().unwrap(), ..watch::Options::default() };
        tokio::spawn(bed.watch(options).run());
        bed.targets["db"].set(mood);
        for _ in 0..300 {
            bed.lease("db", LeaseId::new(), 10).await;
            bed.lease("cache", LeaseId::new(), 10).await;
        }
        sleep(20).await;
        assert!(bed.targets["cache"].is_empty(), "a dead target starves no other");
        assert_eq!(bed.targets["db"].objects.lock().unwrap().len(), 300);
        sleep(50).await;
        let alerts = bed.bell.0.lock().unwrap().clone();
        assert!(
            matches!(&alerts[..], [Alert::Overdue(it)] if it.provider == "db" && it.leases == 300),
            "{mood:?}: {alerts:?}"
        );
        let calls = bed.targets["db"].calls.load(Ordering::Relaxed);
        assert!(calls < 40, "{mood:?}: a target that is down was called {calls} times");
        bed.targets["db"].set(Mood::Well);
        sleep(40).await;
        assert!(bed.targets["db"].is_empty(), "{mood:?}");
        assert_eq!(bed.open().await, 0);
        sleep(20).await;
        assert!(matches!(&bed.bell.0.lock().unwrap()[1..], [Alert::Recovered { .. }]));
        assert!(bed.targets["db"].removed.lock().unwrap().values().all(|times| *times == 1));
        // The audit log has the failures that said something, not each attempt.
        assert!((1..=20).contains(&bed.ledger.failures()), "{}", bed.ledger.failures());
    }
}

#[tokio::test(start_paused = true)]
async fn one_lease_that_fails_for_itself_holds_no_other_up() {
    let fake = Fake::new(USERS, 1);
    let bed = bed(&[("db", Arc::clone(&fake)), ("broken", Fake::new(USERS, 2))]);
    bed.start(Options::default());
    fake.set(Mood::Denying);
    let bad = bed.lease("db", LeaseId::new(), 10).await;
    sleep(15).await;
    let lease = bed.store.find(bad).await.unwrap().unwrap();
    assert!(lease.attempts >= 2 && lease.last_error.unwrap().contains("owns a database"));
    fake.set(Mood::Well);
    for _ in 0..100 {
        bed.lease("db", LeaseId::new(), 20).await;
    }
    sleep(10).await;
    assert!(bed.open().await <= 1);
    // A provider with a bug takes up no place for good either.
    bed.targets["broken"].set(Mood::Panicking);
    for _ in 0..40 {
        bed.lease("broken", LeaseId::new(), 26).await;
    }
    sleep(120).await;
    bed.targets["broken"].set(Mood::Well);
    sleep(90).await;
    assert_eq!(bed.open().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_ended_is_awaited_and_said_so() {
    let bed = bed(&[("ca", Fake::new(CERTIFICATES, 1))]);
    bed.start(Options::default());
    let id = bed.lease("ca", LeaseId::new(), 500).await;
    bed.store.revoke(&Filter::default(), Reason::Leaked, at(1)).await.unwrap();
    sleep(100).await;
    let lease = bed.store.find(id).await.unwrap().unwrap();
    assert_eq!((lease.state, lease.next_attempt), (State::Revoking, Some(at(500))));
    assert!(lease.last_error.unwrap().contains("its end is awaited"));
    // Nothing can be done about it: no alert.
    let mut watch =
        bed.watch(watch::Options { overdue: "30s".parse().unwrap(), ..watch::Options::default() });
    watch.look().await.unwrap();
    assert!(bed.bell.0.lock().unwrap().is_empty());
    sleep(402).await;
    assert_eq!(bed.state(id).await, State::Expired);
    let kinds: Vec<_> = bed
        .ledger
        .events
        .lock()
        .unwrap()
        .iter()
        .map(|it| (it.action.kind().to_owned(), it.outcome))
        .collect();
    assert_eq!(format!("{kinds:?}"), r#"[("lease.revoked", Failed), ("lease.expired", Success)]"#);
}

#[tokio::test(start_paused = true)]
async fn many_certificates_end_in_few_steps() {
    let bed = bed(&[("ca", Fake::new(CERTIFICATES, 1))]);
    for _ in 0..3000 {
        bed.lease("ca", LeaseId::new(), 30).await;
    }
    bed.start(Options::default());
    sleep(33).await;
    assert_eq!(bed.open().await, 0);
    assert_eq!(bed.ledger.ends().len(), 3000);
}

#[tokio::test(start_paused = true)]
async fn no_end_without_its_record() {
    let bed = bed(&[("db", Fake::new(USERS, 1)), ("ca", Fake::new(CERTIFICATES, 2))]);
    bed.start(Options::default());
    let ids = [bed.lease("db", LeaseId::new(), 10).await, bed.lease("ca", LeaseId::new(), 10).await];
    bed.ledger.down.store(true, Ordering::Relaxed);
    sleep(60).await;
    for id in ids {
        let lease = bed.store.find(id).await.unwrap().unwrap();
        assert_eq!(lease.state, State::Revoking);
        assert!(lease.last_error.unwrap().contains("could not be recorded"));
    }
    bed.ledger.down.store(false, Ordering::Relaxed);
    sleep(10).await;
    assert_eq!(bed.open().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reference_that_does_not_open_is_not_passed_over() {
    let bed = bed(&[("db", Fake::new(USERS, 1))]);
    bed.start(Options::default());
    let id = bed.lease("db", LeaseId::new(), 3000).await;
    let other = Seal::ephemeral().seal(&reference_place(id), b"accessor");
    bed.store.keep(id, &other).await.unwrap();
    bed.store.revoke(&Filter::default(), Reason::Operator, at(1)).await.unwrap();
    sleep(10).await;
    let lease = bed.store.find(id).await.unwrap().unwrap();
    assert_eq!(lease.state, State::Revoking);
    assert!(lease.last_error.unwrap().contains("reference"));
    bed.store.keep(id, &bed.seal.seal(&reference_place(id), b"accessor")).await.unwrap();
    sleep(400).await;
    assert_eq!(bed.state(id).await, State::Revoked);
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_provider_that_is_gone_are_reported() {
    let full = bed(&[("db", Fake::new(USERS, 1)), ("old", Fake::new(USERS, 2))]);
    full.lease("old", LeaseId::new(), 10).await;
    let rest = Bed { targets: [("db", Arc::clone(&full.targets["db"]))].into(), ..full };
    rest.start(Options::default());
    sleep(20).await;
    let mut watch = rest.watch(watch::Options::default());
    watch.look().await.unwrap();
    watch.look().await.unwrap();
    let wanted = [Alert::Unconfigured { provider: "old".into(), leases: 1 }];
    assert_eq!(*rest.bell.0.lock().unwrap(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_holder_need_not_wait_in_line() {
    let slow = Arc::new(Fake {
        latency: Duration::from_secs(5),
        ..Arc::into_inner(Fake::new(Abilities { listable: false, ..USERS }, 1)).unwrap()
    });
    let bed = bed(&[("db", slow)]);
    bed.start(Options::default());
    for _ in 0..200 {
        bed.lease("db", LeaseId::new(), 5).await;
    }
    sleep(8).await;
    let mine = bed.lease("db", LeaseId::new(), 900).await;
    let filter = Filter { ids: vec![mine], ..Filter::default() };
    bed.store.revoke(&filter, Reason::Returned, bed.clock.now()).await.unwrap();
    let reaper = bed.reaper(Options::default());
    assert_eq!(reaper.revoke_now(mine).await.unwrap(), Some(State::Revoked));
    assert_eq!(reaper.revoke_now(mine).await.unwrap(), None);
    assert!(bed.open().await > 100);
}

#[tokio::test(start_paused = true)]
async fn a_reaper_that_is_stopped_finishes_what_it_began() {
    let bed = bed(&[("db", Fake::new(USERS, 1))]);
    for _ in 0..5 {
        bed.lease("db", LeaseId::new(), 1).await;
    }
    sleep(2).await;
    let stop = async { tokio::time::sleep(Duration::from_millis(5)).await };
    bed.reaper(Options::default()).run(stop).await;
    assert_eq!(bed.open().await, 0);
}
