//! Line and column of a byte offset.

/// Walks a text once; offsets must be asked in rising order for that to hold, and may be asked in any.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lines<'a> {
    /// Begins at line 1.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Lines { text, at: 0, line: 1, line_start: 0 }
    }

    /// Line and column of an offset, both from 1, the column in bytes.
    pub(crate) fn position(&mut self, offset: usize) -> (u32, u32) {
        if offset < self.at {
            *self = Lines::new(self.text);
        }
        for newline in memchr::memchr_iter(b'\n', &self.text[self.at..offset]) {
            self.line = self.line.saturating_add(1);
            self.line_start = self.at + newline + 1;
        }
        // `newline` counts from the old `at`, so it may only move now.
        self.at = offset;
        (self.line, u32::try_from(offset - self.line_start + 1).unwrap_or(u32::MAX))
    }
}

/// The line around a span, line ends left out: from after the newline before `start` to the newline after `end`.
pub(crate) fn around(text: &[u8], start: usize, end: usize, most: usize) -> std::ops::Range<usize> {
    let low = start.saturating_sub(most);
    let high = end.saturating_add(most).min(text.len());
    let begin = memchr::memrchr(b'\n', &text[low..start]).map_or(low, |i| low + i + 1);
    let finish = memchr::memchr(b'\n', &text[end..high]).map_or(high, |i| end + i);
    let finish = if finish > end && text[finish - 1] == b'\r' { finish - 1 } else { finish };
    begin..finish
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_in_any_order() {
        let text = b"ab\ncd\r\n\nx";
        let mut lines = Lines::new(text);
        for (offset, want) in [(0, (1, 1)), (4, (2, 2)), (8, (4, 1)), (3, (2, 1)), (9, (4, 2))] {
            assert_eq!(lines.position(offset), want, "{offset}");
        }
    }

    #[test]
    fn a_line_ends_before_its_newline() {
        let text = b"ab\ncdef\r\nx";
        assert_eq!(&text[around(text, 4, 5, 100)], b"cdef");
        assert_eq!(&text[around(text, 4, 5, 1)], b"cde");
        assert_eq!(&text[around(text, 0, 0, 100)], b"ab");
    }
}
