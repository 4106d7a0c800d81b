//! Every format, given one report with everything nasty in it.

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;

use super::fixture::{clean, current, report, secret};
use super::*;
use crate::coverage::Reason;
use crate::path::RepoPath;
use crate::rule::Severity;
use crate::secret::Secret;

fn written(format: &str, report: &Report, style: &Style) -> String {
    let mut out = Vec::new();
    Format::named(format).unwrap().write(report, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn names() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|format| format.name)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_format() {
    for format in names() {
        insta::assert_snapshot!(format!("plain_{format}"), written(format, &report(), &Style::default()));
    }
}

#[test]
fn a_clean_scan_in_every_format() {
    let all: BTreeMap<&str, String> = names().map(|f| (f, written(f, &clean(), &Style::default()))).collect();
    let all: Vec<String> = all.iter().map(|(name, text)| format!("==== {name}\n{text}")).collect();
    insta::assert_snapshot!("clean", all.join("\n"));
}

#[test]
fn secrets_are_shown_when_asked_for() {
    let style = Style { show_secrets: true, ..Style::default() };
    for format in ["text", "json", "jsonl", "gitlab", "csv"] {
        let mut text = written(format, &report(), &style);
        for n in 1..=4 {
            assert!(text.contains(&secret(n)), "{format} {n}");
            text = text.replace(&secret(n), &format!("[secret {n}]"));
        }
        for n in 5..=6 {
            text = text.replace(&secret(n), &format!("[secret {n}]"));
        }
        if matches!(format, "text" | "json") {
            insta::assert_snapshot!(format!("secrets_{format}"), text);
        }
    }
}

#[test]
fn a_verbose_terminal() {
    let style = Style { verbose: true, coverage: true, color: true, width: 60, ..Style::default() };
    insta::assert_snapshot!("verbose_text", written("text", &report(), &style).replace('\x1b', "␛"));
    let style = Style { hyperlinks: true, ..Style::default() };
    let text = written("text", &report(), &style);
    assert!(
        text.contains("\x1b]8;;file:///") && text.contains("/src/app.py\x1b\\src/app.py:12:9\x1b]8;;\x1b\\")
    );
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    for width in [40, 60, 80, 100] {
        let text = written("text", &report(), &Style { width, verbose: true, ..Style::default() });
        for line in text.lines() {
            // Addresses stay whole, and an order to a build server stays where it is no order.
            let whole = ["-->", "https://", "also at", "::", "unreadable", "corrupt", "fingerprint"];
            let fits = line.chars().count() <= width || whole.iter().any(|w| line.contains(w));
            assert!(fits, "{width}: {line}");
        }
    }
}

#[test]
fn quiet_says_no_more_than_it_must() {
    let style = Style { quiet: true, ..Style::default() };
    assert_eq!(written("text", &clean(), &style), "");
    let text = written("text", &report(), &style);
    assert!(text.contains("INCOMPLETE") && !text.contains("notice"));
}

#[test]
fn no_secret_gets_out_unasked() {
    let style = Style { verbose: true, coverage: true, ..Style::default() };
    for format in names() {
        let text = written(format, &report(), &style);
        for n in 1..=6 {
            let secret = secret(n);
            assert!(!text.contains(&secret), "{format}: {n}");
            // Not in pieces either: no more than the preview.
            assert!(!text.contains(&secret[..12]) && !text.contains(&secret[20..32]), "{format}: {n}");
        }
        assert!(!text.contains("to the code"), "{format}: a commit's message");
    }
    let shown = Style { show_secrets: true, ..style };
    for format in ["sarif", "junit", "github", "markdown"] {
        assert_eq!(written(format, &report(), &shown), written(format, &report(), &style), "{format}");
    }
}

#[test]
fn no_control_character_gets_out() {
    let mut report = report();
    report.findings[0].secret = Secret::new(b"-----BEGIN\n\x1b[2J\xc2\x9bm\xff-----");
    report.findings[0].places[0].path = RepoPath::new(*b"::stop-commands::x");
    report.findings[0].places[0].branches = vec!["a\u{9b}b\u{202e}".to_owned()];
    for show_secrets in [false, true] {
        let style = Style { verbose: true, coverage: true, show_secrets, ..Style::default() };
        for format in names() {
            for line in written(format, &report, &style).split('\n') {
                assert_eq!(crate::path::printable(line.as_bytes()), line, "{format}");
                assert!(format == "github" || !line.trim_start().starts_with("::"), "{format}: {line}");
                assert!(!line.contains("##vso["), "{format}: {line}");
            }
        }
    }
}

#[test]
fn gaps_are_seen_in_every_format() {
    let mut stopped = clean();
    stopped.interrupted = true;
    let mut gap = clean();
    gap.coverage.skip(Reason::Missing, b"0000", "");
    for format in names() {
        for (report, word) in [(&stopped, "INTERRUPTED"), (&gap, "INCOMPLETE")] {
            let text = written(format, report, &Style::default());
            let seen = match format {
                "json" => json(&text)["coverage"]["complete"] == false,
                "jsonl" => json(text.lines().last().unwrap())["coverage"]["complete"] == false,
                "gitlab" => json(&text)["scan"]["status"] == "failure" && text.contains(word),
                _ => text.contains(word),
            };
            assert!(seen, "{format}: {text}");
            assert!(!text.contains("No secrets found"), "{format}: {text}");
        }
        let text = written(format, &clean(), &Style::default());
        assert!(!text.contains("INCOMPLETE") && !text.contains("INTERRUPTED"), "{format}: {text}");
    }
    let mut nothing = clean();
    nothing.coverage = Coverage::default();
    assert!(written("text", &nothing, &Style::default()).starts_with("Nothing was scanned."));
}

#[test]
fn json_says_it_all() {
    let style = Style { coverage: true, ..Style::default() };
    let document = json(&written("json", &report(), &style));
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["findings"].as_array().unwrap().len(), 4);
    assert_eq!(document["findings"][0]["places"][1]["introduced"]["date"], "2024-05-01T12:51:30Z");
    assert!(document["findings"][1]["places"][0]["path_base64"].is_string());
    assert!(document["findings"][3]["places"][0].get("path_base64").is_none(), "the name is the secret");
    assert_eq!(document["coverage"]["skipped"].as_array().unwrap().len(), 4);
    assert!(json(&written("json", &report(), &Style::default()))["coverage"].get("skipped").is_none());

    let lines: Vec<Value> = written("jsonl", &report(), &style).lines().map(json).collect();
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["finding", "finding", "finding", "finding", "allowed", "allowed", "summary"]);
    assert_eq!(lines[0]["fingerprint"], document["findings"][0]["fingerprint"]);
}

#[test]
fn sarif_and_gitlab_parse() {
    let sarif = json(&written("sarif", &report(), &Style::default()));
    let run = &sarif["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 6);
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 3);
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert_eq!(run["results"][4]["suppressions"][0]["status"], "underReview");
    for result in run["results"].as_array().unwrap() {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.is_ascii() && !uri.starts_with('/') && !uri.contains([' ', ':', '"']), "{uri}");
    }

    let gitlab = json(&written("gitlab", &report(), &Style::default()));
    assert_eq!(gitlab["vulnerabilities"].as_array().unwrap().len(), 4);
    assert_eq!(gitlab["scan"]["start_time"], "2026-09-21T14:13:20");
    assert!(gitlab["vulnerabilities"][0].get("raw_source_code_extract").is_none());
    assert_eq!(gitlab["vulnerabilities"][3]["location"]["commit"]["sha"], "0000000");
}

#[test]
fn csv_has_a_row_for_each_place() {
    let text = written("csv", &report(), &Style::default());
    let mut table = ::csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<::csv::StringRecord> = table.records().collect::<Result<_, _>>().unwrap();
    let places: usize = report().findings.iter().map(|f| f.places.len()).sum();
    assert_eq!(rows.iter().filter(|row| &row[0] == "finding").count(), places);
    assert_eq!(rows.iter().filter(|row| &row[0] == "incomplete").count(), 3);
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@'])));
    assert_eq!(&rows[4][24], "'=HYPERLINK(\"x\") | `<script>` & tk2.…(40) ]]> ::set-env");
}

#[test]
fn junit_is_well_formed() {
    for report in [report(), clean()] {
        let text = written("junit", &report, &Style::default());
        let tags = elements(&text);
        let count = |name: &str| tags.iter().filter(|tag| *tag == name).count();
        assert_eq!(count("testcase"), report.findings.len() + report.allowed.len() + 1);
        assert_eq!(count("failure"), report.findings.len());
        assert_eq!(count("error"), usize::from(!report.is_complete()));
    }
}

/// The names of a document's elements; fails if it is not well-formed as far as the reporter can get it wrong.
fn elements(text: &str) -> Vec<String> {
    let mut rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").expect("a declaration");
    let (mut open, mut seen) = (Vec::<&str>::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        plain(&rest[..at]);
        let (name, after) = rest[at + 1..].split_once([' ', '>', '/']).unwrap();
        if let Some(closing) = rest[at + 1..].strip_prefix('/') {
            let (name, after) = closing.split_once('>').unwrap();
            assert_eq!(open.pop(), Some(name));
            rest = after;
            continue;
        }
        seen.push(name.to_owned());
        rest = &rest[at + 1 + name.len()..];
        assert!(!after.is_empty());
        // Attributes, each a blank, a name, `="`, a value without quotes, and a quote.
        while let Some(attribute) = rest.strip_prefix(' ') {
            let (key, value) = attribute.split_once("=\"").unwrap();
            assert!(key.chars().all(|c| c.is_ascii_lowercase()), "{key}");
            let (value, after) = value.split_once('"').unwrap();
            plain(value);
            rest = after;
        }
        match rest.strip_prefix("/>") {
            Some(after) => rest = after,
            None => {
                rest = rest.strip_prefix('>').expect("an end of the tag");
                open.push(name);
            }
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    seen
}

/// Character data: no `<`, no `>`, and `&` only as one of the five entities.
fn plain(text: &str) {
    assert!(!text.contains(['<', '>']), "{text}");
    for part in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|e| part.starts_with(e)), "{part}");
    }
}

#[test]
fn markdown_rows_have_five_cells() {
    let text = written("markdown", &report(), &Style::default());
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4);
    assert!(rows.iter().all(|row| row.matches('|').count() == 6), "{rows:#?}");
    assert!(!text.contains("<b>") && !text.contains("<script>") && !text.contains("@octocat"));
}

#[test]
fn github_shows_the_worst_first() {
    let text = written("github", &report(), &Style::default());
    let commands: Vec<&str> = text.lines().map(|line| line.split([' ', ':']).nth(2).unwrap()).collect();
    assert_eq!(commands, ["error", "error", "error", "error", "warning", "warning", "notice"]);
    let mut lines = text.lines();
    assert!(lines.next().unwrap().contains("INCOMPLETE"));
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("::error file=src/app.py,line=12,endLine=12,col=9,endColumn=49,title=")
    );
}

#[test]
fn very_many_findings() {
    let mut report = report();
    report.findings = (0..25_500)
        .map(|n| {
            let mut one = current();
            one.places.truncate(1);
            one.places[0].line = n + 1;
            one.rule.severity = if n % 2 == 0 { Severity::Low } else { Severity::High };
            one
        })
        .collect();
    let sarif = json(&written("sarif", &report, &Style::default()));
    let run = &sarif["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 25_000);
    let high = run["results"].as_array().unwrap().iter().filter(|r| r["level"] == "error").count();
    assert_eq!(high, 12_750, "the least of them were left out");
    let notes = run["invocations"][0]["toolExecutionNotifications"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["descriptor"]["id"] == "cut"));

    let markdown = written("markdown", &report, &Style::default());
    assert!(markdown.len() < 1024 * 1024 && markdown.len() > 900_000, "{}", markdown.len());
    assert!(markdown.contains("findings are not in this table**"));
    assert!(markdown.contains("findings have no details here**"));
    let github = written("github", &report, &Style::default());
    assert!(github.contains("GitHub shows 10 errors"));
    for format in ["text", "csv"] {
        assert!(written(format, &report, &Style::default()).len() > 25_500 * 100, "{format}");
    }
}

/// A disk with room for so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 && !bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_in_every_format() {
    let style = Style { verbose: true, coverage: true, ..Style::default() };
    let report = report();
    for format in names() {
        let size = written(format, &report, &style).len();
        for room in (0..size).step_by(97).chain([size - 1]) {
            let error = Format::named(format).unwrap().write(&report, &style, &mut Full(room)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{format} {room}");
        }
    }
}

#[test]
fn formats_are_listed_once() {
    let all: Vec<&str> = names().collect();
    let mut once = all.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), all.len());
    assert!(FORMATS.iter().all(|format| !format.help.is_empty()));
    assert!(Format::named("yaml").is_none());
}
