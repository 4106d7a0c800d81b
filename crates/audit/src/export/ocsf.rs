//! OCSF (Open Cybersecurity Schema Framework) 1.8: one JSON object an event. The tests hold every type of event to the
//! published schema.

use serde_json::{Map, Value, json};

use super::{Outgoing, weight};
use crate::event::{Action, Outcome};

/// Class and activity of an event; the category is the class's thousands.
fn class(event: &Outgoing) -> (u32, u32) {
    match &event.event.action {
        Action::Authentication(_) => (3002, 1),
        Action::Issued(_) => (3005, 1),
        Action::Revoked(_) | Action::Expired(_) => (3005, 2),
        Action::Rotated(_) | Action::SecretChanged(_) | Action::KeyRotated(_) => (3004, 3),
        Action::ConfigChanged(_) => (3004, 3),
        Action::FindingRecorded(_) | Action::LeakMatched(_) => (2004, 1),
        Action::SecretRead(_) | Action::Decision(_) | Action::Used(_) => (6003, 2),
        Action::Renewed(_) | Action::Pruned(_) => (6003, 3),
        Action::LogOpened(_) => (6003, 1),
        Action::LogClosed(_) | Action::JobEnded(_) => (6003, 4),
        Action::Unknown { .. } => (6003, 99),
    }
}

/// The version of the schema.
const VERSION: &str = "1.8.0";
/// Names of the severities from 1.
const SEVERITY: [&str; 5] = ["Informational", "Low", "Medium", "High", "Critical"];

/// The event in OCSF.
pub fn ocsf(out: &Outgoing) -> Value {
    let event = &out.event;
    let (class_uid, activity_id) = class(out);
    let kind = event.action.kind();
    let (status_id, status) = match event.outcome {
        Outcome::Success => (1, "Success"),
        Outcome::Refused | Outcome::Failed => (2, "Failure"),
        Outcome::Other => (99, "Other"),
    };
    let user = json!({ "name": out.identity(), "uid": event.who.subject.as_deref().unwrap_or(out.identity()), "type_id": 4, "type": "Service" });
    let mut object = json!({
        "activity_id": activity_id,
        "category_uid": class_uid / 1000,
        "class_uid": class_uid,
        "type_uid": class_uid * 100 + activity_id,
        "time": event.time.as_millisecond(),
        "severity_id": weight(event) + 1,
        "severity": SEVERITY[weight(event)],
        "status_id": status_id,
        "status": status,
        "metadata": {
            "version": VERSION,
            "product": { "name": "claviger", "vendor_name": "claviger", "version": env!("CARGO_PKG_VERSION") },
            "uid": format!("{}#{}", out.origin, out.index),
            "sequence": out.index,
            "log_name": out.origin,
            "event_code": kind,
            "correlation_uid": event.correlation.as_deref().unwrap_or(""),
        },
        "unmapped": { "leaf_hash": out.leaf.to_hex(), "lease": event.lease, "role": event.target.role, "environment": event.target.environment },
    });
    let members = object.as_object_mut().expect("the literal above is an object");
    if let Some(reason) = &event.reason {
        members.insert("status_detail".into(), json!(reason));
        members.insert("message".into(), json!(reason));
    }
    class_members(out, class_uid, user, members);
    object
}

/// What the class needs besides.
fn class_members(out: &Outgoing, class_uid: u32, user: Value, members: &mut Map<String, Value>) {
    let event = &out.event;
    let provider = event.target.provider.as_deref().unwrap_or("claviger");
    let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    match class_uid {
        3002 => {
            put("user", user);
            put("service", json!({ "name": "claviger" }));
        }
        3005 => {
            put("user", user);
            put("privileges", json!([event.target.role.as_deref().unwrap_or("unknown")]));
            put("resource", json!({ "name": provider }));
        }
        3004 => {
            put("actor", json!({ "user": user }));
            let name = match &event.action {
                Action::Rotated(rotated) => rotated.name.clone(),
                Action::SecretChanged(changed) => changed.name.clone(),
                Action::ConfigChanged(changed) => changed.what.clone(),
                _ => event.action.kind().to_owned(),
            };
            put("entity", json!({ "name": name, "type": event.action.kind() }));
        }
        2004 => {
            let uid = format!("{}#{}", out.origin, out.index);
            put("finding_info", json!({ "uid": uid, "title": event.action.kind() }));
        }
        _ => {
            put("actor", json!({ "user": user }));
            put("api", json!({ "operation": event.action.kind(), "service": { "name": provider } }));
            // The schema wants an address to be one.
            let from = event.source.as_deref().unwrap_or("unknown");
            let member = if from.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "name" };
            put("src_endpoint", json!({ member: from }));
        }
    }
}
