//! The audit log elsewhere: on a file server, in PostgreSQL, and its events on their way over TLS.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use claviger_tests::audit::{AuditLog, Serving, month};
use claviger_tests::{Folder, Ran, claviger, claviger_with, noise};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

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

#[test]
fn a_log_on_a_file_server_answers_as_its_directory() {
    let log = AuditLog::of_month(5000);
    let server = Serving::log(&log);
    let url = server.url();
    let verified = log.run(&["verify", &url, "--key", "log.vkey", "--events"]);
    says(&verified, 0, &verified.stdout, &["5004 entries"]);
    refused(&log.run(&["verify", &url]), &["give --key"]);
    refused(&log.run(&["query", &format!("{url}?x"), "--key", "log.vkey"]), &["`?`"]);
    let other = AuditLog::new();
    let stranger = other.folder().path().join("log.vkey").display().to_string();
    tampered(&log.run(&["verify", &url, "--key", &stranger]), &["no signature by a known key"]);
    for ask in [
        &["query", "LOG", "identity=acme/app-3", "type=lease.issued", "--format", "jsonl"][..],
        &["query", "LOG", "--outcome", "refused", "--since", "2026-11-20", "--format", "csv"],
        &["report", "LOG", "--until", "2026-12-01", "--format", "json"],
        &["receipt", "LOG", "4321"],
        &["export", "LOG", "--format", "ocsf"],
    ] {
        let of = |place: &str| {
            let args: Vec<&str> = ask.iter().map(|arg| if *arg == "LOG" { place } else { arg }).collect();
            let ran = log.run(&[&args[..], &["--key", "log.vkey"]].concat());
            good(&ran);
            ran.stdout
        };
        let here = of("log");
        assert!(here.len() > 300 && here == of(&url), "{ask:?}");
    }
    good(&log.run(&["receipt", &url, "77", "--key", "log.vkey", "--output", "r"]));
    good(&log.run(&["verify", &url, "--key", "log.vkey", "--receipt", "r", "--pin", "pin"]));

    // The server lies, or has lost something.
    let before = log.flip("tile/entries/007");
    tampered(&log.run(&["verify", &url, "--key", "log.vkey"]), &["tile/entries/007"]);
    let path = log.dir().join("tile/entries/007");
    fs::write(&path, before).expect("it can be written");
    fs::remove_file(log.dir().join("tile/0/003")).expect("it is ours");
    tampered(&log.run(&["verify", &url, "--key", "log.vkey"]), &["tile/0/003", "missing"]);
    drop(server);
    refused(&log.run(&["verify", &url, "--key", "log.vkey"]), &["could not be checked", "checkpoint"]);
}

/// Answers every connection with the same bytes, then hangs up.
fn rude(answer: impl Fn(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/log", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut line = String::new();
            let _ = BufReader::new(&connection).read_line(&mut line);
            answer(&mut connection);
        }
    });
    url
}

#[test]
fn a_server_that_misbehaves_is_neither_followed_nor_waited_for() {
    let log = AuditLog::new();
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let endless = |connection: &mut TcpStream| {
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while connection.write_all(&[b'a'; 4096]).is_ok() {}
    };
    for (url, words) in [
        (rude(|c| drop(c.write_all(redirect))), &["302", "not followed"][..]),
        (rude(|c| drop(c.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))), &["500"]),
        (rude(endless), &["longer than 1048576"]),
        (rude(|c| drop(c.write_all(b"220 mail.example\r\n"))), &["checkpoint"]),
        (rude(|_| std::thread::sleep(std::time::Duration::from_secs(60))), &["no answer in time"]),
    ] {
        refused(&log.run(&["verify", &url, "--key", "log.vkey"]), words);
    }
    let text = rude(|c| drop(c.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")));
    tampered(&log.run(&["verify", &text, "--key", "log.vkey"]), &["checkpoint"]);
}

/// The server that `tests/run` starts; `None` where there is none, which is no excuse in CI.
fn database() -> Option<String> {
    let url = std::env::var("CLAVIGER_TEST_POSTGRES").ok();
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(
        url.is_some() || !is_ci,
        "CLAVIGER_TEST_POSTGRES is not set: `tests/run` starts a server and sets it"
    );
    url
}

#[test]
fn a_log_in_postgresql_is_made_written_read_and_verified() {
    let Some(dsn) = database() else { return };
    let folder = Folder::new();
    let run = |args: &[&str]| claviger(folder.path(), &[&["audit"], args].concat());
    let origin = format!("audit.example/e2e/{}", std::process::id());
    let key = ["--signing-key", "pg.key"];
    let ran = run(&[&["init", &dsn, "--origin", &origin], &key[..]].concat());
    says(&ran, 0, &ran.stdout, &["pg.key", "2 entries"]);
    refused(&run(&[&["init", &dsn, "--origin", &origin], &key[..]].concat()), &["already", &origin]);
    let vkey = ran.stdout.lines().last().expect("the public key").trim().to_owned();
    let import = ["audit", "import", &dsn, "-", "--signing-key", "pg.key", "--pin", "pin"];
    let ran = claviger_with(folder.path(), &import, month(3000).as_bytes(), &[]);
    says(&ran, 0, &ran.stdout, &["3000 events logged"]);
    let trust = ["--key", vkey.as_str()];
    let ran = run(&[&["verify", &dsn, "--events", "--pin", "pin"], &trust[..]].concat());
    says(&ran, 0, &ran.stdout, &["3004 entries", "extends"]);
    let lines = run(&[&["query", &dsn, "lease=lease-17", "--format", "jsonl"], &trust[..]].concat());
    good(&lines);
    assert!(lines.stdout.lines().count() >= 4, "{}", lines.stdout);
    good(&run(&[&["report", &dsn, "--format", "html", "--output", "r.html"], &trust[..]].concat()));
    good(&run(&["receipt", &dsn, "9", "--origin", &origin, "--output", "r", "--entry", "e"]));
    good(&run(&[&["verify", "--receipt", "r", "--entry", "e"], &trust[..]].concat()));
    // Old entries go, into an archive.
    let prune = ["prune", &dsn, "--before", "1000", "--archive", "old", "--signing-key", "pg.key"];
    says(&run(&prune), 0, &run(&prune).stdout, &["entries before 768 are gone"]);
    let ran = run(&[&["verify", &dsn, "--archive", "old"], &trust[..]].concat());
    says(&ran, 0, &ran.stdout, &["recomputed"]);
    // And over HTTP, from the database.
    let server = Serving::of(folder.path(), &["serve", &dsn, "--origin", &origin]);
    good(&run(&[&["verify", &server.url(), "--archive", "old"], &trust[..]].concat()));
    refused(&run(&["verify", &dsn, "--origin", "audit.example/none"]), &["audit.example/none"]);
}

/// A TLS server for `localhost` with a certificate of its own, which it hands out as a file.
struct Tls {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Tls {
    fn new(folder: &Folder) -> Tls {
        let pair = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&pair).expect("a certificate");
        folder.write("ca.pem", certificate.pem());
        folder.write("ca.key", pair.serialize_pem());
        let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Tls { listener, config: Arc::new(config) }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    fn accept(&self) -> StreamOwned<ServerConnection, TcpStream> {
        let (stream, _) = self.listener.accept().expect("a connection");
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).expect("a session"), stream)
    }

    /// What one connection sends until it ends.
    fn take_all(self) -> JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let (mut stream, mut all) = (self.accept(), Vec::new());
            // A sender that goes without a goodbye has sent what it sent.
            let _ = stream.read_to_end(&mut all);
            all
        })
    }
}

#[test]
fn syslog_over_tls_goes_to_whom_the_system_trusts() {
    let log = AuditLog::of_month(300);
    let tls = Tls::new(log.folder());
    let to = format!("tls://localhost:{}", tls.port());
    let export = |to: &str, vars: &[(&str, &str)]| {
        let args =
            ["audit", "export", "log", "--format", "syslog", "--to", to, "--cursor", "c", "--retries", "0"];
        claviger_with(log.folder().path(), &args, b"", vars)
    };
    let ca = log.folder().path().join("ca.pem").display().to_string();
    let trusted = [("SSL_CERT_FILE", ca.as_str())];
    let receiver = tls.take_all();
    good(&export(&to, &trusted));
    let all = String::from_utf8(receiver.join().expect("it ends")).expect("text");
    assert_eq!(all.matches("index=\"").count(), 304);
    assert!(all.split_once(' ').expect("a length").1.starts_with('<'));

    // Another name than the certificate's, and a certificate that nobody knows.
    good(&log.import(month(5)));
    for (host, vars) in [("127.0.0.1", &trusted[..]), ("localhost", &[])] {
        let tls = Tls::new(log.folder());
        let port = tls.port();
        let trusted_of_another = [("SSL_CERT_FILE", ca.as_str())];
        fs::copy(log.folder().path().join("ca.pem"), log.folder().path().join("own.pem")).expect("a copy");
        let receiver = tls.take_all();
        let vars = if vars.is_empty() { &[][..] } else { &trusted_of_another[..] };
        let ran = export(&format!("tls://{host}:{port}"), vars);
        refused(&ran, &["ertificate"]);
        assert!(receiver.join().expect("it ends").is_empty());
    }
}

#[test]
fn webhooks_and_a_log_over_https() {
    let log = AuditLog::of_month(100);
    let tls = Tls::new(log.folder());
    let to = format!("https://localhost:{}/hook", tls.port());
    let ca = log.folder().path().join("ca.pem").display().to_string();
    let secret = noise("https", 32);
    let vars = [("CLAVIGER_WEBHOOK_KEY", secret.as_str()), ("SSL_CERT_FILE", ca.as_str())];
    let args = ["audit", "export", "log", "--format", "webhook", "--to", &to, "--cursor", "c"];
    let receiver = std::thread::spawn(move || {
        let mut stream = tls.accept();
        let (mut bytes, mut piece) = (Vec::new(), [0; 65536]);
        // Until the batch is whole: a JSON list ends with `]`.
        while !bytes.ends_with(b"]") {
            let count = stream.read(&mut piece).expect("it sends");
            bytes.extend_from_slice(&piece[..count]);
        }
        stream.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").expect("it listens");
        stream.flush().expect("it listens");
        String::from_utf8_lossy(&bytes).into_owned()
    });
    good(&claviger_with(log.folder().path(), &args, b"", &vars));
    let request = receiver.join().expect("it ends");
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && request.contains("Claviger-Signature: t="));

    let server = Serving::of(
        log.folder().path(),
        &["serve", "log", "--tls-certificate", "ca.pem", "--tls-key", "ca.key"],
    );
    let url = server.address().replace("127.0.0.1", "https://localhost");
    let args = ["audit", "verify", &url, "--key", "log.vkey"];
    let ran = claviger_with(log.folder().path(), &args, b"", &[("SSL_CERT_FILE", &ca)]);
    says(&ran, 0, &ran.stdout, &["104 entries"]);
    refused(&log.run(&["verify", &url, "--key", "log.vkey"]), &["ertificate"]);
}
