//! Which repositories: out of lists, folders and standard input.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claviger_scanner::path::printable;

use super::model::{Target, Where};
use super::shown;

/// Largest list, in bytes.
const MAX_LIST: u64 = 64 * 1024 * 1024;
/// Folders between a folder of clones and a clone: hosts nest groups.
const MAX_DEPTH: usize = 6;
/// Schemes of URLs that git may be asked for.
const SCHEMES: &[&str] = &["https", "ssh", "file", "http"];

/// Repositories, each once.
#[derive(Debug, Default)]
pub(super) struct Targets(BTreeMap<String, Target>);

impl Targets {
    /// Adds what a list, a folder or standard input (`-`) names.
    pub(super) fn add_source(&mut self, source: &Path) -> anyhow::Result<()> {
        if source == Path::new("-") {
            let input = std::io::stdin().lock();
            return self.add_list(&read(input).context("standard input")?, "standard input", Path::new("."));
        }
        let name = shown(source);
        let meta = std::fs::metadata(source).with_context(|| name.clone())?;
        if meta.is_dir() {
            let before = self.0.len();
            self.add_folder(source, 0).with_context(|| name.clone())?;
            if self.0.len() == before && !is_repository(source) {
                bail!("{name}: no repository is in this folder");
            }
            return Ok(());
        }
        let text = std::fs::File::open(source).and_then(read).with_context(|| name.clone())?;
        let beside = source.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.add_list(&text, &name, beside)
    }

    /// Adds one.
    pub(super) fn add(&mut self, target: Target) {
        self.0.entry(target.name.clone()).or_insert(target);
    }

    /// All of them, by name.
    pub(super) fn list(self) -> Vec<Target> {
        self.0.into_values().collect()
    }

    /// Paths count from the folder that the list is in.
    fn add_list(&mut self, text: &[u8], name: &str, beside: &Path) -> anyhow::Result<()> {
        for (at, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = std::str::from_utf8(line).map(str::trim);
            let line = line.with_context(|| format!("{name}:{}: not UTF-8", at + 1))?;
            let line = if at == 0 { line.trim_start_matches('\u{feff}') } else { line };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.split_once(" #").map_or(line, |(line, _)| line.trim_end());
            // The line itself is not shown: a password may stand in it.
            let target = target(line, beside).with_context(|| format!("{name}:{}", at + 1))?;
            self.add(target);
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path, depth: usize) -> anyhow::Result<()> {
        if is_repository(folder) {
            self.add(local(folder)?);
            return Ok(());
        }
        if depth >= MAX_DEPTH {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // Links are not followed: they may lead in a circle.
            if entry.file_type()?.is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".claviger-")
            {
                self.add_folder(&entry.path(), depth + 1)?;
            }
        }
        Ok(())
    }
}

fn read(input: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_LIST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LIST {
        return Err(std::io::Error::other(format!("larger than {MAX_LIST} bytes")));
    }
    Ok(bytes)
}

fn is_repository(folder: &Path) -> bool {
    folder.join(".git").exists() || folder.join("HEAD").is_file() && folder.join("objects").is_dir()
}

fn target(line: &str, beside: &Path) -> anyhow::Result<Target> {
    if line.contains("://") || is_scp(line) {
        return url(line);
    }
    if line.contains("::") {
        bail!("a remote helper (`NAME::ADDRESS`) is not allowed; write a URL or a path");
    }
    let path = beside.join(line);
    local(&path)
}

/// A repository on this machine, one that is not there, too: it must appear among what was not scanned.
fn local(path: &Path) -> anyhow::Result<Target> {
    let whole = match path.canonicalize() {
        Ok(path) => path,
        Err(_) => std::path::absolute(path)?,
    };
    Ok(Target { name: shown(&whole), at: Where::Path(PathBuf::from(path)) })
}

/// `user@host:path`, git's short form of SSH.
fn is_scp(line: &str) -> bool {
    let Some((host, path)) = line.split_once(':') else { return false };
    !host.contains('/') && host.contains('@') && !path.starts_with(':') && !host.starts_with('-')
}

/// A URL as a target. Names differ only where repositories do: the host's case, a slash or `.git` at the end say nothing.
pub(super) fn url(text: &str) -> anyhow::Result<Target> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        bail!("a URL has no blanks; write %20");
    }
    let trimmed = |path: &str| path.trim_end_matches('/').trim_end_matches(".git").to_owned();
    if !text.contains("://") {
        let (host, path) = text.split_once(':').context("no URL and no path")?;
        let name = format!("{}:{}", host.to_lowercase(), trimmed(path));
        return Ok(Target { name: printable(name.as_bytes()), at: Where::Url(text.to_owned()) });
    }
    let (scheme, rest) = text.split_once("://").context("no URL")?;
    let scheme = scheme.to_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        bail!("only {} URLs are allowed", SCHEMES.join(", "));
    }
    let (authority, path) = rest.split_once('/').context("the URL has no path")?;
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
    if user.is_some_and(|user| user.contains(':')) {
        bail!(
            "there is a password in the URL; give it to git with a credential helper, or name the variable of a token"
        );
    }
    if user.is_some() && scheme != "ssh" {
        bail!("there is a name in the URL, which may be a token; give it to git with a credential helper");
    }
    if path.contains(['?', '#']) {
        bail!("a repository's URL has no `?` and no `#`");
    }
    if scheme != "file" && (host.is_empty() || host.starts_with('-')) {
        bail!("the URL has no host");
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let name = format!("{scheme}://{user}{}/{}", host.to_lowercase(), trimmed(path));
    Ok(Target { name: printable(name.as_bytes()), at: Where::Url(text.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_one_and_bad_lines_are_named() {
        let mut targets = Targets::default();
        let list = "# ours\nhttps://Example.org/a.git\nhttps://example.org/a/\n\n  https://example.org/a # again\n\
                    git@example.org:b.git\r\nssh://git@example.org/c\n./d\nd\n";
        targets.add_list(list.as_bytes(), "list", Path::new("/nowhere")).unwrap();
        let names: Vec<String> = targets.list().into_iter().map(|t| t.name).collect();
        let want = ["/nowhere/d", "git@example.org:b", "https://example.org/a", "ssh://git@example.org/c"];
        assert_eq!(names, want);
        let password = format!("https://u:{}@example.org/a", "p");
        let bad: &[&str] = &[
            "ext::sh -c id",
            "git://example.org/a",
            "https://example.org",
            "https://-x/a",
            &password,
            "https://tok@example.org/a",
            "https://example.org/a?b",
            "javascript://x/y",
        ];
        for line in bad {
            let list = format!("https://example.org/a\n{line}\n");
            let error = Targets::default().add_list(list.as_bytes(), "list", Path::new("/")).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.starts_with("list:2: ") && !said.contains(line), "{said}");
        }
    }
}
