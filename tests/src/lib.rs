//! What the end-to-end tests share: the built binary, folders and repositories to scan, and secrets made at run time.

pub mod audit;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The binary under test: `CLAVIGER_BIN`, or the one built beside this test binary.
///
/// # Panics
/// If it has not been built; `tests/run` builds it first.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CLAVIGER_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("the test binary has a path");
    let name = format!("claviger{}", std::env::consts::EXE_SUFFIX);
    let found = own.ancestors().map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.expect("no `claviger` beside the tests: run `cargo build -p claviger` first, or `tests/run`")
}

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// Standard output, lossy.
    pub stdout: String,
    /// Standard error, lossy.
    pub stderr: String,
}

impl Ran {
    /// Standard output as the one JSON document that it must be.
    ///
    /// # Panics
    /// If it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("no single JSON document ({e}):\n{}\n{}", self.stdout, self.stderr))
    }

    /// The findings of a JSON report.
    ///
    /// # Panics
    /// If there is no report.
    pub fn findings(&self) -> Vec<serde_json::Value> {
        self.json()["findings"].as_array().expect("a list of findings").clone()
    }

    /// Paths of all places in a JSON report, each once, sorted.
    ///
    /// # Panics
    /// If there is no report.
    pub fn paths(&self) -> Vec<String> {
        let places = |f: &serde_json::Value| f["places"].as_array().expect("a list of places").clone();
        let mut all: Vec<String> = self
            .findings()
            .iter()
            .flat_map(places)
            .map(|p| p["path"].as_str().expect("a path").to_owned())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The names that the coverage lists under a reason; the scan needs `--coverage`.
    ///
    /// # Panics
    /// If there is no report with such a list.
    pub fn left_out(&self, reason: &str) -> Vec<String> {
        let report = self.json();
        let skipped = report["coverage"]["skipped"].as_array().expect("a list, with --coverage");
        let of = skipped.iter().filter(|s| s["reason"] == reason);
        of.map(|s| s["what"].as_str().expect("a text").to_owned()).collect()
    }
}

/// Runs the binary in a folder.
///
/// # Panics
/// If it cannot be started.
pub fn claviger<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Ran {
    claviger_with(folder, args, b"", &[])
}

/// Runs the binary in a folder, with standard input and more environment variables.
///
/// # Panics
/// If it cannot be started.
pub fn claviger_with<S: AsRef<OsStr>>(folder: &Path, args: &[S], input: &[u8], vars: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(binary());
    command.args(args).current_dir(folder).env_remove("CLAVIGER_FINGERPRINT_KEY");
    command.env_remove("CLAVIGER_AUDIT_KEY").env_remove("CLAVIGER_WEBHOOK_KEY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(vars.iter().copied());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_vec();
    // A command that reads no input may be gone already.
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the binary ends");
    let _ = feed.join();
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program that is no part of the product: in the folder `CLAVIGER_TEST_TOOLS`, else on PATH. `None` when it is not
/// there, which a test may take as a reason to end early.
///
/// # Panics
/// If it is not there and `CI` is `true`: where all must run, nothing is left out.
pub fn tool(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("CLAVIGER_TEST_TOOLS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        own.into_iter().chain(std::env::split_paths(&path)).map(|f| f.join(name)).find(|p| p.is_file());
    let must = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(found.is_some() || !must, "`{name}` is needed: `tests/run` installs it");
    found
}

/// A file that is not ours to copy, which `tests/run` fetches beside the programs of [`tool`]. `None` when it is not there.
///
/// # Panics
/// If it is not there and `CI` is `true`.
pub fn shared_file(name: &str) -> Option<PathBuf> {
    let tools = std::env::var_os("CLAVIGER_TEST_TOOLS").map(PathBuf::from);
    let found = tools.map(|bin| bin.join("../share").join(name)).filter(|path| path.is_file());
    let must = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(found.is_some() || !must, "`{name}` is needed: `tests/run` fetches it");
    found
}

/// Random-looking text that depends on its seed alone.
pub fn noise(seed: &str, length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..length).map(|_| char::from(ALPHABET[(next() % 62) as usize])).collect()
}

/// A made-up token of a format that one built-in rule is sure of, different for every seed.
pub fn token(seed: &str) -> String {
    // Three digits at fixed places keep every seed clear of checks on composition, and its fingerprint quick.
    format!("glpat{}{}7{}41", '-', noise(seed, 9), noise(&format!("{seed}/2"), 8))
}

/// A line of code that holds a token, with its end.
pub fn line(seed: &str) -> String {
    format!("t = '{}'\n", token(seed))
}

/// A line of a configuration with a password of few characters, as people choose them.
pub fn weak_line(word: &str) -> String {
    format!("db_{} = '{word}{}'\n", "password", word.len())
}

/// A folder of its own, gone when dropped.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

impl Folder {
    /// An empty folder.
    ///
    /// # Panics
    /// If the system gives none.
    pub fn new() -> Self {
        Folder(TempDir::with_prefix("claviger-e2e-").expect("a temporary folder"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Six files in folders, each with a secret of its own.
    pub fn tree() -> Self {
        let folder = Folder::new();
        for path in ["a.py", "a.env", "src/b.py", "src/deep/c.py", "src/deep/er/d.env", "docs/e.md"] {
            folder.write(path, line(path));
        }
        folder
    }

    /// Writes a file, its folders first.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        write_below(self.path(), path, content.as_ref())
    }

    /// Scans it with these flags; the report is JSON.
    pub fn scan(&self, flags: &[&str]) -> Ran {
        claviger(self.path(), &[&["scan", "--format", "json", "--no-color"], flags].concat())
    }
}

fn write_below(root: &Path, path: &str, content: &[u8]) -> PathBuf {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("a folder can be made");
    fs::write(&file, content).expect("a file can be written");
    file
}

/// A git repository with a work tree, made by the real git.
#[derive(Debug)]
pub struct Repo {
    folder: Folder,
    root: PathBuf,
}

impl Default for Repo {
    fn default() -> Self {
        Repo::new()
    }
}

impl Repo {
    /// An empty repository with the branch `main`.
    pub fn new() -> Self {
        Repo::init(&[])
    }

    /// An empty repository, `git init` with more flags.
    pub fn init(flags: &[&str]) -> Self {
        let folder = Folder::new();
        let root = folder.path().join("repo");
        fs::create_dir(&root).expect("a folder can be made");
        let repo = Repo { folder, root };
        repo.git(&[&["init", "-q", "-b", "main"], flags].concat());
        repo
    }

    /// A repository made by cloning another one with these flags.
    pub fn clone_of(other: &Repo, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let root = folder.path().join("repo");
        let url = format!("file://{}", other.root.display());
        let to = root.display().to_string();
        git(folder.path(), &[&["clone", "-q"], flags, &[url.as_str(), to.as_str()]].concat());
        Repo { folder, root }
    }

    /// Its top level.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The folder around it, for siblings.
    pub fn outside(&self) -> &Path {
        self.folder.path()
    }

    /// Runs git in it.
    ///
    /// # Panics
    /// If git fails.
    pub fn git(&self, args: &[&str]) -> String {
        git(&self.root, args)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        write_below(&self.root, path, content.as_ref())
    }

    /// Writes a file, adds and commits it; the id of the commit.
    pub fn commit(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        self.write(path, content);
        self.git(&["add", "-A", "-f"]);
        self.git(&["commit", "-q", "-m", &format!("change {path}")]);
        self.head()
    }

    /// Removes a file and commits that; the id of the commit.
    pub fn remove(&self, path: &str) -> String {
        self.git(&["rm", "-q", path]);
        self.git(&["commit", "-q", "-m", &format!("remove {path}")]);
        self.head()
    }

    /// The id of HEAD.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes so many commits with `git fast-import`, each changing one of 400 files of about 8 KB in one place. Packed
    /// as fast-import leaves it.
    ///
    /// # Panics
    /// If git fails.
    pub fn import(&self, commits: usize) {
        let mut child = git_command(self.path(), &["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("git starts");
        let mut out = BufWriter::new(child.stdin.take().expect("piped"));
        let mut files: Vec<Vec<String>> = (0..400)
            .map(|f| {
                (0..120)
                    .map(|l| {
                        format!(
                            "    let value_{l} = compute({}, \"{}\");",
                            l * f,
                            noise(&format!("{f}/{l}"), 24)
                        )
                    })
                    .collect()
            })
            .collect();
        for commit in 0..commits {
            let file = (commit * 7919) % files.len();
            let line = (commit * 104_729) % 120;
            files[file][line] = format!(
                "    let value_{line} = compute({commit}, \"{}\");",
                noise(&format!("c{commit}"), 24)
            );
            let text = files[file].join("\n");
            write!(
                out,
                "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata 8\nchange x\nM 100644 inline src/m{}/f{file}.rs\ndata {}\n{text}\n",
                1_600_000_000 + commit * 60,
                file % 20,
                text.len(),
            )
            .expect("git reads");
        }
        out.flush().expect("git reads");
        drop(out);
        assert!(child.wait().expect("git ends").success());
    }

    /// Scans it with these flags; the report is JSON.
    pub fn scan(&self, flags: &[&str]) -> Ran {
        claviger(&self.root, &[&["scan", "--format", "json", "--no-color"], flags].concat())
    }
}

/// Runs git in a folder, apart from all configuration of the machine; its trimmed output.
///
/// # Panics
/// If git fails.
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = git_command(folder, args).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A git command apart from all configuration of the machine.
pub fn git_command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "protocol.file.allow=always", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(folder);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Ada Lovelace"),
        ("GIT_AUTHOR_EMAIL", "ada@example.org"),
        ("GIT_AUTHOR_DATE", "2024-03-01T12:00:00Z"),
        ("GIT_COMMITTER_NAME", "Ada Lovelace"),
        ("GIT_COMMITTER_EMAIL", "ada@example.org"),
        ("GIT_COMMITTER_DATE", "2024-03-01T12:00:00Z"),
    ] {
        // A test that dates a commit itself has set the variable on its own command.
        command.env(name, value);
    }
    command
}
