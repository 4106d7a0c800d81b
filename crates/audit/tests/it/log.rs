//! The log on disk: receipts, group commit, opening again, power loss, faults, rollback.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::support::{Fault, FaultKind, Memory, ORIGIN, Rng, key};
use claviger_audit::checkpoint::SignedCheckpoint;
use claviger_audit::files::{Directory, Files};
use claviger_audit::log::{AppendError, Log, OpenError, Options, Publish, Stamp};
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::reader::Reader;
use claviger_audit::tree::{Edge, Hash, leaf_hash, verify_consistency, verify_inclusion};

fn options() -> Options {
    Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, segment_bytes: 4000, ..Options::default() }
}

/// What somebody was told, to be held against the log later.
#[derive(Default)]
struct Told {
    entries: Vec<(u64, Vec<u8>)>,
    heads: Vec<SignedCheckpoint>,
}

impl Told {
    fn append(&mut self, log: &Log, entries: Vec<Vec<u8>>) -> Result<(), AppendError> {
        for done in log.append_all(entries)? {
            self.entries.push((done.index(), done.entry().to_vec()));
            self.heads.push(done.head().clone());
        }
        Ok(())
    }

    /// Everything told is still true: entries at their places, heads on one line of history.
    fn check(&self, files: &Arc<dyn Files>) {
        let reader = Reader::open(Arc::clone(files), &[]).unwrap();
        let wanted: BTreeSet<u64> = self.heads.iter().map(|head| head.checkpoint().size).collect();
        let mut roots: BTreeMap<u64, Hash> = BTreeMap::new();
        let mut edge = Edge::default();
        let mut all = vec![];
        for number in 0..reader.bundles() {
            for (_, entry) in reader.bundle(number).unwrap().entries() {
                all.push(entry.to_vec());
                edge.push(entry);
                edge.trim();
                if wanted.contains(&edge.size()) {
                    roots.insert(edge.size(), edge.root());
                }
            }
        }
        assert_eq!(edge.root(), reader.head().checkpoint().root);
        assert_eq!(all.len() as u64, reader.size());
        for (index, entry) in &self.entries {
            assert_eq!(&all[*index as usize], entry, "entry {index}");
        }
        for head in &self.heads {
            let head = head.checkpoint();
            assert_eq!(head.root, roots[&head.size], "head of {}", head.size);
        }
        for index in [0, reader.size() / 2, reader.size() - 1] {
            let receipt = reader.receipt(index).unwrap();
            receipt.verify(&all[index as usize], ORIGIN, &reader.meta().keys).unwrap();
        }
        if let Some(head) = self.heads.first().map(SignedCheckpoint::checkpoint) {
            let proof = reader.consistency(head.size).unwrap();
            let now = reader.head().checkpoint();
            verify_consistency(head.size, now.size, &proof, &head.root, &now.root).unwrap();
        }
    }
}

fn batch(rng: &mut Rng) -> Vec<Vec<u8>> {
    let count = 1 + rng.below(40);
    (0..count)
        .map(|_| format!("{{\"x\":\"{}\"}}", "y".repeat(rng.below(200) as usize + 1)).into_bytes())
        .collect()
}

#[test]
fn receipts_are_checkable_offline() {
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), options()).unwrap();
    let keys = [key().verifying_key().clone()];
    for n in 0..600u32 {
        let done = log.append(n.to_string().into_bytes()).unwrap();
        let text = done.receipt().to_string();
        let receipt: claviger_audit::receipt::Receipt = text.parse().unwrap();
        let head = receipt.verify(n.to_string().as_bytes(), ORIGIN, &keys).unwrap();
        assert_eq!(head.checkpoint().size, u64::from(n) + 1);
        assert_eq!(done.index(), u64::from(n));
    }
    log.close().unwrap();
    let reader = Reader::open(memory.shared(), &keys).unwrap();
    assert_eq!((reader.size(), reader.entry(599).unwrap()), (600, b"599".to_vec()));
    let names = memory.snapshot();
    assert!(names.contains_key("tile/entries/001") && names.contains_key("tile/1/000.p/2"));
    // Partial tiles go when the full one is there.
    assert!(
        !names.keys().any(|name| name.starts_with("tile/0/000.p") || name.starts_with("tile/entries/001.p"))
    );
    assert!(names.keys().all(|name| !name.ends_with(".tmp")));
}

#[test]
fn many_threads_share_batches_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(Directory::new(dir.path()));
    let options = Options { stamp: Stamp::Nothing, ..Options::default() };
    let log = Log::create(Arc::clone(&files), key(), options).unwrap();
    let mut told = Told::default();
    let parts: Vec<_> = std::thread::scope(|scope| {
        let log = &log;
        let spawn = |t: u32| {
            scope.spawn(move || {
                (0..50).map(|n| log.append(format!("{t}/{n}").into_bytes()).unwrap()).collect::<Vec<_>>()
            })
        };
        let running: Vec<_> = (0..16).map(spawn).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for done in &parts {
        done.receipt().verify(done.entry(), ORIGIN, &[key().verifying_key().clone()]).unwrap();
        told.entries.push((done.index(), done.entry().to_vec()));
        told.heads.push(done.head().clone());
    }
    log.close().unwrap();
    told.check(&files);
    assert_eq!(told.entries.len(), 800);
}

#[test]
fn one_writer_any_number_of_readers() {
    let dir = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(Directory::new(dir.path()));
    let log = Log::create(Arc::clone(&files), key(), options()).unwrap();
    log.append(b"a".to_vec()).unwrap();
    let second = Log::open(Arc::new(Directory::new(dir.path())), vec![key()], options());
    assert!(matches!(second, Err(OpenError::Locked)));
    let reader = Reader::open(Arc::clone(&files), &[]).unwrap();
    assert_eq!((reader.size(), reader.tail().unwrap()), (0, vec![(0, b"a".to_vec())]));
    log.publish().unwrap();
    let reader = Reader::open(files, &[]).unwrap();
    assert_eq!((reader.size(), reader.tail().unwrap()), (1, vec![]));
}

#[test]
fn stamps_are_in_the_leaf_and_never_go_back() {
    let memory = Memory::new();
    let times = std::sync::Mutex::new(vec![50, 200, 100]);
    let clock = move || jiff::Timestamp::from_second(times.lock().unwrap().pop().unwrap_or(10)).unwrap();
    let options = || Options { stamp: Stamp::Event, publish: Publish::OnDemand, ..Options::default() };
    let log = Log::create(memory.shared(), key(), Options { clock: Arc::new(clock), ..options() }).unwrap();
    let entry =
        |log: &Log| String::from_utf8(log.append(b"{\"v\":1}".to_vec()).unwrap().entry().to_vec()).unwrap();
    assert_eq!(entry(&log), r#"{"seq":0,"logged":"1970-01-01T00:01:40.000000Z","v":1}"#);
    assert_eq!(entry(&log), r#"{"seq":1,"logged":"1970-01-01T00:03:20.000000Z","v":1}"#);
    assert_eq!(entry(&log), r#"{"seq":2,"logged":"1970-01-01T00:03:20.000000Z","v":1}"#);
    for bad in ["", "{}", "[1]", "x"] {
        assert!(matches!(log.append(bad.into()), Err(AppendError::Refused(_))), "{bad}");
    }
    assert!(matches!(log.append(vec![b'{'; 40_000]), Err(AppendError::Refused(_))));
    drop(log);
    let epoch = || jiff::Timestamp::UNIX_EPOCH;
    let log =
        Log::open(memory.shared(), vec![key()], Options { clock: Arc::new(epoch), ..options() }).unwrap();
    assert_eq!(entry(&log), r#"{"seq":3,"logged":"1970-01-01T00:03:20.000000Z","v":1}"#);
}

#[test]
fn wrong_key_foreign_directory_future_version() {
    let memory = Memory::new();
    drop(Log::create(memory.shared(), key(), options()).unwrap());
    let other = SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[8; 32]).unwrap();
    let open = |memory: &Memory, key| Log::open(memory.shared(), vec![key], options()).err().unwrap();
    assert!(matches!(open(&memory, other), OpenError::Checkpoint(_)));
    let other = SigningKey::from_seed("audit.example/other", KeyKind::Ed25519, &[7; 32]).unwrap();
    assert!(matches!(open(&memory, other), OpenError::Checkpoint(_)));
    assert!(matches!(Log::create(memory.shared(), key(), options()), Err(OpenError::Exists { .. })));
    let mut files = memory.snapshot();
    files.insert("log.json".into(), br#"{"format":2,"anything":true}"#.to_vec());
    assert!(matches!(open(&Memory::restore(&files), key()), OpenError::Version { found: 2, known: 1 }));
    files.insert("log.json".into(), b"[core]\n".to_vec());
    assert!(matches!(open(&Memory::restore(&files), key()), OpenError::Foreign { .. }));
    let git = Memory::restore(&[("HEAD".to_owned(), b"ref".to_vec())].into());
    assert!(matches!(open(&git, key()), OpenError::Foreign { .. }));
    assert!(matches!(Log::create(git.shared(), key(), options()), Err(OpenError::Foreign { .. })));
}

#[test]
fn key_rotation_signs_with_both_then_the_new_one() {
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), options()).unwrap();
    let second = || SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[9; 32]).unwrap();
    log.append(b"old".to_vec()).unwrap();
    log.add_key(second()).unwrap();
    assert_eq!(log.append(b"both".to_vec()).unwrap().head().note().signatures.len(), 2);
    log.retire_key(key().verifying_key());
    let head = log.append(b"new".to_vec()).unwrap().head().clone();
    assert_eq!(head.note().signatures[0].id, second().verifying_key().id());
    drop(log);
    // Killed here: heads by either key are in the journal, the published one is by the old.
    assert!(Log::open(memory.shared(), vec![second()], options()).is_err());
    let log = Log::open(memory.shared(), vec![key(), second()], options()).unwrap();
    assert_eq!((log.recovery().replayed, log.head().checkpoint().size), (3, 3));
    log.retire_key(key().verifying_key());
    log.append(b"newer".to_vec()).unwrap();
    log.close().unwrap();
    Log::open(memory.shared(), vec![second()], options()).unwrap();
}

/// Opens, writes and publishes at random until the fault strikes.
fn work(memory: &Memory, rng: &mut Rng, told: &mut Told) -> Option<()> {
    let log = match Log::open(memory.shared(), vec![key()], options()) {
        Ok(log) => log,
        Err(_) => Log::create(memory.shared(), key(), options()).ok()?,
    };
    for _ in 0..1 + rng.below(12) {
        match rng.below(4) {
            0 => drop(log.publish().ok()?),
            _ => told.append(&log, batch(rng)).ok()?,
        }
    }
    if rng.coin() { log.close().ok().map(drop) } else { None }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    0..std::env::var("CLAVIGER_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn power_loss_never_takes_back_what_was_told() {
    for seed in seeds(2000) {
        let mut rng = Rng(seed);
        let (memory, mut told) = (Memory::new(), Told::default());
        for _ in 0..3 {
            memory.inject(Some(Fault { at: 1 + rng.below(300), kind: FaultKind::Dead, forever: true }));
            work(&memory, &mut rng, &mut told);
            memory.power_lost(&mut rng);
        }
        if told.entries.is_empty() {
            continue;
        }
        let log =
            Log::open(memory.shared(), vec![key()], options()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        told.append(&log, batch(&mut rng)).unwrap();
        log.close().unwrap();
        told.check(&memory.shared());
    }
}

#[test]
fn every_call_fails_once_or_for_ever_before_or_after_it_landed() {
    let kinds = [FaultKind::Before, FaultKind::After, FaultKind::Half];
    let mut at = 1;
    let mut finished = 0;
    while finished < 6 {
        finished = 0;
        for (kind, forever) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let mut rng = Rng(42);
            let (memory, mut told) = (Memory::new(), Told::default());
            memory.inject(Some(Fault { at, kind, forever }));
            let mut run = || -> Option<()> {
                let log = Log::create(memory.shared(), key(), options()).ok()?;
                for n in 0..12 {
                    told.append(&log, batch(&mut rng)).ok()?;
                    if n % 5 == 4 {
                        log.publish().ok()?;
                    }
                }
                log.close().ok().map(drop)
            };
            let done = run().is_some();
            finished += usize::from(memory.calls() < at);
            assert!(done || memory.calls() >= at);
            // Pages that a failed sync dropped are missed only when the power goes.
            let power = kind == FaultKind::Half || at % 2 == 0;
            if power {
                memory.power_lost(&mut rng)
            } else {
                memory.process_died()
            }
            let log = match Log::open(memory.shared(), vec![key()], options()) {
                Err(OpenError::Foreign { .. }) if told.entries.is_empty() => {
                    Log::create(memory.shared(), key(), options()).unwrap()
                }
                other => other.unwrap_or_else(|e| panic!("call {at} {kind:?} {forever}: {e}")),
            };
            told.append(&log, batch(&mut rng)).unwrap();
            log.close().unwrap();
            told.check(&memory.shared());
        }
        at += 1;
    }
    assert!(at > 100, "only {at} calls were failed");
}

#[test]
fn a_torn_tail_is_cut_and_said() {
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), options()).unwrap();
    log.append(b"first".to_vec()).unwrap();
    log.append(b"second".to_vec()).unwrap();
    drop(log);
    let mut files = memory.snapshot();
    let journal = files.get_mut("journal/00000000000000000000.seg").unwrap();
    let whole = journal.len();
    journal.extend_from_slice(&[0, 0, 0, 9, 1, 2, 3]);
    let memory = Memory::restore(&files);
    let log = Log::open(memory.shared(), vec![key()], options()).unwrap();
    let torn = log.recovery().torn.clone().unwrap();
    assert_eq!((torn.offset, torn.bytes, log.recovery().replayed), (whole as u64, 7, 2));
    // Damage with a whole batch behind it is no torn tail: nothing is repaired.
    files.get_mut("journal/00000000000000000000.seg").unwrap()[25] ^= 1;
    let error = Log::open(Memory::restore(&files).shared(), vec![key()], options()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_head_and_its_leaves_are_of_one_tree() {
    let memory = Memory::new();
    let log = Log::create(memory.shared(), key(), options()).unwrap();
    let done = log.append(b"only".to_vec()).unwrap();
    let head = done.head().checkpoint();
    verify_inclusion(leaf_hash(b"only"), 0, head.size, &[], &head.root).unwrap();
}
