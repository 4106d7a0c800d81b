//! Where in a text could any rule match at all?
//!
//! All anchors of all rules are one Aho-Corasick automaton. Bytes without an anchor cost one step of it each, whatever
//! the number of rules.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

use crate::rule::Rule;

/// An anchor and the rules that wait for it.
#[derive(Debug)]
struct Anchor {
    /// The exact bytes, if case matters to at least one rule.
    exact: Box<[u8]>,
    rules: Box<[Waiting]>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    rule: u32,
    ignore_case: bool,
}

/// The automaton over all anchors.
#[derive(Debug)]
pub(crate) struct Prefilter {
    automaton: AhoCorasick,
    anchors: Vec<Anchor>,
}

impl Prefilter {
    /// Builds the automaton. `None` when there is no anchor at all.
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
        let automaton = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(by_text.keys())
            .expect("anchors are few and short: checked when rules are read");
        let anchors = by_text
            .into_iter()
            .map(|(text, rules)| Anchor { exact: text.into(), rules: rules.into() })
            .collect();
        Some(Prefilter { automaton, anchors })
    }

    /// Calls back for each rule and each place of one of its anchors: rule, start, end. Places come in the order of
    /// their ends.
    pub(crate) fn each(&self, text: &[u8], mut hit: impl FnMut(usize, usize, usize)) {
        for found in self.automaton.find_overlapping_iter(text) {
            let anchor = &self.anchors[found.pattern().as_usize()];
            let exact = text[found.start()..found.end()] == *anchor.exact;
            for waiting in &anchor.rules {
                if exact || waiting.ignore_case {
                    hit(waiting.rule as usize, found.start(), found.end());
                }
            }
        }
    }
}
