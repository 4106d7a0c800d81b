//! Path globs of ignore entries: the semantics of `--include` and `--exclude`
//! ([`PathFilter`](crate::source::tree::PathFilter)), and which of many globs match.

use std::borrow::Cow;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::path::RepoPath;

/// Longest glob in bytes: longer than any path with every character escaped.
const MAX_GLOB: usize = 16 * 1024;
/// Globs compiled together; more could grow over the regex engine's bound.
const CHUNK: usize = 64;

/// A glob that matches every path, also the empty one of messages.
pub(super) const ANY: &str = "*";

/// The globs that say what a user's glob means: the path itself, and all below it. Without a slash it means a name at
/// any depth.
fn forms(glob: &str) -> Result<[Glob; 2], globset::Error> {
    let base = glob.trim_end_matches('/');
    let rooted: Cow<'_, str> = match base.strip_prefix('/') {
        Some(rest) => rest.into(),
        None if base.contains('/') => base.into(),
        None => format!("**/{base}").into(),
    };
    let build = |form: &str| GlobBuilder::new(form).literal_separator(true).build();
    Ok([build(&rooted)?, build(&format!("{rooted}/**"))?])
}

/// Says what is wrong with a glob, if something is.
pub(super) fn check(glob: &str) -> Result<(), String> {
    if glob.is_empty() {
        return Err("is empty; write `*` for any path".to_owned());
    }
    if glob.len() > MAX_GLOB {
        return Err(format!("is longer than {MAX_GLOB} bytes"));
    }
    let forms = forms(glob).map_err(|e| e.kind().to_string())?;
    // Only nesting can build and still not compile.
    if glob.contains('{') {
        set(forms).map_err(|e| e.kind().to_string())?;
    }
    Ok(())
}

/// A glob that matches this path alone (and what is below it).
pub(super) fn literal(path: &RepoPath) -> String {
    let text = String::from_utf8_lossy(path.as_bytes());
    if text.is_empty() {
        return ANY.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 1);
    if !text.contains('/') {
        out.push('/');
    }
    for c in text.chars() {
        match c {
            '?' | '*' | '[' | ']' | '{' | '}' | '\\' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
    }
    out
}

fn set(globs: impl IntoIterator<Item = Glob>) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(glob);
    }
    builder.build()
}

/// Globs, each with a number of its owner's, asked together.
#[derive(Debug, Default)]
pub(super) struct PathGlobs {
    any: Vec<usize>,
    sets: Vec<(GlobSet, Vec<usize>)>,
}

impl PathGlobs {
    /// Compiles globs.
    ///
    /// # Errors
    /// The number of the glob that does not compile, and why.
    pub(super) fn new(globs: &[(usize, &str)]) -> Result<Self, (usize, String)> {
        let is_any = |glob: &str| glob == ANY || glob == "**";
        let (any, rest): (Vec<_>, Vec<_>) = globs.iter().copied().partition(|(_, glob)| is_any(glob));
        let mut all = PathGlobs { any: any.iter().map(|(at, _)| *at).collect(), sets: Vec::new() };
        for chunk in rest.chunks(CHUNK) {
            all.add(chunk)?;
        }
        Ok(all)
    }

    /// Adds globs as one set, or one by one where they are too large together.
    fn add(&mut self, globs: &[(usize, &str)]) -> Result<(), (usize, String)> {
        let mut parsed = Vec::with_capacity(2 * globs.len());
        for (at, glob) in globs {
            parsed.extend(forms(glob).map_err(|e| (*at, e.kind().to_string()))?);
        }
        match set(parsed) {
            Ok(set) => self.sets.push((set, globs.iter().map(|(at, _)| *at).collect())),
            Err(e) if globs.len() == 1 => return Err((globs[0].0, e.kind().to_string())),
            Err(_) => {
                for glob in globs {
                    self.add(std::slice::from_ref(glob))?;
                }
            }
        }
        Ok(())
    }

    /// The numbers of all globs that match, ascending within a set, some twice.
    pub(super) fn matches(&self, path: &RepoPath) -> Vec<usize> {
        let mut found = self.any.clone();
        if !path.is_empty() {
            let text = String::from_utf8_lossy(path.as_bytes());
            for (set, owners) in &self.sets {
                // Two forms stand for each glob.
                found.extend(set.matches(text.as_ref()).into_iter().map(|at| owners[at / 2]));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tree::PathFilter;

    #[test]
    fn means_what_the_flags_mean() {
        let globs = [
            "*", "**", "a", "/a", "a/", "a/b", "*.rs", "src/*.rs", "src/**/x", "[ab]", "{a,b}/c", "a?",
            "**/b", "é",
        ];
        let paths =
            ["a", "b", "a/b", "x/a", "x/a/y", "src/m.rs", "src/x/m.rs", "src/p/q/x", "b/c", "ab", "é"];
        let numbered: Vec<_> = globs.iter().copied().enumerate().collect();
        let all = PathGlobs::new(&numbered).unwrap();
        for path in paths.map(RepoPath::new) {
            let found = all.matches(&path);
            for (at, glob) in globs.iter().enumerate() {
                let filter = PathFilter::new(&[(*glob).to_owned()], &[]).unwrap();
                assert_eq!(found.contains(&at), filter.admits(&path), "{glob} over {path}");
            }
        }
    }

    #[test]
    fn bad_globs_are_told() {
        assert!(check("a/[b").is_err());
        assert!(check("").is_err());
        assert!(check(&"{".repeat(3000)).is_err());
        assert!(check(&format!("{}a{}", "{".repeat(3000), "}".repeat(3000))).is_err());
        assert!(check(&"a".repeat(MAX_GLOB + 1)).is_err());
        assert!(check(&"?".repeat(MAX_GLOB)).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn a_literal_matches_its_path_only(
            path in r"[a-c/\[\]\{\}*?\\!, é]{1,12}", other in r"[a-c/\[\]\{\}*?\\!, é]{1,12}"
        ) {
            let clean = |p: &str| p.split('/').filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/");
            let (path, other) = (clean(&path), clean(&other));
            proptest::prop_assume!(!path.is_empty() && !other.is_empty());
            let glob = literal(&RepoPath::new(path.as_bytes()));
            check(&glob).unwrap();
            let globs = PathGlobs::new(&[(0, &glob)]).unwrap();
            let is_match = |p: &str| !globs.matches(&RepoPath::new(p.as_bytes())).is_empty();
            proptest::prop_assert!(is_match(&path), "{}", glob);
            let is_inside = other == path || other.starts_with(&format!("{path}/"));
            proptest::prop_assert_eq!(is_match(&other), is_inside, "{} over {}", glob, other);
        }
    }
}
