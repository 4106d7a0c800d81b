//! The table of `README.md`: what a scan costs beside the floor, ripgrep and other scanners on the PATH.
//!
//! ```sh
//! cargo bench -p claviger-tests --bench scan            # everything
//! cargo bench -p claviger-tests --bench scan -- staged  # cases whose name holds a word
//! ```
//!
//! Builds its inputs anew each time, the same ones: a tree out of the crates that this workspace was built from, and
//! repositories written by `git fast-import`. Times are the best of several runs, taken in turn with what they are
//! compared to: wall time and processor time, which Linux counts in hundredths of a second. Memory is the peak resident
//! set that Linux reports. Nothing here asserts.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use claviger_tests::{Folder, Repo, git_command, noise};

/// Bytes of the source tree.
const TREE: u64 = 50_000_000;
/// Commits of the long history.
const COMMITS: usize = 30_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    println!("| case | claviger | memory | beside it |");
    println!("| --- | --- | --- | --- |");
    for (name, case) in [
        ("start", start as fn()),
        ("staged", staged),
        ("tree", tree),
        ("rules", rules),
        ("huge file", huge_file),
        ("history", history),
    ] {
        if wanted(name) {
            case();
        }
    }
}

fn start() {
    let folder = Folder::new();
    let ours = best(20, || run(&mut claviger(folder.path(), &["scan"])));
    row("start to exit, empty folder", &ours, &[]);
}

fn staged() {
    let repo = Repo::new();
    for i in 0..5000 {
        repo.write(
            &format!("src/d{}/f{i}.rs", i % 50),
            format!("// file {i}\n{}\n", noise(&i.to_string(), 400)),
        );
    }
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "base"]);
    for i in 0..10 {
        repo.write(
            &format!("src/d{i}/f{i}.rs"),
            format!("// changed\n{}\n", noise(&format!("new {i}"), 4000)),
        );
    }
    repo.git(&["add", "-A"]);
    let ours = best(20, || run(&mut claviger(repo.path(), &["scan", "--staged"])));
    let diff = best(20, || run(&mut git_command(repo.path(), &["diff", "--cached", "--quiet"])));
    let mut others = vec![("git diff --cached".to_owned(), diff)];
    if found("gitleaks") {
        let args = ["git", "--pre-commit", "--staged", "--no-banner", "."];
        others.push(("gitleaks".into(), best(5, || run(&mut quiet("gitleaks", repo.path(), &args)))));
    }
    row("`--staged`, 10 changed files of 5,000", &ours, &others);
}

/// Copies crates' sources until there are [`TREE`] bytes. `None` where no registry is.
fn crates(into: &Path) -> Option<(u64, u64)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    let registry = fs::read_dir(home.join("registry/src")).ok()?.flatten().next()?.path();
    let mut names: Vec<PathBuf> = fs::read_dir(registry).ok()?.flatten().map(|e| e.path()).collect();
    names.sort();
    let (mut files, mut bytes) = (0, 0);
    for from in names {
        copy(&from, &into.join(from.file_name()?), &mut files, &mut bytes);
        if bytes >= TREE {
            break;
        }
    }
    Some((files, bytes))
}

fn copy(from: &Path, to: &Path, files: &mut u64, bytes: &mut u64) {
    let Ok(list) = fs::read_dir(from) else { return };
    let _ = fs::create_dir_all(to);
    for entry in list.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &target, files, bytes);
        } else if kind.is_file() {
            *bytes += fs::copy(entry.path(), target).unwrap_or(0);
            *files += 1;
        }
    }
}

fn tree() {
    let folder = Folder::new();
    let Some((files, bytes)) = crates(folder.path()) else {
        println!("| tree | no crate sources on this machine | | |");
        return;
    };
    let path = folder.path();
    let ours = || run(&mut claviger(path, &["scan", "--no-gitignore", "--threads", "2"]));
    let rg = || run(&mut quiet("rg", path, &["--no-ignore", "--hidden", "-j2", "-c", "password", "."]));
    let (mut a, mut b) = (ours(), rg());
    for _ in 0..9 {
        a = a.min(ours());
        b = b.min(rg());
    }
    let mut others = Vec::new();
    if found("rg") {
        others.push(("rg -c".to_owned(), b));
    }
    let report = path.join("../ignored.json").display().to_string();
    for (name, args) in [
        ("betterleaks", vec!["filesystem", "."]),
        ("gitleaks", vec!["dir", "--no-banner", "."]),
        (
            "kingfisher",
            vec![
                "scan",
                "--no-validate",
                "--no-update-check",
                "--git-history",
                "none",
                "-q",
                "--format",
                "json",
                "--output",
                &report,
                ".",
            ],
        ),
    ] {
        if found(name) {
            others.push((name.into(), best(2, || run(&mut quiet(name, path, &args)))));
        }
    }
    row(&format!("{} MB of sources, {files} files, 2 threads", bytes / 1_000_000), &a, &others);
}

/// The same tree with ten times the rules.
fn rules() {
    let folder = Folder::new();
    if crates(&folder.path().join("tree")).is_none() {
        return;
    }
    for (name, count) in [("150", 150), ("1500", 1500)] {
        let mut text = String::from("provider: Synthetic\nrules:\n");
        for i in 0..count {
            let anchor = noise(&format!("anchor {i}"), 6).to_lowercase();
            text.push_str(&format!(
                "  - {{id: s-{i}, name: S, description: S, kind: token, severity: low, confidence: low, anchors: [\"{anchor}\"], \
                 pattern: '{anchor}_[0-9A-Za-z]{{20,40}}', remediation: none, examples: {{match: [a, b], miss: [c, d]}}}}\n"
            ));
        }
        folder.write(&format!("{name}.yaml"), text);
    }
    let with = |file: &str| {
        let rules = folder.path().join(file).display().to_string();
        run(&mut claviger(
            folder.path(),
            &["scan", "--no-builtin-rules", "--rules", &rules, "--threads", "2", "tree"],
        ))
    };
    let (mut few, mut many) = (with("150.yaml"), with("1500.yaml"));
    for _ in 0..4 {
        few = few.min(with("150.yaml"));
        many = many.min(with("1500.yaml"));
    }
    row("the same tree, 1,500 synthetic rules", &many, &[("150 rules".into(), few)]);
}

fn huge_file() {
    let folder = Folder::new();
    let file = fs::File::create(folder.path().join("big.log")).expect("a file can be made");
    let mut out = BufWriter::new(file);
    let lines: Vec<String> =
        (0..1000).map(|i| format!("{} {}\n", noise(&i.to_string(), 60), "word ".repeat(10))).collect();
    let block = lines.concat();
    for _ in 0..(1_000_000_000 / block.len()) {
        out.write_all(block.as_bytes()).expect("space for 1 GB");
    }
    drop(out);
    let ours = best(2, || run(&mut claviger(folder.path(), &["scan"])));
    row("one file of 1 GB", &ours, &[]);
}

fn history() {
    let repo = Repo::new();
    repo.import(COMMITS);
    repo.git(&["gc", "-q"]);
    repo.git(&["reset", "-q", "--hard"]);
    let ours = best(2, || run(&mut claviger(repo.path(), &["scan", "--history-only"])));
    let git_args = ["cat-file", "--batch-all-objects", "--batch", "--buffer"];
    let mut others =
        vec![("git cat-file --batch".to_owned(), best(2, || run(&mut git_command(repo.path(), &git_args))))];
    let report = repo.outside().join("ignored.json").display().to_string();
    for (name, args) in [
        ("betterleaks", vec!["git", "."]),
        ("gitleaks", vec!["git", "--no-banner", "."]),
        (
            "kingfisher",
            vec![
                "scan",
                "--no-validate",
                "--no-update-check",
                "-q",
                "--format",
                "json",
                "--output",
                &report,
                ".",
            ],
        ),
    ] {
        if found(name) {
            others.push((name.into(), run(&mut quiet(name, repo.path(), &args))));
        }
    }
    row(&format!("whole history, {COMMITS} commits"), &ours, &others);
}

/// Time and peak memory of a run.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    /// Processor time, user and system.
    cpu: Duration,
    /// KiB; 0 where the system does not say.
    peak: u64,
    /// Whether it ended as scans end: with nothing, or with findings.
    ended: bool,
}

/// Statuses of scanners that found nothing or something; anything else is a run that failed.
const ENDS: [i32; 5] = [0, 1, 183, 200, 205];

impl Cost {
    fn min(self, other: Cost) -> Cost {
        Cost {
            time: self.time.min(other.time),
            cpu: self.cpu.min(other.cpu),
            peak: self.peak.max(other.peak),
            ended: self.ended && other.ended,
        }
    }
}

fn claviger(folder: &Path, args: &[&str]) -> Command {
    let binary = claviger_tests::binary();
    let mut command = Command::new(binary);
    command.args(args).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn quiet(name: &str, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn found(name: &str) -> bool {
    Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn run(command: &mut Command) -> Cost {
    let (start, before) = (Instant::now(), children());
    command.stdout(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return Cost { time: Duration::ZERO, cpu: Duration::ZERO, peak: 0, ended: false };
    };
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
            peak = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak).max(peak);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let ended = status.code().is_some_and(|code| ENDS.contains(&code));
            return Cost { time: start.elapsed(), cpu: children().saturating_sub(before), peak, ended };
        }
        // Short beside what is measured, and rare beside its work.
        std::thread::sleep(Duration::from_micros(if start.elapsed().as_millis() < 100 { 200 } else { 5000 }));
    }
}

/// Processor time of all children that ended.
fn children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: the 14th and 15th field there are the children's user and system time.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn best(times: usize, mut case: impl FnMut() -> Cost) -> Cost {
    let first = case();
    (1..times).fold(first, |best, _| best.min(case()))
}

fn row(name: &str, ours: &Cost, others: &[(String, Cost)]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let times = |cost: &Cost| format!("{:.1} ms ({:.0} ms of processor time)", ms(cost.time), ms(cost.cpu));
    let text: Vec<String> = others
        .iter()
        .map(|(name, cost)| {
            if !cost.ended {
                return format!("{name}: failed");
            }
            let ratio = ms(cost.time) / ms(ours.time);
            format!("{name}: {}, {ratio:.2} times ours, {} MB", times(cost), cost.peak / 1024)
        })
        .collect();
    println!("| {name} | {} | {} MB | {} |", times(ours), ours.peak / 1024, text.join("; "));
}
