//! The ignore file, `.clavigerignore`: which secrets are no danger, who says so, and until when.
//!
//! ```text
//! # claviger:salt 6c1f0a94be3d47f2            the project's salt, if claviger.yaml has none; comes first
//! # A line that begins with `#` is a comment.
//! s1:0123456789abcdef01234567 stripe-key docs/*.md owner=ann expires=2027-01-31 -- sandbox key of the tutorial
//! s1:89abcdef0123456789abcdef * "my docs/a b.md" -- revoked in 2024
//! ```
//!
//! An entry is one line, so that git merges entries one by one: fingerprint, rule (an id, or with `*`), path glob as
//! in `--exclude` (`*` for any path), then `owner=` and `expires=` as wanted, ` -- ` and the reason. Texts with spaces
//! stand in double quotes, in which `\"`, `\\` and `\u{a}` are escapes. Keep the file sorted (`LC_ALL=C sort`): then
//! two branches that add entries rarely touch the same place.
//!
//! The fingerprint is of the value, so an entry allows nothing else that comes to stand on its line. It cannot be `*`:
//! to leave out paths whatever they hold, there is `exclude` in `claviger.yaml`. An entry holds through the day in
//! `expires` (UTC); after it, it allows nothing and is reported. A scan of everything reports entries too that match
//! none of its findings.
//!
//! A broken line is an error and never skipped. No message quotes a line: somebody may have pasted the secret itself.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::path_glob::{self, PathGlobs};
use super::word::{Word, quoted, word};
use super::{TriageError, Unshown, invalid, is_rule_name, reason, shortened, shown};
use crate::finding::{Finding, PlaceKind};
use crate::fingerprint::Fingerprint;
use crate::rule::id_matches;

/// Largest ignore file that is read, in bytes; some 30,000 entries.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Bounds of the salt's length in bytes, as for the one in `claviger.yaml`.
const SALT: std::ops::RangeInclusive<usize> = 16..=256;
/// Begins the line with the salt.
const SALT_WORD: &str = "claviger:salt";
/// What an entry looks like, for messages.
const FORM: &str = "FINGERPRINT RULE PATH [owner=NAME] [expires=YYYY-MM-DD] -- REASON";

/// A line that allows a secret. Printed, it is the line again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Line in the file, from 1; 0 for one that is in none.
    pub line: u32,
    /// Of rule and value.
    pub fingerprint: Fingerprint,
    /// Id of the rule; `*` stands for any characters.
    pub rule: String,
    /// Glob over paths below the target; `*` for any.
    pub path: String,
    /// Who answers for it; printable, 200 characters at most.
    pub owner: Option<String>,
    /// Last day on which it holds, in UTC.
    pub expires: Option<Date>,
    /// Why; printable, not empty, 200 characters at most.
    pub reason: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.fingerprint, self.rule, quoted(&self.path))?;
        if let Some(owner) = &self.owner {
            write!(f, " owner={}", quoted(owner))?;
        }
        if let Some(expires) = self.expires {
            write!(f, " expires={expires}")?;
        }
        write!(f, " -- {}", self.reason)
    }
}

/// The line that allows all of a finding: at its path, or anywhere when it stands at several or in none.
///
/// A path that itself holds the secret is not written down.
pub fn entry_for(finding: &Finding) -> String {
    let path = &finding.place().path;
    let names_secret = finding.place().kind == PlaceKind::PathName
        || memchr::memmem::find(path.as_bytes(), finding.secret.expose()).is_some();
    let is_one = finding.places.iter().all(|place| place.path == *path);
    let glob = Some(path_glob::literal(path)).filter(|glob| path_glob::check(glob).is_ok());
    let entry = Entry {
        line: 0,
        fingerprint: finding.fingerprint.clone(),
        rule: finding.rule.id.to_string(),
        path: glob.filter(|_| is_one && !names_secret).unwrap_or_else(|| path_glob::ANY.to_owned()),
        owner: None,
        expires: None,
        reason: "no reason given".to_owned(),
    };
    entry.to_string()
}

/// An ignore file, read.
#[derive(Clone, Debug)]
pub struct IgnoreFile {
    name: PathBuf,
    salt: Option<String>,
    entries: Vec<Entry>,
}

impl IgnoreFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TriageError::Read`] and those of [`IgnoreFile::parse`].
    pub fn read(path: &Path) -> Result<Self, TriageError> {
        Self::parse(&super::read(path, MAX_FILE)?, path)
    }

    /// Reads the text of a file; `name` is for messages.
    ///
    /// # Errors
    /// [`TriageError::TooLarge`] over 4 MiB, [`TriageError::Invalid`] for the first broken line.
    pub fn parse(text: &str, name: &Path) -> Result<Self, TriageError> {
        super::bound(text, name, MAX_FILE)?;
        let mut file = IgnoreFile { name: name.to_owned(), salt: None, entries: Vec::new() };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            file.line(at + 1, line.trim()).map_err(|why| invalid(name, at + 1, why))?;
        }
        Ok(file)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            return match comment.trim_start().strip_prefix(SALT_WORD) {
                Some(salt) => self.salt_line(salt),
                None => Ok(()),
            };
        }
        if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|mark| line.starts_with(mark)) {
            return Err(
                "a merge conflict is left; keep the entries of both sides, without the marks".to_owned()
            );
        }
        self.entries.push(entry(u32::try_from(number).unwrap_or(u32::MAX), line)?);
        Ok(())
    }

    fn salt_line(&mut self, salt: &str) -> Result<(), String> {
        let salt = salt.trim();
        let help = "write `# claviger:salt TEXT` with 16 to 256 random characters and no space, \
                    as from `openssl rand -hex 16`";
        if self.salt.is_some() {
            return Err("a second salt; keep the one that the entries were made with".to_owned());
        }
        if !self.entries.is_empty() {
            return Err("the salt comes after an entry; move its line to the top".to_owned());
        }
        if !SALT.contains(&salt.len()) || !salt.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("no salt; {help}"));
        }
        self.salt = Some(salt.to_owned());
        Ok(())
    }

    /// The project's salt, if the file carries it.
    pub fn salt(&self) -> Option<&str> {
        self.salt.as_deref()
    }

    /// The entries, in the order of their lines.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The line of the first entry that should stand before the one above it. The order is that of the bytes.
    pub fn unsorted(&self) -> Option<u32> {
        self.entries.windows(2).find(|pair| pair[0].order() > pair[1].order()).map(|pair| pair[1].line)
    }
}

impl Entry {
    fn order(&self) -> (&str, &str, String) {
        (self.fingerprint.as_str(), &self.rule, quoted(&self.path))
    }

    fn is_keyed(&self) -> bool {
        self.fingerprint.as_str().starts_with("k1:")
    }
}

/// Reads an entry.
fn entry(number: u32, line: &str) -> Result<Entry, String> {
    let mut rest = line;
    let mut next = |what: &str| match word(&mut rest)? {
        Some(Word::Text(text)) => Ok(text),
        _ => Err(format!("no {what}; write {FORM}")),
    };
    let fingerprint = Fingerprint::parse(&next("fingerprint")?).ok_or_else(|| {
        format!(
            "does not begin with a fingerprint; write {FORM}, with the fingerprint from a report (`s1:` or `k1:` and \
             24 digits from 0 to f); to leave out paths, use `exclude` in claviger.yaml"
        )
    })?;
    let rule = next("rule")?;
    if !is_rule_name(&rule) {
        return Err("the second field is no rule; write its id, or `*` for any rule".to_owned());
    }
    let path = next("path")?;
    path_glob::check(&path).map_err(|why| format!("the path glob: {why}"))?;
    let mut entry =
        Entry { line: number, fingerprint, rule, path, owner: None, expires: None, reason: String::new() };
    loop {
        match word(&mut rest)? {
            Some(Word::Mark) => break,
            Some(Word::Text(text)) => field(&mut entry, &text)?,
            None => return Err("no reason; end the line with ` -- ` and why this is no danger".to_owned()),
        }
    }
    entry.reason = reason(rest.as_bytes());
    if entry.reason.is_empty() {
        return Err("the reason is empty; say after `--` why this is no danger".to_owned());
    }
    Ok(entry)
}

/// Reads `owner=` or `expires=`.
fn field(entry: &mut Entry, text: &str) -> Result<(), String> {
    if let Some(owner) = text.strip_prefix("owner=") {
        let owner = reason(owner.as_bytes());
        if owner.is_empty() || entry.owner.is_some() {
            return Err("`owner=` takes one name, and stands once".to_owned());
        }
        entry.owner = Some(owner);
        return Ok(());
    }
    if let Some(date) = text.strip_prefix("expires=") {
        // The date's own reader takes more forms than one.
        let is_plain = date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let date = date.parse::<Date>().ok().filter(|_| is_plain && entry.expires.is_none());
        entry.expires = Some(date.ok_or("`expires=` takes one date like 2027-01-31, and stands once")?);
        return Ok(());
    }
    Err("after the path come only `owner=NAME`, `expires=YYYY-MM-DD` and ` -- REASON`; a path with spaces stands in \
         double quotes"
        .to_owned())
}

/// How far an entry came; the furthest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    #[default]
    Nothing,
    /// Its secret was found, under a rule it does not name.
    OtherRule,
    /// Its secret was found, at paths it does not name.
    OtherPath,
    Match,
}

/// An ignore file at work.
#[derive(Debug)]
pub(super) struct Matcher<'f> {
    file: &'f IgnoreFile,
    today: Date,
    index: HashMap<&'f Fingerprint, Vec<usize>>,
    reached: Vec<Reached>,
}

impl<'f> Matcher<'f> {
    pub(super) fn new(file: &'f IgnoreFile, today: Date) -> Self {
        let mut index: HashMap<&Fingerprint, Vec<usize>> = HashMap::new();
        for (at, entry) in file.entries.iter().enumerate() {
            index.entry(&entry.fingerprint).or_default().push(at);
        }
        Matcher { file, today, index, reached: vec![Reached::Nothing; file.entries.len()] }
    }

    /// For each place of a finding the entry that allows it, the first in the file; `None` when no entry is about this
    /// finding.
    pub(super) fn look_up(
        &mut self,
        finding: &Finding,
    ) -> Result<Option<Vec<Option<&'f Entry>>>, TriageError> {
        let Some(candidates) = self.index.get(&finding.fingerprint) else { return Ok(None) };
        let entries = &self.file.entries;
        let mut globs = Vec::new();
        for &at in candidates {
            let is_rule = id_matches(&entries[at].rule, &finding.rule.id);
            if is_rule {
                globs.push((at, entries[at].path.as_str()));
            }
            let step = if is_rule { Reached::OtherPath } else { Reached::OtherRule };
            self.reached[at] = self.reached[at].max(step);
        }
        let globs = PathGlobs::new(&globs).map_err(|(at, why)| {
            invalid(&self.file.name, entries[at].line as usize, format!("the path glob: {why}"))
        })?;
        let mut allowed = Vec::with_capacity(finding.places.len());
        for place in &finding.places {
            let found = globs.matches(&place.path);
            for &at in &found {
                self.reached[at] = Reached::Match;
            }
            let live = found.into_iter().filter(|&at| !self.is_expired(&entries[at])).min();
            allowed.push(live.map(|at| &entries[at]));
        }
        Ok(Some(allowed))
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        entry.expires.is_some_and(|last| last < self.today)
    }

    /// Holds entries that matched nothing against secrets that are not shown: what is found with a low confidence is not
    /// gone.
    pub(super) fn excuse(&mut self, unshown: &Unshown<'_>, is_keyed: bool) {
        let entries = &self.file.entries;
        let is_open = |at: usize| {
            let entry = &entries[at];
            self.reached[at] == Reached::Nothing && !self.is_expired(entry) && entry.is_keyed() == is_keyed
        };
        let open: Vec<usize> = (0..entries.len()).filter(|&at| is_open(at)).collect();
        if open.is_empty() {
            return;
        }
        let is_named = |rule: &str| open.iter().any(|&at| id_matches(&entries[at].rule, rule));
        match unshown.fingerprints(unshown.fingerprinter, is_named) {
            Some(found) => {
                for at in found.iter().filter_map(|f| self.index.get(f)).flatten() {
                    self.reached[*at] = Reached::Match;
                }
            }
            // Nobody knows which of them it is about.
            None => open.into_iter().for_each(|at| self.reached[at] = Reached::Match),
        }
    }

    /// What the user should know of the entries. Only a whole scan can say that one is stale.
    pub(super) fn notices(&self, is_keyed: bool, is_whole: bool) -> Vec<String> {
        let name = shown(&self.file.name);
        let (mut expired, mut other_rule, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        let mut foreign = 0;
        for (entry, reached) in self.file.entries.iter().zip(&self.reached) {
            let line = entry.line;
            if let Some(last) = entry.expires.filter(|_| self.is_expired(entry)) {
                expired.push(format!(
                    "{name}:{line}: expired after {last} and allows nothing; renew or remove it"
                ));
            } else if entry.is_keyed() != is_keyed {
                foreign += 1;
            } else if *reached == Reached::OtherRule {
                other_rule.push(format!(
                    "{name}:{line}: allows nothing: its fingerprint is of another rule's finding"
                ));
            } else if is_whole && *reached == Reached::OtherPath {
                stale.push(format!(
                    "{name}:{line}: allows nothing: the secret is now at paths its glob does not match"
                ));
            } else if is_whole && *reached == Reached::Nothing {
                stale.push(format!("{name}:{line}: matches no finding any more; remove it"));
            }
        }
        let mut notices = shortened(expired, "entries have expired");
        notices.extend(shortened(other_rule, "entries name another rule"));
        notices.extend(shortened(stale, "entries match nothing"));
        if foreign > 0 {
            let (made, now) =
                if is_keyed { ("without a key", "one is in use") } else { ("with a key", "none is set") };
            notices.push(format!("{name}: {foreign} entries were made {made} and {now}: they match nothing"));
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "s1:0123456789abcdef01234567";
    const B: &str = "k1:89abcdef0123456789abcdef";

    fn parse(text: &str) -> Result<IgnoreFile, String> {
        IgnoreFile::parse(text, Path::new("x")).map_err(|e| e.to_string())
    }

    fn only(text: &str) -> Entry {
        let file = parse(text).unwrap();
        assert_eq!(file.entries.len(), 1, "{text}");
        file.entries[0].clone()
    }

    #[test]
    fn an_entry_in_full() {
        let entry = only(&format!(
            "{A} stripe-* \"my docs/a\\u{{a}}b\" owner=\"Ann B\" expires=2027-01-31 -- a -- b "
        ));
        assert_eq!(entry.path, "my docs/a\nb");
        assert_eq!(entry.owner.as_deref(), Some("Ann B"));
        assert_eq!(entry.expires, Some(jiff::civil::date(2027, 1, 31)));
        assert_eq!(entry.reason, "a -- b");
        assert_eq!(
            entry.to_string(),
            format!("{A} stripe-* \"my docs/a\\u{{a}}b\" owner=\"Ann B\" expires=2027-01-31 -- a -- b")
        );
    }

    #[test]
    fn comments_salt_and_line_ends() {
        let salt = "s".repeat(16);
        let file = parse(&format!(
            "\u{feff}# claviger:salt {salt}\r\n\r\n  # note\r\n{A} * * -- why\r\n{B} * a -- why"
        ))
        .unwrap();
        assert_eq!(file.salt(), Some(salt.as_str()));
        assert_eq!(file.entries().iter().map(|e| e.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(file.unsorted(), Some(5));
        assert_eq!(parse(&format!("{B} * a -- y\n{A} * a -- y\n{A} * b -- y")).unwrap().unsorted(), None);
    }

    #[test]
    fn a_broken_line_says_where_and_what_to_write() {
        let long = "s".repeat(300);
        for (text, want) in [
            ("hunter2 * * -- why", "x:1: does not begin with a fingerprint; write FINGERPRINT RULE PATH"),
            ("* * docs/ -- why", "use `exclude` in claviger.yaml"),
            (&format!("\n{A}"), "x:2: no rule; write FINGERPRINT"),
            (&format!("{A} -- why"), "no rule"),
            (&format!("{A} x -- why"), "no path"),
            (&format!("{A} x*y*z*a*b*c * -- why"), "the second field is no rule"),
            (&format!("{A} x/y * -- why"), "the second field is no rule"),
            (&format!("{A} x a[ -- why"), "the path glob: "),
            (&format!("{A} x \"\" -- why"), "write `*` for any path"),
            (&format!("{A} x *"), "no reason; end the line with ` -- `"),
            (&format!("{A} x * --"), "the reason is empty"),
            (&format!("{A} x * why"), "after the path come only"),
            (&format!("{A} x a b -- why"), "a path with spaces stands in double quotes"),
            (&format!("{A} x * owner= -- why"), "`owner=` takes"),
            (&format!("{A} x * owner=a owner=b -- why"), "`owner=` takes"),
            (&format!("{A} x * expires=soon -- why"), "takes one date like 2027-01-31"),
            (&format!("{A} x * expires=20270131 -- why"), "takes one date"),
            (&format!("{A} x * expires=2027-02-30 -- why"), "takes one date"),
            (&format!("{A} x \"a -- why"), "is not closed"),
            (&format!("{A} x \"a\\n\" -- why"), "in quotes, `\\` begins only"),
            (&format!("{A} x \"a\\u{{d800}}\" -- why"), "in quotes, `\\` begins only"),
            (&format!("{A} x \"a\"b -- why"), "text right after a closing"),
            (&format!("{A} x a\"b -- why"), "inside of a word"),
            ("<<<<<<< HEAD", "a merge conflict is left"),
            ("# claviger:salt short", "no salt; write `# claviger:salt TEXT`"),
            (&format!("# claviger:salt {long}"), "no salt"),
            (&format!("# claviger:salt {0}\n# claviger:salt {0}", &long[..20]), "x:2: a second salt"),
            (
                &format!("{A} x * -- why\n# claviger:salt {}", &long[..20]),
                "x:2: the salt comes after an entry",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("x:") && error.contains(want), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let large = "#".repeat(4 * 1024 * 1024 + 1);
        assert_eq!(parse(&large).unwrap_err(), "x: larger than 4194304 bytes");
    }

    #[test]
    fn reading_tells_the_line_of_bytes_that_are_no_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"# a\n\xff\n").unwrap();
        assert!(IgnoreFile::read(file.path()).unwrap_err().to_string().contains(":2: not UTF-8"));
        assert!(matches!(IgnoreFile::read(Path::new("/nowhere/x")), Err(TriageError::Read { .. })));
    }

    fn clean() -> impl Strategy<Value = String> {
        any::<String>()
            .prop_map(|text| reason(text.as_bytes()))
            .prop_filter("a text", |text| !text.is_empty())
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let fingerprint = "[sk]1:[0-9a-f]{24}".prop_map(|f| Fingerprint::parse(&f).unwrap());
        let date = (2000i16..2100, 1i8..13, 1i8..29).prop_map(|(y, m, d)| jiff::civil::date(y, m, d));
        (
            fingerprint,
            "[a-z]{1,5}[*]?(-[a-z0-9]{1,5}){0,3}",
            prop_oneof![
                Just("--".to_owned()),
                any::<String>().prop_map(|path| path_glob::literal(&crate::path::RepoPath::new(path))),
            ],
            proptest::option::of(clean()),
            proptest::option::of(date),
            clean(),
        )
            .prop_map(|(fingerprint, rule, path, owner, expires, reason)| Entry {
                line: 1,
                fingerprint,
                rule,
                path,
                owner,
                expires,
                reason,
            })
    }

    proptest! {
        #[test]
        fn reading_what_was_printed_gives_it_back(mut all in proptest::collection::vec(entries(), 0..5)) {
            let text: Vec<String> = all.iter().map(ToString::to_string).collect();
            (1..).zip(&mut all).for_each(|(line, entry)| entry.line = line);
            prop_assert_eq!(parse(&text.join("\n")).unwrap().entries, all);
        }

        #[test]
        fn no_text_panics(text: String, at: prop::sample::Index, entry in entries()) {
            let _ = parse(&text);
            let line = entry.to_string();
            let mut at = at.index(line.len());
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            let _ = parse(&format!("{}{text}{}", &line[..at], &line[at..]));
        }
    }
}
