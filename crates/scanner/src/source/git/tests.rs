//! The oracle: made-up repositories, read from their packs and object by object, must give the same report.
//!
//! Repositories grow by random edits out of the rules' own examples, written by `git fast-import`, with secrets cut,
//! joined, moved and copied at random places, and are packed in different ways. `CLAVIGER_ORACLE_CASES` sets how many
//! are tried, `CLAVIGER_ORACLE_SEED` where to begin: a failure names the seed of its repository.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{HistoryOptions, Repository, history};
use crate::engine::Engine;
use crate::rule::{RuleSet, fill};
use crate::scan::{Harvest, Monitor};

/// Repositories tried without being asked for more: some seconds.
const CASES: u64 = 24;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

const PATHS: &[&str] = &[
    "src/main.rs",
    "src/deep/er/lib.rs",
    "config/prod.env",
    "deploy/secret.yaml",
    "README.md",
    "tests/fixture.py",
    "web/app.min.js",
    "a.json",
    "b",
    "script.ps1",
    "home/.npmrc",
    "home/.docker/config.json",
    ".git-credentials",
    "locale/de.json",
];

/// Makes content out of lines of code and of the rules' examples.
struct Writer<'a> {
    random: Random,
    rules: &'a RuleSet,
    made: u64,
}

impl Writer<'_> {
    fn noise(&mut self) -> Vec<u8> {
        let words = ["let", "x", "=", "compute(", ");", "\"text\"", "kind: Secret", "data:", "//", "password", "token"];
        let mut line = Vec::new();
        line.extend(std::iter::repeat_n(b' ', self.random.below(6)));
        for _ in 0..self.random.below(12) {
            let word = *self.random.pick(&words);
            line.extend_from_slice(word.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(format!("{:x}", self.random.next()).as_bytes());
        line.push(b'\n');
        line
    }

    fn secret(&mut self) -> Vec<u8> {
        let rule = self.random.below(self.rules.rules().len());
        let rule = &self.rules.rules()[rule];
        let examples = if self.random.one_in(5) { &rule.examples_miss } else { &rule.examples_match };
        let template = self.random.pick(examples).clone();
        self.made += 1;
        // A few seeds only, so that the same secret comes again.
        let seed = format!("{}", self.random.below(6));
        fill(&template, &seed).expect("the rules' templates are good").into_bytes()
    }

    fn piece(&mut self) -> Vec<u8> {
        match self.random.below(14) {
            0..=4 => self.secret(),
            5 => [self.secret(), b" # claviger:allow\n".to_vec()].concat(),
            6 => [b"# claviger:allow\n".to_vec(), self.secret(), b"\n".to_vec()].concat(),
            7 => b"\n---\n".to_vec(),
            8 => b"\n".to_vec(),
            9 => b"\0".to_vec(),
            10 => b"var a=1;".repeat(self.random.below(900)),
            _ => self.noise(),
        }
    }

    fn file(&mut self) -> Vec<u8> {
        let lines = *self.random.pick(&[3, 30, 30, 120, 400]);
        let mut text = Vec::new();
        for _ in 0..self.random.below(lines) {
            if self.random.one_in(25) {
                text.extend(self.secret());
                text.push(b'\n');
            } else {
                text.extend(self.noise());
            }
        }
        if self.random.one_in(12) {
            text = String::from_utf8_lossy(&text).encode_utf16().flat_map(u16::to_le_bytes).collect();
            text.splice(0..0, [0xff, 0xfe]);
        }
        text
    }

    /// One change, anywhere: whether it falls between lines, into a secret or at an end is up to chance.
    fn edit(&mut self, text: &mut Vec<u8>) {
        let at = match self.random.below(8) {
            0 => 0,
            1 => text.len(),
            2..=4 => {
                let at = self.random.below(text.len() + 1);
                text[at..].iter().position(|b| *b == b'\n').map_or(text.len(), |i| at + i + 1)
            }
            _ => self.random.below(text.len() + 1),
        };
        let length = *self.random.pick(&[1, 4, 30, 200, 3000]);
        let end = (at + self.random.below(length) + 1).min(text.len());
        match self.random.below(8) {
            0..=3 => {
                let piece = self.piece();
                text.splice(at..at, piece);
            }
            4 => drop(text.drain(at..end)),
            5 => {
                let piece = self.piece();
                text.splice(at..end, piece);
            }
            6 => {
                let copy = text[at..end].to_vec();
                let to = self.random.below(text.len() + 1);
                text.splice(to..to, copy);
            }
            _ => {
                let moved: Vec<u8> = text.drain(at..end).collect();
                let to = self.random.below(text.len() + 1);
                text.splice(to..to, moved);
            }
        }
        if self.random.one_in(60) {
            *text = if text.contains(&b'\r') {
                text.iter().copied().filter(|b| *b != b'\r').collect()
            } else {
                text.split_inclusive(|b| *b == b'\n')
                    .flat_map(|line| match line.strip_suffix(b"\n") {
                        Some(line) => [line, b"\r\n"].concat(),
                        None => line.to_vec(),
                    })
                    .collect()
            };
        }
        text.truncate(200_000);
    }
}

fn git(folder: &Path, args: &[&str], input: &[u8]) {
    let mut child = Command::new("git")
        .args(["-c", "fastimport.unpackLimit=0", "-c", "transfer.unpackLimit=1"])
        .args(args)
        .current_dir(folder)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("git starts");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    assert!(child.wait().expect("git ends").success(), "git {args:?}");
}

type Tree = std::collections::BTreeMap<String, Vec<u8>>;

/// Commits on a few branches, each a change of one that was there; some merges.
fn script(writer: &mut Writer<'_>, commits: usize, round: usize, trees: &mut Vec<Tree>) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..commits {
        let mark = trees.len() + 1;
        let back = writer.random.below(trees.len().min(4));
        let parent = trees.len().checked_sub(1 + back);
        let mut tree = parent.map(|at| trees[at].clone()).unwrap_or_default();
        let merges: Vec<usize> = match writer.random.below(10) {
            0 if trees.len() > 6 => (0..1 + writer.random.below(3)).map(|_| writer.random.below(trees.len())).collect(),
            _ => Vec::new(),
        };
        for at in merges.iter().copied().filter(|at| Some(*at) != parent) {
            let other: Vec<(String, Vec<u8>)> = trees[at].clone().into_iter().collect();
            for (path, text) in other {
                tree.entry(path).or_insert(text);
            }
        }
        for _ in 0..1 + writer.random.below(3) {
            let path = (*writer.random.pick(PATHS)).to_owned();
            match writer.random.below(12) {
                0 => drop(tree.remove(&path)),
                1 => {
                    let to = (*writer.random.pick(PATHS)).to_owned();
                    if let Some(text) = tree.remove(&path) {
                        tree.insert(to, text);
                    }
                }
                2 => {
                    let text = writer.file();
                    tree.insert(path, text);
                }
                _ => {
                    let mut text = tree.remove(&path).unwrap_or_else(|| writer.file());
                    for _ in 0..1 + writer.random.below(3) {
                        writer.edit(&mut text);
                    }
                    tree.insert(path, text);
                }
            }
        }
        let branch = format!("refs/heads/b{}", writer.random.below(3));
        let message = if writer.random.one_in(20) { writer.secret() } else { b"change".to_vec() };
        let time = 1_600_000_000 + mark * 60 + writer.random.below(200);
        out.extend(format!("commit {branch}\nmark :{mark}\ncommitter A <a@example.org> {time} +0000\n").bytes());
        out.extend(format!("data {}\n", message.len()).bytes().chain(message).chain([b'\n']));
        let from = |at: usize| if at < round { format!("refs/keep/{}", at + 1) } else { format!(":{}", at + 1) };
        if let Some(parent) = parent {
            out.extend(format!("from {}\n", from(parent)).bytes());
        }
        for at in merges {
            out.extend(format!("merge {}\n", from(at)).bytes());
        }
        out.extend(b"deleteall\n");
        for (path, text) in &tree {
            out.extend(format!("M 100644 inline {path}\ndata {}\n", text.len()).bytes());
            out.extend(text.iter().copied().chain([b'\n']));
        }
        out.extend(format!("reset refs/keep/{mark}\nfrom :{mark}\n\n").bytes());
        trees.push(tree);
    }
    out
}

/// Everything of a report, as lines that can be compared.
fn dump(harvest: &Harvest, engine: &Engine) -> Vec<String> {
    let mut lines: Vec<String> = harvest
        .sightings
        .iter()
        .map(|s| {
            format!("{} {:?} {:?} {:?}", engine.rule(s.hit.rule).id, hex::encode(s.hit.secret.expose()), s.hit, s.place)
        })
        .collect();
    lines.sort();
    let c = &harvest.coverage;
    lines.push(format!("{} blobs, {} commits, {} trees, {} tags, {} bytes", c.blobs, c.commits, c.trees, c.tags, c.bytes));
    lines.push(format!("{:?}", c.skipped()));
    lines
}

/// Reads a repository both ways.
fn same(path: &Path, engine: &Engine, options: &HistoryOptions, name: &str) -> usize {
    let repo = Repository::open(path).expect("it can be read").expect("it is one");
    let read = |plain: bool| {
        let options = HistoryOptions { plain, ..options.clone() };
        let harvest = history(&repo, engine, &options, "t", &Monitor::default()).expect("it can be read");
        dump(&harvest, engine)
    };
    let (packed, plain) = (read(false), read(true));
    let missing: Vec<&String> = plain.iter().filter(|line| packed.binary_search(line).is_err() && !packed.contains(line)).collect();
    let extra: Vec<&String> = packed.iter().filter(|line| !plain.contains(line)).collect();
    assert!(packed == plain, "{name}: {}\nmissing {missing:#?}\nextra {extra:#?}", path.display());
    packed.len()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn packs_and_objects_give_the_same_report() {
    let engine = Engine::new(RuleSet::builtin()).expect("the rules are good");
    let first = number("CLAVIGER_ORACLE_SEED", 1);
    let mut lines = 0;
    for seed in first..first + number("CLAVIGER_ORACLE_CASES", CASES) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let sha256 = seed % 7 == 0;
        let format = if sha256 { "--object-format=sha256" } else { "--object-format=sha1" };
        git(path, &["init", "-q", "--bare", format, "-b", "b0"], b"");
        let rules = RuleSet::builtin();
        let mut writer = Writer { random: Random(seed), rules: &rules, made: 0 };
        let mut trees = Vec::new();
        let rounds = 1 + writer.random.below(3);
        for _ in 0..rounds {
            let before = trees.len();
            let script = script(&mut writer, 30, before, &mut trees);
            git(path, &["fast-import", "--quiet", "--force"], &script);
        }
        let (depth, window) = (*writer.random.pick(&[1, 5, 50, 500]), *writer.random.pick(&[2, 10, 60]));
        let (depth, window) = (format!("--depth={depth}"), format!("--window={window}"));
        match writer.random.below(4) {
            0 => {}
            1 => git(path, &["repack", "-q", "-a", "-d", "-f", &depth, &window], b""),
            2 => git(path, &["gc", "-q"], b""),
            _ => {
                git(path, &["repack", "-q", "-a", "-d", "-f", &depth, &window], b"");
                let more = script(&mut writer, 8, trees.len(), &mut trees);
                git(path, &["-c", "fastimport.unpackLimit=1000", "fast-import", "--quiet", "--force"], &more);
            }
        }
        let options = HistoryOptions {
            unreachable: writer.random.one_in(4),
            max_blob: writer.random.one_in(5).then_some(2000),
            now: 1_700_000_000,
            ..HistoryOptions::default()
        };
        lines += same(path, &engine, &options, &format!("CLAVIGER_ORACLE_SEED={seed}"));
    }
    assert!(lines > 1000 || std::env::var_os("CLAVIGER_ORACLE_CASES").is_some(), "the repositories hold nothing");
}
