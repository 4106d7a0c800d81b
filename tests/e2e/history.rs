//! Every place in a repository that can hold a secret. Tools that read patches miss about half of these.

use std::path::Path;
use std::process::Stdio;

use claviger_tests::{Ran, Repo, claviger, git, git_command, noise, token};

/// The findings of a report whose secret is this one (`--show-secrets`).
fn of<'a>(findings: &'a [serde_json::Value], secret: &str) -> Vec<&'a serde_json::Value> {
    findings.iter().filter(|f| f["secret"].as_str().is_some_and(|s| s == secret)).collect()
}

fn scan(path: &Path, flags: &[&str]) -> Ran {
    claviger(path, &[&["scan", "--format", "json", "--show-secrets"], flags].concat())
}

/// Checks that a scan of the history alone finds the secret, once, and is complete.
fn finds(repo: &Repo, secret: &str) -> serde_json::Value {
    let ran = scan(repo.path(), &["--history-only"]);
    let findings = ran.findings();
    let found = of(&findings, secret);
    assert_eq!(found.len(), 1, "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    found[0].clone()
}

fn place(finding: &serde_json::Value) -> &serde_json::Value {
    &finding["places"][0]
}

#[test]
fn a_file_that_was_deleted_says_who_brought_and_who_removed_it() {
    let (repo, secret) = (Repo::new(), token("deleted"));
    repo.commit("a.txt", "nothing");
    let brought = repo.commit("config/app.env", format!("x=1\nTOKEN={secret}\n"));
    repo.commit("a.txt", "more");
    let removed = repo.remove("config/app.env");
    let finding = finds(&repo, &secret);
    let place = place(&finding);
    assert_eq!(place["path"], "config/app.env");
    assert_eq!((place["line"].as_u64(), place["column"].as_u64()), (Some(2), Some(7)));
    assert_eq!(place["introduced"]["commit"], brought);
    assert_eq!(place["introduced"]["author"], "Ada Lovelace");
    assert_eq!(place["removed"]["commit"], removed);
    assert_eq!(place["in_head"], false);
}

#[test]
fn what_is_still_in_head_names_its_branches_and_tags() {
    let (repo, secret) = (Repo::new(), token("head"));
    repo.commit("a", "nothing");
    repo.git(&["branch", "old"]);
    repo.commit("b.env", format!("TOKEN={secret}"));
    repo.git(&["tag", "v1"]);
    repo.git(&["branch", "other"]);
    let finding = finds(&repo, &secret);
    let place = place(&finding);
    assert_eq!(place["in_head"], true);
    assert_eq!(place["branches"], serde_json::json!(["main", "other"]));
    assert_eq!(place["tags"], serde_json::json!(["v1"]));
    assert!(place["removed"].is_null());
}

#[test]
fn content_that_only_a_merge_commit_has() {
    let (repo, secret) = (Repo::new(), token("merge"));
    repo.commit("a", "1");
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit("b", "2");
    repo.git(&["checkout", "-q", "main"]);
    repo.commit("c", "3");
    repo.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    repo.write("evil.env", format!("TOKEN={secret}"));
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "merge"]);
    let merge = repo.head();
    repo.remove("evil.env");
    let finding = finds(&repo, &secret);
    assert_eq!(place(&finding)["introduced"]["commit"], merge);
}

#[test]
fn all_three_parents_of_a_stash() {
    let repo = Repo::new();
    repo.commit("a", "1");
    let (index, tree, untracked) = (token("stash-index"), token("stash-tree"), token("stash-untracked"));
    repo.write("a", format!("TOKEN={index}"));
    repo.git(&["add", "a"]);
    repo.write("a", format!("TOKEN={tree}"));
    repo.write("new", format!("TOKEN={untracked}"));
    repo.git(&["stash", "push", "-q", "--include-untracked"]);
    for secret in [index, tree, untracked] {
        finds(&repo, &secret);
    }
}

#[test]
fn messages_of_commits_and_tags_and_notes() {
    let repo = Repo::new();
    let (message, tag, note) = (token("message"), token("tag"), token("note"));
    repo.commit("a", "1");
    repo.git(&["commit", "-q", "--allow-empty", "-m", &format!("use {message} for now")]);
    repo.git(&["tag", "-a", "v1", "-m", &format!("built with {tag}")]);
    repo.git(&["notes", "add", "-m", &format!("see {note}")]);
    assert_eq!(place(&finds(&repo, &message))["kind"], "commit-message");
    assert_eq!(place(&finds(&repo, &tag))["kind"], "tag-message");
    finds(&repo, &note);
}

#[test]
fn a_tag_of_a_blob_and_a_tag_of_a_tree() {
    let repo = Repo::new();
    let (blob, tree) = (token("tagged-blob"), token("tagged-tree"));
    repo.commit("a", "1");
    repo.write("loose", format!("TOKEN={blob}"));
    let id = repo.git(&["hash-object", "-w", "loose"]);
    repo.git(&["tag", "the-blob", &id]);
    repo.write("loose", format!("TOKEN={tree}"));
    repo.git(&["add", "loose"]);
    let id = repo.git(&["write-tree"]);
    repo.git(&["tag", "the-tree", &id]);
    repo.git(&["rm", "-q", "-f", "loose"]);
    finds(&repo, &blob);
    finds(&repo, &tree);
}

#[cfg(unix)]
#[test]
fn a_change_of_type_and_the_target_of_a_link() {
    let repo = Repo::new();
    let (file, link) = (token("typechange"), token("link"));
    std::os::unix::fs::symlink("nowhere", repo.path().join("a")).expect("a link can be made");
    repo.git(&["add", "a"]);
    repo.git(&["commit", "-q", "-m", "link"]);
    std::fs::remove_file(repo.path().join("a")).expect("it is there");
    repo.commit("a", format!("TOKEN={file}"));
    std::fs::remove_file(repo.path().join("a")).expect("it is there");
    std::os::unix::fs::symlink(format!("/x/{link}"), repo.path().join("a")).expect("a link can be made");
    repo.git(&["add", "a"]);
    repo.git(&["commit", "-q", "-m", "link again"]);
    finds(&repo, &file);
    finds(&repo, &link);
}

#[test]
fn a_file_renamed_and_edited() {
    let (repo, secret) = (Repo::new(), token("rename"));
    let text = "a line of text\n".repeat(50);
    repo.commit("old.txt", &text);
    repo.git(&["mv", "old.txt", "new.txt"]);
    let commit = repo.commit("new.txt", format!("{text}TOKEN={secret}\n"));
    let finding = finds(&repo, &secret);
    assert_eq!(place(&finding)["introduced"]["commit"], commit);
    assert_eq!(finding["places"].as_array().map(Vec::len), Some(1));
}

#[test]
fn files_that_attributes_call_binary_and_files_that_are() {
    let repo = Repo::new();
    let names = [
        "x.env",
        "nul.bin",
        "node_modules/m/index.js",
        "package-lock.json",
        "logo.svg",
        "pic.png",
        "doc.pdf",
    ];
    repo.write(".gitattributes", "*.env -diff\n* -text\n");
    for name in names {
        let secret = token(name);
        let content = match name {
            "nul.bin" => format!("\0\0key\0{secret}\0\0"),
            "pic.png" => format!("\u{89}PNG\r\n\0\0{secret} \0"),
            _ => format!("token: \"{secret}\"\n"),
        };
        repo.write(name, content);
    }
    repo.git(&["add", "-A", "-f"]);
    repo.git(&["commit", "-q", "-m", "all"]);
    for name in names {
        let finding = finds(&repo, &token(name));
        assert_eq!(place(&finding)["path"], name);
    }
}

#[test]
fn utf16_crlf_latin1_and_very_long_lines() {
    let repo = Repo::new();
    let secret = token;
    let utf16: Vec<u8> =
        format!("\u{feff}$t = '{}'\r\n", secret("utf16")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    repo.commit("script.ps1", utf16);
    repo.commit("crlf.env", format!("A=1\r\nT={}\r\nB=2\r\n", secret("crlf")));
    repo.commit("latin1.ini", [b"name=caf\xe9 ".as_slice(), secret("latin1").as_bytes(), b"\n"].concat());
    let long = "var a=1;".repeat(400_000);
    repo.commit("app.min.js", format!("{long}t=\"{}\";{long}", secret("long")));
    for seed in ["utf16", "crlf", "latin1", "long"] {
        finds(&repo, &secret(seed));
    }
    let finding = finds(&repo, &secret("crlf"));
    assert_eq!((place(&finding)["line"].as_u64(), place(&finding)["column"].as_u64()), (Some(2), Some(3)));
}

#[test]
fn a_commit_that_only_the_reflog_remembers() {
    let (repo, secret) = (Repo::new(), token("reflog"));
    repo.commit("a", "1");
    repo.commit("b", format!("TOKEN={secret}"));
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    repo.git(&["update-ref", "-d", "ORIG_HEAD"]);
    let finding = finds(&repo, &secret);
    assert_eq!(place(&finding)["branches"], serde_json::json!([]));
}

#[test]
fn objects_that_nothing_reaches_only_on_request() {
    let (repo, secret) = (Repo::new(), token("unreachable"));
    repo.commit("a", "1");
    repo.write("loose", format!("TOKEN={secret}"));
    repo.git(&["hash-object", "-w", "loose"]);
    std::fs::remove_file(repo.path().join("loose")).expect("it is there");
    assert_eq!(scan(repo.path(), &["--history-only"]).status, 0);
    let ran = scan(repo.path(), &["--history-only", "--unreachable"]);
    assert_eq!((ran.status, of(&ran.findings(), &secret).len()), (1, 1), "{}", ran.stderr);
}

#[test]
fn names_of_files_and_folders() {
    let (repo, secret) = (Repo::new(), token("path"));
    repo.commit(&format!("logs/{secret}.txt"), "empty");
    repo.remove(&format!("logs/{secret}.txt"));
    let finding = finds(&repo, &secret);
    assert_eq!(place(&finding)["kind"], "path-name");
}

#[test]
fn the_repositorys_own_configuration() {
    let (repo, secret) = (Repo::new(), token("remote"));
    repo.commit("a", "1");
    repo.git(&["remote", "add", "origin", &format!("https://oauth2:{secret}@git.corp.internal/x.git")]);
    let finding = finds(&repo, &secret);
    assert_eq!(place(&finding)["kind"], "git-config");
    assert_eq!(place(&finding)["path"], ".git/config");
}

#[test]
fn several_roots_an_octopus_and_packed_objects() {
    let repo = Repo::new();
    let secrets: Vec<String> = (0..4).map(|i| token(&format!("root{i}"))).collect();
    repo.commit("a", "1");
    for (i, secret) in secrets.iter().enumerate() {
        repo.git(&["checkout", "-q", "--orphan", &format!("root{i}")]);
        repo.git(&["rm", "-q", "-rf", "."]);
        repo.commit(&format!("f{i}"), format!("TOKEN={secret}"));
    }
    for i in 0..3 {
        repo.git(&["checkout", "-q", "-b", &format!("arm{i}"), "main"]);
        repo.commit(&format!("arm{i}"), "1");
    }
    repo.git(&["checkout", "-q", "main"]);
    repo.git(&["merge", "-q", "-m", "octopus", "arm0", "arm1", "arm2"]);
    repo.git(&["merge", "-q", "--allow-unrelated-histories", "-m", "roots", "root0"]);
    repo.git(&["repack", "-q", "-a", "-d"]);
    repo.git(&["pack-refs", "--all"]);
    for secret in &secrets {
        finds(&repo, secret);
    }
}

#[test]
fn repositories_with_sha256_ids() {
    let repo = Repo::init(&["--object-format=sha256"]);
    let secret = token("sha256");
    let commit = repo.commit("d/a", format!("TOKEN={secret}"));
    repo.remove("d/a");
    let finding = finds(&repo, &secret);
    assert_eq!(commit.len(), 64);
    assert_eq!(place(&finding)["introduced"]["commit"], commit);
}

#[test]
fn bare_repositories_and_linked_work_trees() {
    let repo = Repo::new();
    let (first, second) = (token("bare"), token("worktree"));
    repo.commit("a", format!("TOKEN={first}"));
    let bare = Repo::clone_of(&repo, &["--bare"]);
    finds(&bare, &first);
    let tree = repo.outside().join("linked");
    repo.git(&["worktree", "add", "-q", "--detach", &tree.display().to_string()]);
    std::fs::write(tree.join("b"), format!("TOKEN={second}")).expect("a file can be written");
    git(&tree, &["add", "b"]);
    git(&tree, &["commit", "-q", "-m", "detached"]);
    // Its HEAD is detached: no branch names the commit, and the main work tree's reflog does not know it.
    finds(&repo, &second);
    let ran = scan(&tree, &[]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert_eq!(of(&ran.findings(), &second).len(), 1);
}

#[test]
fn objects_borrowed_from_another_repository() {
    let (repo, secret) = (Repo::new(), token("alternates"));
    repo.commit("a", format!("TOKEN={secret}"));
    repo.remove("a");
    let borrower = Repo::clone_of(&repo, &["--shared"]);
    finds(&borrower, &secret);
}

#[test]
fn the_boundary_of_a_shallow_clone_is_not_blamed() {
    let (repo, secret) = (Repo::new(), token("shallow"));
    repo.commit("a", format!("TOKEN={secret}"));
    repo.commit("b", "1");
    repo.commit("b", "2");
    let shallow = Repo::clone_of(&repo, &["--depth", "1"]);
    let finding = finds(&shallow, &secret);
    assert!(place(&finding)["introduced"].is_null());
    assert_eq!(place(&finding)["shallow"], true);
}

#[test]
fn replaced_objects_are_read_as_they_were() {
    let (repo, secret) = (Repo::new(), token("replace"));
    repo.commit("a", format!("TOKEN={secret}"));
    let old = repo.git(&["rev-parse", "HEAD:a"]);
    repo.write("clean", "nothing here");
    let new = repo.git(&["hash-object", "-w", "clean"]);
    repo.git(&["replace", &old, &new]);
    finds(&repo, &secret);
}

#[test]
fn a_missing_blob_of_a_partial_clone_makes_the_scan_incomplete() {
    let (repo, secret) = (Repo::new(), token("partial"));
    repo.commit("old", format!("TOKEN={secret}"));
    repo.remove("old");
    repo.commit("new", "nothing");
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    let partial = Repo::clone_of(&repo, &["--filter=blob:none"]);
    let ran = scan(partial.path(), &["--history-only"]);
    assert_eq!(ran.status, 2, "{}", ran.stdout);
    assert_eq!(ran.json()["coverage"]["complete"], false);
    assert!(ran.stdout.contains("\"missing\""), "{}", ran.stdout);
}

#[test]
fn submodules_are_named_and_scanned_on_request() {
    let (inner, secret) = (Repo::new(), token("submodule"));
    inner.commit("a", format!("TOKEN={secret}"));
    let outer = Repo::new();
    outer.commit("b", "1");
    outer.git(&["submodule", "--quiet", "add", &inner.path().display().to_string(), "sub"]);
    outer.git(&["commit", "-q", "-m", "add"]);
    let ran = scan(outer.path(), &["--history-only"]);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    let ran = scan(outer.path(), &["--history-only", "--submodules"]);
    assert_eq!(of(&ran.findings(), &secret).len(), 1, "{}", ran.stdout);
}

#[test]
fn what_is_staged_and_nowhere_else() {
    let (repo, secret) = (Repo::new(), token("index-only"));
    repo.commit("a", "1");
    repo.write("a", format!("TOKEN={secret}"));
    repo.git(&["add", "a"]);
    repo.write("a", "clean again");
    let ran = scan(repo.path(), &[]);
    assert_eq!(of(&ran.findings(), &secret).len(), 1, "{}", ran.stdout);
}

#[test]
fn a_tree_of_ten_thousand_levels() {
    let (repo, secret) = (Repo::new(), token("deep"));
    let mut import = format!("blob\nmark :1\ndata {}\n{secret}\n", secret.len());
    import.push_str("commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 1\nx\n");
    import.push_str(&format!("M 100644 :1 {}f\n\n", "d/".repeat(10_000)));
    // fast-import reads lines of any length; git itself never checks this tree out.
    let mut child = git_command(repo.path(), &["fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), import.as_bytes()).expect("git reads");
    assert!(child.wait().expect("git ends").success());
    finds(&repo, &secret);
}

#[test]
fn a_repository_of_somebody_else_is_read_and_nothing_of_it_runs() {
    let (repo, secret) = (Repo::new(), token("hostile"));
    repo.commit("a.txt", format!("TOKEN={secret}"));
    let marker = repo.outside().join("it-ran");
    let touch = format!("touch {}", marker.display());
    for (key, value) in [
        ("core.fsmonitor", touch.as_str()),
        ("core.pager", &touch),
        ("diff.evil.textconv", &touch),
        ("filter.evil.smudge", &touch),
        ("filter.evil.clean", &touch),
        ("core.sshCommand", &touch),
        ("uploadpack.packObjectsHook", &touch),
    ] {
        repo.git(&["config", key, value]);
    }
    repo.write(".gitattributes", "*.txt diff=evil filter=evil\n");
    let _ = std::process::Command::new("chown").args(["-R", "12345"]).arg(repo.path()).status();
    finds(&repo, &secret);
    assert_eq!(scan(repo.path(), &["--staged"]).status, 0);
    assert!(!marker.exists());
}

#[test]
fn branches_dates_and_depths_limit_the_history() {
    let repo = Repo::new();
    let (on_main, on_side) = (token("on-main"), token("on-side"));
    repo.commit("a", format!("TOKEN={on_main}"));
    repo.git(&["checkout", "-q", "--orphan", "side"]);
    repo.git(&["rm", "-q", "-rf", "."]);
    repo.commit("b", format!("TOKEN={on_side}"));
    let ran = scan(repo.path(), &["--history-only", "--branch", "main"]);
    assert_eq!((of(&ran.findings(), &on_main).len(), of(&ran.findings(), &on_side).len()), (1, 0));
    let ran = scan(repo.path(), &["--history-only", "--since", "main"]);
    assert_eq!((of(&ran.findings(), &on_main).len(), of(&ran.findings(), &on_side).len()), (0, 1));
    assert_eq!(scan(repo.path(), &["--history-only", "--since", "2030-01-01"]).status, 0);
    assert_eq!(scan(repo.path(), &["--history-only", "--since", "2020-01-01"]).status, 1);
    for bad in ["no-such-ref", "2024-13-45", ""] {
        let ran = scan(repo.path(), &["--history-only", "--since", bad]);
        assert_eq!(ran.status, 2, "{bad}: {}", ran.stdout);
    }
    assert_eq!(scan(repo.path(), &["--branch", "nope"]).status, 2);
}

#[test]
fn an_empty_repository_is_no_error() {
    let repo = Repo::new();
    let ran = scan(repo.path(), &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let repo = Repo::new();
    for i in 0..60 {
        repo.write(&format!("d{}/f{i}", i % 7), format!("TOKEN={}\n", token(&format!("t{}", i % 20))));
        if i % 10 == 9 {
            repo.git(&["add", "-A"]);
            repo.git(&["commit", "-q", "-m", "x"]);
        }
    }
    let one = scan(repo.path(), &["--threads", "1"]);
    let four = scan(repo.path(), &["--threads", "4"]);
    assert_eq!(one.stdout, four.stdout);
    assert_eq!(one.findings().len(), 20);
}

#[test]
fn packs_give_what_single_objects_give() {
    let repo = Repo::new();
    for i in 0..30 {
        let lines: String =
            (0..200).map(|l| format!("line {l} {}\n", noise(&format!("{l}/{}", i / (l + 1)), 20))).collect();
        let secret = if i % 3 == 0 { format!("TOKEN={}\n", token(&i.to_string())) } else { String::new() };
        repo.commit(&format!("src/f{}.env", i % 4), format!("{secret}{lines}"));
    }
    repo.git(&["repack", "-q", "-a", "-d", "-f"]);
    repo.commit("loose.env", format!("TOKEN={}\n", token("loose")));
    let (packed, plain) = (repo.scan(&["--history-only"]), repo.scan(&["--history-only", "--plain-history"]));
    assert_eq!((packed.status, packed.findings().len()), (1, 11));
    assert_eq!(packed.findings(), plain.findings());
    assert_eq!(packed.json()["coverage"], plain.json()["coverage"]);
}
