//! Finds secrets in bytes. Knows rules and checks; knows nothing of files, git or reports.
//!
//! The order of work keeps the common case cheap. One pass finds anchors. Only around an anchor a looser form of the
//! rule's regex is tried: on the line of the anchor, or within the rule's reach, and only *at* the anchor where every
//! match begins with one. Only where that matches does the regex run. Both are compiled when first needed. Only what
//! matches is checked, and only what passes gets a line number.

mod compiled;
mod encoding;
mod excerpt;
mod frequency;
mod gate;
mod lines;
mod matcher;
mod overlap;
mod pairs;
mod prefilter;
mod search;
mod stream;
mod trace;
mod trail;

use std::ops::Range;
use std::sync::{Mutex, OnceLock};

use crate::finding::Match;
use crate::rule::{Rule, RuleError, RuleSet};
use crate::secret::Secret;
use crate::triage::inline;

use compiled::{Compiled, FileRules};
use encoding::Decoded;
use lines::Lines;
use prefilter::Prefilter;
use search::{Raw, Scratches, Search};

pub(crate) use compiled::compile;
pub use stream::{CHUNK, StreamError};
pub use trace::{Step, Trace};
pub(crate) use trail::{Copied, Origin, Trail};

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

/// Everything needed to scan bytes. Shared by all threads.
#[derive(Debug)]
pub struct Engine {
    rules: RuleSet,
    compiled: Vec<Compiled>,
    prefilter: OnceLock<Option<Prefilter>>,
    /// The globs of all rules that look at certain files only.
    files: OnceLock<FileRules>,
    scratches: Scratches,
    /// Held while a stream is scanned by several threads.
    stream: Mutex<()>,
    /// Rules without anchors, which run on whole files that their globs choose.
    whole: Vec<usize>,
    /// Longest reach of any rule, in bytes.
    reach: usize,
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
        Ok(Engine {
            compiled,
            prefilter: OnceLock::new(),
            files: OnceLock::new(),
            scratches: Scratches::new(Default::default),
            stream: Mutex::new(()),
            whole,
            reach,
            rules,
        })
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
        let mut search = Search::new(self, text, context, None);
        (search.origin, search.keep) = (origin, true);
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
