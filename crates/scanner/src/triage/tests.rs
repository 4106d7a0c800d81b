//! Triage as a whole.

use std::fmt::Write as _;

use super::baseline::Baseline;
use super::ignore_file::{IgnoreFile, entry_for};
use super::*;
use crate::finding::{InlineAllow, PlaceKind};
use crate::fingerprint::Fingerprinter;
use crate::path::RepoPath;
use crate::rule::{Confidence, RuleSet};
use crate::secret::Secret;

/// A finding of a rule at one path.
pub(super) fn finding(rule: &str, secret: &str, path: &str) -> Finding {
    finding_at(rule, secret, &[path])
}

/// A finding at several paths; without any, in a message.
pub(super) fn finding_at(rule: &str, secret: &str, paths: &[&str]) -> Finding {
    let secret = Secret::new(secret.as_bytes());
    let mut definition = RuleSet::builtin().rules()[0].clone();
    definition.id = rule.to_owned().into();
    let place = |path: &&str| Place {
        kind: if path.is_empty() { PlaceKind::CommitMessage } else { PlaceKind::File },
        target: ".".to_owned(),
        path: RepoPath::new(path.as_bytes()),
        span: 0..1,
        line: 1,
        column: 1,
        end_line: 1,
        end_column: 2,
        excerpt: String::new(),
        object: None,
        introduced: None,
        removed: None,
        in_head: false,
        branches: Vec::new(),
        tags: Vec::new(),
        shallow: false,
        allow: None,
    };
    let paths = if paths.is_empty() { &[""] } else { paths };
    Finding {
        // Keyed, because it is quick.
        fingerprint: Fingerprinter::keyed(&[1; 16]).unwrap().fingerprint(rule, &secret),
        rule: definition,
        secret,
        confidence: Confidence::High,
        notes: Vec::new(),
        details: Vec::new(),
        places: paths.iter().map(place).collect(),
    }
}

fn triage(ignore: &str) -> Triage<'static> {
    Triage {
        ignore: Some(IgnoreFile::parse(ignore, Path::new("ig")).unwrap()),
        baseline: None,
        key: Some(&[1; 16]),
        today: jiff::civil::date(2026, 6, 1),
        is_change: false,
        is_whole: true,
        unshown: None,
    }
}

/// One line for each part: what allows it, and its paths; then the notices.
fn check(findings: Vec<Finding>, triage: &Triage<'_>, want: &[&str]) {
    let paths = |f: &Finding| f.places.iter().map(|p| p.path.to_string()).collect::<Vec<_>>().join(" ");
    let result = apply(findings, triage).unwrap();
    let mut lines: Vec<String> = result.findings.iter().map(|f| format!("open {}", paths(f))).collect();
    for Allowed { finding, by, added_by_change } in &result.allowed {
        let mut line = format!("{} {}", by.as_str(), paths(finding));
        match by {
            AllowedBy::Inline { marker, reason } => write!(line, " | {marker} {reason}").unwrap(),
            AllowedBy::IgnoreFile { line: at, reason } => write!(line, " | {at} {reason}").unwrap(),
            AllowedBy::Baseline => {}
        }
        lines.push(if *added_by_change { format!("{line} added") } else { line });
    }
    lines.extend(result.notices);
    assert_eq!(lines, want);
}

fn allow(finding: &mut Finding, place: usize, reason: &str) {
    finding.places[place].allow = Some(InlineAllow { marker: "claviger:allow", reason: reason.to_owned() });
}

#[test]
fn inline_markers_allow_places() {
    let mut one = finding_at("x", "hunter2", &["a", "b", "c", "d"]);
    allow(&mut one, 0, "r");
    allow(&mut one, 1, "");
    allow(&mut one, 3, "r");
    let want = ["open c", "inline a d | claviger:allow r added", "inline b | claviger:allow  added"];
    check(vec![one], &Triage { is_change: true, ..triage("") }, &want);
}

#[test]
fn entries_allow_a_value_where_their_glob_matches() {
    let all = || vec![finding_at("x", "hunter2", &["a/b", "c"]), finding("x", "hunter3", "a/b")];
    let f = all()[0].fingerprint.to_string();
    check(all(), &triage(&format!("{f} x a -- why")), &["open a/b", "open c", "ignore-file a/b | 1 why"]);
    check(
        all(),
        &triage(&format!("{f} * * -- any\n{f} x /c -- why")),
        &["open a/b", "ignore-file a/b c | 1 any"],
    );
    check(
        all(),
        &triage(&format!("{f} x a -- why\n{f} x c -- too")),
        &["open a/b", "ignore-file a/b | 1 why", "ignore-file c | 2 too"],
    );
}

#[test]
fn expired_stale_and_mistaken_entries_are_told() {
    let all = || vec![finding("x", "hunter2", "a")];
    let f = all()[0].fingerprint.to_string();
    let gone = finding("x", "gone", "a").fingerprint.to_string();
    let salted = "s1:0123456789abcdef01234567";
    let text = format!(
        "{f} x a expires=2026-05-31 -- old\n{f} y a -- other rule\n{f} x b -- other path\n{gone} * * -- gone\n\
         {salted} * * -- salted"
    );
    let want = [
        "open a",
        "ig:1: expired after 2026-05-31 and allows nothing; renew or remove it",
        "ig:2: allows nothing: its fingerprint is of another rule's finding",
        "ig:3: allows nothing: the secret is now at paths its glob does not match",
        "ig:4: matches no finding any more; remove it",
        "ig: 1 entries were made without a key and one is in use: they match nothing",
    ];
    check(all(), &triage(&text), &want);
    check(all(), &Triage { is_whole: false, ..triage(&text) }, &[want[0], want[1], want[2], want[5]]);
    check(all(), &triage(&format!("{f} x a expires=2026-06-01 -- today")), &["ignore-file a | 1 today"]);
}

#[test]
fn an_entry_beside_a_marker_is_not_stale() {
    let mut one = finding("x", "hunter2", "a");
    allow(&mut one, 0, "");
    let text = format!("{} x a -- why", one.fingerprint);
    check(vec![one], &triage(&text), &["inline a | claviger:allow "]);
}

#[test]
fn the_pasted_entry_allows_its_finding() {
    for paths in [&["a"][..], &["a", "b"], &[], &["d/[id] \"x\"\n\\*.ts"], &["\u{202e}", "a"]] {
        let text = entry_for(&finding_at("x", "hunter2", paths));
        let result = apply(vec![finding_at("x", "hunter2", paths)], &triage(&text)).unwrap();
        assert!(result.findings.is_empty() && result.notices.is_empty(), "{text}");
    }
    assert!(entry_for(&finding("x", "hunter2", "a")).ends_with(" x /a -- no reason given"));
    assert!(entry_for(&finding("x", "hunter2", "a/hunter2")).ends_with(" x * -- no reason given"));
}

#[test]
fn a_baseline_comes_last_and_knows_by_value() {
    let mut all = vec![finding_at("x", "hunter2", &["a", "b"]), finding("x", "new", "a")];
    let known = [finding("x", "hunter2", "old"), finding("x", "gone", "old")];
    allow(&mut all[0], 0, "r");
    let baseline = Some(Baseline::of(&known, None).unwrap());
    check(
        all,
        &Triage { baseline, ..triage("") },
        &[
            "open a",
            "inline a | claviger:allow r",
            "baseline b",
            ": 1 of its 2 findings are gone; --write-baseline writes it without them",
        ],
    );
    let baseline = Some(Baseline::of(&known, Some(&[2; 16])).unwrap());
    let error = apply(vec![], &Triage { baseline, ..triage("") }).unwrap_err();
    assert!(matches!(error, TriageError::KeyOther { .. }));
}

#[test]
fn many_notices_are_shortened() {
    let line = |n: u32| format!("k1:{n:024x} x * -- why\n");
    let result = apply(vec![], &triage(&(0..50).map(line).collect::<String>())).unwrap();
    assert_eq!(result.notices.len(), MAX_NOTICES + 1);
    assert_eq!(result.notices[MAX_NOTICES], "and 30 more entries match nothing");
}

#[test]
fn many_entries_for_one_secret_are_asked_together() {
    let paths: Vec<String> = (0..3000).map(|n| format!("d{n}/a.txt")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let one = finding_at("x", "hunter2", &paths);
    let text: String = (0..3000).map(|n| format!("{} x d{n}/*.txt -- why\n", one.fingerprint)).collect();
    let result = apply(vec![one], &triage(&text)).unwrap();
    assert_eq!((result.findings.len(), result.allowed.len(), result.notices.len()), (0, 3000, 0));
}

#[test]
fn the_key_is_not_printed() {
    let debug = format!("{:?}", triage(""));
    assert!(debug.contains("is_keyed: true") && !debug.contains("[1, 1"), "{debug}");
}
