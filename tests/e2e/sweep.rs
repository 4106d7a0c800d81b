//! `claviger sweep`: many repositories, again and again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use claviger_tests::{Folder, Ran, Repo, binary, claviger, claviger_with, git, line, token};
use serde_json::Value;

/// A repository below a folder.
fn repository(folder: &Folder, name: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(&path).expect("a folder can be made");
    git(&path, &["init", "-q", "-b", "main"]);
    path
}

fn commit(repository: &Path, file: &str, content: &str) -> String {
    let path = repository.join(file);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
    std::fs::write(path, content).expect("a file can be written");
    git(repository, &["add", "-A"]);
    git(repository, &["commit", "-q", "-m", "change"]);
    git(repository, &["rev-parse", "HEAD"])
}

fn sweep(folder: &Folder, args: &[&str]) -> Ran {
    claviger(folder.path(), &[&["sweep", "--format", "json", "--quiet"], args].concat())
}

fn count(ran: &Ran, name: &str) -> u64 {
    ran.json()["counts"][name].as_u64().unwrap_or_else(|| panic!("{name}: {}", ran.stdout))
}

fn counts(ran: &Ran, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| count(ran, name)).collect()
}

/// The status of a repository, by the end of its name.
fn status(ran: &Ran, name: &str) -> String {
    let report = ran.json();
    let all = report["repositories"].as_array().expect("a list");
    let one = all.iter().find(|one| one["name"].as_str().is_some_and(|n| n.ends_with(name)));
    one.unwrap_or_else(|| panic!("{name}: {}", ran.stdout))["status"].as_str().expect("a text").to_owned()
}

/// What every report must say alike: findings without what changed.
fn essence(ran: &Ran) -> Vec<(String, usize)> {
    let one = |f: &Value| {
        let places = f["repositories"].as_array().expect("a list").iter();
        let places = places.map(|r| r["places"].as_array().expect("a list").len()).sum();
        (f["fingerprint"].as_str().expect("a text").to_owned(), places)
    };
    let mut all: Vec<(String, usize)> = ran.findings().iter().map(one).collect();
    all.sort();
    all
}

#[test]
fn a_secret_is_one_finding_and_later_only_what_is_new_is_read() {
    let folder = Folder::new();
    let (a, b) = (repository(&folder, "r/a"), repository(&folder, "r/deep/b"));
    commit(&a, "src/a.py", &line("shared"));
    commit(&a, "CODEOWNERS", "* @all\n/src/ @team-a\n");
    commit(&b, "b.py", &line("shared"));

    let first = sweep(&folder, &["r"]);
    assert_eq!(first.status, 1, "{}", first.stderr);
    assert_eq!(counts(&first, &["repositories", "scanned", "new", "still", "gone"]), [2, 2, 1, 0, 0]);
    let finding = &first.findings()[0];
    assert_eq!(finding["repositories"].as_array().expect("a list").len(), 2);
    assert_eq!(finding["owners"], serde_json::json!(["@team-a"]));
    assert_eq!(first.json()["owners"]["@team-a"]["new"], 1);
    assert!(!first.stdout.contains(&token("shared")));

    let second = sweep(&folder, &["r"]);
    assert_eq!(counts(&second, &["scanned", "unchanged", "new", "still"]), [0, 2, 0, 1]);
    assert_eq!(essence(&second), essence(&first));

    // A new secret, and the old one gone from HEAD: it stays in the history.
    commit(&b, "b.py", "nothing\n");
    commit(&b, "new.py", &line("new"));
    let third = sweep(&folder, &["r"]);
    assert_eq!(counts(&third, &["scanned", "unchanged", "new", "still", "gone"]), [1, 1, 1, 1, 0]);
    assert_eq!(status(&third, "/b"), "news");
    let report = third.json();
    let places = report["findings"].as_array().expect("a list").iter();
    let shared = places.clone().find(|f| f["change"] == "still").expect("it is still there");
    let in_b = shared["repositories"].as_array().expect("a list").iter();
    let in_b = in_b.clone().find(|r| r["repository"].as_str().is_some_and(|n| n.ends_with("/b"))).expect("b");
    assert_eq!(in_b["places"][0]["in_head"], false, "{}", third.stdout);

    // Pieced together from news, it is what a fresh sweep finds.
    let fresh = sweep(&folder, &["r", "--state", "fresh.db"]);
    assert_eq!(essence(&fresh), essence(&third));

    // Other rules: all is read again.
    let other = sweep(&folder, &["r", "--only", "gitlab-*"]);
    assert_eq!(counts(&other, &["scanned", "unchanged"]), [2, 0]);
    assert_eq!(sweep(&folder, &["r", "--only", "gitlab-*", "--exit-zero"]).status, 0);
}

#[test]
fn what_a_rewritten_history_lost_is_gone() {
    let folder = Folder::new();
    let origin = repository(&folder, "origin");
    let good = commit(&origin, "a.py", "nothing\n");
    commit(&origin, "b.py", &line("lost"));
    let url = format!("file://{}\n", origin.display());
    folder.write("list", &url);
    let args = ["list", "--mirrors", "mirrors"];
    assert_eq!(count(&sweep(&folder, &args), "new"), 1);
    git(&origin, &["reset", "-q", "--hard", &good]);
    let gone = sweep(&folder, &args);
    assert_eq!(counts(&gone, &["scanned", "new", "still", "gone"]), [1, 0, 0, 1]);
    assert_eq!(gone.status, 0, "{}", gone.stderr);
    assert_eq!(status(&gone, "origin"), "whole");
    let after = sweep(&folder, &args);
    assert_eq!(counts(&after, &["unchanged", "gone"]), [1, 0]);
}

#[test]
fn lists_have_doubles_odd_names_and_what_is_not_there() {
    let folder = Folder::new();
    let odd = repository(&folder, "odd nä;me $(x) 'q'");
    commit(&odd, "a.py", &line("odd"));
    let plain = repository(&folder, "plain");
    commit(&plain, "a.py", &line("plain"));
    let list = format!(
        "# all\n./plain\nplain\nodd nä;me $(x) 'q'\nfile://{0}\nfile://{0}.git\nfile://{0}/nowhere\nmissing\n",
        plain.display()
    );
    let input = ["sweep", "-f", "json", "-", "--mirrors", "m"];
    let ran = claviger_with(folder.path(), &input, list.as_bytes(), &[]);
    assert_eq!(ran.status, 2, "{}", ran.stderr);
    assert_eq!(counts(&ran, &["repositories", "scanned", "incomplete", "new"]), [5, 3, 2, 2]);
    assert_eq!((status(&ran, "missing"), status(&ran, "nowhere")), ("failed".into(), "failed".into()));
    assert!(ran.stderr.contains("missing: no such file or directory"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nowhere: git clone: "), "{}", ran.stderr);

    folder.write("bad", "plain\next::sh -c id\n");
    let ran = sweep(&folder, &["bad", "--mirrors", "m"]);
    assert!(ran.status == 2 && ran.stderr.contains("bad:2: "), "{}", ran.stderr);
    let ran = sweep(&folder, &["nothing-there"]);
    assert!(ran.status == 2 && ran.stdout.is_empty(), "{}", ran.stderr);
}

#[test]
fn a_broken_mirror_is_made_again_and_a_lost_origin_keeps_what_is_known() {
    let folder = Folder::new();
    let origin = repository(&folder, "origin");
    commit(&origin, "a.py", &line("one"));
    folder.write("list", format!("file://{}\n", origin.display()));
    let args = ["list", "--mirrors", "m"];
    assert_eq!(count(&sweep(&folder, &args), "new"), 1);

    let mirrors = std::fs::read_dir(folder.path().join("m")).expect("a folder");
    let mirror = mirrors.flatten().next().expect("a mirror").path();
    std::fs::remove_dir_all(mirror.join("objects")).expect("it can be removed");
    commit(&origin, "b.py", &line("two"));
    let ran = sweep(&folder, &args);
    assert_eq!(counts(&ran, &["incomplete", "new", "still"]), [0, 1, 1], "{}", ran.stderr);

    std::fs::rename(&origin, folder.path().join("away")).expect("it can be moved");
    let ran = sweep(&folder, &args);
    assert_eq!(ran.status, 2);
    assert_eq!(counts(&ran, &["incomplete", "still", "gone"]), [1, 2, 0], "{}", ran.stderr);
}

#[test]
fn limits_end_a_clone_and_nothing_else() {
    let folder = Folder::new();
    let big = Repo::new();
    big.import(200);
    let small = repository(&folder, "small");
    commit(&small, "a.py", &line("small"));
    folder.write("list", format!("file://{}\nsmall\n", big.path().display()));
    let ran = sweep(&folder, &["list", "--mirrors", "m", "--size-limit", "50k"]);
    assert_eq!(counts(&ran, &["scanned", "incomplete", "new"]), [1, 1, 1], "{}", ran.stderr);
    assert!(ran.stdout.contains("--size-limit"), "{}", ran.stdout);
    assert_eq!(std::fs::read_dir(folder.path().join("m")).expect("a folder").count(), 0, "it was removed");
    let ran = sweep(&folder, &["list", "--mirrors", "m", "--keep-free", "1000000G"]);
    assert!(ran.status == 2 && ran.stdout.contains("--keep-free"), "{}", ran.stdout);
}

#[test]
fn parts_add_up() {
    let folder = Folder::new();
    for n in 0..12 {
        commit(&repository(&folder, &format!("r/{n}")), "a.py", &line(&format!("part {n}")));
    }
    let part = |n: &str| {
        let state = format!("{n}.db");
        let args = ["sweep", "-f", "json", "-q", "r", "--shard", "auto", "--state", &state];
        let vars = [("CI_NODE_INDEX", n), ("CI_NODE_TOTAL", "3")];
        count(&claviger_with(folder.path(), &args, b"", &vars), "new")
    };
    assert_eq!(["1", "2", "3"].map(part).iter().sum::<u64>(), 12);
}

#[test]
fn every_format_is_written() {
    let folder = Folder::new();
    let repository = repository(&folder, "r/<b>=x");
    commit(&repository, "a&b.py", &line("formats"));
    let outputs = ["-o", "s.html", "-o", "s.csv", "-o", "s.md", "-o", "s.json", "--sarif-dir", "sarif"];
    let ran = claviger(folder.path(), &[&["sweep", "r"], outputs.as_slice()].concat());
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a report");
    assert!(read("s.html").contains("&lt;b&gt;") && !read("s.html").contains("<b>"));
    assert!(read("s.md").contains("&#60;b&#62;") && read("s.csv").lines().count() == 2);
    let sarif = std::fs::read_dir(folder.path().join("sarif")).expect("a folder");
    let sarif = std::fs::read_to_string(sarif.flatten().next().expect("a file").path()).expect("a text");
    let sarif: Value = serde_json::from_str(&sarif).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "gitlab-personal-token");
    for name in ["s.html", "s.csv", "s.md", "s.json"] {
        assert!(!read(name).contains(&token("formats")), "{name}");
    }
}

#[test]
fn killed_at_any_instant_it_goes_on() {
    let folder = Folder::new();
    for n in 0..10 {
        let repository = repository(&folder, &format!("r/{n}"));
        commit(&repository, "a.py", &format!("{}{}", line("everywhere"), line(&format!("only {n}"))));
    }
    let want = essence(&sweep(&folder, &["r", "--state", "whole.db"]));
    assert_eq!(want.len(), 11);
    for delay in [5, 15, 30, 60, 100, 150] {
        let mut child = Command::new(binary())
            .args(["sweep", "-q", "r", "--state", "killed.db", "--threads", "1"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    let ran = sweep(&folder, &["r", "--state", "killed.db"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert_eq!(essence(&ran), want);
}
