//! Witnesses: a head is cosigned step by step, a fork is refused, a quorum is counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use claviger_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use claviger_audit::log::{Log, Options, Publish, Stamp};
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::reader::Reader;
use claviger_audit::witness::{AddCheckpoint, Answer, Policy, PolicyError, WitnessError, read_answer};
use support::{Memory, ORIGIN, key};

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
