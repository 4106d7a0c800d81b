//! Queries: the index answers as a plain scan does, bad syntax says where, output is safe.

use std::ops::ControlFlow;

use crate::support::{Memory, Rng, key};
use claviger_audit::event::{Action, Decision, Event, Issued, Outcome, Target, Who};
use claviger_audit::log::{Options, Publish};
use claviger_audit::query::{self, Filter, Format, Hit, Index, Op, Output};
use claviger_audit::reader::Reader;
use claviger_audit::recorder::Recorder;

fn events(count: u64) -> Vec<Event> {
    let mut rng = Rng(5);
    (0..count)
        .map(|n| {
            let time = jiff::Timestamp::from_second(1_790_000_000 + n as i64 * 60).unwrap();
            let refused = rng.below(9) == 0;
            let action = if refused {
                Action::Decision(Decision::default())
            } else {
                Action::Issued(Issued::default())
            };
            let mut event =
                Event::new(time, action, if refused { Outcome::Refused } else { Outcome::Success });
            event.who = Who { repository: Some(format!("acme/app-{}", rng.below(50))), ..Who::default() };
            event.target = Target {
                provider: Some(["aws", "gcp", "vault"][rng.below(3) as usize].into()),
                environment: Some(["prod", "dev"][rng.below(2) as usize].into()),
                ..Target::default()
            };
            event.lease = (!refused).then(|| format!("lease-{n}"));
            event.reason = refused.then(|| "Access denied: no \"rule\"".to_owned());
            event
        })
        .collect()
}

fn log() -> Memory {
    let memory = Memory::new();
    let options = Options { publish: Publish::OnDemand, ..Options::default() };
    let recorder = Recorder::create(memory.shared(), key(), options, None).unwrap();
    recorder.record_all(&events(9000)).unwrap();
    recorder.close().unwrap();
    memory
}

fn ask(memory: &Memory, index: &Index, filter: &Filter) -> Vec<Hit> {
    let reader = Reader::open(memory.shared(), &[]).unwrap();
    let mut hits = vec![];
    query::run(&reader, index, filter, 0, |hit| {
        hits.push(hit);
        ControlFlow::Continue(())
    })
    .unwrap();
    hits
}

#[test]
fn the_index_answers_as_a_plain_scan() {
    let memory = log();
    let reader = Reader::open(memory.shared(), &[]).unwrap();
    let all: Vec<(u64, Vec<u8>)> = (0..reader.size()).map(|n| (n, reader.entry(n).unwrap())).collect();
    for text in [
        "identity=acme/app-7",
        "repository=acme/app-7 provider=aws env=prod",
        "lease=lease-4711",
        "lease=lease-8999",
        "outcome!=success",
        "outcome=refused identity~APP-1",
        "type=log.opened",
        "provider=nothing",
        "since=2026-09-22 until=2026-09-23T12:00:00Z provider=gcp",
        "\"access DENIED\" provider=vault",
        "lease=\"\"",
        "",
    ] {
        let filter = Filter::parse(text).unwrap();
        let plain: Vec<Hit> = all
            .iter()
            .filter(|(_, entry)| filter.matches(entry))
            .map(|(index, entry)| Hit { index: *index, entry: entry.clone() })
            .collect();
        let index = Index::at(memory.shared());
        assert_eq!(ask(&memory, &index, &filter), plain, "{text}, making the index");
        assert_eq!(ask(&memory, &index, &filter), plain, "{text}, with the index");
        assert_eq!(ask(&memory, &Index::none(), &filter), plain, "{text}, without");
    }
    assert_eq!(memory.snapshot().keys().filter(|path| path.starts_with("index/")).count(), 2);
}

#[test]
fn a_lost_or_damaged_index_is_made_again() {
    let memory = log();
    let filter = Filter::parse("identity=acme/app-3").unwrap();
    let want = ask(&memory, &Index::at(memory.shared()), &filter);
    assert!(want.len() > 50);
    let good = memory.snapshot();
    for at in (0..good["index/00000000.idx"].len()).step_by(9973) {
        let mut files = good.clone();
        let index = files.get_mut("index/00000000.idx").unwrap();
        index[at] ^= 0xff;
        if at % 2 == 0 {
            index.truncate(at);
        }
        let memory = Memory::restore(&files);
        assert_eq!(ask(&memory, &Index::at(memory.shared()), &filter), want);
        assert_eq!(memory.snapshot()["index/00000000.idx"], good["index/00000000.idx"], "made again");
    }
}

#[test]
fn streaming_from_an_index_until_told_to_stop() {
    let memory = log();
    let reader = Reader::open(memory.shared(), &[]).unwrap();
    let mut seen = vec![];
    let filter = Filter::default().with("provider", Op::Equal, "aws").unwrap();
    query::run(&reader, &Index::none(), &filter, 5000, |hit| {
        seen.push(hit.index);
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert!(seen.len() == 3 && seen[0] >= 5000 && seen.is_sorted());
}

#[test]
fn bad_syntax_says_where() {
    for (text, position, why) in [
        ("provider=aws colour=red", 14, "there is no field `colour`"),
        ("a =b", 3, "expected the name of a field"),
        ("provider=", 10, "expected a value"),
        ("ü provider=\"aws", 12, "this quote is not closed"),
        ("since=tuesday", 7, "`tuesday` is no time"),
        ("since!=2026-11-01", 1, "`since` takes `=` only"),
        ("provider!aws", 9, "expected `=`, `!=`, `~` or a space"),
        ("reason=\"a\\n\"", 11, "expected `\"` or `\\`"),
    ] {
        let error = Filter::parse(text).unwrap_err();
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.why.starts_with(why), "{text}: {error}");
    }
    assert!(Filter::default().with("colour", Op::Equal, "red").is_err());
}

#[test]
fn output_is_safe_in_terminals_and_spreadsheets() {
    let mut event = events(1).remove(0);
    event.who.repository = Some("=cmd|' /C calc'!A0".into());
    event.reason = Some("a\u{1b}[2Jb\nc,\"d\"\u{202e}".into());
    let hit = Hit { index: 3, entry: event.encode().unwrap() };
    let write = |format| {
        let mut bytes = vec![];
        let mut output = Output::new(&mut bytes, format);
        output.write(&hit).unwrap();
        output.write(&hit).unwrap();
        assert_eq!(output.finish().unwrap(), 2);
        String::from_utf8(bytes).unwrap()
    };
    let table = write(Format::Table);
    assert!(
        !table.contains('\u{1b}') && !table.contains('\u{202e}') && table.lines().count() == 3,
        "{table}"
    );
    let csv = write(Format::Csv);
    assert!(csv.starts_with("index,time,type,") && csv.contains(",'=cmd|"), "{csv}");
    let mut reader = csv_lines(&csv);
    assert_eq!(reader.next().map(|cells| cells.len()), Some(10));
    let lines = write(Format::JsonLines);
    assert_eq!(
        lines.lines().map(|line| Event::parse(line.as_bytes()).unwrap()).collect::<Vec<_>>(),
        [event.clone(), event]
    );
    let json: serde_json::Value = serde_json::from_str(&write(Format::Json)).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    let mut empty = vec![];
    Output::new(&mut empty, Format::Json).finish().unwrap();
    assert_eq!(empty, b"[]\n");
}

fn csv_lines(text: &str) -> impl Iterator<Item = Vec<String>> {
    let reader =
        csv::ReaderBuilder::new().has_headers(true).from_reader(std::io::Cursor::new(text.to_owned()));
    reader.into_records().map(|row| row.unwrap().iter().map(str::to_owned).collect())
}
