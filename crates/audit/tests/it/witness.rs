//! Witnesses: a head is cosigned step by step, a fork is refused, a quorum is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::support::{Memory, ORIGIN, key};
use claviger_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use claviger_audit::clock::SystemClock;
use claviger_audit::log::{AppendError, Log, OpenError, Options, Publish, Stamp};
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::reader::Reader;
use claviger_audit::witness::{
    AddCheckpoint, Answer, Policy, PolicyError, Transport, Witness, WitnessError, Witnesses, read_answer,
};

fn witness(n: u8) -> SigningKey {
    SigningKey::from_seed(&format!("witness.example/{n}"), KeyKind::Cosignature, &[n; 32]).unwrap()
}

fn grow(memory: &Memory, entries: std::ops::Range<u32>) -> Reader {
    let options = || Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, ..Options::default() };
    let log = Log::open(memory.shared(), vec![key()], options())
        .unwrap_or_else(|_| Log::create(memory.shared(), key(), options()).unwrap());
    log.append_all(entries.map(|n| n.to_string().into_bytes())).unwrap();
    log.close().unwrap();
    Reader::open(memory.shared(), &[]).unwrap()
}

/// A witness as the specification has it: check, keep, cosign.
fn ask(request: &str, seen: &mut Checkpoint, by: &SigningKey) -> (u16, String) {
    let keys = [key().verifying_key().clone()];
    match AddCheckpoint::parse(request).and_then(|request| request.check(seen, &keys)) {
        Ok(signed) => {
            *seen = signed.checkpoint().clone();
            (200, by.sign(&signed.note().text, 1_790_000_000).to_string())
        }
        Err(WitnessError::Conflict { seen, .. }) => (409, format!("{seen}\n")),
        Err(WitnessError::Proof(_)) => (422, String::new()),
        Err(WitnessError::Checkpoint(_)) => (403, String::new()),
        Err(_) => (400, String::new()),
    }
}

#[test]
fn a_witness_follows_the_log_and_refuses_a_fork() {
    let memory = Memory::new();
    let mut seen = Checkpoint::empty(ORIGIN);
    let reader = grow(&memory, 0..10);
    let (status, body) = ask(&AddCheckpoint::from_reader(&reader, 0).unwrap().body(), &mut seen, &witness(1));
    let Answer::Cosigned(lines) = read_answer(status, &body).unwrap() else { panic!("{body}") };
    let mut head = reader.head().clone();
    head.add_signatures(lines);
    let keys = [key().verifying_key().clone(), witness(1).verifying_key().clone()];
    let again = SignedCheckpoint::verify(&head.to_string(), ORIGIN, &keys).unwrap();
    assert_eq!(again.witnesses(&keys).unwrap()[0].time, 1_790_000_000);

    let fork = Memory::restore(&memory.snapshot());
    let reader = grow(&memory, 10..300);
    let stale = AddCheckpoint::from_reader(&reader, 3).unwrap().body();
    let (status, body) = ask(&stale, &mut seen, &witness(1));
    assert_eq!(read_answer(status, &body), Ok(Answer::Seen(10)));
    let (status, _) = ask(&AddCheckpoint::from_reader(&reader, 10).unwrap().body(), &mut seen, &witness(1));
    assert_eq!((status, seen.size), (200, 300));

    let forked = grow(&fork, 1000..1400);
    let request = AddCheckpoint { old: 300, ..AddCheckpoint::from_reader(&forked, 300).unwrap() };
    let (status, body) = ask(&request.body(), &mut seen, &witness(1));
    assert!(matches!(read_answer(status, &body), Err(WitnessError::Refused { status: 422, .. })));
    assert_eq!(seen.size, 300);
    assert!(AddCheckpoint::from_reader(&grow(&fork, 0..1), 5000).is_err());
}

#[test]
fn answers_and_requests_that_are_none() {
    for (status, body) in [(200, ""), (200, "rubbish\n"), (409, "many"), (404, ""), (500, "")] {
        assert!(read_answer(status, body).is_err(), "{status} {body}");
    }
    for body in ["", "old 1\n", "old 01\n\nx", "old -1\n\nx", "new 1\n\nx", "old 1\nrubbish\n\nx"] {
        assert!(AddCheckpoint::parse(body).is_err(), "{body}");
    }
    let long = format!("old 1\n{}\nx", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(64));
    assert!(AddCheckpoint::parse(&long).is_err());
}

#[test]
fn a_quorum_is_counted() {
    let memory = Memory::new();
    let mut head = grow(&memory, 0..5).head().clone();
    let vkey = |n| witness(n).verifying_key().to_string();
    let text = format!(
        "# ours\nlog {}\n\nwitness a {} https://a.example\nwitness b {}\nwitness c {}\ngroup two 2 a b c\ngroup both all two a\nquorum both\n",
        key().verifying_key(),
        vkey(1),
        vkey(2),
        vkey(3)
    );
    let policy = Policy::parse(&text).unwrap();
    let mut add = |n: u8| {
        let line = witness(n).sign(&head.note().text, 1);
        head.add_signatures(vec![line]);
        policy.verify(&head.to_string(), ORIGIN)
    };
    assert_eq!(
        add(2).unwrap_err(),
        PolicyError::Quorum { quorum: "both".into(), found: "witness.example/2".into() }
    );
    assert!(add(3).is_err(), "two of three, but not `a`");
    assert!(add(1).is_ok());
    // The same witness twice counts once; a stranger does not count.
    let mut head = grow(&memory, 5..6).head().clone();
    for n in [1, 1, 9] {
        let line = witness(n).sign(&head.note().text, u64::from(n));
        head.add_signatures(vec![line]);
    }
    assert!(policy.verify(&head.to_string(), ORIGIN).is_err());
    for (bad, line) in [
        ("quorum x\n", 1),
        ("log rubbish\nquorum none\n", 1),
        ("group g 1 later\nquorum none\n", 1),
        ("quorum none\nquorum none\n", 2),
        ("", 0),
        ("witness a b\n", 1),
    ] {
        assert!(
            matches!(Policy::parse(bad), Err(PolicyError::Malformed { line: l, .. }) if l == line),
            "{bad}"
        );
    }
    assert!(Policy::parse("quorum none\n").is_ok());
}

/// Three witnesses of our own, any of which may be away.
#[derive(Clone)]
struct Three(Arc<[(Witness, AtomicBool)]>, Arc<AtomicU32>);

impl Three {
    fn new() -> Three {
        let one = |n| {
            let logs = vec![key().verifying_key().clone()];
            (
                Witness::open(Memory::new().shared(), witness(n), logs, Arc::new(SystemClock)).unwrap(),
                true.into(),
            )
        };
        Three((1..=3).map(one).collect(), Arc::default())
    }

    fn set(&self, n: usize, there: bool) {
        self.0[n].1.store(there, Ordering::Relaxed);
    }

    fn options(&self, policy: &str) -> Options {
        let vkey = |n| witness(n).verifying_key().to_string();
        let text = format!(
            "witness a {} 0\nwitness b {} 1\nwitness c {} 2\ngroup two 2 a b c\n{policy}",
            vkey(1),
            vkey(2),
            vkey(3)
        );
        let cosigners = Witnesses::new(Policy::parse(&text).unwrap(), self.clone());
        Options {
            publish: Publish::OnDemand,
            stamp: Stamp::Nothing,
            cosigners: Some(Box::new(cosigners)),
            ..Options::default()
        }
    }
}

impl Transport for Three {
    fn add_checkpoint(&self, prefix: &str, body: &str) -> Result<(u16, String), String> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let (witness, there) = &self.0[prefix.parse::<usize>().unwrap()];
        if !there.load(Ordering::Relaxed) {
            return Err("away".into());
        }
        let reply = witness.add_checkpoint(body.as_bytes());
        Ok((reply.status, reply.body))
    }
}

fn cosigners(memory: &Memory) -> usize {
    let keys: Vec<_> = (1..=3).map(|n| witness(n).verifying_key().clone()).collect();
    Reader::open(memory.shared(), &[]).unwrap().head().witnesses(&keys).unwrap().len()
}

#[test]
fn heads_are_cosigned_before_they_are_published() {
    let (memory, three) = (Memory::new(), Three::new());
    let log = Log::create(memory.shared(), key(), three.options("quorum two\n")).unwrap();
    log.append_all((0..10u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.publish().unwrap();
    assert_eq!(cosigners(&memory), 3);
    // From here on each knows the other's size: one question each.
    three.1.store(0, Ordering::Relaxed);
    log.append(b"one more".to_vec()).unwrap();
    log.publish().unwrap();
    assert_eq!(three.1.load(Ordering::Relaxed), 3);
    three.set(0, false);
    log.append_all((0..600u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.publish().unwrap();
    assert_eq!(cosigners(&memory), 2);
    // No quorum: appends go on, the head waits, and what is published stays valid.
    three.set(1, false);
    log.append(b"while they are away".to_vec()).unwrap();
    let late = log.publish().err().unwrap();
    assert!(matches!(&late, AppendError::Unpublished(why) if why.contains("away")), "{late}");
    assert_eq!(Reader::open(memory.shared(), &[]).unwrap().size(), 611);
    log.append_all((0..300u32).map(|n| n.to_string().into_bytes())).unwrap();
    assert!(log.publish().is_err());
    three.set(1, true);
    log.publish().unwrap();
    assert_eq!((Reader::open(memory.shared(), &[]).unwrap().size(), cosigners(&memory)), (912, 2));
    let options = claviger_audit::verify::Options::default();
    assert_eq!(claviger_audit::verify::verify(&memory.shared(), &options).unwrap().entries, 912);
    // The read side has the same head.
    let name = "0".repeat(64) + "/checkpoint";
    assert_eq!(three.0[1].0.get(&name).status, 404);
    for bad in ["checkpoint", "../checkpoint", "lock", ""] {
        assert_eq!(three.0[1].0.get(bad).status, 404, "{bad}");
    }
}

#[test]
fn a_witness_shows_a_rollback_before_anything_is_appended() {
    let (memory, three) = (Memory::new(), Three::new());
    let two = || three.options("quorum two\n");
    Log::create(memory.shared(), key(), two()).unwrap().close().unwrap();
    let open = |memory: &Memory| Log::open(memory.shared(), vec![key()], two());
    let log = open(&memory).unwrap();
    log.append_all((0..10u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.close().unwrap();
    let backup = Memory::restore(&memory.snapshot());
    let log = open(&memory).unwrap();
    log.append_all((0..10u32).map(|n| n.to_string().into_bytes())).unwrap();
    log.close().unwrap();
    // Restored from the backup: one witness that saw more is enough, whatever the others say.
    three.set(1, false);
    three.set(2, false);
    let before = backup.snapshot();
    let error = open(&backup).err().unwrap();
    assert!(matches!(&error, OpenError::Witness(e) if e.to_string().contains("20 entries")), "{error}");
    assert!(before.iter().all(|(path, bytes)| backup.snapshot()[path] == *bytes));
    // Grown again without asking, to the same size: another head of it.
    let plain = || Options { publish: Publish::OnDemand, stamp: Stamp::Nothing, ..Options::default() };
    let log = Log::open(backup.shared(), vec![key()], plain()).unwrap();
    log.append_all((0..10u32).map(|n| format!("fork {n}").into_bytes())).unwrap();
    log.close().unwrap();
    let error = open(&backup).err().unwrap();
    assert!(matches!(&error, OpenError::Witness(e) if e.to_string().contains("422")), "{error}");
    // Nobody there to ask: without a quorum nothing is opened.
    three.set(0, false);
    assert!(matches!(open(&memory), Err(OpenError::Witness(_))));
    // One of the two: what the other cosigned before does not count.
    three.set(0, true);
    assert!(matches!(open(&memory), Err(OpenError::Witness(_))));
    three.set(1, true);
    open(&memory).unwrap();
    Log::open(memory.shared(), vec![key()], three.options("quorum none\n")).unwrap();
}

#[test]
fn a_witness_answers_as_the_specification_says() {
    let memory = Memory::new();
    let reader = grow(&memory, 0..10);
    let state = Memory::new();
    let open = |logs| Witness::open(state.shared(), witness(1), logs, Arc::new(SystemClock));
    let logs = || vec![key().verifying_key().clone()];
    assert!(Witness::open(Memory::new().shared(), key(), logs(), Arc::new(SystemClock)).is_err());
    let server = open(logs()).unwrap();
    let body = AddCheckpoint::from_reader(&reader, 0).unwrap().body();
    let status = |body: &str| server.add_checkpoint(body.as_bytes()).status;
    assert_eq!(status("rubbish"), 400);
    assert_eq!(server.add_checkpoint(b"\xff").status, 400);
    assert_eq!(status(&body.replace(ORIGIN, "audit.example/other")), 404);
    assert_eq!(status(&body.replace("\n10\n", "\n11\n")), 403);
    assert_eq!(status(&body.replace("old 0", "old 4")), 409);
    assert_eq!(status(&body), 200);
    // Kept: after a restart the same, and the same head may be cosigned again.
    drop(server);
    state.process_died();
    let server = open(logs()).unwrap();
    assert!(open(logs()).is_err(), "two processes must not be one witness");
    let reply = server.add_checkpoint(body.as_bytes());
    assert_eq!((reply.status, reply.content_type, reply.body.as_str()), (409, "text/x.tlog.size", "10\n"));
    let again = AddCheckpoint::from_reader(&reader, 10).unwrap().body();
    assert_eq!(server.add_checkpoint(again.as_bytes()).status, 200);
    let files = state.snapshot();
    let kept = files.keys().find(|path| path.ends_with("/checkpoint")).unwrap();
    assert!(server.get(kept).body.contains("witness.example/1"));
    // A kept head without the witness's own line is not believed: it does not begin anew either.
    let text = String::from_utf8(files[kept].clone()).unwrap();
    let cut = text.lines().filter(|line| !line.contains("witness.example")).map(|line| format!("{line}\n"));
    let mut forged = files.clone();
    forged.insert(kept.clone(), cut.collect::<String>().into_bytes());
    let forged = Witness::open(Memory::restore(&forged).shared(), witness(1), logs(), Arc::new(SystemClock));
    assert_eq!(forged.unwrap().add_checkpoint(body.as_bytes()).status, 500);
}
