//! The audit log and the world: bad input, exports to receivers that fail, serving to clients that misbehave.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use claviger_tests::audit::{AuditLog, ORIGIN, Serving, month};
use claviger_tests::{Folder, Ran, binary, claviger, claviger_with, noise, tool};

fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.status, 2, "{}\n{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` not in: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

fn good(ran: &Ran) {
    assert_eq!(ran.status, 0, "{}\n{}", ran.stdout, ran.stderr);
}

const EVENT: &str =
    r#"{"v":1,"time":"2026-11-24T10:00:00Z","type":"secret.read","detail":{"name":"NAME","version":1}}"#;

#[test]
fn events_that_are_none_are_named_by_line() {
    let log = AuditLog::new();
    let before = EVENT.replace("NAME", "before");
    for bad in [
        &b"{"[..],
        b"7",
        b"{\"v\":1}",
        b"\xff\xfe\x00",
        b"{\"v\":1,\"time\":\"noon\",\"type\":\"auth\"}",
        b"\x1b[31m",
    ] {
        let ran = log.import([before.as_bytes(), b"\n\n", bad, b"\n", before.as_bytes()].concat());
        refused(&ran, &["standard input:3: ", "1 events were logged"]);
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    }
    let args = ["audit", "import", "log", "-", "--keep-going"];
    let ran = claviger_with(log.folder().path(), &args, format!("{before}\nno\n{before}\n").as_bytes(), &[]);
    refused(&ran, &["standard input:2: "]);
    assert!(
        ran.stdout.contains("2 events logged") && ran.stdout.contains("1 lines left out"),
        "{}",
        ran.stdout
    );
    // Nothing but the log says that entries may be missing from it.
    let pruned = r#"{"v":1,"time":"2026-11-24T10:00:00Z","type":"log.pruned","detail":{"minimum":256}}"#;
    let ran = log.import(pruned);
    good(&ran);
    assert!(ran.stdout.contains("1 events of type log.* left out"), "{}", ran.stdout);
    assert!(log.query(&["type=log.pruned"]).is_empty());
    good(&log.run(&["verify", "log", "--events"]));
}

#[test]
fn long_hostile_and_newer_events_are_kept_as_far_as_they_fit() {
    let log = AuditLog::new();
    let ten_megabytes = EVENT.replace("NAME", &"x".repeat(10 << 20));
    good(&log.import(&ten_megabytes));
    let hashed = log.query(&["type=secret.read"]);
    assert!(hashed[0]["detail"]["name"].as_str().is_some_and(|name| name.starts_with("sha256:")));
    refused(&log.import("x".repeat(17 << 20)), &["standard input:1: longer than"]);
    // Control characters stay in the log, and out of the table.
    good(
        &log.import(
            EVENT
                .replace("NAME", "a\\u001b[31m\\u202eb")
                .replace("\"detail\"", "\"reason\":\"\\u001b]0;x\",\"detail\""),
        ),
    );
    let table = log.run(&["query", "log", "type=secret.read"]).stdout;
    assert!(!table.contains('\u{1b}') && !table.contains('\u{202e}'), "{table}");
    // The future.
    let newer = r#"{"v":9,"time":"2026-11-24T10:00:00Z","type":"lease.teleported","zone":{"to":"mars"},"detail":{"how":[1,2]}}"#;
    good(&log.import(newer));
    let kept = log.query(&["type=lease.teleported"]);
    assert_eq!(
        (&kept[0]["zone"]["to"], &kept[0]["detail"]["how"][1], &kept[0]["v"]),
        (&"mars".into(), &2.into(), &9.into())
    );
    // A clock that goes backwards: the log's own time does not.
    good(&log.import(format!("{}\n{}\n", EVENT.replace("2026", "2030"), EVENT.replace("2026", "1999"))));
    let logged: Vec<String> =
        log.query(&[]).iter().map(|event| event["logged"].as_str().unwrap_or("").to_owned()).collect();
    assert!(logged.is_sorted(), "{logged:?}");
    good(&log.run(&["verify", "log", "--events"]));
}

#[test]
fn what_is_no_log_is_not_taken_for_one() {
    let log = AuditLog::of_month(10);
    let folder = log.folder();
    folder.write("other/HEAD", "ref: refs/heads/main\n");
    for verb in
        [&["verify", "other"][..], &["query", "other"], &["report", "other"], &["import", "other", "-"]]
    {
        refused(&log.run(verb), &["other: not a log of claviger"]);
    }
    refused(&log.run(&["init", "other", "--origin", "audit.example/other"]), &["HEAD"]);
    refused(&log.run(&["verify", "missing"]), &["missing", "No such file"]);
    refused(&log.run(&["verify", "log.vkey"]), &["not a directory"]);
    refused(&log.run(&["verify", "https://audit.example/e2e"]), &["give --key"]);
    refused(&log.run(&["import", "https://audit.example/e2e", "-"]), &["not written over HTTP"]);
    for scheme in ["postgres", "https"] {
        let dsn = [scheme, "://u", ":p", "@h/db"].concat();
        let ran = log.run(&["verify", &dsn]);
        refused(&ran, &["password"]);
        assert!(!ran.stderr.contains(":p@"), "a password was repeated: {}", ran.stderr);
    }
    refused(&log.run(&["verify", "ftp://h/log"]), &["not ftp"]);
    refused(&log.run(&["init", "postgres://h/db", "--origin", "audit.example/x"]), &["--signing-key"]);
    // A second log in the same place, and names that are none.
    refused(&log.run(&["init", "log", "--origin", ORIGIN]), &["there is a log here already", ORIGIN]);
    refused(&log.run(&["init", "log", "--origin", "audit.example/another"]), &[ORIGIN]);
    for name in ["https://audit.example/x", "a b", "", "a+b", "a/"] {
        refused(&log.run(&["init", "new", "--origin", name]), &["--origin"]);
    }
    assert!(!folder.path().join("new.key").exists());
    // Origin and version.
    refused(&log.run(&["query", "log", "--origin", "audit.example/x"]), &[ORIGIN, "audit.example/x"]);
    let ran = log.run(&["verify", "log", "--origin", "audit.example/x"]);
    assert!(ran.status == 1 && ran.stdout.contains("names `"), "{}", ran.stdout);
    let meta = log.dir().join("log.json");
    let text = fs::read_to_string(&meta).expect("log.json");
    fs::write(&meta, text.replace("\"format\": 1", "\"format\": 99")).expect("it can be written");
    for verb in [&["verify", "log"][..], &["query", "log"], &["import", "log", "-"]] {
        refused(&log.run(verb), &["format 99", "newer"]);
    }
}

#[test]
fn keys_come_from_safe_files_or_the_environment() {
    let log = AuditLog::new();
    let folder = log.folder().path();
    let key = folder.join("log.key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&log.dir())), (0o600, 0o700));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("it is ours");
        refused(&log.import(month(1)), &["log.key", "mode 640", "chmod 600"]);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
    let private = fs::read_to_string(&key).expect("the key");
    fs::rename(&key, folder.join("elsewhere")).expect("it is ours");
    refused(&log.import(month(1)), &["log.key"]);
    good(&claviger_with(
        folder,
        &["audit", "import", "log", "-", "--signing-key", "elsewhere"],
        month(1).as_bytes(),
        &[],
    ));
    let from_variable = |value: &str| {
        let vars = [("CLAVIGER_AUDIT_KEY", value)];
        claviger_with(folder, &["audit", "import", "log", "-"], month(1).as_bytes(), &vars)
    };
    good(&from_variable(private.trim()));
    // A key that is damaged, or another's, is refused and never shown.
    // `PRIVATE+KEY+NAME+ID+BASE64`; base64 has a plus of its own.
    let secret = private.trim().splitn(5, '+').nth(4).expect("the last part").to_owned();
    assert!(secret.len() > 40);
    for wrong in [private.trim().replace("+b", "+c").replace("+0", "+1") + "x", "x".into()] {
        let ran = from_variable(&wrong);
        refused(&ran, &["CLAVIGER_AUDIT_KEY", "not a key"]);
        assert!(!ran.stderr.contains(&secret));
        assert!(wrong.len() < 40 || !ran.stderr.contains(&wrong));
    }
    let other = AuditLog::new();
    let theirs = fs::read_to_string(other.folder().path().join("log.key")).expect("the key");
    refused(&from_variable(theirs.trim()), &["checkpoint"]);
    // A private key where a public one belongs.
    let ran = log.run(&["verify", "log", "--key", "elsewhere"]);
    refused(&ran, &["private key"]);
    assert!(!ran.stderr.contains(&secret));
    // A private key inside the log would be served with it.
    fs::create_dir(folder.join("new")).expect("a folder");
    let inside = ["init", "new", "--origin", "audit.example/new", "--signing-key", "new/key"];
    refused(&log.run(&inside), &["does not belong into the log's directory"]);
}

#[test]
fn a_log_goes_on_in_the_next_one() {
    let log = AuditLog::of_month(20);
    let next = ["init", "next", "--origin", "audit.example/e2e-2", "--after", "log"];
    good(&log.run(&next));
    good(&log.run(&["verify", "next", "--key", "next.vkey", "--previous", "log"]));
    good(&log.import(month(1)));
    let ran = log.run(&["verify", "next", "--previous", "log"]);
    assert!(ran.status == 1 && ran.stdout.contains("has 27"), "{}", ran.stdout);
    refused(&log.run(&["init", "third", "--origin", ORIGIN, "--after", "log"]), &["used once"]);
}

fn indices(lines: &str) -> Vec<u64> {
    let index = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["seq"].as_u64();
    lines.lines().map(|line| index(line).expect("a number")).collect()
}

#[test]
fn exports_go_on_at_their_cursor() {
    let log = AuditLog::of_month(300);
    let export = ["export", "log", "--to", "out", "--cursor", "cursor"];
    good(&log.run(&export));
    good(&log.run(&export));
    good(&log.import(month(300)));
    good(&log.run(&export));
    let out = fs::read_to_string(log.folder().path().join("out")).expect("the export");
    assert_eq!(indices(&out), (0..606).collect::<Vec<_>>());
    assert_eq!(indices(&log.run(&["export", "log"]).stdout).len(), 606);
    let ocsf = log.run(&["export", "log", "--format", "ocsf"]).stdout;
    assert!(ocsf.lines().all(|line| line.contains("\"class_uid\"")) && ocsf.lines().count() == 606);
    assert!(log.run(&["export", "log", "--format", "cef"]).stdout.starts_with("CEF:0|claviger|"));
    // Another log under the same cursor.
    let other = AuditLog::of_month(1);
    log.folder().write("cursor", "audit.example/other 5\n");
    refused(&log.run(&export), &["audit.example/other", "not in this log"]);
    log.folder().write("cursor", "nonsense");
    refused(&log.run(&export), &["cursor"]);
    refused(&other.run(&["export", "log", "--to", "out"]), &["--cursor"]);
    refused(&other.run(&["export", "log", "--to", "https://h/x", "--format", "otlp"]), &["--cursor"]);
    refused(&other.run(&["export", "log", "--to", "tcp://h:1", "--format", "cef"]), &["--format syslog"]);
    refused(&other.run(&["export", "log", "--to", "gopher://h"]), &["gopher"]);
    // A reader that has gone is no error worth a message.
    let pipe = format!("'{}' audit export log | head -1", binary().display());
    let ran =
        Command::new("sh").args(["-c", &pipe]).current_dir(log.folder().path()).output().expect("sh runs");
    assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Every type of event, as bare and as full as it may be, held to the schema that OCSF publishes.
#[test]
fn ocsf_events_fit_the_published_schema() {
    let kinds = [
        "auth",
        "decision",
        "lease.issued",
        "lease.renewed",
        "lease.revoked",
        "lease.expired",
        "lease.used",
        "job.ended",
        "secret.rotated",
        "secret.read",
        "secret.changed",
        "config.changed",
        "scan.finding",
        "scan.leak",
        "a.new.one",
    ];
    let full = r#","reason":"why","who":{"issuer":"https://ci.example","subject":"repo:acme/shop","repository":"acme/shop","run_id":"1","actor":"ada"},"target":{"provider":"aws","environment":"prod","role":"deploy"},"source":"192.0.2.1","lease":"l1","ttl_s":900,"correlation":"r1","fingerprint":{"key":"k","mac":"00"},"detail":{"name":"n","rule":"r","what":"policy","severity":"high","path":"a/b"}"#;
    let mut events = String::new();
    for kind in kinds {
        for outcome in ["success", "refused", "failed", "other"] {
            for more in ["", full, r#","source":"not an address","detail":{"severity":"critical"}"#] {
                events += &format!(
                    "{{\"v\":1,\"time\":\"2026-11-24T10:00:00Z\",\"type\":\"{kind}\",\"outcome\":\"{outcome}\"{more}}}\n"
                );
            }
        }
    }
    let log = AuditLog::new();
    good(&log.import(&events));
    good(&log.run(&["key", "rotate", "log"]));
    good(&log.run(&["prune", "log", "--before", "0", "--no-archive"]));
    let ran = log.run(&["export", "log", "--format", "ocsf"]);
    good(&ran);
    assert!(ran.stdout.lines().count() > 180);
    let Some(python) = tool("python3") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/ocsf.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    // It may have ended already.
    let _ = child.stdin.take().expect("a pipe").write_all(ran.stdout.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let found = String::from_utf8_lossy(&output.stdout);
    let must = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    // Without the schema's package on a developer's machine.
    let skipped = output.status.code() == Some(77) && !must;
    assert!(output.status.success() || skipped, "{found}");
    assert!(skipped || found.contains("[2004, 3002, 3004, 3005, 6003], 0 errors"), "{found}");
}

/// Reads one request; its head and body.
fn request(connection: impl Read) -> (String, String) {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    (head, String::from_utf8(body).expect("text"))
}

#[test]
fn a_webhook_that_is_slow_rude_or_busy_gets_everything_in_the_end() {
    let log = AuditLog::of_month(500);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let secret = noise("webhook", 32);
    let vars = [("CLAVIGER_WEBHOOK_KEY", secret.as_str())];
    let export = |to: &str, retries: &str| {
        let args = [
            "audit",
            "export",
            "log",
            "--format",
            "webhook",
            "--to",
            to,
            "--cursor",
            "c",
            "--retries",
            retries,
        ];
        claviger_with(log.folder().path(), &args, b"", &vars)
    };
    let receiver = std::thread::spawn(move || {
        let mut ids = Vec::new();
        for (n, connection) in listener.incoming().enumerate() {
            let mut connection = connection.expect("a connection");
            let (head, body) = request(&connection);
            assert!(head.starts_with("POST /hook HTTP/1.1\r\n") && head.contains("cloudevents-batch+json"));
            let signature = head.lines().find(|line| line.starts_with("Claviger-Signature: t="));
            assert!(signature.is_some_and(|line| line.contains(",v1=")), "{head}");
            let answer: &[u8] = match n {
                0 => b"HTTP/1.1 503 Busy\r\n\r\n",
                1 => b"",
                2 => b"ni hao\r\n\r\n",
                5 => b"HTTP/1.1 400 No\r\n\r\n",
                _ => b"HTTP/1.1 204 Fine\r\n\r\n",
            };
            if answer.starts_with(b"HTTP/1.1 2") {
                let batch: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                let batch = batch.as_array().expect("a batch").iter();
                ids.extend(
                    batch.map(|event| event["id"].as_str().expect("an id").parse::<u64>().expect("a number")),
                );
            }
            // Lying about the length and stopping early must not be taken for delivery either.
            connection.write_all(answer).expect("it listens");
            if n == 5 {
                return ids;
            }
        }
        ids
    });
    let ran = export(&to, "5");
    good(&ran);
    assert_eq!(ran.stderr.matches("trying again").count(), 3, "{}", ran.stderr);
    good(&log.import(month(1)));
    // Refused for good: no second try, and the cursor stays.
    let ran = export(&to, "5");
    refused(&ran, &["entry 504", "refused", "400"]);
    assert!(!ran.stderr.contains("trying again"));
    assert_eq!(receiver.join().expect("it ends"), (0..504).collect::<Vec<_>>());
    assert_eq!(
        fs::read_to_string(log.folder().path().join("c")).expect("the cursor"),
        format!("{ORIGIN} 504\n")
    );
    // Nobody there any more.
    refused(&export(&to, "1"), &["entry 504", "given up after 2 tries"]);
    let short = [("CLAVIGER_WEBHOOK_KEY", "short")];
    let args = ["audit", "export", "log", "--format", "webhook", "--to", &to, "--cursor", "c"];
    refused(&claviger_with(log.folder().path(), &args, b"", &short), &["shorter than 16"]);
    refused(&claviger(log.folder().path(), &args), &["CLAVIGER_WEBHOOK_KEY"]);
}

#[test]
fn syslog_by_datagram_and_by_stream() {
    let log = AuditLog::of_month(20);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let to = format!("udp://{}", socket.local_addr().expect("an address"));
    good(&log.run(&["export", "log", "--format", "syslog", "--to", &to, "--cursor", "udp"]));
    let mut message = [0; 4096];
    for index in 0..24 {
        let length = socket.recv(&mut message).expect("a message");
        let text = String::from_utf8_lossy(&message[..length]);
        assert!(text.starts_with('<') && text.contains(&format!("index=\"{index}\"")), "{text}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!("tcp://{}", listener.local_addr().expect("an address"));
    let receiver = std::thread::spawn(move || {
        let mut all = Vec::new();
        listener.accept().expect("a connection").0.read_to_end(&mut all).expect("all of it");
        all
    });
    good(&log.run(&["export", "log", "--format", "syslog", "--to", &to, "--cursor", "tcp"]));
    let (all, mut messages) = (receiver.join().expect("it ends"), 0);
    let mut rest = all.as_slice();
    while let Some(space) = rest.iter().position(|b| *b == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).expect("digits").parse().expect("a length");
        assert_eq!(rest[space + 1], b'<');
        rest = &rest[space + 1 + length..];
        messages += 1;
    }
    assert_eq!((messages, rest.len()), (24, 0));
}

#[test]
fn a_served_log_can_be_mirrored_and_verified_and_nothing_else_is_given_out() {
    let log = AuditLog::of_month(600);
    let server = Serving::log(&log);
    // A mirror: what was served, and nothing of the directory besides.
    let mirror = Folder::new();
    for file in log.files("tile").into_iter().chain(["checkpoint".to_owned()]) {
        let (head, body) = server.get(&format!("/{file}"));
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("nosniff"), "{file}: {head}");
        mirror.write(&format!("mirror/{file}"), body);
    }
    let key = fs::read_to_string(log.folder().path().join("log.vkey")).expect("the key");
    good(&claviger(mirror.path(), &["audit", "verify", "mirror", "--key", key.trim()]));
    // Whoever brings no key learns that somebody must say whose log it is.
    refused(&claviger(mirror.path(), &["audit", "query", "mirror"]), &["log.json"]);

    for path in [
        "/log.json",
        "/journal/",
        "/lock",
        "/../log.key",
        "/tile/../../log.key",
        "/tile/0/..%2f..%2flog.key",
        "/%2e%2e/log.key",
        "//checkpoint",
        "/checkpoint?x",
        "/tile/0/000/",
        "/tile/0/999",
        "/tile/00/000",
        "/",
    ] {
        let (head, body) = server.get(path);
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
        assert_eq!(body, b"there is no such file\n");
    }
    let head = String::from_utf8_lossy(&server.send(b"HEAD /checkpoint HTTP/1.1\r\n\r\n")).into_owned();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    for (bad, status) in [
        (&b"PUT /checkpoint HTTP/1.1\r\n\r\n"[..], "405"),
        (b"GET checkpoint HTTP/1.1\r\n\r\n", "404"),
        (b"GET /\0 HTTP/1.1\r\n\r\n", "400"),
        (b"GET /checkpoint\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "400"),
        (b"\xff\xff / HTTP/1.1\r\n\r\n", "400"),
    ] {
        let answer = String::from_utf8_lossy(&server.send(bad)).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let long = server.send(&[b"GET /".as_slice(), &[b'a'; 9000]].concat());
    assert!(long.is_empty() || long.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&long));
    // Clients that say nothing do not keep others out.
    let idle: Vec<TcpStream> =
        (0..80).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    assert!(server.get("/checkpoint").0.starts_with("HTTP/1.1 200"));
    drop(idle);
    // Only the loopback, unless told.
    refused(&log.run(&["serve", "log", "--listen", "0.0.0.0:0"]), &["--public"]);
}
