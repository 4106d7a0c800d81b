//! Who vouches for the audit log: pins in git, keys that follow one another, witnesses; and what may be missing from it.

use std::fs;

use claviger_tests::audit::{AuditLog, ORIGIN, Serving, month};
use claviger_tests::{Folder, Ran, claviger, claviger_with, git};

fn says(ran: &Ran, status: i32, text: &str, words: &[&str]) {
    assert_eq!(ran.status, status, "{}\n{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(text.contains(word), "`{word}` not in: {text}");
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

fn good(ran: &Ran) {
    says(ran, 0, "", &[]);
}

fn refused(ran: &Ran, words: &[&str]) {
    says(ran, 2, &ran.stderr, words);
}

fn tampered(ran: &Ran, words: &[&str]) {
    says(ran, 1, &ran.stdout, words);
}

fn import(log: &AuditLog, count: usize, more: &[&str]) -> Ran {
    let args = [&["audit", "import", "log", "-"], more].concat();
    claviger_with(log.folder().path(), &args, month(count).as_bytes(), &[])
}

#[test]
fn a_branch_of_a_git_repository_keeps_every_head_that_was_seen() {
    let log = AuditLog::of_month(50);
    let folder = log.folder().path();
    let pin = ["--pin", "git:pins.git"];
    let verify = || log.run(&[&["verify", "log", "--key", "log.vkey"], &pin[..]].concat());
    refused(&verify(), &["pins.git", "git init --bare"]);
    git(folder, &["init", "--quiet", "--bare", "pins.git"]);
    good(&verify());
    good(&verify());
    let show = |args: &[&str]| git(folder, &[&["--git-dir", "pins.git"], args].concat());
    assert_eq!(show(&["rev-list", "--count", "claviger-audit"]).trim(), "1", "nothing new, no commit");
    log.snapshot();
    good(&import(&log, 20, &pin));
    let message = show(&["log", "-1", "--format=%B", "claviger-audit"]);
    assert!(message.contains(ORIGIN) && message.contains("76 entries"), "{message}");
    let files = show(&["ls-tree", "-r", "--name-only", "claviger-audit"]);
    let kept = show(&["show", &format!("claviger-audit:{}", files.trim())]);
    let head = fs::read_to_string(log.dir().join("checkpoint")).expect("a head");
    assert_eq!(kept.trim(), head.trim());
    // Rolled back.
    log.restore();
    tampered(&verify(), &["--pin", "shrank", "pinned:", "found:"]);
    refused(&import(&log, 5, &pin), &["shrank"]);
    good(&log.import(month(60)));
    tampered(&verify(), &["forked"]);
    refused(&import(&log, 5, &pin), &["forked"]);
    // Another log has a place of its own on the same branch; another branch knows nothing.
    let other = Folder::new();
    git(
        other.path(),
        &["clone", "--quiet", "--bare", &folder.join("pins.git").display().to_string(), "p.git"],
    );
    good(&claviger(
        other.path(),
        &["audit", "init", "l", "--origin", "audit.example/l", "--pin", "git:p.git"],
    ));
    let names = git(other.path(), &["--git-dir", "p.git", "ls-tree", "-r", "--name-only", "claviger-audit"]);
    assert_eq!(names.lines().count(), 2);
    good(&log.run(&["verify", "log", "--key", "log.vkey", "--pin", "git:pins.git@prod"]));
    refused(&log.run(&["verify", "log", "--key", "log.vkey", "--pin", "git:pins.git@a..b"]), &["a..b"]);
}

#[test]
fn a_key_follows_another_with_both_named() {
    let log = AuditLog::of_month(20);
    let file = |name: &str| fs::read_to_string(log.folder().path().join(name)).expect("a file");
    let old = file("log.vkey").trim().to_owned();
    refused(&log.run(&["key", "retire", "log"]), &["only one key"]);
    let ran = log.run(&["key", "rotate", "log"]);
    says(&ran, 0, &ran.stdout, &["old", &old, "new"]);
    refused(&log.run(&["key", "rotate", "log"]), &["retire"]);
    let both = file("log.vkey");
    let new = both.lines().nth(1).expect("two keys").to_owned();
    assert_eq!((both.lines().next(), file("log.key").lines().count()), (Some(old.as_str()), 2));
    // Both sign: whoever knows one of them is content.
    good(&log.import(month(5)));
    for key in [&old, &new] {
        good(&log.run(&["verify", "log", "--key", key]));
    }
    let list = log.run(&["key", "list", "log"]);
    assert_eq!(list.stdout, format!("signs    {old}\nsigns    {new}\n"));
    let ran = log.run(&["key", "retire", "log"]);
    says(&ran, 0, &ran.stdout, &[&old, &new]);
    assert_eq!((file("log.vkey").trim(), file("log.key").lines().count()), (new.as_str(), 1));
    good(&log.import(month(5)));
    good(&log.run(&["verify", "log", "--key", &new]));
    tampered(&log.run(&["verify", "log", "--key", &old]), &["no signature by a known key"]);
    assert_eq!(log.run(&["key", "list", "log"]).stdout, format!("retired  {old}\nsigns    {new}\n"));
    let events = log.query(&["type=log.key"]);
    assert_eq!(events.len(), 2);
    for (event, retired) in events.iter().zip([false, true]) {
        let detail = &event["detail"];
        assert_eq!(
            (detail["old"].as_str(), detail["new"].as_str()),
            (Some(old.as_str()), Some(new.as_str()))
        );
        assert_eq!(detail["retired"].as_bool().unwrap_or(false), retired);
    }
    // A rotation that was cut off goes on with the key that it made.
    let temporary = log.folder().path().join("log.key.new");
    let other = AuditLog::new();
    fs::copy(other.folder().path().join("log.key"), &temporary).expect("a copy");
    let ran = log.run(&["key", "rotate", "log"]);
    says(
        &ran,
        0,
        &ran.stdout,
        &[fs::read_to_string(other.folder().path().join("log.vkey")).expect("a key").trim()],
    );
    assert!(!temporary.exists());
    // From the environment: the new one goes to a file that is named.
    let log = AuditLog::of_month(5);
    let key = fs::read_to_string(log.folder().path().join("log.key")).expect("a key");
    fs::remove_file(log.folder().path().join("log.key")).expect("it is ours");
    let with = |args: &[&str], key: &str| {
        claviger_with(
            log.folder().path(),
            &[&["audit", "key"], args].concat(),
            b"",
            &[("CLAVIGER_AUDIT_KEY", key)],
        )
    };
    refused(&with(&["rotate", "log"], &key), &["--new-key"]);
    good(&with(&["rotate", "log", "--new-key", "next"], &key));
    let both = key + &fs::read_to_string(log.folder().path().join("next")).expect("the new key");
    let ran = with(&["retire", "log"], &both);
    says(&ran, 0, &ran.stdout, &["CLAVIGER_AUDIT_KEY"]);
    good(&log.run(&["verify", "log"]));
}

#[test]
fn what_is_pruned_is_allowed_to_be_missing_and_nothing_else() {
    let log = AuditLog::of_month(3000);
    good(&log.run(&["receipt", "log", "100", "--output", "r", "--entry", "e"]));
    let prune = |args: &[&str]| log.run(&[&["prune", "log"], args].concat());
    says(&prune(&["--before", "1000"]), 2, &prune(&["--before", "1000"]).stderr, &["--archive"]);
    refused(&prune(&["--before", "99999", "--no-archive"]), &["99999"]);
    refused(&prune(&["--before", "soon", "--no-archive"]), &["soon"]);
    refused(&prune(&["--before", "9", "--archive", "log/tile"]), &["archive does not belong"]);
    let ran = prune(&["--before", "1000", "--archive", "old"]);
    says(&ran, 0, &ran.stdout, &["entries before 768 are gone", "old"]);
    assert!(!log.dir().join("tile/entries/000").exists() && log.dir().join("tile/0/000").exists());
    let ran = log.run(&["verify", "log", "--key", "log.vkey"]);
    says(&ran, 0, &ran.stdout, &["pruned", "before 768"]);
    let ran = log.run(&["verify", "log", "--key", "log.vkey", "--archive", "old", "--json"]);
    assert_eq!((ran.status, &ran.json()["pruned_below"]), (0, &0.into()), "{}", ran.stderr);
    good(&log.run(&["verify", "--key", "log.vkey", "--receipt", "r", "--entry", "e"]));
    assert!(log.query(&["identity=acme/app-7"]).iter().all(|event| event["seq"].as_u64() >= Some(768)));
    // By time: nothing was logged before today.
    let ran = prune(&["--before", "2026-01-01", "--no-archive"]);
    says(&ran, 0, &ran.stdout, &["entries before 768"]);
    let ran = prune(&["--before", "2100-01-01", "--no-archive"]);
    good(&ran);
    good(&log.run(&["verify", "log", "--key", "log.vkey"]));
    // Missing without a word of the log.
    let log = AuditLog::of_month(600);
    fs::remove_file(log.dir().join("tile/entries/000")).expect("it is ours");
    tampered(&log.run(&["verify", "log", "--key", "log.vkey"]), &["missing", "only before 0"]);
}

#[test]
fn witnesses_cosign_what_extends_what_they_saw() {
    let log = AuditLog::of_month(30);
    let folder = log.folder().path();
    let vkey = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).expect("a key");
        text.trim().to_owned()
    };
    let mut policy = String::new();
    let mut servers = Vec::new();
    for n in 1..=3 {
        let dir = format!("w{n}");
        good(&log.run(&["witness", "init", &dir, "--name", &format!("witness.example/{dir}")]));
        let server = Serving::of(folder, &["witness", "serve", &dir, "--log", "log.vkey"]);
        policy += &format!("witness {dir} {} {}\n", vkey(&format!("{dir}.vkey")), server.url());
        servers.push(server);
    }
    policy += "group two 2 w1 w2 w3\nquorum two\n";
    log.folder().write("policy", &policy);
    let verify = || log.run(&["verify", "log", "--key", "log.vkey", "--policy", "policy"]);
    // Not cosigned yet; submitted by whoever can read the log.
    tampered(&verify(), &["quorum `two` is not met", "nobody"]);
    good(
        &log.run(&[
            "witness", "submit", "log", "--policy", "policy", "--key", "log.vkey", "--output", "head",
        ]),
    );
    assert_eq!(
        fs::read_to_string(folder.join("head")).expect("a head").matches("witness.example/w").count(),
        3
    );
    good(&log.run(&["verify", "log", "--key", "log.vkey", "--from", "head"]));
    // By the writer, for each head.
    log.snapshot();
    servers.truncate(2);
    good(&import(&log, 30, &["--policy", "policy"]));
    let ran = verify();
    says(&ran, 0, &ran.stdout, &["witness.example/w1", "witness.example/w2"]);
    let (head, body) = servers[0].get(&format!("/{}", only_file(&folder.join("w1"))));
    assert!(head.starts_with("HTTP/1.1 200") && String::from_utf8_lossy(&body).starts_with(ORIGIN), "{head}");
    // Too few: nothing is appended, for a rollback would go unseen.
    let before = log.files("");
    servers.truncate(1);
    refused(&import(&log, 5, &["--policy", "policy"]), &["quorum", "witness.example/w2"]);
    assert_eq!(log.files(""), before);
    // A rollback: one witness is enough to see it.
    log.restore();
    refused(&import(&log, 5, &["--policy", "policy"]), &["witness.example/w1", "has seen another log"]);
    refused(&log.run(&["witness", "submit", "log", "--policy", "policy"]), &["has seen another log"]);
    // Requests that are none.
    for (bad, status) in [
        (&b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 7\r\n\r\nrubbish"[..], "400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
        (b"PUT /add-checkpoint HTTP/1.1\r\n\r\n", "405"),
        (b"GET /../w1.key HTTP/1.1\r\n\r\n", "404"),
    ] {
        let answer = String::from_utf8_lossy(&servers[0].send(bad)).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    // A witness is one process, with a key of its own kind.
    refused(&log.run(&["witness", "serve", "w1", "--log", "log.vkey", "--listen", "127.0.0.1:0"]), &["w1"]);
    refused(
        &log.run(&[
            "witness",
            "serve",
            "w2",
            "--log",
            "log.vkey",
            "--signing-key",
            "log.key",
            "--listen",
            "127.0.0.1:0",
        ]),
        &["not a witness's key"],
    );
    log.folder().write("policy", policy.replace("http://", "ftp://"));
    refused(&import(&log, 5, &["--policy", "policy"]), &["not http"]);
}

/// The one checkpoint below a witness's directory, relative to it.
fn only_file(dir: &std::path::Path) -> String {
    let names = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let name = names.map(|name| name.to_string_lossy().into_owned()).find(|name| name.len() == 64);
    name.expect("one log was seen") + "/checkpoint"
}

#[test]
fn thresholds_have_a_schema_and_figures_are_measured() {
    let folder = Folder::new();
    let schema = claviger(folder.path(), &["audit", "anomalies", "--schema"]);
    good(&schema);
    let schema = schema.json();
    assert_eq!(schema["properties"]["surprise"]["maximum"].as_f64(), Some(1.0));
    assert!(schema.to_string().contains("use-after-job") && schema["additionalProperties"] == false);
    let ran = claviger(folder.path(), &["audit", "bench", "--events", "2000", "--seconds", "1"]);
    let words = [
        "256 callers",
        "bare sync",
        "64 clients",
        "verify: 2002 entries",
        "receipt",
        "with the index",
        "report",
    ];
    says(&ran, 0, &ran.stdout, &words);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "it cleans up");
}
