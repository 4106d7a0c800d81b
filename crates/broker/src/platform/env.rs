//! What a job can see: its environment, its files, the programs of its CI. Given to the client, never taken by it.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt as _;

use crate::secret::Secret;

/// The longest file that holds a token, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// The longest output of a CI's own program, in bytes.
const MAX_OUTPUT: u64 = 64 * 1024;
/// How long a CI's own program may take.
const RUN_TIME: Duration = Duration::from_secs(20);

/// A job's surroundings.
#[async_trait]
pub trait Env: Send + Sync {
    /// The value of an environment variable; `None` also when it is empty or no UTF-8.
    fn get(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// It cannot be read, or is longer than 64 KiB.
    fn read(&self, path: &Path) -> io::Result<Secret> {
        use std::io::Read as _;
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE {
            return Err(io::Error::other("the file is longer than 64 KiB"));
        }
        Ok(Secret::new(content))
    }

    /// Runs a program of the CI and gives back what it wrote to standard output.
    ///
    /// # Errors
    /// It cannot be started, fails, takes longer than 20 seconds or writes more than 64 KiB. What it wrote to standard
    /// error is part of the error, cut to one line of 200 characters.
    async fn run(&self, program: &str, arguments: &[&str]) -> io::Result<Secret> {
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let (mut stdout, mut stderr) = (stdout.take(MAX_OUTPUT + 1), stderr.take(MAX_OUTPUT));
        let both = async {
            tokio::try_join!(stdout.read_to_end(&mut output), stderr.read_to_end(&mut complaint))?;
            child.wait().await
        };
        let status = tokio::time::timeout(RUN_TIME, both)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it took longer than 20 seconds"))??;
        if !status.success() {
            return Err(io::Error::other(format!("{status}: {}", first_line(&complaint))));
        }
        if output.len() as u64 > MAX_OUTPUT {
            return Err(io::Error::other("it wrote more than 64 KiB"));
        }
        Ok(Secret::new(output))
    }
}

fn first_line(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Why a job got no token of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The job was not given what it needs to ask: its author must change something. Trying again does not help.
    #[error("{0}")]
    NotOffered(String),
    /// The CI refused. Trying again does not help.
    #[error("the CI gave no token: {0}")]
    Refused(String),
    /// The CI did not answer, or said that it was busy. Trying again may help.
    #[error("the CI could not be asked for a token: {0}")]
    Unavailable(String),
}

impl TokenError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, TokenError::Unavailable(_))
    }
}
