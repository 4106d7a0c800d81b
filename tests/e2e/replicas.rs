//! Three brokers over one store and one audit log, both in PostgreSQL, of which one is killed again and again while jobs
//! exchange their tokens, ask again when nobody answers, and try tokens twice.
//!
//! `CLAVIGER_EXCHANGES` says how many tokens (240 by default).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use claviger_tests::binary;
use serde_json::{Value, json};

use crate::broker::{Ground, Serving, database, postgres, psql};

const CLIENTS: usize = 16;
/// One broker is killed after so long, then the next.
const KILL_EVERY: Duration = Duration::from_secs(2);

/// The three brokers' ports, configurations and processes.
struct Fleet {
    folder: PathBuf,
    ports: Vec<u16>,
    running: Vec<Mutex<Option<Serving>>>,
}

impl Fleet {
    fn start(&self, which: usize) {
        let serving = Serving::of(&self.folder, &["--config", &format!("broker{which}.yaml")]);
        *self.running[which].lock().expect("no panic") = Some(serving);
    }

    fn kill(&self, which: usize) {
        self.running[which].lock().expect("no panic").take().expect("it runs").kill();
    }

    /// Asks one of the brokers. `None`: nobody answered, or not to the end.
    fn post(&self, which: usize, path: &str, bearer: &str, body: &Value) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[which])).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n\
             Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    }
}

/// What became of one token.
#[derive(Default)]
struct Fate {
    issued: usize,
    /// An attempt was made whose answer never came: it may have been issued, then.
    in_doubt: bool,
}

fn exchange(fleet: &Fleet, token: &str, first: usize) -> Fate {
    let mut fate = Fate::default();
    let body = json!({"role": "reader", "subject_token": token});
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut which = first;
    loop {
        assert!(Instant::now() < deadline, "no answer for a token in 90 s");
        let Some((status, answer)) = fleet.post(which % 3, "/v1/exchange", "", &body) else {
            fate.in_doubt = true;
            which += 1;
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        match status {
            200 => {
                fate.issued += 1;
                break;
            }
            // Used up by an attempt whose answer was lost.
            401 if answer.to_string().contains("replayed") && fate.in_doubt => break,
            500.. => {
                fate.in_doubt = true;
                which += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => panic!("{status}: {answer}"),
        }
    }
    // The same token once more, at another broker.
    if let Some((status, _)) = fleet.post((which + 1) % 3, "/v1/exchange", "", &body) {
        fate.issued += usize::from(status == 200);
    }
    fate
}

fn count(url: &str, sql: &str) -> i64 {
    let output = psql(url, sql);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// The configuration of one broker of the fleet: on a port of its own, with store and log in the database.
fn configuration(single: &str, port: u16, store: &str) -> String {
    let lines = single.lines().map(|line| match line.split_once(':') {
        Some(("server", rest)) => {
            let (_, rest) = rest.split_once("\",").expect("more than where it listens");
            format!("server: {{listen: \"127.0.0.1:{port}\",{rest}")
        }
        Some(("store", _)) => format!("store: {{url: \"{store}\"}}"),
        Some(("audit", _)) => format!("audit: {{log: \"{store}\", key: {{file: log.key}}}}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn brokers_that_die_all_the_time_issue_each_token_once_and_lose_no_lease() {
    let Some(admin) = database() else { return };
    let exchanges = std::env::var("CLAVIGER_EXCHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(240);
    let name = format!("replicas_{}", std::process::id());
    let (provider, parameters) = postgres(&admin, &name);
    let ground = Ground::new(&provider, &parameters);
    let folder = ground.folder().to_owned();
    assert!(psql(&admin, &format!("CREATE DATABASE {name}")).status.success());
    let (server, _) = admin.rsplit_once('/').expect("a database");
    let store = format!("{server}/{name}");
    let operator = ground.operator();
    let single = fs::read_to_string(folder.join("claviger-broker.yaml")).expect("read");
    let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let sockets = [free(), free(), free()];
    let ports: Vec<u16> = sockets.iter().map(|it| it.local_addr().expect("an address").port()).collect();
    drop(sockets);
    for (n, port) in ports.iter().enumerate() {
        fs::write(folder.join(format!("broker{n}.yaml")), configuration(&single, *port, &store))
            .expect("written");
    }
    let fleet = Fleet { folder: folder.clone(), ports, running: (0..3).map(|_| Mutex::default()).collect() };
    (0..3).for_each(|which| fleet.start(which));

    let tokens: Vec<String> = (0..exchanges).map(|_| ground.token(&[])).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (fates, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(KILL_EVERY);
                fleet.kill(kills % 3);
                fleet.start(kills % 3);
                kills += 1;
            }
            kills
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (fleet, tokens, next) = (&fleet, &tokens, &next);
                scope.spawn(move || {
                    let mut fates = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(token) = tokens.get(at) else { return fates };
                        fates.push(exchange(fleet, token, client + at));
                    }
                })
            })
            .collect();
        let joined: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Before anything may fail: the killer ends when it is told.
        done.store(true, Ordering::Relaxed);
        let fates: Vec<Fate> = joined.into_iter().flat_map(|it| it.expect("no panic")).collect();
        (fates, killer.join().expect("no panic"))
    });
    let issued: usize = fates.iter().map(|fate| fate.issued).sum();
    assert!(fates.iter().all(|fate| fate.issued <= 1), "a token was used twice");
    assert!(fates.iter().all(|fate| fate.issued == 1 || fate.in_doubt), "a token was refused");

    // Every lease that a job was told of is in the table; what is in the target and what the table says are the same.
    let active = "SELECT count(*) FROM claviger_lease WHERE state = 'active'";
    assert!(count(&store, active) >= i64::try_from(issued).expect("small"), "a lease was lost");
    let users = format!(
        "SELECT count(*) FROM pg_auth_members WHERE roleid = '{name}_ro'::regrole AND member <> '{name}_broker'::regrole"
    );
    let revoke = json!({"select": {"role": "reader"}});
    let (status, answer) = fleet.post(0, "/v1/operator/revoke", &operator, &revoke).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let deadline = Instant::now() + Duration::from_secs(240);
    let open = "SELECT count(*) FROM claviger_lease WHERE closed IS NULL";
    while count(&store, open) > 0 {
        assert!(Instant::now() < deadline, "leases are still open: {answer}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(count(&admin, &users), 0, "users that no lease knows");
    for which in 0..3 {
        fleet.running[which].lock().expect("no panic").take().expect("it runs").stop();
    }
    let audit = |verb: &str, more: &[&str]| {
        let args = [&["audit", verb, &store, "--key", "log.vkey"], more].concat();
        let output = Command::new(binary()).args(args).current_dir(&folder).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(audit("verify", &[]).contains("verified"));
    let events = audit("query", &["--format", "jsonl"]);
    let number = |kind: &str| events.matches(kind).count();
    assert!(number("lease.issued") >= issued, "{} of {issued} issues are in the log", number("lease.issued"));
    assert_eq!(number("lease.revoke_failed"), 0, "something was revoked twice, or could not be");
    assert!(kills > 0);
    drop(psql(&admin, &format!("DROP DATABASE {name}")));
}
