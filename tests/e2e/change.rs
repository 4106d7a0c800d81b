//! What a change adds: staged files, ranges of commits, pushes.

use std::path::Path;
use std::process::{Command, Stdio};

use claviger_tests::{Ran, Repo, binary, claviger, claviger_with, git, git_command, token};

fn scan(path: &Path, flags: &[&str]) -> Ran {
    claviger(path, &[&["scan", "--format", "json", "--show-secrets"], flags].concat())
}

fn secrets(ran: &Ran) -> Vec<String> {
    let mut all: Vec<String> =
        ran.findings().iter().map(|f| f["secret"].as_str().expect("a text").to_owned()).collect();
    all.sort();
    all
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn only_what_is_staged_counts() {
    let repo = Repo::new();
    repo.commit("old", format!("TOKEN={}", token("known")));
    repo.write("old", format!("TOKEN={}\nMORE={}", token("known"), token("new")));
    repo.write("unstaged", token("unstaged"));
    repo.git(&["add", "old"]);
    // The work tree says something else than the index.
    repo.write("old", "clean");
    let ran = scan(repo.path(), &["--staged"]);
    assert_eq!((ran.status, secrets(&ran)), (1, vec![token("new")]), "{}", ran.stderr);
    let place = &ran.findings()[0]["places"][0];
    assert_eq!(
        (place["kind"].as_str(), place["path"].as_str(), place["line"].as_u64()),
        (Some("staged"), Some("old"), Some(2))
    );
}

#[test]
fn a_staged_rename_brings_nothing_new() {
    let repo = Repo::new();
    repo.commit("old", format!("TOKEN={}\n", token("moved")));
    repo.git(&["mv", "old", "new"]);
    let ran = scan(repo.path(), &["--staged"]);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
}

#[test]
fn an_empty_index_says_that_nothing_was_scanned() {
    let repo = Repo::new();
    repo.commit("a", "1");
    let ran = scan(repo.path(), &["--staged"]);
    assert_eq!(ran.status, 0);
    assert!(ran.json()["notices"].to_string().contains("nothing was scanned"), "{}", ran.stdout);
}

#[test]
fn staged_files_of_a_repository_without_commits() {
    let repo = Repo::new();
    repo.write("a b/ü.env", format!("TOKEN={}", token("unborn")));
    repo.git(&["add", "-A"]);
    let ran = scan(repo.path(), &["--staged"]);
    assert_eq!((ran.status, secrets(&ran)), (1, vec![token("unborn")]), "{}", ran.stderr);
}

#[test]
fn a_range_counts_what_it_adds_even_if_it_takes_it_away_again() {
    let repo = Repo::new();
    repo.commit("a", format!("TOKEN={}", token("before")));
    repo.git(&["tag", "base"]);
    repo.commit("a", format!("TOKEN={}\nx", token("before")));
    repo.commit("b", format!("TOKEN={}", token("inside")));
    repo.remove("b");
    repo.git(&["commit", "-q", "--allow-empty", "-m", &format!("see {}", token("said"))]);
    for range in ["base..HEAD", "base..main", "base..", "base...main"] {
        let ran = scan(repo.path(), &["--range", range]);
        assert_eq!(
            (ran.status, secrets(&ran)),
            (1, sorted(vec![token("inside"), token("said")])),
            "{range}: {}",
            ran.stderr
        );
    }
    assert_eq!(scan(repo.path(), &["--range", "HEAD..base"]).status, 0);
}

#[test]
fn a_range_with_an_evil_merge() {
    let repo = Repo::new();
    repo.commit("a", "1");
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit("b", format!("TOKEN={}", token("of-side")));
    repo.git(&["checkout", "-q", "main"]);
    repo.commit("c", "3");
    let base = repo.head();
    repo.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    repo.write("evil", format!("TOKEN={}", token("of-merge")));
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "merge"]);
    let ran = scan(repo.path(), &["--range", &format!("{base}..HEAD")]);
    assert_eq!(secrets(&ran), sorted(vec![token("of-side"), token("of-merge")]), "{}", ran.stderr);
}

#[test]
fn unknown_names_are_errors_and_never_an_empty_scan() {
    let repo = Repo::new();
    repo.commit("a", "1");
    for range in ["nope..HEAD", "HEAD..nope", "nope", "0000000000000000000000000000000000000000..HEAD"] {
        let ran = scan(repo.path(), &["--range", range]);
        assert_eq!(ran.status, 2, "{range}: {}", ran.stdout);
        assert!(ran.stderr.contains("no commit") && ran.stdout.is_empty(), "{}", ran.stderr);
    }
}

/// Pushes through a real pre-receive hook, so that git itself hands over the quarantine.
#[cfg(unix)]
#[test]
fn a_pre_receive_hook_refuses_a_push_and_lets_the_next_one_through() {
    use std::os::unix::fs::PermissionsExt as _;
    let repo = Repo::new();
    repo.commit("a", "1");
    let server = Repo::clone_of(&repo, &["--bare"]);
    let hook = server.path().join("hooks/pre-receive");
    let script = format!("#!/bin/sh\nexec '{}' scan --pre-receive . >&2\n", binary().display());
    std::fs::create_dir_all(server.path().join("hooks")).expect("a folder can be made");
    std::fs::write(&hook, script).expect("a file can be written");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    repo.git(&["remote", "add", "origin", &format!("file://{}", server.path().display())]);

    repo.commit("b", format!("TOKEN={}", token("pushed")));
    let push = |args: &[&str]| {
        git_command(repo.path(), &[&["push", "-q", "origin"], args].concat()).output().expect("git starts")
    };
    let refused = push(&["main"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("GitLab"), "{said}");
    assert!(!said.contains(&token("pushed")), "{said}");

    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    repo.commit("c", "harmless");
    let accepted = push(&["main"]);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));

    repo.git(&["tag", "-a", "v1", "-m", &format!("with {}", token("tagged"))]);
    assert!(!push(&["v1"]).status.success());
    repo.git(&["tag", "-d", "v1"]);
    // Deleting a branch brings nothing.
    repo.git(&["branch", "gone"]);
    assert!(push(&["gone"]).status.success());
    assert!(push(&["--delete", "gone"]).status.success());
}

#[test]
fn pre_receive_lines_that_make_no_sense() {
    let repo = Repo::new();
    repo.commit("a", "1");
    for lines in ["hello\n", "a b c\n", &format!("{} {} refs/heads/x\n", "0".repeat(40), "1".repeat(40))] {
        let ran = claviger_with(repo.path(), &["scan", "--pre-receive", "."], lines.as_bytes(), &[]);
        assert_eq!(ran.status, 2, "{lines}: {}", ran.stdout);
    }
}

#[test]
fn a_shallow_clone_without_the_base_says_to_fetch_deeper() {
    let repo = Repo::new();
    repo.commit("a", "1");
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit("b", "2");
    repo.git(&["checkout", "-q", "main"]);
    repo.commit("c", "3");
    let shallow = Repo::clone_of(&repo, &["--depth", "1", "--no-single-branch"]);
    let ran = scan(shallow.path(), &["--range", "origin/side...HEAD"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("fetch deeper"), "{}", ran.stderr);
}

/// The base of a change decides, not the change.
#[test]
fn a_change_cannot_switch_off_its_own_scan() {
    let repo = Repo::new();
    repo.commit("a", "1");
    repo.git(&["tag", "base"]);
    repo.write("claviger.yaml", "version: 1\nexclude: ['**']\nrules:\n  skip: ['*']\n");
    repo.commit("b.env", format!("TOKEN={}", token("smuggled")));
    let trusting = scan(repo.path(), &["--range", "base..HEAD"]);
    assert_ne!(trusting.status, 1, "the change's own configuration hides it");
    let ran = scan(repo.path(), &["--range", "base..HEAD", "--trust", "base"]);
    assert_eq!((ran.status, secrets(&ran)), (1, vec![token("smuggled")]), "{}", ran.stderr);
}

#[test]
fn an_allowance_that_a_change_brings_is_shown() {
    let repo = Repo::new();
    repo.commit("a", "1");
    repo.commit("b.env", format!("TOKEN={} # claviger:allow -- only a test\n", token("allowed")));
    let ran = scan(repo.path(), &["--range", "HEAD~1..HEAD"]);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    let allowed = &ran.json()["allowed"][0];
    assert_eq!(allowed["added_by_change"], true, "{allowed}");
    assert_eq!(allowed["reason"], "only a test");
}

/// A commit through the hook that `pre-commit` tools install.
#[cfg(unix)]
#[test]
fn a_pre_commit_hook_stops_a_commit() {
    use std::os::unix::fs::PermissionsExt as _;
    let repo = Repo::new();
    repo.commit("a", "1");
    let hook = repo.path().join(".git/hooks/pre-commit");
    std::fs::create_dir_all(repo.path().join(".git/hooks")).expect("a folder can be made");
    std::fs::write(&hook, format!("#!/bin/sh\nexec '{}' scan --staged\n", binary().display()))
        .expect("a file");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let commit = |name: &str, text: &str| {
        repo.write(name, text);
        git(repo.path(), &["add", name]);
        let mut command = git_command(repo.path(), &["commit", "-q", "-m", "x"]);
        // Hooks run with git's own variables: an index of another name must be honoured.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("git starts").success()
    };
    assert!(commit("b", "harmless"));
    assert!(!commit("c", &format!("TOKEN={}", token("committed"))));
    repo.git(&["reset", "-q"]);
    repo.write("d", format!("TOKEN={}", token("partial")));
    repo.git(&["add", "d"]);
    // `git commit FILE` hands the hook a temporary index.
    repo.write("b", "changed");
    let partial = git_command(repo.path(), &["commit", "-q", "-m", "x", "b"]).stderr(Stdio::null()).status();
    assert!(partial.expect("git starts").success());
    let _ = Command::new("true").status();
}
