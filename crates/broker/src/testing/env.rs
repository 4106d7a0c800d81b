//! A job's surroundings, made up.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;

use crate::platform::Env;
use crate::secret::Secret;

/// An environment of variables, files and answers of programs. What is not there is not there.
#[derive(Debug, Default)]
pub struct TestEnv {
    variables: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, String>,
    programs: BTreeMap<String, String>,
    ran: Mutex<Vec<Vec<String>>>,
}

impl TestEnv {
    /// With these variables.
    pub fn new<const N: usize>(variables: [(&str, &str); N]) -> TestEnv {
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        TestEnv { variables: variables.into(), ..TestEnv::default() }
    }

    /// With one more variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> TestEnv {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, content: &str) -> TestEnv {
        self.files.insert(path.into(), content.to_owned());
        self
    }

    /// With a program that writes this.
    #[must_use]
    pub fn program(mut self, name: &str, writes: &str) -> TestEnv {
        self.programs.insert(name.to_owned(), writes.to_owned());
        self
    }

    /// What was run: programs with their arguments.
    ///
    /// # Panics
    /// A test's other thread panicked.
    pub fn ran(&self) -> Vec<Vec<String>> {
        self.ran.lock().expect("no thread panicked").clone()
    }
}

#[async_trait]
impl Env for TestEnv {
    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Secret> {
        let found = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Secret::text(found.clone()))
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> io::Result<Secret> {
        let words = std::iter::once(&program).chain(arguments).map(|word| (*word).to_owned()).collect();
        self.ran.lock().expect("no thread panicked").push(words);
        let found = self.programs.get(program).ok_or(io::ErrorKind::NotFound)?;
        Ok(Secret::text(found.clone()))
    }
}
