//! Others' verifiers accept our logs: Go's `golang.org/x/mod/sumdb`, from Debian's `golang-go` and
//! `golang-golang-x-mod-dev`, and the crates `signed_note` and `tlog_tiles`. Where Go is not installed its test says so and
//! passes; CI installs it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support::key;
use claviger_audit::files::Directory;
use claviger_audit::log::{Log, Options, Publish, Stamp};
use claviger_audit::reader::Reader;

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

/// The crates of another log's makers: notes, checkpoints, inclusion, consistency, and refusals of what was changed.
#[test]
fn crates_of_others_accept_log_receipts_and_consistency() {
    use signed_note::{Note, StandardVerifier, VerifierList};
    use tlog_tiles::{Checkpoint, Hash, check_record, check_tree, record_hash};
    let hash = |hash: &claviger_audit::tree::Hash| Hash(hash.0);
    let known = || {
        let vkey = key().verifying_key().to_string();
        VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())])
    };
    for size in [1u64, 2, 7, 255, 256, 257, 700, 1025] {
        let memory = crate::support::Memory::new();
        let options = Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, ..Options::default() };
        let log = Log::create(memory.shared(), key(), options).unwrap();
        let mut heads = Vec::new();
        for n in 0..size {
            log.append(format!("{{\"n\":{n}}}").into_bytes()).unwrap();
            heads.push(log.head());
        }
        log.close().unwrap();
        let reader = Reader::open(memory.shared(), &[]).unwrap();
        let note = Note::from_bytes(reader.head().to_string().as_bytes()).unwrap();
        assert_eq!(note.verify(&known()).unwrap().0.len(), 1);
        let head = Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((head.origin(), head.size()), (crate::support::ORIGIN, size));
        for index in (0..size).step_by(3) {
            let receipt = reader.receipt(index).unwrap();
            let proof: Vec<Hash> = receipt.proof.iter().map(hash).collect();
            let leaf = record_hash(&reader.entry(index).unwrap());
            check_record(&proof, size, *head.hash(), index, leaf).unwrap();
            assert!(check_record(&proof, size, *head.hash(), index, record_hash(b"other")).is_err());
        }
        for old in (1..=size).step_by(5) {
            let proof: Vec<Hash> = reader.consistency(old).unwrap().iter().map(hash).collect();
            let root = hash(&heads[old as usize - 1].checkpoint().root);
            check_tree(&proof, size, *head.hash(), old, root).unwrap();
            assert!(check_tree(&proof, size, *head.hash(), old, record_hash(b"other")).is_err());
        }
        let changed = reader.head().to_string().replace(&format!("\n{size}\n"), &format!("\n{}\n", size + 1));
        assert!(Note::from_bytes(changed.as_bytes()).unwrap().verify(&known()).is_err());
    }
}
