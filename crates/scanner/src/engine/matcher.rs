//! Finds the matches of a rule's pattern, and the groups in them.
//!
//! Windows are mostly a line long. In so little text a backtracker that never tries a state twice at one place finds match
//! and groups at once, while an automaton would first have to be built, and the thousands of states of a pattern with
//! counted repetitions are hardly ever needed twice. Longer windows get the automaton.

use std::ops::Range;
use std::sync::OnceLock;

use regex_automata::nfa::thompson::backtrack::{BoundedBacktracker, Cache};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::primitives::{NonMaxUsize, PatternID};
use regex_automata::{Anchored, Input, meta};

use super::compiled;

/// Longest window for the backtracker, in bytes: its time grows with the length times the states.
const SHORT: usize = 256;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Matcher {
    backtracker: BoundedBacktracker,
    /// First slots of the groups, if there are such.
    secret: Option<usize>,
    name: Option<usize>,
    /// Slots that hold all of these groups.
    slots: usize,
    automaton: OnceLock<Option<meta::Regex>>,
}

/// A match and its groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) whole: Range<usize>,
    /// The group `secret`; all of the match, if there is none.
    pub(super) secret: Range<usize>,
    /// The group `name`.
    pub(super) name: Option<Range<usize>>,
}

/// What a search needs, one for each thread.
#[derive(Debug, Default)]
pub(super) struct Memory {
    cache: Option<Cache>,
    slots: Vec<Option<NonMaxUsize>>,
}

impl Matcher {
    /// Compiles a pattern; `None` if it is too large, which `rules check` reports.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let hir = compiled::parse(pattern).ok()?;
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(compiled::REGEX_SIZE));
        let nfa: NFA = thompson::Compiler::new().configure(config).build_from_hir(&hir).ok()?;
        let slot = |name| Some(2 * nfa.group_info().to_index(PatternID::ZERO, name)?);
        let (secret, name) = (slot("secret"), slot("name"));
        let slots = secret.max(name).unwrap_or(0) + 2;
        let backtracker = BoundedBacktracker::new_from_nfa(nfa).ok()?;
        Some(Matcher { backtracker, secret, name, slots, automaton: OnceLock::new() })
    }

    /// The leftmost match. `pattern` is what this was made of.
    pub(super) fn find(&self, pattern: &str, memory: &mut Memory, input: &Input<'_>) -> Option<Found> {
        let length = input.get_span().len();
        let is_short = length <= SHORT || input.get_anchored() == Anchored::Yes;
        if !is_short || length > self.backtracker.max_haystack_len() {
            return self.find_far(pattern, input);
        }
        let Memory { cache, slots } = memory;
        let cache = cache.get_or_insert_with(|| self.backtracker.create_cache());
        self.backtracker.reset_cache(cache);
        slots.clear();
        slots.resize(self.slots, None);
        self.backtracker.try_search_slots(cache, input, slots).ok()??;
        let group = |slot: usize| Some(slots[slot]?.get()..slots[slot + 1]?.get());
        let whole = group(0)?;
        let secret = self.secret.and_then(group).unwrap_or(whole.clone());
        Some(Found { secret, name: self.name.and_then(group), whole })
    }

    /// The same for long texts.
    fn find_far(&self, pattern: &str, input: &Input<'_>) -> Option<Found> {
        let regex = self.automaton.get_or_init(|| compiled::compile(pattern).ok()).as_ref()?;
        let whole = regex.search(input)?.range();
        if regex.captures_len() == 1 {
            return Some(Found { secret: whole.clone(), name: None, whole });
        }
        let mut captures = regex.create_captures();
        regex.search_captures(&input.clone().range(whole.clone()).anchored(Anchored::Yes), &mut captures);
        let group = |name| captures.get_group_by_name(name).map(|span| span.range());
        Some(Found { secret: group("secret").unwrap_or(whole.clone()), name: group("name"), whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{RuleSet, fill};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// The automaton is the oracle.
        #[test]
        fn both_ways_find_the_same(seed in any::<u16>(), at in any::<usize>(), byte in prop_oneof![Just(b' '), Just(b'"'), any::<u8>()]) {
            let rules = RuleSet::builtin();
            let mut memory = Memory::default();
            for rule in (0..12).map(|i| &rules.rules()[(usize::from(seed) * 12 + i) % rules.rules().len()]) {
                let matcher = Matcher::new(&rule.pattern).expect("patterns are small");
                for template in rule.examples_match.iter().chain(rule.examples_miss.iter()) {
                    let mut text = fill(template, &seed.to_string()).expect("it is a good template").into_bytes();
                    let at = at % text.len();
                    text[at] = byte;
                    for input in [Input::new(&text), Input::new(&text).range(at..).anchored(Anchored::Yes)] {
                        let far = matcher.find_far(&rule.pattern, &input);
                        prop_assert_eq!(matcher.find(&rule.pattern, &mut memory, &input), far, "{}", rule.id);
                    }
                }
            }
        }
    }
}
