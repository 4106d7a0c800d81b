//! The report for a person at a terminal.
//!
//! Readable at 80 columns: texts wrap, excerpts are cropped around the secret; only paths and addresses stay whole, so
//! that they can be copied. Nothing from outside begins a line: a build server takes a line that begins with `::` for
//! an order.

use std::io;

use anstyle::{AnsiColor, Style as Ansi};

use super::veil::{Veil, prose};
use super::whereabouts::{Whereabouts, further};
use super::{Allowed, AllowedBy, Report, Style, location, summary};
use crate::finding::{Finding, Place};
use crate::path::printable;
use crate::rule::Severity;

/// Columns of labels with the blanks around them.
const INDENT: usize = 14;
/// Fewest columns for text: narrower terminals break lines by themselves.
const MIN_TEXT: usize = 24;
/// Further places that are listed when asked for.
const PLACES: usize = 50;
/// Things not read that are named without `--coverage`.
const GAPS: usize = 5;

const LABEL: Ansi = Ansi::new().dimmed();
const STRONG: Ansi = Ansi::new().bold();
const ALARM: Ansi = AnsiColor::Red.on_default().bold();
const CALM: Ansi = AnsiColor::Green.on_default();

pub(super) fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let veil = if style.show_secrets { Veil::default() } else { Veil::over(report)? };
    let mut page = Page { out, style, veil: &veil };
    let mut committed = false;
    for finding in &report.findings {
        let whereabouts = Whereabouts::of(finding);
        committed |= whereabouts.is_committed();
        page.finding(finding, &whereabouts)?;
    }
    let mut shown = false;
    for allowed in report.allowed.iter().filter(|a| a.added_by_change || style.verbose) {
        page.allowed(allowed)?;
        shown = true;
    }
    if shown {
        writeln!(page.out)?;
    }
    page.summary(report, committed)
}

struct Page<'a> {
    out: &'a mut dyn io::Write,
    style: &'a Style,
    veil: &'a Veil<'a>,
}

impl Page<'_> {
    fn finding(&mut self, finding: &Finding, whereabouts: &Whereabouts<'_>) -> io::Result<()> {
        let place = finding.place();
        let rule = &finding.rule;
        let tail = format!("[{}, {} confidence]", prose(&rule.id), finding.confidence);
        self.head(color(rule.severity), rule.severity.as_str(), &prose(&rule.name), &tail)?;
        let address = self.link(place, &location::address(place, self.veil));
        writeln!(self.out, "{} {address}", self.paint(LABEL, "  -->"))?;
        self.excerpt(finding, place)?;
        if self.style.show_secrets {
            let secret = printable(finding.secret.expose());
            writeln!(self.out, "{}{secret}", self.paint(LABEL, &label("secret")))?;
        }
        if let Some((commit, at)) = whereabouts.introduced {
            let mut text = location::commit(commit, self.veil);
            if at.path != place.path {
                text += &format!(" at {}", location::address(at, self.veil));
            }
            self.field("introduced", &text)?;
        } else if whereabouts.shallow {
            self.field("introduced", "before the boundary of this shallow clone")?;
        }
        self.field("now", &whereabouts.now(self.veil))?;
        self.further(finding)?;
        for (name, value) in &finding.details {
            self.field(name, &self.veil.text(value))?;
        }
        if self.style.verbose {
            for note in &finding.notes {
                self.field("why", &self.veil.text(note))?;
            }
        }
        self.field("to do", &prose(&rule.remediation))?;
        if !rule.rotate.is_empty() {
            self.field("", &prose(&rule.rotate))?;
        }
        self.field("fingerprint", finding.fingerprint.as_str())?;
        writeln!(self.out)
    }

    /// `word: name [tail]`, the tail on a line of its own where it does not fit.
    fn head(&mut self, ansi: Ansi, word: &str, name: &str, tail: &str) -> io::Result<()> {
        let used = word.len() + 2 + columns(name) + 1 + columns(tail);
        let gap = if used > self.style.width { "\n      " } else { " " };
        let (word, name, tail) = (self.paint(ansi, word), self.paint(STRONG, name), self.paint(LABEL, tail));
        writeln!(self.out, "{word}: {name}{gap}{tail}")
    }

    /// The line of the secret after its number, cut to the width.
    fn excerpt(&mut self, finding: &Finding, place: &Place) -> io::Result<()> {
        let gutter = format!("{:>5} | ", place.line);
        let preview = finding.secret.redacted();
        let room = self.style.width.saturating_sub(gutter.len()).max(MIN_TEXT);
        let text = crop(&self.veil.text(&place.excerpt), &preview, room);
        let text = match text.split_once(&preview) {
            Some((before, after)) => format!("{before}{}{after}", self.paint(ALARM, &preview)),
            None => text,
        };
        writeln!(self.out, "{}{text}", self.paint(LABEL, &gutter))
    }

    fn further(&mut self, finding: &Finding) -> io::Result<()> {
        let mut more = further(finding);
        if !self.style.verbose {
            let n = more.count() as u64;
            return match n {
                0 => Ok(()),
                n => {
                    let text =
                        format!("{} (--verbose lists them)", summary::count(n, "more place", "more places"));
                    self.field("also at", &text)
                }
            };
        }
        for (at, place) in more.by_ref().take(PLACES).enumerate() {
            let address = self.link(place, &location::address(place, self.veil));
            let label = self.paint(LABEL, &label(if at == 0 { "also at" } else { "" }));
            writeln!(self.out, "{label}{address}")?;
        }
        match more.count() as u64 {
            0 => Ok(()),
            n => self.field("", &format!("and {}", summary::count(n, "more place", "more places"))),
        }
    }

    fn allowed(&mut self, allowed: &Allowed) -> io::Result<()> {
        let finding = &allowed.finding;
        let by = match &allowed.by {
            AllowedBy::Inline { marker, .. } => format!("inline marker {marker}"),
            AllowedBy::IgnoreFile { line, .. } => format!("ignore file, line {line}"),
            AllowedBy::Baseline => "baseline".to_owned(),
        };
        let tail = format!("[{}, {}]", prose(&finding.rule.id), finding.rule.severity);
        self.head(CALM, "allowed", &prose(&finding.rule.name), &tail)?;
        let place = finding.place();
        let address = self.link(place, &location::address(place, self.veil));
        writeln!(self.out, "{} {address}", self.paint(LABEL, "  -->"))?;
        let reason = self.veil.text(allowed.by.reason());
        self.field("by", &if reason.is_empty() { by } else { format!("{by}: {reason}") })?;
        if allowed.added_by_change {
            self.field("note", "the change under scan allows this itself")?;
        }
        self.field("fingerprint", finding.fingerprint.as_str())
    }

    fn summary(&mut self, report: &Report, committed: bool) -> io::Result<()> {
        let incomplete = summary::incomplete(report);
        if !self.style.quiet {
            let verdict = format!("{}.", summary::verdict(report));
            let is_clean = report.findings.is_empty() && incomplete.is_none() && !report.coverage.is_empty();
            self.sentence(if is_clean { CALM } else { ALARM }, &verdict)?;
            self.line("", &format!("{}.", summary::read(report)))?;
            let counted = summary::allowed(report).into_iter().chain(summary::hidden(report));
            for sentence in counted {
                self.line("", &format!("{sentence}."))?;
            }
            let left_out = summary::left_out(report);
            if !left_out.is_empty() {
                let hint = if self.style.coverage { "" } else { " (--coverage lists them)" };
                self.line("", &format!("Left out: {}{hint}.", left_out.join(", ")))?;
            }
            for notice in &report.notices {
                self.line("notice: ", &self.veil.text(notice))?;
            }
            if committed {
                self.line("", "Revoke first: what was committed stays in the history and in every clone.")?;
            }
            if !report.findings.is_empty() {
                let hint =
                    "False alarm? `claviger explain FINGERPRINT` says why it was found and how to accept it.";
                self.line("", hint)?;
            }
        }
        if self.style.coverage {
            self.skipped(report, usize::MAX)?;
        }
        let Some(sentence) = incomplete else { return Ok(()) };
        self.sentence(ALARM, sentence)?;
        for gap in summary::gaps(report) {
            self.line("  not read: ", &gap)?;
        }
        if self.style.coverage { Ok(()) } else { self.skipped(report, GAPS) }
    }

    /// Names what was not read: everything, or a few of those that make the scan incomplete.
    fn skipped(&mut self, report: &Report, most: usize) -> io::Result<()> {
        let list = if most == usize::MAX { report.coverage.skipped() } else { summary::named_gaps(report) };
        for skip in list.iter().take(most) {
            let detail = match self.veil.text(&skip.detail) {
                text if text.is_empty() => text,
                text => format!(" ({text})"),
            };
            let reason = self.paint(LABEL, skip.reason.as_str());
            writeln!(self.out, "    {reason} {}{detail}", self.veil.text(&skip.what))?;
        }
        let total: u64 = report.coverage.counts().map(|(_, n)| n).sum();
        if most == usize::MAX && total > list.len() as u64 {
            let n = summary::count(total - list.len() as u64, "more is", "more are");
            writeln!(self.out, "    {n} counted, but not named")?;
        } else if list.len() > most {
            writeln!(self.out, "    and {} more (--coverage lists them)", list.len() - most)?;
        }
        Ok(())
    }

    /// A label and a text beside it, wrapped.
    fn field(&mut self, name: &str, text: &str) -> io::Result<()> {
        let room = self.style.width.saturating_sub(INDENT).max(MIN_TEXT);
        for (at, line) in wrap(text, room).iter().enumerate() {
            let label = label(if at == 0 { name } else { "" });
            writeln!(self.out, "{}{line}", self.paint(LABEL, &label))?;
        }
        Ok(())
    }

    /// A text that is wrapped, after a prefix of ours.
    fn line(&mut self, prefix: &str, text: &str) -> io::Result<()> {
        let room = self.style.width.saturating_sub(prefix.len()).max(MIN_TEXT);
        for (at, line) in wrap(text, room).iter().enumerate() {
            let prefix = if at == 0 { prefix } else { &" ".repeat(prefix.len()) };
            writeln!(self.out, "{}{line}", self.paint(LABEL, prefix))?;
        }
        Ok(())
    }

    /// A text of ours in one colour, wrapped.
    fn sentence(&mut self, ansi: Ansi, text: &str) -> io::Result<()> {
        for line in wrap(text, self.style.width.max(MIN_TEXT)) {
            writeln!(self.out, "{}", self.paint(ansi, &line))?;
        }
        Ok(())
    }

    fn paint(&self, ansi: Ansi, text: &str) -> String {
        if self.style.color && !text.trim().is_empty() {
            format!("{ansi}{text}{ansi:#}")
        } else {
            text.to_owned()
        }
    }

    /// OSC 8: the text as a link to the file, for what is on disk.
    fn link(&self, place: &Place, text: &str) -> String {
        let text = self.paint(STRONG, text);
        match location::file_url(place).filter(|_| self.style.hyperlinks) {
            Some(url) => format!("\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\"),
            None => text,
        }
    }
}

fn label(name: &str) -> String {
    format!("  {name:<11} ")
}

fn color(severity: Severity) -> Ansi {
    match severity {
        Severity::Critical => ALARM,
        Severity::High => AnsiColor::Red.on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::Low => AnsiColor::Cyan.on_default(),
    }
}

/// Columns of a text, counting every character as one: wide ones only make a line break late.
fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Breaks a text at blanks. Words longer than a line stay whole, and none that a build server would obey begins one.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let columns = columns(word);
        match lines.last_mut() {
            Some(line) if used + 1 + columns <= width || word.starts_with("::") => {
                line.push(' ');
                line.push_str(word);
                used += 1 + columns;
            }
            _ => {
                lines.push(word.to_owned());
                used = columns;
            }
        }
    }
    lines
}

/// At most `width` columns of a line, those around the first `focus` in it.
fn crop(text: &str, focus: &str, width: usize) -> String {
    let total = columns(text);
    if total <= width {
        return text.to_owned();
    }
    let start = text.find(focus).map_or(0, |at| columns(&text[..at]));
    let length = columns(focus).min(width);
    let from = start.saturating_sub((width - length) / 2).min(total - width);
    let mut out: Vec<char> = text.chars().skip(from).take(width).collect();
    if let Some(first) = out.first_mut().filter(|_| from > 0) {
        *first = '…';
    }
    if let Some(last) = out.last_mut().filter(|_| from + width < total) {
        *last = '…';
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_wrap_at_blanks() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("a averyveryverylongword b", 8), ["a", "averyveryverylongword", "b"]);
        assert_eq!(wrap("12345678 ::stop-commands::x", 8), ["12345678 ::stop-commands::x"]);
        assert!(wrap("", 8).is_empty());
    }

    #[test]
    fn cropping_keeps_the_secret_in_sight() {
        assert_eq!(crop("short", "x", 10), "short");
        let line = format!("{}KEY{}", "a".repeat(50), "b".repeat(50));
        let cropped = crop(&line, "KEY", 11);
        assert_eq!(cropped, "…aaaKEYbbb…");
        assert_eq!(crop(&line, "nowhere", 5), "aaaa…");
        assert_eq!(crop(&line, "b".repeat(20).as_str(), 5), "…bbb…");
    }
}
