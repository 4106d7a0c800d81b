//! Reports: counts, each anomaly rule on its planted oddity, and pages that hostile names cannot break.

use std::collections::BTreeMap;

use crate::month;
use crate::support::{Memory, key};
use claviger_audit::checkpoint::Checkpoint;
use claviger_audit::event::{Event, Outcome};
use claviger_audit::log::{Options, Publish};
use claviger_audit::reader::Reader;
use claviger_audit::recorder::Recorder;
use claviger_audit::report::{
    Config, Period, RULES, Report, Rows, Silence, find_anomalies, html, json, markdown, terminal,
};

fn rows(events: &[Event]) -> Rows {
    let mut rows = Rows::default();
    for (index, event) in (0..).zip(events) {
        let body = String::from_utf8(event.encode().unwrap()).unwrap();
        let entry = format!("{{\"seq\":{index},\"logged\":\"{}\",{}", event.time, &body[1..]);
        rows.push(index, entry.as_bytes());
    }
    rows
}

fn head() -> Checkpoint {
    Checkpoint::empty("audit.example/test")
}

fn end() -> i64 {
    (month::START + 30 * 86_400) * 1000
}

fn report(events: &[Event]) -> Report {
    Report::of(&rows(events), &head(), &Period::until(end()), &Config::default())
}

#[test]
fn every_rule_finds_its_oddity() {
    let mut events = month::oddities();
    // A clock that is an hour off, by the log's own time.
    let late = 0;
    let mut table = Rows::default();
    for (index, event) in (0..).zip(&mut events) {
        let logged = event.time;
        if index == late {
            event.time = logged.checked_sub(jiff::SignedDuration::from_secs(3600)).unwrap();
        }
        let body = String::from_utf8(event.encode().unwrap()).unwrap();
        table.push(index, format!("{{\"seq\":{index},\"logged\":\"{logged}\",{}", &body[1..]).as_bytes());
    }
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for anomaly in find_anomalies(&table, &Config::default()) {
        assert!(!anomaly.evidence.is_empty() && anomaly.silence.contains(anomaly.rule));
        found.entry(anomaly.rule).or_default().push(format!("{}: {}", anomaly.subject, anomaly.what));
    }
    let one = |rule: &str| {
        let all = found.get(rule).unwrap_or_else(|| panic!("{rule} found nothing"));
        assert_eq!(all.len(), 1, "{rule}: {all:?}");
        all[0].as_str()
    };
    assert_eq!(found["new-identity"].len(), 2, "{:?}", found["new-identity"]);
    assert_eq!(one("new-source"), "acme/quiet: came from 198.51.100.7, never before (known addresses: 1)");
    assert!(found["unusual-hour"].contains(&"acme/quiet: was active at 03:00 UTC, never before".into()));
    assert_eq!(one("burst"), "acme/quiet: 68 events in ten minutes, 8.4 are usual");
    assert_eq!(one("refused-then-allowed"), "acme/quiet: 6 refusals, then role `deploy-prod`");
    assert_eq!(one("replay"), "acme/quiet: a token was presented again (success)");
    assert_eq!(one("lease-in-two-places"), "acme/quiet: one lease from 198.51.100.7 and from 192.0.2.1");
    assert_eq!(one("use-after-job"), "acme/quiet: a lease was used after its job ended");
    assert!(one("revocation-overdue").ends_with("and still does"));
    assert_eq!(one("clock-jump"), "clock: an event's time is 3600 s behind the log's");
    assert_eq!(
        one("policy-then-use"),
        "acme/quiet: `policy` changed 60 s before role `publish-package` was used for the first time"
    );
    assert_eq!(one("secret-widely-read"), "shared-token: read by more than 10 identities in a day");
    assert_eq!(found.len(), RULES.len());

    let silence = |rule: &str, subject: &str| Silence { rule: rule.into(), subject: subject.into() };
    let config = Config {
        silence: vec![silence("replay", "acme/quiet"), silence("burst", ""), silence("clock-jump", "other")],
        ..Config::default()
    };
    let left = find_anomalies(&table, &config);
    assert!(left.iter().all(|found| found.rule != "replay" && found.rule != "burst"));
    assert!(left.iter().any(|found| found.rule == "clock-jump"));
}

#[test]
fn what_is_taken_over_is_older_than_its_entry_and_that_is_no_jump() {
    let jumps = |imported: bool, hours: i64| {
        let mut event = month::oddities().remove(0);
        let logged = event.time;
        event.time = logged.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
        event.imported = imported;
        let body = String::from_utf8(event.encode().unwrap()).unwrap();
        let mut table = Rows::default();
        table.push(0, format!("{{\"seq\":0,\"logged\":\"{logged}\",{}", &body[1..]).as_bytes());
        find_anomalies(&table, &Config::default()).len()
    };
    assert_eq!((jumps(false, -100), jumps(true, -100), jumps(true, 1), jumps(false, 1)), (1, 0, 1, 1));
}

/// What a finding says silences it, whatever its subject is called.
#[test]
fn a_silence_can_be_copied_into_the_configuration() {
    let mut events = month::oddities();
    for event in &mut events {
        let name = event.who.repository.as_ref().map(|name| format!("{name}\u{1b}\u{2028}: # \"'\\ }}"));
        event.who.repository = name;
    }
    let all = find_anomalies(&rows(&events), &Config::default());
    assert!(all.len() > 8);
    let silence = all.iter().map(|found| serde_json::from_str(&found.silence).unwrap()).collect();
    let left = find_anomalies(&rows(&events), &Config { silence, ..Config::default() });
    assert!(left.is_empty(), "{left:?}");
}

/// WCAG 2.2: text 4.5 to 1 (1.4.3), charts and focus 3 to 1 (1.4.11), in light, dark and print.
#[test]
fn the_page_has_contrast() {
    let page = html(&report(&month::month(500)));
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let mut palette: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    let roots: Vec<&str> =
        style.split(":root {").skip(1).map(|rest| rest.split_once('}').unwrap().0).collect();
    assert_eq!(roots.len(), 3, "light, dark, print");
    for root in roots {
        for line in root.split(';') {
            let Some((name, colour)) = line.trim().split_once(": #") else { continue };
            let part = |n: usize| {
                let share = f64::from(u8::from_str_radix(&colour[n..n + 2], 16).unwrap()) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            palette.insert(name, [part(0), part(2), part(4)]);
        }
        let light = |name: &str| {
            let [r, g, b] = palette[name];
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let contrast = |a: &str, b: &str| {
            let (a, b) = (light(a), light(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        for (fore, least) in
            [("ink", 7.0), ("soft", 4.5), ("link", 4.5), ("success", 3.0), ("refused", 3.0), ("failed", 3.0)]
        {
            for back in ["page", "panel"] {
                let found = contrast(&format!("--{fore}"), &format!("--{back}"));
                println!("{fore} on {back}: {found:.2}");
                assert!(found >= least, "{fore} on {back}: {found:.2}, below {least}");
            }
        }
    }
}

#[test]
fn an_ordinary_month_is_quiet() {
    let report = report(&month::month(30_000));
    let noisy: Vec<_> =
        report.anomalies.iter().map(|a| format!("{} {} {}", a.rule, a.subject, a.what)).collect();
    assert!(noisy.len() < 30_000 / 500, "{} anomalies: {:#?}", noisy.len(), &noisy[..40.min(noisy.len())]);
}

#[test]
fn counts() {
    let report = report(&month::oddities());
    assert_eq!((report.total.refused, report.total.failed, report.total.read), (6, 2, 11));
    let quiet = report.identities.iter().find(|usage| usage.name == "acme/quiet").unwrap();
    assert_eq!((quiet.issued, quiet.refused, quiet.failed), (294, 6, 2));
    assert_eq!(report.identities[0].name, "acme/quiet");
    let issued: u64 = report.identities.iter().map(|usage| usage.issued).sum();
    assert_eq!(issued, report.total.issued);
    assert_eq!(report.lengths.iter().map(|length| length.count).sum::<u64>(), issued);
    let slots: u64 = report.timeline.iter().map(|slot| slot.success + slot.refused + slot.failed).sum();
    assert_eq!(slots, issued + 11 + 6 + 2);
    assert_eq!(report.refusals[0].count, 6);
    let late: Vec<(&str, i64)> =
        report.secrets.iter().map(|secret| (secret.name.as_str(), secret.late_days)).collect();
    assert_eq!(late, [("old-key", 21), ("shared-token", 0)]);
    assert_eq!(
        (report.revocations.len(), report.revocations[0].attempts, report.revocations[0].ended),
        (1, 2, false)
    );
    assert!(
        report.unused.iter().any(|unused| unused.identity == "acme/newcomer" && unused.role == "migrate-db")
    );
    assert!(report.first_uses.is_empty(), "the period begins with the log");
    let since = (month::START + 10 * 86_400) * 1000;
    let period = Period {
        since_ms: since,
        roles: vec!["deploy-prod".into(), "nobody-asks".into()],
        ..Period::until(end())
    };
    let report = Report::of(&rows(&month::oddities()), &head(), &period, &Config::default());
    assert_eq!(report.unused_roles, ["nobody-asks"]);
    let first: Vec<&str> = report.first_uses.iter().map(|first| first.identity.as_str()).collect();
    assert_eq!(first[..2], ["acme/newcomer", "acme/quiet"]);
}

#[test]
fn nothing_to_report() {
    let report = report(&[]);
    assert_eq!((report.events, report.from.as_str()), (0, ""));
    for page in [html(&report), markdown(&report, 10), terminal(&report, 10), json(&report)] {
        assert!(!page.is_empty());
    }
}

#[test]
fn rows_from_a_log_are_the_rows_of_its_events() {
    let events = month::month(20_000);
    let memory = Memory::new();
    let options = Options { publish: Publish::OnDemand, ..Options::default() };
    let recorder = Recorder::create(memory.shared(), key(), options, None).unwrap();
    recorder.record_all(&events).unwrap();
    recorder.close().unwrap();
    let reader = Reader::open(memory.shared(), &[]).unwrap();
    let read = Rows::read(&reader).unwrap();
    assert_eq!(read.rows.len(), 20_002);
    let plain = rows(&events);
    for (a, b) in read.rows[1..].iter().zip(&plain.rows) {
        assert_eq!((a.index, a.time, a.lease, a.kind), (b.index + 1, b.time, b.lease, b.kind));
        assert_eq!((read.name(a.identity), read.name(a.role)), (plain.name(b.identity), plain.name(b.role)));
    }
}

#[test]
fn pages_are_deterministic_and_hostile_names_stay_text() {
    let mut events = month::oddities();
    let evil = "<script>alert(1)</script>|`x`\u{1b}[31m\u{202e}\"'&@all";
    for event in events.iter_mut().filter(|event| event.outcome == Outcome::Refused) {
        event.reason = Some(evil.into());
        event.who.repository = Some(evil.into());
    }
    let (one, two) = (report(&events), report(&events));
    assert_eq!(html(&one), html(&two));
    assert_eq!(json(&one), json(&two));
    let page = html(&one);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    for outside in ["http://", "https://", "src=", "url(", "@import", "onclick", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let text = markdown(&one, 20);
    assert!(text.contains("&lt;script\\>") && !text.contains("<script") && !text.contains("@all"));
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let row = text.lines().find(|line| line.contains("alert(1)")).unwrap();
    assert!(bars(row) >= 5, "{row}");
    assert!(!terminal(&one, 20).contains('\u{1b}'));
    if let Some(path) = std::env::var_os("CLAVIGER_REPORT") {
        let mut all = month::month(60_000);
        all.extend(month::oddities());
        all.sort_by_key(|event| event.time);
        std::fs::write(path, html(&report(&all))).unwrap();
    }
}
