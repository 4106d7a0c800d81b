//! Many callers at once.

use super::on_all;

on_all! {
    replay_parallel,
    limits_hold_under_load,
    a_run_takes_a_role_once_under_load,
    each_due_lease_has_one_worker,
    nothing_slips_past_a_hold,
}

mod run {
    use std::collections::HashMap;
    use std::sync::Arc;

    use claviger_broker::lease::hold::Scope;
    use claviger_broker::lease::{Hold, HoldId, Intent, LeaseId, Reason, State};
    use claviger_broker::store::{BeginError, Filter, Store, Want};
    use tokio::task::JoinSet;

    use super::super::{at, intent, lease, soon};

    /// Begins all at once; gives how many were begun, and the refusals.
    async fn begin_all(store: &Arc<dyn Store>, intents: Vec<Intent>) -> (usize, Vec<BeginError>) {
        let mut tasks = JoinSet::new();
        for intent in intents {
            let store = Arc::clone(store);
            tasks.spawn(async move { store.begin(&intent).await });
        }
        let (mut begun, mut refused) = (0, Vec::new());
        for answer in tasks.join_all().await {
            match answer {
                Ok(()) => begun += 1,
                Err(e) => refused.push(e),
            }
        }
        (begun, refused)
    }

    pub(super) async fn replay_parallel(store: Arc<dyn Store>) {
        let one = intent(lease());
        let again = |_| Intent { lease: lease(), ..one.clone() };
        let (begun, refused) = begin_all(&store, (0..64).map(again).collect()).await;
        assert_eq!((begun, refused.len()), (1, 63));
        assert!(refused.iter().all(|e| matches!(e, BeginError::Replayed)), "{refused:?}");
        assert_eq!(store.list(&Filter::default(), None, 100).await.unwrap().len(), 1);
    }

    pub(super) async fn limits_hold_under_load(store: Arc<dyn Store>) {
        let of_run = |n: usize| {
            let mut new = intent(lease());
            new.lease.who.run_id = Some(format!("run {}", n % 4));
            new.limits.run = Some(2);
            new.limits.role = Some(7);
            new
        };
        let (begun, refused) = begin_all(&store, (0..64).map(of_run).collect()).await;
        assert_eq!(begun, 7);
        assert!(refused.iter().all(|e| matches!(e, BeginError::LimitReached(_))), "{refused:?}");
        let mut by_run: HashMap<_, usize> = HashMap::new();
        for lease in store.list(&Filter::default(), None, 100).await.unwrap() {
            *by_run.entry(lease.who.run_id).or_default() += 1;
        }
        assert!(by_run.values().all(|count| *count <= 2), "{by_run:?}");
    }

    pub(super) async fn a_run_takes_a_role_once_under_load(store: Arc<dyn Store>) {
        let once = |_| {
            let mut new = intent(lease());
            new.limits.once_per_run = true;
            new
        };
        let (begun, refused) = begin_all(&store, (0..32).map(once).collect()).await;
        assert_eq!(begun, 1);
        assert!(refused.iter().all(|e| matches!(e, BeginError::LimitReached(_))), "{refused:?}");
    }

    pub(super) async fn each_due_lease_has_one_worker(store: Arc<dyn Store>) {
        let (begun, _) = begin_all(&store, (0..200).map(|_| intent(lease())).collect()).await;
        assert_eq!(begun, 200);
        let mut tasks = JoinSet::new();
        for worker in 0..8 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let (name, mut mine) = (format!("worker {worker}"), Vec::new());
                loop {
                    let wants = [Want { provider: "db", most: 7 }];
                    let claimed = store.claim(&name, &wants, at(100), at(200)).await.unwrap();
                    if claimed.is_empty() {
                        return mine;
                    }
                    assert!(claimed.len() <= 7);
                    for lease in claimed {
                        assert!(store.close(&name, lease.id, State::Revoked, at(101)).await.unwrap());
                        mine.push(lease.id);
                    }
                }
            });
        }
        let mut all: Vec<LeaseId> = tasks.join_all().await.concat();
        assert_eq!(all.len(), 200);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 200);
    }

    /// "Revoke all of this run, then issue again": whatever was begun before the hold is revoked, nothing is begun
    /// after it.
    pub(super) async fn nothing_slips_past_a_hold(store: Arc<dyn Store>) {
        for round in 0..10 {
            let run = format!("run {round}");
            let mut tasks = JoinSet::new();
            for _ in 0..24 {
                let (store, mut new) = (Arc::clone(&store), intent(lease()));
                new.lease.who.run_id = Some(run.clone());
                tasks.spawn(async move { store.begin(&new).await.is_ok() });
            }
            let scope = Scope { run: Some(run.clone()), ..Scope::default() };
            let filter = scope.filter();
            let hold = Hold { id: HoldId::new(), scope, reason: "x".into(), created: at(0), until: None };
            if round % 2 == 1 {
                soon().await;
            }
            store.hold(&hold).await.unwrap();
            let revoked = store.revoke(&filter, Reason::Operator, at(1)).await.unwrap().len();
            let begun = tasks.join_all().await.into_iter().filter(|begun| *begun).count();
            assert_eq!(revoked, begun, "round {round}");
            let live = Filter { states: vec![State::Pending, State::Active], ..filter };
            assert!(store.list(&live, None, 10).await.unwrap().is_empty());
            store.release(hold.id).await.unwrap();
        }
    }
}
