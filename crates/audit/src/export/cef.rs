//! CEF (ArcSight Common Event Format): one line an event.

use super::{Outgoing, weight};

/// Severity by weight, 0 to 10.
const SEVERITY: [u8; 5] = [1, 4, 5, 8, 10];

/// The event as a CEF line, without a line feed.
pub fn cef(out: &Outgoing) -> String {
    let event = &out.event;
    let kind = event.action.kind();
    let mut line = format!(
        "CEF:0|claviger|claviger|{}|{}|{} {}|{}|",
        env!("CARGO_PKG_VERSION"),
        header(kind),
        header(kind),
        event.outcome.as_str(),
        SEVERITY[weight(event)]
    );
    let fields = [
        ("externalId", out.index.to_string()),
        ("rt", event.time.as_millisecond().to_string()),
        ("outcome", event.outcome.as_str().to_owned()),
        ("suser", out.identity().to_owned()),
        ("src", event.source.clone().unwrap_or_default()),
        ("reason", event.reason.clone().unwrap_or_default()),
        ("destinationServiceName", event.target.provider.clone().unwrap_or_default()),
    ];
    let labelled = [
        ("cs1", "origin", out.origin.clone()),
        ("cs2", "leafHash", out.leaf.to_hex()),
        ("cs3", "role", event.target.role.clone().unwrap_or_default()),
        ("cs4", "environment", event.target.environment.clone().unwrap_or_default()),
        ("cs5", "lease", event.lease.clone().unwrap_or_default()),
    ];
    // A label without its value says nothing, and some receivers refuse it.
    let mut pairs: Vec<String> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", extension(value)))
        .collect();
    for (key, label, value) in labelled.iter().filter(|(.., value)| !value.is_empty()) {
        pairs.push(format!("{key}Label={label} {key}={}", extension(value)));
    }
    line.push_str(&pairs.join(" "));
    line
}

/// A header field cannot hold a line feed at all.
fn header(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn extension(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace('\r', "\\r").replace('\n', "\\n")
}
