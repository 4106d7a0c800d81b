//! What the providers of database users share: where a server is, how it is trusted, names and words of errors.
//!
//! A server on another machine is spoken to over TLS with its certificate and name checked; anything less has to be
//! written down in words. What a server says reaches operators cut to a sane length and without control characters.

pub(super) mod pool;
pub(super) mod server;

use std::fmt::Write as _;
use std::time::Duration;

use super::ProviderError;
use crate::lease::LeaseId;

/// How long opening a connection may take, name look-up, TLS and login together.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How long a statement may take at the server, unless the configuration says otherwise.
pub(super) const STATEMENT_S: u64 = 10;
/// How much longer than the server we wait: it should be the server that gives up, so that its answer is known.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// Letters and digits of a password: 190 bits, so that nobody guesses it even from a fast hash.
pub(super) const PASSWORD_LENGTH: usize = 32;
/// How much of what a server says is shown, in characters.
const SAID: usize = 300;

/// Refuses to touch anything at a target that no broker can have made.
///
/// # Errors
/// `name` is not the object name of a lease.
pub(super) fn own(name: &str) -> Result<&str, ProviderError> {
    match LeaseId::of_object(name) {
        Some(_) => Ok(name),
        None => Err(ProviderError::Denied(format!("`{}` is no name that a broker gives", said(name)))),
    }
}

/// What a server said, fit for a log: one line, cut, control and direction characters escaped.
pub(super) fn said(text: &str) -> String {
    let mut out = String::new();
    for (index, c) in text.trim().chars().enumerate() {
        if index == SAID {
            out.push('…');
            break;
        }
        // Direction marks could make a line read as another one.
        let is_direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c == '\n' {
            out.push_str("; ");
        } else if c.is_control() || is_direction {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_short_line() {
        assert_eq!(said("role \"x\"\n\tdoes not exist"), "role \"x\"; \\u{9}does not exist");
        assert_eq!(said("a\u{202e}b\r\u{1b}[2J"), "a\\u{202e}b\\u{d}\\u{1b}[2J");
        assert_eq!(said(&"x".repeat(10_000)).chars().count(), SAID + 1);
    }

    #[test]
    fn only_names_of_leases_are_touched() {
        let name = LeaseId::new().object_name();
        assert_eq!(own(&name), Ok(name.as_str()));
        for foreign in
            ["postgres", "clv_", "clv_x", "CLV_aaaaaaaaaaaaaaaaaaaaaaaaaa", "clv_x'; DROP TABLE t; --"]
        {
            assert!(matches!(own(foreign), Err(ProviderError::Denied(_))), "{foreign}");
        }
    }
}
