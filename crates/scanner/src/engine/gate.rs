//! A cheap test that a pattern must pass before it is tried.
//!
//! Most places where an anchor stands hold no match: `token` is a word before it is a name of secrets. What says so is a
//! looser pattern, made of the rule's own: counts become "any number", parts that may be missing at either end are left
//! out, groups are forgotten. Everything that the pattern matches holds a match of the looser one. Its automaton has a few
//! dozen states where the pattern's has thousands, so it is compiled and built up in no time, and it runs forward only
//! until the first match ends. The pattern itself is compiled only for rules of which something looks like a match.

use std::ops::Range;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, HirKind, Repetition};

use super::compiled;

/// Longest run of a class that is counted: more tells little, and each is a state.
const COUNTED: u32 = 32;
/// Cache of a gate's automaton, in bytes.
const CACHE: usize = 512 * 1024;

/// The looser pattern of a rule.
#[derive(Debug)]
pub(super) struct Gate {
    dfa: DFA,
}

impl Gate {
    /// Makes the gate of a pattern; `None` if it is too large, which means that everything passes. `anchored` says that
    /// [`Gate::admits`] is asked for matches at one place only.
    pub(super) fn new(pattern: &str, anchored: bool) -> Option<Self> {
        let mut hir = loosened(&compiled::parse(pattern).ok()?);
        if !anchored {
            hir = trimmed(hir, End::Front);
        }
        hir = trimmed(hir, End::Back);
        let config = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(compiled::REGEX_SIZE))
            .which_captures(thompson::WhichCaptures::None);
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(&hir).ok()?;
        let config = DFA::config().cache_capacity(CACHE).skip_cache_capacity_check(true);
        Some(Gate { dfa: DFA::builder().configure(config).build_from_nfa(nfa).ok()? })
    }

    /// What [`Gate::admits`] needs, one for each thread.
    pub(super) fn cache(&self) -> Cache {
        self.dfa.create_cache()
    }

    /// Whether the pattern may match within a range of the text, or at its start if `anchored`.
    #[inline]
    pub(super) fn admits(
        &self,
        cache: &mut Cache,
        text: &[u8],
        range: Range<usize>,
        anchored: Anchored,
    ) -> bool {
        let input = Input::new(text).range(range).anchored(anchored).earliest(true);
        // An automaton that gives up says nothing.
        !matches!(self.dfa.try_search_fwd(cache, &input), Ok(None))
    }
}

/// A pattern that matches whatever this one matches.
fn loosened(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => hir.clone(),
        HirKind::Capture(capture) => loosened(&capture.sub),
        HirKind::Repetition(repetition) => {
            let (min, max) = match (repetition.min, repetition.max) {
                (0, Some(1)) => (0, Some(1)),
                (min, Some(max)) if min == max && min <= COUNTED => (min, Some(max)),
                (min, _) => (min.min(COUNTED), None),
            };
            repeated(loosened(&repetition.sub), min, max)
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(loosened).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(loosened).collect()),
    }
}

fn repeated(sub: Hir, min: u32, max: Option<u32>) -> Hir {
    Hir::repetition(Repetition { min, max, greedy: true, sub: Box::new(sub) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// The pattern without what need not be there at one end: who only asks whether there is a match need not read it.
fn trimmed(hir: Hir, end: End) -> Hir {
    let is_free = |hir: &Hir| {
        let properties = hir.properties();
        properties.minimum_len() == Some(0) && properties.look_set().is_empty()
    };
    match hir.into_kind() {
        HirKind::Concat(mut parts) => {
            let last = |parts: &[Hir]| if end == End::Front { 0 } else { parts.len() - 1 };
            while parts.len() > 1 && is_free(&parts[last(&parts)]) {
                parts.remove(last(&parts));
            }
            let at = last(&parts);
            let part = std::mem::replace(&mut parts[at], Hir::empty());
            parts[at] = trimmed(part, end);
            Hir::concat(parts)
        }
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.into_iter().map(|part| trimmed(part, end)).collect())
        }
        HirKind::Repetition(Repetition { min, sub, .. }) => repeated(*sub, min, Some(min)),
        HirKind::Capture(capture) => trimmed(*capture.sub, end),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleSet;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_match_at_a_glance_does_not_pass() {
        let gate = Gate::new(r"(?i)[\w.-]{0,40}token[\w]{0,8} ?= ?([0-9a-f]{8,40})(?:\b|$)", false)
            .expect("it is small");
        let mut cache = gate.cache();
        let mut passes = |text: &[u8]| gate.admits(&mut cache, text, 0..text.len(), Anchored::No);
        assert!(passes(b"my_TOKENS = 0123456789"));
        assert!(!passes(b"my_TOKENS = 01234z"));
        assert!(!passes(b"tokens, other = 0123456789"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// What matches passes, for every rule and its examples, whole or changed at random.
        #[test]
        fn matches_pass(seed in any::<u16>(), at in any::<usize>(), byte in prop_oneof![Just(b' '), Just(b'"'), Just(b'='), any::<u8>()]) {
            let rules = RuleSet::builtin();
            let rules = rules.rules();
            for rule in (0..12).map(|i| &rules[(usize::from(seed) * 12 + i) % rules.len()]) {
                let gate = Gate::new(&rule.pattern, false).expect("patterns are small");
                let anchored = Gate::new(&rule.pattern, true).expect("patterns are small");
                let regex = compiled::compile(&rule.pattern).expect("it is valid");
                for template in rule.examples_match.iter().chain(rule.examples_miss.iter()) {
                    let mut text = crate::rule::fill(template, &seed.to_string()).expect("it is a good template").into_bytes();
                    for change in [false, true] {
                        if change {
                            let at = at % text.len();
                            text[at] = byte;
                        }
                        let Some(found) = regex.find(&text) else { continue };
                        prop_assert!(gate.admits(&mut gate.cache(), &text, 0..text.len(), Anchored::No), "{}", rule.id);
                        let range = found.start()..text.len();
                        prop_assert!(anchored.admits(&mut anchored.cache(), &text, range, Anchored::Yes), "{}", rule.id);
                    }
                }
            }
        }
    }
}
