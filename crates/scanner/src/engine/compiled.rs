//! What is compiled of rules, when it is first needed.

use std::sync::OnceLock;

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use super::gate::Gate;
use super::matcher::Matcher;
use crate::check::Patterns;
use crate::rule::{Kind, Rule, RuleError};

/// Largest compiled regex, in bytes of memory.
pub(super) const REGEX_SIZE: usize = 4 * 1024 * 1024;
/// Cache of a regex's lazy DFA, in bytes.
const REGEX_CACHE: usize = 1024 * 1024;

/// A rule and what is compiled of it so far.
#[derive(Debug)]
pub(super) struct Compiled {
    gate: OnceLock<Option<Gate>>,
    matcher: OnceLock<Option<Matcher>>,
    patterns: OnceLock<Patterns>,
    /// Whether the rule looks at files of certain paths only.
    pub(super) has_files: bool,
    /// Whether the rule looks at some texts only.
    pub(super) limited: bool,
}

/// The globs of the rules that look at certain files only, as one set: a path is matched once, not once a rule.
#[derive(Debug)]
pub(super) struct FileRules {
    set: GlobSet,
    /// The rule of each glob.
    owners: Vec<u32>,
}

impl FileRules {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut set = GlobSetBuilder::new();
        let mut owners = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            for glob in rule.files.iter().filter_map(|glob| Glob::new(glob).ok()) {
                set.add(glob);
                owners.push(index as u32);
            }
        }
        // Every glob parses by itself; together they fail only when they are too many for memory, and then match nothing.
        FileRules { set: set.build().unwrap_or_default(), owners }
    }

    /// The rules that look at files of this path.
    pub(super) fn of(&self, path: &[u8]) -> Vec<u32> {
        let matches = self.set.matches(String::from_utf8_lossy(path).as_ref());
        matches.into_iter().map(|glob| self.owners[glob]).collect()
    }
}

impl Compiled {
    pub(super) fn new(rule: &Rule) -> Result<Self, RuleError> {
        let invalid = |why: String| RuleError::Invalid { path: format!("rule `{}`", rule.id).into(), why };
        for glob in rule.files.iter() {
            Glob::new(glob).map_err(|e| invalid(e.to_string()))?;
        }
        Ok(Compiled {
            gate: OnceLock::new(),
            matcher: OnceLock::new(),
            patterns: OnceLock::new(),
            has_files: !rule.files.is_empty(),
            limited: !rule.files.is_empty() || rule.kind == Kind::Generic,
        })
    }

    /// The cheap test before the pattern; `None` if there is none.
    pub(super) fn gate(&self, rule: &Rule) -> Option<&Gate> {
        self.gate.get_or_init(|| Gate::new(&rule.pattern, rule.starts_with_anchor)).as_ref()
    }

    /// The rule's pattern; `None` if it is too large to compile, which `rules check` reports.
    pub(super) fn matcher(&self, rule: &Rule) -> Option<&Matcher> {
        self.matcher.get_or_init(|| Matcher::new(&rule.pattern)).as_ref()
    }

    pub(super) fn patterns(&self, rule: &Rule) -> &Patterns {
        self.patterns.get_or_init(|| {
            let all = |list: &[crate::rule::Text]| list.iter().filter_map(|p| small_regex(p)).collect();
            Patterns {
                not: all(&rule.checks.not),
                not_line: all(&rule.checks.not_line),
                near: rule.checks.near.as_ref().map(|n| all(&n.any)).unwrap_or_default(),
            }
        })
    }
}

/// Compiles a rule's pattern as the engine runs it.
///
/// # Errors
/// The regex crate's message.
pub(crate) fn compile(pattern: &str) -> Result<meta::Regex, String> {
    meta::Builder::new()
        .configure(
            meta::Config::new()
                .utf8_empty(false)
                .nfa_size_limit(Some(REGEX_SIZE))
                .hybrid_cache_capacity(REGEX_CACHE),
        )
        .syntax(syntax())
        .build(pattern)
        .map_err(|e| e.syntax_error().map_or_else(|| e.to_string(), ToString::to_string))
}

/// Parses a pattern as the engine runs it.
pub(super) fn parse(pattern: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    syntax::parse_with(pattern, &syntax()).map_err(Box::new)
}

fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).multi_line(true).crlf(true).nest_limit(64)
}

fn small_regex(pattern: &str) -> Option<regex::bytes::Regex> {
    regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE).build().ok()
}
