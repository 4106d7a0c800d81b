//! Where in a text could any rule match at all?
//!
//! Of each anchor one window of three bytes is chosen, the rarest. A table of 2^17 bits says for every three bytes of
//! the text, folded to lower case, whether some anchor may have them as its window; all but one or two in a hundred
//! places end there, after a multiplication and a look into 16 KiB that stay in the first cache. What passes is compared
//! with the anchors of its bucket. That is several times faster than an automaton over thousands of anchors, which
//! misses the cache on every other byte. Sets so large that the table would fill up get the automaton all the same.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

use super::frequency;
use crate::rule::Rule;

/// Most distinct anchors for the table; beyond, an automaton takes over.
const MAX_GRAMS: usize = 8192;
/// Most anchors of one automaton: the time to build one grows with the square of their number.
const MAX_AUTOMATON: usize = 32 * 1024;
/// Folds ASCII letters to lower case. Other bytes change too, the same way in anchors and texts.
const FOLD: u64 = 0x2020_2020_2020_2020;
/// Bits of a window's hash. With the two thousand anchors of the built-in rules, one or two places in a hundred pass by
/// chance; a larger table would crowd the first cache.
const BITS: u32 = 17;
/// Words of the table.
const WORDS: usize = (1 << BITS) / 64;
/// Bytes that eight windows of three take.
const BLOCK: usize = 10;

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

/// The search for all anchors.
#[derive(Debug)]
pub(crate) struct Prefilter {
    anchors: Vec<Anchor>,
    longest: usize,
    search: Search,
}

#[derive(Debug)]
enum Search {
    Grams(Grams),
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
        let search = if anchors.len() <= MAX_GRAMS {
            Search::Grams(Grams::new(&anchors))
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
            Search::Grams(grams) => grams.each(text, &self.anchors, &mut found),
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

/// The table of windows.
#[derive(Debug)]
struct Grams {
    /// One bit for each hash of a window.
    gate: Box<[u64; WORDS]>,
    /// Bits that are set in the words before each word.
    ranks: Box<[u16]>,
    /// Where the entries of the hash with a rank begin in `entries`; they end where those of the next begin.
    starts: Vec<u16>,
    entries: Vec<Entry>,
}

/// An anchor, and where in it its window stands.
#[derive(Clone, Copy, Debug)]
struct Entry {
    anchor: u16,
    offset: u16,
    /// The window and the byte after it, if the anchor has one; folded, if some rule ignores case.
    wanted: u32,
    /// Which of the four bytes count.
    mask: u32,
    /// What folds the text before it is compared.
    fold: u32,
}

impl Entry {
    fn new(index: usize, anchor: &Anchor) -> (u32, Self) {
        let text = &anchor.text;
        let offset = rarest_window(text);
        let fourth = text.get(offset + 3).copied();
        let window =
            u32::from_le_bytes([text[offset], text[offset + 1], text[offset + 2], fourth.unwrap_or(0)]);
        let mask = if fourth.is_some() { u32::MAX } else { 0xff_ffff };
        let ignores_case = anchor.rules.is_empty() || anchor.rules.iter().any(|rule| rule.ignore_case);
        let fold = if ignores_case { FOLD as u32 } else { 0 };
        let wanted = (window | fold) & mask;
        (
            hash(window | FOLD as u32),
            Entry { anchor: index as u16, offset: offset as u16, wanted, mask, fold },
        )
    }
}

impl Grams {
    fn new(anchors: &[Anchor]) -> Self {
        let mut hashed: Vec<(u32, Entry)> =
            anchors.iter().enumerate().map(|(index, anchor)| Entry::new(index, anchor)).collect();
        hashed.sort_by_key(|(hash, entry)| (*hash, entry.anchor));
        let mut gate = Box::new([0_u64; WORDS]);
        let mut starts = Vec::new();
        for (at, (hash, _)) in hashed.iter().enumerate() {
            if at == 0 || hashed[at - 1].0 != *hash {
                starts.push(at as u16);
            }
            gate[(hash >> 6) as usize] |= 1 << (hash & 63);
        }
        starts.push(hashed.len() as u16);
        let ranks = gate
            .iter()
            .scan(0, |before, word| {
                let rank = *before;
                *before += word.count_ones() as u16;
                Some(rank)
            })
            .collect();
        Grams { gate, ranks, starts, entries: hashed.into_iter().map(|(_, entry)| entry).collect() }
    }

    /// 1 if the window may be an anchor's.
    #[inline]
    fn gate(&self, hash: u32) -> u64 {
        self.gate[(hash >> 6) as usize % WORDS] >> (hash & 63) & 1
    }

    fn each(&self, text: &[u8], anchors: &[Anchor], found: &mut dyn FnMut(usize, usize)) {
        let mut at = 0;
        // Eight places at a time: two loads, and one branch for each place that passes.
        while let Some(block) = text.get(at..at + BLOCK) {
            let low = folded(&block[..8]);
            let high = folded(&block[2..]);
            let hashes = [
                hash(low as u32),
                hash((low >> 8) as u32),
                hash((low >> 16) as u32),
                hash((low >> 24) as u32),
                hash((low >> 32) as u32),
                hash((low >> 40) as u32),
                hash((high >> 32) as u32),
                hash((high >> 40) as u32),
            ];
            let mut passed = 0;
            for (i, hash) in hashes.into_iter().enumerate() {
                passed |= self.gate(hash) << i;
            }
            while passed != 0 {
                let i = passed.trailing_zeros() as usize;
                self.bucket(hashes[i], at + i, text, anchors, found);
                passed &= passed - 1;
            }
            at += 8;
        }
        while let Some(&[a, b, c]) = text.get(at..at + 3) {
            let hash = hash(u32::from_le_bytes([a, b, c, 0]) | FOLD as u32);
            if self.gate(hash) != 0 {
                self.bucket(hash, at, text, anchors, found);
            }
            at += 1;
        }
    }

    /// Compares with the anchors whose window may stand at `at`.
    #[inline]
    fn bucket(
        &self,
        hash: u32,
        at: usize,
        text: &[u8],
        anchors: &[Anchor],
        found: &mut dyn FnMut(usize, usize),
    ) {
        let word = (hash >> 6) as usize % WORDS;
        let below = self.gate[word] & ((1 << (hash & 63)) - 1);
        let rank = usize::from(self.ranks[word]) + below.count_ones() as usize;
        let entries = &self.entries[usize::from(self.starts[rank])..usize::from(self.starts[rank + 1])];
        let there = match text.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            _ => u32::from_le_bytes([text[at], text[at + 1], text[at + 2], 0]),
        };
        for entry in entries {
            if (there | entry.fold) & entry.mask == entry.wanted {
                Self::compare(entry, at, text, anchors, found);
            }
        }
    }

    #[inline(never)]
    fn compare(
        entry: &Entry,
        at: usize,
        text: &[u8],
        anchors: &[Anchor],
        found: &mut dyn FnMut(usize, usize),
    ) {
        let anchor = &anchors[usize::from(entry.anchor)].text;
        let Some(start) = at.checked_sub(usize::from(entry.offset)) else { return };
        let stands = text.get(start..start + anchor.len());
        if stands.is_some_and(|there| there.eq_ignore_ascii_case(anchor)) {
            found(usize::from(entry.anchor), start);
        }
    }
}

/// Eight bytes, letters folded.
#[inline]
fn folded(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes) | FOLD
}

/// [`BITS`] bits of the three lower bytes of a folded window (Fibonacci hashing).
#[inline]
fn hash(window: u32) -> u32 {
    (window << 8).wrapping_mul(0x9e37_79b1) >> (32 - BITS)
}

/// Where in an anchor the three bytes stand that texts have least often.
fn rarest_window(anchor: &[u8]) -> usize {
    let cost = |at: &usize| frequency::of_three(anchor[*at], anchor[*at + 1], anchor[*at + 2]);
    (0..=anchor.len().saturating_sub(3)).min_by_key(cost).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleSet;
    use proptest::prelude::*;

    fn places(search: &Search, anchors: &[Anchor], text: &[u8]) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        match search {
            Search::Grams(grams) => grams.each(text, anchors, &mut |anchor, start| out.push((anchor, start))),
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
        texts.iter().map(|t| Anchor { text: t.clone().into(), rules: Box::new([]) }).collect()
    }

    fn same(texts: &[Vec<u8>], text: &[u8]) {
        let anchors = anchors(texts);
        let table = places(&Search::Grams(Grams::new(&anchors)), &anchors, text);
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
        assert!(matches!(prefilter.search, Search::Grams(_)));
    }
}
