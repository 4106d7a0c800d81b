//! Words of the ignore file's lines, and how they are quoted.

use crate::path::printable;

/// A word of an entry.
pub(super) enum Word {
    /// `--`, not in quotes: the reason follows.
    Mark,
    /// Anything else, without its quotes.
    Text(String),
}

/// Takes the next word off: up to a space outside of quotes. Quotes stand at its beginning or after `=`.
pub(super) fn word(rest: &mut &str) -> Result<Option<Word>, &'static str> {
    let is_space = |c: char| c == ' ' || c == '\t';
    *rest = rest.trim_start_matches(is_space);
    if rest.is_empty() {
        return Ok(None);
    }
    let stop = rest.find(|c: char| is_space(c) || c == '"').unwrap_or(rest.len());
    let (plain, tail) = rest.split_at(stop);
    if !tail.starts_with('"') {
        *rest = tail;
        return Ok(Some(if plain == "--" { Word::Mark } else { Word::Text(plain.to_owned()) }));
    }
    if !plain.is_empty() && !plain.ends_with('=') {
        return Err("a `\"` inside of a word; put the whole word in quotes and write `\\\"` for it");
    }
    let (text, tail) = unquoted(&tail[1..])?;
    if !tail.is_empty() && !tail.starts_with(is_space) {
        return Err("text right after a closing `\"`; put a space between");
    }
    *rest = tail;
    Ok(Some(Word::Text(format!("{plain}{text}"))))
}

/// Reads a text up to its closing quote; gives what comes after it too.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    const BAD: &str = "in quotes, `\\` begins only `\\\"`, `\\\\` and `\\u{HEX}`";
    let mut out = String::new();
    let mut rest = text;
    loop {
        let stop = rest.find(['"', '\\']).ok_or("a `\"` is not closed")?;
        out.push_str(&rest[..stop]);
        let tail = &rest[stop + 1..];
        if rest[stop..].starts_with('"') {
            return Ok((out, tail));
        }
        if let Some(c) = tail.chars().next().filter(|c| ['"', '\\'].contains(c)) {
            out.push(c);
            rest = &tail[1..];
        } else {
            let (digits, tail) = tail.strip_prefix("u{").and_then(|t| t.split_once('}')).ok_or(BAD)?;
            out.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or(BAD)?);
            rest = tail;
        }
    }
}

/// The text as a word of the file: as it is, or in quotes where it must.
pub(super) fn quoted(text: &str) -> String {
    let is_odd = |c: char| c.is_whitespace() || c == '"' || escape(c).is_some();
    if !text.is_empty() && text != "--" && !text.contains(is_odd) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match escape(c) {
            Some(escape) => out.push_str(&escape),
            None if c == '"' || c == '\\' => out.extend(['\\', c]),
            None => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The escape of a character that would not print as itself.
fn escape(c: char) -> Option<String> {
    let mut buffer = [0; 4];
    let text = c.encode_utf8(&mut buffer);
    (printable(text.as_bytes()) != *text).then(|| format!("\\u{{{:x}}}", u32::from(c)))
}
