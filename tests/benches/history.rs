//! What the scan of a whole history costs beside the floor, git and other scanners on the PATH.
//!
//! ```sh
//! cargo bench -p claviger-tests --bench history                 # repositories made for it: growth 1, 2, 4, 8 times
//! cargo bench -p claviger-tests --bench history -- PATH...      # real ones
//! ```
//!
//! The floor inflates every entry of the packs once and does nothing else. Times are the best of several runs, taken in
//! turn; memory is the peak resident set that Linux reports, to which the mapped pack counts. Nothing here asserts.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use claviger_scanner::source::git::{Repository, inflate_all};
use claviger_tests::{Repo, git_command};

/// Commits of the smallest repository.
const COMMITS: usize = 5_000;
/// Runs of each case.
const RUNS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    // The floor is measured in a process of its own, as everything else.
    if let [flag, path] = args.as_slice()
        && flag == "--floor"
    {
        return floor(Path::new(path));
    }
    println!(
        "| repository | floor, 1 and 2 threads | claviger, 1 and 2 threads | ratio | memory | beside it |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let paths: Vec<PathBuf> = args.into_iter().map(PathBuf::from).collect();
    if paths.is_empty() {
        for times in [1, 2, 4, 8] {
            let repo = Repo::new();
            repo.import(COMMITS * times);
            pack(&repo);
            row(&format!("made, {} commits", COMMITS * times), repo.path(), times == 8);
        }
    }
    for path in paths {
        row(&path.display().to_string(), &path, true);
    }
}

fn floor(path: &Path) {
    let repo = Repository::discover(path).ok().flatten().expect("a repository");
    let start = Instant::now();
    inflate_all(&repo);
    println!("{}", start.elapsed().as_nanos());
}

/// The floor as a process of so many threads measures it.
fn floor_of(path: &Path, threads: usize) -> Duration {
    let own = std::env::current_exe().expect("the bench has a path");
    let run = || {
        let output = Command::new(&own)
            .arg("--floor")
            .arg(path)
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
        Duration::from_nanos(text.parse().unwrap_or(0))
    };
    (0..RUNS).map(|_| run()).min().unwrap_or_default()
}

fn row(name: &str, path: &Path, peers: bool) {
    let ours = |threads: &'static str, more: &[&str], runs: usize| {
        let args =
            [&["scan", "--history-only", "--quiet", "--exit-zero", "--threads", threads], more].concat();
        best(runs, || run(Command::new(claviger_tests::binary()).args(&args).current_dir(path)))
    };
    let floors = [floor_of(path, 1), floor_of(path, 2)];
    let (one, two) = (ours("1", &[], RUNS), ours("2", &[], RUNS));
    let mut others = Vec::new();
    if peers {
        others.push(("object by object".to_owned(), ours("2", &["--plain-history"], 1)));
        let args = ["cat-file", "--batch-all-objects", "--batch", "--buffer"];
        others.push(("git cat-file --batch".to_owned(), best(2, || run(&mut git_command(path, &args)))));
        let report = std::env::temp_dir().join("claviger-bench-ignored.json").display().to_string();
        for (name, args) in [
            ("betterleaks", vec!["git", "--no-banner", "."]),
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
                others.push((name.into(), run(Command::new(name).args(&args).current_dir(path))));
            }
        }
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let beside: Vec<String> = others
        .iter()
        .map(|(name, cost)| {
            format!("{name}: {:.0} ms ({:.1} times ours)", ms(cost.time), ms(cost.time) / ms(two.time))
        })
        .collect();
    println!(
        "| {name}, {} MB of packs | {:.0} and {:.0} ms | {:.0} and {:.0} ms ({:.2} times faster) | {:.2} and {:.2} | {} MB | {} |",
        packed(path) / 1_000_000,
        ms(floors[0]),
        ms(floors[1]),
        ms(one.time),
        ms(two.time),
        ms(one.time) / ms(two.time),
        ms(one.time) / ms(floors[0]),
        ms(two.time) / ms(floors[1]),
        two.peak / 1024,
        beside.join("; "),
    );
}

fn packed(path: &Path) -> u64 {
    let folder = [path.join(".git/objects/pack"), path.join("objects/pack")].into_iter().find(|f| f.is_dir());
    let list = folder.and_then(|f| fs::read_dir(f).ok()).into_iter().flatten().flatten();
    list.filter(|e| e.path().extension().is_some_and(|x| x == "pack"))
        .filter_map(|e| e.metadata().ok())
        .map(|m| m.len())
        .sum()
}

/// Packs as a server packs.
fn pack(repo: &Repo) {
    // fast-import hardly makes deltas; without `-f` a repack would keep what it made.
    repo.git(&["repack", "-q", "-a", "-d", "-f"]);
    repo.git(&["pack-refs", "--all"]);
}

/// Time and peak memory of a run.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    /// KiB; 0 where the system does not say.
    peak: u64,
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
    let start = Instant::now();
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return Cost { time: Duration::ZERO, peak: 0 };
    };
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
            peak = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak).max(peak);
        }
        if child.try_wait().is_ok_and(|s| s.is_some()) {
            return Cost { time: start.elapsed(), peak };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn best(times: usize, mut case: impl FnMut() -> Cost) -> Cost {
    let first = case();
    (1..times).fold(first, |best, _| {
        let next = case();
        Cost { time: best.time.min(next.time), peak: best.peak.max(next.peak) }
    })
}
