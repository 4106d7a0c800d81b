//! The quick way to a [`Slim`]: one pass over an entry of the form that this program writes.
//!
//! It gives up on everything else (spaces, escapes, floats, members twice) and leaves it to the general parser. So it
//! may be strict, but must never take what that one refuses, nor read it otherwise: a property test holds the two
//! together.

use std::borrow::Cow;

use super::{Slim, SlimDetail, SlimFingerprint, SlimTarget, SlimWho, Text};
use crate::event::Outcome;

/// Objects and lists inside one another; the general parser allows more.
const DEPTH: u32 = 32;

/// Reads an entry; `None` says nothing about it.
pub(super) fn parse(entry: &str) -> Option<Slim<'_>> {
    let mut scan = Scan { text: entry, bytes: entry.as_bytes(), at: 0 };
    let mut event = Slim::default();
    let mut seen = 0;
    scan.members(|scan, name| {
        match name {
            "time" => event.time = scan.once(&mut seen, 0)?,
            "logged" => event.logged = scan.once(&mut seen, 1)?,
            "type" => event.kind = scan.once(&mut seen, 2)?,
            "outcome" => {
                event.outcome = match &*scan.once(&mut seen, 3)? {
                    "success" => Outcome::Success,
                    "refused" => Outcome::Refused,
                    "failed" => Outcome::Failed,
                    _ => return None,
                }
            }
            "reason" => event.reason = scan.once(&mut seen, 4)?,
            "source" => event.source = scan.once(&mut seen, 5)?,
            "lease" => event.lease = scan.once(&mut seen, 6)?,
            "expires" => event.expires = scan.once(&mut seen, 7)?,
            "correlation" => event.correlation = scan.once(&mut seen, 8)?,
            "ttl_s" => {
                note(&mut seen, 9)?;
                event.ttl_s = Some(scan.number()?);
            }
            "who" => {
                note(&mut seen, 10)?;
                event.who = who(scan)?;
            }
            "target" => {
                note(&mut seen, 11)?;
                event.target = target(scan)?;
            }
            "fingerprint" => {
                note(&mut seen, 12)?;
                event.fingerprint = Some(fingerprint(scan)?);
            }
            "detail" => {
                note(&mut seen, 13)?;
                event.detail = detail(scan)?;
            }
            "imported" => {
                note(&mut seen, 14)?;
                event.imported = scan.truth()?;
            }
            _ => scan.skip(DEPTH)?,
        }
        Some(())
    })?;
    (scan.at == scan.bytes.len()).then_some(event)
}

fn who<'a>(scan: &mut Scan<'a>) -> Option<SlimWho<'a>> {
    let (mut who, mut seen) = (SlimWho::default(), 0);
    scan.members(|scan, name| {
        match name {
            "issuer" => who.issuer = scan.once(&mut seen, 0)?,
            "subject" => who.subject = scan.once(&mut seen, 1)?,
            "repository" => who.repository = scan.once(&mut seen, 2)?,
            "ref" => who.reference = scan.once(&mut seen, 3)?,
            "workflow" => who.workflow = scan.once(&mut seen, 4)?,
            "job" => who.job = scan.once(&mut seen, 5)?,
            "run_id" => who.run_id = scan.once(&mut seen, 6)?,
            "actor" => who.actor = scan.once(&mut seen, 7)?,
            _ => scan.skip(DEPTH)?,
        }
        Some(())
    })?;
    Some(who)
}

fn target<'a>(scan: &mut Scan<'a>) -> Option<SlimTarget<'a>> {
    let (mut target, mut seen) = (SlimTarget::default(), 0);
    scan.members(|scan, name| {
        match name {
            "provider" => target.provider = scan.once(&mut seen, 0)?,
            "environment" => target.environment = scan.once(&mut seen, 1)?,
            "role" => target.role = scan.once(&mut seen, 2)?,
            _ => scan.skip(DEPTH)?,
        }
        Some(())
    })?;
    Some(target)
}

fn fingerprint<'a>(scan: &mut Scan<'a>) -> Option<SlimFingerprint<'a>> {
    let (mut fingerprint, mut seen) = (SlimFingerprint::default(), 0);
    scan.members(|scan, name| {
        match name {
            "mac" => fingerprint.mac = scan.once(&mut seen, 0)?,
            _ => scan.skip(DEPTH)?,
        }
        Some(())
    })?;
    Some(fingerprint)
}

fn detail<'a>(scan: &mut Scan<'a>) -> Option<SlimDetail<'a>> {
    let (mut detail, mut seen) = (SlimDetail::default(), 0);
    scan.members(|scan, name| {
        match name {
            "name" => detail.name = scan.once(&mut seen, 0)?,
            "rule" => detail.rule = scan.once(&mut seen, 1)?,
            "token_id" => detail.token_id = scan.once(&mut seen, 2)?,
            "due" => detail.due = scan.once(&mut seen, 3)?,
            "rotate_by" => detail.rotate_by = scan.once(&mut seen, 4)?,
            "what" => detail.what = scan.once(&mut seen, 5)?,
            "by" => detail.by = scan.once(&mut seen, 6)?,
            _ => scan.skip(DEPTH)?,
        }
        Some(())
    })?;
    Some(detail)
}

/// Notes that a member was seen; `None` if it was before.
fn note(seen: &mut u32, bit: u32) -> Option<()> {
    let mask = 1 << bit;
    let before = *seen & mask;
    *seen |= mask;
    (before == 0).then_some(())
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// The members of an object: `each` reads the value behind a name.
    fn members(&mut self, mut each: impl FnMut(&mut Scan<'a>, &'a str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.take(b':')?;
            each(self, name)?;
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        let end = self.bytes[start..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        self.at = start + end;
        self.take(b'"')?;
        self.text.get(start..start + end)
    }

    /// A string of a member that stands once.
    fn once(&mut self, seen: &mut u32, bit: u32) -> Option<Text<'a>> {
        note(seen, bit)?;
        Some(Text(Cow::Borrowed(self.string()?)))
    }

    /// A whole number as it is usually written.
    fn number(&mut self) -> Option<u64> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = self.text.get(self.at..self.at + digits)?;
        let usual = (1..=18).contains(&digits) && (digits == 1 || !text.starts_with('0'));
        self.at += digits;
        // What follows a number is part of it, in floats.
        let ends = matches!(self.peek()?, b',' | b'}' | b']');
        if usual && ends { text.parse().ok() } else { None }
    }

    fn truth(&mut self) -> Option<bool> {
        let rest = &self.bytes[self.at..];
        let (value, length) = if rest.starts_with(b"true") {
            (true, 4)
        } else {
            (rest.starts_with(b"false").then_some(false)?, 5)
        };
        self.at += length;
        Some(value)
    }

    /// Any value, which must be right all the same.
    fn skip(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => self.members(|scan, _| scan.skip(depth)),
            b'[' => {
                self.at += 1;
                if self.take(b']').is_some() {
                    return Some(());
                }
                loop {
                    self.skip(depth)?;
                    match self.peek()? {
                        b',' => self.at += 1,
                        _ => return self.take(b']'),
                    }
                }
            }
            b't' | b'f' => self.truth().map(drop),
            b'n' => {
                self.at += 4;
                (self.bytes.get(self.at - 4..self.at)? == b"null").then_some(())
            }
            _ => self.number().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;
    use crate::event::Slim;

    const WHOLE: &str = r#"{"seq":17,"logged":"2026-11-24T10:20:30.123456Z","v":1,"time":"2026-11-24T10:20:30.000000Z","type":"lease.issued","outcome":"refused","reason":"ref is not main","who":{"issuer":"https://ci.example","subject":"repo:acme/shop","repository":"acme/shop","ref":"refs/heads/main","workflow":"deploy.yml","job":"deploy","run_id":"42","actor":"ada","team":["a",{"b":null}]},"target":{"provider":"aws","environment":"prod","role":"deploy","scope":"*"},"source":"192.0.2.1","lease":"lease-ü","ttl_s":900,"expires":"2026-11-24T10:35:30.000000Z","correlation":"req-1","fingerprint":{"key":"k1","mac":"00ff"},"imported":true,"detail":{"name":"n","rule":"r","token_id":"t","due":"d","rotate_by":"b","what":"w","by":"o","version":3,"failed":[]},"new":{"x":[1,2,{"y":false}]}}"#;

    #[test]
    fn the_usual_form_is_read_the_quick_way() {
        let fast = parse(WHOLE).unwrap();
        assert_eq!(fast, Slim::general(WHOLE).unwrap());
        assert_eq!((&*fast.lease, fast.ttl_s, fast.imported), ("lease-ü", Some(900), true));
        assert_eq!(parse("{}"), Some(Slim::default()));
    }

    #[test]
    fn what_is_unusual_is_left_to_the_general_parser() {
        for unusual in [
            "",
            "{",
            "{}x",
            "[]",
            r#"{"time":"a","time":"b"}"#,
            r#"{"time":7}"#,
            r#"{"time": "a"}"#,
            r#"{"ttl_s":007}"#,
            r#"{"ttl_s":1.5}"#,
            r#"{"ttl_s":1e3}"#,
            r#"{"ttl_s":-1}"#,
            r#"{"ttl_s":null}"#,
            r#"{"x":"\u0041"}"#,
            r#"{"x":nul}"#,
            r#"{"x":truE}"#,
            r#"{"x":[1,]}"#,
            r#"{"x":1,}"#,
            r#"{"outcome":"new"}"#,
            "{\"x\":\"a\tb\"}",
            r#"{"who":null}"#,
        ] {
            assert!(parse(unusual).is_none(), "{unusual}");
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(parse(&deep).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever the quick way takes, the general parser takes, and reads alike.
        #[test]
        fn the_quick_way_never_differs(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, 0..16usize), 0..4),
        ) {
            let mut bytes = WHOLE.as_bytes().to_vec();
            for (at, kind, with) in changes {
                let at = at.index(bytes.len());
                let with = br#"{}[],:"\01-.e tn"#[with];
                match kind {
                    0 => bytes[at] = with,
                    1 => { bytes.remove(at); }
                    2 => bytes.insert(at, with),
                    _ => { let tail = bytes.split_off(at); bytes.truncate(at / 2); bytes.extend(tail); }
                }
            }
            if let Ok(text) = String::from_utf8(bytes) && let Some(fast) = parse(&text) {
                prop_assert_eq!(Some(fast), Slim::general(&text));
            }
        }
    }
}
