//! OTLP logs over HTTP with JSON: the body of `POST /v1/logs`.

use serde_json::{Value, json};

use super::{Outgoing, weight};

/// Severity numbers by weight: INFO, INFO2, WARN, ERROR, FATAL.
const SEVERITY: [(u32, &str); 5] = [(9, "INFO"), (10, "INFO2"), (13, "WARN"), (17, "ERROR"), (21, "FATAL")];

/// One request for a batch. Answers 429, 502, 503 and 504 mean again; any other failure is for good.
pub fn otlp(batch: &[Outgoing]) -> Value {
    let records: Vec<Value> = batch.iter().map(record).collect();
    json!({ "resourceLogs": [{
        "resource": { "attributes": [text("service.name", "claviger")] },
        "scopeLogs": [{
            "scope": { "name": "claviger.audit", "version": env!("CARGO_PKG_VERSION") },
            "logRecords": records,
        }],
    }] })
}

fn record(out: &Outgoing) -> Value {
    let event = &out.event;
    let (number, word) = SEVERITY[weight(event)];
    // 64-bit integers are decimal strings in OTLP's JSON.
    let nanos = |time: jiff::Timestamp| time.as_nanosecond().to_string();
    let mut attributes = vec![
        text("claviger.origin", &out.origin),
        json!({ "key": "claviger.index", "value": { "intValue": out.index.to_string() } }),
        text("claviger.leaf_hash", &out.leaf.to_hex()),
        text("claviger.outcome", event.outcome.as_str()),
        text("claviger.identity", out.identity()),
    ];
    let optional = [
        ("claviger.provider", &event.target.provider),
        ("claviger.environment", &event.target.environment),
        ("claviger.role", &event.target.role),
        ("claviger.lease", &event.lease),
        ("claviger.correlation", &event.correlation),
        ("client.address", &event.source),
    ];
    attributes.extend(optional.iter().filter_map(|(key, value)| Some(text(key, value.as_deref()?))));
    json!({
        "timeUnixNano": nanos(event.time),
        "observedTimeUnixNano": nanos(event.logged.unwrap_or(event.time)),
        "severityNumber": number,
        "severityText": word,
        "eventName": event.action.kind(),
        "body": { "stringValue": event.reason.as_deref().unwrap_or(event.action.kind()) },
        "attributes": attributes,
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}
