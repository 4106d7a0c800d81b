//! Several rules, one text: the most specific rule keeps it.

use std::cmp::Reverse;

use super::Raw;
use crate::rule::{Kind, Rule};

/// Keeps of overlapping matches the one whose rule is most specific, then the surest, then the longest; of equals the
/// one whose rule comes first. What looks like a token inside the lines of an armoured key is a part of the key. `raw` is
/// sorted by start. Tells of each loser and the rule that won.
pub(super) fn settle(raw: Vec<Raw>, rules: &[Rule], lost: &mut dyn FnMut(&Raw, usize)) -> Vec<Raw> {
    let rank = |r: &Raw| {
        let span = &r.kept.span;
        (rules[r.rule].kind, r.kept.confidence, span.end - span.start, Reverse(r.rule))
    };
    let swallows = |key: &Raw, part: &Raw| {
        let (outer, inner) = (&key.kept.span, &part.kept.span);
        let rule = &rules[key.rule];
        rule.kind == Kind::Structured
            && rule.multiline
            && outer.start <= inner.start
            && inner.end <= outer.end
            && outer.len() > 2 * inner.len()
    };
    let beats = |a: &Raw, b: &Raw| swallows(a, b) || !swallows(b, a) && rank(a) >= rank(b);
    let mut kept: Vec<Raw> = Vec::with_capacity(raw.len());
    for next in raw {
        // Kept matches do not overlap and are sorted, so those that touch `next` are the last ones.
        let first = kept.iter().rposition(|k| k.kept.span.end <= next.kept.span.start).map_or(0, |i| i + 1);
        match kept[first..].iter().find(|k| beats(k, &next)) {
            Some(winner) => lost(&next, winner.rule),
            None => {
                for loser in kept.drain(first..) {
                    lost(&loser, next.rule);
                }
                kept.push(next);
            }
        }
    }
    kept
}
