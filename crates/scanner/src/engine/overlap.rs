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
        let rule = &rules[r.rule];
        let is_armour = rule.kind == Kind::Structured && rule.multiline && rule.checks.decode.is_some();
        (is_armour, rule.kind, r.kept.confidence, span.end - span.start, Reverse(r.rule))
    };
    let mut kept: Vec<Raw> = Vec::with_capacity(raw.len());
    for next in raw {
        // Kept matches do not overlap and are sorted, so those that touch `next` are the last ones.
        let first = kept.iter().rposition(|k| k.kept.span.end <= next.kept.span.start).map_or(0, |i| i + 1);
        match kept[first..].iter().find(|k| rank(k) >= rank(&next)) {
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
