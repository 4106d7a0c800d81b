//! What became of a candidate, for `explain`.

use std::fmt;
use std::ops::Range;

/// A step on the way of a candidate, for `explain`.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Rule.
    pub rule: String,
    /// Where in the text: the anchor, or the match.
    pub span: Range<usize>,
    /// Line of the span, from 1.
    pub line: u32,
    /// What happened.
    pub step: Step,
}

/// What happened to a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An anchor was seen, and the pattern did not match around it.
    NoMatch {
        /// The anchor as it stands in the text.
        anchor: String,
    },
    /// A match was dropped.
    Dropped {
        /// By which check, and why.
        why: String,
    },
    /// A match lost against an overlapping one of a surer rule.
    Overlapped {
        /// The rule that won.
        by: String,
    },
    /// A match became a finding.
    Found {
        /// Confidence in the end.
        confidence: &'static str,
        /// What the checks said.
        notes: Vec<String>,
    },
    /// The rule looks at other files only (other paths, or text and not binary).
    OtherFile,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: ", self.line, self.rule)?;
        match &self.step {
            Step::NoMatch { anchor } => {
                write!(f, "anchor `{anchor}` seen, but the pattern does not match around it")
            }
            Step::Dropped { why } => write!(f, "matched, then dropped: {why}"),
            Step::Overlapped { by } => {
                write!(f, "matched, but `{by}` covers the same text and is more specific")
            }
            Step::Found { confidence, notes } => {
                write!(f, "found, confidence {confidence}")?;
                notes.iter().try_for_each(|note| write!(f, "; {note}"))
            }
            Step::OtherFile => write!(f, "looks at other files only"),
        }
    }
}
