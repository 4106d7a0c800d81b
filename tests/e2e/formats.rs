//! Every report format, made from a real scan with findings on disk, in the history and in messages.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use claviger_tests::{Folder, Repo, claviger, shared_file, token, tool};
use serde_json::Value;

const FORMATS: &[&str] = &["text", "json", "jsonl", "sarif", "gitlab", "csv", "junit", "github", "markdown"];

/// A repository with a secret in every sort of place, and the commits that matter.
struct Leaky {
    repo: Repo,
    brought: String,
    removed: String,
    said: String,
}

fn leaky() -> Leaky {
    let repo = Repo::new();
    repo.commit("docs/ü é.md", format!("grüße: 'ü', key = '{}'\n", token("disk")));
    let brought = repo.commit("old.env", format!("A=1\r\nTOKEN={}\r\n", token("deleted")));
    let removed = repo.remove("old.env");
    let message = format!("see {}", token("message"));
    repo.git(&["commit", "-q", "--allow-empty", "-m", &message]);
    let said = repo.head();
    repo.write("allowed.py", format!("t = '{}' # {}", token("allowed"), concat!("claviger", ":allow")));
    Leaky { repo, brought, removed, said }
}

/// One scan, all formats: the report of each.
fn reports(leaky: &Leaky) -> HashMap<&'static str, String> {
    let out = Folder::new();
    let mut args = vec!["scan".to_owned()];
    for format in FORMATS {
        let file = out.path().join(format).display().to_string();
        args.extend(["--format".to_owned(), (*format).to_owned(), "--output".to_owned(), file]);
    }
    let ran = claviger(leaky.repo.path(), &args);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (1, "", ""));
    let read = |format: &&'static str| {
        let text = fs::read_to_string(out.path().join(format)).expect("a report of UTF-8 text");
        (*format, text)
    };
    FORMATS.iter().map(read).collect()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

#[test]
fn no_format_shows_a_secret_and_all_say_the_same() {
    let leaky = leaky();
    for (format, text) in reports(&leaky) {
        for seed in ["disk", "deleted", "message", "allowed"] {
            assert!(!text.contains(&token(seed)), "{format}: {seed}");
        }
        assert!(text.contains("glpa"), "{format}: the preview");
        assert!(text.contains("GitLab access token"), "{format}: the name");
        assert!(text.ends_with('\n'), "{format}: the last line has an end");
        if format != "sarif" {
            assert!(text.contains(&leaky.brought[..12]), "{format}: who brought it");
        }
    }
}

#[test]
fn json_has_everything() {
    let leaky = leaky();
    let report = parse(&reports(&leaky)["json"]);
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["targets"], serde_json::json!(["."]));
    assert_eq!((list(&report["findings"]).len(), list(&report["allowed"]).len()), (3, 1));
    assert_eq!(report["coverage"]["complete"], true);
    let of = |path: &str, kind: &str| {
        let places = list(&report["findings"]).iter().flat_map(|f| list(&f["places"]));
        places.into_iter().find(|p| p["path"] == path && p["kind"] == kind).expect("a place").clone()
    };
    let disk = of("docs/ü é.md", "file");
    // Columns are bytes.
    assert_eq!((disk["line"].as_u64(), disk["column"].as_u64()), (Some(1), Some(23)), "{disk}");
    assert_eq!(of("docs/ü é.md", "history")["in_head"], true);
    let old = of("old.env", "history");
    assert_eq!(old["introduced"]["commit"], leaky.brought);
    assert_eq!(old["introduced"]["date"], "2024-03-01T12:00:00Z");
    assert_eq!(old["removed"]["commit"], leaky.removed);
    assert_eq!(old["excerpt"], "TOKEN=glpa…(26)");
    assert_eq!(of("", "commit-message")["object"], leaky.said);
    for finding in list(&report["findings"]) {
        let id = finding["fingerprint"].as_str().expect("a text");
        assert!(id.starts_with("s1:") && id.len() == 27, "{id}");
        assert!(!finding["remediation"].as_str().expect("a text").is_empty());
        assert!(finding.get("secret").is_none());
    }
}

#[test]
fn jsonl_is_the_same_line_by_line() {
    let reports = reports(&leaky());
    let lines: Vec<Value> = reports["jsonl"].lines().map(parse).collect();
    let whole = parse(&reports["json"]);
    let of = |kind: &str| lines.iter().filter(|l| l["type"] == kind).collect::<Vec<_>>();
    assert_eq!((of("finding").len(), of("summary").len()), (3, 1));
    assert_eq!(lines.last().expect("a summary")["type"], "summary");
    for (line, finding) in of("finding").into_iter().zip(list(&whole["findings"])) {
        for key in ["fingerprint", "places", "rule", "confidence"] {
            assert_eq!(line[key], finding[key]);
        }
    }
}

#[test]
fn sarif_as_code_scanning_takes_it() {
    let report = parse(&reports(&leaky())["sarif"]);
    assert_eq!(report["version"], "2.1.0");
    let run = &report["runs"][0];
    assert_eq!(list(&report["runs"]).len(), 1);
    let rules = list(&run["tool"]["driver"]["rules"]);
    let results = list(&run["results"]);
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let counted = results.iter().filter(|r| r["suppressions"].as_array().is_none_or(Vec::is_empty));
    assert_eq!(counted.count(), 3, "{report}");
    for result in results {
        let at = result["ruleIndex"].as_u64().expect("a number") as usize;
        assert_eq!(rules[at]["id"], result["ruleId"]);
        assert!(!result["message"]["text"].as_str().expect("a text").is_empty());
        let prints = result["partialFingerprints"].as_object().expect("an object");
        assert!(!prints.is_empty() && prints.values().all(Value::is_string), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().expect("a text");
        assert!(uri.is_ascii() && !uri.contains(' ') && !uri.starts_with('/'), "{uri}");
        let region = &place["region"];
        let number = |name: &str| region[name].as_u64().unwrap_or_else(|| panic!("{name}: {region}"));
        assert!(number("startLine") >= 1 && number("startColumn") >= 1, "{region}");
        assert!(number("endLine") > number("startLine") || number("endColumn") > number("startColumn"));
    }
    for rule in rules {
        let level = rule["properties"]["security-severity"].as_str().expect("a text");
        assert!((0.1..=10.0).contains(&level.parse::<f64>().expect("a number")), "{level}");
        assert!(list(&rule["properties"]["tags"]).len() <= 20, "code scanning takes 20 tags");
    }
    let disk = results.iter().find(|r| r.to_string().contains("docs/%C3%BC%20%C3%A9.md")).expect("a result");
    assert!(disk["locations"][0]["physicalLocation"]["region"]["startLine"] == 1, "{disk}");
}

#[test]
fn gitlab_as_its_schema_wants_it() {
    let leaky = leaky();
    let report = parse(&reports(&leaky)["gitlab"]);
    let scan = &report["scan"];
    assert_eq!((&scan["type"], &scan["status"]), (&"secret_detection".into(), &"success".into()));
    for key in ["start_time", "end_time"] {
        let time = scan[key].as_str().expect("a text");
        assert!(time.len() == 19 && time.as_bytes()[10] == b'T', "{time}");
    }
    for tool in ["analyzer", "scanner"] {
        for key in ["id", "name", "version"] {
            assert!(scan[tool][key].is_string(), "{tool}.{key}");
        }
    }
    let all = list(&report["vulnerabilities"]);
    assert_eq!(all.len(), 3);
    for one in all {
        for key in ["id", "name", "description", "severity", "solution"] {
            assert!(one[key].is_string(), "{key}: {one}");
        }
        let sha = one["location"]["commit"]["sha"].as_str().expect("a text");
        assert!(!sha.is_empty() && !list(&one["identifiers"]).is_empty());
    }
    let old = all.iter().find(|v| v["location"]["file"] == "old.env").expect("the deleted one");
    assert_eq!(old["location"]["commit"]["sha"], leaky.brought);
    assert_eq!(old["location"]["start_line"], 2);
}

/// Rows of a CSV text after RFC 4180.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => cell.push(c),
        }
    }
    assert!(row.is_empty() && cell.is_empty() && !quoted, "the last row has an end");
    rows
}

#[test]
fn csv_has_a_row_for_each_place() {
    let leaky = leaky();
    let rows = rows(&reports(&leaky)["csv"]);
    let head = &rows[0];
    let column = |name: &str| head.iter().position(|h| h == name).expect("a column");
    assert!(rows.iter().all(|row| row.len() == head.len()), "{rows:?}");
    let of = |path: &str| rows.iter().filter(|r| r[column("path")] == path).collect::<Vec<_>>();
    assert_eq!(of("docs/ü é.md").len(), 2, "on disk and in the history");
    let old = of("old.env");
    assert_eq!((old.len(), &old[0][column("commit")]), (1, &leaky.brought));
    assert_eq!(old[0][column("removed_commit")], leaky.removed);
    assert_eq!(of("allowed.py")[0][column("allowed_by")], concat!("inline claviger", ":allow"));
    assert_eq!(rows.last().expect("a row")[0], "complete");
}

/// Elements of an XML text in the order of their beginnings, with their attributes as they stand; checks that they nest.
fn elements(text: &str) -> Vec<String> {
    let (mut all, mut open) = (Vec::new(), Vec::<String>::new());
    for part in text.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').expect("a tag ends");
        assert!(!rest.contains(']') || !rest.contains("]]>"), "{rest}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{text}");
        } else if !tag.starts_with(['?', '!']) {
            all.push(tag.to_owned());
            if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().expect("a name").to_owned());
            }
        }
        let is_entity = |tail: &str| {
            ["amp;", "lt;", "gt;", "quot;", "apos;", "#"].iter().any(|entity| tail.starts_with(entity))
        };
        assert!(part.split('&').skip(1).all(is_entity), "{part}");
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

#[test]
fn junit_is_well_formed_and_fails_once_for_each_finding() {
    let text = &reports(&leaky())["junit"];
    let all = elements(text);
    let of = |name: &str| all.iter().filter(|tag| tag.split_whitespace().next() == Some(name)).count();
    assert_eq!(of("failure"), 3, "{text}");
    let suites = all.iter().find(|tag| tag.starts_with("testsuites ")).expect("a root");
    assert!(suites.contains("failures=\"3\""), "{suites}");
    assert!(suites.contains(&format!("tests=\"{}\"", of("testcase"))), "{suites}");
}

#[test]
fn github_annotations_are_one_line_each() {
    let leaky = leaky();
    let text = &reports(&leaky)["github"];
    let lines: Vec<&str> = text.lines().collect();
    let is_order = |l: &&str| ["::error", "::warning", "::notice"].iter().any(|order| l.starts_with(order));
    assert!(lines.iter().all(is_order), "{text}");
    assert_eq!(lines.iter().filter(|l| l.starts_with("::error")).count(), 3, "{text}");
    let disk = lines.iter().find(|l| l.contains("docs/")).expect("the one on disk");
    assert!(disk.contains("file=docs/ü é.md,line=1,"), "{disk}");
}

#[test]
fn markdown_is_a_table_with_what_to_do() {
    let leaky = leaky();
    let text = &reports(&leaky)["markdown"];
    let table: Vec<&str> = text.lines().filter(|l| l.starts_with("| ")).collect();
    assert_eq!(table.len(), 2 + 3, "{text}");
    let columns = |line: &str| line.matches(" | ").count();
    assert!(table.iter().all(|line| columns(line) == columns(table[0])), "{text}");
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
    assert!(text.contains("3 secrets found") && text.contains("only in history"), "{text}");
}

#[test]
fn text_fits_into_eighty_columns_and_says_what_to_do() {
    let leaky = leaky();
    let text = &reports(&leaky)["text"];
    for line in text.lines().filter(|l| !l.contains("-->") && !l.contains("https://")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for words in [
        "--> docs/ü é.md:1:23",
        "    1 | grüße: 'ü', key = 'glpa…(26)'",
        "now         only in history; removed last in",
        "to do       Revoke the token",
        "message of commit",
        "3 secrets found: 3 critical.",
        "1 finding is allowed: 1 inline.",
        "claviger explain FINGERPRINT",
    ] {
        assert!(text.contains(words), "`{words}` not in:\n{text}");
    }
}

/// `--show-secrets` shows them where a person asked for it, and still not in files that are made to be uploaded.
#[test]
fn secrets_are_shown_on_request_only() {
    let leaky = leaky();
    for format in FORMATS {
        let ran = claviger(leaky.repo.path(), &["scan", "--show-secrets", "--format", format]);
        assert_eq!(ran.status, 1, "{}", ran.stderr);
        let uploaded = ["sarif", "junit", "github", "markdown"].contains(format);
        assert_eq!(ran.stdout.contains(&token("deleted")), !uploaded, "{format}:\n{}", ran.stdout);
    }
}

#[test]
fn the_same_scan_gives_the_same_report_with_any_number_of_threads() {
    let repo = Repo::new();
    for i in 0..12 {
        repo.write(
            &format!("d{}/f{i}.env", i % 3),
            format!("A={}\nB={}\n", token("shared"), token(&i.to_string())),
        );
    }
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "all"]);
    for format in FORMATS.iter().filter(|f| **f != "gitlab") {
        let with = |threads: &str| {
            claviger(repo.path(), &["scan", "-v", "--format", format, "--threads", threads]).stdout
        };
        assert_eq!(with("1"), with("7"), "{format}");
    }
}

#[test]
fn schemas_are_valid_and_hold_what_they_describe() {
    let Some(checker) = tool("check-jsonschema") else { return };
    let folder = Folder::new();
    let schema = |verb: &str| {
        let ran = claviger(folder.path(), &[verb, "schema"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        folder.write(&format!("{verb}.schema.json"), ran.stdout).display().to_string()
    };
    let (config, rules) = (schema("config"), schema("rules"));
    let run = |args: &[&str]| {
        let output = Command::new(&checker).args(args).output().expect("the checker starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (valid, said) = run(&["--check-metaschema", &config, &rules]);
    assert!(valid, "{said}");

    let good = folder.write(
        "claviger.yaml",
        "version: 1\nrules:\n  builtin: true\n  paths: [ci/rules.yaml]\n  only: ['gitlab-*']\n  skip: [aws-*]\n\
         include: [src]\nexclude: ['*.md']\nmin_confidence: low\nmax_file_size: 1000\nbaseline: known.json\n\
         ignore_file: ci/ignore\nfingerprint:\n  salt: 0123456789abcdef\n",
    );
    let (valid, said) = run(&["--schemafile", &config, &good.display().to_string()]);
    assert!(valid, "{said}");
    // The example that people read.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/claviger.yaml");
    let (valid, said) = run(&["--schemafile", &config, example]);
    assert!(valid, "{said}");
    assert_eq!(claviger(folder.path(), &["config", "check", example]).status, 0);
    let bad = folder.write("bad.yaml", "version: 1\nexlude: [a]\n");
    assert!(!run(&["--schemafile", &config, &bad.display().to_string()]).0);

    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let files = fs::read_dir(folder).expect("the rules").flatten().map(|e| e.path().display().to_string());
    let files: Vec<String> = files.filter(|f| f.ends_with(".yaml")).collect();
    assert!(files.len() > 90);
    let mut args = vec!["--schemafile", &rules];
    args.extend(files.iter().map(String::as_str));
    let (valid, said) = run(&args);
    assert!(valid, "{said}");
}

/// The schema comes from a package of SARIF's makers, which `tests/run` fetches.
#[test]
fn sarif_as_its_schema_wants_it() {
    let Some(checker) = tool("check-jsonschema") else { return };
    let Some(schema) = shared_file("sarif-2.1.0.json") else { return };
    let leaky = leaky();
    let folder = Folder::new();
    folder.write("clean.txt", "nothing here\n");
    let out = Folder::new();
    let report = |folder: &std::path::Path, name: &str, flags: &[&str]| {
        let file = out.path().join(name).display().to_string();
        claviger(folder, &[&["scan", "--format", "sarif", "--output", &file], flags].concat());
        file
    };
    let files = [
        report(leaky.repo.path(), "leaky", &["--coverage"]),
        report(leaky.repo.path(), "shown", &["--show-secrets", "--min-confidence", "low"]),
        report(folder.path(), "clean", &[]),
        // What was not read is a notification.
        report(folder.path(), "incomplete", &["--max-file-size", "3", "--coverage", "."]),
    ];
    // One pattern of the schema has a lone bracket, which Unicode expressions forbid.
    let mut check = Command::new(checker);
    check.args(["--regex-variant", "nonunicode", "--schemafile"]).arg(schema).args(&files);
    let output = check.output().expect("the checker starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
