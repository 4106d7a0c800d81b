//! How a credential reaches what uses it: one file per way, one line in [`WAYS`].
//!
//! A way turns variables into [`Step`]s, which the program carries out in order: everything that masks comes before
//! anything that could show a value. Nothing here writes or prints.

mod azure;
mod buildkite;
mod circleci;
mod dotenv;
mod file;
mod github;
mod json;
mod mask;
mod shell;

use std::path::PathBuf;

use crate::platform::Env;
use crate::secret::Secret;

/// One value and the name it is handed over under.
#[derive(Debug)]
pub struct Variable {
    /// The name; see [`check_name`].
    pub name: String,
    /// The value.
    pub value: Secret,
    /// Whether it must be masked.
    pub is_secret: bool,
}

/// One thing to do. The texts hold secrets.
#[derive(Debug)]
pub enum Step {
    /// Print to standard output.
    Print(Secret),
    /// Append to a file that the CI made.
    Append {
        /// The file.
        path: PathBuf,
        /// What to append.
        text: Secret,
    },
    /// Write a new file, readable by its owner alone, in a folder that is made likewise.
    Write {
        /// The file.
        path: PathBuf,
        /// What to write.
        content: Secret,
    },
    /// Run a program with this on its standard input.
    Run {
        /// The program and its arguments, without a secret.
        command: Vec<String>,
        /// Its standard input.
        input: Secret,
    },
}

/// Why a credential is not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// A name that cannot be a variable's name there.
    #[error("`{0}` cannot be the name of a variable: {1}")]
    Name(String, &'static str),
    /// A value that the way cannot carry.
    #[error("the value of `{0}` {1}")]
    Value(String, &'static str),
    /// The job lacks what the way needs.
    #[error("{0}")]
    Missing(String),
    /// The job would show the values.
    #[error("{0}")]
    Exposed(&'static str),
}

/// A way to hand over.
pub struct Way {
    /// Its name: `--format NAME`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Makes the steps.
    pub plan: Plan,
}

/// Makes the steps of a way.
pub type Plan = fn(&[Variable], &Options, &dyn Env) -> Result<Vec<Step>, HandoverError>;

/// What a way may need to know.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where files are to be written, for ways that write some.
    pub folder: Option<PathBuf>,
    /// The file to be written or appended to, for ways that can choose.
    pub file: Option<PathBuf>,
}

/// Every way, in the order the help lists them.
pub static WAYS: &[&Way] = &[
    &shell::WAY,
    &json::WAY,
    &dotenv::WAY,
    &file::WAY,
    &github::ENVIRONMENT,
    &github::OUTPUT,
    &buildkite::WAY,
    &circleci::WAY,
    &azure::WAY,
];

/// The way of this name.
pub fn by_name(name: &str) -> Option<&'static Way> {
    WAYS.iter().copied().find(|way| way.name == name)
}

/// GitHub's masks alone, for ways that do not mask themselves.
///
/// # Errors
/// A value is no text.
pub fn github_masks(variables: &[Variable]) -> Result<Vec<Step>, HandoverError> {
    github::masks(variables)
}

/// Names that change how programs are loaded or found: a credential has no business there.
const DANGEROUS: &[&str] = &[
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
    "NODE_OPTIONS",
    "BASH_ENV",
    "ENV",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
    "IFS",
    "PS4",
    "PROMPT_COMMAND",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_COUNT",
];

/// Whether `name` may be a variable: letters, digits and underscores, and none that programs obey.
///
/// # Errors
/// It may not.
pub fn check_name(name: &str) -> Result<(), HandoverError> {
    let wrong = |why| Err(HandoverError::Name(name.chars().take(80).collect(), why));
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || name.len() > 128 || !plain || name.as_bytes()[0].is_ascii_digit() {
        return wrong("use letters, digits and underscores, not a digit first");
    }
    if DANGEROUS.contains(&name.to_ascii_uppercase().as_str()) {
        return wrong("programs obey this variable; choose another name");
    }
    Ok(())
}

/// A variable's value as text, without a NUL, which no environment can carry.
fn text(variable: &Variable) -> Result<&str, HandoverError> {
    let wrong = |why| HandoverError::Value(variable.name.clone(), why);
    let text = variable.value.expose_text().ok_or_else(|| wrong("is no UTF-8 text; use `--format file`"))?;
    if text.contains('\0') { Err(wrong("holds a NUL; use `--format file`")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A job's environment that tests write down.
    pub(super) struct Job(pub(super) BTreeMap<&'static str, &'static str>);

    impl Env for Job {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|value| (*value).to_owned())
        }
    }

    pub(super) fn variable(name: &str, value: &str) -> Variable {
        Variable { name: name.into(), value: Secret::text(value.into()), is_secret: true }
    }

    /// The steps as text, for comparison.
    pub(super) fn shown(steps: &[Step]) -> Vec<String> {
        let text = |secret: &Secret| secret.expose_text().expect("text").to_owned();
        steps
            .iter()
            .map(|step| match step {
                Step::Print(out) => format!("print {}", text(out)),
                Step::Append { path, text: added } => format!("append {} {}", path.display(), text(added)),
                Step::Write { path, content } => format!("write {} {}", path.display(), text(content)),
                Step::Run { command, input } => format!("run {} < {}", command.join(" "), text(input)),
            })
            .collect()
    }

    #[test]
    fn names_are_plain_and_harmless() {
        for good in ["PGPASSWORD", "a", "_x1"] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "1a", "a=b", "a\nb", "a b", "LD_PRELOAD", "path", "NODE_OPTIONS", "é"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ways_are_told_apart() {
        let mut names: Vec<_> = WAYS.iter().map(|way| way.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WAYS.len());
        assert!(WAYS.iter().all(|way| !way.about.is_empty()));
    }

    #[test]
    fn mask_order() {
        let job = Job([
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_ENV", "/r/env"),
            ("GITHUB_OUTPUT", "/r/out"),
            ("BASH_ENV", "/b"),
            ("BUILDKITE", "true"),
            ("TF_BUILD", "True"),
        ]
        .into());
        let value = "first line of it\nsecond line of it";
        let variables = [variable("KEY", value)];
        for way in [&github::ENVIRONMENT, &github::OUTPUT, &azure::WAY] {
            let steps = shown(&(way.plan)(&variables, &Options::default(), &job).expect(way.name));
            let masks = |step: &String| step.contains("add-mask") || step.contains("setsecret");
            let last_mask = steps.iter().rposition(masks).expect("there is a mask");
            let first_use =
                steps.iter().position(|step| step.starts_with("append") || step.contains("setvariable"));
            assert!(first_use.is_some_and(|used| used > last_mask), "{}: {steps:#?}", way.name);
        }
    }
}
