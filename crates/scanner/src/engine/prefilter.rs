//! Where in a text could any rule match at all?
//!
//! One pass over the text finds all anchors of all rules: by a table of pairs of bytes, which keeps to the first cache
//! where an automaton over thousands of anchors misses it on every other byte. Sets so large that the table would fill
//! up get the automaton all the same; it is also the table's oracle.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

use super::pairs::{Needle, Pairs};
use crate::rule::Rule;

/// Most distinct anchors for the table; beyond, an automaton takes over.
const MAX_PAIRS: usize = 8192;
/// Most anchors of one automaton: the time to build one grows with the square of their number.
const MAX_AUTOMATON: usize = 32 * 1024;
/// An anchor and the rules that wait for it.
#[derive(Debug)]
struct Anchor {
    text: Box<[u8]>,
    rules: Box<[Waiting]>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    rule: u32,
    ignore_case: bool,
}

impl Needle for Anchor {
    fn text(&self) -> &[u8] {
        &self.text
    }

    fn ignores_case(&self) -> bool {
        self.rules.iter().any(|rule| rule.ignore_case)
    }
}

/// The search for all anchors.
#[derive(Debug)]
pub(crate) struct Prefilter {
    anchors: Vec<Anchor>,
    longest: usize,
    search: Search,
}

#[derive(Debug)]
enum Search {
    Pairs(Pairs),
    /// Each over the next [`MAX_AUTOMATON`] anchors.
    Automata(Vec<AhoCorasick>),
}

impl Prefilter {
    /// Builds the search. `None` when there is no anchor at all.
    pub(crate) fn new(rules: &[Rule]) -> Option<Self> {
        let mut by_text: BTreeMap<&[u8], Vec<Waiting>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            for anchor in rule.anchors.iter() {
                let waiting = Waiting { rule: index as u32, ignore_case: rule.anchors_ignore_case };
                by_text.entry(anchor.as_bytes()).or_default().push(waiting);
            }
        }
        if by_text.is_empty() {
            return None;
        }
        let anchors: Vec<Anchor> = by_text
            .into_iter()
            .map(|(text, rules)| Anchor { text: text.into(), rules: rules.into() })
            .collect();
        let search = if anchors.len() <= MAX_PAIRS {
            Search::Pairs(Pairs::new(&anchors))
        } else {
            Search::Automata(automata(&anchors))
        };
        let longest = anchors.iter().map(|anchor| anchor.text.len()).max().unwrap_or(0);
        Some(Prefilter { anchors, longest, search })
    }

    /// Bytes of the longest anchor.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Calls back for each rule and each place of one of its anchors: rule, start, end.
    pub(crate) fn each(&self, text: &[u8], mut hit: impl FnMut(usize, usize, usize)) {
        let mut found = |anchor: usize, start: usize| {
            let anchor = &self.anchors[anchor];
            let end = start + anchor.text.len();
            let exact = text[start..end] == *anchor.text;
            for waiting in &anchor.rules {
                if exact || waiting.ignore_case {
                    hit(waiting.rule as usize, start, end);
                }
            }
        };
        match &self.search {
            Search::Pairs(pairs) => pairs.each(text, &self.anchors, &mut found),
            Search::Automata(automata) => {
                for (place, first) in overlapping(automata, text) {
                    found(first + place.pattern().as_usize(), place.start());
                }
            }
        }
    }
}

fn automata(anchors: &[Anchor]) -> Vec<AhoCorasick> {
    let build = |anchors: &[Anchor]| {
        AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(anchors.iter().map(|a| &a.text))
            .expect("anchors are few and short: checked when rules are read")
    };
    anchors.chunks(MAX_AUTOMATON).map(build).collect()
}

/// All places of all anchors, each with the number of its automaton's first anchor.
fn overlapping<'a>(
    automata: &'a [AhoCorasick],
    text: &'a [u8],
) -> impl Iterator<Item = (aho_corasick::Match, usize)> + 'a {
    automata.iter().enumerate().flat_map(move |(at, automaton)| {
        automaton.find_overlapping_iter(text).map(move |place| (place, at * MAX_AUTOMATON))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleSet;
    use proptest::prelude::*;

    fn places(search: &Search, anchors: &[Anchor], text: &[u8]) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        match search {
            Search::Pairs(pairs) => pairs.each(text, anchors, &mut |anchor, start| out.push((anchor, start))),
            Search::Automata(automata) => {
                out.extend(
                    overlapping(automata, text).map(|(m, first)| (first + m.pattern().as_usize(), m.start())),
                );
            }
        }
        out.sort_unstable();
        out
    }

    fn anchors(texts: &[Vec<u8>]) -> Vec<Anchor> {
        texts
            .iter()
            .map(|t| Anchor {
                text: t.clone().into(),
                rules: Box::new([Waiting { rule: 0, ignore_case: true }]),
            })
            .collect()
    }

    fn same(texts: &[Vec<u8>], text: &[u8]) {
        let anchors = anchors(texts);
        let table = places(&Search::Pairs(Pairs::new(&anchors)), &anchors, text);
        assert_eq!(table, places(&Search::Automata(automata(&anchors)), &anchors, text));
    }

    proptest! {
        /// The automaton is the oracle.
        #[test]
        fn table_and_automaton_find_the_same(
            texts in proptest::collection::btree_set(proptest::collection::vec(97_u8..101, 3..7), 1..20),
            text in proptest::collection::vec(prop_oneof![97_u8..101, 65_u8..69, Just(b'-')], 0..300),
        ) {
            same(&texts.into_iter().collect::<Vec<_>>(), &text);
        }

        #[test]
        fn any_bytes(
            texts in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 3..6), 1..8),
            text in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..200,
        ) {
            let texts: Vec<Vec<u8>> = texts.into_iter().collect();
            let mut planted = text;
            let at = at.min(planted.len());
            planted.splice(at..at, texts[0].iter().copied());
            same(&texts, &planted);
        }
    }

    #[test]
    fn the_built_in_anchors_fit_the_table() {
        let rules = RuleSet::builtin();
        let prefilter = Prefilter::new(rules.rules()).expect("there are anchors");
        assert!(matches!(prefilter.search, Search::Pairs(_)));
    }
}
