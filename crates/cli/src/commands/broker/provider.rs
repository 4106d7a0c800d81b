//! `claviger provider ...`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use claviger_broker::config::document::closest;
use claviger_broker::config::{Built, Config};
use claviger_broker::provider::{Check, KINDS, Kind};
use claviger_broker::ttl::Ttl;
use claviger_scanner::path::printable;
use serde_json::{Value, json};

use super::{load, secrets, table};
use crate::Outcome;
use crate::args_broker::{Provider, ProviderVerb, TextOrJson};
use crate::commands::print;

pub(crate) fn run(args: &Provider) -> anyhow::Result<Outcome> {
    match &args.verb {
        ProviderVerb::List { config, format } => list(&load(&config.config)?, *format),
        ProviderVerb::Kinds { kind: None, format } => kinds(*format),
        ProviderVerb::Kinds { kind: Some(name), format } => show(name, *format),
        ProviderVerb::Check { config, names, all, timeout, format } => {
            let config = load(&config.config)?;
            let names = if *all { config.providers.keys().cloned().collect() } else { names.clone() };
            check(&config, &names, *timeout, *format)
        }
    }
}

fn list(config: &Config, format: TextOrJson) -> anyhow::Result<Outcome> {
    let mut roles: BTreeMap<&str, usize> = BTreeMap::new();
    for granted in config.policy.granted() {
        *roles.entry(granted.provider).or_default() += 1;
    }
    let count = |name: &str| roles.get(name).copied().unwrap_or_default();
    let text = match format {
        TextOrJson::Json => {
            let all: Vec<Value> = config
                .providers
                .iter()
                .map(|(name, it)| {
                    json!({ "name": name, "kind": it.kind, "environment": it.environment, "roles": count(name) })
                })
                .collect();
            format!("{:#}\n", Value::from(all))
        }
        TextOrJson::Text => {
            let head = ["name", "kind", "environment", "roles"].map(str::to_owned).to_vec();
            let rows = config.providers.iter().map(|(name, it)| {
                vec![name.clone(), line(&it.kind), it.environment.clone(), count(name).to_string()]
            });
            table(&[head].into_iter().chain(rows).collect::<Vec<_>>())
        }
    };
    print(&text)?;
    Ok(Outcome::Clean)
}

fn line(text: &str) -> String {
    printable(text.as_bytes())
}

fn as_json(kind: &Kind) -> Value {
    json!({ "name": kind.name, "about": kind.about, "example": kind.example, "parameters": kind.parameters })
}

fn kinds(format: TextOrJson) -> anyhow::Result<Outcome> {
    let text = match format {
        TextOrJson::Json => {
            let all: Vec<Value> = KINDS.iter().copied().map(as_json).collect();
            format!("{:#}\n", Value::from(all))
        }
        TextOrJson::Text => {
            let rows: Vec<Vec<String>> =
                KINDS.iter().map(|kind| vec![kind.name.to_owned(), kind.about.to_owned()]).collect();
            table(&rows)
        }
    };
    print(&text)?;
    Ok(Outcome::Clean)
}

fn show(name: &str, format: TextOrJson) -> anyhow::Result<Outcome> {
    let Some(kind) = KINDS.iter().copied().find(|kind| kind.name == name) else {
        let hint = match closest(name, KINDS.iter().map(|kind| kind.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`claviger provider kinds` lists them".to_owned(),
        };
        bail!("there is no kind of provider `{}`; {hint}", line(name));
    };
    let text = match format {
        TextOrJson::Json => format!("{:#}\n", as_json(kind)),
        TextOrJson::Text => format!(
            "{}: {}\n\n  providers:\n    NAME:\n      kind: {}\n      environment: ENVIRONMENT\n{}\nWhat a role may ask of it:\n\n  \
             grant:\n    provider: NAME\n    parameters:\n{}",
            kind.name,
            kind.about,
            kind.name,
            indented(kind.example),
            indented(kind.parameters)
        ),
    };
    print(&text)?;
    Ok(Outcome::Clean)
}

fn indented(yaml: &str) -> String {
    let mut text = String::new();
    for line in yaml.trim_matches('\n').lines() {
        let _ = writeln!(text, "{}", format!("      {line}").trim_end());
    }
    text
}

/// What a look at a provider gave.
struct Looked {
    name: String,
    /// Why it could not be looked at, or what was looked at.
    result: Result<Vec<Check>, String>,
}

fn check(config: &Config, names: &[String], timeout: Ttl, format: TextOrJson) -> anyhow::Result<Outcome> {
    if let Some(unknown) = names.iter().find(|name| !config.providers.contains_key(*name)) {
        let hint = match closest(unknown, config.providers.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`claviger provider list` lists them".to_owned(),
        };
        bail!("there is no provider `{}`; {hint}", line(unknown));
    }
    let source = secrets(config);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let mut looked = Vec::new();
    for name in names {
        let result = match config.build_one(name, &source) {
            Ok(built) => runtime.block_on(ask(&built, timeout.duration())),
            Err(error) => Err(error.to_string()),
        };
        looked.push(Looked { name: name.clone(), result });
    }
    runtime.shutdown_background();
    let text = match format {
        TextOrJson::Json => format!("{:#}\n", Value::from(looked.iter().map(to_json).collect::<Vec<_>>())),
        TextOrJson::Text => looked.iter().map(to_text).collect(),
    };
    print(&text)?;
    let is_good = |it: &Looked| {
        it.result.as_ref().is_ok_and(|checks| checks.iter().all(|c| c.problem.is_none() || c.is_warning))
    };
    Ok(if looked.iter().all(is_good) { Outcome::Clean } else { Outcome::Findings })
}

async fn ask(built: &Built, timeout: Duration) -> Result<Vec<Check>, String> {
    tokio::time::timeout(timeout, built.provider.check())
        .await
        .map_err(|_| format!("the target gave no answer within {} seconds", timeout.as_secs()))
}

fn to_json(it: &Looked) -> Value {
    let word = |check: &Check| match (&check.problem, check.is_warning) {
        (None, _) => "good",
        (Some(_), true) => "warning",
        (Some(_), false) => "bad",
    };
    match &it.result {
        Err(error) => json!({ "provider": it.name, "error": error, "checks": [] }),
        Ok(checks) => {
            let checks: Vec<Value> = checks
                .iter()
                .map(|check| json!({ "result": word(check), "what": check.what, "problem": check.problem }))
                .collect();
            json!({ "provider": it.name, "checks": checks })
        }
    }
}

fn to_text(it: &Looked) -> String {
    let mut text = format!("{}\n", it.name);
    match &it.result {
        Err(error) => {
            let _ = writeln!(text, "  - {}", line(error));
        }
        Ok(checks) => {
            for check in checks {
                let mark = match (&check.problem, check.is_warning) {
                    (None, _) => "+",
                    (Some(_), true) => "!",
                    (Some(_), false) => "-",
                };
                let problem = check.problem.as_ref().map_or(String::new(), |it| format!(": {it}"));
                let _ = writeln!(text, "  {mark} {}", line(&format!("{}{problem}", check.what)));
            }
        }
    }
    text
}
