//! What stands between a report and its reader: texts from outside, made fit to print.
//!
//! Excerpts come redacted from the engine. Names do not: a token can be the name of a file, or stand in the author line
//! of a commit, and every report prints paths and authors. The veil knows those secrets and hides them wherever they
//! show up. It also defuses what build servers take for orders in the output of a job.

use std::borrow::Cow;
use std::io;

use aho_corasick::{AhoCorasick, MatchKind};

use super::Report;
use crate::finding::{Finding, PlaceKind};
use crate::path::printable;
use crate::secret::Secret;

/// Makes texts printable and hides the secrets that stand in names.
#[derive(Default)]
pub(super) struct Veil<'a> {
    search: Option<AhoCorasick>,
    secrets: Vec<&'a Secret>,
}

impl<'a> Veil<'a> {
    /// A veil over the names in a report.
    ///
    /// # Errors
    /// More secrets stand in names than can be searched for at once, which takes gigabytes of them.
    pub(super) fn over(report: &'a Report) -> io::Result<Self> {
        let allowed = report.allowed.iter().map(|allowed| &allowed.finding);
        let secrets: Vec<&Secret> = report
            .findings
            .iter()
            .chain(allowed)
            .filter(|finding| stands_in_a_name(finding))
            .map(|finding| &finding.secret)
            .collect();
        if secrets.is_empty() {
            return Ok(Veil::default());
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(secrets.iter().map(|secret| secret.expose()))
            .map_err(io::Error::other)?;
        Ok(Veil { search: Some(search), secrets })
    }

    /// The bytes with every such secret redacted.
    pub(super) fn hide<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let Some(search) = &self.search else { return Cow::Borrowed(bytes) };
        let mut out = Vec::new();
        let mut at = 0;
        for hit in search.find_iter(bytes) {
            out.extend_from_slice(&bytes[at..hit.start()]);
            out.extend_from_slice(self.secrets[hit.pattern().as_usize()].redacted().as_bytes());
            at = hit.end();
        }
        if at == 0 {
            return Cow::Borrowed(bytes);
        }
        out.extend_from_slice(&bytes[at..]);
        Cow::Owned(out)
    }

    /// One line of printable text.
    pub(super) fn bytes(&self, bytes: &[u8]) -> String {
        defuse(printable(&self.hide(bytes)))
    }

    /// As [`Veil::bytes`].
    pub(super) fn text(&self, text: &str) -> String {
        self.bytes(text.as_bytes())
    }
}

fn stands_in_a_name(finding: &Finding) -> bool {
    let secret = finding.secret.expose();
    let holds = |text: &str| memchr::memmem::find(text.as_bytes(), secret).is_some();
    !secret.is_empty()
        && finding.places.iter().any(|place| match place.kind {
            PlaceKind::PathName => true,
            PlaceKind::CommitMessage => {
                place.introduced.as_ref().is_some_and(|c| holds(&c.author) || holds(&c.email))
            }
            _ => false,
        })
}

/// Text of a rule on one line: its YAML may have had several.
pub(super) fn prose(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    defuse(printable(line.as_bytes()))
}

/// Breaks `##vso[`, `##[`, `##teamcity[`: build servers obey these anywhere in a job's output, and a scanned file must
/// not give orders.
fn defuse(text: String) -> String {
    if !text.contains("##") {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 1);
    let mut rest = text.as_str();
    while let Some(at) = rest.find("##") {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        if rest[1..].trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('[') {
            out.push('\\');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_build_servers_are_broken() {
        assert_eq!(prose("a ##vso[task.x] ##[group]"), "a #\\#vso[task.x] #\\#[group]");
        assert_eq!(prose("###[x] ## Heading [1]"), "##\\#[x] ## Heading [1]");
        assert_eq!(prose("two\n  lines\u{1b}"), "two lines\\u{1b}");
    }
}
