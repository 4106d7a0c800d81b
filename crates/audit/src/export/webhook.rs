//! Webhooks: a CloudEvents batch and its signature.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Outgoing;

/// A batch as `application/cloudevents-batch+json`: the source is the log's origin, the id the index.
pub fn cloud_events(batch: &[Outgoing]) -> Value {
    let one = |out: &Outgoing| {
        let data: Value = serde_json::from_slice(&out.entry).unwrap_or(Value::Null);
        json!({
            "specversion": "1.0",
            "id": out.index.to_string(),
            "source": format!("//{}", out.origin),
            "type": format!("claviger.{}", out.event.action.kind()),
            "time": format!("{:.6}", out.event.time),
            "datacontenttype": "application/json",
            "leafhash": out.leaf.to_hex(),
            "data": data,
        })
    };
    Value::Array(batch.iter().map(one).collect())
}

/// The value of the signature header: `t=<seconds>,v1=<hex>`, an HMAC-SHA-256 over `<seconds>.<body>`. The receiver
/// recomputes it, compares in constant time, and refuses old times.
pub fn signature(key: &[u8], seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}
