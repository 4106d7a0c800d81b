//! The audit log from outside: made, filled, verified, asked, damaged.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use claviger_tests::audit::{AuditLog, ORIGIN, month};
use claviger_tests::{Ran, binary, claviger_with};
use serde_json::Value;

const MONTH: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-12-01"];

/// The command could not do it, and says why.
fn refused(ran: &Ran, words: &[&str]) {
    says(ran, 2, &ran.stderr, words);
}

/// The log does not verify, and the report says where.
fn tampered(ran: &Ran, words: &[&str]) {
    says(ran, 1, &ran.stdout, words);
    assert!(ran.stdout.starts_with("NOT VERIFIED: "), "{}", ran.stdout);
}

fn says(ran: &Ran, status: i32, text: &str, words: &[&str]) {
    assert_eq!(ran.status, status, "{}\n{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(text.contains(word), "`{word}` not in: {text}");
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

fn good(ran: &Ran) {
    assert_eq!(ran.status, 0, "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn a_month_is_logged_verified_and_answers_every_question() {
    let log = AuditLog::of_month(1500);
    let ran = log.run(&["verify", "log", "--key", "log.vkey", "--events", "--json"]);
    good(&ran);
    assert_eq!((ran.json()["entries"].as_u64(), ran.json()["authentic"].as_bool()), (Some(1504), Some(true)));
    // Two words of the log at its making, two around the import.
    assert_eq!(log.query(&["type~log."]).len(), 4);

    let of_lease = log.query(&["lease=lease-40"]);
    let text =
        |event: &Value, path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
    // Who asked, for which system, was it allowed.
    assert_eq!(text(&of_lease[0], "/who/repository"), "acme/app-0");
    let system = ["/target/provider", "/target/environment", "/target/role"].map(|at| text(&of_lease[0], at));
    assert_eq!(system, ["aws", "prod", "deploy-prod"]);
    assert_eq!(text(&of_lease[0], "/outcome"), "success");
    // When issued, when updated, when it ended.
    let kinds: Vec<String> = of_lease.iter().map(|event| text(event, "/type")).collect();
    assert_eq!(kinds, ["decision", "lease.issued", "lease.used", "lease.renewed", "lease.revoked"]);
    let issued = log.query(&["lease=lease-41", "type=lease.issued"]);
    assert!(text(&issued[0], "/time").starts_with("2026-11-"));
    assert_eq!(log.query(&["lease=lease-41", "type=lease.expired"]).len(), 1);
    // When retrieved, by whom.
    let read = log.query(&["type=secret.read", "name=stripe-key"]);
    assert!(read.len() > 20 && read.iter().all(|event| !text(event, "/who/repository").is_empty()));
    // What was not allowed, and why.
    let no = log.query(&["--decision", "denied", "--provider", "aws"]);
    assert!(!no.is_empty() && no.iter().all(|event| text(event, "/reason") == "ref is not main"));
    // Time, free text, with and without the index: the same.
    let span = ["--since", "2026-11-10", "--until", "2026-11-11T12:00:00Z", "--identity", "acme/app-7"];
    let day = log.query(&span);
    assert!(!day.is_empty() && day.len() < 60);
    assert_eq!(log.query(&[&span[..], &["--no-index"]].concat()), day);
    assert_eq!(log.query(&["\"NOT MAIN\"", "--limit", "3"]).len(), 3);

    let table = log.run(&["query", "log", "lease=lease-40"]).stdout;
    assert!(table.starts_with("index") && table.contains("acme/app-0") && table.lines().count() == 6);
    let csv = log.run(&["query", "log", "lease=lease-40", "--format", "csv"]).stdout;
    assert!(csv.starts_with("index,time,type,outcome,identity,") && csv.lines().count() == 6);
    let json = log.run(&["query", "log", "lease=lease-40", "--format", "json"]).json();
    assert_eq!(json.as_array().map(Vec::len), Some(5));
    assert_eq!(log.run(&["query", "log", "lease=none", "--format", "json"]).stdout, "[]\n");
}

#[test]
fn reports_in_every_format() {
    let log = AuditLog::of_month(1500);
    let report = |format: &str| {
        let ran =
            log.run(&[&["report", "log", "--role", "nobody-asks", "--format", format], &MONTH[..]].concat());
        good(&ran);
        let again =
            log.run(&[&["report", "log", "--role", "nobody-asks", "--format", format], &MONTH[..]].concat());
        assert_eq!(ran.stdout, again.stdout);
        ran
    };
    let json = report("json").json();
    assert_eq!(json["origin"], ORIGIN);
    assert_eq!(json["identities"].as_array().map(Vec::len), Some(20));
    assert_eq!(json["providers"].as_array().map(Vec::len), Some(4));
    assert_eq!(json["refusals"][0]["reason"], "ref is not main");
    assert_eq!(json["unused_roles"][0], "nobody-asks");
    let issued = log.query(&["type=lease.issued"]).len() as u64;
    assert_eq!(json["total"]["issued"].as_u64(), Some(issued));
    assert!(report("text").stdout.contains("Usage by identity"));
    let markdown = report("markdown").stdout;
    assert!(markdown.contains("\n| ") && markdown.contains("ref is not main"), "{markdown}");
    let page = report("html").stdout;
    assert!(page.contains("<svg") && page.contains("acme/app-7") && page.contains("prefers-color-scheme"));
    for outside in ["http://", "https://", "src=", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Links lead to places on the page; the empty icon keeps browsers from asking for one.
    for link in page.split("href=\"").skip(1) {
        assert!(link.starts_with('#') || link.starts_with("data:,\""), "{}", &link[..40]);
    }
    // The format of a file comes from its ending.
    good(&log.run(&["report", "log", "--output", "november.html"]));
    let file = fs::read_to_string(log.folder().path().join("november.html")).expect("the report");
    assert!(file.to_ascii_lowercase().starts_with("<!doctype html>"));
    refused(&log.run(&["report", "log", "--output", "november.pdf"]), &["--format", "november.pdf"]);
    refused(&log.run(&["report", "log", "--since", "2026-11-02", "--until", "2026-11-01"]), &["--since"]);
    refused(&log.run(&["report", "log", "--since", "yesterday"]), &["--since", "yesterday", "2026-11-24"]);
}

#[test]
fn anomalies_with_thresholds_and_silences() {
    let log = AuditLog::of_month(1500);
    let mut burst = String::new();
    for n in 0..90 {
        burst += &format!(
            "{{\"v\":1,\"time\":\"2026-11-29T12:00:{:02}Z\",\"type\":\"lease.issued\",\"outcome\":\"success\",\
             \"who\":{{\"repository\":\"acme/app-3\"}},\"source\":\"10.0.0.3\",\"target\":{{\"role\":\"plan\"}}}}\n",
            n / 2
        );
    }
    good(&log.import(&burst));
    let ran = log.run(&["anomalies", "log", "--format", "json", "--since", "2026-11-29"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let rules = |ran: &Ran| -> Vec<String> {
        let found = ran.json();
        let rules = found.as_array().expect("a list").iter();
        rules.map(|found| found["rule"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert!(rules(&ran).contains(&"burst".to_owned()), "{}", ran.stdout);
    let text = log.run(&["anomalies", "log"]).stdout;
    let silence = text.lines().find(|line| line.contains("\"rule\": \"burst\"")).expect("how to silence it");
    let silence = silence.split_once("- ").expect("an entry of a list").1;
    // What the report says silences it, does.
    log.folder().write("quiet.yaml", format!("readers: 50\nsilence:\n  - {silence}\n"));
    let ran = log.run(&["anomalies", "log", "--format", "json", "--config", "quiet.yaml"]);
    assert!(!rules(&ran).contains(&"burst".to_owned()), "{}", ran.stdout);

    log.folder().write("bad.yaml", "bursts: 3\n");
    refused(&log.run(&["anomalies", "log", "--config", "bad.yaml"]), &["bad.yaml", "bursts", "burst_events"]);
    log.folder().write("bad.yaml", "silence:\n  - rule: brust\n");
    refused(&log.run(&["anomalies", "log", "--config", "bad.yaml"]), &["brust", "burst"]);
    log.folder().write("bad.yaml", "surprise: 7\n");
    refused(&log.run(&["report", "log", "--config", "bad.yaml"]), &["surprise"]);
}

#[test]
fn one_byte_changed_in_any_kind_of_file_is_found_and_named() {
    let log = AuditLog::of_month(1500);
    let kinds = [
        "checkpoint",
        "tile/entries/000",
        "tile/entries/005.p/",
        "tile/0/002",
        "tile/0/005.p/",
        "tile/1/000.p/",
        "journal/",
    ];
    let all = log.files("");
    for kind in kinds {
        let file =
            all.iter().rfind(|file| file.starts_with(kind)).unwrap_or_else(|| panic!("{kind}: {all:?}"));
        let before = log.flip(file);
        let ran = log.run(&["verify", "log", "--key", "log.vkey"]);
        // A journal's last segment may hold nothing but its beginning.
        tampered(&ran, &[if kind == "checkpoint" { "checkpoint" } else { file }]);
        assert!(log.run(&["verify", "log", "--json"]).json()["fault"].is_string());
        fs::write(log.dir().join(file), before).expect("it can be written");
        good(&log.run(&["verify", "log", "--key", "log.vkey"]));
    }
    // Cut short, and gone.
    let tile = log.dir().join("tile/0/001");
    let before = fs::read(&tile).expect("a tile");
    fs::write(&tile, &before[..before.len() / 2]).expect("it can be written");
    tampered(&log.run(&["verify", "log"]), &["tile/0/001"]);
    fs::remove_file(&tile).expect("it is ours");
    tampered(&log.run(&["verify", "log"]), &["tile/0/001", "missing"]);
    fs::write(&tile, before).expect("it can be written");
    good(&log.run(&["verify", "log"]));
    // The index is a cache: damaged, it is made anew.
    log.import(month(3000)).status.eq(&0).then_some(()).expect("more events");
    let whole = log.query(&["--identity", "acme/app-7"]);
    let index = log.files("index");
    assert!(!index.is_empty(), "an index was kept");
    index.iter().for_each(|file| drop(log.flip(file)));
    assert_eq!(log.query(&["--identity", "acme/app-7", "--no-index"]), whole);
}

#[cfg(unix)]
#[test]
fn a_tile_that_is_a_link_is_no_tile() {
    let log = AuditLog::of_month(600);
    let (tile, outside) = (log.dir().join("tile/0/000"), log.folder().path().join("outside"));
    fs::rename(&tile, &outside).expect("it is ours");
    std::os::unix::fs::symlink(&outside, &tile).expect("a link");
    tampered(&log.run(&["verify", "log"]), &["tile/0/000", "not a regular file"]);
}

#[test]
fn a_rollback_is_refused_before_anything_is_appended() {
    let log = AuditLog::of_month(300);
    good(&log.run(&["verify", "log", "--key", "log.vkey", "--pin", "pin"]));
    log.snapshot();
    let pinned = ["import", "log", "-", "--pin", "pin"];
    let import =
        || claviger_with(log.folder().path(), &[&["audit"], &pinned[..]].concat(), month(20).as_bytes(), &[]);
    good(&import());
    let head = fs::read(log.dir().join("checkpoint")).expect("a head");
    log.restore();
    // Shrunk: both heads are shown, and nothing is written.
    let words = ["shrank", "pinned:", "found:", ORIGIN];
    tampered(&log.run(&["verify", "log", "--key", "log.vkey", "--pin", "pin"]), &words);
    let before = log.files("");
    refused(&import(), &words);
    assert_eq!(log.files(""), before);
    // Forked: grown anew from the older state, past the pinned size.
    good(&log.import(month(400)));
    tampered(
        &log.run(&["verify", "log", "--key", "log.vkey", "--pin", "pin"]),
        &["forked", "pinned:", "found:"],
    );
    refused(&import(), &["forked"]);
    // Any copy of a head serves as well.
    log.folder().write("seen", head);
    tampered(&log.run(&["verify", "log", "--key", "log.vkey", "--from", "seen"]), &["--from seen", "forked"]);
    // Another log of the same name, with other keys.
    let other = AuditLog::of_month(10);
    let key = other.folder().path().join("log.vkey").display().to_string();
    tampered(&log.run(&["verify", "log", "--key", &key]), &["no signature by a known key"]);
}

#[test]
fn receipts_hold_with_and_without_the_log() {
    let log = AuditLog::of_month(700);
    good(&log.run(&["receipt", "log", "300", "--output", "r", "--entry", "e"]));
    good(&log.import(month(50)));
    let ran = log.run(&["verify", "log", "--key", "log.vkey", "--receipt", "r"]);
    good(&ran);
    assert!(ran.stdout.contains("receipts"), "{}", ran.stdout);
    let offline = ["verify", "--key", "log.vkey", "--receipt", "r", "--entry", "e"];
    assert!(log.run(&offline).stdout.contains("number 300 of 704"));
    let entry = fs::read_to_string(log.folder().path().join("e")).expect("the entry");
    log.folder().write("e", entry.replace("acme", "acne"));
    tampered(&log.run(&offline), &["r: "]);
    let receipt = fs::read_to_string(log.folder().path().join("r")).expect("the receipt");
    log.folder().write("r", receipt.replace("index 300", "index 301"));
    tampered(&log.run(&["verify", "log", "--key", "log.vkey", "--receipt", "r"]), &["r: "]);
    log.folder().write("r", receipt.replace("index 300", "index 99999"));
    tampered(&log.run(&["verify", "log", "--key", "log.vkey", "--receipt", "r"]), &["99999"]);
    refused(&log.run(&["receipt", "log", "99999"]), &["99999"]);
    refused(&log.run(&["verify", "--receipt", "r"]), &["DIR"]);
}

#[test]
fn one_writer_and_any_number_of_readers() {
    let log = AuditLog::of_month(10);
    let mut first = Command::new(binary());
    first.args(["audit", "import", "log", "-"]).current_dir(log.folder().path());
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    let mut input = first.stdin.take().expect("a pipe");
    input.write_all(month(1).as_bytes()).expect("it reads");
    // Each line is durable and published although the input stays open.
    let size = |log: &AuditLog| log.run(&["verify", "log", "--json"]).json()["size"].as_u64();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while size(&log) != Some(16) {
        assert!(std::time::Instant::now() < deadline, "{:?} entries", size(&log));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    refused(&log.import(month(5)), &["another process has this log open for writing"]);
    drop(input);
    assert!(first.wait().expect("it ends").success());
    good(&log.import(month(5)));
    assert_eq!(log.query(&["type~log."]).len(), 8);
}

#[test]
fn a_followed_query_shows_what_is_appended() {
    use std::io::{BufRead as _, BufReader};
    let log = AuditLog::of_month(30);
    let mut follow = Command::new(binary());
    follow.args(["audit", "query", "log", "--follow", "--format", "jsonl", "name=fresh", "--limit", "2"]);
    let mut follow =
        follow.current_dir(log.folder().path()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    for version in 1..=2 {
        let event = r#"{"v":1,"time":"2026-11-30T10:00:00Z","type":"secret.read","detail":{"name":"fresh","version":VERSION}}"#;
        good(&log.import(event.replace("VERSION", &version.to_string())));
        let line = lines.next().expect("a line").expect("text");
        assert!(line.contains(&format!("\"version\":{version}")), "{line}");
    }
    assert!(follow.wait().expect("it ends").success());
    refused(&log.run(&["query", "log", "--follow", "--format", "json"]), &["--format jsonl"]);
}

#[test]
fn a_bad_query_shows_where() {
    let log = AuditLog::of_month(1);
    let bad = |filter: &[&str], position: usize, word: &str| {
        let ran = log.run(&[&["query", "log"], filter].concat());
        refused(&ran, &[&format!("at character {position}: "), word]);
        let mark = ran.stderr.lines().last().expect("a mark");
        assert_eq!(mark.trim_start(), "^", "{}", ran.stderr);
        // Two characters before the filter's own line.
        assert_eq!(mark.len() - 1 - 2, position - 1, "{}", ran.stderr);
    };
    bad(&["provder=aws"], 1, "provider");
    bad(&["provider=aws", "role="], 19, "expected a value");
    bad(&["role=\"open"], 6, "not closed");
    bad(&["since~2026"], 1, "takes `=` only");
    bad(&["a", "since=today"], 9, "no time");
    bad(&["=x"], 1, "name of a field");
    // Words of the user act on no terminal.
    let ran = log.run(&["query", "log", "x\u{1b}[31m=1"]);
    assert!(ran.status == 2 && !ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
}
