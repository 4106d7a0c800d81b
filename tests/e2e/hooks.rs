//! Git's hooks, installed into real repositories and called by git.

use std::fs;
use std::path::Path;
use std::process::Output;

use claviger_tests::{Repo, binary, claviger, git_command, line};

/// Runs git as a developer with `claviger` on the path does.
fn git(folder: &Path, args: &[&str]) -> Output {
    let mut paths = vec![binary().parent().expect("a folder").to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").expect("a path")));
    let path = std::env::join_paths(paths).expect("a path");
    git_command(folder, args).env("PATH", path).output().expect("git")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn works(folder: &Path, args: &[&str]) {
    let output = git(folder, args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
}

fn stopped(folder: &Path, args: &[&str], word: &str) {
    let output = git(folder, args);
    assert!(!output.status.success() && said(&output).contains(word), "{args:?}: {}", said(&output));
}

fn install(repo: &Repo, args: &[&str]) {
    let ran = claviger(repo.path(), &[&["hook", "install"], args].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

#[test]
fn a_staged_secret_and_one_in_the_message_stop_the_commit() {
    let repo = Repo::new();
    install(&repo, &["pre-commit", "commit-msg"]);
    repo.write("ok.txt", "nothing\n");
    works(repo.path(), &["add", "."]);
    works(repo.path(), &["commit", "-qm", "ok"]);
    repo.write("bad.txt", line("hook"));
    works(repo.path(), &["add", "."]);
    stopped(repo.path(), &["commit", "-qm", "bad"], "bad.txt");
    works(repo.path(), &["rm", "-qf", "bad.txt"]);
    stopped(repo.path(), &["commit", "-q", "--allow-empty", "-m", &line("message")], "COMMIT_EDITMSG");
    works(repo.path(), &["commit", "-q", "--allow-empty", "-m", "no more"]);
    // Again: nothing changes. Gone: as before.
    install(&repo, &["pre-commit"]);
    let ran = claviger(repo.path(), &["hook", "uninstall"]);
    assert_eq!(ran.stdout.lines().count(), 2, "{}{}", ran.stdout, ran.stderr);
    repo.write("bad.txt", line("hook"));
    works(repo.path(), &["add", "."]);
    works(repo.path(), &["commit", "-qm", "nobody looks"]);
}

#[test]
fn a_push_is_searched_for_what_the_remote_does_not_have() {
    let (repo, remote) = (Repo::new(), Repo::init(&["--bare"]));
    let to = remote.path().display().to_string();
    works(repo.path(), &["remote", "add", "origin", &to]);
    repo.commit("old.txt", line("known there"));
    works(repo.path(), &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    install(&repo, &["pre-push"]);
    // What is there already is not searched again, whether the ref is there or new.
    repo.commit("new.txt", "nothing\n");
    works(repo.path(), &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    works(repo.path(), &["push", "-q", "origin", "HEAD:refs/heads/other"]);
    repo.commit("bad.txt", line("push"));
    repo.remove("bad.txt");
    stopped(repo.path(), &["push", "-q", "origin", "HEAD:refs/heads/main"], "bad.txt");
    stopped(repo.path(), &["push", "-q", "origin", "HEAD:refs/heads/third"], "bad.txt");
    works(repo.path(), &["push", "-q", "origin", ":refs/heads/other"]);
    // To a remote of which nothing is known, everything goes.
    let empty = Repo::init(&["--bare"]);
    stopped(
        repo.path(),
        &["push", "-q", &empty.path().display().to_string(), "HEAD:refs/heads/main"],
        "old.txt",
    );
    // And a server that looks for itself.
    let repo = Repo::clone_of(&remote, &[]);
    let ran = claviger(remote.path(), &["hook", "install", "pre-receive", "-C", &to]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    repo.commit("bad.txt", line("received"));
    stopped(repo.path(), &["push", "-q", "origin", "HEAD:refs/heads/x"], "bad.txt");
}

#[test]
fn a_hook_of_somebody_else_is_kept_and_called_first() {
    let repo = Repo::new();
    let hooks = repo.path().join(".git/hooks");
    fs::create_dir_all(&hooks).expect("a folder");
    let theirs = "#!/bin/sh\necho theirs >&2\ntest ! -e stop\n";
    let path = hooks.join("pre-commit");
    repo.write(".git/hooks/pre-commit", theirs);
    works(repo.path(), &["config", "core.fileMode", "true"]);
    let chmod = std::process::Command::new("chmod").arg("+x").arg(&path).status().expect("runs");
    assert!(chmod.success());
    let ran = claviger(repo.path(), &["hook", "install"]);
    assert_eq!(ran.status, 2);
    assert!(
        ran.stderr.contains("--chain") && ran.stderr.contains("claviger hook run pre-commit"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read_to_string(&path).expect("there"), theirs);
    install(&repo, &["--chain"]);
    repo.write("bad.txt", line("chained"));
    works(repo.path(), &["add", "."]);
    stopped(repo.path(), &["commit", "-qm", "bad"], "theirs");
    stopped(repo.path(), &["commit", "-qm", "bad"], "bad.txt");
    repo.write("stop", "");
    works(repo.path(), &["rm", "-qf", "bad.txt"]);
    stopped(repo.path(), &["commit", "-q", "--allow-empty", "-m", "theirs stops"], "theirs");
    assert_eq!(claviger(repo.path(), &["hook", "uninstall"]).status, 0);
    assert_eq!(fs::read_to_string(&path).expect("there"), theirs);
    // Managers of hooks are told what to be told.
    works(repo.path(), &["config", "core.hooksPath", ".husky/_"]);
    repo.write(".husky/_/pre-commit", "#!/bin/sh\n. husky.sh\n");
    let ran = claviger(repo.path(), &["hook", "install", "--chain"]);
    assert!(ran.status == 2 && ran.stderr.contains(".husky/pre-commit"), "{}", ran.stderr);
    let ran = claviger(Path::new("/"), &["hook", "install", "-C", "/proc"]);
    assert!(ran.status == 2 && ran.stderr.contains("no git repository"), "{}", ran.stderr);
}
