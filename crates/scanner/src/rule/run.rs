//! The longest run of like bytes that every match of a pattern holds.
//!
//! Most secrets are long and made of few different bytes, and most text around a name of secrets is not. To look for such
//! a run costs less than a look at every byte: only bytes as far apart as the run is long need to be read. Also compiled
//! into the build script.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest run that is asked for, in bytes.
const LONGEST: u32 = 128;
/// Least number of bits that a run must tell to be of use.
const LEAST_BITS: f64 = 16.0;

/// Bytes, all of one class, that stand beside each other in every match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// One bit for each byte that may stand there: that of byte `b` is bit `b % 64` of word `b / 64`.
    pub class: [u64; 4],
    /// Length in bytes.
    pub least: u32,
}

impl Run {
    const EMPTY: Run = Run { class: [0; 4], least: 0 };

    /// The run that tells most; `None` if none is long enough.
    pub(crate) fn of(pattern: &Hir) -> Option<Run> {
        let best = best(pattern);
        (best.bits() >= LEAST_BITS && best.least >= 4).then(|| Run { least: best.least.min(LONGEST), ..best })
    }

    /// Whether the text holds the run.
    #[inline]
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let least = self.least as usize;
        // Everything before `from` is known not to begin a run.
        let mut from = 0;
        while let Some(window) = text.get(from..from + least) {
            match window.iter().rposition(|byte| !self.holds(*byte)) {
                None => return true,
                Some(at) => from += at + 1,
            }
        }
        false
    }

    #[inline]
    fn holds(&self, byte: u8) -> bool {
        self.class[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
    }

    /// This run and another one behind it.
    fn then(self, next: Run) -> Run {
        Run { least: self.least.saturating_add(next.least), ..self.or(next) }
    }

    /// What this run and another one have in common.
    fn or(self, other: Run) -> Run {
        let class = std::array::from_fn(|i| self.class[i] | other.class[i]);
        Run { class, least: self.least.min(other.least) }
    }

    /// How unlikely it is that other bytes are such a run.
    fn bits(self) -> f64 {
        let size: u32 = self.class.iter().map(|word| word.count_ones()).sum();
        f64::from(self.least.min(LONGEST)) * (7.0 - f64::from(size.max(1)).log2())
    }
}

/// All bytes that a match of the pattern may be made of, and how many they are at least.
fn whole(hir: &Hir) -> Run {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Run::EMPTY,
        HirKind::Literal(literal) => {
            let mut run = Run { least: literal.0.len() as u32, ..Run::EMPTY };
            literal.0.iter().for_each(|byte| run.class[usize::from(byte >> 6)] |= 1 << (byte & 63));
            run
        }
        HirKind::Class(class) => Run { class: bytes(class), least: 1 },
        HirKind::Capture(capture) => whole(&capture.sub),
        HirKind::Repetition(repetition) => {
            let sub = whole(&repetition.sub);
            Run { least: sub.least.saturating_mul(repetition.min), ..sub }
        }
        HirKind::Concat(parts) => parts.iter().map(whole).fold(Run::EMPTY, Run::then),
        HirKind::Alternation(parts) => parts.iter().map(whole).reduce(Run::or).unwrap_or(Run::EMPTY),
    }
}

/// The run that tells most of those that every match holds.
fn best(hir: &Hir) -> Run {
    let better = |a: Run, b: Run| if b.bits() > a.bits() { b } else { a };
    let inner = match hir.kind() {
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => best(&repetition.sub),
        HirKind::Concat(parts) => {
            let mut found = parts.iter().map(best).fold(Run::EMPTY, better);
            for first in 0..parts.len() {
                let mut run = Run::EMPTY;
                for part in &parts[first..] {
                    run = run.then(whole(part));
                    found = better(found, run);
                }
            }
            found
        }
        HirKind::Alternation(parts) => parts.iter().map(best).reduce(Run::or).unwrap_or(Run::EMPTY),
        _ => Run::EMPTY,
    };
    better(inner, whole(hir))
}

/// The bytes of a class; of a class of characters, all bytes that any may begin or go on with.
fn bytes(class: &Class) -> [u64; 4] {
    let mut bits = [0; 4];
    let mut add =
        |from: u8, to: u8| (from..=to).for_each(|byte| bits[usize::from(byte >> 6)] |= 1 << (byte & 63));
    match class {
        Class::Bytes(class) => class.iter().for_each(|range| add(range.start(), range.end())),
        Class::Unicode(class) => class.iter().for_each(|range| {
            if range.start().is_ascii() {
                add(range.start() as u8, (range.end() as u32).min(0x7f) as u8);
            }
            if !range.end().is_ascii() {
                add(0x80, 0xff);
            }
        }),
    }
    bits
}
