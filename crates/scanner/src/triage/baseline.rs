//! Baselines: what was there before, so that only what is new counts.
//!
//! ```json
//! {
//! "version": 1,
//! "salt": "5f0c…",
//! "findings": [
//! {"fingerprint":"s1:0123456789abcdef01234567","rule":"stripe-key","path":"docs/a.md"},
//! {"fingerprint":"s1:89abcdef0123456789abcdef","rule":"password","path":"b.ini","count":2}
//! ]
//! }
//! ```
//!
//! One finding a line, sorted by fingerprint, so that a change touches its own line only and branches merge. Path and
//! count (places) are for people: the **fingerprint alone decides**. A known secret that is copied to another file
//! stays known, as it does when its file is renamed or its history rewritten; it leaked once, and a second copy leaks
//! nothing more. Whoever wants it found again takes it out of the baseline.
//!
//! A baseline has a salt of its own, made with it, and [`Baseline::renewed`] keeps it: salts of projects change, and a
//! baseline that silently matched nothing, or two that could be compared, would be worse. When it was made with a
//! key, it holds a check value of 16 bits: enough to tell another key (one in 65,536 slips through, and then all
//! findings are new, which nobody overlooks), too little to tell which of many guessed keys is right.
//!
//! The file may be committed and read by all; it is written with the usual mode. What it resists stands in
//! [`crate::triage`]. Paths are masked where they hold a secret that was found in a path.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::mask::Mask;
use super::{TriageError, Unshown, invalid, shown};
use crate::finding::Finding;
use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::path::printable;

/// Largest baseline that is read, in bytes; some 500,000 findings.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Version of the format.
const VERSION: u32 = 1;
/// Random bytes of a salt.
const SALT_BYTES: usize = 16;
/// Fewest and most bytes of a salt that is read.
const SALT: std::ops::RangeInclusive<usize> = 16..=256;
/// Bytes of the key's check value. More would confirm guesses of a weak key.
const CHECK_BYTES: usize = 2;
/// What the check value is of. Fingerprints are of a rule's id, a NUL and a value, so it is none.
const CHECK_TEXT: &[u8] = b"claviger/baseline/key-check/v1";

/// The file's form.
mod wire {
    use super::{Deserialize, Serialize};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        pub(super) version: u32,
        pub(super) salt: Option<String>,
        pub(super) key_check: Option<String>,
        pub(super) findings: Vec<Entry>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Entry {
        pub(super) fingerprint: String,
        pub(super) rule: String,
        #[serde(default)]
        pub(super) path: String,
        #[serde(default = "one", skip_serializing_if = "is_one")]
        pub(super) count: u64,
    }

    fn one() -> u64 {
        1
    }

    fn is_one(count: &u64) -> bool {
        *count == 1
    }
}

/// How the fingerprints are made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Salted(String),
    /// With the check value, in hex.
    Keyed(String),
}

/// A known finding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    rule: String,
    path: String,
    count: u64,
}

/// A baseline: findings that do not count.
#[derive(Clone, Debug)]
pub struct Baseline {
    name: PathBuf,
    way: Way,
    entries: BTreeMap<Fingerprint, Entry>,
}

/// Findings held against a baseline.
#[derive(Debug)]
pub(super) struct Known<'b> {
    /// For each finding, whether the baseline lists it.
    pub(super) is_known: Vec<bool>,
    /// Entries that none of them is, with their rules.
    pub(super) gone: HashMap<&'b Fingerprint, &'b str>,
}

impl Baseline {
    /// A baseline of these findings: keyed, or with a new random salt.
    ///
    /// # Errors
    /// [`TriageError::WeakKey`] for a key under 16 bytes, [`TriageError::Random`].
    pub fn of(findings: &[Finding], key: Option<&[u8]>) -> Result<Self, TriageError> {
        let way = match key {
            Some(key) => Way::Keyed(check_value(key)),
            None => {
                let mut salt = [0; SALT_BYTES];
                getrandom::fill(&mut salt).map_err(TriageError::Random)?;
                Way::Salted(hex::encode(salt))
            }
        };
        Baseline { name: PathBuf::new(), way, entries: BTreeMap::new() }.filled(findings, key)
    }

    /// A baseline of other findings that keeps this one's salt where it may, so that lines of findings that were there
    /// before stay as they are.
    ///
    /// # Errors
    /// As [`Baseline::of`].
    pub fn renewed(&self, findings: &[Finding], key: Option<&[u8]>) -> Result<Self, TriageError> {
        match (&self.way, key) {
            (Way::Salted(_), None) => self.clone().filled(findings, None),
            _ => Baseline::of(findings, key),
        }
    }

    fn filled(mut self, findings: &[Finding], key: Option<&[u8]>) -> Result<Self, TriageError> {
        let maker = self.fingerprinter(key)?;
        let mask = Mask::of(findings);
        self.entries = findings
            .par_iter()
            .map(|finding| {
                let entry = Entry {
                    rule: finding.rule.id.to_string(),
                    path: mask.path(finding),
                    count: finding.places.len() as u64,
                };
                (maker.fingerprint(&finding.rule.id, &finding.secret), entry)
            })
            .collect();
        Ok(self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`TriageError::Read`] and those of [`Baseline::parse`].
    pub fn read(path: &Path) -> Result<Self, TriageError> {
        Self::parse(&super::read(path, MAX_FILE)?, path)
    }

    /// Reads the text of a file; `name` is for messages.
    ///
    /// # Errors
    /// [`TriageError::TooLarge`] over 64 MiB, [`TriageError::Invalid`] when it is no baseline.
    pub fn parse(text: &str, name: &Path) -> Result<Self, TriageError> {
        super::bound(text, name, MAX_FILE)?;
        let help = "write a new baseline with --write-baseline";
        let file: wire::File = serde_json::from_str(text).map_err(|e| {
            if let Some(at) = text.lines().position(|line| line.starts_with("<<<<<<<")) {
                return invalid(name, at + 1, "a merge conflict is left; keep the findings of both sides");
            }
            invalid(name, e.line(), format!("no baseline: {}; {help}", printable(e.to_string().as_bytes())))
        })?;
        if file.version != VERSION {
            let why = format!(
                "version {} is not known; this claviger reads version {VERSION}; {help}",
                file.version
            );
            return Err(invalid(name, line_of(text, "\"version\""), why));
        }
        let way = way(file.salt, file.key_check)
            .map_err(|why| invalid(name, line_of(text, "\"salt\""), format!("{why}; {help}")))?;
        let prefix = if matches!(way, Way::Keyed(_)) { "k1:" } else { "s1:" };
        let mut entries = BTreeMap::new();
        for entry in file.findings {
            let fingerprint = Fingerprint::parse(&entry.fingerprint)
                .filter(|f| f.as_str().starts_with(prefix))
                .ok_or_else(|| {
                    let line = line_of(text, &entry.fingerprint);
                    invalid(
                        name,
                        line,
                        format!("no fingerprint of this baseline (`{prefix}` and 24 digits); {help}"),
                    )
                })?;
            let wire::Entry { rule, path, count, .. } = entry;
            entries.insert(fingerprint, Entry { rule, path, count });
        }
        Ok(Baseline { name: name.to_owned(), way, entries })
    }

    /// Number of known findings.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether its fingerprints were made with a key.
    pub fn is_keyed(&self) -> bool {
        matches!(self.way, Way::Keyed(_))
    }

    /// The file's text.
    fn text(&self) -> Result<String, serde_json::Error> {
        let (name, value) = match &self.way {
            Way::Salted(salt) => ("salt", salt),
            Way::Keyed(check) => ("key_check", check),
        };
        let value = serde_json::to_string(value)?;
        let mut out = format!("{{\n\"version\": {VERSION},\n\"{name}\": {value},\n\"findings\": [");
        let mut comma = "\n";
        for (fingerprint, Entry { rule, path, count }) in &self.entries {
            let entry = wire::Entry {
                fingerprint: fingerprint.to_string(),
                rule: rule.clone(),
                path: path.clone(),
                count: *count,
            };
            out.push_str(comma);
            out.push_str(&serde_json::to_string(&entry)?);
            comma = ",\n";
        }
        out.push_str("\n]\n}\n");
        Ok(out)
    }

    /// Writes the file, whole or not at all: beside it first, then in its place. A symlink stays one.
    ///
    /// # Errors
    /// The system's; also when something other than a file is in its place.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let path = match std::fs::canonicalize(path) {
            Ok(real) if !real.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            Ok(real) => real,
            Err(_) => path.to_owned(),
        };
        let name =
            path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", hex::encode(random)));
        let temporary = path.with_file_name(temporary);
        let result = self.write_to(&temporary).and_then(|()| std::fs::rename(&temporary, &path));
        if result.is_err() {
            // Whatever is left of it is of no use; the error that counts is the first one.
            let _ = std::fs::remove_file(&temporary);
        }
        result
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = std::fs::File::options().write(true).create_new(true).open(path)?;
        file.write_all(self.text().map_err(io::Error::other)?.as_bytes())?;
        file.sync_all()
    }

    /// The maker of this baseline's fingerprints.
    fn fingerprinter(&self, key: Option<&[u8]>) -> Result<Fingerprinter, TriageError> {
        match (&self.way, key) {
            (Way::Salted(salt), _) => Ok(Fingerprinter::salted(Some(salt))),
            (Way::Keyed(_), None) => Err(TriageError::KeyMissing { path: self.name.clone() }),
            (Way::Keyed(check), Some(key)) if *check != check_value(key) => {
                Err(TriageError::KeyOther { path: self.name.clone() })
            }
            (Way::Keyed(_), Some(key)) => Ok(Fingerprinter::keyed(key)?),
        }
    }

    /// Which findings are known.
    pub(super) fn compare(&self, findings: &[Finding], key: Option<&[u8]>) -> Result<Known<'_>, TriageError> {
        let maker = self.fingerprinter(key)?;
        // Fingerprints of guessable values are slow; a rule without an entry needs none.
        let rules: HashSet<&str> = self.entries.values().map(|entry| entry.rule.as_str()).collect();
        let found: Vec<Option<&Fingerprint>> = findings
            .par_iter()
            .map(|finding| {
                rules
                    .contains(&*finding.rule.id)
                    .then(|| maker.fingerprint(&finding.rule.id, &finding.secret))
            })
            .map(|fingerprint| self.entries.get_key_value(&fingerprint?).map(|(known, _)| known))
            .collect();
        let seen: HashSet<&Fingerprint> = found.iter().copied().flatten().collect();
        let gone = self.entries.iter().filter(|(fingerprint, _)| !seen.contains(fingerprint));
        Ok(Known {
            is_known: found.iter().map(Option::is_some).collect(),
            gone: gone.map(|(fingerprint, entry)| (fingerprint, entry.rule.as_str())).collect(),
        })
    }

    /// How many entries are gone, those left out that were found and are not shown; 0 when that would take too long.
    pub(super) fn gone_for_good(
        &self,
        known: &Known<'_>,
        unshown: &Unshown<'_>,
        key: Option<&[u8]>,
    ) -> Result<usize, TriageError> {
        let maker = self.fingerprinter(key)?;
        let rules: HashSet<&str> = known.gone.values().copied().collect();
        let Some(found) = unshown.fingerprints(&maker, |rule| rules.contains(rule)) else { return Ok(0) };
        let found: HashSet<&Fingerprint> = found.iter().filter(|f| known.gone.contains_key(f)).collect();
        Ok(known.gone.len() - found.len())
    }

    /// Says how many entries are gone, if some are.
    pub(super) fn gone_notice(&self, gone: usize) -> Option<String> {
        let (name, all) = (shown(&self.name), self.entries.len());
        let text =
            format!("{name}: {gone} of its {all} findings are gone; --write-baseline writes it without them");
        (gone > 0).then_some(text)
    }
}

/// Reads how the fingerprints were made.
fn way(salt: Option<String>, key_check: Option<String>) -> Result<Way, &'static str> {
    match (salt, key_check) {
        (Some(salt), None) if SALT.contains(&salt.len()) => Ok(Way::Salted(salt)),
        (Some(_), None) => Err("the salt has fewer than 16 or more than 256 bytes"),
        (None, Some(check)) if hex::decode(&check).is_ok_and(|c| c.len() == CHECK_BYTES) => {
            Ok(Way::Keyed(check))
        }
        (None, Some(_)) => Err("`key_check` is no check value"),
        _ => Err("needs either `salt` or `key_check`"),
    }
}

/// The line that holds a text, from 1; the first line when none does.
fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap_or(0) + 1
}

/// The key's check value, in hex.
fn check_value(key: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(CHECK_TEXT);
    hex::encode(&mac.finalize().into_bytes()[..CHECK_BYTES])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finding, finding_at};
    use super::*;
    use crate::finding::PlaceKind;
    use proptest::prelude::*;

    const KEY: &[u8] = &[7; 32];

    fn findings() -> Vec<Finding> {
        vec![finding("password", "hunter2", "b.ini"), finding("token", "correct horse", "a \"x\"\n.md")]
    }

    fn parse(text: &str) -> Result<Baseline, String> {
        Baseline::parse(text, Path::new("base")).map_err(|e| e.to_string())
    }

    fn known(baseline: &Baseline, findings: &[Finding], key: Option<&[u8]>) -> (Vec<bool>, usize) {
        let known = baseline.compare(findings, key).unwrap();
        (known.is_known, known.gone.len())
    }

    #[test]
    fn a_written_baseline_knows_its_findings_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.json");
        for key in [None, Some(KEY)] {
            Baseline::of(&findings(), key).unwrap().write(&path).unwrap();
            let baseline = Baseline::read(&path).unwrap();
            assert_eq!((baseline.len(), baseline.is_keyed()), (2, key.is_some()));
            let later = [
                finding("password", "hunter2", "renamed.ini"),
                finding("password", "hunter3", "b.ini"),
                finding("token", "hunter2", "b.ini"),
                finding("other", "hunter2", "b.ini"),
            ];
            assert_eq!(known(&baseline, &later, key), (vec![true, false, false, false], 1));
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("hunter2") && !text.contains("horse"), "{text}");
            assert_eq!(text.lines().count(), 8, "{text}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn salts_differ_and_are_kept_when_renewed() {
        let (a, b) = (Baseline::of(&findings(), None).unwrap(), Baseline::of(&findings(), None).unwrap());
        assert!(a.entries.keys().all(|f| !b.entries.contains_key(f)));
        let more = [findings(), vec![finding("password", "hunter3", "c")]].concat_all();
        let renewed = a.renewed(&more, None).unwrap();
        assert!(a.entries.iter().all(|(f, entry)| renewed.entries.get(f) == Some(entry)));
        assert_eq!(renewed.len(), 3);
        assert!(a.renewed(&more, Some(KEY)).unwrap().is_keyed());
        assert!(!Baseline::of(&more, Some(KEY)).unwrap().renewed(&more, None).unwrap().is_keyed());
    }

    /// `concat` needs `Clone`, which findings have not.
    trait ConcatAll {
        fn concat_all(self) -> Vec<Finding>;
    }

    impl ConcatAll for [Vec<Finding>; 2] {
        fn concat_all(self) -> Vec<Finding> {
            self.into_iter().flatten().collect()
        }
    }

    #[test]
    fn a_keyed_baseline_needs_its_key() {
        let baseline = Baseline::of(&findings(), Some(KEY)).unwrap();
        assert!(matches!(baseline.compare(&[], None), Err(TriageError::KeyMissing { .. })));
        assert!(matches!(baseline.compare(&[], Some(&[8; 32])), Err(TriageError::KeyOther { .. })));
        assert!(matches!(Baseline::of(&[], Some(b"short")), Err(TriageError::WeakKey(_))));
        let salted = Baseline::of(&findings(), None).unwrap();
        assert_eq!(known(&salted, &findings(), Some(KEY)), (vec![true, true], 0));
    }

    #[test]
    fn secrets_in_paths_are_not_written_down() {
        let mut named = finding("token", "hunter2", "keys/hunter2.txt");
        named.places[0].kind = PlaceKind::PathName;
        let all =
            vec![named, finding("token", "other one", "keys/hunter2.txt"), finding("t", "b.txt", "a/b.txt")];
        let text = Baseline::of(&all, None).unwrap().text().unwrap();
        assert!(!text.contains("hunter2") && !text.contains("b.txt"), "{text}");
        assert!(text.contains("keys/….txt"), "{text}");
    }

    #[test]
    fn broken_baselines_say_where_and_why() {
        let salt = "s".repeat(16);
        for (text, want) in [
            ("", "base:1: no baseline: "),
            ("[]", "no baseline: "),
            ("{\n\"version\": 2, \"findings\": []}", "base:2: version 2 is not known"),
            (
                &format!("{{\"version\": 1, \"salt\": \"{salt}\", \"findings\": [],\n\"x\": 1}}"),
                "base:2: no baseline",
            ),
            ("{\"version\": 1, \"findings\": []}", "needs either `salt` or `key_check`"),
            ("{\"version\": 1, \"salt\": \"x\", \"findings\": []}", "the salt has fewer than 16"),
            ("{\"version\": 1, \"key_check\": \"x\", \"findings\": []}", "is no check value"),
            ("{\"version\": 1,\n<<<<<<< HEAD\n", "base:2: a merge conflict is left"),
            (
                &format!(
                    "{{\"version\": 1, \"salt\": \"{salt}\", \"findings\": [\n\
                     {{\"fingerprint\": \"k1:{}\", \"rule\": \"x\"}}]}}",
                    "0".repeat(24)
                ),
                "base:2: no fingerprint of this baseline (`s1:`",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn writing_spares_what_is_no_file_and_keeps_symlinks() {
        let folder = tempfile::tempdir().unwrap();
        let baseline = Baseline::of(&findings(), Some(KEY)).unwrap();
        assert!(baseline.write(folder.path()).is_err());
        assert!(baseline.write(&folder.path().join("missing/base")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        #[cfg(unix)]
        {
            let (real, link) = (folder.path().join("real"), folder.path().join("link"));
            std::fs::write(&real, "").unwrap();
            std::os::unix::fs::symlink("real", &link).unwrap();
            baseline.write(&link).unwrap();
            assert!(link.is_symlink() && Baseline::read(&real).is_ok());
        }
    }

    proptest! {
        #[test]
        fn reading_what_was_printed_gives_it_back(
            all in proptest::collection::vec(("[0-9a-f]{24}", any::<(String, String, u64)>()), 0..5), keyed: bool
        ) {
            let way = if keyed { Way::Keyed("00ff".to_owned()) } else { Way::Salted("s".repeat(16)) };
            let prefix = if keyed { "k1" } else { "s1" };
            let entries = all
                .into_iter()
                .map(|(f, (rule, path, count))| {
                    (Fingerprint::parse(&format!("{prefix}:{f}")).unwrap(), Entry { rule, path, count })
                })
                .collect();
            let baseline = Baseline { name: PathBuf::new(), way, entries };
            let again = parse(&baseline.text().unwrap()).unwrap();
            prop_assert_eq!(again.way, baseline.way);
            prop_assert_eq!(again.entries, baseline.entries);
        }

        #[test]
        fn no_text_panics(text: String, at: prop::sample::Index) {
            let _ = parse(&text);
            let whole = Baseline::of(&[finding_at("x", "hunter2", &[])], Some(KEY)).unwrap().text().unwrap();
            let at = at.index(whole.len());
            let _ = parse(&format!("{}{text}{}", &whole[..at], &whole[at..]));
        }
    }
}
