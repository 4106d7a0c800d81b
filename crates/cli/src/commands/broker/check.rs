//! `claviger policy check`: what is wrong, and what is unwise.

use std::fmt::Write as _;

use claviger_broker::config::Config;
use claviger_broker::config::document::{Place, Problem};
use claviger_broker::policy::lint::{Remarks, Severity};
use claviger_scanner::path::printable;
use serde::Serialize;
use serde_json::json;

use super::{exists, secrets};
use crate::Outcome;
use crate::args_broker::{PolicyCheck, TextOrJson};
use crate::commands::print;

/// A problem or a remark.
#[derive(Serialize)]
struct Entry {
    severity: &'static str,
    id: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    message: String,
}

/// All that was found, and what it was found in.
struct Found {
    entries: Vec<Entry>,
    accepted: usize,
    config: Option<Config>,
}

pub(super) fn run(args: &PolicyCheck) -> anyhow::Result<Outcome> {
    let path = &args.config.config;
    exists(path)?;
    let found = match Config::read(path) {
        Ok(config) => look(config),
        Err(error) => {
            let entries = error.problems().iter().map(|it| wrong("invalid", it)).collect();
            Found { entries, accepted: 0, config: None }
        }
    };
    let text = match args.format {
        TextOrJson::Text => text(&found, &path.display().to_string()),
        TextOrJson::Json => json(&found),
    };
    print(&text)?;
    let counts = |entry: &Entry| args.strict || entry.severity != Severity::Note.as_str();
    Ok(if found.entries.iter().any(counts) { Outcome::Findings } else { Outcome::Clean })
}

fn look(config: Config) -> Found {
    let (_, unread, problems) = config.try_build(&secrets(&config));
    let mut entries: Vec<Entry> = problems.iter().map(|it| wrong("invalid", it)).collect();
    entries.extend(config.delegated_problems.iter().map(|it| wrong("delegated", it)));
    let Remarks { shown, accepted } = config.lint();
    for remark in shown {
        entries.push(Entry {
            severity: remark.severity.as_str(),
            id: remark.id,
            role: remark.role,
            message: remark.what,
            ..at(&remark.at)
        });
    }
    for it in unread {
        let message = format!("{}; its settings and what roles ask of it were not checked", it.problem.what);
        entries.push(Entry { severity: "note", id: "unread-secret", message, ..at(&it.problem.at) });
    }
    Found { entries, accepted, config: Some(config) }
}

fn at(place: &Place) -> Entry {
    let some = |number: usize| (number > 0).then_some(number);
    Entry {
        severity: "",
        id: "",
        file: place.file.to_string(),
        line: some(place.line),
        column: some(place.column),
        role: None,
        message: String::new(),
    }
}

fn wrong(id: &'static str, problem: &Problem) -> Entry {
    Entry { severity: "error", id, message: problem.what.clone(), ..at(&problem.at) }
}

fn count(entries: &[Entry], severity: &str) -> usize {
    entries.iter().filter(|entry| entry.severity == severity).count()
}

fn text(found: &Found, path: &str) -> String {
    let mut text = String::new();
    for entry in &found.entries {
        let mut place = entry.file.clone();
        for number in [entry.line, entry.column].into_iter().flatten() {
            let _ = write!(place, ":{number}");
        }
        let role = entry.role.as_ref().map_or(String::new(), |role| format!("role `{role}`: "));
        let line = format!("{place}: {}[{}]: {role}{}", entry.severity, entry.id, entry.message);
        let _ = writeln!(text, "{}", printable(line.as_bytes()));
    }
    if let Some(config) = &found.config {
        let policy = &config.policy;
        let _ = writeln!(
            text,
            "{}: {} roles, {} providers, {} issuers; policy {}",
            printable(path.as_bytes()),
            policy.len(),
            config.providers.len(),
            config.issuers.len(),
            policy.digest().get(..12).unwrap_or_default()
        );
    }
    let number = |severity: &str| count(&found.entries, severity);
    let _ = writeln!(
        text,
        "{} errors, {} warnings, {} notes, {} accepted",
        number("error"),
        number("warning"),
        number("note"),
        found.accepted
    );
    text
}

fn json(found: &Found) -> String {
    let config = found.config.as_ref();
    let all = json!({
        "policy": config.map(|it| it.digest()),
        "roles": config.map(|it| it.policy.len()),
        "accepted": found.accepted,
        "remarks": found.entries,
    });
    format!("{all:#}\n")
}
