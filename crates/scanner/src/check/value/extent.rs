//! Where a value begins and ends, and how it is written.

use std::ops::Range;

use super::place;
use crate::check::Candidate;
use crate::check::file_kind::Syntax;

/// Longest value in bytes.
const MAX_VALUE: usize = 512;

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// Between quotes, or between other marks that leave no doubt where it ends.
    Quoted,
    /// Without quotes, where the syntax of the file says what that means.
    Bare,
    /// Without quotes in a comment: a word of a sentence, code that is switched off, or a value.
    Comment,
}

/// Finds where the value ends: at the closing quote, or where a bare word ends.
pub(super) fn extent(c: &Candidate<'_>) -> Result<(Range<usize>, Quoting), &'static str> {
    let start = c.span.start;
    let line_end = c.line.end.max(start).min(start + MAX_VALUE);
    let rest = &c.text[start..line_end];
    let before_name = c.name.as_ref().map_or(&[][..], |name| &c.text[..name.start]);
    // `${NAME:value}`, `${NAME:-value}`: what a setting is when nobody sets it.
    if before_name.ends_with(b"${") {
        return setting_default(rest).map(|span| (start + span.start..start + span.end, Quoting::Quoted));
    }
    if let Some(quote @ (b'"' | b'\'' | b'`')) = start.checked_sub(1).map(|i| c.text[i]) {
        let escaped = start >= 2 && c.text[start - 2] == b'\\';
        let length = closing_quote(rest, quote, escaped).ok_or("its quote is not closed on the line")?;
        let length = without_line_end(&rest[..length]);
        // Spring Security's marks of a password that is no hash.
        let skip = [&b"{noop}"[..], b"{plain}"]
            .iter()
            .find(|m| rest[..length].starts_with(m))
            .map_or(0, |m| m.len());
        return Ok((start + skip..start + length, Quoting::Quoted));
    }
    if c.text[..start].ends_with(b">") || c.text[..start].ends_with(b"[CDATA[") {
        let length = rest.iter().position(|b| matches!(b, b'<' | b']'));
        return match length {
            None => Err("its element is not closed on the line"),
            Some(0) => Err("it is empty"),
            Some(length) => Ok((start..start + length, Quoting::Bare)),
        };
    }
    if place::in_query(before_name) {
        let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'`<>&#;\\)]},".contains(b);
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        return if length == 0 { Err("it is empty") } else { Ok((start..start + length, Quoting::Quoted)) };
    }
    bare(c, rest).map(|(length, quoting)| (start..start + length, quoting))
}

/// Finds where a value in a sentence ends: punctuation at its end is the sentence's. In code, only comments and strings
/// hold sentences.
pub(super) fn in_prose(c: &Candidate<'_>) -> Result<(Range<usize>, Quoting), &'static str> {
    let value = &c.text[c.span.clone()];
    let length = value.iter().rposition(|b| !b",.;:)]|*_`".contains(b)).map_or(0, |i| i + 1);
    let before = c.name.as_ref().map_or(&[][..], |name| &c.text[c.line.start.min(name.start)..name.start]);
    let quoted = c.text[..c.span.start].ends_with(b"\"") || c.text[..c.span.start].ends_with(b"'");
    let is_code = matches!(c.file.syntax, Syntax::Code | Syntax::Data | Syntax::Shell);
    if is_code && !quoted && !place::in_comment(c.file, before) {
        return Err("a name or a call in code");
    }
    Ok((c.span.start..c.span.start + length, Quoting::Quoted))
}

/// The default of `${NAME:value}` in what follows the colon.
fn setting_default(rest: &[u8]) -> Result<Range<usize>, &'static str> {
    let skip = usize::from(matches!(rest.first(), Some(b'-' | b'=')));
    let length = memchr::memchr(b'}', rest).ok_or("its reference is not closed on the line")?;
    if length <= skip || matches!(rest[skip], b'?' | b'+' | b'$') {
        return Err("a reference without a default");
    }
    let quoted = length >= skip + 2 && matches!(rest[skip], b'"' | b'\'') && rest[length - 1] == rest[skip];
    Ok(if quoted { skip + 1..length - 1 } else { skip..length })
}

/// Length and sort of a bare word.
fn bare(c: &Candidate<'_>, rest: &[u8]) -> Result<(usize, Quoting), &'static str> {
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let mut length = end;
    while length > 0
        && matches!(rest[length - 1], b',' | b';' | b')' | b']' | b'}' | b'\\')
        && !balanced(&rest[..length])
    {
        length -= 1;
    }
    if length == 0 {
        return Err("it is empty");
    }
    let name = c.name.clone().unwrap_or(c.span.start..c.span.start);
    if let Some(quote @ (b'"' | b'\'')) = rest.get(length) {
        // `"NAME=value"`: the whole setting is quoted.
        let opened = name.start.checked_sub(1).and_then(|i| c.text.get(i)) == Some(quote);
        let assigned = c.text[name.end..c.span.start] == *b"=";
        return if opened && assigned && length == end {
            Ok((length, Quoting::Quoted))
        } else {
            Err("a quote follows in the middle")
        };
    }
    let is_comment = place::in_comment(c.file, &c.text[c.line.start.min(name.start)..name.start]);
    Ok((length, if is_comment { Quoting::Comment } else { Quoting::Bare }))
}

/// The length without `\n` and `\r` at the end: the key that is typed after a password.
fn without_line_end(value: &[u8]) -> usize {
    let mut rest = value;
    while let Some(shorter) = rest.strip_suffix(b"\\n").or_else(|| rest.strip_suffix(b"\\r")) {
        rest = shorter;
    }
    rest.len()
}

/// Offset of the quote that ends a string; `escaped` for strings inside strings (`\"`).
fn closing_quote(rest: &[u8], quote: u8, escaped: bool) -> Option<usize> {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' if escaped && rest.get(at + 1) == Some(&quote) => return Some(at),
            b'\\' => at += 2,
            b if b == quote => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Whether the trailing bracket has its partner inside.
fn balanced(value: &[u8]) -> bool {
    let open = match value.last() {
        Some(b')') => b'(',
        Some(b']') => b'[',
        Some(b'}') => b'{',
        _ => return false,
    };
    value.contains(&open)
}
