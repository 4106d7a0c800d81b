//! Standard output. A terminal gets no control characters, whatever stands in the log; a pipe or file gets every byte.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

/// Standard output, buffered.
pub(super) struct Screen {
    to: BufWriter<Stdout>,
    is_terminal: bool,
    /// Hand on each line as it is written: somebody watches.
    is_live: bool,
    /// The beginning of a character whose rest is still to come.
    partial: Vec<u8>,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Screen { to: BufWriter::new(stdout), is_terminal, is_live: false, partial: Vec::new() }
    }

    /// One that shows each line at once.
    pub(super) fn live() -> Screen {
        Screen { is_live: true, ..Screen::new() }
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return self.to.write_all(bytes);
        }
        self.partial.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.partial);
        let whole = match std::str::from_utf8(&all) {
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            _ => all.len(),
        };
        self.partial = all[whole..].to_vec();
        self.to.write_all(escape(&String::from_utf8_lossy(&all[..whole])).as_bytes())
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.show(bytes)?;
        if self.is_live && bytes.ends_with(b"\n") {
            self.to.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Control characters but the line feed become `\u00xx`, which in JSON means the same; so do characters that turn text
/// around.
pub(super) fn escape(text: &str) -> String {
    let hidden = |c: char| {
        c != '\n' && c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            safe.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_a_terminal() {
        assert_eq!(
            escape("{\"a\":\"é\u{1b}[31m\u{9b}\u{202e}\"}\n"),
            "{\"a\":\"é\\u001b[31m\\u009b\\u202e\"}\n"
        );
    }
}
