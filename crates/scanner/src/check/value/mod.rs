//! Values without a format: is what stands behind `password =` a password?
//!
//! A rule for such values knows a name and a place. This module looks at the rest: how the value is written, whether
//! it refers to something, is a text for people, a name in code, a type, a path, a hash, a word. It prefers to be
//! silent: what a person would not call a secret at a glance is dropped, what is weak gets low confidence.

mod extent;
mod judge;
mod name;
mod place;
mod shape;
mod words;

use std::ops::Range;

use super::{Candidate, placeholder};
use crate::rule::ValueKind;

use name::names_password;

pub(super) use shape::is_reference;
pub(super) use words::{is_dull, is_identifier, looks_chosen, word_says_no};

/// The result of the analysis.
pub(crate) enum Analysis {
    /// No secret; why.
    Drop(String),
    /// A secret.
    Keep {
        /// Where it really begins and ends.
        span: Range<usize>,
        /// Whether its confidence is low.
        weaker: bool,
        /// What made it so.
        why: Option<String>,
    },
}

/// Analyses the value that a generic rule found.
pub(crate) fn analyse(kind: ValueKind, c: &Candidate<'_>) -> Analysis {
    let extent = if kind == ValueKind::Prose { extent::in_prose(c) } else { extent::extent(c) };
    let (span, quoting) = match extent {
        Ok(found) => found,
        Err(why) => return Analysis::Drop(why.into()),
    };
    let value = &c.text[span.clone()];
    let name = c.name.as_ref().map(|n| c.text[n.clone()].to_ascii_lowercase()).unwrap_or_default();
    let drop = name::says_no(&name)
        .or_else(|| place::says_no(c, &span, &name))
        .or_else(|| shape::says_no(value, quoting, c))
        .or_else(|| placeholder::reason(value))
        .or_else(|| word_says_no(value, &name));
    if let Some(why) = drop {
        return Analysis::Drop(format!("not a secret value: {why}"));
    }
    let judged = match kind {
        ValueKind::Password => judge::password(value, quoting, c),
        ValueKind::Token if names_password(&name) => judge::password(value, quoting, c),
        ValueKind::Token => judge::token(value, &name, quoting, c),
        ValueKind::Prose if name.ends_with(b"token") => judge::token(value, &name, quoting, c),
        ValueKind::Prose => judge::told(value, c),
        ValueKind::Embedded | ValueKind::KubernetesSecret => Ok(None),
    };
    match judged {
        Err(why) => Analysis::Drop(format!("not a secret value: {why}")),
        Ok(None) => Analysis::Keep { span, weaker: false, why: None },
        Ok(Some(why)) => Analysis::Keep { span, weaker: true, why: Some(format!("{why}: less sure")) },
    }
}

#[cfg(test)]
mod tests;
