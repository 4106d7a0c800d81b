//! Syslog (RFC 5424): one message an event, index and hash first, at most 2,048 octets.

use super::{Outgoing, weight};

/// Receivers should take messages of this length (RFC 5424 §6.1), in octets.
const MOST: usize = 2048;
/// Facility 10, security and authorization, times eight.
const FACILITY: u8 = 10 * 8;
/// Severity by weight: informational, notice, warning, error, critical.
const SEVERITY: [u8; 5] = [6, 5, 4, 3, 2];

/// Who sends.
#[derive(Debug, Clone)]
pub struct Syslog {
    /// The host's name, at most 255 printable ASCII characters; others become `-`.
    pub hostname: String,
    /// The process id.
    pub procid: u32,
}

/// The event as one message, without framing: UDP takes it as it is, TCP and TLS put its length and a space before it.
pub fn syslog(out: &Outgoing, from: &Syslog) -> String {
    let event = &out.event;
    let mut message = format!(
        "<{}>1 {:.6} {} claviger {} {} [claviger@32473 origin=\"{}\" index=\"{}\" leaf=\"{}\"",
        FACILITY + SEVERITY[weight(event)],
        event.time,
        name(&from.hostname, 255),
        from.procid,
        name(event.action.kind(), 32),
        value(&out.origin),
        out.index,
        out.leaf.to_hex()
    );
    let fields = [
        ("outcome", Some(event.outcome.as_str())),
        ("identity", Some(out.identity())),
        ("provider", event.target.provider.as_deref()),
        ("environment", event.target.environment.as_deref()),
        ("role", event.target.role.as_deref()),
        ("lease", event.lease.as_deref()),
        ("source", event.source.as_deref()),
        ("correlation", event.correlation.as_deref()),
    ];
    for (key, text) in fields.into_iter().filter_map(|(key, text)| Some((key, text?))) {
        let parameter = format!(" {key}=\"{}\"", value(text));
        // What does not fit is left out whole: the index leads to the rest.
        if message.len() + parameter.len() < MOST {
            message.push_str(&parameter);
        }
    }
    message.push(']');
    if let Some(reason) = &event.reason {
        // The text may not be cut inside a character; a byte order mark says that it is UTF-8.
        let room = MOST.saturating_sub(message.len() + 4);
        let clean: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let end = (0..=room.min(clean.len())).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
        message.push_str(" \u{feff}");
        message.push_str(&clean[..end]);
    }
    message
}

/// A header field: printable ASCII, not too long, not empty.
fn name(text: &str, most: usize) -> String {
    let clean: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if clean.is_empty() { "-".to_owned() } else { clean }
}

/// A parameter's value: `"`, `\` and `]` escaped, control characters gone, at most 256 characters.
fn value(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars().filter(|c| !c.is_control()).take(256) {
        if matches!(c, '"' | '\\' | ']') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}
