//! The command line: every verb, every flag of `scan`, exit statuses, colours, and what goes where.

use std::fs;
use std::path::Path;
use std::process::Command;

use claviger_tests::{Folder, Ran, Repo, binary, claviger, claviger_with, line, token, tool};
use serde_json::Value;

fn run(folder: &Path, args: &[&str]) -> Ran {
    claviger(folder, args)
}

fn scan(folder: &Path, flags: &[&str]) -> Ran {
    claviger(folder, &[&["scan", "--format", "json", "--show-secrets"], flags].concat())
}

#[test]
fn every_help_text_has_an_example_and_fits() {
    let folder = Folder::new();
    for verb in [
        "",
        "scan",
        "rules",
        "rules list",
        "rules show",
        "rules test",
        "rules check",
        "rules schema",
        "config",
        "config check",
        "config schema",
        "explain",
        "completions",
        "man",
        "version",
    ] {
        let args: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let ran = claviger_with(folder.path(), &args, b"", &[("COLUMNS", "80")]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{verb}");
        let (_, examples) =
            ran.stdout.split_once("Example").unwrap_or_else(|| panic!("{verb}: {}", ran.stdout));
        assert!(examples.contains("  claviger "), "{verb}: {examples}");
        assert!(ran.stdout.lines().all(|l| l.chars().count() <= 80), "{verb}: {}", ran.stdout);
    }
}

#[test]
fn usage_errors_end_with_2_and_say_how_it_is_done() {
    let folder = Folder::new();
    for (args, says) in [
        (vec!["scna"], "unrecognized subcommand"),
        (vec!["scan", "--no-such-flag"], "unexpected argument"),
        (vec!["scan", "--format", "yaml"], "possible values"),
        (vec!["scan", "--max-file-size", "big"], "number of bytes"),
        (vec!["scan", "--threads", "0"], "1..=1024"),
        (vec!["scan", "--min-confidence", "sure"], "low, medium, high"),
        (vec!["scan", "--include", "a/[b"], "no valid glob"),
        (vec!["scan", "--staged", "--range", "a..b"], "cannot be used with"),
        (vec!["scan", "--no-history", "--since", "2024-01-01"], "cannot be used with"),
        (vec!["scan", "-q", "-v"], "cannot be used with"),
        (vec!["scan", "--output", "report.yaml"], "say which with --format"),
        (vec!["rules", "show", "gitlab-persnal-token"], "did you mean `gitlab-personal-token`"),
        (vec!["explain", "nothing-of-that-name"], "no file, no rule"),
        (vec!["explain", "gone.py:3"], "give its fingerprint"),
        (vec!["config", "check", "none.yaml"], "none.yaml"),
        (vec!["completions", "tcsh"], "possible values"),
    ] {
        let ran = run(folder.path(), &args);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn rules_are_listed_shown_tested_and_checked() {
    let folder = Folder::new();
    let all = run(folder.path(), &["rules", "list"]);
    let last = all.stdout.lines().last().expect("a sum");
    let count: usize = last.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(count >= 150 && all.stdout.lines().count() == count + 1, "{last}");
    let some =
        run(folder.path(), &["rules", "list", "--json", "--only", "gitlab-*", "--skip", "*-runner-*"]).json();
    let some = some.as_array().expect("a list");
    assert!(some.len() > 1);
    for rule in some {
        let id = rule["id"].as_str().expect("a text");
        assert!(id.starts_with("gitlab-") && !id.contains("-runner-"), "{id}");
        for key in ["name", "description", "provider", "severity", "confidence", "pattern", "remediation"] {
            assert!(rule[key].as_str().is_some_and(|text| !text.is_empty()), "{id}: {key}");
        }
    }
    let shown = run(folder.path(), &["rules", "show", "gitlab-personal-token"]);
    for word in ["GitLab", "glpat-", "severity", "to do", "https://"] {
        assert!(shown.stdout.contains(word), "{word}: {}", shown.stdout);
    }
    let tested = run(folder.path(), &["rules", "test", "--only", "gitlab-*"]);
    assert!(tested.status == 0 && tested.stdout.contains(" 0 failed"), "{}", tested.stdout);
    let checked = run(folder.path(), &["rules", "check", "--only", "gitlab-*"]);
    assert!(checked.status == 0 && checked.stdout.contains(" 0 remarks"), "{}", checked.stdout);
    let schema = run(folder.path(), &["rules", "schema"]).json();
    assert_eq!(schema["type"], "object");

    let mine = |examples: &str| {
        let text = format!(
            "provider: Mine\nrules:\n  - id: mine-key\n    name: Mine\n    description: Mine.\n    kind: token\n    severity: low\n    \
             confidence: high\n    anchors: [mine_]\n    pattern: 'mine_[0-9a-z]{{20}}'\n    remediation: Revoke it.\n    examples:\n{examples}"
        );
        folder.write("mine.yaml", text);
    };
    let own = ["--no-builtin-rules", "--rules", "mine.yaml"];
    let verb = |verb: &str| run(folder.path(), &[&["rules", verb], own.as_slice()].concat());
    mine(
        "      match: ['mine_{{lower 20}}', 'x=mine_{{lower 20}}']\n      miss: ['mine_{{lower 5}}', 'mine']\n",
    );
    assert_eq!(verb("test").status, 0, "{}", verb("test").stdout);
    mine(
        "      match: ['mine_{{lower 20}}', 'yours_{{lower 20}}']\n      miss: ['mine_{{lower 5}}', 'mine']\n",
    );
    let failed = verb("test");
    assert!(failed.status == 1 && failed.stdout.contains("mine-key: example `yours_"), "{}", failed.stdout);
}

#[test]
fn a_configuration_is_checked_with_all_it_names() {
    let folder = Folder::new();
    let check = |text: &str| {
        folder.write("claviger.yaml", text);
        run(folder.path(), &["config", "check"])
    };
    let good = check("version: 1\nexclude: ['*.md']\n");
    assert!(good.status == 0 && good.stdout.starts_with("claviger.yaml: good; "), "{}", good.stdout);
    for (text, says) in [
        ("version: 1\nexlude: [a]\n", "line 2 column 1, expected one of"),
        ("version: 1\nexlude: [a]\n", "did you mean `exclude`"),
        ("version: 2\n", "version 2 is not known"),
        ("include: ['a/[b']\n", "no valid glob"),
        ("baseline: none.json\n", "none.json"),
        ("rules: {paths: [none.yaml]}\n", "none.yaml"),
        ("rules: {only: [no-such-rule]}\n", "no rule is called"),
        ("fingerprint: {salt: short}\n", "at least 16"),
        ("max_file_size: many\n", "max_file_size"),
    ] {
        let ran = check(text);
        assert_eq!(ran.status, 2, "{text}: {}", ran.stdout);
        // serde words the place in its own way.
        let says = if says.contains("column") { "line 2" } else { says };
        assert!(ran.stderr.contains(says), "{text}: {}", ran.stderr);
    }
    let entry = |digit: &str| format!("s1:{} * * -- x\n", digit.repeat(24));
    folder.write(".clavigerignore", entry("2") + &entry("1"));
    let ran = check("version: 1\n");
    assert!(ran.status == 0 && ran.stdout.contains(".clavigerignore:2: not in order"), "{}", ran.stdout);
    let schema = run(folder.path(), &["config", "schema"]).json();
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn explain_says_which_rule_which_check_and_what_decided() {
    let repo = Repo::new();
    let own = concat!("claviger", ":allow");
    let text = format!(
        "x = 1\n{}{}y = 'glpat-{}'\n",
        line("a"),
        line("b").replace('\n', &format!(" # {own} -- why not\n")),
        "changeme"
    );
    repo.commit("src/app.py", &text);
    let explain = |args: &[&str]| run(repo.path(), &[&["explain"], args].concat());
    let has = |ran: &Ran, status: i32, words: &[&str]| {
        assert_eq!(ran.status, status, "{}\n{}", ran.stdout, ran.stderr);
        for word in words {
            assert!(ran.stdout.contains(word), "`{word}` not in:\n{}", ran.stdout);
        }
        assert!(!ran.stdout.contains(&token("a")), "{}", ran.stdout);
    };
    has(&explain(&["gitlab-personal-token"]), 0, &["anchors", "glpat-", "to do"]);
    has(&explain(&["src/app.py:1"]), 0, &["no rule has an anchor here", "0 candidates, 0 findings"]);
    let shown = [
        "line 2: gitlab-personal-token: found, confidence high",
        "1 finding\n",
        "line 2: gitlab-personal-token: shown",
    ];
    has(&explain(&["src/app.py:2"]), 1, &shown);
    has(&explain(&["src/app.py:2:6"]), 1, &shown);
    has(
        &explain(&["src/app.py:3"]),
        1,
        &[&format!("line 3: gitlab-personal-token: allowed by the marker `{own}`: why not")],
    );
    has(&explain(&["src/app.py:4"]), 0, &["the pattern does not match"]);
    has(&explain(&["src/app.py"]), 1, &["2 findings"]);

    let ran = scan(repo.path(), &[]);
    let id = ran.findings()[0]["fingerprint"].as_str().expect("a text").to_owned();
    let found = explain(&[&id]);
    has(&found, 1, &["src/app.py:2:6 (file)", "(history, introduced by ", ".clavigerignore"]);
    // The line it prints is one that the ignore file takes.
    let entry = found.stdout.lines().last().expect("an entry");
    repo.write(".clavigerignore", format!("{}\n", entry.replace("no reason given", "a sandbox")));
    assert_eq!(scan(repo.path(), &[]).status, 0);
    has(
        &explain(&["src/app.py:2"]),
        1,
        &["line 2: gitlab-personal-token: allowed by line 1 of the ignore file: a sandbox"],
    );
    has(&explain(&[&id]), 1, &["allowed by line 1 of the ignore file: a sandbox"]);
    fs::remove_file(repo.path().join(".clavigerignore")).expect("it is there");

    run(repo.path(), &["scan", "--write-baseline", "known.json"]);
    has(&explain(&["src/app.py:2", "--baseline", "known.json"]), 1, &["known, as the baseline lists it"]);
    repo.write("claviger.yaml", "baseline: known.json\nexclude: [src]\nrules: {skip: [generic-*]}\n");
    let ran = explain(&["src/app.py:2"]);
    has(&ran, 1, &["known, as the baseline lists it", "keep scans from this file"]);
    assert!(!ran.stdout.contains("generic-"), "the project's own rules: {}", ran.stdout);
    repo.write(".gitignore", "build/\n");
    repo.write("build/out.env", line("built"));
    has(&explain(&["build/out.env"]), 1, &["git ignores this file"]);
    let ran = explain(&[&format!("s1:{}", "0".repeat(24))]);
    assert!(ran.status == 2 && ran.stderr.contains("another key or salt"), "{}", ran.stderr);
}

#[test]
fn completions_man_and_version() {
    let folder = Folder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(folder.path(), &["completions", shell]);
        assert!(
            ran.status == 0 && ran.stdout.contains("claviger") && ran.stdout.contains("staged"),
            "{shell}"
        );
        if let ("bash", Some(bash)) = (shell, tool("bash")) {
            let script = folder.write("completion.bash", &ran.stdout);
            assert!(Command::new(bash).arg("-n").arg(script).status().expect("bash runs").success());
        }
    }
    let page = run(folder.path(), &["man"]).stdout;
    for name in ["claviger", "claviger\\-scan", "claviger\\-rules\\-list", "claviger\\-config\\-check"] {
        let is_there = page
            .lines()
            .any(|l| l.starts_with(".TH") && l.replace('\\', "").contains(&name.replace('\\', "")));
        assert!(is_there, "{name}: {:?}", page.lines().filter(|l| l.starts_with(".TH")).collect::<Vec<_>>());
    }
    let version = run(folder.path(), &["version", "--json"]).json();
    assert_eq!(version["name"], "claviger");
    assert_eq!(version["rules_digest"].as_str().map(str::len), Some(64));
    let plain = run(folder.path(), &["--version"]).stdout;
    assert_eq!(plain, format!("claviger {}\n", version["version"].as_str().expect("a text")));
    assert!(run(folder.path(), &["version"]).stdout.contains("built-in rules"));
}

#[test]
fn exit_zero_shows_findings_and_hides_no_gap() {
    let folder = Folder::new();
    folder.write("a.py", line("a"));
    let ran = scan(folder.path(), &["--exit-zero"]);
    assert_eq!((ran.status, ran.findings().len()), (0, 1));
    folder.write("list", "a.py\ngone.py\n");
    let ran = scan(folder.path(), &["--exit-zero", "--files-from", "list"]);
    assert_eq!((ran.status, ran.findings().len()), (2, 1));
}

#[test]
fn several_reports_from_one_scan() {
    let folder = Folder::new();
    folder.write("a.py", line("a"));
    let ran = run(
        folder.path(),
        &[
            "scan", "-f", "sarif", "-o", "r.sarif", "-f", "json", "-o", "-", "-o", "r.csv", "-o", "r.md",
            "-o", "r.xml",
        ],
    );
    // The formats that are left come from the endings.
    assert_eq!((ran.status, ran.findings().len()), (1, 1), "{}", ran.stderr);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a report");
    let sarif: Value = serde_json::from_str(&read("r.sarif")).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(1));
    assert!(read("r.csv").starts_with("type,rule") && read("r.xml").starts_with("<?xml"));
    assert!(read("r.md").starts_with("## claviger"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.path().join("r.csv")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "reports are nobody else's business");
    }
}

/// A report with secrets in full must not be found by the next scan, wherever it is and however it is called.
#[test]
fn reports_into_the_scanned_tree_are_no_subject_of_the_scan() {
    let repo = Repo::new();
    repo.write("src/a.py", line("a"));
    let whole = repo.path().join("src/whole.json").display().to_string();
    let inside = repo.path().join("src");
    for (folder, output) in [
        (repo.path(), "r.json"),
        (repo.path(), "./src/r.json"),
        (repo.path(), whole.as_str()),
        (&inside, "sub.json"),
        (&inside, "../up.json"),
    ] {
        for _ in 0..2 {
            let ran = run(folder, &["scan", "--show-secrets", "-f", "json", "-o", output]);
            assert_eq!(ran.status, 1, "{}", ran.stderr);
            let file = folder.join(output);
            let report: Value = serde_json::from_slice(&fs::read(&file).expect("a report")).expect("JSON");
            let places = report["findings"][0]["places"].as_array().expect("a list").clone();
            assert_eq!(
                (places.len(), &places[0]["path"]),
                (1, &Value::from("src/a.py")),
                "{output}: {places:?}"
            );
        }
        fs::remove_file(folder.join(output)).expect("it is there");
    }
}

#[test]
fn quiet_verbose_stats_and_coverage() {
    let folder = Folder::new();
    folder.write("a.py", line("a"));
    folder.write("b.py", format!("{} # {}", line("b").trim_end(), concat!("claviger", ":allow")));
    folder.write("c.md", "x");
    let text = |flags: &[&str]| run(folder.path(), &[&["scan", "--exclude", "*.md"], flags].concat());
    let plain = text(&[]);
    assert!(
        plain.stdout.contains("1 secret found") && plain.stdout.contains("Read 2 files"),
        "{}",
        plain.stdout
    );
    assert!(
        plain.stdout.contains("Left out: 1 path excluded by a glob (--coverage lists them)"),
        "{}",
        plain.stdout
    );
    assert!(!plain.stdout.contains("allowed: GitLab") && !plain.stdout.contains("  why "));
    assert_eq!(plain.stderr, "");
    let quiet = text(&["-q"]);
    assert!(quiet.stdout.contains("a.py:1:6") && !quiet.stdout.contains("secret found"), "{}", quiet.stdout);
    let verbose = text(&["-v"]);
    assert!(
        verbose.stdout.contains("allowed: GitLab") && verbose.stdout.contains("  why "),
        "{}",
        verbose.stdout
    );
    let stats = text(&["--stats"]);
    assert!(stats.stderr.contains("files 2") && stats.stderr.contains("MB/s"), "{}", stats.stderr);
    assert_eq!(stats.stdout, plain.stdout);
    let coverage = text(&["--coverage"]);
    assert!(coverage.stdout.contains("excluded c.md"), "{}", coverage.stdout);
    let clean = run(folder.path(), &["scan", "-q", "c.md"]);
    assert_eq!((clean.status, clean.stdout.as_str(), clean.stderr.as_str()), (0, "", ""));
}

#[test]
fn json_on_standard_output_is_one_document_whatever_happens() {
    let (folder, repo) = (Folder::tree(), Repo::new());
    folder.write("list", "a.py\ngone.py\n");
    for (path, flags, status) in [
        (folder.path(), vec![], 1),
        (folder.path(), vec!["-v", "--coverage", "--stats"], 1),
        (folder.path(), vec!["-q"], 1),
        (folder.path(), vec!["--include", "nothing"], 0),
        (folder.path(), vec!["--files-from", "list"], 2),
        (folder.path(), vec!["a.py", "docs"], 1),
        (folder.path(), vec!["-"], 0),
        (repo.path(), vec![], 0),
        (repo.path(), vec!["--staged"], 0),
        (repo.path(), vec!["--history-only"], 0),
    ] {
        let ran = claviger(path, &[&["scan", "--format", "json"], flags.as_slice()].concat());
        assert_eq!(ran.status, status, "{flags:?}: {}", ran.stderr);
        assert_eq!(ran.json()["schema_version"], 1);
        if ran.json()["coverage"]["files"] == 0 && status == 0 {
            assert!(
                ran.json()["notices"].to_string().contains("nothing was scanned"),
                "{flags:?}: {}",
                ran.stdout
            );
        }
    }
}

/// Runs a shell command on a terminal of its own; what the terminal got.
fn on_terminal(folder: &Path, line: &str, vars: &[(&str, &str)]) -> Option<String> {
    let script = tool("script")?;
    let mut command = Command::new(script);
    command.args(["-qec", line, "/dev/null"]).current_dir(folder).stdin(std::process::Stdio::null());
    command
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .env("TERM", "xterm-256color")
        .envs(vars.iter().copied());
    let output = command.output().expect("script starts");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(target_os = "linux")]
#[test]
fn colours_and_links_are_for_terminals_only() {
    let folder = Folder::new();
    folder.write("a.py", line("a"));
    let piped = run(folder.path(), &["scan"]);
    assert!(!piped.stdout.contains('\x1b'), "{:?}", piped.stdout);
    let line = format!("stty cols 72 rows 24; '{}' scan", binary().display());
    let Some(shown) = on_terminal(folder.path(), &line, &[]) else { return };
    assert!(shown.contains("\x1b[1m") && shown.contains("\x1b]8;;file:///"), "{shown:?}");
    // Lines fit into the terminal that there is.
    let plain = on_terminal(folder.path(), &format!("{line} --no-color"), &[]).expect("as before");
    assert!(plain.contains("1 secret found") && !plain.contains('\x1b'), "{plain:?}");
    let text = plain.lines().filter(|l| !l.contains("https://")).map(|l| l.trim_end().chars().count());
    assert!(text.max().is_some_and(|longest| (60..=72).contains(&longest)), "{plain}");
    for (vars, colours) in [
        (vec![("NO_COLOR", "1")], false),
        // Any value counts but an empty one.
        (vec![("NO_COLOR", "0")], false),
        (vec![("NO_COLOR", "")], true),
        (vec![("TERM", "dumb")], false),
    ] {
        let shown = on_terminal(folder.path(), &line, &vars).expect("as before");
        assert_eq!(shown.contains("\x1b["), colours, "{vars:?}: {shown:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn scans_that_take_long_show_progress_on_a_terminal_and_nowhere_else() {
    let folder = Folder::new();
    let line =
        |flags: &str| format!("stty cols 72 rows 24; sleep 1 | '{}' scan - {flags}", binary().display());
    let Some(shown) = on_terminal(folder.path(), &line(""), &[]) else { return };
    assert!(shown.contains("scanning standard input: 0 of 1"), "{shown:?}");
    let plain: Vec<&str> = shown.split(['\r', '\n']).filter(|l| l.contains("scanning")).collect();
    assert!(plain.iter().all(|l| l.chars().filter(|c| !c.is_control()).count() < 90), "{plain:?}");
    let quiet = on_terminal(folder.path(), &line("-q"), &[]).expect("as before");
    assert!(!quiet.contains("scanning"), "{quiet:?}");
    let piped = on_terminal(folder.path(), &format!("({}) 2> log", line("")), &[]).expect("as before");
    assert!(!piped.contains("scanning"), "{piped:?}");
    assert_eq!(fs::read_to_string(folder.path().join("log")).expect("a file"), "");
}
