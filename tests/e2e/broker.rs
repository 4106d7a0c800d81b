//! The broker from outside: the README's tour, with a real PostgreSQL server as target.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use claviger_audit::clock::SystemClock;
use claviger_broker::run::dev::DevIssuer;
use claviger_tests::binary;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with all that a broker needs, and the broker.
pub(crate) struct Ground {
    folder: TempDir,
    url: String,
    issuer: DevIssuer,
    process: Option<Serving>,
}

/// A broker that serves.
pub(crate) struct Serving(Child);

impl Serving {
    /// Starts `claviger serve` with these arguments, and waits until it serves.
    pub(crate) fn of(folder: &Path, arguments: &[&str]) -> Serving {
        let mut child = Command::new(binary())
            .arg("serve")
            .args(arguments)
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("serving") {
            let read = lines.read_line(&mut said).expect("reads");
            assert!(read > 0, "the broker did not start:\n{said}");
        }
        // Somebody must read on, or the broker waits for room in the pipe.
        std::thread::spawn(move || drop(lines.read_to_string(&mut String::new())));
        Serving(child)
    }

    /// As kill -9 does.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }

    /// Stops as an operator does.
    pub(crate) fn stop(mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status().expect("kill");
        assert!(asked.success());
        let deadline = Instant::now() + Duration::from_secs(40);
        while self.0.try_wait().expect("waits").is_none() {
            assert!(Instant::now() < deadline, "the broker did not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[expect(clippy::print_stderr, reason = "says what is skipped")]
/// The test database's `postgres://USER@HOST:PORT/NAME`; `None` on a machine without one.
pub(crate) fn database() -> Option<String> {
    let url = std::env::var("CLAVIGER_TEST_POSTGRES").ok();
    assert!(
        url.is_some() || std::env::var("CI").as_deref() != Ok("true"),
        "tests/run sets CLAVIGER_TEST_POSTGRES"
    );
    if url.is_none() {
        eprintln!("skipped: CLAVIGER_TEST_POSTGRES is not set; tests/run does that");
    }
    url
}

pub(crate) fn private(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
}

pub(crate) fn psql(url: &str, sql: &str) -> std::process::Output {
    Command::new("psql")
        .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c", sql, url])
        .output()
        .expect("psql")
}

/// The SHA-256 of a text, in hex.
fn sha256(text: &str, folder: &Path) -> String {
    let path = folder.join("operator");
    fs::write(&path, text).expect("written");
    let output = Command::new("sha256sum").arg(&path).output().expect("runs");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a sum").to_owned()
}

impl Ground {
    /// A broker on a port of its own; `target` is the provider's section and the role's parameters.
    pub(crate) fn new(provider: &str, parameters: &str) -> Ground {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let url = format!("http://127.0.0.1:{port}");
        let issuer = DevIssuer::new(&url, Arc::new(SystemClock)).expect("an issuer");
        fs::write(at("jwks.json"), issuer.jwks().to_string()).expect("written");
        let key: Vec<u8> =
            (0..32).map(|_| format!("{:02x}", std::process::id() % 251)).collect::<String>().into_bytes();
        private(&at("master.key"), &key);
        let init = Command::new(binary())
            .args(["audit", "init", "log", "--origin", "broker.example.com/test"])
            .current_dir(folder.path())
            .output()
            .expect("runs");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let config = format!(
            "audience: {url}\nserver: {{listen: \"127.0.0.1:{port}\"}}\nstore: {{url: \"sqlite:broker.db\"}}\n\
             audit: {{log: log, key: {{file: log.key}}}}\n\
             keys: {{current: {{id: \"1\", from: {{file: master.key}}}}}}\n\
             issuers:\n  ci: {{platform: github, issuer: \"{url}/dev\", internal: true, jwks_file: jwks.json}}\n\
             environments:\n  test: {{}}\n\
             providers:\n  target: {provider}\n\
             roles:\n  reader:\n    issuer: ci\n    match: {{repository_id: \"1\", repository_owner_id: \"1\"}}\n    \
             environment: test\n    grant: {{provider: target, parameters: {parameters}, ttl: 5m, single_use: false}}\n"
        );
        fs::write(at("claviger-broker.yaml"), config).expect("written");
        Ground { folder, url, issuer, process: None }
    }

    /// A broker that signs SSH certificates.
    pub(crate) fn ssh() -> Ground {
        let ground =
            Ground::new("{kind: ssh, environment: test, ca_key: {file: ca}}", "{principals: [demo]}");
        let authority = claviger_broker::run::dev::ssh_authority().expect("a key");
        private(&ground.folder.path().join("ca"), authority.expose());
        ground
    }

    /// Lets an operator in who may do everything, and lifts the limits on how often is asked; the operator's token.
    pub(crate) fn operator(&self) -> String {
        let token = format!("operator {}", std::process::id());
        let path = self.folder.path().join("claviger-broker.yaml");
        let more = format!(
            ", operators: [{{name: ops, token_sha256: {}, rights: write}}], \
             limits: {{identity_per_minute: 1000000, address_per_minute: 1000000}}}}\nstore:",
            sha256(&token, self.folder.path())
        );
        let text = fs::read_to_string(&path).expect("read").replacen("}\nstore:", &more, 1);
        fs::write(&path, text).expect("written");
        token
    }

    pub(crate) fn start(&mut self) {
        self.process = Some(Serving::of(self.folder.path(), &[]));
    }

    pub(crate) fn stop(&mut self) {
        self.process.take().expect("it runs").stop();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn token(&self, changes: &[(&str, &str)]) -> String {
        let changes: BTreeMap<String, String> =
            changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.issuer.mint(&changes).expect("a token")
    }

    /// A verb as a job runs it, with this token.
    pub(crate) fn job(&self, token: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(binary())
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITLAB_CI")
            .env("CLAVIGER_BROKER", &self.url)
            .env("CLAVIGER_ID_TOKEN", token)
            .output()
            .expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn audit(&self, arguments: &[&str]) -> String {
        let output = Command::new(binary())
            .arg("audit")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A target: the test database with a group, and a login for the broker that may make users.
pub(crate) fn postgres(admin: &str, name: &str) -> (String, String) {
    let sql = format!(
        "DROP ROLE IF EXISTS {name}_broker; DROP ROLE IF EXISTS {name}_ro; CREATE ROLE {name}_ro; \
         CREATE ROLE {name}_broker LOGIN CREATEROLE; GRANT {name}_ro TO {name}_broker WITH ADMIN OPTION; \
         GRANT pg_signal_backend TO {name}_broker"
    );
    let made = psql(admin, &sql);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (_, place) = admin.split_once('@').expect("postgres://USER@HOST:PORT/NAME");
    let provider = format!(
        "{{kind: postgres, environment: test, url: \"postgres://{name}_broker@{place}\", password: {{file: master.key}}, \
         tls: {{mode: plaintext}}, roles: [{name}_ro]}}"
    );
    (provider, format!("{{member_of: [{name}_ro]}}"))
}

fn login(credential: &Value) -> std::process::Output {
    let url = credential["DATABASE_URL"].as_str().expect("a URL");
    psql(url, "SELECT current_user")
}

#[test]
fn tour() {
    let Some(admin) = database() else { return };
    let (provider, parameters) = postgres(&admin, "tour");
    let mut ground = Ground::new(&provider, &parameters);
    ground.start();

    let token = ground.token(&[]);
    let exchange = ["exchange", "--role", "reader", "--format", "json", "--lease", "lease"];
    let (status, out, err) = ground.job(&token, &exchange);
    assert_eq!(status, 0, "{err}");
    let credential: Value = serde_json::from_str(&out).expect("one JSON object");
    let logged_in = login(&credential);
    assert!(logged_in.status.success(), "{}", String::from_utf8_lossy(&logged_in.stderr));
    let mode = fs::metadata(ground.folder.path().join("lease")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The same token once more, and a token of another repository.
    let (status, out, err) = ground.job(&token, &["exchange", "--role", "reader", "--format", "json"]);
    assert_eq!((status, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("replayed"), "{err}");
    let stranger = ground.token(&[("repository_id", "2")]);
    let (status, _, err) = ground.job(&stranger, &["exchange", "--role", "reader", "--format", "json"]);
    assert_eq!(status, 2);
    assert!(err.contains("there is no role `reader` for this identity"), "{err}");

    let (status, out, err) = ground.job("", &["revoke", "--lease", "lease"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains(" revoked"), "{out}");
    assert!(!login(&credential).status.success(), "the login must be refused");

    ground.stop();
    assert!(ground.audit(&["verify", "log", "--key", "log.vkey"]).contains("verified"));
    let events = ground.audit(&["query", "log", "--format", "jsonl"]);
    for kind in ["lease.issued", "lease.revoked", "\"refused\""] {
        assert!(events.contains(kind), "{kind} is not in:\n{events}");
    }
    let password = credential["PGPASSWORD"].as_str().expect("a password");
    assert!(!events.contains(password) && !events.contains(&token), "a secret is in the log");
    let report = ground.audit(&["report", "log", "--format", "markdown"]);
    assert!(report.contains("reader"), "{report}");
}

#[test]
fn a_program_has_the_credential_and_nobody_has_it_afterwards() {
    let Some(admin) = database() else { return };
    let (provider, parameters) = postgres(&admin, "execd");
    let mut ground = Ground::new(&provider, &parameters);
    ground.start();
    let script =
        "psql -X -q -t -A -c 'SELECT session_user' \"$DATABASE_URL\"; env | grep -c CLAVIGER_ID; exit 7";
    let token = ground.token(&[]);
    let (status, out, err) = ground.job(&token, &["exec", "--role", "reader", "--", "sh", "-c", script]);
    assert_eq!(status, 7, "{err}");
    let mut lines = out.lines();
    let user = lines.next().expect("a user");
    assert!(user.starts_with("clv_"), "{out}{err}");
    assert_eq!(lines.next(), Some("0"), "the program must not see the identity: {out}");
    let left = psql(&admin, &format!("SELECT count(*) FROM pg_roles WHERE rolname = '{user}'"));
    assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "0", "the user must be gone");

    let (status, _, err) = ground.job(&token, &["exec", "--role", "reader", "--", "true"]);
    assert_eq!(status, 125, "no credential: {err}");
    let (status, _, _) =
        ground.job(&ground.token(&[]), &["exec", "--role", "reader", "--", "no-such-program"]);
    assert_eq!(status, 127);
    ground.stop();
}

#[test]
fn killed_between_two_leases_it_knows_both() {
    let Some(admin) = database() else { return };
    let (provider, parameters) = postgres(&admin, "killed");
    let mut ground = Ground::new(&provider, &parameters);
    ground.start();
    let exchange = ["exchange", "--role", "reader", "--format", "json", "--lease", "lease"];
    let (status, out, err) = ground.job(&ground.token(&[]), &exchange);
    assert_eq!(status, 0, "{err}");
    let credential: Value = serde_json::from_str(&out).expect("one JSON object");
    ground.process.take().expect("it runs").kill();
    let (status, _, err) = ground.job("", &["revoke", "--lease", "lease"]);
    assert_eq!(status, 2, "nobody is there: {err}");
    assert!(login(&credential).status.success(), "the lease lives on");
    ground.start();
    let (status, out, err) = ground.job("", &["revoke", "--lease", "lease"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains(" revoked"), "{out}");
    assert!(!login(&credential).status.success());
    ground.stop();
    assert!(ground.audit(&["verify", "log", "--key", "log.vkey"]).contains("verified"));
}

#[test]
fn a_configuration_in_another_folder_finds_its_files() {
    let ground = Ground::ssh();
    let folder = ground.folder.path();
    let (parent, name) = (folder.parent().expect("a parent"), folder.file_name().expect("a name"));
    let output = Command::new(binary())
        .args(["serve", "--check", "--config"])
        .arg(Path::new(name).join("claviger-broker.yaml"))
        .current_dir(parent)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.join("broker.db").is_file(), "the store lies beside the configuration");
}

#[test]
fn an_unsafe_start_is_refused_with_what_to_do() {
    let mut ground = Ground::ssh();
    let path = ground.folder.path().join("claviger-broker.yaml");
    let good = fs::read_to_string(&path).expect("read");
    let serve = |text: &str| {
        fs::write(&path, text).expect("written");
        // With `--check`, one that would start ends too.
        ground.job("", &["serve", "--check"])
    };
    let cases = [
        (good.replace("audit: {log: log, key: {file: log.key}}\n", ""), "claviger audit init"),
        (good.replace("keys: {current: {id: \"1\", from: {file: master.key}}}\n", ""), "`keys` is missing"),
        (good.replace("127.0.0.1:", "0.0.0.0:"), "behind_proxy"),
        (
            good.replace("{repository_id: \"1\", repository_owner_id: \"1\"}", "{ref: refs/heads/main}"),
            "binds no immutable claim",
        ),
    ];
    for (text, wanted) in cases {
        let (status, _, err) = serve(&text);
        assert_eq!(status, 2, "{err}");
        assert!(err.contains(wanted), "`{wanted}` is not in: {err}");
    }
    private(&ground.folder.path().join("master.key"), b"short");
    let (status, _, err) = serve(&good);
    assert_eq!(status, 2, "{err}");
    fs::set_permissions(ground.folder.path().join("log.key"), fs::Permissions::from_mode(0o644))
        .expect("opened");
    let (status, _, err) = serve(&good);
    assert_eq!(status, 2, "{err}");
    ground.process = None;
}
