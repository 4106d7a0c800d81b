//! Random policies and tokens that are likely to meet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::policy::Context;

pub(super) const CLAIMS: [&str; 8] = [
    "repository_id",
    "ref",
    "actor",
    "environment",
    "groups",
    "runner_id",
    "event_name",
    "runner_environment",
];

/// Values that are likely to meet.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1".to_owned()),
        Just("main".to_owned()),
        Just("refs/heads/main".to_owned()),
        Just("refs/heads/a/b".to_owned()),
        Just("push".to_owned()),
        Just("workflow_run".to_owned()),
        Just("github-hosted".to_owned()),
        Just("self-hosted".to_owned()),
        "[a1/:]{1,3}",
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![4 => text().prop_map(Value::from), 1 => (0..3_i64).prop_map(Value::from), 1 => any::<bool>().prop_map(Value::from)]
}

fn glob() -> impl Strategy<Value = Value> {
    let pattern =
        prop_oneof![Just("refs/heads/*".to_owned()), Just("*".to_owned()), "[a1/:]{0,2}\\*[a1/:]{0,2}"];
    pattern.prop_map(|it| json!({ "glob": it }))
}

fn matcher() -> impl Strategy<Value = Value> {
    let item = prop_oneof![3 => scalar(), 1 => glob()];
    let plain = prop_oneof![
        3 => scalar(),
        2 => glob(),
        2 => proptest::collection::vec(item, 1..4).prop_map(|it| json!({ "one_of": it })),
    ];
    prop_oneof![5 => plain.clone(), 1 => plain.prop_map(|it| json!({ "contains": it }))]
}

fn conditions(most: usize) -> impl Strategy<Value = BTreeMap<String, Value>> {
    let name = proptest::sample::select(&CLAIMS[..]).prop_map(str::to_owned);
    proptest::collection::btree_map(name, matcher(), 0..=most)
}

prop_compose! {
    pub(super) fn role()(
        issuers in prop_oneof![4 => Just(json!("github")), 1 => Just(json!(["github", "test"])), 1 => Just(json!("test"))],
        wanted in conditions(3),
        not in conditions(1),
        allow in proptest::sample::subsequence(vec!["workflow_run", "pull_request", "public_event"], 0..=2),
        runner in proptest::option::weighted(0.2, proptest::sample::select(vec!["hosted", "self-hosted"])),
        network in proptest::option::weighted(0.2, Just(json!(["10.0.0.0/8", "::1/128"]))),
        until in proptest::option::weighted(0.2, proptest::sample::select(vec!["1969-01-01T00:00:00Z", "2030-01-01T00:00:00Z"])),
        is_prod in any::<bool>(),
        access in proptest::option::of(proptest::sample::select(vec!["read", "write"])),
        parameters in prop_oneof![Just(json!({})), Just(json!({"roles": ["ro"]})), Just(json!({"roles": "rw", "x": {"y": 1}}))],
    ) -> Value {
        let (environment, provider) = if is_prod { ("prod", "prod-db") } else { ("dev", "dev-db") };
        let mut role = json!({
            "issuer": issuers, "match": wanted, "not": not, "mutable": "accepted", "environment": environment,
            "grant": { "provider": provider, "parameters": parameters }
        });
        let more = [
            ("allow", (!allow.is_empty()).then(|| json!(allow))),
            ("runner_environment", runner.map(Value::from)),
            ("network", network),
            ("until", until.map(Value::from)),
            ("access", access.map(Value::from)),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                role[name] = value;
            }
        }
        if role.get("runner_environment").is_some()
            && let Some(wanted) = role["match"].as_object_mut()
        {
            wanted.remove("runner_environment");
        }
        role
    }
}

prop_compose! {
    pub(super) fn ceiling()(
        wanted in conditions(2),
        environments in proptest::option::of(proptest::sample::subsequence(vec!["dev", "prod"], 0..=2)),
        access in proptest::option::weighted(0.3, proptest::sample::select(vec!["read", "write"])),
        allow in proptest::option::weighted(0.3, Just(json!(["workflow_run"]))),
        parameters in proptest::option::weighted(0.4, prop_oneof![
            Just(json!({"dev-db": {"roles": ["ro", "rw"]}})), Just(json!({"dev-db": {"roles": "*", "x": {"y": [1, 2]}}})),
            Just(json!({"dev-db": "*", "prod-db": {}})),
        ]),
    ) -> Value {
        let mut ceiling = json!({ "issuer": "github", "match": wanted });
        let more = [
            ("environments", environments.map(|it| json!(it))),
            ("access", access.map(Value::from)),
            ("allow", allow),
            ("parameters", parameters),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                ceiling[name] = value;
            }
        }
        ceiling
    }
}

pub(super) fn policies() -> impl Strategy<Value = Value> {
    let roles = proptest::collection::btree_map("[ab]", role(), 1..3);
    let ceilings = proptest::collection::vec(ceiling(), 0..3);
    (roles, ceilings).prop_map(|(roles, ceilings)| json!({ "roles": roles, "ceilings": ceilings }))
}

/// A verified token always says its event.
pub(super) fn tokens() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        6 => scalar(),
        1 => proptest::collection::vec(scalar(), 0..3).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({ "a": "1" })),
    ];
    let name = proptest::sample::select(&CLAIMS[..]).prop_map(str::to_owned);
    let event = prop_oneof![3 => Just("push"), 1 => Just("workflow_run"), 1 => Just("pull_request")];
    (proptest::collection::btree_map(name, value, 0..8), event).prop_map(|(mut claims, event)| {
        claims.insert("event_name".to_owned(), event.into());
        json!(claims)
    })
}

/// A value that matches.
fn witness(wanted: &Value) -> Value {
    if let Some(inner) = wanted.get("contains") {
        return json!([witness(inner)]);
    }
    match (wanted.get("one_of"), wanted.get("glob").and_then(Value::as_str)) {
        (Some(list), _) => witness(&list[0]),
        (_, Some(glob)) => glob.replace('*', "x").into(),
        _ => wanted.clone(),
    }
}

/// The same token, made so that it passes a role's conditions if anything does: by chance alone, few would.
fn meant_for(role: &Value, mut claims: Value) -> Value {
    let none = Map::new();
    let entries = |of: &str| role.get(of).and_then(Value::as_object).unwrap_or(&none).clone();
    for (name, wanted) in entries("match") {
        if name != "event_name" {
            claims[name] = witness(&wanted);
        }
    }
    for (name, wanted) in entries("not") {
        if role["match"].get(&name).is_none() && name != "event_name" {
            let other = if wanted.is_number() { json!(77) } else { json!("zz") };
            claims[name] = if wanted.get("contains").is_some() { json!([other]) } else { other };
        }
    }
    match role.get("runner_environment").and_then(Value::as_str) {
        Some("hosted") => claims["runner_environment"] = json!("github-hosted"),
        Some(other) => claims["runner_environment"] = json!(other),
        None => {}
    }
    claims
}

pub(super) fn meant(is_meant: bool, policy: &Value, claims: Value) -> Value {
    match policy["roles"].as_object().and_then(|roles| roles.values().next()) {
        Some(role) if is_meant => meant_for(role, claims),
        _ => claims,
    }
}

pub(super) fn contexts() -> impl Strategy<Value = Context> {
    let address = proptest::sample::select(vec![None, Some("10.1.1.1"), Some("::1"), Some("8.8.8.8")]);
    let address = address.prop_map(|it| it.map(|it| it.parse::<IpAddr>().expect("an address")));
    address.prop_map(|address| Context { address, now: jiff::Timestamp::UNIX_EPOCH })
}
