//! The report that every format is tested with: one with everything nasty in it.

use super::{Allowed, AllowedBy, Report};
use crate::coverage::{Coverage, Reason};
use crate::finding::{CommitInfo, Finding, Place, PlaceKind};
use crate::fingerprint::Fingerprinter;
use crate::path::RepoPath;
use crate::rule::{Boundary, Checks, Confidence, Kind, List, Rule, Severity};
use crate::secret::Secret;

/// A value of no known format, made here so that it stands in no file.
pub(super) fn secret(n: u32) -> String {
    let body: String =
        (0..36_u32).map(|i| char::from(b"kQ7xW2mZ9"[((i * i + 5 * i + n * 7) % 9) as usize])).collect();
    format!("tk{n}.{body}")
}

fn rule(id: &'static str, name: &'static str, severity: Severity) -> Rule {
    Rule {
        id: id.into(),
        name: name.into(),
        description: "Acts as its owner.".into(),
        provider: "Acme".into(),
        kind: Kind::Token,
        severity,
        confidence: Confidence::High,
        anchors: List::default(),
        anchors_ignore_case: false,
        starts_with_anchor: true,
        run: None,
        pattern: "".into(),
        boundary: Boundary::Word,
        reach: 64,
        multiline: false,
        files: List::default(),
        checks: Checks {
            entropy: None,
            digits: 0,
            classes: 0,
            checksum: None,
            decode: None,
            not: List::default(),
            not_line: List::default(),
            near: None,
            placeholder: true,
            value: None,
        },
        remediation:
            "Revoke the token in the settings of Acme,\nlook for what it was used for,\nand issue a new one \
                      that expires."
                .into(),
        rotate: "https://acme.example/settings/tokens?tab=all".into(),
        docs: "https://acme.example/docs/tokens".into(),
        replace: "acme".into(),
        examples_match: List::default(),
        examples_miss: List::default(),
    }
}

fn commit(digit: char, time: i64, author: &str) -> CommitInfo {
    CommitInfo {
        time,
        id: digit.to_string().repeat(40),
        author: author.to_owned(),
        email: "ada@example.org".to_owned(),
        summary: format!("add {} to the code", secret(1)),
    }
}

fn place(kind: PlaceKind, path: &[u8], line: u32, excerpt: &str) -> Place {
    Place {
        kind,
        target: ".".to_owned(),
        path: RepoPath::new(path),
        span: 120..160,
        line,
        column: 9,
        end_line: line,
        end_column: 49,
        excerpt: excerpt.to_owned(),
        object: None,
        introduced: None,
        removed: None,
        in_head: false,
        branches: Vec::new(),
        tags: Vec::new(),
        shallow: false,
        allow: None,
    }
}

fn finding(n: u32, rule: Rule, places: Vec<Place>) -> Finding {
    let secret = Secret::new(secret(n).as_bytes());
    Finding {
        fingerprint: Fingerprinter::keyed(&[7; 32]).unwrap().fingerprint(&rule.id, &secret),
        rule,
        secret,
        confidence: Confidence::High,
        notes: vec!["the checksum is right".to_owned()],
        details: vec![
            ("alg", "HS256 ::add-mask::x".to_owned()),
            ("expires", "2031-01-01 (in 4 years)".to_owned()),
        ],
        places,
    }
}

/// On disk, in HEAD, and at three more places.
pub(super) fn current() -> Finding {
    let excerpt = "api_key = \"tk1.…(40)\"  # ##vso[task.setvariable variable=x]y";
    let mut blob = place(PlaceKind::Blob, b"src/app.py", 12, excerpt);
    blob.object = Some("b".repeat(40));
    blob.introduced = Some(commit('3', 1_714_567_890, "Ada Lovelace"));
    blob.in_head = true;
    blob.branches = vec!["dev".into(), "main".into(), "rel/1".into(), "rel/2".into(), "rel/3".into()];
    blob.tags = vec!["v1.0".into()];
    let mut old = blob.clone();
    old.path = RepoPath::new(*b"old/app.py");
    old.line = 7;
    let places = vec![
        place(PlaceKind::File, b"src/app.py", 12, excerpt),
        blob,
        old,
        place(PlaceKind::GitConfig, b".git/config", 3, "url = https://x:tk1.…(40)@acme.example"),
    ];
    finding(1, rule("acme-token", "Acme access token", Severity::Critical), places)
}

/// Only in history, at a path that tries everything.
fn gone() -> Finding {
    let nasty = b"=dir/\x1b[31mred\r\n::error::x|`<b>\xff,\"%0A.txt";
    let mut at = place(PlaceKind::Blob, nasty, 1, "=HYPERLINK(\"x\") | `<script>` & tk2.…(40) ]]> ::set-env");
    at.object = Some("c".repeat(40));
    at.introduced = Some(commit('4', 1_600_000_000, "Bob <b>|`@octocat` #1"));
    at.removed = Some(commit('5', 1_650_000_000, "Carol"));
    at.end_line = 3;
    at.end_column = 4;
    finding(2, rule("acme-hook", "Acme web hook", Severity::Low), vec![at])
}

/// In a commit's message and its author line, and in a tag's message.
fn message() -> Finding {
    let mut at = place(PlaceKind::CommitMessage, b"", 5, "deploy with tk3.…(40)");
    at.object = Some("6".repeat(40));
    at.introduced = Some(commit('6', 1_700_000_000, &format!("dave {}", secret(3))));
    let mut tag = place(PlaceKind::TagMessage, b"", 4, "tk3.…(40)");
    tag.object = Some("7".repeat(40));
    finding(3, rule("acme-deploy-key", "Acme deploy key", Severity::High), vec![at, tag])
}

/// The name of a file.
fn name() -> Finding {
    let path = format!("keys/{}.pem", secret(4));
    let mut at = place(PlaceKind::PathName, path.as_bytes(), 1, "tk4.…(40).pem");
    at.column = 1;
    finding(4, rule("acme-token", "Acme access token", Severity::Critical), vec![at])
}

fn read(files: u64, bytes: u64) -> Coverage {
    let mut coverage = Coverage::default();
    coverage.files = files;
    coverage.bytes = bytes;
    coverage
}

pub(super) fn report() -> Report {
    let mut coverage = read(12, 12_345_678);
    coverage.blobs = 3_400;
    coverage.commits = 25;
    coverage.trees = 9;
    coverage.skip(Reason::Unreadable, b"etc/\x1b]0;title\x07shadow", "Permission denied");
    coverage.skip(Reason::Unreadable, format!("keys/{}.pem", secret(4)).as_bytes(), "Permission denied");
    coverage.skip(Reason::Corrupt, "d".repeat(40).as_bytes(), "checksum mismatch");
    coverage.skip(Reason::Gitignored, b"target", "");
    let marked = finding(
        5,
        rule("acme-token", "Acme access token", Severity::Critical),
        vec![place(PlaceKind::Staged, b"tests/data.txt", 2, "key: tk5.…(40)")],
    );
    let known = finding(
        6,
        rule("acme-hook", "Acme web hook", Severity::Low),
        vec![place(PlaceKind::File, b"docs/old.md", 40, "hook tk6.…(40)")],
    );
    let inline = AllowedBy::Inline { marker: "claviger:allow", reason: "a | made-up <b>key</b>".into() };
    Report {
        version: "1.2.3",
        rules: 150,
        rules_digest: "0123abcd".to_owned(),
        targets: vec![".".to_owned()],
        findings: vec![current(), gone(), message(), name()],
        allowed: vec![
            Allowed { finding: marked, by: inline, added_by_change: true },
            Allowed { finding: known, by: AllowedBy::Baseline, added_by_change: false },
        ],
        hidden: 2,
        notices: vec!["ignore file, line 4: matches nothing \u{202e}any more\u{1b}[0m".to_owned()],
        coverage,
        interrupted: false,
        started: 1_790_000_000,
        finished: 1_790_000_007,
    }
}

pub(super) fn clean() -> Report {
    let coverage = read(1, 10);
    Report { findings: Vec::new(), allowed: Vec::new(), hidden: 0, notices: Vec::new(), coverage, ..report() }
}
