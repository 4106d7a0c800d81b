//! Exports: at least once and in order, whatever the receiver does; formats against their specifications.

use crate::month;
use crate::support::{Memory, ORIGIN, Rng, key};
use claviger_audit::event::{Action, Event, FindingRecorded, LeakMatched, Outcome};
use claviger_audit::export::{
    Cursor, ExportError, Outgoing, Sink, SinkError, Syslog, cef, cloud_events, export, ocsf, otlp, signature,
    syslog,
};
use claviger_audit::files::Directory;
use claviger_audit::log::{Options, Publish};
use claviger_audit::reader::Reader;
use claviger_audit::recorder::Recorder;
use claviger_audit::serve::answer;

fn grow(memory: &Memory, events: &[Event]) -> Reader {
    let options = || Options { publish: Publish::OnDemand, ..Options::default() };
    let recorder = Recorder::open(memory.shared(), vec![key()], options())
        .unwrap_or_else(|_| Recorder::create(memory.shared(), key(), options(), None).unwrap());
    recorder.record_all(events).unwrap();
    recorder.close().unwrap();
    Reader::open(memory.shared(), &[]).unwrap()
}

/// Takes some, loses some, and says so or not.
struct Flaky<'a>(Rng, &'a mut Vec<u64>);

impl Sink for Flaky<'_> {
    fn deliver(&mut self, batch: &[Outgoing]) -> Result<(), SinkError> {
        let fails = self.0.below(3) == 0;
        let arrive = if fails { self.0.below(batch.len() as u64) as usize } else { batch.len() };
        self.1.extend(batch[..arrive].iter().map(|out| out.index));
        if fails { Err(SinkError::Again("busy".into())) } else { Ok(()) }
    }
}

#[test]
fn at_least_once_in_order_after_restarts() {
    let memory = Memory::new();
    let dir = tempfile::tempdir().unwrap();
    let mut arrived = vec![];
    let mut size = 0;
    for round in 0..40 {
        let reader = grow(&memory, &month::month(90)[..80]);
        size = reader.size();
        // A new cursor object each time: a restart.
        let cursor = Cursor::new(dir.path().join("cursor"));
        let _ = export(&reader, &cursor, &mut Flaky(Rng(round), &mut arrived));
    }
    let reader = Reader::open(memory.shared(), &[]).unwrap();
    let cursor = Cursor::new(dir.path().join("cursor"));
    let mut seed = 1000;
    while export(&reader, &cursor, &mut Flaky(Rng(seed), &mut arrived)).is_err() {
        seed += 1;
    }
    // In order, with repetitions: each step goes at most one further than the furthest before.
    let mut furthest = 0;
    for index in &arrived {
        assert!(*index <= furthest, "{index} before {furthest}");
        furthest = furthest.max(index + 1);
    }
    assert_eq!(furthest, size);
    assert!(arrived.len() as u64 > size, "nothing was repeated");
    std::fs::write(dir.path().join("cursor"), "audit.example/other 3\n").unwrap();
    let error = export(&reader, &cursor, &mut Flaky(Rng(0), &mut arrived)).unwrap_err();
    assert!(matches!(error, ExportError::Foreign { next: 3, .. }), "{error}");
    std::fs::write(dir.path().join("cursor"), format!("{ORIGIN} 999999\n")).unwrap();
    assert!(matches!(
        export(&reader, &cursor, &mut Flaky(Rng(0), &mut arrived)),
        Err(ExportError::Foreign { .. })
    ));
}

fn outgoing(event: &Event) -> Outgoing {
    Outgoing::new(ORIGIN, 7, &event.encode().unwrap()).unwrap()
}

fn hostile() -> Event {
    let mut event = month::issued(month::START, "acme/a|b=c\\d", "deploy-prod", "lease-\"]");
    event.outcome = Outcome::Refused;
    event.reason = Some(format!("first\nsecond=\\|\u{1b}[0m {}", "ü".repeat(1500)));
    event.source = Some("192.0.2.1".into());
    event
}

#[test]
fn cef_escapes() {
    let line = cef(&outgoing(&hostile()));
    assert!(line.starts_with(
        "CEF:0|claviger|claviger|0.1.0|lease.issued|lease.issued refused|4|externalId=7 rt=1793491200000 "
    ));
    assert!(line.contains(r"suser=acme/a|b\=c\\d ") && line.contains(r"reason=first\nsecond\=\\|"), "{line}");
    assert!(!line.contains('\n'));
    // No label without its value.
    let bare = cef(&outgoing(&Event { lease: None, ..hostile() }));
    assert!(bare.contains("cs2Label=leafHash cs2=") && line.contains("cs5Label"), "{bare}");
    assert!(!bare.contains("cs5"), "{bare}");
}

#[test]
fn syslog_keeps_its_limits() {
    let from = Syslog { hostname: "host with space".into(), procid: 42 };
    let message = syslog(&outgoing(&hostile()), &from);
    assert!(message.starts_with(
        "<85>1 2026-11-01T00:00:00.000000Z hostwithspace claviger 42 lease.issued [claviger@32473 origin="
    ));
    assert!(
        message.contains(r#"lease="lease-\"\]""#) && message.contains("] \u{feff}first second="),
        "{message}"
    );
    assert!(message.len() <= 2048 && message.len() > 2000 && !message.chars().any(char::is_control));
}

#[test]
fn ocsf_has_what_the_classes_need() {
    let mut events = month::oddities();
    for action in
        [Action::FindingRecorded(FindingRecorded::default()), Action::LeakMatched(LeakMatched::default())]
    {
        events.push(month::event(month::START, action, Outcome::Success, "acme/shop"));
    }
    for event in &events {
        let object = ocsf(&outgoing(event));
        for member in
            ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"]
        {
            assert!(object.get(member).is_some(), "{member} of {object}");
        }
        let number = |name: &str| object[name].as_u64().unwrap();
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
        let needs: &[&str] = match number("class_uid") {
            3002 => &["user", "service"],
            3005 => &["user"],
            3004 => &["entity"],
            2004 => &["finding_info"],
            6003 => &["actor", "api", "src_endpoint"],
            other => panic!("class {other}"),
        };
        assert!(needs.iter().all(|member| object[*member].is_object()), "{object}");
    }
}

#[test]
fn otlp_and_cloud_events_have_their_form() {
    let batch = [outgoing(&hostile()), outgoing(&month::oddities()[0])];
    let body = otlp(&batch);
    let record = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["timeUnixNano"], "1793491200000000000");
    assert_eq!(
        (record["severityNumber"].as_u64(), &record["attributes"][1]["value"]["intValue"]),
        (Some(10), &"7".into())
    );
    let events = cloud_events(&batch);
    assert_eq!((events[0]["id"].as_str(), events[0]["specversion"].as_str()), (Some("7"), Some("1.0")));
    assert_eq!(events[0]["data"]["type"], "lease.issued");
    let signed = signature(b"key", 5, b"body");
    assert!(signed.starts_with("t=5,v1=") && signed.len() == 71);
    assert_ne!(signed, signature(b"key", 6, b"body"));
}

#[test]
fn only_the_log_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    grow(&memory, &month::month(300));
    for (path, content) in memory.snapshot() {
        let to = dir.path().join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, content).unwrap();
    }
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    let files = Directory::new(dir.path());
    let get = |path: &str| answer(&files, path);
    assert_eq!(
        (get("/checkpoint").status, get("/checkpoint").content_type),
        (200, "text/plain; charset=utf-8")
    );
    let tile = get("/tile/0/000");
    assert_eq!((tile.status, tile.body.len(), tile.content_type), (200, 8192, "application/octet-stream"));
    assert!(tile.cache_control.contains("immutable"));
    for path in [
        "",
        "/",
        "/secret",
        "/log.json",
        "/journal/00000000000000000000.seg",
        "/../secret",
        "/tile/../secret",
        "/tile/0/../../secret",
        "/tile/0/%2e%2e/secret",
        "//checkpoint",
        "/checkpoint/",
        "/tile/0/000/../000",
        "/tile/0/0000",
        "/tile/0/999",
        "/lock",
        "/tile/0/000\0",
        "/tile/0\\000",
    ] {
        assert_eq!(get(path).status, 404, "{path}");
    }
}
