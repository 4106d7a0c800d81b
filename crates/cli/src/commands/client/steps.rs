//! Carries out how a credential is handed over, in order.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use claviger_broker::client::handover::Step;
use claviger_broker::secret::Secret;

/// Carries out the steps; stops at the first that fails.
pub(super) fn carry_out(steps: &[Step]) -> anyhow::Result<()> {
    for step in steps {
        match step {
            Step::Print(text) => print(text)?,
            Step::Append { path, text } => append(path, text).with_context(|| path.display().to_string())?,
            Step::Write { path, content } => {
                write_private(path, content.expose()).with_context(|| path.display().to_string())?;
            }
            Step::Run { command, input } => run(command, input)?,
        }
    }
    Ok(())
}

/// Flushed at once: a mask must be read before the value can be shown.
fn print(text: &Secret) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.expose()).and_then(|()| out.flush()).context("standard output")
}

/// Appends to a file that is there already: the CI made it. Through a link it would end elsewhere.
fn append(path: &Path, text: &Secret) -> io::Result<()> {
    if fs::symlink_metadata(path)?.file_type().is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    OpenOptions::new().append(true).open(path)?.write_all(text.expose())
}

/// Writes a file that only its owner can read, in one step: whoever opens it sees all of it or the one before.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private(folder)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let temporary = folder.join(hidden);
    let written = create_private(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

/// A new folder for its owner alone; one that exists stays as it is.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

fn run(command: &[String], input: &Secret) -> anyhow::Result<()> {
    let [program, arguments @ ..] = command else { bail!("an empty command") };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.expose()).with_context(|| format!("`{program}` does not read its input"))?;
    }
    let status = child.wait().with_context(|| format!("`{program}`"))?;
    if !status.success() {
        bail!("`{program}` failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_private_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/key");
        write_private(&path, b"one").expect("written");
        write_private(&path, b"two").expect("replaced");
        assert_eq!(fs::read(&path).expect("readable"), b"two");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.path().join("a"))), (0o600, 0o700));
        assert_eq!(fs::read_dir(folder.path().join("a/b")).expect("listed").count(), 1);
    }

    #[test]
    fn nothing_is_appended_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "").expect("written");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        assert!(append(&link, &Secret::text("x".into())).is_err());
        assert!(append(&folder.path().join("none"), &Secret::text("x".into())).is_err());
        append(&real, &Secret::text("x".into())).expect("appended");
        assert_eq!(fs::read(&real).expect("readable"), b"x");
    }
}
