//! Text that is not a stream of ASCII-compatible bytes.
//!
//! UTF-8 and Latin-1 are scanned as they are: every rule is about ASCII. UTF-16, which PowerShell writes, is decoded
//! first; spans found in the decoded text are mapped back to the file's own bytes.

use std::borrow::Cow;
use std::ops::Range;

/// Bytes at the start of a file that are looked at to guess UTF-16 without a mark.
const GUESS: usize = 512;

/// Which way the two bytes of a UTF-16 unit stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// Text ready to be scanned.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    /// ASCII-compatible text.
    pub(crate) text: Cow<'a, [u8]>,
    /// Bytes of the byte order mark, when the original is UTF-16.
    utf16: Option<usize>,
}

impl<'a> Decoded<'a> {
    /// Decodes if need be; borrows otherwise.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        match order(bytes) {
            None => Decoded { text: Cow::Borrowed(bytes), utf16: None },
            Some((order, mark)) => {
                let encoding = match order {
                    Order::Little => encoding_rs::UTF_16LE,
                    Order::Big => encoding_rs::UTF_16BE,
                };
                let (text, _) = encoding.decode_without_bom_handling(&bytes[mark..]);
                Decoded { text: Cow::Owned(text.into_owned().into_bytes()), utf16: Some(mark) }
            }
        }
    }

    /// Whether the text is the original, byte by byte.
    pub(crate) fn is_original(&self) -> bool {
        self.utf16.is_none()
    }

    /// The span in the original bytes of a span in the text. Costs a walk over the text before it for UTF-16.
    pub(crate) fn original(&self, span: &Range<usize>) -> Range<usize> {
        match self.utf16 {
            None => span.clone(),
            Some(mark) => mark + 2 * self.units(span.start)..mark + 2 * self.units(span.end),
        }
    }

    /// UTF-16 units before a position of the decoded text.
    fn units(&self, at: usize) -> usize {
        // One unit for each leading byte, one more for those of four-byte sequences.
        self.text[..at].iter().map(|b| usize::from(b & 0xc0 != 0x80) + usize::from(*b >= 0xf0)).sum()
    }
}

fn order(bytes: &[u8]) -> Option<(Order, usize)> {
    match bytes {
        // FF FE 00 00 is UTF-32, which nobody writes; as UTF-16 it is full of NULs and does no harm.
        [0xff, 0xfe, ..] => Some((Order::Little, 2)),
        [0xfe, 0xff, ..] => Some((Order::Big, 2)),
        [a, b, ..] if (*a == 0) != (*b == 0) => {
            guess(&bytes[..bytes.len().min(GUESS)]).map(|order| (order, 0))
        }
        _ => None,
    }
}

/// UTF-16 without a mark: of mostly ASCII text every other byte is zero, and the others are printable.
fn guess(head: &[u8]) -> Option<Order> {
    let pairs = head.len() / 2;
    if pairs < 8 {
        return None;
    }
    let printable = |b: u8| b == b'\n' || b == b'\r' || b == b'\t' || (0x20..0x7f).contains(&b);
    let count = |low: usize| {
        head.chunks_exact(2).filter(|pair| printable(pair[low]) && pair[1 - low] == 0).count() * 10
            >= pairs * 9
    };
    if count(0) {
        Some(Order::Little)
    } else if count(1) {
        Some(Order::Big)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    }

    #[test]
    fn spans_map_back_to_the_file() {
        let text = "grün 𝄞 token=abcdef and more text";
        for big in [false, true] {
            let mark: &[u8] = if big { &[0xfe, 0xff] } else { &[0xff, 0xfe] };
            let bytes = [mark, &utf16(text, big)].concat();
            let decoded = Decoded::new(&bytes);
            assert_eq!(&*decoded.text, text.as_bytes());
            let start = text.find("abcdef").unwrap();
            let original = decoded.original(&(start..start + 6));
            assert_eq!(&bytes[original], &utf16("abcdef", big)[..]);
        }
    }

    #[test]
    fn utf16_without_a_mark_is_guessed_and_binary_is_not() {
        let bytes = utf16("some plain text here", false);
        assert_eq!(&*Decoded::new(&bytes).text, b"some plain text here");
        let binary = [0_u8, 1, 2, 200, 0, 0, 9, 9].repeat(8);
        assert_eq!(&*Decoded::new(&binary).text, &binary[..]);
    }
}
