//! Objects at a target that no open lease accounts for.

use std::sync::Arc;
use std::time::Duration;

use claviger_broker::lease::alert::Alert;
use claviger_broker::lease::reaper::Options;
use claviger_broker::lease::sweep::{self, Found};
use claviger_broker::lease::{LeaseId, Reason, State};
use claviger_broker::store::memory::Memory;

use super::bed::{Bed, Fake, USERS, sleep};

fn options(owned: &[&str]) -> sweep::Options {
    let owned = owned.iter().map(|it| it.to_string()).collect();
    sweep::Options { grace: Duration::from_secs(60), owned, ..sweep::Options::default() }
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_was_carried_out_late_is_found() {
    let bed = Bed::new(Arc::new(Memory::new()), &[("db", Fake::new(USERS, 1))]);
    bed.start(Options::default());
    let id = bed.lease("db", LeaseId::new(), 10).await;
    let live = bed.lease("db", LeaseId::new(), 9000).await;
    sleep(15).await;
    assert_eq!(bed.state(id).await, State::Revoked);
    // The server was slow: now comes what was sent before.
    bed.targets["db"].make(id);
    bed.targets["db"].objects.lock().unwrap().insert("clv_operator_made".into());
    bed.targets["db"].objects.lock().unwrap().insert("postgres".into());
    let mut sweep = bed.sweep(options(&[]));
    assert_eq!(sweep.provider("db").await.unwrap(), Found { objects: 2, fresh: 1, ..Found::default() });
    sleep(61).await;
    let found = sweep.provider("db").await.unwrap();
    assert_eq!(found, Found { objects: 2, strays: vec![id], ..Found::default() });
    sleep(2).await;
    let lease = bed.store.find(id).await.unwrap().unwrap();
    assert_eq!((lease.state, lease.reason), (State::Revoked, Some(Reason::Stray)));
    assert_eq!(bed.state(live).await, State::Active);
    assert_eq!(bed.targets["db"].objects.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_another_broker_made_is_left_alone_unless_the_target_is_ours() {
    let bed = Bed::new(Arc::new(Memory::new()), &[("db", Fake::new(USERS, 1))]);
    let stranger = LeaseId::new();
    bed.targets["db"].make(stranger);
    let mut sweep = bed.sweep(options(&[]));
    sweep.provider("db").await.unwrap();
    sleep(61).await;
    assert_eq!(sweep.provider("db").await.unwrap().strangers, [stranger]);
    let alert = Alert::Strangers { provider: "db".into(), names: vec![stranger.object_name()], count: 1 };
    assert_eq!(*bed.bell.0.lock().unwrap(), [alert]);
    assert!(!bed.targets["db"].is_empty());
    let mut sweep = bed.sweep(options(&["db"]));
    sweep.provider("db").await.unwrap();
    sleep(61).await;
    assert_eq!(sweep.provider("db").await.unwrap().removed, [stranger]);
    assert!(bed.targets["db"].is_empty());
    assert_eq!(bed.ledger.ends().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_at_the_second_look_was_never_a_stray() {
    let bed = Bed::new(Arc::new(Memory::new()), &[("db", Fake::new(USERS, 1))]);
    bed.start(Options::default());
    let id = bed.lease("db", LeaseId::new(), 10).await;
    sleep(15).await;
    let mut sweep = bed.sweep(options(&["db"]));
    for _ in 0..3 {
        bed.targets["db"].make(id);
        assert_eq!(sweep.provider("db").await.unwrap().fresh, 1);
        bed.targets["db"].objects.lock().unwrap().clear();
        sleep(61).await;
        assert_eq!(sweep.provider("db").await.unwrap(), Found::default());
    }
}
