//! Events: round trips, newer versions, size limits, hostile content.

use claviger_audit::event::{
    Action, Event, Extra, FailedClaim, Fingerprint, KINDS, MAX_EVENT, MAX_FIELD, Outcome, Slim, Target, Who,
};
use claviger_audit::event::{Authentication, Decision, Issued};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

fn time() -> Timestamp {
    "2026-11-24T10:20:30.123456Z".parse().unwrap()
}

fn full() -> Event {
    let decision = Decision {
        rule: Some("deploy-prod".into()),
        failed: vec![FailedClaim {
            claim: "ref".into(),
            expected: "refs/heads/main".into(),
            found: "refs/heads/x".into(),
        }],
        ..Decision::default()
    };
    Event {
        reason: Some("no rule matched".into()),
        who: Who {
            issuer: Some("https://token.actions.githubusercontent.com".into()),
            subject: Some("repo:acme/shop:ref:refs/heads/x".into()),
            repository: Some("acme/shop".into()),
            reference: Some("refs/heads/x".into()),
            run_id: Some("1234".into()),
            ..Who::default()
        },
        target: Target {
            provider: Some("aws".into()),
            environment: Some("prod".into()),
            ..Target::default()
        },
        lease: Some("lease-1".into()),
        ttl_s: Some(900),
        expires: Some(time()),
        fingerprint: Some(Fingerprint::of(b"value", "k1", &[1; 32])),
        ..Event::new(time(), Action::Decision(decision), Outcome::Refused)
    }
}

#[test]
fn round_trip_and_form() {
    let event = full();
    let bytes = event.encode().unwrap();
    assert_eq!(Event::parse(&bytes).unwrap(), event);
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["v"], 1);
    assert_eq!(json["type"], "decision");
    assert_eq!(json["time"], "2026-11-24T10:20:30.123456Z");
    assert_eq!(json["who"]["ref"], "refs/heads/x");
    assert_eq!(json["detail"]["failed"][0]["claim"], "ref");
    assert!(json.get("seq").is_none() && json["who"].get("actor").is_none());
    let slim = Slim::parse(&bytes).unwrap();
    assert_eq!(
        (slim.identity(), &*slim.target.environment, slim.outcome),
        ("acme/shop", "prod", Outcome::Refused)
    );
    assert_eq!((slim.time_ms(), slim.ttl_s), (time().as_millisecond(), Some(900)));
}

#[test]
fn a_newer_version_survives() {
    let newer = r#"{"seq":7,"logged":"2026-11-24T10:20:31.000000Z","v":9,"time":"2026-11-24T10:20:30.000000Z",
        "type":"decision","outcome":"deferred","who":{"team":["a",{"b":1}]},"target":{"zone":"eu"},
        "detail":{"rule":"r","quorum":3},"mood":{"x":[1.5,null,"ü\u0000"]}}"#;
    let event = Event::parse(newer.as_bytes()).unwrap();
    assert_eq!((event.version, event.sequence, event.outcome), (9, Some(7), Outcome::Other));
    let again: Value = serde_json::from_slice(&event.encode().unwrap()).unwrap();
    let before: Value = serde_json::from_str(newer).unwrap();
    for place in ["/who/team", "/target/zone", "/detail/quorum", "/detail/rule", "/mood"] {
        assert_eq!(again.pointer(place), before.pointer(place), "{place}");
    }
    let unknown = r#"{"v":2,"time":"2026-11-24T10:20:30Z","type":"moon.phase","detail":{"full":true}}"#;
    let event = Event::parse(unknown.as_bytes()).unwrap();
    assert!(matches!(&event.action, Action::Unknown { kind, .. } if kind == "moon.phase"));
    assert_eq!(Event::parse(&event.encode().unwrap()).unwrap(), event);
    // A known type whose members changed their shape is kept as it is, too.
    let bent = r#"{"v":2,"time":"2026-11-24T10:20:30Z","type":"lease.issued","detail":{"kind":[1,2]}}"#;
    let event = Event::parse(bent.as_bytes()).unwrap();
    assert!(matches!(&event.action, Action::Unknown { kind, .. } if kind == "lease.issued"));
    assert_eq!(Event::parse(&event.encode().unwrap()).unwrap(), event);
}

#[test]
fn every_kind_has_its_own_name() {
    let mut names = KINDS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KINDS.len());
    for kind in KINDS {
        let text = format!(r#"{{"v":1,"time":"2026-11-24T10:20:30Z","type":"{kind}"}}"#);
        let event = Event::parse(text.as_bytes()).unwrap();
        assert_eq!(event.action.kind(), *kind);
    }
}

#[test]
fn ten_megabytes_become_a_hash() {
    let mut event = full();
    event.reason = Some("x".repeat(10 << 20));
    let bytes = event.encode().unwrap();
    let reason = Event::parse(&bytes).unwrap().reason.unwrap();
    assert!(bytes.len() < 2000 && reason.starts_with("sha256:") && reason.ends_with("(10485760 bytes)"));
    // Many strings just under the limit.
    let mut event = full();
    event.extra = (0..40).map(|n| (n.to_string(), Value::String("y".repeat(MAX_FIELD - 1)))).collect();
    assert!(event.encode().unwrap().len() <= MAX_EVENT);
    // A detail of a thousand claims.
    let failed = vec![FailedClaim { claim: "c".repeat(90), ..FailedClaim::default() }; 1000];
    event = Event::new(
        time(),
        Action::Authentication(Authentication { failed, ..Authentication::default() }),
        Outcome::Refused,
    );
    let text = String::from_utf8(event.encode().unwrap()).unwrap();
    assert!(text.len() < MAX_EVENT && text.contains("oversize"));
    // What cannot be shortened is an error, not an entry.
    event.extra = (0..10_000).map(|n| (n.to_string(), Value::Bool(true))).collect();
    assert!(event.encode().is_err());
}

#[test]
fn not_events() {
    for bad in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"{\"v\":1}",
        b"{\"v\":1,\"time\":\"yesterday\",\"type\":\"auth\"}",
        b"\xff\xfe",
    ] {
        assert!(Event::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn fingerprints_depend_on_the_key() {
    let one = Fingerprint::of(b"value", "k1", &[1; 32]);
    assert_eq!(one, Fingerprint::of(b"value", "k1", &[1; 32]));
    assert_ne!(one.mac, Fingerprint::of(b"value", "k1", &[2; 32]).mac);
    assert_eq!(one.mac.len(), 64);
}

proptest! {
    #[test]
    fn any_text_round_trips(reason in any::<String>(), subject in any::<String>(), ttl in any::<u64>(), ms in 0i64..4_000_000_000_000) {
        let at = Timestamp::from_millisecond(ms).unwrap();
        let mut event = Event::new(at, Action::Issued(Issued::default()), Outcome::Failed);
        event.reason = Some(reason);
        event.who.subject = Some(subject);
        event.who.extra = Extra::from([("n".to_owned(), Value::from(ttl))]);
        event.ttl_s = Some(ttl);
        let bytes = event.encode().unwrap();
        // One line, whatever is in it: nobody can forge a second entry in a JSONL export.
        prop_assert!(!bytes.iter().any(|b| *b < 0x20));
        prop_assert_eq!(Event::parse(&bytes).unwrap(), event);
    }

    /// The reader of our own form of times agrees with the general one.
    #[test]
    fn times_are_read_the_same_twice(ms in -62_000_000_000_000i64..250_000_000_000_000) {
        let at = Timestamp::from_millisecond(ms).unwrap();
        let event = Event::new(at, Action::Issued(Issued::default()), Outcome::Success);
        prop_assert_eq!(Slim::parse(&event.encode().unwrap()).unwrap().time_ms(), ms);
    }

    #[test]
    fn parsers_do_not_panic(bytes in any::<Vec<u8>>()) {
        let _ = Event::parse(&bytes);
        let _ = Slim::parse(&bytes);
    }
}
