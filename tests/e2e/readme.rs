//! The commands of `README.md`, pasted as they stand.

use std::path::Path;
use std::process::{Command, Output};

use claviger_tests::{Folder, Repo, binary, line, token};

/// Commands that are not run, by their beginning, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo ", "builds what is tested here; CI does"),
    ("tests/run", "runs this test"),
    ("claviger audit serve ", "serves until it is ended; `audit_wire.rs` runs it"),
];

/// Headings whose commands need a database, a cloud or a CI: other tests run the same verbs.
const ELSEWHERE: &[(&str, &str)] = &[("In earnest", "`broker.rs`, `policy.rs`")];

/// A fenced block: its heading, its language, its text.
struct Block {
    heading: String,
    language: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))
        .expect("the README is there");
    let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None::<Block>);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let (heading, language) = (heading.clone(), language.to_owned());
                open = Some(Block { heading, language, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => {
                if let Some(name) = line.strip_prefix("##") {
                    heading = name.trim_start_matches('#').trim().to_owned();
                }
            }
        }
    }
    blocks
}

/// The commands of a block: one a line, but here-documents.
fn commands(block: &Block) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut until: Option<String> = None;
    for line in block.text.lines() {
        match &until {
            None => {
                commands.push(format!("{line}\n"));
                let end = line.split_once("<<'").and_then(|(_, rest)| rest.split_once('\''));
                until = end.map(|(end, _)| end.to_owned());
            }
            Some(end) => {
                commands.last_mut().expect("it was opened by a command").push_str(&format!("{line}\n"));
                until = until.clone().filter(|_| line != end);
            }
        }
    }
    commands
}

/// The blocks of one heading that a shell reads.
fn shell(heading: &str) -> Vec<Block> {
    let found: Vec<Block> =
        blocks().into_iter().filter(|b| b.language == "sh" && b.heading == heading).collect();
    assert!(!found.is_empty(), "nothing under `{heading}`");
    found
}

/// A folder with `claviger` in it, as `cargo install` would make it.
fn installed() -> Folder {
    let folder = Folder::new();
    #[cfg(unix)]
    std::os::unix::fs::symlink(binary(), folder.path().join("claviger")).expect("a link can be made");
    folder
}

fn paste(bin: &Folder, folder: &Path, command: &str) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", bin.path().display()))
        .env_remove("CLAVIGER_AUDIT_KEY")
        .output()
        .expect("a shell starts")
}

/// Pastes everything under a heading; every command that is run must end with this status.
fn all_end_with(status: i32, bin: &Folder, folder: &Path, heading: &str) {
    for command in shell(heading).iter().flat_map(commands) {
        if NOT_RUN.iter().any(|(start, _)| command.starts_with(start)) {
            continue;
        }
        let output = paste(bin, folder, &command);
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(status), "{command}{}", String::from_utf8_lossy(&said));
    }
}

/// A clone with something to find wherever a command of the README looks.
fn project() -> (Repo, Repo) {
    let origin = Repo::new();
    origin.commit("src/settings.py", format!("{}{}", "# text\n".repeat(11), line("old")));
    let clone = Repo::clone_of(&origin, &[]);
    clone.git(&["checkout", "-q", "-b", "work"]);
    clone.commit("src/new.py", line("on the branch"));
    clone.write("src/staged.py", line("staged"));
    clone.git(&["add", "-A"]);
    clone.write("src/new.py", format!("{}{}", line("on the branch"), line("on disk")));
    (origin, clone)
}

#[test]
#[cfg(unix)]
fn every_scan_finds_what_is_there() {
    let (_origin, clone) = project();
    let bin = installed();
    all_end_with(1, &bin, clone.path(), "Scan");
    all_end_with(1, &bin, clone.path(), "In a merge request");
    assert!(clone.path().join("report.sarif").is_file());
}

#[test]
#[cfg(unix)]
fn hooks_refuse() {
    let (_origin, clone) = project();
    let (bin, server) = (installed(), Repo::init(&["--bare"]));
    for command in shell("As a hook").iter().flat_map(commands) {
        let command = command.replace("/srv/git/shop.git", &server.path().display().to_string());
        let output = paste(&bin, clone.path(), &command);
        assert!(output.status.success(), "{command}{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!paste(&bin, clone.path(), "git commit -qm staged").status.success());
    let push = format!("git push -q --no-verify {} HEAD:refs/heads/x", server.path().display());
    let output = paste(&bin, clone.path(), &push);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("src/new.py"), "{said}");
}

#[test]
#[cfg(unix)]
fn the_rest_ends_well() {
    let (_origin, clone) = project();
    let bin = installed();

    // The configuration that is shown names a folder of rules.
    let rule = "provider: Mine\nrules:\n  - {id: mine, name: M, description: D, kind: token, severity: low, confidence: low, \
                anchors: [mine_], pattern: 'mine_[0-9a-f]{32}', remediation: Revoke it., \
                examples: {match: ['mine_{{hex 32}}', 'k=mine_{{hex 32}}'], miss: ['mine_', 'mine_{{hex 8}}']}}\n";
    clone.write("security/rules/mine.yaml", rule);
    clone.write("mine.yaml", rule);
    let configuration = blocks().into_iter().find(|b| b.language == "yaml").expect("an example");
    clone.write("claviger.yaml", configuration.text);
    all_end_with(0, &bin, clone.path(), "Configure");
    all_end_with(0, &bin, clone.path(), "Rules");

    // Fingerprints depend on the salt of the configuration.
    let scan = clone.scan(&["--no-history"]);
    let finding = scan.findings()[0]["fingerprint"].as_str().expect("a text").to_owned();
    for command in shell("Explain").iter().flat_map(commands) {
        let shown = command.split_whitespace().find(|word| word.starts_with("s1:"));
        let command = shown.map_or(command.clone(), |shown| command.replace(shown, &finding));
        let output = paste(&bin, clone.path(), &command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // What explains findings ends as a scan does.
        let status = i32::from(command.contains("src/") || shown.is_some());
        assert_eq!(
            output.status.code(),
            Some(status),
            "{command}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains("gitlab-personal-token") && !said.contains(&token("old")), "{command}{said}");
    }
    all_end_with(0, &bin, Folder::new().path(), "Audit");
    all_end_with(0, &bin, Folder::new().path(), "Sweep");

    for command in shell("And").iter().flat_map(commands) {
        // Not every machine has a pager for manuals; that there is a page is what counts.
        let output = paste(&bin, clone.path(), &command.replace("| man -l -", "| cat"));
        assert!(output.status.success() && !output.stdout.is_empty(), "{command}");
    }
}

#[test]
#[cfg(unix)]
fn the_broker_can_be_tried_and_its_example_is_good() {
    let (bin, folder) = (installed(), Folder::new());
    let blocks_of = shell("Broker");
    let [serve, job] = blocks_of.as_slice() else { panic!("two terminals") };
    let broker = Command::new("sh")
        .args(["-c", &format!("exec {}", serve.text.split('#').next().expect("a command"))])
        .env("PATH", format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap_or_default()))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut broker = broker.expect("a shell starts");
    let listens = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::net::TcpStream::connect(("127.0.0.1", 8700)).is_ok()
    });
    let output = paste(&bin, folder.path(), &job.text);
    drop(broker.kill());
    drop(broker.wait());
    assert!(listens, "the broker did not start");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("ssh-ed25519-cert-v01@openssh.com"), "{said}");

    let example = blocks().into_iter().find(|b| b.language == "yaml" && b.heading == "In earnest");
    std::fs::write(folder.path().join("claviger-broker.yaml"), example.expect("an example").text)
        .expect("written");
    let checked = paste(&bin, folder.path(), "claviger policy check");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// A block under a new heading is pasted too, or its commands are in the list of those that are not.
#[test]
fn no_heading_is_forgotten() {
    const PASTED: &[&str] = &[
        "Scan",
        "As a hook",
        "In a merge request",
        "Sweep",
        "Configure",
        "Rules",
        "Explain",
        "Broker",
        "Audit",
        "And",
    ];
    let is_elsewhere = |heading: &str| ELSEWHERE.iter().any(|(known, _)| *known == heading);
    for block in blocks().iter().filter(|b| b.language == "sh" && !PASTED.contains(&b.heading.as_str())) {
        if is_elsewhere(&block.heading) {
            continue;
        }
        for command in commands(block) {
            let is_known = NOT_RUN.iter().any(|(start, _)| command.starts_with(start));
            assert!(is_known, "{}: {command}", block.heading);
        }
    }
}
