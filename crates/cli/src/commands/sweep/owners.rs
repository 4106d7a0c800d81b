//! Whose a path is, as CODEOWNERS says (GitHub's and GitLab's form).

use std::path::Path;

use claviger_scanner::path::printable;
use claviger_scanner::source::git::Repository;
use globset::{GlobBuilder, GlobMatcher};

/// Where the hosts look, in this order.
const FILES: &[&str] = &[".github/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"];
/// Largest file in bytes that GitHub reads.
const MAX_FILE: usize = 3 * 1024 * 1024;
/// Entries that are kept of a file.
const MAX_ENTRIES: usize = 20_000;

/// The owners of a repository's paths.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// One section, or GitLab's: in each the last entry that matches counts.
    sections: Vec<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    globs: Vec<GlobMatcher>,
    owners: Vec<String>,
}

impl Owners {
    /// As HEAD says; nobody, if it has no such file.
    pub(super) fn at_head(repository: &Repository) -> Owners {
        let file = FILES.iter().find_map(|name| repository.file_at("HEAD", Path::new(name)).ok().flatten());
        let file = file.filter(|bytes| bytes.len() <= MAX_FILE).unwrap_or_default();
        Owners::parse(&String::from_utf8_lossy(&file))
    }

    fn parse(text: &str) -> Owners {
        let mut sections = vec![Vec::new()];
        let mut of_section: Vec<String> = Vec::new();
        for line in text.lines().take(MAX_ENTRIES) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix('^').unwrap_or(line).strip_prefix('[')
                && let Some((_, rest)) = rest.split_once(']')
            {
                // A number of approvals may follow, then owners of whatever names none.
                let rest = rest.strip_prefix('[').and_then(|r| r.split_once(']')).map_or(rest, |(_, r)| r);
                of_section = owners(rest);
                sections.push(Vec::new());
                continue;
            }
            let (pattern, rest) = pattern(line);
            let named = owners(rest);
            let owners = if named.is_empty() { of_section.clone() } else { named };
            if let (Some(globs), Some(section)) = (globs(&pattern), sections.last_mut()) {
                section.push(Entry { globs, owners });
            }
        }
        Owners { sections }
    }

    /// The owners of a path, sorted.
    pub(super) fn of(&self, path: &str) -> Vec<String> {
        let last = |section: &Vec<Entry>| {
            let entry = section.iter().rev().find(|entry| entry.globs.iter().any(|glob| glob.is_match(path)));
            entry.map(|entry| entry.owners.clone()).unwrap_or_default()
        };
        let mut all: Vec<String> = self.sections.iter().flat_map(last).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The pattern that begins a line, and what follows it. A backslash keeps a blank.
fn pattern(line: &str) -> (String, &str) {
    let mut pattern = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => pattern.extend(chars.next().map(|(_, c)| c)),
            c if c.is_whitespace() => return (pattern, &line[at..]),
            c => pattern.push(c),
        }
    }
    (pattern, "")
}

fn owners(text: &str) -> Vec<String> {
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    text.split_whitespace().map(|owner| printable(owner.as_bytes())).collect()
}

/// What a pattern matches: as in .gitignore, a file or everything below a folder.
fn globs(pattern: &str) -> Option<Vec<GlobMatcher>> {
    let is_folder = pattern.ends_with('/');
    let body = pattern.trim_end_matches('/');
    let is_anchored = body.contains('/');
    let body = body.trim_start_matches('/');
    let base = match (body.is_empty(), is_anchored) {
        (true, _) => String::new(),
        (_, true) => body.to_owned(),
        (_, false) => format!("**/{body}"),
    };
    // `docs/*` is the files of docs, not those of its folders.
    let is_flat = is_anchored && body.rsplit('/').next() == Some("*");
    let below = if base.is_empty() { "**".to_owned() } else { format!("{base}/**") };
    let mut texts = Vec::new();
    if !is_folder && !base.is_empty() {
        texts.push(base);
    }
    if !is_flat {
        texts.push(below);
    }
    let glob = |text: &String| {
        let glob = GlobBuilder::new(text).literal_separator(true).build().ok()?;
        Some(glob.compile_matcher())
    };
    texts.iter().map(glob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_of_each_section_counts() {
        let text = "* @all\n*.js @js # scripts\n/build/ @ops a@example.org\ndocs/* @docs\napps/ @apps\n/apps/x\n\
                    my\\ file @blank\n[Database][2] @db\nmodel/\n^[Optional]\n/a.sql @sql\n";
        let owners = Owners::parse(text);
        let check = |path: &str, want: &[&str]| assert_eq!(owners.of(path), want, "{path}");
        check("README", &["@all"]);
        check("src/deep/x.js", &["@js"]);
        check("build/logs/x", &["@ops", "a@example.org"]);
        check("src/build/x", &["@all"]);
        check("docs/a", &["@docs"]);
        check("docs/deep/a", &["@all"]);
        check("other/apps/a", &["@apps"]);
        check("apps/x/y", &[]);
        check("my file", &["@blank"]);
        check("src/model/a", &["@all", "@db"]);
        check("a.sql", &["@all", "@sql"]);
        assert!(Owners::parse("").of("a").is_empty());
    }
}
