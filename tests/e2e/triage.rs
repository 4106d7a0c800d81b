//! What is dealt with: inline markers, the ignore file, baselines, and the key of fingerprints.

use std::fs;
use std::path::Path;

use claviger_tests::{Folder, Ran, Repo, claviger, claviger_with, token, weak_line};

const KEY: &str = "CLAVIGER_FINGERPRINT_KEY";

fn json_scan(folder: &Path, flags: &[&str], vars: &[(&str, &str)]) -> Ran {
    claviger_with(folder, &[&["scan", "--format", "json", "--show-secrets"], flags].concat(), b"", vars)
}

fn scan(folder: &Path, flags: &[&str]) -> Ran {
    json_scan(folder, flags, &[])
}

/// A line of code that holds a token.
fn line(seed: &str) -> String {
    format!("t = '{}'", token(seed))
}

/// The fingerprint of the only finding.
fn fingerprint(ran: &Ran) -> String {
    let findings = ran.findings();
    assert_eq!(findings.len(), 1, "{}", ran.stdout);
    findings[0]["fingerprint"].as_str().expect("a text").to_owned()
}

fn notices(ran: &Ran) -> String {
    ran.json()["notices"].to_string()
}

/// Checks status, number of findings, and what allowed the others.
fn check(ran: &Ran, status: i32, open: usize, allowed: &[&str]) {
    let report = ran.json();
    let by: Vec<&str> =
        report["allowed"].as_array().expect("a list").iter().filter_map(|a| a["by"].as_str()).collect();
    assert_eq!(
        (ran.status, ran.findings().len(), by.as_slice()),
        (status, open, allowed),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn inline_markers_of_all_tools() {
    let own = concat!("claviger", ":allow");
    let markers = [
        (format!("# {own}"), own),
        (format!("# {own} gitlab-* -- sandbox"), own),
        (format!("# {} ", concat!("gitleaks", ":allow")), "gitleaks:allow"),
        (format!("// {}", concat!("betterleaks", ":allow")), "betterleaks:allow"),
        (format!("# {}", concat!("kingfisher", ":ignore")), "kingfisher:ignore"),
        (format!("# {}", concat!("trufflehog", ":ignore")), "trufflehog:ignore"),
        (format!("# pragma: {} secret", "allowlist"), "pragma: allowlist secret"),
        (format!("# pragma: {} secret", "whitelist"), "pragma: whitelist secret"),
        (format!("// #{} G101", "nosec"), "#nosec G101"),
        (format!("# {} B105", "nosec"), "# nosec B105"),
    ];
    let folder = Folder::new();
    for (at, (marker, _)) in markers.iter().enumerate() {
        folder.write(&format!("{at:02}.py"), format!("x = 1\n{}  {marker}\n", line(&at.to_string())));
    }
    folder.write("above.py", format!("# {own} -- on the line before\n{}\n", line("above")));
    let ran = scan(folder.path(), &[]);
    check(&ran, 0, 0, &["inline"; 11]);
    let report = ran.json();
    let allowed = report["allowed"].as_array().expect("a list");
    for (entry, (_, name)) in allowed.iter().zip(&markers) {
        assert_eq!(entry["marker"], *name, "{entry}");
    }
    assert_eq!(allowed[1]["reason"], "sandbox");
    assert_eq!(allowed[10]["reason"], "on the line before");
    // Nothing a report names as allowed is hidden for good.
    check(&scan(folder.path(), &["--no-ignore"]), 1, 11, &[]);
    let text = claviger(folder.path(), &["scan", "--no-color"]);
    assert!(text.stdout.contains("11 findings are allowed: 11 inline"), "{}", text.stdout);
}

#[test]
fn markers_that_allow_nothing() {
    let own = concat!("claviger", ":allow");
    let folder = Folder::new();
    let lines = [
        format!("{}  # {own} stripe-* -- another rule", line("a")),
        format!("{}  # {own} because I say so", line("b")),
        format!("{}  # {}", line("c"), "nosec"),
        format!("{}  # {} B602", line("d"), "nosec"),
        format!("{}  # not{}", line("e"), concat!("gitleaks", ":allow")),
        format!("x = 1  # {own}\n{}", line("f")),
        // A marker inside of the value itself is no marker.
        format!("t = '{}'", token("g")),
    ];
    folder.write("a.py", lines.join("\n\n"));
    check(&scan(folder.path(), &[]), 1, 7, &[]);
}

#[test]
fn an_entry_of_the_ignore_file_allows_one_value_at_its_paths() {
    let folder = Folder::new();
    folder.write("src/a.py", line("known"));
    let id = fingerprint(&scan(folder.path(), &[]));
    let ignore = |text: &str| {
        folder.write(".clavigerignore", format!("# what is no danger\n{text}\n"));
        scan(folder.path(), &[])
    };
    for entry in [
        format!("{id} gitlab-personal-token src/a.py -- sandbox"),
        format!("{id} * * owner=ann expires=2999-12-31 -- sandbox"),
        format!("{id} gitlab-* src -- sandbox"),
        format!("{id} gitlab-* *.py -- sandbox"),
        format!("{id} gitlab-* \"/src/*.py\" owner=\"Ann Lee\" -- sandbox"),
    ] {
        let ran = ignore(&entry);
        check(&ran, 0, 0, &["ignore-file"]);
        assert_eq!(ran.json()["allowed"][0]["reason"], "sandbox", "{entry}");
        assert_eq!(ran.json()["allowed"][0]["line"], 2);
        assert_eq!(notices(&ran), "[]", "{entry}");
    }
    let elsewhere = ignore(&format!("{id} * docs/*.py -- sandbox"));
    check(&elsewhere, 1, 1, &[]);
    assert!(notices(&elsewhere).contains("paths its glob does not match"), "{}", notices(&elsewhere));
    let other_rule = ignore(&format!("{id} aws-* * -- sandbox"));
    check(&other_rule, 1, 1, &[]);
    assert!(notices(&other_rule).contains("another rule"), "{}", notices(&other_rule));
    let expired = ignore(&format!("{id} * * expires=2020-02-29 -- sandbox"));
    check(&expired, 1, 1, &[]);
    assert!(notices(&expired).contains("expired after 2020-02-29"), "{}", notices(&expired));
}

#[test]
fn another_secret_on_an_ignored_line_fails() {
    let folder = Folder::new();
    folder.write("a.py", line("first"));
    let id = fingerprint(&scan(folder.path(), &[]));
    folder.write(".clavigerignore", format!("{id} * a.py -- sandbox\n"));
    check(&scan(folder.path(), &[]), 0, 0, &["ignore-file"]);
    folder.write("a.py", line("second"));
    check(&scan(folder.path(), &[]), 1, 1, &[]);
    folder.write("a.py", format!("{}; {}", line("first"), line("second")));
    let ran = scan(folder.path(), &[]);
    check(&ran, 1, 1, &["ignore-file"]);
    assert_eq!(ran.findings()[0]["secret"], token("second"));
}

#[test]
fn an_entry_that_matches_nothing_is_stale_only_for_a_scan_of_everything() {
    let folder = Folder::new();
    folder.write("a.py", line("here"));
    folder.write("b/c.py", "x = 1\n");
    let id = fingerprint(&scan(folder.path(), &[]));
    folder.write(".clavigerignore", format!("{id} * * -- sandbox\n"));
    folder.write("a.py", "gone\n");
    let stale = |flags: &[&str]| notices(&scan(folder.path(), flags)).contains("matches no finding any more");
    assert!(stale(&[]));
    for part in [
        ["--include", "b"].as_slice(),
        &["--exclude", "a.py"],
        &["--only", "gitlab-*"],
        &["--skip", "aws-*"],
        &["--max-depth", "0"],
        &["--max-file-size", "1k"],
        &["--no-history"],
        &["b/c.py"],
    ] {
        assert!(!stale(part), "{part:?}");
    }
}

/// A value that is found with low confidence is there, though it is not shown.
#[test]
fn what_is_under_the_shown_confidence_is_not_stale() {
    let folder = Folder::new();
    folder.write("a.py", line("sure"));
    folder.write("test/b.py", weak_line("hunter"));
    let all = scan(folder.path(), &["--min-confidence", "low"]);
    let entries: Vec<String> = all
        .findings()
        .iter()
        .map(|f| format!("{} * * -- known\n", f["fingerprint"].as_str().expect("a text")))
        .collect();
    assert!(entries.len() >= 2, "{}", all.stdout);
    let hidden = scan(folder.path(), &["--min-confidence", "high"]).json()["hidden"].clone();
    assert!(hidden.as_u64() > Some(0), "{hidden}");
    folder.write(".clavigerignore", entries.concat());
    for level in ["low", "medium", "high"] {
        let ran = scan(folder.path(), &["--min-confidence", level]);
        assert_eq!((ran.status, notices(&ran).as_str()), (0, "[]"), "{level}");
    }
    fs::remove_file(folder.path().join(".clavigerignore")).expect("it is there");
    claviger(folder.path(), &["scan", "--min-confidence", "low", "--write-baseline", "known.json"]);
    for level in ["low", "medium", "high"] {
        let ran = scan(folder.path(), &["--min-confidence", level, "--baseline", "known.json"]);
        assert_eq!((ran.status, notices(&ran).as_str()), (0, "[]"), "{level}");
    }
    fs::remove_file(folder.path().join("a.py")).expect("it is there");
    let ran = scan(folder.path(), &["--min-confidence", "high", "--baseline", "known.json"]);
    assert!(notices(&ran).contains("1 of its"), "{}", notices(&ran));
}

#[test]
fn broken_lines_of_the_ignore_file_are_errors_that_quote_nothing() {
    let folder = Folder::new();
    folder.write("a.py", "x = 1\n");
    let good = format!("s1:{} * * -- fine", "0".repeat(24));
    for (text, says) in [
        (token("pasted"), "does not begin with a fingerprint"),
        (format!("s1:{}", "0".repeat(24)), "no rule"),
        (format!("s1:{} *", "0".repeat(24)), "no path"),
        (format!("s1:{} * *", "0".repeat(24)), "no reason"),
        (format!("s1:{} * * -- ", "0".repeat(24)), "reason is empty"),
        (format!("s1:{} * a/[b -- x", "0".repeat(24)), "path glob"),
        (format!("s1:{} * * expires=tomorrow -- x", "0".repeat(24)), "2027-01-31"),
        (format!("s1:{} * * until=2027-01-01 -- x", "0".repeat(24)), "owner="),
        ("<<<<<<< main".to_owned(), "merge conflict"),
    ] {
        folder.write(".clavigerignore", format!("{good}\n{text}\n"));
        let ran = scan(folder.path(), &[]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{text}");
        assert!(ran.stderr.contains(".clavigerignore:2:") && ran.stderr.contains(says), "{}", ran.stderr);
        assert!(!ran.stderr.contains(&token("pasted")), "{}", ran.stderr);
        let checked = {
            folder.write("claviger.yaml", "version: 1\n");
            let ran = claviger(folder.path(), &["config", "check"]);
            fs::remove_file(folder.path().join("claviger.yaml")).expect("it is there");
            ran
        };
        assert_eq!(checked.status, 2, "{}", checked.stdout);
    }
}

#[test]
fn a_baseline_shows_only_what_is_new() {
    let repo = Repo::new();
    repo.commit("src/a.py", format!("x = 1\n{}\n", line("old")));
    let written = claviger(repo.path(), &["scan", "--write-baseline", "known.json"]);
    assert_eq!((written.status, written.stdout.as_str()), (0, ""), "{}", written.stderr);
    assert!(written.stderr.contains("1 finding written to known.json"), "{}", written.stderr);
    let text = fs::read_to_string(repo.path().join("known.json")).expect("a file");
    assert!(!text.contains(&token("old")) && text.contains("src/a.py"), "{text}");

    let known = |flags: &[&str]| scan(repo.path(), &[&["--baseline", "known.json"], flags].concat());
    check(&known(&[]), 0, 0, &["baseline"]);
    check(&known(&["--no-ignore"]), 1, 1, &[]);
    // Moved lines, renamed files and copies stay known.
    repo.write("src/a.py", format!("\n\n\n{}\n", line("old")));
    check(&known(&[]), 0, 0, &["baseline"]);
    repo.git(&["mv", "src/a.py", "other name.py"]);
    repo.git(&["commit", "-q", "-am", "rename"]);
    check(&known(&[]), 0, 0, &["baseline"]);
    repo.write("b.py", line("new"));
    let ran = known(&[]);
    check(&ran, 1, 1, &["baseline"]);
    assert_eq!(ran.findings()[0]["secret"], token("new"));

    // Renewed, its lines stay as they are, and the new one comes in.
    let again = claviger(repo.path(), &["scan", "--write-baseline", "known.json", "--quiet"]);
    assert_eq!((again.status, again.stderr.as_str()), (0, ""));
    let renewed = fs::read_to_string(repo.path().join("known.json")).expect("a file");
    let salt = |text: &str| text.lines().find(|l| l.contains("salt")).map(str::to_owned);
    assert_eq!(salt(&renewed), salt(&text));
    check(&known(&[]), 0, 0, &["baseline"; 2]);
}

#[test]
fn a_baseline_that_the_configuration_names_can_be_made() {
    let folder = Folder::new();
    folder.write("claviger.yaml", "version: 1\nbaseline: ci/known.json\n");
    folder.write("a.py", line("old"));
    folder.write("ci/readme", "");
    let ran = scan(folder.path(), &[]);
    assert!(ran.status == 2 && ran.stderr.contains("known.json: not there"), "{}", ran.stderr);
    let ran = claviger(folder.path(), &["scan", "--write-baseline", "ci/known.json"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    check(&scan(folder.path(), &[]), 0, 0, &["baseline"]);
    let ran = claviger(folder.path(), &["scan", "--write-baseline", "a.py"]);
    assert!(ran.status == 2 && ran.stderr.contains("replaces only a baseline"), "{}", ran.stderr);
    assert!(fs::read_to_string(folder.path().join("a.py")).expect("it is there").contains(&token("old")));
    for report in [["--format", "json"], ["--output", "r.json"]] {
        let ran = claviger(folder.path(), &[&["scan", "--write-baseline", "x"], report.as_slice()].concat());
        assert!(ran.status == 2 && ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
    }
}

#[test]
fn a_keyed_baseline_needs_its_key() {
    let folder = Folder::new();
    folder.write("a.py", line("old"));
    let key = [(KEY, "a key of the team, long enough")];
    let ran = claviger_with(folder.path(), &["scan", "--write-baseline", "known.json"], b"", &key);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let text = fs::read_to_string(folder.path().join("known.json")).expect("a file");
    assert!(text.contains("\"k1:") && text.contains("key_check") && !text.contains("a key of"), "{text}");
    check(&json_scan(folder.path(), &["--baseline", "known.json"], &key), 0, 0, &["baseline"]);
    for (vars, says) in [
        (vec![], "set CLAVIGER_FINGERPRINT_KEY"),
        (vec![(KEY, "")], "set CLAVIGER_FINGERPRINT_KEY"),
        (vec![(KEY, "some other key, also long enough")], "another fingerprint key"),
        (vec![(KEY, "short")], KEY),
    ] {
        let ran = json_scan(folder.path(), &["--baseline", "known.json"], &vars);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{vars:?}");
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("long enough"), "{}", ran.stderr);
    }
    // Entries of the ignore file made without the key match nothing, and that is said.
    let id = fingerprint(&scan(folder.path(), &[]));
    folder.write(".clavigerignore", format!("{id} * * -- sandbox\n"));
    let ran = json_scan(folder.path(), &[], &key);
    check(&ran, 1, 1, &[]);
    assert!(notices(&ran).contains("made without a key and one is in use"), "{}", notices(&ran));
}

#[test]
fn fingerprints_are_the_same_in_every_run_and_on_every_machine() {
    let weak = weak_line("Tr0ub4dor&3-horse");
    let (one, two) = (Folder::new(), Repo::new());
    one.write("deep/er/a.py", format!("{weak}\n{}", line("same")));
    two.commit("b.py", format!("\n\n{}\n\n{weak}", line("same")));
    let all = |folder: &Path, vars: &[(&str, &str)]| {
        let mut all: Vec<String> = json_scan(folder, &["--min-confidence", "low"], vars)
            .findings()
            .iter()
            .map(|f| format!("{} {}", f["rule"], f["fingerprint"]))
            .collect();
        all.sort();
        assert_eq!(all.len(), 2, "{all:?}");
        all
    };
    for vars in [&[] as &[(&str, &str)], &[(KEY, "a key of the team, long enough")]] {
        assert_eq!(all(one.path(), vars), all(two.path(), vars));
    }
    // Another salt or a key makes others: what two projects keep cannot be compared.
    let plain = all(one.path(), &[]);
    one.write("claviger.yaml", "version: 1\nfingerprint: {salt: 0f3c1d0a9b7e5d42}\n");
    let salted = all(one.path(), &[]);
    assert!(plain.iter().all(|f| !salted.contains(f)), "{plain:?} {salted:?}");
    fs::remove_file(one.path().join("claviger.yaml")).expect("it is there");
    one.write(".clavigerignore", "# claviger:salt 0f3c1d0a9b7e5d42\n");
    assert_eq!(all(one.path(), &[]), salted);
}

/// Whatever part of a project is scanned and from wherever: its entries hold.
#[test]
fn the_ignore_file_of_the_work_tree_holds_for_parts_of_it() {
    let repo = Repo::new();
    repo.commit("src/deep/a.py", line("known"));
    let id = fingerprint(&scan(repo.path(), &[]));
    repo.write(".clavigerignore", format!("{id} * src/deep/a.py -- sandbox\n"));
    let inside = repo.path().join("src/deep");
    for (folder, target) in [
        (repo.path(), None),
        (repo.path(), Some("src")),
        (repo.path(), Some("./src/deep/a.py")),
        (&inside, None),
        (&inside, Some(".")),
        (&inside, Some("a.py")),
        (&inside, Some("..")),
        (repo.outside(), Some("repo")),
        (repo.outside(), Some("repo/src/deep/a.py")),
    ] {
        let flags: Vec<&str> = target.into_iter().collect();
        let ran = scan(folder, &flags);
        check(&ran, 0, 0, &["ignore-file"]);
        let place = ran.json()["allowed"][0]["finding"]["places"][0]["path"].clone();
        assert_eq!(place, "src/deep/a.py", "{folder:?} {target:?}");
    }
    repo.write("b.py", "x = 1\n");
    let ran = scan(repo.path(), &["src/deep/a.py", "b.py", "src"]);
    check(&ran, 0, 0, &["ignore-file"]);
}

#[cfg(unix)]
#[test]
fn a_project_cannot_name_files_outside_of_it_by_links() {
    let (folder, outside) = (Folder::new(), Folder::new());
    folder.write("a.py", line("x"));
    let file = outside.write("file", "somebody: else\n");
    for name in [".clavigerignore", "claviger.yaml"] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let ran = scan(folder.path(), &[]);
        assert_eq!(ran.status, 2, "{}", ran.stdout);
        assert!(ran.stderr.contains("link out of the project"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("somebody"), "{}", ran.stderr);
        fs::remove_file(link).expect("it is there");
    }
    let fifo = folder.path().join("claviger.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let ran = scan(folder.path(), &[]);
    assert!(ran.status == 2 && ran.stderr.contains("not a regular file"), "{}", ran.stderr);
}
