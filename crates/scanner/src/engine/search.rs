//! One text on its way through the rules: from anchors to matches that pass their checks.

use std::ops::Range;
use std::sync::OnceLock;

use regex_automata::hybrid::dfa::Cache;
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::{Anchored, Input};

use super::compiled::FileRules;
use super::matcher::{Found, Matcher, Memory};
use super::trace::Step;
use super::trail::{Miss, Origin};
use super::{Context, Engine, LINE_REACH, lines};
use crate::check::file_kind::FileKind;
use crate::check::{self, Candidate, Verdict};
use crate::path::printable;
use crate::rule::Kind;

/// What a thread needs to search, kept from one text to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Where rules could match that may match anywhere around their anchor.
    windows: Vec<(u32, Range<usize>)>,
    /// For the gate of each rule that was needed so far.
    gates: Vec<Option<Cache>>,
    matcher: Memory,
}

/// One [`Scratch`] for each thread.
pub(super) type Scratches = Pool<Scratch, fn() -> Scratch>;

/// A match on the decoded text, before overlaps are settled.
pub(super) struct Raw {
    pub(super) rule: usize,
    pub(super) kept: check::Kept,
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
fn merged(windows: &mut Vec<(u32, Range<usize>)>) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut windows = windows.drain(..).peekable();
    std::iter::from_fn(move || {
        let (rule, mut range) = windows.next()?;
        while let Some((_, next)) = windows.next_if(|(r, next)| *r == rule && next.start <= range.end) {
            range.end = range.end.max(next.end);
        }
        Some((rule, range))
    })
}

/// One text on its way through the rules.
pub(super) struct Search<'a, 'e> {
    engine: &'e Engine,
    text: &'a [u8],
    context: &'a Context<'a>,
    file: OnceLock<FileKind>,
    is_binary: OnceLock<bool>,
    /// Rules whose globs match the path.
    chosen: OnceLock<Vec<u32>>,
    /// What is known of the text that this one is built from.
    pub(super) origin: Option<Origin<'a>>,
    scratch: PoolGuard<'e, Scratch, fn() -> Scratch>,
    /// Whether to note windows in which the pattern did not match; and those windows.
    pub(super) keep: bool,
    pub(super) misses: Vec<Miss>,
    pub(super) found: Vec<Raw>,
    /// Told of every step, for `explain`.
    trace: Option<&'a mut dyn FnMut(usize, Range<usize>, Step)>,
}

impl<'a, 'e> Search<'a, 'e> {
    pub(super) fn new(
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
            scratch: engine.scratches.get(),
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
    pub(super) fn whole(&mut self) {
        let engine = self.engine;
        for &rule in &engine.whole {
            if self.applies(rule) {
                self.window(rule, 0..self.text.len());
            }
        }
    }

    /// An anchor was seen: runs its rule, or puts the window aside until all anchors are known.
    pub(super) fn hit(&mut self, rule: usize, start: usize, end: usize) {
        if self.engine.compiled[rule].limited && !self.applies(rule) {
            self.tell(rule, start..end, || Step::OtherFile);
        } else if self.engine.rule(rule).starts_with_anchor {
            self.at(rule, start, end);
        } else {
            let window = self.engine.window(self.text, rule, start, end);
            push_window(&mut self.scratch.windows, rule, window);
        }
    }

    /// All anchors were seen: runs what was put aside.
    pub(super) fn end(&mut self) {
        let mut windows = std::mem::take(&mut self.scratch.windows);
        windows.sort_unstable_by_key(|(rule, window)| (*rule, window.start));
        for (rule, window) in merged(&mut windows) {
            self.window(rule as usize, window);
        }
        self.scratch.windows = windows;
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
            self.misses.push(Miss { rule: rule as u32, start, end });
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

    /// Whether a window may hold a match at all, one that begins at its start if `anchored`.
    fn passes(&mut self, rule: usize, window: &Range<usize>, anchored: Anchored) -> bool {
        let engine = self.engine;
        if engine.rule(rule).run.is_some_and(|run| !run.is_in(&self.text[window.clone()])) {
            return false;
        }
        let Some(gate) = engine.compiled[rule].gate(engine.rule(rule)) else { return true };
        let caches = &mut self.scratch.gates;
        if caches.len() <= rule {
            caches.resize_with(engine.compiled.len(), || None);
        }
        gate.admits(caches[rule].get_or_insert_with(|| gate.cache()), self.text, window.clone(), anchored)
    }

    /// A rule whose matches begin with the anchor.
    fn at(&mut self, rule: usize, start: usize, end: usize) {
        let engine = self.engine;
        let limit = start.saturating_add(engine.rule(rule).reach as usize).min(self.text.len());
        let limit = if engine.rule(rule).multiline {
            limit
        } else {
            memchr::memchr(b'\n', &self.text[end..limit.max(end)]).map_or(limit.max(end), |i| end + i)
        };
        if self.is_miss(rule, &(start..limit)) {
            return;
        }
        let found = self.passes(rule, &(start..limit), Anchored::Yes)
            && engine.compiled[rule].matcher(engine.rule(rule)).is_some_and(|matcher| {
                let input = Input::new(self.text).range(start..limit).anchored(Anchored::Yes);
                self.next_match(rule, matcher, &input).is_some()
            });
        if !found {
            self.note_miss(rule, &(start..limit));
            let text = self.text;
            self.tell(rule, start..end, || Step::NoMatch { anchor: printable(&text[start..end]) });
        }
    }

    /// A rule that may match anywhere in a window.
    fn window(&mut self, rule: usize, window: Range<usize>) {
        let engine = self.engine;
        if self.is_miss(rule, &window) {
            return;
        }
        let (mut at, mut any) = (window.start, false);
        let passes = self.passes(rule, &window, Anchored::No);
        let matcher = if passes { engine.compiled[rule].matcher(engine.rule(rule)) } else { None };
        while let Some(matcher) = matcher
            && at <= window.end
        {
            let input = Input::new(self.text).range(at..window.end);
            let Some(next) = self.next_match(rule, matcher, &input) else { break };
            any = true;
            at = next.max(at + 1);
        }
        if !any {
            self.note_miss(rule, &window);
            let shown = &self.text[window.start..window.end.min(window.start + 8)];
            self.tell(rule, window, || Step::NoMatch { anchor: format!("in {}…", printable(shown)) });
        }
    }

    /// Looks for one match and runs the checks over it. Says where to go on, or `None` without a match.
    fn next_match(&mut self, rule: usize, matcher: &Matcher, input: &Input<'_>) -> Option<usize> {
        let definition = self.engine.rule(rule);
        let Found { whole, secret: span, name } =
            matcher.find(&definition.pattern, &mut self.scratch.matcher, input)?;
        if span.is_empty() {
            return Some(whole.end.max(whole.start + 1));
        }
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
