//! Somebody else's verifier accepts our logs: Go's `golang.org/x/mod/sumdb`, from Debian's `golang-go` and
//! `golang-golang-x-mod-dev`. Where they are not installed the test says so and passes; CI installs them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use claviger_audit::files::Directory;
use claviger_audit::log::{Log, Options, Publish, Stamp};
use claviger_audit::reader::Reader;
use support::key;

/// Whether all must run and nothing be left out.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}

/// Debian's place for Go packages.
const GOPATH: &str = "/usr/share/gocode";

#[test]
fn go_accepts_log_receipts_and_consistency() {
    let go = Command::new("go").arg("version").output().is_ok();
    if !go || !Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog").is_dir() {
        assert!(!is_ci(), "golang-go and golang-golang-x-mod-dev are needed: `tests/run` installs them");
        println!("skipped: golang-go and golang-golang-x-mod-dev are not installed");
        return;
    }
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/main.go");
    let build = tempfile::tempdir().unwrap();
    let program = build.path().join("oracle");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(&oracle)
        .envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", "")])
        .env("GOCACHE", build.path().join("cache"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for size in [1usize, 2, 255, 256, 257, 700] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, ..Options::default() };
        let log = Log::create(Arc::new(Directory::new(dir.path())), key(), options).unwrap();
        let half = size.div_ceil(2);
        let entries = |range: std::ops::Range<usize>| range.map(|n| format!("{{\"n\":{n}}}").into_bytes());
        let mut done = log.append_all(entries(0..half)).unwrap();
        std::fs::write(dir.path().join("old"), log.head().to_string()).unwrap();
        done.extend(log.append_all(entries(half..size)).unwrap());
        log.close().unwrap();
        let reader = Reader::open(Arc::new(Directory::new(dir.path())), &[]).unwrap();
        let proof: Vec<String> =
            reader.consistency(half as u64).unwrap().iter().map(ToString::to_string).collect();
        std::fs::write(dir.path().join("consistency"), proof.join("\n")).unwrap();
        let receipts = dir.path().join("receipts");
        std::fs::create_dir(&receipts).unwrap();
        for appended in done.iter().step_by(7) {
            let name = |ending: &str| receipts.join(format!("{}.{ending}", appended.index()));
            std::fs::write(name("tlog-proof"), appended.receipt().to_string()).unwrap();
            std::fs::write(name("entry"), appended.entry()).unwrap();
        }
        let run =
            Command::new(&program).arg(dir.path()).arg(key().verifying_key().to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "size {size}: {}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(said, format!("{size} entries, {} receipts\n", size.div_ceil(7)));
    }
}
