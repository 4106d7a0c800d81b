//! What is read: targets, paths, limits, lists, rules, and the configuration that chooses them.

use std::fs;
use std::path::Path;

use claviger_tests::{Folder, Ran, Repo, claviger, claviger_with, line, noise, token, weak_line};

fn run(folder: &Path, args: &[&str]) -> Ran {
    claviger(folder, args)
}

fn scan(folder: &Path, flags: &[&str]) -> Ran {
    claviger(folder, &[&["scan", "--format", "json", "--show-secrets"], flags].concat())
}

#[test]
fn include_and_exclude_choose_paths() {
    let folder = Folder::tree();
    for (flags, want) in [
        (vec!["--include", "*.env"], vec!["a.env", "src/deep/er/d.env"]),
        (vec!["--include", "src"], vec!["src/b.py", "src/deep/c.py", "src/deep/er/d.env"]),
        (vec!["--include", "/src/*.py"], vec!["src/b.py"]),
        (vec!["--include", "src/**/*.py"], vec!["src/b.py", "src/deep/c.py"]),
        (vec!["--include", "a.*", "--include", "docs/"], vec!["a.env", "a.py", "docs/e.md"]),
        (vec!["--exclude", "src", "--exclude", "*.md"], vec!["a.env", "a.py"]),
        (vec!["--include", "src", "--exclude", "deep"], vec!["src/b.py"]),
        (
            vec!["--exclude", "/deep", "--exclude", "a.*"],
            vec!["docs/e.md", "src/b.py", "src/deep/c.py", "src/deep/er/d.env"],
        ),
    ] {
        let ran = scan(folder.path(), &[&["--coverage"], flags.as_slice()].concat());
        assert_eq!(
            (ran.status, ran.paths()),
            (1, want.iter().map(|p| (*p).to_owned()).collect()),
            "{flags:?}"
        );
        // What is left out is on the ledger, and asked for.
        assert_eq!(ran.left_out("excluded").len() + want.len(), 6, "{flags:?}");
        assert_eq!(ran.json()["coverage"]["complete"], true);
    }
}

#[test]
fn depth_and_size_have_limits_that_were_asked_for() {
    let folder = Folder::tree();
    for (depth, count) in [("0", 2), ("1", 4), ("2", 5), ("9", 6)] {
        let ran = scan(folder.path(), &["--max-depth", depth]);
        assert_eq!((ran.status, ran.paths().len()), (1, count), "{depth}");
    }
    let ran = scan(folder.path(), &["--max-depth", "1", "--coverage"]);
    assert_eq!(ran.left_out("max-depth"), ["src/deep"]);
    folder.write("big.py", noise("big", 3000) + "\n" + &line("big"));
    let ran = scan(folder.path(), &["--max-file-size", "2k", "--coverage"]);
    assert_eq!((ran.paths().len(), ran.left_out("size-limit")), (6, vec!["big.py".to_owned()]));
    assert_eq!(scan(folder.path(), &["--max-file-size", "1MiB"]).paths().len(), 7);

    let repo = Repo::new();
    for name in ["one", "two", "three"] {
        repo.commit(name, line(name));
        repo.remove(name);
    }
    for (depth, want) in
        [("2", vec!["three"]), ("4", vec!["three", "two"]), ("99", vec!["one", "three", "two"])]
    {
        let ran = scan(repo.path(), &["--history-only", "--branch", "main", "--max-depth", depth]);
        assert_eq!(ran.paths(), want, "{depth}");
    }
}

#[test]
fn lists_of_files_in_any_spelling() {
    let repo = Repo::new();
    for path in ["a.py", "src/b c.py", "src/ü.py", "src/d.py"] {
        repo.write(path, line(path));
    }
    let list = |folder: &Path, text: &str| {
        let args = ["scan", "--format", "json", "--coverage", "--files-from", "-"];
        claviger_with(folder, &args, text.as_bytes(), &[])
    };
    let want = ["src/b c.py", "src/ü.py"];
    let whole = format!("{0}/src/b c.py\n{0}/src/ü.py\n", repo.path().display());
    for text in
        ["src/b c.py\nsrc/ü.py\n", "./src/b c.py\r\n./src/ü.py\r\n", "src/b c.py\0src/ü.py", whole.as_str()]
    {
        let ran = list(repo.path(), text);
        assert_eq!((ran.status, ran.paths().as_slice()), (1, want.map(str::to_owned).as_slice()), "{text:?}");
    }
    let ran = list(repo.path(), "");
    assert_eq!(ran.status, 0);
    assert!(
        ran.json()["notices"].to_string().contains("the list is empty: nothing was scanned"),
        "{}",
        ran.stdout
    );
    let ran = list(repo.path(), "src\na.py\n");
    assert_eq!((ran.status, ran.paths()), (1, vec!["a.py".to_owned()]));
    assert_eq!(ran.left_out("special-file"), ["src"]);
    let ran = list(repo.path(), "src/d.py\nsrc/gone.py\n");
    assert_eq!((ran.status, ran.left_out("changed-while-read")), (2, vec!["src/gone.py".to_owned()]));
}

#[cfg(target_os = "linux")]
#[test]
fn lists_may_hold_links_and_names_that_are_no_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    fs::write(folder.path().join(OsStr::from_bytes(b"gr\xfcn.py")), line("latin")).expect("a file");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).expect("a link");
    let args = ["scan", "--format", "json", "--coverage", "--files-from", "-"];
    let ran = claviger_with(folder.path(), &args, b"gr\xfcn.py\nlink\n", &[]);
    assert_eq!((ran.status, ran.paths()), (1, vec!["gr\\xfcn.py".to_owned()]), "{}", ran.stderr);
    assert_eq!(ran.left_out("symlink"), ["link"]);
}

#[test]
fn rules_and_confidence_are_chosen() {
    let folder = Folder::new();
    folder.write("a.py", line("a"));
    folder.write("b.py", weak_line(&noise("weak", 9)));
    let rules = |flags: &[&str]| {
        let mut all: Vec<String> = scan(folder.path(), flags)
            .findings()
            .iter()
            .map(|f| f["rule"].as_str().expect("a text").to_owned())
            .collect();
        all.sort();
        all
    };
    assert_eq!(rules(&["--min-confidence", "low"]), ["generic-password", "gitlab-personal-token"]);
    assert_eq!(rules(&["--only", "gitlab-*"]), ["gitlab-personal-token"]);
    assert_eq!(rules(&["--only", "gitlab-*,generic-*", "--skip", "generic-*"]), ["gitlab-personal-token"]);
    assert_eq!(rules(&["--skip", "gitlab-*,generic-secret"]), ["generic-password"]);
    assert_eq!(rules(&["--min-confidence", "high"]), ["gitlab-personal-token"]);
    let report = scan(folder.path(), &["--min-confidence", "high"]).json();
    assert!(report["hidden"].as_u64() > Some(0), "{report}");
}

#[test]
fn what_git_ignores_is_left_out_counted_and_can_be_read() {
    let repo = Repo::new();
    repo.write(".gitignore", "*.log\n/build/\n");
    repo.write("src/.gitignore", "local.py\n");
    for path in ["a.py", "b.log", "build/x/c.py", "src/local.py", "src/d.py", "src/build/e.py"] {
        repo.write(path, line(path));
    }
    let ran = scan(repo.path(), &["--coverage"]);
    assert_eq!(ran.paths(), ["a.py", "src/build/e.py", "src/d.py"]);
    assert_eq!(ran.left_out("gitignored"), ["b.log", "build", "src/local.py"]);
    assert_eq!(ran.json()["coverage"]["complete"], true);
    let ran = scan(repo.path(), &["--no-gitignore", "--coverage"]);
    assert_eq!((ran.paths().len(), ran.left_out("gitignored").len()), (6, 0));
    // Named outright, it is read.
    assert_eq!(scan(repo.path(), &["b.log", "build"]).paths(), ["b.log", "build/x/c.py"]);
}

/// Flags win over the configuration; lists of paths and rules add up.
#[test]
fn the_configuration_is_merged_with_the_flags() {
    let folder = Folder::tree();
    folder.write("low.py", weak_line("hunter"));
    folder.write("ci/extra.yaml", "provider: Mine\nrules:\n  - id: mine-key\n    name: Mine\n    description: Mine.\n    kind: token\n    severity: low\n    confidence: high\n    anchors: [mine_]\n    pattern: 'mine_[0-9a-z]{20}'\n    remediation: Revoke it.\n    examples:\n      match: ['mine_{{lower 20}}', 'x=mine_{{lower 20}}']\n      miss: ['mine_{{lower 5}}', 'mine']\n");
    folder.write("mine.py", format!("mine_{}7", noise("mine", 19).to_lowercase()));
    folder.write(
        "claviger.yaml",
        "version: 1\nexclude: [docs]\nmin_confidence: high\nmax_file_size: 10000\nrules:\n  paths: [ci/extra.yaml]\n  skip: [generic-*]\n",
    );
    folder.write("big.py", noise("big", 12_000) + "\n" + &line("big"));
    let ran = scan(folder.path(), &["--exclude", "deep", "--coverage"]);
    assert_eq!(ran.paths(), ["a.env", "a.py", "mine.py", "src/b.py"]);
    assert_eq!(ran.left_out("size-limit"), ["big.py"]);
    assert_eq!(ran.json()["hidden"], 0);
    let ran = scan(folder.path(), &["--max-file-size", "1M", "--include", "*.py"]);
    assert!(ran.paths().contains(&"big.py".to_owned()), "{:?}", ran.paths());
    // From elsewhere: what it names is beside it, the ignore file is the target's.
    folder.write("conf/other.yaml", "rules: {only: [mine-*], paths: [extra.yaml]}\n");
    fs::copy(folder.path().join("ci/extra.yaml"), folder.path().join("conf/extra.yaml")).expect("a copy");
    let ran = scan(folder.path(), &["--config", "conf/other.yaml"]);
    assert_eq!(ran.paths(), ["mine.py"], "{}", ran.stderr);
    let id = ran.findings()[0]["fingerprint"].as_str().expect("a text").to_owned();
    folder.write(".clavigerignore", format!("{id} * * -- known\n"));
    assert_eq!(scan(folder.path(), &["--config", "conf/other.yaml"]).status, 0);
    // Standard input belongs to the project around it.
    let text = fs::read(folder.path().join("mine.py")).expect("a file");
    let ran = claviger_with(folder.path(), &["scan", "-", "--no-ignore", "--format", "json"], &text, &[]);
    assert_eq!(ran.findings().len(), 1, "{}", ran.stdout);
}

#[test]
fn targets_of_several_projects_keep_their_configurations_to_themselves() {
    let (one, two) = (Folder::tree(), Folder::tree());
    one.write("claviger.yaml", "exclude: ['*']\n");
    let path = two.path().display().to_string();
    let ran = scan(one.path(), &[".", &path]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.json()["notices"].to_string().contains("different projects"), "{}", ran.stdout);
    assert_eq!(ran.json()["coverage"]["files"], 13);
    // The same thing named twice is read once.
    let ran = scan(two.path(), &[".", "./", &path, "a.py", "a.py"]);
    assert_eq!(ran.json()["coverage"]["files"].as_u64(), Some(6 + 1), "{}", ran.stdout);
}

#[test]
fn repositories_of_all_shapes_from_all_places() {
    let repo = Repo::new();
    repo.commit("src/a.py", line("old"));
    repo.commit("src/a.py", line("now"));
    let all = |folder: &Path, flags: &[&str]| {
        let mut all: Vec<String> = scan(folder, flags)
            .findings()
            .iter()
            .map(|f| f["secret"].as_str().expect("a text").to_owned())
            .collect();
        all.sort();
        all
    };
    let mut both = vec![token("old"), token("now")];
    both.sort();
    assert_eq!(all(repo.path(), &[]), both);
    // Without a target, a folder means the repository that it is in.
    assert_eq!(all(&repo.path().join("src"), &[]), both);
    let text = run(&repo.path().join("src"), &["scan"]).stdout;
    assert!(text.contains("--> ../src/a.py:1:6"), "{text}");
    // Named, it is a folder, and that is said.
    let ran = scan(&repo.path().join("src"), &["."]);
    assert_eq!(all(&repo.path().join("src"), &["."]), [token("now")]);
    assert!(ran.json()["notices"].to_string().contains("not the history"), "{}", ran.stdout);
    for flag in
        [["--staged"].as_slice(), &["--history-only"], &["--branch", "main"], &["--since", "2020-01-01"]]
    {
        let ran = scan(repo.path(), &[flag, &["src"]].concat());
        assert!(ran.status == 2 && ran.stderr.contains("part of one"), "{flag:?}: {}", ran.stderr);
    }
    let linked = repo.outside().join("linked");
    repo.git(&["worktree", "add", "-q", &linked.display().to_string()]);
    assert_eq!(all(&linked, &[]), both);
    assert_eq!(all(repo.outside(), &["linked"]), both);
    let bare = Repo::clone_of(&repo, &["--bare"]);
    assert_eq!(all(bare.path(), &[]), both);
    assert_eq!(all(bare.outside(), &["repo"]), both);
    let ran = scan(bare.path(), &["--no-history"]);
    assert_eq!(ran.status, 0);
    assert!(ran.json()["notices"].to_string().contains("has no files"), "{}", ran.stdout);

    let outer = Repo::new();
    outer.commit("b.py", line("outer"));
    outer.git(&["submodule", "--quiet", "add", &format!("file://{}", repo.path().display()), "lib"]);
    outer.git(&["commit", "-q", "-m", "submodule"]);
    assert!(!all(outer.path(), &[]).contains(&token("old")));
    let with = all(outer.path(), &["--submodules"]);
    assert!(with.contains(&token("old")) && with.contains(&token("outer")), "{with:?}");
}

#[cfg(unix)]
#[test]
fn a_target_that_is_a_link_is_followed() {
    let (folder, outside) = (Folder::new(), Folder::new());
    outside.write("real/a.py", line("a"));
    std::os::unix::fs::symlink(outside.path().join("real"), folder.path().join("folder")).expect("a link");
    std::os::unix::fs::symlink(outside.path().join("real/a.py"), folder.path().join("file.py"))
        .expect("a link");
    assert_eq!(scan(folder.path(), &["folder"]).paths(), ["a.py"]);
    assert_eq!(scan(folder.path(), &["file.py"]).paths(), ["a.py"]);
    assert_eq!(scan(folder.path(), &[]).status, 0);
}

#[test]
fn files_that_editors_and_systems_make() {
    let folder = Folder::new();
    let secret = token("wide");
    let utf16: Vec<u8> =
        format!("\u{feff}t = '{secret}'\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    folder.write("wide.txt", utf16);
    folder.write("bom.txt", format!("\u{feff}t = '{}'", token("bom")));
    folder.write("crlf.txt", format!("x\r\n\r\nt = '{}'\r\n", token("crlf")));
    folder.write("latin.txt", [b"gr\xfc\xdfe '".as_slice(), token("latin").as_bytes(), b"'"].concat());
    folder.write("binary", [b"\x7fELF\0\0\xff".as_slice(), token("binary").as_bytes(), b"\0\0"].concat());
    folder.write("empty", "");
    let ran = scan(folder.path(), &[]);
    assert_eq!(ran.paths(), ["binary", "bom.txt", "crlf.txt", "latin.txt", "wide.txt"]);
    assert_eq!(ran.json()["coverage"]["files"], 6);
    let text = run(folder.path(), &["scan", "crlf.txt"]).stdout;
    assert!(text.contains("crlf.txt:3:6") && !text.contains("\\r"), "{text}");
}
