//! kill -9 at random instants while 16 writers append: what was acknowledged is there, heads do not contradict each
//! other, and the log verifies each time. `CLAVIGER_KILLS` sets how often (60 by default, 300 in CI).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Rng, key};
use claviger_audit::files::{Directory, Files};
use claviger_audit::log::{Log, Options, Publish, Stamp};
use claviger_audit::reader::Reader;
use claviger_audit::tree::{Edge, Hash, leaf_hash};
use claviger_audit::verify::{Options as Verify, verify};

const CHILD: &str = "CLAVIGER_KILL_CHILD";

fn options() -> Options {
    Options {
        publish: Publish::Every(Duration::from_millis(7)),
        stamp: Stamp::Nothing,
        segment_bytes: 30_000,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Log {
    let files = || Arc::new(Directory::new(dir));
    if dir.join("log.json").exists() {
        Log::open(files(), vec![key()], options()).unwrap()
    } else {
        Log::create(files(), key(), options()).unwrap()
    }
}

/// The process that is killed: appends for ever, and says what was acknowledged.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let log = open(Path::new(&dir));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let log = &log;
            scope.spawn(move || {
                for n in 0.. {
                    let done =
                        log.append(format!("{thread} {n} {}", "x".repeat(n % 300)).into_bytes()).unwrap();
                    let head = done.head().checkpoint();
                    let leaf = leaf_hash(done.entry());
                    let line = format!("ack {} {leaf} {} {}\n", done.index(), head.size, head.root);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[derive(Default)]
struct Told {
    leaves: BTreeMap<u64, String>,
    roots: BTreeMap<u64, String>,
}

fn run_and_kill(dir: &Path, after: Duration, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in out.split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).into_owned();
                let words: Vec<&str> = text.split(' ').collect();
                // The last line may be cut, and the test runner says things, too.
                let ["ack", index, leaf, size, root] = words[..] else { continue };
                if root.len() == 44 {
                    let before = told.leaves.insert(index.parse().unwrap(), leaf.to_owned());
                    assert_eq!(before, None, "index {index} was given twice");
                    let before = told.roots.insert(size.parse().unwrap(), root.to_owned());
                    assert!(before.is_none_or(|before| before == root), "two heads of size {size}");
                }
            }
        });
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

/// A log is verified whole after each kill: many kills are spread over several logs, or most time would go into that.
const KILLS_A_LOG: usize = 100;

#[test]
fn nothing_acknowledged_is_lost() {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let default = if is_ci { 300 } else { 60 };
    let kills = std::env::var("CLAVIGER_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (mut rng, mut left) = (Rng(99), kills);
    while left > 0 {
        let now = left.min(KILLS_A_LOG);
        one_log(now, &mut rng);
        left -= now;
    }
}

fn one_log(kills: usize, rng: &mut Rng) {
    let dir = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(Directory::new(dir.path()));
    let mut told = Told::default();
    for _ in 0..kills {
        run_and_kill(dir.path(), Duration::from_millis(15 + rng.below(60)), &mut told);
        open(dir.path()).close().unwrap();
        verify(&files, &Verify { keys: vec![key().verifying_key().clone()], ..Verify::default() }).unwrap();
    }
    let reader = Reader::open(files, &[]).unwrap();
    let mut edge = Edge::default();
    for number in 0..reader.bundles() {
        for (index, entry) in reader.bundle(number).unwrap().entries() {
            let leaf = leaf_hash(entry);
            edge.push_hash(leaf);
            edge.trim();
            assert!(told.leaves.remove(&index).is_none_or(|told| told == leaf.to_string()), "entry {index}");
            let root = |root: Hash| root.to_string();
            assert!(
                told.roots.get(&edge.size()).is_none_or(|told| *told == root(edge.root())),
                "head {index}"
            );
        }
    }
    assert!(told.leaves.is_empty(), "acknowledged and gone: {:?}", told.leaves.keys());
    assert!(told.roots.len() > kills, "the writers hardly ran");
}
