//! Rules: the built-in ones, those of a user, and what can be said about a set of them.

mod example;
mod lint;
mod model;
mod run;
mod wire;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use example::{Outcome, fill, run_examples};
pub use lint::{Lint, lint};
pub use model::{
    Boundary, Checks, Checksum, Confidence, Decode, Kind, List, Near, Rule, Run, Severity, Text, ValueKind,
};

/// Largest rule file that is read, in bytes: YAML readers are slow on hostile input.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most rules in a set.
const MAX_RULES: usize = 20_000;

mod builtin {
    use super::model::*;
    use std::borrow::Cow;
    include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

    pub(super) fn digest() -> &'static str {
        DIGEST
    }

    pub(super) fn rules() -> &'static [Rule] {
        &BUILTIN
    }
}

/// Why rules could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it was not.
        source: std::io::Error,
    },
    /// A file is larger than any rule file should be.
    #[error("{}: larger than {MAX_FILE} bytes; split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not what a rule file holds. The message names line and column where YAML knows them.
    #[error("{}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// Two rules share an id.
    #[error(
        "two rules are called `{id}`; rename one, or leave out the built-in rules with `--no-builtin-rules`"
    )]
    Duplicate {
        /// The id.
        id: String,
    },
    /// A selected id does not exist.
    #[error("no rule is called `{id}`{}", hint.as_ref().map(|h| format!("; did you mean `{h}`?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        id: String,
        /// The closest id there is.
        hint: Option<String>,
    },
    /// More rules than a set may hold.
    #[error("more than {MAX_RULES} rules")]
    TooMany,
}

/// A set of rules in the order of their ids.
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: Cow<'static, [Rule]>,
}

impl RuleSet {
    /// The rules that come with the binary.
    pub fn builtin() -> Self {
        RuleSet { rules: Cow::Borrowed(builtin::rules()) }
    }

    /// A set of these rules alone.
    ///
    /// # Errors
    /// [`RuleError::Duplicate`] and [`RuleError::TooMany`].
    pub fn new(mut rules: Vec<Rule>) -> Result<Self, RuleError> {
        if rules.len() > MAX_RULES {
            return Err(RuleError::TooMany);
        }
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        match rules.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(RuleError::Duplicate { id: pair[0].id.to_string() }),
            None => Ok(RuleSet { rules: Cow::Owned(rules) }),
        }
    }

    /// This set and more rules.
    ///
    /// # Errors
    /// As [`RuleSet::new`].
    pub fn with(self, more: Vec<Rule>) -> Result<Self, RuleError> {
        let mut rules = self.rules.into_owned();
        rules.extend(more);
        RuleSet::new(rules)
    }

    /// The rules chosen by id or by glob (`github-*`): all or `only` some, less those to `skip`.
    ///
    /// # Errors
    /// [`RuleError::Unknown`] for a name that chooses nothing: a typo must not switch off a scan.
    pub fn select(self, only: &[String], skip: &[String]) -> Result<Self, RuleError> {
        if only.is_empty() && skip.is_empty() {
            return Ok(self);
        }
        for name in only.iter().chain(skip) {
            if !self.rules.iter().any(|rule| id_matches(name, &rule.id)) {
                return Err(RuleError::Unknown { id: name.clone(), hint: self.closest(name) });
            }
        }
        let chosen = |rule: &&Rule| {
            (only.is_empty() || only.iter().any(|name| id_matches(name, &rule.id)))
                && !skip.iter().any(|name| id_matches(name, &rule.id))
        };
        Ok(RuleSet { rules: self.rules.iter().filter(chosen).cloned().collect() })
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of that id.
    ///
    /// # Errors
    /// [`RuleError::Unknown`], with the closest id there is.
    pub fn get(&self, id: &str) -> Result<&Rule, RuleError> {
        match self.rules.binary_search_by(|rule| rule.id.as_ref().cmp(id)) {
            Ok(at) => Ok(&self.rules[at]),
            Err(_) => Err(RuleError::Unknown { id: id.to_owned(), hint: self.closest(id) }),
        }
    }

    /// SHA-256 over everything that decides what is found, in hex: two sets with one digest find the same.
    pub fn digest(&self) -> String {
        // Made at build time: a hook has no milliseconds to spare for it.
        if matches!(&self.rules, Cow::Borrowed(rules) if std::ptr::eq(*rules, builtin::rules())) {
            return builtin::digest().to_owned();
        }
        let mut hash = Sha256::new();
        for rule in self.rules.iter() {
            let text = format!(
                "{}\0{}\0{:?}\0{:?}\0{:?}\0{:?}\0{}\0{}\0{:?}\0{:?}\n",
                rule.id,
                rule.pattern,
                rule.anchors,
                rule.kind,
                rule.confidence,
                rule.boundary,
                rule.reach,
                rule.multiline,
                rule.files,
                rule.checks,
            );
            hash.update(text.as_bytes());
        }
        hex::encode(hash.finalize())
    }

    fn closest(&self, name: &str) -> Option<String> {
        let ids = self.rules.iter().map(|rule| rule.id.as_ref());
        closest(name, ids).map(str::to_owned)
    }
}

/// The candidate most like `name`, if one is like it at all. For "did you mean" hints.
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= name.len().max(3) / 3)
        .map(|(_, candidate)| candidate)
}

/// Changed, missing, added and swapped characters between two names.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(128).collect();
    let b: Vec<char> = b.chars().take(128).collect();
    // The last three rows of the table: before, above, own.
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut own = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            own[j] = replaced.min(own[j - 1] + 1).min(above[j] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                own[j] = own[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, own);
    }
    above[b.len()]
}

/// Whether a name as typed by a user chooses the id; `*` stands for any run of characters.
pub fn id_matches(name: &str, id: &str) -> bool {
    match name.split_once('*') {
        None => name == id,
        Some((head, rest)) => {
            let Some(tail) = id.strip_prefix(head) else { return false };
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && id_matches(rest, &tail[at..]))
        }
    }
}

/// Reads the rules of a file, or of every `*.yaml` and `*.yml` in a folder (not below it).
///
/// # Errors
/// [`RuleError`], naming file, line and column where they are known.
pub fn read(path: &Path) -> Result<Vec<Rule>, RuleError> {
    let failed = |source| RuleError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return read_file(path);
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(RuleError::Invalid {
            path: path.to_owned(),
            why: "the folder holds no `*.yaml` file".into(),
        });
    }
    let mut rules = Vec::new();
    for file in files {
        rules.extend(read_file(&file)?);
    }
    Ok(rules)
}

fn read_file(path: &Path) -> Result<Vec<Rule>, RuleError> {
    let failed = |source| RuleError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(RuleError::TooLarge { path: path.to_owned() });
    }
    parse(&fs::read_to_string(path).map_err(failed)?, path)
}

/// Reads rules from the text of a file.
///
/// # Errors
/// [`RuleError::Invalid`], naming line and column where they are known.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Rule>, RuleError> {
    let invalid = |why: String| RuleError::Invalid { path: path.to_owned(), why };
    let file: wire::File = serde_yaml::from_str(text).map_err(|e| invalid(e.to_string()))?;
    file.into_rules().map_err(|why| invalid(locate(text, why)))
}

/// Puts the line of a rule's id before a message that begins with "rule `id`".
fn locate(text: &str, why: String) -> String {
    let id = why.split('`').nth(1).unwrap_or_default();
    let line = text.lines().position(|line| {
        line.trim_start_matches([' ', '-']).strip_prefix("id:").is_some_and(|rest| rest.trim() == id)
    });
    match line {
        Some(line) => format!("line {}: {why}", line + 1),
        None => why,
    }
}

/// JSON Schema of a rule file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(wire::File).into()
}
