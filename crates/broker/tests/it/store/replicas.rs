//! PostgreSQL with several brokers, lost connections, a server that only reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claviger_broker::lease::{Intent, Reason, State};
use claviger_broker::store::postgres::{Options, Postgres};
use claviger_broker::store::{BeginError, Filter, Store as _, StoreError};
use tokio::task::JoinSet;

use super::{Schema, at, intent, lease, open};
use crate::servers::proxy::{Loss, Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_start_at_once_make_the_tables_once() {
    let Some(schema) = Schema::make("start").await else { return };
    let url = schema.url();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        tasks.spawn(async move { drop(open(&url).await) });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_used_once_across_brokers() {
    let Some(schema) = Schema::make("tokens").await else { return };
    let stores = [open(&schema.url()).await, open(&schema.url()).await, open(&schema.url()).await];
    let stores = Arc::new(stores);
    for round in 0..10 {
        let one = intent(lease());
        let mut tasks = JoinSet::new();
        for n in 0..30 {
            let (stores, mut again) = (Arc::clone(&stores), Intent { lease: lease(), ..one.clone() });
            again.limits.role = (round % 2 == 1).then_some(1000);
            tasks.spawn(async move { stores[n % 3].begin(&again).await });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 1);
        let replayed = |it: &&Result<(), BeginError>| matches!(it, Err(BeginError::Replayed));
        assert_eq!(answers.iter().filter(replayed).count(), 29, "{answers:?}");
    }
}

/// The server becomes a standby while the broker runs; afterwards a broker that starts says so too.
#[tokio::test(flavor = "multi_thread")]
async fn standby_issue() {
    let Some(schema) = Schema::make("standby").await else { return };
    let name = &schema.name;
    schema.run(&format!("CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA {name} TO {name}")).await;
    let mut url: url::Url = schema.url().parse().unwrap();
    url.set_username(name).unwrap();
    let store = open(url.as_str()).await;
    let first = intent(lease());
    store.begin(&first).await.unwrap();
    schema
        .run(&format!(
            "ALTER ROLE {name} SET default_transaction_read_only = on;
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
        ))
        .await;
    let second = intent(lease());
    for _ in 0..3 {
        let refused = store.begin(&second).await.unwrap_err();
        assert!(matches!(refused, BeginError::Store(StoreError::Unavailable(_))), "{refused}");
    }
    assert!(store.begin(&second).await.unwrap_err().to_string().contains("only reads"));
    assert!(store.find(first.lease.id).await.unwrap().is_some());
    let error = Postgres::open(url.as_str(), &Options::default()).await.err().unwrap();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("only reads")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_so() {
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let url = format!("postgres://someone:{}@127.0.0.1:1/none", "let".to_owned() + "mein");
    let error = Postgres::open(&url, &options).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("mein"));
    let error = Postgres::open("nonsense:letmein", &options).await.err().unwrap();
    assert!(matches!(error, StoreError::Unfit(_)) && !error.to_string().contains("mein"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_any_time_lose_nothing() {
    let Some(schema) = Schema::make("cut").await else { return };
    let name = schema.name.clone();
    let url = format!("{}&application_name={name}", schema.url());
    let store = Arc::new(open(&url).await);
    let stop = Arc::new(AtomicBool::new(false));
    let cutter = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(25)).await;
                let cut = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = '{name}' AND random() < 0.3"
                );
                schema.run(&cut).await;
            }
        }
    });
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let (mut done, mut undone, mut unknown) = (Vec::new(), Vec::new(), 0);
            for _ in 0..150 {
                let new = intent(lease());
                match store.begin(&new).await {
                    Ok(()) => done.push(new.lease.id),
                    Err(BeginError::Store(StoreError::Unavailable(_))) => undone.push(new.lease.id),
                    Err(BeginError::Store(StoreError::Unknown(_))) => unknown += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            (done, undone, unknown)
        });
    }
    let answers = tasks.join_all().await;
    stop.store(true, Ordering::Relaxed);
    cutter.await.unwrap();
    let (mut cut, mut known) = (0, 0);
    for (done, undone, unknown) in answers {
        cut += undone.len() + unknown;
        known += done.len();
        for id in done {
            assert!(store.find(id).await.unwrap().is_some(), "{id} was acknowledged");
        }
        for id in undone {
            assert!(store.find(id).await.unwrap().is_none(), "{id} was said not to be done");
        }
    }
    assert!(cut > 0, "no cut was felt");
    let all = store.counts().await.unwrap().by_provider[0].1;
    assert!(all >= known as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_and_an_activation_at_once_leave_nothing_out() {
    let Some(schema) = Schema::make("race").await else { return };
    let stores = Arc::new([open(&schema.url()).await, open(&schema.url()).await]);
    for _ in 0..60 {
        let new = intent(lease());
        let id = new.lease.id;
        stores[0].begin(&new).await.unwrap();
        let other = Arc::clone(&stores);
        let revoking = tokio::spawn(async move {
            let filter = Filter { ids: vec![id], ..Filter::default() };
            other[1].revoke(&filter, Reason::Operator, at(1)).await.unwrap()
        });
        let active = stores[0].activate(id, at(900), None, &[]).await.unwrap();
        assert_eq!(revoking.await.unwrap(), [id]);
        let seen = stores[0].find(id).await.unwrap().unwrap();
        assert_eq!(seen.state, State::Revoking);
        // Handed out or not, it is due at once: nobody is making it any more.
        assert_eq!(seen.next_attempt, Some(if active { at(1) } else { seen.revoking_since.unwrap() }));
    }
}

/// As after a pulled cable: the server did it, its answer never comes, and the connection looks open.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_falls_silent_is_given_up_and_replaced() {
    let Some(schema) = Schema::make("silent").await else { return };
    let mut url: url::Url = schema.url().parse().unwrap();
    let proxy = Proxy::to(url.port().unwrap_or(5432)).await;
    url.set_port(Some(proxy.port())).unwrap();
    let options = Options {
        connections: 1,
        connect_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_millis(500),
        ..Options::default()
    };
    let store = Postgres::open(url.as_str(), &options).await.unwrap();
    let silent = intent(lease());
    proxy.lose_answer_to("COMMIT", Loss::Swallow);
    let answer = store.begin(&silent).await;
    assert!(matches!(answer, Err(BeginError::Store(StoreError::Unknown(_)))), "{answer:?}");
    assert_eq!(proxy.lost(), 1);
    store.begin(&intent(lease())).await.unwrap();
    assert!(matches!(store.begin(&silent).await, Err(BeginError::Replayed)), "it had been done");
}
