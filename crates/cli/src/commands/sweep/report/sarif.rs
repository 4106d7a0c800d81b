//! SARIF 2.1.0, one file for each repository, out of what is known of it: whole, also when only what is new was read.

use std::collections::BTreeMap;
use std::io;

use claviger_scanner::report::percent;
use serde_json::{Value, json};

use super::super::model::{Held, Spot};
use super::super::state::Record;

/// Results that GitHub accepts for a run.
const MAX_RESULTS: usize = 25_000;
/// Further places of a result.
const MAX_RELATED: usize = 20;

/// Writes the file of a repository.
pub(in super::super) fn write(record: &Record, out: &mut dyn io::Write) -> io::Result<()> {
    let held: Vec<&Held> = record.rows.iter().filter(|r| r.gone_sweep.is_none()).map(|r| &r.held).collect();
    let rules: BTreeMap<&str, &Held> = held.iter().map(|held| (held.rule.as_str(), *held)).collect();
    let rules: Vec<Value> = rules
        .values()
        .map(|held| {
            json!({
                "id": held.rule,
                "shortDescription": { "text": held.title },
                "properties": { "tags": ["security"], "security-severity": score(&held.severity) },
            })
        })
        .collect();
    let notifications: Vec<Value> = (!record.status.is_complete())
        .then(|| json!({ "level": "error", "message": { "text": record.why } }))
        .into_iter()
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "claviger", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "invocations": [{
                "executionSuccessful": record.status.is_complete(),
                "toolExecutionNotifications": notifications,
            }],
            "results": held.iter().take(MAX_RESULTS).map(|held| result(held)).collect::<Vec<_>>(),
            "properties": { "repository": record.name },
        }],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

fn result(held: &Held) -> Value {
    let level = if matches!(held.severity.as_str(), "critical" | "high") { "error" } else { "warning" };
    let text = format!("{} {}, confidence {}", held.title, held.preview, held.confidence);
    // What is in HEAD can be shown beside the code.
    let first = held.spots.iter().position(|spot| spot.in_head).unwrap_or(0);
    let others = held.spots.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, spot)| location(spot));
    json!({
        "ruleId": held.rule,
        "level": level,
        "message": { "text": text },
        "locations": held.spots.get(first).map(location).into_iter().collect::<Vec<_>>(),
        "relatedLocations": others.take(MAX_RELATED).collect::<Vec<_>>(),
        "partialFingerprints": { "claviger/v1": held.fingerprint },
    })
}

fn location(spot: &Spot) -> Value {
    // What is no file gets an address that no tracked file can have.
    let path = if spot.path.is_empty() {
        format!(".git/{}/{}", spot.kind, spot.object.as_deref().unwrap_or("unknown"))
    } else {
        spot.path.clone()
    };
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": percent(path.as_bytes()) },
            "region": { "startLine": spot.line.max(1) },
        },
        "message": { "text": spot.kind },
    })
}

/// As GitHub sorts alerts.
fn score(severity: &str) -> &'static str {
    match severity {
        "critical" => "9.5",
        "high" => "8.0",
        "medium" => "5.5",
        _ => "2.0",
    }
}
