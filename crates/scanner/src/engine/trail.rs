//! What a scan leaves behind for texts that are mostly copies of this one.
//!
//! Two things hold wherever the same bytes stand, whatever the path and whatever stands further away: where the
//! anchors are, and that a pattern matches nowhere in a window. So a text built from another one by copying takes both
//! over for what was copied, and only new bytes and seams are searched for anchors, and only windows that they touch
//! are searched by patterns. Everything that does look further, such as checks, overlaps and lines, is worked out on the
//! whole text as ever: the result is that of a plain scan.

use std::ops::Range;

use super::prefilter::Prefilter;
use super::{Context, Decoded, Engine};
use crate::finding::Match;

/// How far a pattern may look outside of its window, in bytes: one, for word edges and line ends. More does no harm.
const LOOK: usize = 8;
/// Most anchors that are remembered; a text with more is scanned whole each time.
const MAX_HITS: usize = 1 << 16;

/// A stretch of a text that was copied from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Where it begins in the other text.
    pub(crate) from: usize,
    /// Where it begins in the new text.
    pub(crate) to: usize,
    /// Its length in bytes; never 0.
    pub(crate) length: usize,
}

impl Copied {
    /// The stretch in the new text.
    pub(crate) fn range(&self) -> Range<usize> {
        self.to..self.to + self.length
    }
}

/// An anchor's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) rule: u32,
}

/// A window in which a rule's pattern does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Miss {
    pub(super) rule: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What is remembered of a scanned text.
#[derive(Debug)]
pub(crate) struct Trail {
    /// Bytes of the text.
    length: usize,
    /// Every anchor of every rule, sorted.
    hits: Vec<Hit>,
    /// Sorted.
    misses: Vec<Miss>,
}

impl Trail {
    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of_val(self.hits.as_slice()) + size_of_val(self.misses.as_slice())
    }
}

/// A text that another one is built from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) trail: &'a Trail,
    /// What was copied, in the order of the new text.
    pub(crate) copied: &'a [Copied],
}

impl Origin<'_> {
    /// The copied stretch that holds a place of the new text.
    fn stretch(&self, at: usize) -> Option<&Copied> {
        let after = self.copied.partition_point(|copied| copied.to <= at);
        self.copied[..after].last().filter(|copied| at < copied.to + copied.length)
    }

    /// Whether it is known that a rule's pattern does not match in this window of the new text.
    pub(super) fn misses(&self, rule: usize, window: &Range<usize>, length: usize) -> bool {
        let Some(copied) = self.stretch(window.start) else { return false };
        let at_start = copied.to == 0 && copied.from == 0;
        let at_end = copied.range().end == length && copied.from + copied.length == self.trail.length;
        let is_within = (at_start || copied.to + LOOK <= window.start)
            && (window.end + LOOK <= copied.range().end || at_end && window.end <= length);
        let moved = |at: usize| u32::try_from(at - copied.to + copied.from).ok();
        is_within
            && moved(window.start).zip(moved(window.end)).is_some_and(|(start, end)| {
                self.trail.misses.binary_search(&Miss { rule: rule as u32, start, end }).is_ok()
            })
    }

    /// All anchors of the new text.
    fn hits(&self, text: &[u8], prefilter: &Prefilter) -> Vec<Hit> {
        let old = &self.trail.hits;
        let mut hits = Vec::with_capacity(old.len() + 8);
        for copied in self.copied {
            let end = copied.from + copied.length;
            let first = old.partition_point(|hit| (hit.start as usize) < copied.from);
            let within = old[first..].iter().take_while(|hit| (hit.start as usize) < end);
            hits.extend(within.filter(|hit| hit.end as usize <= end).map(|hit| Hit {
                start: (hit.start as usize - copied.from + copied.to) as u32,
                end: (hit.end as usize - copied.from + copied.to) as u32,
                rule: hit.rule,
            }));
        }
        for zone in self.zones(text.len(), prefilter.longest().saturating_sub(1)) {
            prefilter.each(&text[zone.clone()], |rule, start, end| {
                let (start, end) = (zone.start + start, zone.start + end);
                let is_old = self.stretch(start).is_some_and(|copied| end <= copied.range().end);
                if !is_old {
                    hits.push(Hit { start: start as u32, end: end as u32, rule: rule as u32 });
                }
            });
        }
        hits.sort_unstable();
        hits
    }

    /// New bytes and seams, each with `margin` bytes to both sides; those that touch joined.
    fn zones(&self, length: usize, margin: usize) -> Vec<Range<usize>> {
        let mut zones: Vec<Range<usize>> = Vec::with_capacity(self.copied.len() + 1);
        let mut at = 0;
        let ends = self.copied.iter().map(Copied::range).chain(std::iter::once(length..length));
        for next in ends {
            // Neither end of the text is a seam.
            if !(at == next.start && (at == 0 || at == length)) {
                let zone = at.saturating_sub(margin)..(next.start + margin).min(length);
                match zones.last_mut() {
                    Some(last) if zone.start <= last.end => last.end = zone.end,
                    _ => zones.push(zone),
                }
            }
            at = next.end;
        }
        zones
    }
}

impl Engine {
    /// Finds the secrets in these bytes as [`Engine::scan`] does, with the help of what is known of the text that they
    /// are built from. `keep` says whether to remember anything for further texts.
    pub(crate) fn scan_built(
        &self,
        bytes: &[u8],
        context: &Context<'_>,
        origin: Option<Origin<'_>>,
        keep: bool,
    ) -> (Vec<Match>, Option<Trail>) {
        let decoded = Decoded::new(bytes);
        let fits = u32::try_from(bytes.len()).is_ok();
        let Some(prefilter) = self.prefilter().filter(|_| fits && decoded.is_original()) else {
            return (self.scan(bytes, context), None);
        };
        let hits = match &origin {
            Some(origin) => origin.hits(bytes, prefilter),
            None if keep => {
                let mut hits = Vec::new();
                prefilter.each(bytes, |rule, start, end| {
                    hits.push(Hit { start: start as u32, end: end as u32, rule: rule as u32 });
                });
                hits.sort_unstable();
                hits
            }
            None => return (self.scan(bytes, context), None),
        };
        let (raw, mut misses) = self.raw_at(bytes, context, &hits, origin);
        let found = if raw.is_empty() { Vec::new() } else { self.finish(&decoded, raw, &mut |_, _| {}) };
        let trail = (keep && hits.len() <= MAX_HITS).then(|| {
            misses.sort_unstable();
            Trail { length: bytes.len(), hits, misses }
        });
        (found, trail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{RuleSet, fill};
    use proptest::prelude::*;

    /// Copies and new bytes, as a delta has them.
    fn built(base: &[u8], parts: &[(usize, usize, Vec<u8>)]) -> (Vec<u8>, Vec<Copied>) {
        let (mut text, mut copied) = (Vec::new(), Vec::new());
        for (from, length, new) in parts {
            let from = from % (base.len() + 1);
            let length = (*length).min(base.len() - from);
            if length > 0 {
                copied.push(Copied { from, to: text.len(), length });
                text.extend_from_slice(&base[from..from + length]);
            }
            text.extend_from_slice(new);
        }
        (text, copied)
    }

    fn example(choice: usize) -> Vec<u8> {
        let rules = RuleSet::builtin();
        let rule = &rules.rules()[choice % rules.rules().len()];
        let text = fill(&rule.examples_match[0], "seed").expect("the rules' templates are good");
        [text.as_bytes(), b"\n"].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// A plain scan is the oracle, also of what is remembered.
        #[test]
        fn a_built_text_gives_what_a_plain_scan_gives(
            choices in proptest::collection::vec(0_usize..10_000, 1..8),
            parts in proptest::collection::vec(
                (any::<usize>(), prop_oneof![0_usize..40, 40_usize..4000], proptest::collection::vec(32_u8..127, 0..12)), 1..8),
            more in proptest::collection::vec((any::<usize>(), 0_usize..4000, Just(Vec::new())), 1..4),
        ) {
            let engine = Engine::new(RuleSet::builtin()).expect("the rules are good");
            let base: Vec<u8> = choices.iter().flat_map(|choice| example(*choice)).collect();
            let context = Context { path: Some(b"a.env"), now: 1 };
            let show = |found: &[Match]| format!("{found:?}");
            let (found, trail) = engine.scan_built(&base, &context, None, true);
            prop_assert_eq!(show(&found), show(&engine.scan(&base, &context)));
            let Some(trail) = trail else { return Ok(()) };
            let (text, copied) = built(&base, &parts);
            let origin = Origin { trail: &trail, copied: &copied };
            let (found, trail) = engine.scan_built(&text, &context, Some(origin), true);
            prop_assert_eq!(show(&found), show(&engine.scan(&text, &context)));
            let Some(trail) = trail else { return Ok(()) };
            let (hits, plain) = (&trail.hits, engine.scan_built(&text, &context, None, true).1);
            prop_assert_eq!(hits, &plain.expect("it was kept before").hits);
            let (last, copied) = built(&text, &more);
            let other = Context { path: Some(b"tests/b.rs"), now: 1 };
            let (found, _) = engine.scan_built(&last, &other, Some(Origin { trail: &trail, copied: &copied }), false);
            prop_assert_eq!(show(&found), show(&engine.scan(&last, &other)));
        }
    }
}
