//! Random sequences of operations: a store and the model give the same answers, and hold the same in the end.

use std::sync::Arc;

use claviger_broker::lease::hold::Scope;
use claviger_broker::lease::{Hold, HoldId, LeaseId, Reason, State};
use claviger_broker::policy::grant::Limits;
use claviger_broker::store::{BeginError, Filter, Store, Want};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::model::Model;
use super::{at, intent, lease};

/// One operation. Leases, tokens, runs, ... are small numbers, so that operations meet.
#[derive(Debug, Clone)]
enum Op {
    Begin {
        lease: u8,
        token: u8,
        run: u8,
        role: bool,
        db: bool,
        active: bool,
        silence: Option<u32>,
        limits: (u8, u8, bool),
    },
    Keep(u8, u8),
    Activate(u8, i64, Option<u8>, Vec<u8>),
    Abandon(u8, u8, Option<u8>),
    Renew(u8, i64, i64),
    Heard(u8),
    Revoke(Box<Filter>, u8),
    Claim(u8, u32, u32, i64),
    Take(u8, u8, i64),
    Close(u8, u8, bool),
    Failed(u8, u8, i64),
    Wake(Box<Filter>),
    List(Box<Filter>, Option<u8>, u32),
    Overdue(i64),
    Hold(u8, Box<Scope>, Option<i64>),
    Release(u8),
    Purge(i64),
}

const LEASES: u8 = 6;
const PROVIDERS: [&str; 2] = ["db", "cache"];
const WORKERS: [&str; 2] = ["one", "two"];

/// The same id for the same number, in no order.
fn id(number: u8) -> LeaseId {
    LeaseId::from_bytes([number.wrapping_mul(97); 16])
}

fn run(number: u8) -> String {
    format!("run {number}")
}

fn role(one: bool) -> String {
    if one { "deploy".into() } else { "read".into() }
}

fn filter() -> impl Strategy<Value = Box<Filter>> {
    let ids = vec((0..LEASES).prop_map(id), 0..3);
    let words = (weighted(0.3, 0..3u8), weighted(0.2, any::<bool>()), weighted(0.3, any::<bool>()));
    let prints = vec(0..4u8, 0..2);
    (ids, words, weighted(0.2, 0..200i64), prints, vec(0..5usize, 0..2)).prop_map(
        |(ids, (of_run, of_role, db), since, prints, states)| {
            Box::new(Filter {
                ids: if ids.len() > 1 { ids } else { Vec::new() },
                states: states.into_iter().map(|index| State::ALL[index]).collect(),
                run: of_run.map(run),
                role: of_role.map(role),
                provider: db.map(|db| PROVIDERS[usize::from(db)].into()),
                since: since.map(at),
                fingerprints: prints.into_iter().map(print).collect(),
                ..Filter::default()
            })
        },
    )
}

fn scope() -> impl Strategy<Value = Box<Scope>> {
    (weighted(0.6, 0..3u8), weighted(0.5, any::<bool>()), weighted(0.3, any::<bool>())).prop_map(
        |(of_run, of_role, db)| {
            Box::new(Scope {
                run: of_run.map(run),
                role: of_role.map(role),
                provider: db.map(|db| PROVIDERS[usize::from(db)].into()),
                environment: Some("prod".into()),
                ..Scope::default()
            })
        },
    )
}

fn print(number: u8) -> String {
    format!("fingerprint {number}")
}

fn op() -> impl Strategy<Value = Op> {
    let lease = || 0..LEASES;
    let begin = (
        (lease(), 0..6u8, 0..3u8, any::<bool>()),
        (any::<bool>(), proptest::bool::weighted(0.3), weighted(0.3, 1..90u32)),
        (0..6u8, 0..5u8, proptest::bool::weighted(0.1)),
    )
        .prop_map(|((lease, token, run, role), (db, active, silence), limits)| Op::Begin {
            lease,
            token,
            run,
            role,
            db,
            active,
            silence,
            limits,
        });
    prop_oneof![
        8 => begin,
        2 => (lease(), any::<u8>()).prop_map(|(a, b)| Op::Keep(a, b)),
        6 => (lease(), 60..200i64, weighted(0.5, any::<u8>()), vec(0..4u8, 0..3))
            .prop_map(|(a, b, c, d)| Op::Activate(a, b, c, d)),
        2 => (lease(), 0..9u8, weighted(0.3, any::<u8>())).prop_map(|(a, b, c)| Op::Abandon(a, b, c)),
        3 => (lease(), 60..200i64, 100..4000i64).prop_map(|(a, b, c)| Op::Renew(a, b, c)),
        2 => lease().prop_map(Op::Heard),
        3 => (filter(), 0..9u8).prop_map(|(a, b)| Op::Revoke(a, b)),
        6 => (0..2u8, 0..3u32, 0..4u32, 1..40i64).prop_map(|(a, b, c, d)| Op::Claim(a, b, c, d)),
        2 => (0..2u8, lease(), 1..40i64).prop_map(|(a, b, c)| Op::Take(a, b, c)),
        4 => (0..2u8, lease(), any::<bool>()).prop_map(|(a, b, c)| Op::Close(a, b, c)),
        4 => (0..2u8, lease(), 0..90i64).prop_map(|(a, b, c)| Op::Failed(a, b, c)),
        1 => filter().prop_map(Op::Wake),
        3 => (filter(), weighted(0.3, lease()), 1..5u32).prop_map(|(a, b, c)| Op::List(a, b, c)),
        1 => (0..60i64).prop_map(Op::Overdue),
        1 => (0..3u8, scope(), weighted(0.6, 0..100i64)).prop_map(|(a, b, c)| Op::Hold(a, b, c)),
        1 => (0..3u8).prop_map(Op::Release),
        1 => (0..60i64).prop_map(Op::Purge),
    ]
}

/// Runs one operation on both at second `now`, and compares the answers.
async fn step(store: &dyn Store, model: &mut Model, now: i64, op: &Op) {
    let reason = |number: u8| Reason::ALL[usize::from(number)];
    match op.clone() {
        Op::Begin { lease: number, token, run: of, role: one, db, active, silence, limits } => {
            // An id is used once.
            if model.find(id(number)).is_some() {
                return;
            }
            let mut new = intent(lease());
            new.lease.id = id(number);
            new.lease.handle = [number; 32];
            new.lease.who.run_id = Some(run(of));
            new.lease.role = role(one);
            new.lease.provider = PROVIDERS[usize::from(db)].into();
            (new.lease.created, new.lease.expires) = (at(now), at(now + 60));
            new.lease.silence_s = silence;
            if active {
                new.lease.state = State::Active;
                new.lease.heard = silence.map(|_| at(now));
                new.lease.fingerprints = vec![print(number % 4)];
            }
            new.token.token_id = format!("jti:{token}");
            new.token.keep_until = at(now + 30);
            let limit = |most: u8| (most < 4).then_some(u32::from(most));
            new.limits = Limits { role: limit(limits.0), run: limit(limits.1), once_per_run: limits.2 };
            let wanted = model.begin(&new);
            let seen = match store.begin(&new).await {
                Ok(()) => Ok(()),
                Err(BeginError::HeldBack(reason)) => {
                    assert_eq!(reason, "being cleared up");
                    Err("held back")
                }
                Err(BeginError::Replayed) => Err("replayed"),
                Err(BeginError::LimitReached("live leases of the role")) => Err("role"),
                Err(BeginError::LimitReached("live leases of the run under the role")) => Err("run"),
                Err(BeginError::LimitReached("one lease of the run under the role")) => Err("once"),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(seen, wanted);
        }
        Op::Keep(lease, byte) => {
            let seen = store.keep(id(lease), &[byte]).await.unwrap();
            assert_eq!(seen, model.keep(id(lease), &[byte]));
        }
        Op::Activate(lease, expires, reference, prints) => {
            let (reference, expires) = (reference.map(|byte| [byte]), at(now + expires));
            let reference = reference.as_ref().map(|it| &it[..]);
            let prints: Vec<String> = prints.into_iter().map(print).collect();
            let seen = store.activate(id(lease), expires, reference, &prints).await.unwrap();
            assert_eq!(seen, model.activate(id(lease), expires, reference, &prints));
        }
        Op::Abandon(lease, why, reference) => {
            let reference = reference.map(|byte| [byte]);
            let reference = reference.as_ref().map(|it| &it[..]);
            let seen = store.abandon(id(lease), reason(why), reference, at(now)).await.unwrap();
            assert_eq!(seen, model.abandon(id(lease), reason(why), reference, at(now)));
        }
        Op::Renew(lease, wrong, until) => {
            // Mostly what it was, sometimes not.
            let before = model.find(id(lease)).filter(|_| wrong % 4 != 0).map_or(at(wrong), |it| it.expires);
            let seen = store.renew(id(lease), before, at(until)).await.unwrap();
            assert_eq!(seen, model.renew(id(lease), before, at(until)));
        }
        Op::Heard(lease) => {
            assert_eq!(store.heard(&[lease; 32], at(now)).await.unwrap(), model.heard(id(lease), at(now)));
            let held = store.find_held(&[lease; 32]).await.unwrap();
            assert_eq!(held, model.find(id(lease)));
        }
        Op::Revoke(filter, why) => {
            let seen = store.revoke(&filter, reason(why), at(now)).await.unwrap();
            assert_eq!(seen, model.revoke(&filter, reason(why), at(now)));
        }
        Op::Claim(worker, first, second, span) => {
            let worker = WORKERS[usize::from(worker)];
            let wants = [(0, first), (1, second)].map(|(at, most)| Want { provider: PROVIDERS[at], most });
            let seen = store.claim(worker, &wants, at(now), at(now + span)).await.unwrap();
            assert_eq!(seen, model.claim(worker, &wants, at(now), at(now + span)));
        }
        Op::Take(worker, lease, span) => {
            let worker = WORKERS[usize::from(worker)];
            let seen = store.take(worker, id(lease), at(now), at(now + span)).await.unwrap();
            assert_eq!(seen, model.take(worker, id(lease), at(now), at(now + span)));
        }
        Op::Close(worker, lease, revoked) => {
            let state = if revoked { State::Revoked } else { State::Expired };
            let worker = WORKERS[usize::from(worker)];
            let seen = store.close(worker, id(lease), state, at(now)).await.unwrap();
            assert_eq!(seen, model.close(worker, id(lease), state, at(now)));
        }
        Op::Failed(worker, lease, next) => {
            let worker = WORKERS[usize::from(worker)];
            let (next, error) = (at(now + next), format!("not possible at {now}"));
            let seen = store.failed(worker, id(lease), next, &error).await.unwrap();
            assert_eq!(seen, model.failed(worker, id(lease), next, &error));
        }
        Op::Wake(filter) => {
            let seen = store.wake(&filter, at(now)).await.unwrap();
            assert_eq!(seen, model.wake(&filter, at(now)));
        }
        Op::List(filter, after, most) => {
            let seen = store.list(&filter, after.map(id), most).await.unwrap();
            assert_eq!(seen, model.list(&filter, after.map(id), most as usize));
        }
        Op::Overdue(ago) => {
            let seen = store.overdue(at(now - ago), at(now)).await.unwrap();
            assert_eq!(seen, model.overdue(at(now - ago), at(now)));
        }
        Op::Hold(number, scope, until) => {
            let id = HoldId::from_bytes([number; 16]);
            if model.holds(at(-1000)).iter().all(|hold| hold.id != id) {
                let reason = "being cleared up".into();
                let until = until.map(|after| at(now + after));
                let hold = Hold { id, scope: *scope, reason, created: at(now), until };
                store.hold(&hold).await.unwrap();
                model.hold(&hold);
            }
        }
        Op::Release(number) => {
            let id = HoldId::from_bytes([number; 16]);
            assert_eq!(store.release(id).await.unwrap(), model.release(id));
        }
        Op::Purge(ago) => {
            let seen = store.purge(at(now), at(now - ago)).await.unwrap();
            assert_eq!(seen, model.purge(at(now), at(now - ago)));
        }
    }
}

async fn compare(store: &dyn Store, ops: &[(i64, Op)]) {
    let (mut model, mut now) = (Model::default(), 0);
    for (passed, op) in ops {
        now += passed;
        step(store, &mut model, now, op).await;
    }
    let all = Filter::default();
    assert_eq!(store.list(&all, None, 1000).await.unwrap(), model.list(&all, None, 1000));
    assert_eq!(store.counts().await.unwrap(), model.counts());
    assert_eq!(store.overdue(at(now), at(now)).await.unwrap(), model.overdue(at(now), at(now)));
    assert_eq!(store.holds(at(now)).await.unwrap(), model.holds(at(now)));
}

/// Runs `cases` sequences, each on a store that `empty` gives.
fn property<F: Future<Output = Arc<dyn Store>>>(cases: u32, empty: impl Fn() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let sequences = vec((0..25i64, op()), 1..60);
    let result = TestRunner::new(config).run(&sequences, |ops| {
        runtime.block_on(async { compare(&*empty().await, &ops).await });
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
}

#[test]
fn memory_does_what_the_model_does() {
    property(1000, || async { super::memory().await.unwrap().store });
}

#[test]
fn sqlite_does_what_the_model_does() {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    // A new file for each sequence would cost more than the sequence: the tables are emptied on the side.
    property(100, || async {
        let store = claviger_broker::store::sqlite::Sqlite::open(&path).await.unwrap();
        let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        for table in ["lease", "token", "hold", "fingerprint"] {
            let text = format!("DELETE FROM claviger_{table}");
            conn.execute(sqlx::AssertSqlSafe(text)).await.unwrap();
        }
        Arc::new(store) as Arc<dyn Store>
    });
}

#[test]
fn postgres_does_what_the_model_does() {
    let setup = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Some(schema) = setup.block_on(super::Schema::make("sequence")) else { return };
    property(60, || async {
        let store = super::open(&schema.url()).await;
        let tables = ["lease", "token", "hold", "fingerprint"];
        for table in tables {
            schema.run(&format!("DELETE FROM {}.claviger_{table}", schema.name)).await;
        }
        Arc::new(store) as Arc<dyn Store>
    });
}
