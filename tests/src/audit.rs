//! A log to test with, and a month of events made at run time.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Folder, Ran, binary, claviger, claviger_with};

/// The origin of the logs that the tests make.
pub const ORIGIN: &str = "audit.example/e2e";

/// A log in a folder, with its keys beside it.
#[derive(Debug)]
pub struct AuditLog {
    folder: Folder,
}

impl Default for AuditLog {
    fn default() -> Self {
        AuditLog::new()
    }
}

impl AuditLog {
    /// A new log.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        let log = AuditLog { folder: Folder::new() };
        let ran = log.run(&["init", "log", "--origin", ORIGIN]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        log
    }

    /// A log with `count` events of a month.
    ///
    /// # Panics
    /// If they cannot be logged.
    pub fn of_month(count: usize) -> Self {
        let log = AuditLog::new();
        let ran = log.import(month(count));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        log
    }

    /// The folder around it; the log is `log` in it.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Runs `claviger audit` in the folder.
    pub fn run(&self, args: &[&str]) -> Ran {
        claviger(self.folder.path(), &[&["audit"], args].concat())
    }

    /// Imports events from standard input.
    pub fn import(&self, events: impl AsRef<[u8]>) -> Ran {
        claviger_with(self.folder.path(), &["audit", "import", "log", "-"], events.as_ref(), &[])
    }

    /// Queries with these arguments; the lines.
    ///
    /// # Panics
    /// If it fails.
    pub fn query(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let ran = self.run(&[&["query", "log", "--format", "jsonl"], args].concat());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// The files of a part of the log, relative to it, sorted.
    pub fn files(&self, below: &str) -> Vec<String> {
        let mut all = Vec::new();
        walk(&self.dir().join(below), below, &mut all);
        all.sort();
        all
    }

    /// Changes one byte in the middle of a file; the bytes before.
    ///
    /// # Panics
    /// If the file is empty or not there.
    pub fn flip(&self, file: &str) -> Vec<u8> {
        let path = self.dir().join(file);
        let before = fs::read(&path).expect("the file is there");
        let mut after = before.clone();
        let middle = after.len() / 2;
        after[middle] ^= 1;
        fs::write(path, after).expect("it can be written");
        before
    }

    /// Copies the log's directory, to be put back by [`AuditLog::restore`].
    ///
    /// # Panics
    /// If the system refuses.
    pub fn snapshot(&self) {
        copy(&self.dir(), &self.folder.path().join("snapshot"));
    }

    /// Puts the copy back.
    ///
    /// # Panics
    /// If there is none.
    pub fn restore(&self) {
        fs::remove_dir_all(self.dir()).expect("it is ours");
        copy(&self.folder.path().join("snapshot"), &self.dir());
    }
}

/// A running `claviger audit` that serves over HTTP.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    /// A log that is served read-only.
    pub fn log(log: &AuditLog) -> Self {
        Serving::of(log.folder().path(), &["serve", "log"])
    }

    /// Runs `claviger audit` with these arguments, on a free port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn of(folder: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("audit").args(args).args(["--listen", "127.0.0.1:0"]).current_dir(folder);
        command.env_remove("CLAVIGER_AUDIT_KEY");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its address");
        let address =
            line.trim().split_once("://").expect("a URL").1.trim_end_matches("/checkpoint").to_owned();
        Serving { child, address }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends bytes; what comes back.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut connection = TcpStream::connect(&self.address).expect("it listens");
        connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        connection.write_all(bytes).expect("it reads");
        let mut answer = Vec::new();
        // Cut off is an answer, too: what counts is what was sent before.
        let _ = connection.read_to_end(&mut answer);
        answer
    }

    /// Head and body of the answer to a GET.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, path: &str) -> (String, Vec<u8>) {
        let answer = self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn walk(dir: &Path, name: &str, all: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory of the log").map(|entry| entry.expect("an entry")) {
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let name = name.trim_start_matches('/').to_owned();
        if entry.path().is_dir() {
            walk(&entry.path(), &name, all);
        } else {
            all.push(name);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

/// `count` events of November 2026 as JSON lines, the same each time: 20 identities that ask for five roles, in order
/// of time. Of ten requests one is refused, one reads a static secret, and the others get a lease that is renewed, and
/// revoked or expires.
pub fn month(count: usize) -> String {
    const ROLES: [(&str, &str, &str); 5] = [
        ("deploy-prod", "aws", "prod"),
        ("deploy-staging", "aws", "staging"),
        ("migrate-db", "postgres", "prod"),
        ("read-artifacts", "gcp", "prod"),
        ("plan", "azure", "staging"),
    ];
    let mut lines = String::new();
    let mut made = 0;
    for request in 0.. {
        // A request makes a little more than four events.
        let second = request * (4 * 30 * 86_400) / count.max(1);
        let who = request * 7 % 20;
        let (role, provider, environment) = ROLES[(who + request / 9 % 2) % 5];
        let lease = format!("lease-{request}");
        let mut push = |after: usize, kind: &str, outcome: &str, more: &str| {
            if made == count {
                return;
            }
            made += 1;
            let at = second + after;
            let (day, hour, minute) = (at / 86_400 + 1, at / 3600 % 24, at / 60 % 60);
            let _ = writeln!(
                lines,
                r#"{{"v":1,"time":"2026-11-{day:02}T{hour:02}:{minute:02}:{:02}Z","type":"{kind}","outcome":"{outcome}","who":{{"issuer":"https://ci.example","subject":"repo:acme/app-{who}","repository":"acme/app-{who}","run_id":"{request}","actor":"octo"}},"target":{{"provider":"{provider}","environment":"{environment}","role":"{role}"}},"source":"10.0.0.{who}","correlation":"req-{request}"{more}}}"#,
                at % 60
            );
        };
        match request % 10 {
            3 => {
                push(0, "decision", "refused", r#","reason":"ref is not main","detail":{"rule":"main-only"}"#)
            }
            6 => push(0, "secret.read", "success", r#","detail":{"name":"stripe-key","version":3}"#),
            n => {
                let of = format!(r#","lease":"{lease}","ttl_s":900"#);
                push(0, "decision", "success", &of);
                push(1, "lease.issued", "success", &of);
                push(2, "lease.used", "success", &of);
                push(10, "lease.renewed", "success", &of);
                push(30, if n == 1 { "lease.expired" } else { "lease.revoked" }, "success", &of);
            }
        }
        if made == count {
            break;
        }
    }
    lines
}
