//! Input that is missing, broken, hostile or huge: a clear error, the right status, and nothing lost.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use claviger_tests::{Folder, Ran, Repo, binary, claviger, claviger_with, noise, token};

fn error(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.status, 2, "{}\n{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` not in: {}", ran.stderr);
    }
    assert!(ran.stderr.starts_with("claviger: ") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn targets_that_are_not_there_or_no_repository() {
    let folder = Folder::new();
    error(&folder.scan(&["missing"]), &["missing", "No such file"]);
    error(&folder.scan(&["--staged"]), &["not a git repository"]);
    error(&folder.scan(&["--range", "a..b"]), &["not a git repository"]);
    error(&folder.scan(&["--history-only"]), &["not a git repository"]);
}

#[cfg(unix)]
#[test]
fn devices_and_fifos_are_named_and_never_waited_for() {
    let folder = Folder::new();
    folder.write("a.env", format!("TOKEN={}", token("beside")));
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let ran = folder.scan(&["--coverage"]);
    assert_eq!((ran.status, ran.findings().len()), (1, 1), "{}", ran.stderr);
    assert!(ran.stdout.contains("special-file"), "{}", ran.stdout);
    error(&folder.scan(&["fifo"]), &["neither a file nor a directory"]);
    error(&folder.scan(&["/dev/zero"]), &["neither a file nor a directory"]);
    // Named by a list it is an entry of the ledger too.
    folder.write("list", "fifo\na.env\n");
    let ran = folder.scan(&["--files-from", "list"]);
    assert_eq!(ran.findings().len(), 1, "{}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_out_of_the_target() {
    let (folder, outside) = (Folder::new(), Folder::new());
    outside.write("secret.env", format!("TOKEN={}", token("outside")));
    std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).expect("a link");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).expect("a link");
    std::os::unix::fs::symlink("self", folder.path().join("self")).expect("a link");
    let ran = folder.scan(&[]);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_makes_the_scan_incomplete() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let file = folder.write("locked/a.env", "x");
    let locked = file.parent().expect("in a folder");
    fs::set_permissions(locked, fs::Permissions::from_mode(0o000)).expect("it is ours");
    // Root reads everything: ask the system whether it does.
    let can_read = fs::read_dir(locked).is_ok();
    let ran = folder.scan(&[]);
    fs::set_permissions(locked, fs::Permissions::from_mode(0o755)).expect("it is ours");
    if can_read {
        assert_eq!(ran.status, 0);
    } else {
        assert_eq!(ran.status, 2, "{}", ran.stdout);
        assert!(ran.stdout.contains("unreadable"), "{}", ran.stdout);
    }
}

/// Damages every object file of one kind of damage and asks for status 2.
#[test]
fn damaged_objects_make_the_scan_incomplete() {
    for damage in ["truncate", "zero", "garbage"] {
        let repo = Repo::new();
        repo.commit("a", noise("content", 3000));
        let id = repo.git(&["rev-parse", "HEAD:a"]);
        let file = repo.path().join(".git/objects").join(&id[..2]).join(&id[2..]);
        let bytes = fs::read(&file).expect("a loose object");
        let broken = match damage {
            "truncate" => bytes[..bytes.len() / 2].to_vec(),
            "zero" => Vec::new(),
            _ => noise("garbage", bytes.len()).into_bytes(),
        };
        fs::remove_file(&file).expect("it is ours");
        fs::write(&file, broken).expect("a file can be written");
        let ran = repo.scan(&["--history-only"]);
        assert_eq!(ran.status, 2, "{damage}: {}", ran.stdout);
        assert!(!ran.stderr.contains("panicked"));
    }
}

#[test]
fn a_corrupt_pack_is_no_panic_and_no_clean_scan() {
    let repo = Repo::new();
    for i in 0..20 {
        repo.commit("a", format!("{}{i}", noise("content", 2000)));
    }
    repo.git(&["repack", "-q", "-a", "-d"]);
    let packs = repo.path().join(".git/objects/pack");
    let pack = fs::read_dir(packs)
        .expect("a folder")
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "pack"));
    let pack = pack.expect("a pack");
    let good = fs::read(&pack).expect("a pack");
    for at in [20, good.len() / 3, good.len() / 2, good.len() - 40] {
        let mut bad = good.clone();
        bad[at..at + 16].fill(0xff);
        fs::remove_file(&pack).expect("it is ours");
        fs::write(&pack, bad).expect("a file can be written");
        let ran = repo.scan(&["--history-only"]);
        assert_eq!(ran.status, 2, "{at}: {}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_terminals_act_on_are_escaped_everywhere() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    let name = OsStr::from_bytes(b"a\x1b[31m\n\xff\xc2\x9b.env");
    let content = format!("\x1b]0;title\x07 TOKEN={} \x1b[2J\u{202e}\n", token("nasty"));
    fs::write(folder.path().join(name), content).expect("a file can be written");
    let formats = ["text", "json", "jsonl", "sarif", "gitlab", "csv", "junit", "github", "markdown"];
    for format in formats {
        let ran = claviger(folder.path(), &["scan", "--format", format, "-v", "--coverage"]);
        assert_eq!(ran.status, 1, "{format}: {}", ran.stderr);
        let raw = |c: char| {
            c.is_control() && !matches!(c, '\n' | '\t' | '\r') || matches!(c, '\u{202e}' | '\u{9b}')
        };
        assert!(!ran.stdout.contains(raw) && !ran.stderr.contains(raw), "{format}: {:?}", ran.stdout);
        assert!(!ran.stdout.contains(&token("nasty")), "{format}");
    }
}

#[test]
fn a_huge_file_costs_time_and_not_memory() {
    let folder = Folder::new();
    let file = folder.write("big.log", "");
    let mut out = std::io::BufWriter::new(fs::File::create(&file).expect("a file"));
    let line = format!("{}\n", noise("line", 127));
    for _ in 0..300_000 {
        out.write_all(line.as_bytes()).expect("space");
    }
    writeln!(out, "TOKEN={}", token("late")).expect("space");
    out.write_all(line.as_bytes()).expect("space");
    drop(out);
    let ran = folder.scan(&["--threads", "1"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert_eq!(ran.findings()[0]["places"][0]["line"], 300_001);
    let ran = folder.scan(&["--max-file-size", "1M"]);
    assert_eq!(ran.status, 0, "a limit that was asked for leaves the scan complete: {}", ran.stdout);
    assert!(ran.stdout.contains("size-limit"), "{}", ran.stdout);
}

#[test]
fn one_very_long_line() {
    let folder = Folder::new();
    let filler = "key=1;".repeat(3_000_000);
    folder.write("min.js", format!("{filler}t='{}';{filler}", token("middle")));
    let ran = folder.scan(&[]);
    assert_eq!((ran.status, ran.findings().len()), (1, 1), "{}", ran.stderr);
    let place = &ran.findings()[0]["places"][0];
    assert_eq!((place["line"].as_u64(), place["column"].as_u64()), (Some(1), Some(filler.len() as u64 + 4)));
}

#[test]
fn a_hundred_thousand_findings_in_one_file() {
    let folder = Folder::new();
    let text: String = (0..100_000).map(|i| format!("t={}\n", token(&i.to_string()))).collect();
    folder.write("dump.txt", text);
    let ran = claviger(folder.path(), &["scan", "--format", "jsonl"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().filter(|l| l.contains("\"type\":\"finding\"")).count(), 100_000);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_closed_pipe_are_no_panic() {
    let folder = Folder::new();
    let text: String = (0..2000).map(|i| format!("t={}\n", token(&i.to_string()))).collect();
    folder.write("dump.txt", text);
    for format in ["text", "json", "sarif"] {
        let ran = folder.scan(&["--format", format, "--output", "x", "--output", "/dev/full"]);
        assert_eq!(ran.status, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
        let mut child = Command::new(binary())
            .args(["scan", "--format", format])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn two_reports_into_one_file() {
    let folder = Folder::new();
    error(&folder.scan(&["--output", "r", "--format", "sarif", "--output", "./r"]), &["two reports", "r"]);
    error(&folder.scan(&["--format", "sarif"]), &["standard output"]);
    error(&folder.scan(&["--output", "no/such/folder/r"]), &["no/such/folder"]);
}

#[test]
fn rule_files_that_are_wrong_say_where_and_what() {
    let folder = Folder::new();
    let rule = |pattern: &str, anchors: &str| {
        format!(
            "provider: X\nrules:\n  - id: x-y\n    name: X\n    description: X\n    kind: token\n    severity: low\n    confidence: low\n    \
             anchors: {anchors}\n    pattern: '{pattern}'\n    remediation: x\n    examples: {{match: [a, b], miss: [c, d]}}\n"
        )
    };
    for (text, words) in [
        ("provider: [\n".to_owned(), vec!["bad.yaml", "line"]),
        ("provider: X\nrulez: []\n".to_owned(), vec!["bad.yaml", "rulez"]),
        (rule("x[", "[xyz]"), vec!["bad.yaml", "line 3", "x-y", "regex"]),
        (rule("(?=x)xyz", "[xyz]"), vec!["x-y", "look"]),
        (rule("xyz", "[]"), vec!["x-y", "anchors"]),
        (rule("xyz", "[xy]"), vec!["x-y", "between 3 and 64"]),
        (rule(&"(a{1,100}){1,100}".repeat(40), "[aaa]"), vec![]),
    ] {
        folder.write("bad.yaml", text);
        let ran = folder.scan(&["--rules", "bad.yaml"]);
        if words.is_empty() {
            // Too large to compile is what `rules check` reports; it must not hang or panic.
            assert!(!ran.stderr.contains("panicked"));
            assert_eq!(claviger(folder.path(), &["rules", "check", "--rules", "bad.yaml"]).status, 1);
        } else {
            error(&ran, &words);
        }
    }
    error(&folder.scan(&["--rules", "none.yaml"]), &["none.yaml"]);
    error(&folder.scan(&["--only", "githib-*"]), &["no rule is called"]);
}

#[test]
fn a_pattern_that_would_backtrack_for_ever_elsewhere() {
    let folder = Folder::new();
    folder.write(
        "slow.yaml",
        "provider: X\nrules:\n  - id: x-slow\n    name: X\n    description: X\n    kind: token\n    severity: low\n    confidence: high\n    \
         anchors: [aaaa]\n    pattern: '(a{0,100}){0,100}b'\n    remediation: x\n    checks: {placeholder: false}\n    examples: {match: [aaaab, aaaaab], miss: [c, d]}\n",
    );
    folder.write("a.txt", "a".repeat(200_000));
    let ran = folder.scan(&["--no-builtin-rules", "--rules", "slow.yaml", "a.txt"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

#[test]
fn a_million_anchors() {
    let folder = Folder::new();
    let mut text = String::from("provider: X\nrules:\n");
    for i in 0..300 {
        let anchors: Vec<String> = (0..4000).map(|j| format!("q{i:x}z{j:x}")).collect();
        text.push_str(&format!(
            "  - {{id: x-{i}, name: X, description: X, kind: token, severity: low, confidence: high, anchors: [{}], pattern: 'q[0-9a-f]{{1,3}}z[0-9a-f]{{1,3}}', remediation: x, examples: {{match: [a, b], miss: [c, d]}}}}\n",
            anchors.join(",")
        ));
    }
    // Over the size that a rule file may have: split, as its message says.
    folder.write("all.yaml", &text);
    error(
        &folder.scan(&["--no-builtin-rules", "--rules", "all.yaml"]),
        &["all.yaml", "larger than", "split"],
    );
    let rules: Vec<&str> = text.split("  - ").skip(1).collect();
    for (part, rules) in rules.chunks(60).enumerate() {
        folder
            .write(&format!("parts/{part}.yaml"), format!("provider: X\nrules:\n  - {}", rules.join("  - ")));
    }
    folder.write("in/a.txt", "nothing qz here\nq5z77 there\n");
    let ran = folder.scan(&["--no-builtin-rules", "--rules", "parts", "in"]);
    assert!(ran.status == 0 || ran.status == 1, "{}", ran.stderr);
}

#[test]
fn a_configuration_with_an_unknown_key_gets_a_hint() {
    let folder = Folder::new();
    folder.write("claviger.yaml", "version: 1\nrules:\n  onyl: [a]\n");
    error(&folder.scan(&[]), &["claviger.yaml", "line 3", "onyl", "did you mean `only`"]);
    folder.write("claviger.yaml", "version: 1\nrules:\n  paths: [../../etc]\n");
    error(&folder.scan(&[]), &["leads out of the project"]);
    folder.write("claviger.yaml", "a: &a [x]\nb: [*a, *a]\n");
    error(&folder.scan(&[]), &["claviger.yaml"]);
}

#[test]
fn standard_input_is_a_target() {
    let folder = Folder::new();
    let text = format!("diff\n+TOKEN={}\n", token("stdin"));
    let ran = claviger_with(folder.path(), &["scan", "--format", "json", "-"], text.as_bytes(), &[]);
    assert_eq!((ran.status, ran.findings().len()), (1, 1), "{}", ran.stderr);
    assert_eq!(ran.findings()[0]["places"][0]["kind"], "stdin");
    let ran = claviger_with(folder.path(), &["scan", "-"], b"", &[]);
    assert_eq!(ran.status, 0);
}

/// Ctrl-C ends the scan with what it has, and says so.
#[cfg(unix)]
#[test]
fn an_interrupted_scan_says_so() {
    let folder = Folder::new();
    folder.write("a.env", format!("TOKEN={}", token("early")));
    let mut child = Command::new(binary())
        .args(["scan", "--format", "json", "a.env", "-"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    let id = child.id().to_string();
    let chunk = vec![b'x'; 1 << 20];
    // Once it has read a good part it listens for signals.
    for _ in 0..20 {
        stdin.write_all(&chunk).expect("it reads");
    }
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    std::thread::sleep(std::time::Duration::from_millis(50));
    for _ in 0..20 {
        if stdin.write_all(&chunk).is_err() {
            break;
        }
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a whole report");
    assert_eq!(output.status.code(), Some(2), "{report}");
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["coverage"]["complete"], false);
}

#[test]
fn files_named_by_a_list_that_are_not_there() {
    let folder = Folder::new();
    folder.write("a.env", format!("TOKEN={}", token("listed")));
    folder.write("list", "a.env\ngone.txt\n");
    let ran = folder.scan(&["--files-from", "list"]);
    assert_eq!((ran.status, ran.findings().len()), (2, 1), "{}", ran.stdout);
    let ran =
        claviger_with(folder.path(), &["scan", "--format", "json", "--files-from", "-"], b"a.env\0", &[]);
    assert_eq!((ran.status, ran.findings().len()), (1, 1), "{}", ran.stderr);
    assert!(Path::new(&folder.path().join("list")).exists());
}
