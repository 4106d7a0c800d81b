//! Where each member of a YAML text stands.
//!
//! Reads the text that the YAML parser has accepted already, and knows only the shapes that configurations have: block
//! and flow collections, plain, quoted and block scalars. What it does not understand has the place of what is around
//! it; nothing but messages depends on it. Tests hold it to the places that the parser itself gives.

use std::collections::HashMap;

use super::document::step_of;

/// Line and column, from 1, of members by JSON pointer.
#[derive(Debug, Default)]
pub(crate) struct Places {
    at: HashMap<String, (usize, usize)>,
}

impl Places {
    /// Finds all members of a text. Linear in its length.
    pub(crate) fn of(text: &str) -> Places {
        let mut reader = Reader { text, at: 0, line: 1, line_start: 0, places: Places::default() };
        let mut stack: Vec<Level> = Vec::new();
        while reader.at < text.len() {
            reader.line_of_block(&mut stack);
        }
        reader.places
    }

    /// The place of the member, or of the nearest one around it; line 0 for none.
    pub(crate) fn find(&self, pointer: &str) -> (usize, usize) {
        let mut rest = pointer;
        loop {
            if let Some(at) = self.at.get(rest) {
                return *at;
            }
            match rest.rfind('/') {
                Some(cut) if cut > 0 => rest = &rest[..cut],
                _ => return (0, 0),
            }
        }
    }
}

/// A block collection that is open.
struct Level {
    indent: usize,
    /// The next index of a sequence; `None` for a mapping.
    next: Option<usize>,
    /// Pointer of the collection.
    pointer: String,
    /// Pointer of its last member, in which a deeper block would lie.
    member: String,
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    line_start: usize,
    places: Places,
}

impl Reader<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// One byte on; to be called at ASCII bytes, or until one of them comes.
    fn step(&mut self) {
        if self.byte() == Some(b'\n') {
            self.line += 1;
            self.line_start = self.at + 1;
        }
        self.at += 1;
    }

    fn skip_line(&mut self) {
        self.at = self.rest().find('\n').map_or(self.text.len(), |length| self.at + length);
    }

    fn next_line(&mut self) {
        self.skip_line();
        if self.at < self.text.len() {
            self.step();
        }
    }

    fn column(&self, at: usize) -> usize {
        self.text[self.line_start..at].chars().count() + 1
    }

    fn note(&mut self, pointer: &str) {
        let place = (self.line, self.column(self.at));
        self.places.at.entry(pointer.to_owned()).or_insert(place);
    }

    fn skip_blanks(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn is_at_end_of_line(&self) -> bool {
        matches!(self.byte(), None | Some(b'\n' | b'\r' | b'#'))
    }

    /// Reads one line in block style, with all that its last value covers.
    fn line_of_block(&mut self, stack: &mut Vec<Level>) {
        while self.byte() == Some(b' ') {
            self.at += 1;
        }
        let mut indent = self.at - self.line_start;
        self.skip_blanks();
        let is_mark = indent == 0 && (self.rest().starts_with("---") || self.rest().starts_with("..."));
        if self.is_at_end_of_line() || is_mark || self.byte() == Some(b'%') {
            return self.next_line();
        }
        // A line may open several collections: `- - a: b`.
        loop {
            if self.is_item() {
                stack_to(stack, indent, true);
                let level = open(stack, indent, true);
                let index = level.next.unwrap_or(0);
                level.next = Some(index + 1);
                level.member = format!("{}/{index}", level.pointer);
                let member = level.member.clone();
                self.at += 1;
                self.skip_blanks();
                self.note(&member);
                indent = self.at - self.line_start;
                if self.is_at_end_of_line() {
                    return self.next_line();
                }
                continue;
            }
            let Some((key, after)) = self.key() else { break };
            stack_to(stack, indent, false);
            let level = open(stack, indent, false);
            level.member = format!("{}{}", level.pointer, step_of(&key));
            let member = level.member.clone();
            self.note(&member);
            self.at = after;
            return self.value(&member, indent);
        }
        let member = stack.last().map(|level| level.member.clone()).unwrap_or_default();
        // A scalar or a flow collection: the item of a sequence, or the whole document.
        let parent = stack.last().map_or(0, |level| level.indent);
        self.value(&member, parent);
    }

    fn is_item(&self) -> bool {
        let mut bytes = self.rest().bytes();
        bytes.next() == Some(b'-') && matches!(bytes.next(), None | Some(b' ' | b'\t' | b'\n' | b'\r'))
    }

    /// The key that begins here and where its value begins, behind the colon.
    fn key(&self) -> Option<(String, usize)> {
        let line = self.rest().split('\n').next().unwrap_or_default();
        match line.as_bytes().first()? {
            b'[' | b'{' | b'|' | b'>' | b'&' | b'*' | b'!' | b'?' => None,
            quote @ (b'"' | b'\'') => {
                let length = quoted(line, *quote)?;
                let colon = line[length..].find(|c: char| !c.is_whitespace())? + length;
                let is_key = line[colon..].starts_with(':')
                    && line[colon + 1..].chars().next().is_none_or(char::is_whitespace);
                is_key.then(|| (unquote(&line[..length]), self.at + colon + 1))
            }
            _ => {
                let line = line.find(" #").map_or(line, |comment| &line[..comment]);
                let colon = line
                    .match_indices(':')
                    .map(|(at, _)| at)
                    .find(|at| line[at + 1..].chars().next().is_none_or(char::is_whitespace))?;
                Some((line[..colon].trim_end().to_owned(), self.at + colon + 1))
            }
        }
    }

    /// Passes the value of `member`, whose own line is indented by `indent`, to the beginning of the line behind it.
    fn value(&mut self, member: &str, indent: usize) {
        self.skip_blanks();
        // An anchor may stand before a value.
        while matches!(self.byte(), Some(b'&' | b'!')) {
            while !matches!(self.byte(), None | Some(b' ' | b'\n')) {
                self.at += 1;
            }
            self.skip_blanks();
        }
        if self.is_at_end_of_line() {
            return self.next_line();
        }
        match self.byte() {
            Some(b'|' | b'>') => {
                self.next_line();
                self.pass_deeper(indent);
            }
            Some(b'[' | b'{') => {
                self.flow(member);
                self.next_line();
            }
            Some(quote @ (b'"' | b'\'')) => {
                self.pass_quoted(quote);
                self.next_line();
            }
            _ => {
                // A plain scalar has no members: what is indented deeper goes on with it.
                self.next_line();
                self.pass_deeper(indent);
            }
        }
    }

    /// Passes lines that are blank or indented deeper.
    fn pass_deeper(&mut self, indent: usize) {
        while self.at < self.text.len() {
            let line = self.rest().split('\n').next().unwrap_or_default();
            let depth = line.len() - line.trim_start_matches(' ').len();
            if !line.trim().is_empty() && depth <= indent {
                return;
            }
            self.next_line();
        }
    }

    fn pass_quoted(&mut self, quote: u8) {
        let length = quoted(self.rest(), quote).unwrap_or(self.rest().len());
        let end = self.at + length;
        while self.at < end {
            self.step();
        }
    }

    /// Passes a flow collection; nested ones by a stack of pointers, not by recursion.
    fn flow(&mut self, pointer: &str) {
        struct Open {
            pointer: String,
            next: Option<usize>,
            member: String,
            expects_key: bool,
        }
        let mut stack: Vec<Open> = Vec::new();
        while let Some(byte) = self.byte() {
            match byte {
                b'[' | b'{' => {
                    let at = match stack.last_mut() {
                        None => pointer.to_owned(),
                        Some(outer) => match outer.next {
                            Some(index) => {
                                let member = format!("{}/{index}", outer.pointer);
                                self.note(&member);
                                member
                            }
                            None => outer.member.clone(),
                        },
                    };
                    let next = (byte == b'[').then_some(0);
                    stack.push(Open { pointer: at, next, member: String::new(), expects_key: true });
                    self.at += 1;
                }
                b']' | b'}' => {
                    stack.pop();
                    self.at += 1;
                    if stack.is_empty() {
                        return;
                    }
                }
                b',' => {
                    if let Some(open) = stack.last_mut() {
                        open.next = open.next.map(|index| index + 1);
                        open.expects_key = true;
                    }
                    self.at += 1;
                }
                b':' => {
                    if let Some(open) = stack.last_mut() {
                        open.expects_key = false;
                    }
                    self.at += 1;
                }
                b'#' if self.at > 0 && matches!(self.text.as_bytes()[self.at - 1], b' ' | b'\t' | b'\n') => {
                    self.next_line();
                }
                b' ' | b'\t' | b'\r' | b'\n' => self.step(),
                _ => {
                    let (start_line, start) = (self.line, self.at);
                    let place = (start_line, self.column(start));
                    let text = self.flow_scalar();
                    if let Some(open) = stack.last_mut() {
                        match open.next {
                            Some(index) => {
                                self.places.at.entry(format!("{}/{index}", open.pointer)).or_insert(place);
                            }
                            None if open.expects_key => {
                                open.member = format!("{}{}", open.pointer, step_of(&text));
                                self.places.at.entry(open.member.clone()).or_insert(place);
                            }
                            None => {}
                        }
                    }
                }
            }
        }
    }

    /// Passes a scalar in a flow collection.
    fn flow_scalar(&mut self) -> String {
        let start = self.at;
        if let Some(quote @ (b'"' | b'\'')) = self.byte() {
            self.pass_quoted(quote);
            return unquote(&self.text[start..self.at]);
        }
        while let Some(byte) = self.byte() {
            let is_colon = byte == b':'
                && matches!(
                    self.text.as_bytes().get(self.at + 1),
                    None | Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}')
                );
            let is_comment = byte == b'#' && matches!(self.text.as_bytes()[self.at - 1], b' ' | b'\t');
            if is_colon || is_comment || matches!(byte, b',' | b'[' | b']' | b'{' | b'}') {
                break;
            }
            self.step();
        }
        self.text[start..self.at].trim_end().to_owned()
    }
}

/// Leaves collections that a line of this indent does not belong to. A sequence may stand as far left as the mapping
/// around it.
fn stack_to(stack: &mut Vec<Level>, indent: usize, is_item: bool) {
    while let Some(top) = stack.last() {
        let is_over = top.indent > indent || (top.indent == indent && top.next.is_some() && !is_item);
        if !is_over {
            return;
        }
        stack.pop();
    }
}

/// The collection that the line belongs to, opened if it is its first.
fn open(stack: &mut Vec<Level>, indent: usize, is_item: bool) -> &mut Level {
    let is_open = stack.last().is_some_and(|top| top.indent == indent && top.next.is_some() == is_item);
    if !is_open {
        let pointer = stack.last().map(|top| top.member.clone()).unwrap_or_default();
        let member = pointer.clone();
        stack.push(Level { indent, next: is_item.then_some(0), pointer, member });
    }
    stack.last_mut().expect("one was pushed if there was none")
}

/// How long the quoted scalar at the beginning of `text` is.
fn quoted(text: &str, quote: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 1,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The text of a quoted scalar; the YAML reader undoes its escapes.
fn unquote(quoted: &str) -> String {
    serde_yaml::from_str::<String>(quoted).unwrap_or_else(|_| quoted.to_owned())
}

#[cfg(test)]
mod tests;
