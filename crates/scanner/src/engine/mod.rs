//! Finds secrets in bytes. Knows rules and checks; knows nothing of files, git or reports.
//!
//! The order of work keeps the common case cheap. One pass finds anchors. Only around an anchor does the rule's regex
//! run, compiled when first needed: on the line of the anchor, or within the rule's reach, and only *at* the anchor
//! where every match begins with one. Only what matches is checked, and only what passes gets a line number.

mod encoding;
mod excerpt;
mod frequency;
mod lines;
mod overlap;
mod pairs;
mod prefilter;
mod stream;
mod trail;

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use crate::check::file_kind::FileKind;
use crate::check::{self, Candidate, Patterns, Verdict};
use crate::finding::Match;
use crate::path::printable;
use crate::rule::{Kind, Rule, RuleError, RuleSet};
use crate::secret::Secret;
use crate::triage::inline;

use encoding::Decoded;
use lines::Lines;
use prefilter::Prefilter;

pub use stream::{CHUNK, StreamError};
pub(crate) use trail::{Copied, Origin, Trail};

/// Largest compiled regex, in bytes of memory.
const REGEX_SIZE: usize = 4 * 1024 * 1024;
/// Cache of a regex's lazy DFA, in bytes.
const REGEX_CACHE: usize = 1024 * 1024;
/// How far from a secret its line is followed, in bytes: minified files have one line.
const LINE_REACH: usize = 4096;

/// What is known of the bytes besides themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The path they have, if any.
    pub path: Option<&'a [u8]>,
    /// Now, in seconds since 1970, for expiry dates. 0 means that nothing has expired.
    pub now: i64,
}

/// A step on the way of a candidate, for `explain`.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Rule.
    pub rule: String,
    /// Where in the text: the anchor, or the match.
    pub span: Range<usize>,
    /// Line of the span, from 1.
    pub line: u32,
    /// What happened.
    pub step: Step,
}

/// What happened to a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An anchor was seen, and the pattern did not match around it.
    NoMatch {
        /// The anchor as it stands in the text.
        anchor: String,
    },
    /// A match was dropped.
    Dropped {
        /// By which check, and why.
        why: String,
    },
    /// A match lost against an overlapping one of a surer rule.
    Overlapped {
        /// The rule that won.
        by: String,
    },
    /// A match became a finding.
    Found {
        /// Confidence in the end.
        confidence: &'static str,
        /// What the checks said.
        notes: Vec<String>,
    },
    /// The rule looks at other files only (other paths, or text and not binary).
    OtherFile,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: ", self.line, self.rule)?;
        match &self.step {
            Step::NoMatch { anchor } => {
                write!(f, "anchor `{anchor}` seen, but the pattern does not match around it")
            }
            Step::Dropped { why } => write!(f, "matched, then dropped: {why}"),
            Step::Overlapped { by } => {
                write!(f, "matched, but `{by}` covers the same text and is more specific")
            }
            Step::Found { confidence, notes } => {
                write!(f, "found, confidence {confidence}")?;
                notes.iter().try_for_each(|note| write!(f, "; {note}"))
            }
            Step::OtherFile => write!(f, "looks at other files only"),
        }
    }
}

/// A rule and what is compiled of it so far.
#[derive(Debug)]
struct Compiled {
    regex: OnceLock<Option<meta::Regex>>,
    patterns: OnceLock<Patterns>,
    /// Whether the rule looks at files of certain paths only.
    has_files: bool,
    /// Whether the rule looks at some texts only.
    limited: bool,
}

/// The globs of the rules that look at certain files only, as one set: a path is matched once, not once a rule.
#[derive(Debug)]
struct FileRules {
    set: GlobSet,
    /// The rule of each glob.
    owners: Vec<u32>,
}

impl FileRules {
    fn new(rules: &[Rule]) -> Self {
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
    fn of(&self, path: &[u8]) -> Vec<u32> {
        let matches = self.set.matches(String::from_utf8_lossy(path).as_ref());
        matches.into_iter().map(|glob| self.owners[glob]).collect()
    }
}

/// Everything needed to scan bytes. Shared by all threads.
#[derive(Debug)]
pub struct Engine {
    rules: RuleSet,
    compiled: Vec<Compiled>,
    prefilter: OnceLock<Option<Prefilter>>,
    /// The globs of all rules that look at certain files only.
    files: OnceLock<FileRules>,
    /// Rules without anchors, which run on whole files that their globs choose.
    whole: Vec<usize>,
    /// Longest reach of any rule, in bytes.
    reach: usize,
}

/// A match on the decoded text, before overlaps are settled.
struct Raw {
    rule: usize,
    kept: check::Kept,
}

impl Engine {
    /// Prepares a set of rules. Regexes are compiled later, when they are needed.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] for a glob that does not parse.
    pub fn new(rules: RuleSet) -> Result<Self, RuleError> {
        let compiled = rules.rules().iter().map(Compiled::new).collect::<Result<Vec<_>, _>>()?;
        let whole = (0..compiled.len()).filter(|&i| rules.rules()[i].anchors.is_empty()).collect();
        let reach = rules.rules().iter().map(|rule| rule.reach as usize).max().unwrap_or(0);
        Ok(Engine { compiled, prefilter: OnceLock::new(), files: OnceLock::new(), whole, reach, rules })
    }

    /// The rules in use.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The rule of a [`Match`].
    ///
    /// # Panics
    /// If the match was made by an engine with other rules.
    pub fn rule(&self, index: usize) -> &Rule {
        &self.rules.rules()[index]
    }

    /// Finds the secrets in these bytes, in the order of their place.
    pub fn scan(&self, bytes: &[u8], context: &Context<'_>) -> Vec<Match> {
        let decoded = Decoded::new(bytes);
        let raw = self.raw(&decoded.text, context, None);
        if raw.is_empty() {
            return Vec::new();
        }
        self.finish(&decoded, raw, &mut |_, _| {})
    }

    /// Scans, and says what became of every anchor and every match.
    pub fn explain(&self, bytes: &[u8], context: &Context<'_>) -> Vec<Trace> {
        let decoded = Decoded::new(bytes);
        let mut lines = Lines::new(&decoded.text);
        let mut steps: Vec<(usize, Range<usize>, Step)> = Vec::new();
        let mut trace = |rule, span, step| steps.push((rule, span, step));
        let raw = self.raw(&decoded.text, context, Some(&mut trace));
        let found = self.finish(&decoded, raw, &mut |raw, by| {
            let by = self.rule(by).id.to_string();
            steps.push((raw.rule, raw.kept.span.clone(), Step::Overlapped { by }));
        });
        for hit in found {
            let confidence = hit.confidence.as_str();
            steps.push((hit.rule, hit.span, Step::Found { confidence, notes: hit.notes }));
        }
        steps.sort_by_key(|(rule, span, _)| (span.start, span.end, *rule));
        steps
            .into_iter()
            .map(|(rule, span, step)| Trace {
                rule: self.rule(rule).id.to_string(),
                line: lines.position(span.start.min(decoded.text.len())).0,
                span,
                step,
            })
            .collect()
    }

    /// Everything that matches and passes its checks, overlaps included.
    fn raw<'a>(
        &self,
        text: &'a [u8],
        context: &'a Context<'a>,
        trace: Option<&'a mut dyn FnMut(usize, Range<usize>, Step)>,
    ) -> Vec<Raw> {
        let mut search = Search::new(self, text, context, trace);
        search.whole();
        if let Some(prefilter) = self.prefilter() {
            prefilter.each(text, |rule, start, end| search.hit(rule, start, end));
        }
        search.end();
        search.found
    }

    /// The same where the anchors are known, and perhaps windows without a match; such windows of this text.
    fn raw_at(
        &self,
        text: &[u8],
        context: &Context<'_>,
        hits: &[trail::Hit],
        origin: Option<Origin<'_>>,
    ) -> (Vec<Raw>, Vec<trail::Miss>) {
        let mut search = Search { origin, keep: true, ..Search::new(self, text, context, None) };
        search.whole();
        for hit in hits {
            search.hit(hit.rule as usize, hit.start as usize, hit.end as usize);
        }
        search.end();
        (search.found, search.misses)
    }

    /// The search for anchors; `None` when there is no anchor at all.
    fn prefilter(&self) -> Option<&Prefilter> {
        self.prefilter.get_or_init(|| Prefilter::new(self.rules.rules())).as_ref()
    }

    /// Where a rule could match around an anchor.
    fn window(&self, text: &[u8], rule: usize, start: usize, end: usize) -> Range<usize> {
        let rule = self.rule(rule);
        let reach = rule.reach as usize;
        if rule.multiline {
            start.saturating_sub(reach)..end.saturating_add(reach).min(text.len())
        } else {
            lines::around(text, start, end, reach)
        }
    }

    /// Settles overlaps and turns what is left into matches.
    fn finish(
        &self,
        decoded: &Decoded<'_>,
        mut raw: Vec<Raw>,
        lost: &mut dyn FnMut(&Raw, usize),
    ) -> Vec<Match> {
        let text = &decoded.text;
        raw.sort_by(|a, b| {
            let key = |r: &Raw| (r.kept.span.start, std::cmp::Reverse(r.kept.span.end), r.rule);
            key(a).cmp(&key(b))
        });
        let spans: Vec<Range<usize>> = raw.iter().map(|r| r.kept.span.clone()).collect();
        let mut lines = Lines::new(text);
        overlap::settle(raw, self.rules.rules(), lost)
            .into_iter()
            .map(|raw| {
                let span = raw.kept.span;
                let (line, column) = lines.position(span.start);
                let (end_line, end_column) = lines.position(span.end);
                Match {
                    rule: raw.rule,
                    line,
                    column,
                    end_line,
                    end_column,
                    secret: Secret::new(&text[span.clone()]),
                    excerpt: excerpt::excerpt(text, &span, &spans),
                    allow: self.allowed(text, &span, &spans, raw.rule),
                    span: decoded.original(&span),
                    confidence: raw.kept.confidence,
                    notes: raw.kept.notes,
                    details: raw.kept.details,
                }
            })
            .collect()
    }

    /// An inline marker on the secret's lines, or claviger's own alone on the line before.
    fn allowed(
        &self,
        text: &[u8],
        span: &Range<usize>,
        spans: &[Range<usize>],
        rule: usize,
    ) -> Option<crate::finding::InlineAllow> {
        let id = &self.rule(rule).id;
        let line = lines::around(text, span.start, span.end, LINE_REACH);
        // Secrets are no comments, and a marker's reason is printed: no secret may be read as part of either.
        let clear = |range: Range<usize>| excerpt::masked(text, &range, spans);
        let here = || {
            inline::marker(&clear(span.end.min(line.end)..line.end), id)
                .or_else(|| inline::marker(&clear(line.start..span.start), id))
        };
        let before = || {
            let end = line.start.checked_sub(1)?;
            inline::marker_above(&clear(lines::around(text, end, end, LINE_REACH)), id)
        };
        here().or_else(before)
    }
}

/// Adds a window, or widens the last one if it is the same rule's and touches.
fn push_window(windows: &mut Vec<(u32, Range<usize>)>, rule: usize, window: Range<usize>) {
    if let Some((last, range)) = windows.last_mut()
        && *last as usize == rule
        && window.start <= range.end
        && window.start >= range.start
    {
        range.end = range.end.max(window.end);
        return;
    }
    windows.push((rule as u32, window));
}

/// Joins overlapping windows of one rule, so that each byte is searched once however dense the anchors are.
fn merged(windows: Vec<(u32, Range<usize>)>) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut windows = windows.into_iter().peekable();
    std::iter::from_fn(move || {
        let (rule, mut range) = windows.next()?;
        while let Some((_, next)) = windows.next_if(|(r, next)| *r == rule && next.start <= range.end) {
            range.end = range.end.max(next.end);
        }
        Some((rule, range))
    })
}

impl Compiled {
    fn new(rule: &Rule) -> Result<Self, RuleError> {
        let invalid = |why: String| RuleError::Invalid { path: format!("rule `{}`", rule.id).into(), why };
        for glob in rule.files.iter() {
            Glob::new(glob).map_err(|e| invalid(e.to_string()))?;
        }
        Ok(Compiled {
            regex: OnceLock::new(),
            patterns: OnceLock::new(),
            has_files: !rule.files.is_empty(),
            limited: !rule.files.is_empty() || rule.kind == Kind::Generic,
        })
    }

    /// The rule's regex; `None` if it is too large to compile, which `rules check` reports.
    fn regex(&self, rule: &Rule) -> Option<&meta::Regex> {
        self.regex.get_or_init(|| compile(&rule.pattern).ok()).as_ref()
    }

    fn patterns(&self, rule: &Rule) -> &Patterns {
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
        .syntax(syntax::Config::new().unicode(false).utf8(false).multi_line(true).crlf(true).nest_limit(64))
        .build(pattern)
        .map_err(|e| e.syntax_error().map_or_else(|| e.to_string(), ToString::to_string))
}

fn small_regex(pattern: &str) -> Option<regex::bytes::Regex> {
    regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE).build().ok()
}

/// One text on its way through the rules.
struct Search<'a, 'e> {
    engine: &'e Engine,
    text: &'a [u8],
    context: &'a Context<'a>,
    file: OnceLock<FileKind>,
    is_binary: OnceLock<bool>,
    /// Rules whose globs match the path.
    chosen: OnceLock<Vec<u32>>,
    /// What is known of the text that this one is built from.
    origin: Option<Origin<'a>>,
    /// Where rules could match that may match anywhere around their anchor.
    windows: Vec<(u32, Range<usize>)>,
    /// Whether to note windows in which the pattern did not match; and those windows.
    keep: bool,
    misses: Vec<trail::Miss>,
    found: Vec<Raw>,
    /// Told of every step, for `explain`.
    trace: Option<&'a mut dyn FnMut(usize, Range<usize>, Step)>,
}

impl<'a, 'e> Search<'a, 'e> {
    fn new(
        engine: &'e Engine,
        text: &'a [u8],
        context: &'a Context<'a>,
        trace: Option<&'a mut dyn FnMut(usize, Range<usize>, Step)>,
    ) -> Self {
        Search {
            engine,
            text,
            context,
            file: OnceLock::new(),
            is_binary: OnceLock::new(),
            chosen: OnceLock::new(),
            origin: None,
            windows: Vec::new(),
            keep: false,
            misses: Vec::new(),
            found: Vec::new(),
            trace,
        }
    }

    /// Tells of a step, if anybody listens.
    fn tell(&mut self, rule: usize, span: Range<usize>, step: impl FnOnce() -> Step) {
        if let Some(trace) = &mut self.trace {
            trace(rule, span, step());
        }
    }

    /// Runs the rules without anchors.
    fn whole(&mut self) {
        let engine = self.engine;
        for &rule in &engine.whole {
            if self.applies(rule) {
                self.window(rule, 0..self.text.len());
            }
        }
    }

    /// An anchor was seen: runs its rule, or puts the window aside until all anchors are known.
    fn hit(&mut self, rule: usize, start: usize, end: usize) {
        if self.engine.compiled[rule].limited && !self.applies(rule) {
            self.tell(rule, start..end, || Step::OtherFile);
        } else if self.engine.rule(rule).starts_with_anchor {
            self.at(rule, start, end);
        } else {
            let window = self.engine.window(self.text, rule, start, end);
            push_window(&mut self.windows, rule, window);
        }
    }

    /// All anchors were seen: runs what was put aside.
    fn end(&mut self) {
        let mut windows = std::mem::take(&mut self.windows);
        windows.sort_unstable_by_key(|(rule, window)| (*rule, window.start));
        for (rule, window) in merged(windows) {
            self.window(rule as usize, window);
        }
    }

    /// Whether a window is known to hold no match; notes it, if so.
    fn is_miss(&mut self, rule: usize, window: &Range<usize>) -> bool {
        let is_miss = self.origin.is_some_and(|origin| origin.misses(rule, window, self.text.len()));
        if is_miss {
            self.note_miss(rule, window);
        }
        is_miss
    }

    fn note_miss(&mut self, rule: usize, window: &Range<usize>) {
        if self.keep {
            let (start, end) = (window.start as u32, window.end as u32);
            self.misses.push(trail::Miss { rule: rule as u32, start, end });
        }
    }

    /// Whether a rule looks at this text: names that say "secret" mean nothing in binary files, and some rules look at
    /// files of certain paths only.
    fn applies(&self, rule: usize) -> bool {
        if self.engine.rule(rule).kind == Kind::Generic && self.is_binary() {
            return false;
        }
        if !self.engine.compiled[rule].has_files {
            return true;
        }
        let rules = self.chosen.get_or_init(|| {
            let files = self.engine.files.get_or_init(|| FileRules::new(self.engine.rules.rules()));
            files.of(self.context.path.unwrap_or_default())
        });
        rules.contains(&(rule as u32))
    }

    /// Whether the text is binary, as git tells it: a NUL among the first 8,000 bytes.
    fn is_binary(&self) -> bool {
        *self.is_binary.get_or_init(|| memchr::memchr(0, &self.text[..self.text.len().min(8000)]).is_some())
    }

    /// A rule whose matches begin with the anchor.
    fn at(&mut self, rule: usize, start: usize, end: usize) {
        let engine = self.engine;
        let Some(regex) = engine.compiled[rule].regex(engine.rule(rule)) else { return };
        let limit = start.saturating_add(engine.rule(rule).reach as usize).min(self.text.len());
        let limit = if engine.rule(rule).multiline {
            limit
        } else {
            memchr::memchr(b'\n', &self.text[end..limit.max(end)]).map_or(limit.max(end), |i| end + i)
        };
        if self.is_miss(rule, &(start..limit)) {
            return;
        }
        let input = Input::new(self.text).range(start..limit).anchored(Anchored::Yes);
        if self.next_match(rule, regex, input).is_none() {
            self.note_miss(rule, &(start..limit));
            let text = self.text;
            self.tell(rule, start..end, || Step::NoMatch { anchor: printable(&text[start..end]) });
        }
    }

    /// A rule that may match anywhere in a window.
    fn window(&mut self, rule: usize, window: Range<usize>) {
        let engine = self.engine;
        let Some(regex) = engine.compiled[rule].regex(engine.rule(rule)) else { return };
        if self.is_miss(rule, &window) {
            return;
        }
        let (mut at, mut any) = (window.start, false);
        while at <= window.end {
            let input = Input::new(self.text).range(at..window.end);
            let Some(next) = self.next_match(rule, regex, input) else { break };
            any = true;
            at = next.max(at + 1);
        }
        if !any {
            self.note_miss(rule, &window);
            let shown = &self.text[window.start..window.end.min(window.start + 8)];
            self.tell(rule, window, || Step::NoMatch { anchor: format!("in {}…", printable(shown)) });
        }
    }

    /// Runs the regex once and the checks over its match. Says where to go on, or `None` without a match.
    fn next_match(&mut self, rule: usize, regex: &meta::Regex, input: Input<'_>) -> Option<usize> {
        // Most windows do not match: captures are made for those that do, over the match alone.
        let whole = regex.search(&input)?.range();
        let (span, name) = if regex.captures_len() > 1 {
            let mut captures = regex.create_captures();
            regex.search_captures(&input.range(whole.clone()).anchored(Anchored::Yes), &mut captures);
            let group = |name| captures.get_group_by_name(name).map(|s| s.range());
            (group("secret").unwrap_or(whole.clone()), group("name"))
        } else {
            (whole.clone(), None)
        };
        if span.is_empty() {
            return Some(whole.end.max(whole.start + 1));
        }
        let definition = self.engine.rule(rule);
        if !check::boundary_holds(definition.boundary, self.text, &span) {
            let why = "a letter, digit or `_` directly before or after the secret";
            self.tell(rule, span, || Step::Dropped { why: why.into() });
            return Some(whole.start + 1);
        }
        let verdict = check::run(
            &definition.checks,
            self.engine.compiled[rule].patterns(definition),
            Candidate {
                text: self.text,
                line: lines::around(self.text, span.start, span.end, LINE_REACH),
                name,
                span: span.clone(),
                file: *self.file.get_or_init(|| FileKind::of(self.context.path.unwrap_or_default())),
                confidence: definition.confidence,
                now: self.context.now,
            },
        );
        match verdict {
            Verdict::Drop(why) => {
                self.tell(rule, span.clone(), || Step::Dropped { why });
                Some(whole.start.max(span.start).max(whole.start + 1))
            }
            Verdict::Keep(kept) => {
                let end = kept.span.end.max(whole.end);
                self.found.push(Raw { rule, kept });
                Some(end)
            }
        }
    }
}
