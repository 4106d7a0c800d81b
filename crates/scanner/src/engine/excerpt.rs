//! The line around a secret, fit to be shown.

use std::ops::Range;

use super::lines;
use crate::path::printable;
use crate::secret::Secret;

/// Bytes shown before and after the secret.
const MARGIN: usize = 60;

/// The line of the secret, at most [`MARGIN`] bytes to both sides, with every secret in it redacted; `…` stands for what
/// is cut off. `spans` are those of all matches, also of the ones that lost, in the order of their start.
pub(super) fn excerpt(text: &[u8], span: &Range<usize>, spans: &[Range<usize>]) -> String {
    let shown = whole_characters(text, span, lines::around(text, span.start, span.end, MARGIN));
    let is_cut = |at: usize| !matches!(text.get(at), None | Some(b'\n' | b'\r'));
    let mut out = String::new();
    if shown.start > 0 && is_cut(shown.start - 1) {
        out.push('…');
    }
    let mut at = shown.start;
    let first = spans.partition_point(|s| s.start + 64 * 1024 < shown.start);
    for (start, end) in joined(&spans[first..], &shown) {
        let start = start.max(at);
        if end <= at {
            continue;
        }
        out.push_str(&printable(trim_start(&text[at..start], at == shown.start)));
        out.push_str(&Secret::new(&text[start..end]).redacted());
        at = end;
    }
    if at < shown.end {
        out.push_str(&printable(&text[at..shown.end]));
    }
    out.truncate(out.trim_end().len());
    if at <= shown.end && is_cut(shown.end) {
        out.push('…');
    }
    out
}

/// The range without the halves of UTF-8 characters at its ends; it still holds the span.
fn whole_characters(text: &[u8], span: &Range<usize>, mut shown: Range<usize>) -> Range<usize> {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    // Three bytes follow the first at most; more are no UTF-8 and stay.
    for _ in 0..3 {
        if shown.start < span.start && is_inside(shown.start) {
            shown.start += 1;
        }
        if shown.end > span.end && is_inside(shown.end) {
            shown.end -= 1;
        }
    }
    shown
}

/// A stretch of the text with every secret in it overwritten; same length.
pub(super) fn masked(text: &[u8], shown: &Range<usize>, spans: &[Range<usize>]) -> Vec<u8> {
    let mut out = text[shown.clone()].to_vec();
    let first = spans.partition_point(|s| s.start + 64 * 1024 < shown.start);
    for (start, end) in joined(&spans[first..], shown) {
        out[start.max(shown.start) - shown.start..end.min(shown.end) - shown.start].fill(b'*');
    }
    out
}

fn trim_start(text: &[u8], at_line_start: bool) -> &[u8] {
    if at_line_start { text.trim_ascii_start() } else { text }
}

/// The spans that touch a range, overlapping ones joined.
fn joined(spans: &[Range<usize>], shown: &Range<usize>) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for span in spans.iter().take_while(|s| s.start < shown.end).filter(|s| s.end > shown.start) {
        match out.last_mut() {
            Some(last) if span.start < last.1 => last.1 = last.1.max(span.end),
            _ => out.push((span.start, span.end)),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_on_the_line_is_redacted() {
        let text = b"x\n  a=firstsecret b=othersecret\x1b end\ny";
        let spans = [6..17, 20..31];
        assert_eq!(excerpt(text, &spans[0], &spans), "a=fi…(11) b=ot…(11)\\u{1b} end");
    }

    #[test]
    fn what_is_cut_off_is_said_and_characters_stay_whole() {
        let text = format!("{}ke=secret{}", "é".repeat(40), "é".repeat(40));
        let spans = [83..89];
        let want = format!("…{}ke=s…(6){}…", "é".repeat(28), "é".repeat(30));
        assert_eq!(excerpt(text.as_bytes(), &spans[0], &spans), want);
    }

    #[test]
    fn overlapping_and_cut_secrets_stay_hidden() {
        let text = [b"k=".as_slice(), &[b's'; 300]].concat();
        let spans = [2..100, 50..302];
        assert_eq!(excerpt(&text, &spans[0], &spans), "k=ssss…(300)");
    }
}
