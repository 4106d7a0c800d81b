//! An evaluator written from `docs/policy.md`, too plain to be wrong, and properties that hold for every policy.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::random::{CLAIMS, ceiling, contexts, meant, policies, tokens};
use super::support::HEAD;
use crate::claims::Claims;
use crate::platform;
use crate::policy::Context;
use crate::testing;

/// A claim by its name, as the page says.
fn claim<'c>(claims: &'c Value, name: &str) -> Option<&'c Value> {
    let found = if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) };
    found.filter(|value| !value.is_null())
}

/// A pattern, by trying every length for each star.
fn shape(pattern: &[char], text: &[char], at_start: bool) -> bool {
    let is_end = |rest: &[char]| rest.first().is_none_or(|c| matches!(c, '/' | ':'));
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => {
            let reach = text.iter().take_while(|c| !matches!(c, '/' | ':') && !c.is_control()).count();
            let least = usize::from(at_start && is_end(rest));
            (least..=reach).any(|length| shape(rest, &text[length..], false))
        }
        Some((c, rest)) => text.first() == Some(c) && shape(rest, &text[1..], matches!(c, '/' | ':')),
    }
}

/// Yes, no, or not of the type.
fn matches(wanted: &Value, seen: &Value) -> Option<bool> {
    if let Some(inner) = wanted.get("contains") {
        let items = seen.as_array()?;
        let all: Vec<Option<bool>> = items.iter().map(|item| matches(inner, item)).collect();
        return either(&all);
    }
    if let Some(list) = wanted.get("one_of") {
        let all: Vec<Option<bool>> = list.as_array()?.iter().map(|it| matches(it, seen)).collect();
        return either(&all);
    }
    if let Some(glob) = wanted.get("glob") {
        let (pattern, text): (Vec<char>, Vec<char>) =
            (glob.as_str()?.chars().collect(), seen.as_str()?.chars().collect());
        return Some(shape(&pattern, &text, true));
    }
    let is_same_type = (wanted.is_string() && seen.is_string())
        || (wanted.is_number() && seen.is_number())
        || (wanted.is_boolean() && seen.is_boolean());
    is_same_type.then(|| wanted == seen)
}

fn either(all: &[Option<bool>]) -> Option<bool> {
    if all.contains(&Some(true)) {
        return Some(true);
    }
    if all.contains(&None) { None } else { Some(false) }
}

/// Whether a role is open, by the nine points of the page. `roles` and `ceilings` are what stands in the YAML.
fn may(config: &Value, name: &str, issuer: &str, claims: &Value, context: &Context) -> bool {
    // 1
    let Some(role) = config["roles"].get(name) else { return false };
    let is_one_of = |names: &Value, name: &str| match names {
        Value::Array(names) => names.iter().any(|it| it == name),
        one => one == name,
    };
    // 2
    if !is_one_of(&role["issuer"], issuer) {
        return false;
    }
    let none = Map::new();
    let entries = |of: &str| role.get(of).and_then(Value::as_object).unwrap_or(&none).clone();
    // 3
    let each = |(name, wanted): (&String, &Value)| claim(claims, name).and_then(|seen| matches(wanted, seen));
    if !entries("match").iter().all(|entry| each(entry) == Some(true)) {
        return false;
    }
    // 4
    if !entries("not").iter().all(|entry| each(entry) == Some(false)) {
        return false;
    }
    // 5
    let platform = platform::by_name(if issuer == "test" { "oidc" } else { issuer }).expect("a platform");
    let Value::Object(map) = claims else { return false };
    let allowed = role.get("allow").cloned().unwrap_or(json!([]));
    for hazard in platform.hazards(&Claims::from(map.clone())) {
        if !is_one_of(&allowed, hazard.name()) {
            return false;
        }
    }
    // 6
    let runner = claim(claims, "runner_environment").and_then(Value::as_str);
    match role.get("runner_environment").and_then(Value::as_str) {
        None => {}
        Some("hosted") if matches!(runner, Some("github-hosted" | "gitlab-hosted" | "buildkite-hosted")) => {}
        Some("self-hosted") if runner == Some("self-hosted") => {}
        _ => return false,
    }
    // 7
    if let Some(networks) = role.get("network").and_then(Value::as_array) {
        let is_in = |network: &Value| {
            let network: ipnet::IpNet = network.as_str().and_then(|it| it.parse().ok()).expect("a network");
            context.address.is_some_and(|address| network.contains(&address))
        };
        if !networks.iter().any(is_in) {
            return false;
        }
    }
    // 8
    if let Some(until) = role.get("until").and_then(Value::as_str)
        && context.now >= until.parse().expect("an instant")
    {
        return false;
    }
    // 9
    let ceilings = config["ceilings"].as_array().cloned().unwrap_or_default();
    ceilings.iter().all(|ceiling| {
        let is_other = ceiling.get("issuer").is_some_and(|it| !is_one_of(it, issuer));
        let conditions = ceiling.get("match").and_then(Value::as_object).unwrap_or(&none).clone();
        let differs = conditions.iter().any(|entry| each(entry) == Some(false));
        is_other || differs || allows(ceiling, role)
    })
}

fn allows(ceiling: &Value, role: &Value) -> bool {
    let among = |of: &str, name: &Value| {
        ceiling.get(of).is_none_or(|it| it.as_array().is_some_and(|it| it.contains(name)))
    };
    let writes = role.get("access").is_none_or(|it| it == "write");
    let provider = &role["grant"]["provider"];
    let hazards = role.get("allow").and_then(Value::as_array).cloned().unwrap_or_default();
    let parameters = match ceiling["parameters"].get(provider.as_str().unwrap_or_default()) {
        None => true,
        Some(cap) => under(cap, role["grant"].get("parameters").unwrap_or(&json!({}))),
    };
    !(ceiling.get("access") == Some(&json!("read")) && writes)
        && among("environments", &role["environment"])
        && among("providers", provider)
        && hazards.iter().all(|hazard| among("allow", hazard))
        && parameters
}

/// The only parameters, with their only values; `"*"` is any.
fn under(cap: &Value, value: &Value) -> bool {
    match (cap, value) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(cap), Value::Object(members)) => {
            members.iter().all(|(name, value)| cap.get(name).is_some_and(|cap| under(cap, value)))
        }
        (Value::Array(allowed), Value::Array(values)) => values.iter().all(|it| allowed.contains(it)),
        (Value::Array(allowed), value) => allowed.contains(value),
        (one, value) => one == value,
    }
}

/// What is written as YAML is what stands here as JSON.
fn load(config: &Value) -> crate::config::Config {
    super::support::config(&serde_yaml::to_string(config).expect("serializes"))
}

fn identity(issuer: &str, claims: &Value) -> crate::identity::Identity {
    let name = if issuer == "test" { "oidc" } else { issuer };
    testing::identity_of(name, claims.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_documentation(
        policy in policies(),
        claims in tokens(),
        issuer in proptest::sample::select(vec!["github", "github", "test"]),
        context in contexts(),
        is_meant in any::<bool>(),
    ) {
        let config = load(&policy);
        let claims = meant(is_meant, &policy, claims);
        let who = identity(issuer, &claims);
        let mut open = Vec::new();
        for name in ["a", "b", "c"] {
            let expected = may(&policy, name, issuer, &claims, &context);
            let decided = config.policy.decide(&who, name, &context);
            prop_assert_eq!(decided.is_ok(), expected, "{} {}: {:?}", name, claims, decided);
            if let Err(refusal) = decided {
                prop_assert!(name == "c" || !refusal.failed().is_empty() || !policy["roles"].as_object().unwrap().contains_key(name));
            }
            if expected {
                open.push(name);
            }
        }
        prop_assert_eq!(config.policy.open_to(&who, &context), open);
    }

    #[test]
    fn removing_a_claim_never_grants_more(
        policy in policies(),
        claims in tokens(),
        context in contexts(),
        gone in proptest::sample::select(&CLAIMS[..]),
        is_meant in proptest::bool::weighted(0.8),
    ) {
        let claims = meant(is_meant, &policy, claims);
        let mut fewer = claims.clone();
        fewer.as_object_mut().unwrap().remove(gone);
        let Value::Object(map) = &fewer else { unreachable!() };
        // A token without what hazards are read from is refused before any policy is asked.
        let github = platform::by_name("github").expect("a platform");
        prop_assume!(gone != "event_name" || github.subject(&Claims::from(map.clone())).is_ok());
        let config = load(&policy);
        for name in ["a", "b"] {
            let before = config.policy.decide(&identity("github", &claims), name, &context);
            let after = config.policy.decide(&identity("github", &fewer), name, &context);
            prop_assert!(before.is_ok() || after.is_err(), "{} without {}", name, gone);
            if let (Ok(before), Ok(after)) = (before, after) {
                prop_assert!(after.max_ttl() <= before.max_ttl());
            }
        }
    }

    #[test]
    fn a_role_never_changes_what_another_one_says(
        policy in policies(),
        more in super::random::role(),
        claims in tokens(),
        context in contexts(),
        is_meant in any::<bool>(),
    ) {
        let claims = meant(is_meant, &policy, claims);
        let mut larger = policy.clone();
        larger["roles"]["zzz"] = more;
        let (small, large) = (load(&policy), load(&larger));
        prop_assert_ne!(small.digest(), large.digest());
        for name in ["a", "b"] {
            let who = identity("github", &claims);
            let (before, after) =
                (small.policy.decide(&who, name, &context), large.policy.decide(&who, name, &context));
            match (before, after) {
                (Ok(before), Ok(after)) => {
                    prop_assert_eq!(before.parameters(), after.parameters());
                    prop_assert_eq!((before.ttl(), before.max_ttl()), (after.ttl(), after.max_ttl()));
                }
                (Err(before), Err(after)) => prop_assert_eq!(before.answer(), after.answer()),
                (before, after) => prop_assert!(false, "{:?} {:?}", before, after),
            }
        }
    }

    #[test]
    fn a_ceiling_never_grants_more(
        policy in policies(),
        lid in ceiling(),
        claims in tokens(),
        context in contexts(),
        is_meant in any::<bool>(),
    ) {
        let claims = meant(is_meant, &policy, claims);
        let mut lower = policy.clone();
        lower["ceilings"].as_array_mut().unwrap().push(lid);
        let (free, capped) = (load(&policy), load(&lower));
        for name in ["a", "b"] {
            let who = identity("github", &claims);
            let (before, after) =
                (free.policy.decide(&who, name, &context), capped.policy.decide(&who, name, &context));
            prop_assert!(before.is_ok() || after.is_err());
        }
    }

    #[test]
    fn the_digest_is_of_what_is_said(policy in policies()) {
        let once = load(&policy).digest().to_owned();
        let twice = load(&policy).digest().to_owned();
        prop_assert_eq!(&once, &twice);
        // Style is nothing, order of members is nothing.
        let flow = policy.to_string();
        let text = format!("{HEAD}roles: {}\nceilings: {}\n", policy["roles"], policy["ceilings"]);
        let again = crate::config::Config::parse("other.yaml", text, std::path::Path::new("."));
        let again = again.map_err(|e| format!("{e}\n{flow}")).unwrap();
        prop_assert_eq!(&once, again.digest());
    }
}
