//! Verification: every change is found and named; pruning, rotation and pins are part of what is verified.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Memory, ORIGIN, Rng, key};
use claviger_audit::event::{Action, Event, Issued, Outcome};
use claviger_audit::files::{Directory, Files};
use claviger_audit::log::{Log, OpenError, Options, Publish, Stamp};
use claviger_audit::note::{KeyKind, SigningKey, VerifyingKey};
use claviger_audit::pin::{FilePin, Pin, PinError};
use claviger_audit::reader::Reader;
use claviger_audit::recorder::{Recorder, Rotation, origin_for};
use claviger_audit::verify::{ChainError, Fault, Options as Verify, Seen, VerifyError, verify, verify_chain};

fn options() -> Options {
    Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, ..Options::default() }
}

fn keys() -> Vec<VerifyingKey> {
    vec![key().verifying_key().clone()]
}

fn with_keys() -> Verify {
    Verify { origin: ORIGIN.into(), keys: keys(), ..Verify::default() }
}

fn log_of(size: u32) -> Memory {
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), options()).unwrap();
    let entries = |range: std::ops::Range<u32>| range.map(|n| format!("entry {n}").into_bytes());
    log.append_all(entries(0..size / 2)).unwrap();
    log.publish().unwrap();
    log.append_all(entries(size / 2..size)).unwrap();
    log.close().unwrap();
    memory
}

fn check(files: &BTreeMap<String, Vec<u8>>) -> Result<claviger_audit::verify::Verified, VerifyError> {
    verify(&Memory::restore(files).shared(), &with_keys())
}

fn fault(files: &BTreeMap<String, Vec<u8>>) -> Fault {
    match check(files) {
        Err(VerifyError::Tampered(fault)) => *fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sizes_around_every_edge_verify() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 2000] {
        let verified = verify(&log_of(size).shared(), &with_keys()).unwrap();
        assert_eq!((verified.entries, verified.tail), (u64::from(size), 0));
        assert!(verified.authentic);
    }
}

#[test]
fn a_log_over_three_levels_verifies() {
    let memory = log_of(66_000);
    let verified = verify(&memory.shared(), &with_keys()).unwrap();
    assert_eq!(verified.entries, 66_000);
    let mut files = memory.snapshot();
    assert!(files.contains_key("tile/2/000.p/1"));
    files.get_mut("tile/1/000").unwrap()[33] ^= 1;
    assert!(matches!(fault(&files), Fault::Tile { path, position: 1, .. } if path == "tile/1/000"));
}

#[test]
fn the_first_bad_thing_is_named() {
    let files = log_of(600).snapshot();
    let change = |path: &str, at: usize| {
        let mut files = files.clone();
        files.get_mut(path).unwrap()[at] ^= 1;
        fault(&files).to_string()
    };
    assert_eq!(
        change("tile/entries/001", 4),
        "entry 256 in tile/entries/001 does not have the hash that tile/0/001 has for it"
    );
    assert_eq!(change("tile/entries/001", 0), "tile/entries/001: is cut short or too long");
    assert!(change("checkpoint", 30).starts_with("checkpoint: "));
    let mut gone = files.clone();
    gone.remove("tile/0/001");
    assert_eq!(fault(&gone).to_string(), "tile/0/001: is missing");
    let mut gone = files.clone();
    gone.remove("tile/entries/001");
    assert_eq!(fault(&gone).to_string(), "tile/entries/001: is missing");
    let mut gone = files.clone();
    gone.remove("tile/entries/000");
    assert_eq!(
        fault(&gone).to_string(),
        "entries before 256 are missing, but the log allows this only before 0"
    );
    // A consistent forgery of bundle and tile is caught one level up.
    let mut forged = files.clone();
    let other = log_of(601).snapshot();
    let entry = forged.get_mut("tile/entries/000").unwrap();
    entry[2] = b'E';
    let new_entry = entry[2..9].to_vec();
    let hash = claviger_audit::tree::leaf_hash(&new_entry);
    forged.get_mut("tile/0/000").unwrap()[..32].copy_from_slice(&hash.0);
    assert!(matches!(fault(&forged), Fault::Tile { position: 0, .. }), "{}", fault(&forged));
    // The head of another, longer log of the same key does not fit these tiles.
    let mut swapped = files.clone();
    swapped.insert("checkpoint".into(), other["checkpoint"].clone());
    assert!(check(&swapped).is_err());
}

/// Every file of a log of 300 entries: bytes changed, removed, doubled; files removed and swapped.
#[test]
fn no_change_goes_unseen() {
    let files = log_of(300).snapshot();
    let checked: Vec<&String> = files.keys().filter(|path| *path != "lock" && *path != "log.json").collect();
    let reported = |changed: &BTreeMap<String, Vec<u8>>| check(changed).map_or(true, |ok| ok.torn_bytes > 0);
    assert!(!reported(&files));
    let step = if std::env::var_os("CLAVIGER_SEEDS").is_some() { 1 } else { 23 };
    for path in &checked {
        let original = &files[*path];
        let mut changed = files.clone();
        for at in (0..original.len()).step_by(step).chain(original.len().checked_sub(1)) {
            for kind in 0..3 {
                let mut content = original.clone();
                match kind {
                    0 => content[at] ^= 0x20,
                    1 => drop(content.remove(at)),
                    _ => content.insert(at, original[at]),
                }
                if content == *original {
                    continue;
                }
                changed.insert((*path).clone(), content);
                assert!(reported(&changed), "{path} byte {at} kind {kind}");
            }
        }
        if !path.starts_with("journal/") && !path.contains(".p/") {
            changed.remove(*path);
            assert!(reported(&changed), "{path} removed");
        }
        for other in checked.iter().filter(|other| files[**other] != *original) {
            let mut changed = files.clone();
            changed.insert((*path).clone(), files[*other].clone());
            changed.insert((*other).clone(), original.clone());
            assert!(reported(&changed), "{path} and {other} swapped");
        }
    }
}

/// What a file server gives out is enough for who brings origin and keys.
#[test]
fn a_copy_without_our_own_files_verifies() {
    let mut files = log_of(700).snapshot();
    files.retain(|path, _| path == "checkpoint" || path.starts_with("tile/"));
    assert_eq!(check(&files).unwrap().entries, 700);
    let unknown = verify(&Memory::restore(&files).shared(), &Verify::default());
    assert!(matches!(unknown, Err(VerifyError::Tampered(_))));
}

/// `log.json` is the log's own word: wrong, it was tampered with; of a newer program, nothing can be said.
#[test]
fn a_log_whose_own_word_is_broken() {
    let files = log_of(3).snapshot();
    let with = |meta: &[u8]| {
        let mut files = files.clone();
        files.insert("log.json".into(), meta.to_vec());
        files
    };
    let other = String::from_utf8(files["log.json"].clone()).unwrap().replace(ORIGIN, "audit.example/other");
    for broken in [&b"{"[..], b"", b"[]", b"\xff", br#"{"format":1,"keys":["no key"]}"#, other.as_bytes()] {
        let found = check(&with(broken));
        assert!(matches!(&found, Err(VerifyError::Tampered(f)) if f.to_string().starts_with("log.json: ")));
        let own = verify(&Memory::restore(&with(broken)).shared(), &Verify::default());
        assert!(matches!(own, Err(VerifyError::Tampered(_))), "{own:?}");
    }
    // Another tool's file of that name, with no checkpoint beside it.
    let mut foreign = with(b"{}x");
    foreign.remove("checkpoint");
    assert!(matches!(check(&foreign), Err(VerifyError::Unchecked(_))));
}

#[test]
fn a_reader_needs_the_key_or_the_logs_own_word() {
    let mut files = log_of(300).snapshot();
    files.retain(|path, _| path == "checkpoint" || path.starts_with("tile/"));
    let served = Memory::restore(&files).shared();
    let reader = Reader::open(Arc::clone(&served), &keys()).unwrap();
    assert_eq!((reader.size(), reader.meta().origin.as_str()), (300, ORIGIN));
    reader.receipt(7).unwrap().verify(b"entry 7", ORIGIN, &keys()).unwrap();
    assert!(Reader::open(Arc::clone(&served), &[]).is_err());
    let witness = SigningKey::from_seed("w.example", KeyKind::Cosignature, &[1; 32]).unwrap();
    assert!(Reader::open(Arc::clone(&served), &[witness.verifying_key().clone()]).is_err());
    let old = log_of(100);
    let head = Reader::open(old.shared(), &keys()).unwrap().head().clone();
    assert_eq!(Reader::under(served, head, &keys()).entry(42).unwrap(), b"entry 42");
}

/// A writer that publishes and removes segments between two reads of the verifier is no tampering.
#[test]
fn a_segment_published_meanwhile_is_not_missed() {
    let memory = log_of(300);
    let mut files = memory.snapshot();
    let old = String::from_utf8(log_of(100).snapshot()["checkpoint"].clone()).unwrap();
    files.retain(|path, _| !path.starts_with("journal/"));
    let mut segment = memory.snapshot();
    let log = Log::open(memory.shared(), vec![key()], options()).unwrap();
    drop(log);
    segment.extend(memory.snapshot());
    let (path, bytes) = segment.iter().rfind(|(path, _)| path.starts_with("journal/")).unwrap();
    files.insert(path.clone(), bytes.clone());
    assert_eq!(check(&files).unwrap().entries, 300);
    // Under the older head, with nothing newer published, the journal's beginning is missing.
    files.insert("checkpoint".into(), old.into_bytes());
    assert!(check(&files).is_err());
}

#[test]
fn wrong_key_other_origin_foreign_directory() {
    let memory = log_of(3);
    let stranger = SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[3; 32]).unwrap();
    let options = Verify { keys: vec![stranger.verifying_key().clone()], ..Verify::default() };
    assert!(matches!(verify(&memory.shared(), &options), Err(VerifyError::Tampered(_))));
    let options = Verify { origin: "audit.example/other".into(), ..with_keys() };
    assert!(matches!(verify(&memory.shared(), &options), Err(VerifyError::Tampered(_))));
    let mut files = memory.snapshot();
    files.insert("log.json".into(), br#"{"format":99}"#.to_vec());
    assert!(matches!(check(&files), Err(VerifyError::Unchecked(_))));
    assert!(!verify(&memory.shared(), &Verify::default()).unwrap().authentic);
}

#[test]
fn a_symbolic_link_is_no_tile() {
    let dir = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(Directory::new(dir.path()));
    let log = Log::create(Arc::clone(&files), key(), options()).unwrap();
    log.append_all((0..256u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.close().unwrap();
    verify(&files, &with_keys()).unwrap();
    let (tile, aside) = (dir.path().join("tile/0/000"), dir.path().join("aside"));
    std::fs::rename(&tile, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &tile).unwrap();
    let error = verify(&files, &with_keys()).unwrap_err();
    assert!(error.to_string().contains("tile/0/000: tile/0/000 is not a regular file"), "{error}");
}

#[derive(Clone)]
struct MemoryPin(Arc<std::sync::Mutex<Option<String>>>);

impl Pin for MemoryPin {
    fn load(&self) -> Result<Vec<String>, PinError> {
        Ok(self.0.lock().unwrap().clone().into_iter().collect())
    }
    fn store(&self, head: &claviger_audit::checkpoint::SignedCheckpoint) -> Result<(), PinError> {
        *self.0.lock().unwrap() = Some(head.to_string());
        Ok(())
    }
}

/// Truncated, restored from a snapshot, forked, a lagging replica, a swapped key, a foreign log: all refused before
/// the first append.
#[test]
fn rollback_is_refused_before_anything_is_appended() {
    let pin = MemoryPin(Arc::default());
    let pinned = || Options { pin: Some(Box::new(pin.clone())), ..options() };
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), pinned()).unwrap();
    log.append_all((0..10u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.publish().unwrap();
    let snapshot = memory.snapshot();
    let early = Memory::restore(&snapshot);
    log.append_all((10..300u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.close().unwrap();
    Log::open(Memory::restore(&memory.snapshot()).shared(), vec![key()], pinned()).unwrap();

    let open = |memory: &Memory| Log::open(memory.shared(), vec![key()], pinned()).err().unwrap();
    // Restored, truncated and lagging look alike: fewer entries than were seen.
    let shrunk = open(&early);
    assert!(matches!(&shrunk, OpenError::Pin(PinError::Shrunk { .. })), "{shrunk}");
    let text = shrunk.to_string();
    assert!(text.contains("\n300\n") && text.contains("\n10\n"), "both checkpoints are shown: {text}");
    let replica = Memory::new();
    drop(Log::create(replica.shared(), key(), options()).unwrap());
    assert!(matches!(open(&replica), OpenError::Pin(PinError::Shrunk { .. })));
    // Whoever rolled back one pin with the log has not reached the other.
    let rolled_back = MemoryPin(Arc::default());
    let both = Options { pin: Some(Box::new(vec![rolled_back, pin.clone()])), ..options() };
    let error = Log::open(early.shared(), vec![key()], both).err().unwrap();
    assert!(matches!(error, OpenError::Pin(PinError::Shrunk { .. })), "{error}");
    // Forked: the snapshot went on by itself, past the pinned size.
    let fork = Memory::restore(&snapshot);
    let log = Log::open(fork.shared(), vec![key()], options()).unwrap();
    log.append_all((0..400u32).map(|n| format!("other {n}").into_bytes())).unwrap();
    log.close().unwrap();
    let calls = fork.calls();
    assert!(matches!(open(&fork), OpenError::Pin(PinError::Forked { .. })));
    assert!(fork.calls() == calls, "refused before anything was written");
    // A swapped key, a foreign log.
    let swapped = SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[1; 32]).unwrap();
    let other = Memory::new();
    drop(Log::create(other.shared(), swapped, options()).unwrap());
    let swapped = SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[1; 32]).unwrap();
    let error = Log::open(other.shared(), vec![swapped], pinned()).err().unwrap();
    assert!(matches!(error, OpenError::Pin(PinError::Foreign(_))), "{error}");
    let foreign = || SigningKey::from_seed("audit.example/foreign", KeyKind::Ed25519, &[1; 32]).unwrap();
    let other = Memory::new();
    drop(Log::create(other.shared(), foreign(), options()).unwrap());
    let error = Log::open(other.shared(), vec![foreign()], pinned()).err().unwrap();
    assert!(matches!(error, OpenError::Pin(PinError::Foreign(_))), "{error}");
}

#[test]
fn verify_against_an_older_checkpoint() {
    let memory = log_of(300);
    let old = {
        let memory = log_of(100);
        String::from_utf8(memory.snapshot()["checkpoint"].clone()).unwrap()
    };
    let seen = |place: &str, note: &str| Seen { place: place.into(), note: note.into() };
    let first = seen("first", &old);
    let from = |note: &str| {
        // Each is compared, not the first alone.
        let seen = vec![first.clone(), seen("second", note)];
        verify(&memory.shared(), &Verify { seen, ..with_keys() })
    };
    from(&old).unwrap();
    let fork = Memory::new();
    let log = Log::create(fork.shared(), key(), options()).unwrap();
    log.append_all((0..50u32).map(|n| format!("fork {n}").into_bytes())).unwrap();
    let forked = log.close().unwrap().to_string();
    assert!(
        matches!(from(&forked), Err(VerifyError::Tampered(f)) if matches!(&*f, Fault::Rollback { place, source: PinError::Forked { .. } } if place == "second"))
    );
    let newer = String::from_utf8(log_of(301).snapshot()["checkpoint"].clone()).unwrap();
    assert!(
        matches!(from(&newer), Err(VerifyError::Tampered(f)) if matches!(*f, Fault::Rollback { source: PinError::Shrunk { .. }, .. }))
    );
}

#[test]
fn the_tail_of_a_killed_writer_is_verified_too() {
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), options()).unwrap();
    log.append_all((0..10u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.publish().unwrap();
    log.append(b"behind".to_vec()).unwrap();
    log.append(b"behind too".to_vec()).unwrap();
    drop(log);
    let verified = verify(&memory.shared(), &with_keys()).unwrap();
    assert_eq!((verified.entries, verified.tail, verified.torn_bytes), (10, 2, 0));
    let mut files = memory.snapshot();
    let journal = files.iter_mut().find(|(path, _)| path.starts_with("journal/")).unwrap().1;
    let at = journal.windows(6).position(|w| w == b"behind").unwrap();
    journal[at] = b'B';
    assert!(matches!(fault(&files), Fault::Journal { .. }));
}

fn event(n: u32) -> Event {
    let mut event =
        Event::new(jiff::Timestamp::UNIX_EPOCH, Action::Issued(Issued::default()), Outcome::Success);
    event.lease = Some(format!("lease-{n}"));
    event
}

#[test]
fn pruning_keeps_every_other_proof() {
    let memory = Memory::new();
    let recorder = Recorder::create(memory.shared(), key(), options(), None).unwrap();
    let early = recorder.record(&event(0)).unwrap().receipt();
    recorder.record_all(&(1..1000).map(event).collect::<Vec<_>>()).unwrap();
    assert!(recorder.prune(5000, None).is_err());
    let archive = Memory::new();
    assert_eq!(recorder.prune(700, Some((&archive, "cold storage"))).unwrap(), 512);
    recorder.record(&event(1001)).unwrap();
    recorder.close().unwrap();
    let verified = verify(&memory.shared(), &with_keys()).unwrap();
    assert_eq!((verified.pruned_below, verified.head.checkpoint().size), (512, 1004));
    let all = Verify { archive: Some(archive.shared()), events: true, ..with_keys() };
    assert_eq!(verify(&memory.shared(), &all).unwrap().entries, 1004);
    let reader = Reader::open(memory.shared(), &keys()).unwrap();
    assert!(reader.entry(5).unwrap_err().is_missing());
    let late = reader.receipt(900).unwrap();
    late.verify(&reader.entry(900).unwrap(), ORIGIN, &keys()).unwrap();
    assert_eq!(reader.receipt(1).unwrap().proof.len(), 10);
    assert_eq!(early.index, 1);
    // More may not be missing than the log allows.
    let mut files = memory.snapshot();
    files.remove("tile/entries/002");
    assert!(matches!(fault(&files), Fault::Pruned { missing: 768, allowed: 512 }));
}

#[test]
fn rotation_commits_to_the_log_before() {
    let (first, second) = (Memory::new(), Memory::new());
    let next = || SigningKey::from_seed("audit.example/test/2", KeyKind::Ed25519, &[2; 32]).unwrap();
    let recorder = Recorder::create(first.shared(), key(), options(), None).unwrap();
    recorder.record(&event(1)).unwrap();
    let recorder = recorder.rotate(second.shared(), next(), options()).unwrap();
    recorder.record(&event(2)).unwrap();
    recorder.close().unwrap();
    let read = |memory: &Memory| Reader::open(memory.shared(), &[]).unwrap();
    verify_chain(&read(&first), &keys(), &read(&second)).unwrap();
    let last = Event::parse(&read(&first).entry(2).unwrap()).unwrap();
    assert!(
        matches!(last.action, Action::LogClosed(closed) if closed.next.as_deref() == Some("audit.example/test/2"))
    );
    // The first log may not go on in secret.
    drop(Recorder::open(first.shared(), vec![key()], options()).unwrap().close());
    assert!(matches!(
        verify_chain(&read(&first), &keys(), &read(&second)),
        Err(ChainError::Head { named: 3, found: 5, .. })
    ));
    assert!(matches!(verify_chain(&read(&second), &keys(), &read(&first)), Err(ChainError::NotNamed { .. })));
}

#[test]
fn rotation_is_due_with_the_month_or_by_size() {
    let now = Arc::new(std::sync::Mutex::new("2026-11-30T23:59:59Z".parse::<jiff::Timestamp>().unwrap()));
    let timed = || {
        let now = Arc::clone(&now);
        Options { clock: Arc::new(move || *now.lock().unwrap()), ..options() }
    };
    let memory = Memory::new();
    let recorder = Recorder::create(memory.shared(), key(), timed(), None).unwrap();
    assert!(!recorder.is_rotation_due(Rotation::Monthly) && !recorder.is_rotation_due(Rotation::Entries(2)));
    recorder.close().unwrap();
    let recorder = Recorder::open(memory.shared(), vec![key()], timed()).unwrap();
    assert!(!recorder.is_rotation_due(Rotation::Monthly) && recorder.is_rotation_due(Rotation::Entries(3)));
    *now.lock().unwrap() = "2026-12-01T00:00:00Z".parse().unwrap();
    assert!(recorder.is_rotation_due(Rotation::Monthly));
    let name = |rotation| origin_for("audit.example/a", rotation, *now.lock().unwrap());
    assert_eq!(name(Rotation::Monthly), "audit.example/a/2026-12");
    assert_eq!(name(Rotation::Entries(9)), "audit.example/a/2026-12-01T000000Z");
}

#[test]
fn a_file_pin_follows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pin");
    let pinned = || Options { pin: Some(Box::new(FilePin::new(&path))), ..options() };
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), pinned()).unwrap();
    log.append(b"x".to_vec()).unwrap();
    log.close().unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("\n1\n"));
    Log::open(memory.shared(), vec![key()], pinned()).unwrap();
    std::fs::write(&path, "rubbish").unwrap();
    assert!(matches!(Log::open(memory.shared(), vec![key()], pinned()), Err(OpenError::Pin(_))));
}

#[test]
fn random_files_do_not_panic() {
    let files = log_of(20).snapshot();
    let mut rng = Rng(1);
    for _ in 0..300 {
        let mut broken = files.clone();
        for content in broken.values_mut() {
            let length = rng.below(content.len() as u64 + 4);
            if rng.coin() {
                *content = (0..length).map(|_| rng.next() as u8).collect();
            }
        }
        let _ = check(&broken);
        let _ = Log::open(Memory::restore(&broken).shared(), vec![key()], options());
    }
}
