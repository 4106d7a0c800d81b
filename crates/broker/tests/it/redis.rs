//! Redis users against real servers. Tests named in the fact sheets carry their names.

use std::collections::BTreeSet;
use std::sync::Arc;

use claviger_broker::provider::{Check, Issued, Provider, ProviderError};
use claviger_broker::testing;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::ground::{Asking, build, field};
use crate::servers::free_port;
use crate::servers::proxy::{Loss, Proxy};
use crate::servers::redis::{Redis, run, shared};

fn provider(settings: &Value) -> Arc<dyn Provider> {
    build("redis", settings).expect("settings")
}

fn asking(parameters: Value) -> Asking {
    Asking::new(testing::identity(json!({"sub": "repo:example/app:ref:refs/heads/main"})), parameters)
}

fn app() -> Asking {
    asking(json!({"keys": ["app:*"], "commands": ["+@read", "+@write"]}))
}

fn with(server: &Redis, member: &str, value: impl Into<Value>) -> Value {
    let mut settings = server.settings();
    settings[member] = value.into();
    settings
}

fn at(server: &Redis, ports: &[u16]) -> Value {
    with(server, "nodes", ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>())
}

async fn login(server: &Redis, issued: &Issued) -> redis::RedisResult<MultiplexedConnection> {
    server.login(field(issued, "username"), field(issued, "password")).await
}

async fn has_user(server: &Redis, name: &str) -> bool {
    let users: Vec<String> = server.ask(&["ACL", "USERS"]).await.expect("listed");
    users.iter().any(|user| user == name)
}

fn problems(checks: &[Check]) -> Vec<String> {
    checks.iter().filter_map(|check| Some(format!("{}: {}", check.what, check.problem.as_deref()?))).collect()
}

#[tokio::test]
async fn a_user_works_until_it_is_revoked() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let asking = app();
    let issued = asking.issue(&*provider).await.expect("issued");
    let name = asking.lease.object_name();
    let mut session = login(server, &issued).await.expect("logs in");
    let _: () = run(&mut session, &["SET", "app:a", "1"]).await.expect("it may");
    let _: () = run(&mut session, &["PING"]).await.expect("it may");
    for words in [
        vec!["SET", "other", "1"],
        vec!["KEYS", "*"],
        vec!["INFO"],
        vec!["CLIENT", "LIST"],
        vec!["ACL", "WHOAMI"],
        vec!["CONFIG", "GET", "*"],
        vec!["PUBLISH", "app:a", "1"],
    ] {
        let answer: redis::RedisResult<redis::Value> = run(&mut session, &words).await;
        assert_eq!(answer.expect_err("it may not").code(), Some("NOPERM"), "{words:?}");
    }
    let (host, port) = (field(&issued, "host"), field(&issued, "port"));
    assert!(field(&issued, "url").ends_with(&format!("@{host}:{port}/0")));
    redis::Client::open(field(&issued, "url")).expect("a URL").get_connection().expect("the URL logs in");
    assert!(provider.list().await.expect("listed").contains(&name));
    let rules: Vec<String> = server.ask(&["ACL", "LIST"]).await.expect("listed");
    assert!(!rules.concat().contains(field(&issued, "password")));

    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(provider.renew(&asking.held(&name, None), later).await, Ok(later));
    asking.revoke(&*provider, None).await.expect("revoked");
    let dead: redis::RedisResult<String> = run(&mut session, &["GET", "app:a"]).await;
    assert!(dead.is_err(), "session_survives: it does not");
    assert!(login(server, &issued).await.is_err());
    assert!(!has_user(server, &name).await);
    assert!(!provider.list().await.expect("listed").contains(&name));
    asking.revoke(&*provider, None).await.expect("again: it is gone");
    let renewed = provider.renew(&asking.held(&name, None), later).await;
    assert!(matches!(renewed, Err(ProviderError::Denied(_))), "{renewed:?}");
    let error = provider.revoke(&asking.held("default", None)).await.expect_err("not a lease's");
    assert!(matches!(error, ProviderError::Denied(_)), "{error}");
}

#[tokio::test]
async fn issued_again_it_has_a_new_password_and_nothing_old() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let mut asking = app();
    let first = asking.issue(&*provider).await.expect("issued");
    asking.parameters = json!({"keys": ["b:*"], "channels": ["b"], "commands": ["+get", "+publish"]});
    let second = asking.issue(&*provider).await.expect("issued again");
    assert!(login(server, &first).await.is_err(), "the first password is void");
    let mut session = login(server, &second).await.expect("the second one works");
    let old: redis::RedisResult<redis::Value> = run(&mut session, &["GET", "app:a"]).await;
    assert!(old.is_err());
    let _: redis::Value = run(&mut session, &["PUBLISH", "b", "1"]).await.expect("it may");
    asking.revoke(&*provider, None).await.expect("revoked");
}

#[tokio::test]
async fn a_restart_brings_back_no_one() {
    for with_file in [true, false] {
        let Some(server) = Redis::start(with_file) else { return };
        let provider = provider(&server.settings());
        let (gone, lives) = (app(), app());
        gone.issue(&*provider).await.expect("issued");
        let issued = lives.issue(&*provider).await.expect("issued");
        gone.revoke(&*provider, None).await.expect("revoked");
        server.restart();
        assert!(!has_user(&server, &gone.lease.object_name()).await);
        assert_eq!(login(&server, &issued).await.is_ok(), with_file, "kept in the file, or forgotten");
        lives.revoke(&*provider, None).await.expect("on a new connection");
        server.restart();
        assert!(!has_user(&server, &lives.lease.object_name()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_lost() {
    let Some(server) = shared().await else { return };
    let proxy = Proxy::to(server.port()).await;
    let settings = at(server, &[proxy.port()]);
    let asking = app();
    let fresh = provider(&settings);
    proxy.lose_answer_to("SETUSER", Loss::Cut);
    let error = asking.issue(&*fresh).await.expect_err("no answer");
    assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}");
    assert!(has_user(server, &asking.lease.object_name()).await, "it was done");
    let issued = asking.issue(&*fresh).await.expect("made again");
    login(server, &issued).await.expect("logs in");
    proxy.lose_answer_to("SETUSER", Loss::Cut);
    asking.issue(&*fresh).await.expect("on a connection that was used before: again at once");
    proxy.lose_answer_to("DELUSER", Loss::Cut);
    asking.revoke(&*fresh, None).await.expect("again at once");
    let late = provider(&settings);
    proxy.lose_answer_to("DELUSER", Loss::Cut);
    let error = asking.revoke(&*late, None).await.expect_err("no answer");
    assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}");
    asking.revoke(&*late, None).await.expect("revoked");
    assert_eq!(proxy.lost(), 4);
    assert!(!has_user(server, &asking.lease.object_name()).await);
}

#[tokio::test]
async fn what_fails_has_its_class() {
    let Some(server) = shared().await else { return };
    let error = app().issue(&*provider(&at(server, &[free_port()]))).await.expect_err("nobody there");
    assert!(matches!(error, ProviderError::Transient(_)), "{error}");
    let wrong = "x".repeat(24);
    let error = app().issue(&*provider(&with(server, "password", json!({"value": wrong})))).await;
    let error = error.expect_err("wrong password");
    assert!(matches!(error, ProviderError::Misconfigured(_)), "{error}");
    assert!(!error.to_string().contains(&wrong));
    let asking = asking(json!({"keys": ["app:*"], "commands": ["+nosuchcommand"]}));
    let provider = provider(&server.settings());
    let error = asking.issue(&*provider).await.expect_err("no such command");
    assert!(
        matches!(&error, ProviderError::Misconfigured(text) if text.contains("nosuchcommand")),
        "{error}"
    );
    assert!(!has_user(server, &asking.lease.object_name()).await, "all or nothing");

    // Somebody listens and says nothing.
    let mute = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let error = app().issue(&*self::provider(&at(server, &[port]))).await.expect_err("nothing said");
    assert!(matches!(error, ProviderError::Transient(_)), "{error}");
}

/// A client whose login failed goes on as the default user.
#[tokio::test]
async fn an_open_default_user_is_refused() {
    let Some(server) = Redis::start(false) else { return };
    let good = provider(&server.settings());
    assert_eq!(problems(&good.check().await), Vec::<String>::new());
    let _: () = server.ask(&["ACL", "SETUSER", "default", "nopass"]).await.expect("opened");
    let error = app().issue(&*provider(&server.settings())).await.expect_err("not on such a server");
    assert!(matches!(&error, ProviderError::Misconfigured(text) if text.contains("default user")), "{error}");
    assert!(problems(&good.check().await).concat().contains("ACL SETUSER default off"));
    let by_word = provider(&with(&server, "open_default_user", "accepted"));
    let asking = app();
    asking.issue(&*by_word).await.expect("by word");
    asking.revoke(&*by_word, None).await.expect("revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_nodes() {
    let Some(first) = shared().await else { return };
    let Some(second) = Redis::start(true) else { return };
    // The same account on both.
    let _: () = second
        .ask(&["ACL", "SETUSER", "broker", "resetpass", &format!(">{}", first.broker)])
        .await
        .expect("set");
    let _: () = second.ask(&["ACL", "SAVE"]).await.expect("saved");
    let provider = provider(&at(first, &[first.port(), second.port()]));
    let (both, half) = (app(), app());
    let issued = both.issue(&*provider).await.expect("issued");
    login(first, &issued).await.expect("logs in on the first");
    login(&second, &issued).await.expect("and on the second");
    assert_eq!(field(&issued, "nodes"), format!("127.0.0.1:{},127.0.0.1:{}", first.port(), second.port()));

    second.stop();
    let error = half.issue(&*provider).await.expect_err("one is down");
    assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}");
    assert!(has_user(first, &half.lease.object_name()).await);
    for asking in [&both, &half] {
        let error = asking.revoke(&*provider, None).await.expect_err("one is still down");
        assert!(error.is_passing(), "{error}");
        assert!(!has_user(first, &asking.lease.object_name()).await, "what can be done is done");
    }
    second.go();
    for asking in [&both, &half] {
        asking.revoke(&*provider, None).await.expect("revoked");
        assert!(!has_user(&second, &asking.lease.object_name()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_one_connection() {
    let Some(server) = shared().await else { return };
    let proxy = Proxy::to(server.port()).await;
    let provider = provider(&at(server, &[proxy.port()]));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move {
                for _ in 0..10 {
                    let asking = app();
                    asking.issue(&*provider).await.expect("issued");
                    asking.revoke(&*provider, None).await.expect("revoked");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(proxy.accepted(), 1);
    proxy.cut_all();
    let asking = app();
    asking.issue(&*provider).await.expect("issued on a new connection");
    asking.revoke(&*provider, None).await.expect("revoked");
}

#[tokio::test]
async fn check_says_what_to_run() {
    let Some(server) = shared().await else { return };
    assert_eq!(problems(&provider(&server.settings()).check().await), Vec::<String>::new());
    let word = format!(">{}", server.broker);
    let rules = ["ACL", "SETUSER", "poor", "on", &word, "-@all", "+auth", "+hello", "+acl|getuser", "~*"];
    let _: () = server.ask(&rules).await.expect("made");
    let poor = provider(&with(server, "user", "poor"));
    assert!(matches!(app().issue(&*poor).await, Err(ProviderError::Misconfigured(_))));
    for _ in 0..2 {
        let before = problems(&poor.check().await);
        let said: BTreeSet<&str> =
            before.iter().filter_map(|problem| Some(problem.split_once("run: ")?.1)).collect();
        for statement in said {
            let words: Vec<&str> = statement.split(' ').collect();
            let _: () = server.ask(&words).await.expect(statement);
        }
    }
    assert_eq!(problems(&poor.check().await), Vec::<String>::new());
    let asking = app();
    asking.issue(&*poor).await.expect("now it may");
    asking.revoke(&*poor, None).await.expect("revoked");
}

#[tokio::test]
async fn tls_is_checked_in_full() {
    let Some(server) = shared().await else { return };
    let by_tls = |host: &str, tls: Value| {
        let mut settings = with(server, "nodes", vec![format!("{host}:{}", server.tls_port())]);
        settings["tls"] = tls;
        provider(&settings)
    };
    let good = by_tls("localhost", json!({"ca_file": server.file("ca.crt")}));
    let asking = app();
    let issued = asking.issue(&*good).await.expect("issued");
    assert!(field(&issued, "url").starts_with("rediss://"));
    asking.revoke(&*good, None).await.expect("revoked");
    let stranger = by_tls("localhost", json!({"mode": "verify-full"}));
    let error = app().issue(&*stranger).await.expect_err("unknown authority");
    assert!(matches!(&error, ProviderError::Misconfigured(text) if text.contains("TLS")), "{error}");
}
