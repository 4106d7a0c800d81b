//! PostgreSQL users against a real server. Tests named in the fact sheets carry their names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claviger_broker::lease::LeaseId;
use claviger_broker::provider::{Check, Issued, Provider, ProviderError};
use claviger_broker::testing;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::ground::{Asking, build, field};
use crate::servers::free_port;
use crate::servers::postgres::{Postgres, shared};
use crate::servers::proxy::{Loss, Proxy};

fn provider(settings: &Value) -> Arc<dyn Provider> {
    build("postgres", settings).expect("settings")
}

fn asking(parameters: Value) -> Asking {
    Asking::new(testing::identity(json!({"sub": "repo:example/app:ref:refs/heads/main"})), parameters)
}

fn reader() -> Asking {
    asking(json!({"member_of": ["app_ro"]}))
}

/// The shared server's settings, by another way.
fn by_way_of(server: &Postgres, port: u16) -> Value {
    let mut settings = server.settings();
    settings["url"] = format!("postgres://broker@127.0.0.1:{port}/app").into();
    settings
}

async fn login(server: &Postgres, issued: &Issued, database: &str) -> sqlx::Result<sqlx::PgConnection> {
    server.login(field(issued, "username"), field(issued, "password"), database).await
}

async fn run(connection: &mut sqlx::PgConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

async fn text(connection: &mut sqlx::PgConnection, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.expect(sql)
}

fn problems(checks: &[Check]) -> Vec<String> {
    checks.iter().filter_map(|check| Some(format!("{}: {}", check.what, check.problem.as_deref()?))).collect()
}

#[tokio::test]
async fn a_user_works_until_it_is_revoked() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let asking = reader();
    let issued = asking.issue(&*provider).await.expect("issued");
    let name = asking.lease.object_name();
    assert_eq!(field(&issued, "username"), name);
    assert_eq!(field(&issued, "database"), "app");
    assert_eq!(field(&issued, "port"), server.port().to_string());
    let mut session = login(server, &issued, "app").await.expect("logs in");
    assert_eq!(text(&mut session, "SELECT session_user::text").await, name);
    assert_eq!(text(&mut session, "SELECT current_user::text").await, "app_ro");
    assert_eq!(text(&mut session, "SELECT count(*)::text FROM work.things").await, "1");
    assert!(run(&mut session, "INSERT INTO work.things VALUES (2)").await.is_err(), "it may read only");
    assert!(provider.list().await.expect("listed").contains(&name));
    session.close().await.expect("closed");

    // With the URL alone.
    let url = field(&issued, "url");
    sqlx::PgConnection::connect(url).await.expect("the URL logs in").close().await.expect("closed");

    asking.revoke(&*provider, issued.reference.as_ref()).await.expect("revoked");
    assert!(login(server, &issued, "app").await.is_err());
    assert!(!server.has_role(&name).await);
    assert!(!provider.list().await.expect("listed").contains(&name));
    asking.revoke(&*provider, issued.reference.as_ref()).await.expect("again: it is gone");
    asking.revoke(&*provider, None).await.expect("and without its reference");
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let renewed = provider.renew(&asking.held(&name, None), later).await;
    assert!(matches!(renewed, Err(ProviderError::Denied(_))), "{renewed:?}");
}

#[tokio::test]
async fn what_was_never_made_is_revoked() {
    let Some(server) = shared().await else { return };
    reader().revoke(&*provider(&server.settings()), None).await.expect("nothing to do");
}

#[tokio::test]
async fn only_leases_are_touched() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    server.run("postgres", "CREATE ROLE clv_precious NOLOGIN; CREATE ROLE clvx NOLOGIN").await;
    let asking = reader();
    for name in ["clv_precious", "app_ro", "clv_x\"; DROP ROLE app_ro; --"] {
        let error = provider.revoke(&asking.held(name, None)).await.expect_err("not a lease's");
        assert!(matches!(error, ProviderError::Denied(_)), "{error}");
    }
    let listed = provider.list().await.expect("listed");
    assert!(listed.iter().all(|name| LeaseId::of_object(name).is_some()), "{listed:?}");
    assert!(server.has_role("clv_precious").await);
}

#[tokio::test]
async fn issued_again_it_has_a_new_password() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let asking = reader();
    let first = asking.issue(&*provider).await.expect("issued");
    let second = asking.issue(&*provider).await.expect("issued again");
    assert!(login(server, &first, "app").await.is_err(), "the first password is void");
    login(server, &second, "app").await.expect("the second one works");
    asking.revoke(&*provider, second.reference.as_ref()).await.expect("revoked");
}

/// Our own verifiers, held to the server's reading of them.
#[tokio::test]
async fn passwords_of_ours_are_the_servers() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    for _ in 0..8 {
        let asking = reader();
        let issued = asking.issue(&*provider).await.expect("issued");
        login(server, &issued, "app").await.expect("logs in");
        let (user, password) = (field(&issued, "username"), field(&issued, "password"));
        assert!(server.login(user, &password[1..], "app").await.is_err());
        asking.revoke(&*provider, None).await.expect("revoked");
        let log = std::fs::read_to_string(server.file("log")).expect("the server's log");
        assert!(log.contains(user) && !log.contains(password), "the log holds no password");
    }
}

#[tokio::test]
async fn the_servers_clock_ends_it_and_renewing_moves_that() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let (short, renewed) = (reader().lasting(2), reader().lasting(2));
    let ends = short.issue(&*provider).await.expect("issued");
    let lives = renewed.issue(&*provider).await.expect("issued");
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let name = renewed.lease.object_name();
    assert_eq!(provider.renew(&renewed.held(&name, None), until).await, Ok(until));
    login(server, &ends, "app").await.expect("in time");
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert!(login(server, &ends, "app").await.is_err(), "over");
    login(server, &lives, "app").await.expect("prolonged");
    for asking in [short, renewed] {
        asking.revoke(&*provider, None).await.expect("revoked");
    }
}

#[tokio::test]
async fn session_survives() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    // As the group, as itself, and in the middle of a query.
    let asking = asking(json!({"member_of": ["app_rw"]}));
    let issued = asking.issue(&*provider).await.expect("issued");
    let neighbour = reader();
    let others = neighbour.issue(&*provider).await.expect("issued");
    let mut others = login(server, &others, "app").await.expect("logs in");
    let mut acting = login(server, &issued, "app").await.expect("logs in");
    let mut plain = login(server, &issued, "app").await.expect("logs in");
    let mut busy = login(server, &issued, "reports").await.expect("logs in");
    run(&mut acting, "BEGIN; INSERT INTO work.things VALUES (99)").await.expect("it may");
    run(&mut plain, "SET ROLE NONE").await.expect("it may");
    let sleeping = tokio::spawn(async move { run(&mut busy, "SELECT pg_sleep(60)").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    asking.revoke(&*provider, issued.reference.as_ref()).await.expect("revoked");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(run(&mut acting, "INSERT INTO work.things VALUES (99)").await.is_err());
    assert!(run(&mut plain, "SELECT 1").await.is_err());
    assert!(sleeping.await.expect("joined").is_err());
    run(&mut others, "SELECT 1").await.expect("nobody else's session is ended");
    neighbour.revoke(&*provider, None).await.expect("revoked");
    assert_eq!(
        server.ask("app", "SELECT count(*)::text FROM work.things WHERE id = 99").await.as_deref(),
        Some("0")
    );
}

/// A session that outlived its role, since its login was under way: only its oid knows it.
#[tokio::test]
async fn a_session_of_a_dropped_role_is_ended_by_its_oid() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let asking = reader();
    let issued = asking.issue(&*provider).await.expect("issued");
    let mut session = login(server, &issued, "app").await.expect("logs in");
    let name = asking.lease.object_name();
    server.run("app", &format!("DROP ROLE {name}")).await;
    assert_eq!(
        text(&mut session, "SELECT count(*)::text FROM work.things").await,
        "1",
        "it keeps its rights"
    );
    asking.revoke(&*provider, issued.reference.as_ref()).await.expect("revoked");
    assert!(run(&mut session, "SELECT 1").await.is_err());
}

#[tokio::test]
async fn owned_objects() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let acting = asking(json!({"member_of": ["app_rw"]}));
    let several = asking(json!({"member_of": ["app_rw", "app_ro"]}));
    for (asking, mark, owner_of_first) in [(&acting, "a", "app_rw"), (&several, "b", "app_owner")] {
        let issued = asking.issue(&*provider).await.expect("issued");
        for database in ["app", "reports"] {
            let mut session = login(server, &issued, database).await.expect("logs in");
            run(&mut session, &format!("CREATE TABLE work.made_{mark} AS SELECT 1 AS id"))
                .await
                .expect("made");
            run(&mut session, "SET ROLE NONE").await.expect("itself");
            run(&mut session, &format!("CREATE TABLE work.own_{mark} AS SELECT 1 AS id"))
                .await
                .expect("made");
            run(&mut session, &format!("GRANT SELECT ON work.own_{mark} TO PUBLIC")).await.expect("granted");
            run(&mut session, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app_ro")
                .await
                .expect("set");
        }
        asking.revoke(&*provider, issued.reference.as_ref()).await.expect("revoked");
        assert!(!server.has_role(&asking.lease.object_name()).await);
        for database in ["app", "reports"] {
            for (table, owner) in
                [(format!("made_{mark}"), owner_of_first), (format!("own_{mark}"), "app_owner")]
            {
                let who = format!("SELECT tableowner::text FROM pg_tables WHERE tablename = '{table}'");
                assert_eq!(server.ask(database, &who).await.as_deref(), Some(owner), "{table} in {database}");
                let rows = format!("SELECT count(*)::text FROM work.{table}");
                assert_eq!(server.ask(database, &rows).await.as_deref(), Some("1"));
            }
        }
    }
}

#[tokio::test]
async fn acl_growth() {
    let Some(server) = shared().await else { return };
    let provider = provider(&server.settings());
    let acl = "SELECT (coalesce(array_length(relacl, 1), 0)::text || ' ' || pg_column_size(relacl)::text) \
               FROM pg_class WHERE oid = 'work.things'::regclass";
    let members = "SELECT count(*)::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member \
                   WHERE r.rolname = 'broker'";
    let before = (server.ask("app", acl).await, server.ask("app", members).await);
    for _ in 0..200 {
        let asking = reader();
        asking.issue(&*provider).await.expect("issued");
        asking.revoke(&*provider, None).await.expect("revoked");
    }
    assert_eq!((server.ask("app", acl).await, server.ask("app", members).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_lost() {
    let Some(server) = shared().await else { return };
    let proxy = Proxy::to(server.port()).await;
    let settings = by_way_of(server, proxy.port());
    let asking = reader();
    let name = asking.lease.object_name();

    // On a new connection: it is not known whether it was done. The next try adopts what is there.
    proxy.lose_answer_to("CREATE ROLE", Loss::Cut);
    let error = asking.issue(&*provider(&settings)).await.expect_err("no answer");
    assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}");
    assert!(server.has_role(&name).await, "it was done");
    let connected = provider(&settings);
    let issued = asking.issue(&*connected).await.expect("adopted");
    login(server, &issued, "app").await.expect("logs in");

    // On one that was used before: it might have died while it was idle, so it is tried again at once.
    let other = reader();
    proxy.lose_answer_to("CREATE ROLE", Loss::Cut);
    let issued = other.issue(&*connected).await.expect("adopted at once");
    login(server, &issued, "app").await.expect("logs in");

    for needle in ["NOLOGIN", "'session'"] {
        let fresh = provider(&settings);
        proxy.lose_answer_to(needle, Loss::Cut);
        match asking.revoke(&*fresh, issued.reference.as_ref()).await {
            Ok(()) => assert_eq!(needle, "'session'", "sent on a connection that was used before"),
            Err(error) => assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}"),
        }
        asking.revoke(&*fresh, issued.reference.as_ref()).await.expect("revoked");
    }
    assert_eq!(proxy.lost(), 4);
    other.revoke(&*connected, None).await.expect("revoked");
    assert!(!server.has_role(&name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer() {
    let Some(server) = shared().await else { return };
    let proxy = Proxy::to(server.port()).await;
    let mut settings = by_way_of(server, proxy.port());
    settings["statement_timeout"] = "1s".into();
    let provider = provider(&settings);
    let asking = reader();
    proxy.lose_answer_to("CREATE ROLE", Loss::Swallow);
    let start = Instant::now();
    let error = asking.issue(&*provider).await.expect_err("no answer");
    assert!(matches!(error, ProviderError::Ambiguous(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    asking.issue(&*provider).await.expect("adopted");
    asking.revoke(&*provider, None).await.expect("revoked");
}

#[tokio::test]
async fn what_fails_has_its_class() {
    let Some(server) = shared().await else { return };
    let asking = reader();
    let nobody = provider(&by_way_of(server, free_port()));
    let start = Instant::now();
    let error = asking.issue(&*nobody).await.expect_err("nobody there");
    assert!(matches!(error, ProviderError::Transient(_)), "{error}");
    let error = asking.revoke(&*nobody, None).await.expect_err("nobody there");
    assert!(matches!(error, ProviderError::Transient(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "refused at once: {:?}", start.elapsed());

    // Somebody listens and says nothing.
    let mute = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let error = asking.issue(&*provider(&by_way_of(server, port))).await.expect_err("nothing said");
    assert!(matches!(error, ProviderError::Transient(_)), "{error}");

    let wrong = "x".repeat(24);
    let mut settings = server.settings();
    settings["password"] = json!({"value": wrong});
    let error = asking.issue(&*provider(&settings)).await.expect_err("wrong password");
    assert!(matches!(&error, ProviderError::Misconfigured(text) if text.contains("28P01")), "{error}");
    assert!(!error.to_string().contains(&wrong));

    let mut settings = server.settings();
    settings["url"] = format!("postgres://broker@127.0.0.1:{}/nowhere", server.port()).into();
    let error = asking.issue(&*provider(&settings)).await.expect_err("no such database");
    assert!(matches!(error, ProviderError::Misconfigured(_)), "{error}");

    let mut settings = server.settings();
    settings["roles"] = json!(["no_such_group"]);
    let lost = self::asking(json!({"member_of": ["no_such_group"]}));
    let error = lost.issue(&*provider(&settings)).await.expect_err("no such group");
    assert!(
        matches!(&error, ProviderError::Misconfigured(text) if text.contains("no_such_group")),
        "{error}"
    );
    assert!(!server.has_role(&lost.lease.object_name()).await, "all or nothing");
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
                for _ in 0..5 {
                    let asking = reader();
                    let issued = asking.issue(&*provider).await.expect("issued");
                    asking.revoke(&*provider, issued.reference.as_ref()).await.expect("revoked");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!((1..=4).contains(&proxy.accepted()), "{}", proxy.accepted());

    // After a restart of the server nobody sees the connections that died.
    proxy.cut_all();
    let asking = reader();
    asking.issue(&*provider).await.expect("issued on a new connection");
    asking.revoke(&*provider, None).await.expect("revoked");
}

/// The same lease revoked by several brokers at once.
#[tokio::test(flavor = "multi_thread")]
async fn revoked_by_all_at_once() {
    let Some(server) = shared().await else { return };
    let asking = Arc::new(reader());
    let issued = Arc::new(asking.issue(&*provider(&server.settings())).await.expect("issued"));
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (asking, issued, provider) =
                (Arc::clone(&asking), Arc::clone(&issued), provider(&server.settings()));
            tokio::spawn(async move {
                while let Err(error) = asking.revoke(&*provider, issued.reference.as_ref()).await {
                    assert!(error.is_passing(), "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(!server.has_role(&asking.lease.object_name()).await);
}

#[tokio::test]
async fn sql_in_names_is_a_name() {
    let Some(server) = shared().await else { return };
    let odd = "odd\"; DROP TABLE work.things; -- '; $$ \\";
    let quoted = odd.replace('"', "\"\"");
    server
        .run("app", &format!("CREATE ROLE \"{quoted}\"; GRANT \"{quoted}\" TO broker WITH ADMIN OPTION; GRANT USAGE ON SCHEMA work TO \"{quoted}\"; GRANT SELECT ON work.things TO \"{quoted}\""))
        .await;
    let mut settings = server.settings();
    settings["roles"] = json!([odd]);
    settings["owner"] = odd.into();
    let provider = provider(&settings);
    assert_eq!(problems(&provider.check().await), Vec::<String>::new());
    let asking = asking(json!({"member_of": [odd], "database": "app"}));
    let issued = asking.issue(&*provider).await.expect("issued");
    let mut session = login(server, &issued, "app").await.expect("logs in");
    assert_eq!(text(&mut session, "SELECT current_user::text").await, odd);
    assert_eq!(text(&mut session, "SELECT count(*)::text FROM work.things").await, "1");
    run(&mut session, "SET ROLE NONE; CREATE TEMP TABLE t (id int)").await.expect("made");
    asking.revoke(&*provider, issued.reference.as_ref()).await.expect("revoked");
}

#[tokio::test]
async fn check_says_what_to_run() {
    let Some(server) = shared().await else { return };
    let provider_of = |user: &str| {
        let mut settings = server.settings();
        settings["url"] = format!("postgres://{user}@127.0.0.1:{}/app", server.port()).into();
        provider(&settings)
    };
    assert_eq!(problems(&provider_of("broker").check().await), Vec::<String>::new());

    server.run("app", &format!("CREATE ROLE poor LOGIN CREATEDB PASSWORD '{}'", server.broker)).await;
    let poor = provider_of("poor");
    let error = reader().issue(&*poor).await.expect_err("it may not");
    assert!(matches!(&error, ProviderError::Misconfigured(text) if text.contains("CREATEROLE")), "{error}");
    let before = problems(&poor.check().await);
    let said: BTreeSet<String> =
        before.iter().filter_map(|problem| Some(problem.split_once("run: ")?.1.to_owned())).collect();
    assert!(said.iter().any(|statement| statement.contains("pg_signal_backend")), "{before:?}");
    for statement in said {
        server.run("app", &statement).await;
    }
    let after: Vec<String> = problems(&poor.check().await);
    assert_eq!(after, Vec::<String>::new(), "before: {before:?}");
    let asking = reader();
    let issued = asking.issue(&*poor).await.expect("now it may");
    asking.revoke(&*poor, issued.reference.as_ref()).await.expect("revoked");
}

#[tokio::test]
async fn tls_is_checked_in_full() {
    let Some(server) = shared().await else { return };
    let at = |host: &str, tls: Value| {
        let mut settings = server.settings();
        settings["url"] = format!("postgres://broker@{host}:{}/app", server.port()).into();
        settings["tls"] = tls;
        provider(&settings)
    };
    let ca = server.file("ca.crt");
    let good = at("localhost", json!({"ca_file": ca}));
    let checks = good.check().await;
    assert_eq!(problems(&checks), Vec::<String>::new());
    assert!(checks.iter().any(|check| check.what == "speaks TLSv1.3"), "{checks:?}");
    let asking = reader();
    let issued = asking.issue(&*good).await.expect("issued");
    assert_eq!(field(&issued, "sslmode"), "verify-full");
    assert!(field(&issued, "url").ends_with("?sslmode=verify-full"));
    asking.revoke(&*good, None).await.expect("revoked");

    for (host, tls, why) in [
        ("localhost", json!({"mode": "verify-full"}), "an authority that nobody named"),
        ("127.0.0.2", json!({"ca_file": ca}), "a name that is not in the certificate"),
    ] {
        let error = reader().issue(&*at(host, tls)).await.expect_err(why);
        assert!(
            matches!(&error, ProviderError::Misconfigured(text) if text.contains("TLS")),
            "{why}: {error}"
        );
    }
}
