//! Reads the small XML documents that AWS's query protocol answers with.
//!
//! Far less than XML on purpose: elements, text, the five named entities and numeric ones. A document type, CDATA,
//! processing instructions and namespaced names are refused; attributes are skipped. Bounded in depth and number, one
//! pass, no recursion.

use zeroize::Zeroizing;

/// The deepest nesting that is read; AWS's answers nest five deep.
const MAX_DEPTH: usize = 16;
/// The most elements that are read.
const MAX_ELEMENTS: usize = 512;

/// An element.
pub(super) struct Element {
    name: String,
    // May be a secret key.
    text: Zeroizing<String>,
    children: Vec<Element>,
}

/// Why a document was not read, and at which byte.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the XML that was expected, at byte {at}: {what}")]
pub(super) struct XmlError {
    at: usize,
    what: &'static str,
}

impl Element {
    /// Reads a document and gives its root.
    pub(super) fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| XmlError { at: e.valid_up_to(), what: "not UTF-8" })?;
        Reader { text, at: 0 }.document()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text of the element that lies below this one by these names; `None` when there is none, or more than one on
    /// the way: what is ambiguous is not used.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        let mut here = self;
        for name in path {
            let mut found = here.children.iter().filter(|child| child.name == *name);
            here = found.next()?;
            if found.next().is_some() {
                return None;
            }
        }
        here.children.is_empty().then(|| here.text.trim())
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Element, XmlError> {
        self.space();
        if self.rest().starts_with("<?xml ") {
            self.until("?>", "an XML declaration without end")?;
        }
        let mut open: Vec<Element> = Vec::new();
        let mut elements = 0;
        loop {
            self.misc(open.is_empty())?;
            if let Some(inner) = open.last_mut() {
                let end = self.rest().find('<').ok_or(self.wrong("an element without end"))?;
                let piece = &self.text[self.at..self.at + end];
                unescape(piece, &mut inner.text).map_err(|what| self.wrong(what))?;
                self.at += end;
                if self.rest().starts_with("<!--") {
                    continue;
                }
            }
            if self.eat("</") {
                let name = self.name()?;
                self.space();
                self.need(">")?;
                let done = open.pop().ok_or(self.wrong("an end without a beginning"))?;
                if done.name != name {
                    return Err(self.wrong("an end of another name"));
                }
                if let Some(root) = place(&mut open, done) {
                    return self.end(root);
                }
                continue;
            }
            self.need("<")?;
            elements += 1;
            if elements > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                return Err(self.wrong("too many elements, or nested too deep"));
            }
            let name = self.name()?.to_owned();
            let is_empty = self.attributes()?;
            let element = Element { name, text: Zeroizing::new(String::new()), children: Vec::new() };
            if !is_empty {
                open.push(element);
            } else if let Some(root) = place(&mut open, element) {
                return self.end(root);
            }
        }
    }

    /// What stands before or between elements: comments, and outside the root white space.
    fn misc(&mut self, is_outside: bool) -> Result<(), XmlError> {
        loop {
            if is_outside {
                self.space();
            }
            if !self.eat("<!--") {
                return Ok(());
            }
            self.until("-->", "a comment without end")?;
        }
    }

    fn end(mut self, root: Element) -> Result<Element, XmlError> {
        self.misc(true)?;
        if self.rest().is_empty() { Ok(root) } else { Err(self.wrong("more after the root")) }
    }

    /// Skips attributes up to the end of the tag; whether the element is empty.
    fn attributes(&mut self) -> Result<bool, XmlError> {
        loop {
            let before = self.at;
            self.space();
            if self.eat("/>") {
                return Ok(true);
            }
            if self.eat(">") {
                return Ok(false);
            }
            if before == self.at {
                return Err(self.wrong("no space before an attribute"));
            }
            self.name()?;
            self.need("=")?;
            let quote = if self.eat("\"") { "\"" } else { self.need("'").map(|()| "'")? };
            let start = self.at;
            self.until(quote, "an attribute without end")?;
            if self.text[start..self.at].contains('<') {
                return Err(self.wrong("a `<` in an attribute"));
            }
        }
    }

    fn name(&mut self) -> Result<&'a str, XmlError> {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 || !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.wrong("a name was expected"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &'static str) -> Result<(), XmlError> {
        if self.eat(token) { Ok(()) } else { Err(self.wrong("a `<`, `>`, `=` or quote was expected")) }
    }

    fn until(&mut self, token: &str, what: &'static str) -> Result<(), XmlError> {
        let length = self.rest().find(token).ok_or(self.wrong(what))?;
        self.at += length + token.len();
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> XmlError {
        XmlError { at: self.at, what }
    }
}

/// Puts a finished element into the one around it; gives it back when it is the root.
fn place(open: &mut [Element], done: Element) -> Option<Element> {
    match open.last_mut() {
        Some(outer) => {
            outer.children.push(done);
            None
        }
        None => Some(done),
    }
}

/// Adds a piece of text with its entities resolved.
fn unescape(piece: &str, out: &mut String) -> Result<(), &'static str> {
    out.reserve(piece.len());
    let mut rest = piece;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (entity, after) = rest[at + 1..].split_once(';').ok_or("an entity without end")?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => numeric(entity).ok_or("an unknown entity")?,
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

fn numeric(entity: &str) -> Option<char> {
    let digits = entity.strip_prefix('#')?;
    let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |hex| (hex, 16));
    if digits.is_empty() || digits.len() > 7 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).ok()?;
    char::from_u32(code).filter(|c| *c != '\0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(xml: &str, path: &[&str]) -> Option<String> {
        Element::parse(xml.as_bytes()).ok()?.text(path).map(str::to_owned)
    }

    #[test]
    fn reads_an_answer() {
        let xml = "<?xml version=\"1.0\"?>\n<!-- c --><R xmlns=\"https://sts\">\n <A><B>x&amp;&#x41;&#66;</B><C/></A>\n</R>\n";
        assert_eq!(text(xml, &["A", "B"]).as_deref(), Some("x&AB"));
        assert_eq!(text(xml, &["A", "C"]).as_deref(), Some(""));
        assert_eq!(text(xml, &["A"]), None);
        assert_eq!(text(xml, &["A", "D"]), None);
        assert_eq!(text("<R><!-- x --><A>1<!-- y -->2</A></R>", &["A"]).as_deref(), Some("12"));
    }

    #[test]
    fn what_is_ambiguous_is_not_used() {
        assert_eq!(text("<R><A>1</A><A>2</A></R>", &["A"]), None);
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "x",
            "<R>",
            "<R></S>",
            "</R>",
            "<R/><R/>",
            "<R>&x;</R>",
            "<R>&#0;</R>",
            "<R>&#xD800;</R>",
            "<R>&amp</R>",
            "<!DOCTYPE R [<!ENTITY a 'b'>]><R>&a;</R>",
            "<R><![CDATA[x]]></R>",
            "<R><?pi?></R>",
            "<R a=1/>",
            "<R a='<'/>",
            "<R a='1'b='2'/>",
            "<R a='1/>",
            "<1/>",
            "<R>\u{0}<",
        ] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "<a>".repeat(17), "</a>".repeat(17));
        assert!(Element::parse(deep.as_bytes()).is_err());
        let wide = format!("<a>{}</a>", "<b/>".repeat(600));
        assert!(Element::parse(wide.as_bytes()).is_err());
        assert!(Element::parse(b"<R>\xff</R>").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(xml in "[<>/a&;#x='\" !?\\-\\[]{0,60}") {
            let _ = Element::parse(xml.as_bytes());
        }

        #[test]
        fn what_was_escaped_reads_back(value in "[ -~äß€]{0,40}") {
            let escaped = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let read = text(&format!("<R><A>{escaped}</A></R>"), &["A"]);
            prop_assert_eq!(read.as_deref(), Some(value.trim()));
        }
    }
}
