//! A view of an entry that copies nothing: what filters, indexes and reports look at.

mod fast;

use std::borrow::Cow;
use std::ops::Deref;

use jiff::Timestamp;
use serde::Deserialize;

use super::Outcome;

/// A string borrowed from the entry, unless it has escapes. Empty when the member is missing.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The members of an event that questions are asked about, borrowed from the entry.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of Event, Who and Target")]
pub struct Slim<'a> {
    #[serde(borrow)]
    pub time: Text<'a>,
    #[serde(borrow)]
    pub logged: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    pub outcome: Outcome,
    #[serde(borrow)]
    pub reason: Text<'a>,
    #[serde(borrow)]
    pub who: SlimWho<'a>,
    #[serde(borrow)]
    pub target: SlimTarget<'a>,
    #[serde(borrow)]
    pub source: Text<'a>,
    #[serde(borrow)]
    pub lease: Text<'a>,
    pub ttl_s: Option<u64>,
    #[serde(borrow)]
    pub expires: Text<'a>,
    #[serde(borrow)]
    pub correlation: Text<'a>,
    #[serde(borrow)]
    pub fingerprint: Option<SlimFingerprint<'a>>,
    #[serde(borrow)]
    pub detail: SlimDetail<'a>,
    pub imported: bool,
}

/// Who, borrowed.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SlimWho<'a> {
    #[serde(borrow)]
    pub issuer: Text<'a>,
    #[serde(borrow)]
    pub subject: Text<'a>,
    #[serde(borrow)]
    pub repository: Text<'a>,
    #[serde(borrow, rename = "ref")]
    pub reference: Text<'a>,
    #[serde(borrow)]
    pub workflow: Text<'a>,
    #[serde(borrow)]
    pub job: Text<'a>,
    #[serde(borrow)]
    pub run_id: Text<'a>,
    #[serde(borrow)]
    pub actor: Text<'a>,
}

/// The target, borrowed.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SlimTarget<'a> {
    #[serde(borrow)]
    pub provider: Text<'a>,
    #[serde(borrow)]
    pub environment: Text<'a>,
    #[serde(borrow)]
    pub role: Text<'a>,
}

/// The fingerprint, borrowed.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SlimFingerprint<'a> {
    #[serde(borrow)]
    pub mac: Text<'a>,
}

/// The members of details that reports look at, whatever the type of the event.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SlimDetail<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub rule: Text<'a>,
    #[serde(borrow)]
    pub token_id: Text<'a>,
    #[serde(borrow)]
    pub due: Text<'a>,
    #[serde(borrow)]
    pub rotate_by: Text<'a>,
    #[serde(borrow)]
    pub what: Text<'a>,
    #[serde(borrow)]
    pub by: Text<'a>,
}

impl<'a> Slim<'a> {
    /// Reads an entry. `None` if it is not an event.
    pub fn parse(entry: &'a [u8]) -> Option<Slim<'a>> {
        let text = std::str::from_utf8(entry).ok()?;
        fast::parse(text).or_else(|| Slim::general(text))
    }

    /// Reads an entry of any form.
    fn general(text: &'a str) -> Option<Slim<'a>> {
        serde_json::from_str(text).ok()
    }

    /// When it happened, in milliseconds since 1970; 0 if it does not say.
    pub fn time_ms(&self) -> i64 {
        millis(&self.time)
    }

    /// The identity that reports count by: the repository if there is one, else the subject.
    pub fn identity(&self) -> &str {
        if self.who.repository.is_empty() { &self.who.subject } else { &self.who.repository }
    }
}

/// RFC 3339 text as milliseconds since 1970; 0 if it is not one.
pub(crate) fn millis(text: &str) -> i64 {
    own_millis(text.as_bytes())
        .unwrap_or_else(|| text.parse::<Timestamp>().map_or(0, |at| at.as_millisecond()))
}

/// The form that this program writes, `2026-11-24T10:20:30.123456Z`, several times faster than the general parser.
fn own_millis(text: &[u8]) -> Option<i64> {
    let text: &[u8; 27] = text.try_into().ok()?;
    let shape = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
    if shape.iter().any(|(place, mark)| text[*place] != *mark) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0i64, |sum, digit| match digit {
            b'0'..=b'9' => Some(sum * 10 + i64::from(digit - b'0')),
            _ => None,
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let usual =
        (1..=12).contains(&month) && (1..=28).contains(&day) && hour < 24 && minute < 60 && second < 60;
    // The last days of a month, leap seconds and the like are for the general parser to judge.
    if !usual || year < 1 {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + number(20..26)? / 1000)
}
