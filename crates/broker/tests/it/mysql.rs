//! MySQL users against a real MariaDB server. Tests named in the fact sheets carry their names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claviger_broker::provider::{Check, Issued, Provider, ProviderError};
use claviger_broker::testing;
use serde_json::{Value, json};
use sqlx::mysql::MySqlConnection;

use crate::ground::{Asking, build, field};
use crate::servers::free_port;
use crate::servers::mariadb::{MariaDb, run, shared};
use crate::servers::proxy::{Loss, Proxy};

fn provider(settings: &Value) -> Arc<dyn Provider> {
    build("mysql", settings).expect("settings")
}

fn asking(parameters: Value) -> Asking {
    Asking::new(testing::identity(json!({"sub": "repo:example/app:ref:refs/heads/main"})), parameters)
}

fn writer() -> Asking {
    asking(json!({"grants": [{"privileges": ["SELECT", "INSERT"], "on": "app_main.*"}]}))
}

fn reader() -> Asking {
    asking(json!({"roles": ["app_ro"]}))
}

fn with(server: &MariaDb, member: &str, value: impl Into<Value>) -> Value {
    let mut settings = server.settings();
    settings[member] = value.into();
    settings
}

fn by_way_of(server: &MariaDb, port: u16) -> Value {
    with(server, "url", format!("mysql://broker@127.0.0.1:{port}/app_main"))
}

async fn login(server: &MariaDb, issued: &Issued) -> sqlx::Result<MySqlConnection> {
    server.login(field(issued, "username"), field(issued, "password"), false).await
}

fn problems(checks: &[Check]) -> Vec<String> {
    checks.iter().filter_map(|check| Some(format!("{}: {}", check.what, check.problem.as_deref()?))).collect()
}

#[tokio::test]
async fn a_user_with_grants_works_until_it_is_revoked() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let asking = writer();
    let issued = asking.issue(&*provider).await.expect("issued");
    let name = asking.lease.object_name();
    assert_eq!(field(&issued, "username"), name);
    assert_eq!(field(&issued, "database"), "app_main");
    let mut session = login(server, &issued).await.expect("logs in");
    run(&mut session, "INSERT INTO app_main.things VALUES (2)").await.expect("it may");
    assert!(run(&mut session, "DROP TABLE app_main.things").await.is_err());
    assert!(run(&mut session, "SELECT * FROM appxmain.things").await.is_err(), "`_` is no wildcard");
    assert!(provider.list().await.expect("listed").contains(&name));
    let log = std::fs::read_to_string(server.file("log")).expect("the general log");
    assert!(log.contains(&name) && !log.contains(field(&issued, "password")), "the log holds no password");

    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(provider.renew(&asking.held(&name, None), later).await, Ok(later));
    asking.revoke(&*provider, None).await.expect("revoked");
    assert!(login(server, &issued).await.is_err());
    assert!(!server.has_user(&name));
    assert!(!provider.list().await.expect("listed").contains(&name));
    asking.revoke(&*provider, None).await.expect("again: it is gone");
    let renewed = provider.renew(&asking.held(&name, None), later).await;
    assert!(matches!(renewed, Err(ProviderError::Denied(_))), "{renewed:?}");
    let error = provider.revoke(&asking.held("root", None)).await.expect_err("not a lease's");
    assert!(matches!(error, ProviderError::Denied(_)), "{error}");
}

/// The broker may not set others' default roles, and needs not: the user sets its own.
#[tokio::test]
async fn a_role_is_active_from_the_login_on() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    for _ in 0..2 {
        let asking = reader();
        let issued = asking.issue(&*provider).await.expect("issued");
        let mut session = login(server, &issued).await.expect("logs in");
        run(&mut session, "SELECT * FROM app_main.things").await.expect("it may");
        assert!(run(&mut session, "INSERT INTO app_main.things VALUES (3)").await.is_err());
        asking.revoke(&*provider, None).await.expect("revoked");
    }
    let two = asking(json!({"roles": ["app_ro", "app_ro"]}));
    let error = two.issue(&*provider).await.expect_err("one at a time");
    assert!(matches!(error, ProviderError::Misconfigured(_)), "{error}");
}

#[tokio::test]
async fn issued_again_it_has_a_new_password() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let asking = writer();
    let first = asking.issue(&*provider).await.expect("issued");
    let second = asking.issue(&*provider).await.expect("issued again");
    assert!(login(server, &first).await.is_err(), "the first password is void");
    login(server, &second).await.expect("the second one works");
    asking.revoke(&*provider, None).await.expect("revoked");
}

#[tokio::test]
async fn session_survives() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let (asking, neighbour) = (writer(), writer());
    let issued = asking.issue(&*provider).await.expect("issued");
    let others = neighbour.issue(&*provider).await.expect("issued");
    let mut others = login(server, &others).await.expect("logs in");
    let mut open = login(server, &issued).await.expect("logs in");
    let mut writing = login(server, &issued).await.expect("logs in");
    let mut busy = login(server, &issued).await.expect("logs in");
    run(&mut writing, "BEGIN; INSERT INTO app_main.things VALUES (99)").await.expect("it may");
    let sleeping = tokio::spawn(async move { run(&mut busy, "SELECT SLEEP(60)").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    asking.revoke(&*provider, None).await.expect("revoked");
    assert!(run(&mut open, "SELECT 1").await.is_err());
    assert!(run(&mut writing, "COMMIT").await.is_err());
    let start = Instant::now();
    let _ = sleeping.await.expect("joined");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(server.run("SELECT COUNT(*) FROM app_main.things WHERE id = 99"), "0");
    run(&mut others, "SELECT 1").await.expect("nobody else's session is ended");

    // Dropped by somebody else: its session is listed, and ended.
    let name = neighbour.lease.object_name();
    server.run(&format!("DROP USER '{name}'@'%'"));
    run(&mut others, "SELECT 1").await.expect("the drop leaves it alive");
    assert!(provider.list().await.expect("listed").contains(&name));
    neighbour.revoke(&*provider, None).await.expect("revoked");
    assert!(run(&mut others, "SELECT 1").await.is_err());
    assert!(!provider.list().await.expect("listed").contains(&name));
}

#[tokio::test]
async fn users_of_another_host_part_are_removed_too() {
    let Some(server) = shared().await else { return };
    let asking = writer();
    let near = provider(&with(server, "user_host", "localhost"));
    let issued = asking.issue(&*near).await.expect("issued");
    login(server, &issued).await.expect("logs in");
    asking.revoke(&*provider(&server.settings()), None).await.expect("revoked");
    assert!(!server.has_user(&asking.lease.object_name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_lost() {
    let Some(server) = shared().await else { return };
    let proxy = Proxy::to(server.port()).await;
    let settings = by_way_of(server, proxy.port());
    let asking = writer();
    let fresh = provider(&settings);
    // The first message asks for the version, so the connection was used before: it is tried again at once.
    proxy.lose_answer_to("CREATE OR REPLACE USER", Loss::Cut);
    let issued = asking.issue(&*fresh).await.expect("made again at once");
    login(server, &issued).await.expect("logs in");
    proxy.lose_answer_to("ACCOUNT LOCK", Loss::Cut);
    asking.revoke(&*fresh, None).await.expect("removed again at once");
    assert_eq!(proxy.lost(), 2);
    assert!(!server.has_user(&asking.lease.object_name()));

    let slow = provider(&{
        let mut settings = settings.clone();
        settings["statement_timeout"] = "1s".into();
        settings
    });
    proxy.lose_answer_to("CREATE OR REPLACE USER", Loss::Swallow);
    let error = asking.issue(&*slow).await.expect_err("no answer");
    assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}");
    asking.issue(&*slow).await.expect("made again");
    asking.revoke(&*slow, None).await.expect("revoked");
}

#[tokio::test]
async fn what_fails_has_its_class() {
    let Some(server) = shared().await else { return };
    let error = writer().issue(&*provider(&by_way_of(server, free_port()))).await.expect_err("nobody there");
    assert!(matches!(error, ProviderError::Transient(_)), "{error}");
    let wrong = "x".repeat(24);
    let error = writer().issue(&*provider(&with(server, "password", json!({"value": wrong})))).await;
    let error = error.expect_err("wrong password");
    assert!(matches!(&error, ProviderError::Misconfigured(text) if text.contains("1045")), "{error}");
    assert!(!error.to_string().contains(&wrong));

    let asking = asking(json!({"grants": [{"privileges": ["SELECT", "DROP"], "on": "app_main.*"}]}));
    let provider = provider(&server.settings());
    let error = asking.issue(&*provider).await.expect_err("more than it may give");
    assert!(matches!(error, ProviderError::Misconfigured(_)), "{error}");
    assert!(server.has_user(&asking.lease.object_name()), "DDL is not undone");
    asking.revoke(&*provider, None).await.expect("what an issue left behind is removed");
    assert!(!server.has_user(&asking.lease.object_name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_few_connections() {
    let Some(server) = shared().await else { return };
    let proxy = Proxy::to(server.port()).await;
    let mut settings = by_way_of(server, proxy.port());
    settings["max_connections"] = 4.into();
    let provider = provider(&settings);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move {
                for _ in 0..3 {
                    let asking = writer();
                    asking.issue(&*provider).await.expect("issued");
                    asking.revoke(&*provider, None).await.expect("revoked");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!((1..=4).contains(&proxy.accepted()), "{}", proxy.accepted());
    proxy.cut_all();
    let asking = writer();
    asking.issue(&*provider).await.expect("issued on a new connection");
    asking.revoke(&*provider, None).await.expect("revoked");
}

#[tokio::test]
async fn sql_in_names_is_a_name() {
    let Some(server) = shared().await else { return };
    let odd = "odd`; DROP TABLE app_main.things; -- ' %_\\ \"";
    let quoted = odd.replace('`', "``");
    server.run(&format!(
        "CREATE DATABASE `{quoted}`; CREATE TABLE `{quoted}`.t (id int);
         GRANT SELECT ON `{quoted}`.t TO broker@'%' WITH GRANT OPTION"
    ));
    let provider = provider(&server.settings());
    let asking =
        asking(json!({"grants": [{"privileges": ["SELECT"], "on": format!("{odd}.t")}], "database": odd}));
    // A dot would be ambiguous, so this name has one and is refused; without it, it is just a name.
    assert!(provider.validate(&asking.parameters).is_err());
    let plain = "odd`; DROP TABLE things; -- ' %_ \"";
    let quoted = plain.replace('`', "``");
    server.run(&format!(
        "CREATE DATABASE `{quoted}`; CREATE TABLE `{quoted}`.t (id int);
         GRANT SELECT ON `{quoted}`.t TO broker@'%' WITH GRANT OPTION"
    ));
    let asking = self::asking(json!({"grants": [{"privileges": ["SELECT"], "on": format!("{plain}.t")}]}));
    let issued = asking.issue(&*provider).await.expect("issued");
    let mut session = login(server, &issued).await.expect("logs in");
    run(&mut session, &format!("SELECT * FROM `{quoted}`.t")).await.expect("it may");
    asking.revoke(&*provider, None).await.expect("revoked");
}

#[tokio::test]
async fn check_says_what_to_run() {
    let Some(server) = shared().await else { return };
    let provider_of = |user: &str| {
        provider(&with(server, "url", format!("mysql://{user}@127.0.0.1:{}/app_main", server.port())))
    };
    assert_eq!(problems(&provider_of("broker").check().await), Vec::<String>::new());
    server.run(&format!(
        "CREATE USER poor@'%' IDENTIFIED BY '{}'; GRANT FILE ON *.* TO poor@'%'; CREATE USER ''@'10.9.9.9'",
        server.broker
    ));
    let poor = provider_of("poor");
    let error = reader().issue(&*poor).await.expect_err("it may not");
    assert!(matches!(error, ProviderError::Misconfigured(_)), "{error}");
    let mut before = Vec::new();
    // Anonymous users show only once it may list users.
    for _ in 0..2 {
        before = problems(&poor.check().await);
        let said: BTreeSet<&str> =
            before.iter().filter_map(|problem| Some(problem.split_once("run: ")?.1)).collect();
        said.into_iter().for_each(|statement| drop(server.run(statement)));
    }
    assert!(before.iter().any(|problem| problem.contains("DROP USER ''@`10.9.9.9`")), "{before:?}");
    assert_eq!(problems(&poor.check().await), Vec::<String>::new());
    let asking = reader();
    asking.issue(&*poor).await.expect("now it may");
    asking.revoke(&*poor, None).await.expect("revoked");
}

#[tokio::test]
async fn tls_is_checked_in_full_and_asked_of_users() {
    let Some(server) = shared().await else { return };
    let at = |host: &str, tls: Value| {
        let mut settings = with(server, "url", format!("mysql://broker@{host}:{}/app_main", server.port()));
        settings["tls"] = tls;
        provider(&settings)
    };
    let good = at("localhost", json!({"ca_file": server.file("ca.crt")}));
    let checks = good.check().await;
    assert!(checks.iter().any(|check| check.what == "speaks TLSv1.3"), "{checks:?}");
    let asking = writer();
    let issued = asking.issue(&*good).await.expect("issued");
    let (user, password) = (field(&issued, "username"), field(&issued, "password"));
    assert!(server.login(user, password, false).await.is_err(), "users must use TLS, too");
    server.login(user, password, true).await.expect("with TLS it logs in");
    asking.revoke(&*good, None).await.expect("revoked");
    let error = writer()
        .issue(&*at("localhost", json!({"mode": "verify-full"})))
        .await
        .expect_err("unknown authority");
    assert!(matches!(&error, ProviderError::Misconfigured(text) if text.contains("TLS")), "{error}");
}

/// A server whose password rules refuse hashes is told the password itself, and likes it.
#[tokio::test]
async fn a_server_with_password_rules() {
    let Some(server) = MariaDb::start("2") else { return };
    server.run("INSTALL SONAME 'simple_password_check'");
    let provider = provider(&server.settings());
    for _ in 0..2 {
        let asking = writer();
        let issued = asking.issue(&*provider).await.expect("issued");
        login(&server, &issued).await.expect("logs in");
        asking.revoke(&*provider, None).await.expect("revoked");
    }
}
