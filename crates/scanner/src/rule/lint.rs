//! What is wrong with a set of rules, beyond what stops it from loading.

use std::collections::HashMap;

use regex_syntax::hir::{Hir, HirKind};

use super::{Rule, wire};

/// Patterns whose automaton is larger than this, in bytes, make every candidate slow.
const SLOW: usize = 512 * 1024;

/// A weakness of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The rule.
    pub rule: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Looks for duplicates, shadowed rules, patterns that are slow, unbounded or do not hold their anchors.
pub fn lint(rules: &[Rule]) -> Vec<Lint> {
    let mut lints = Vec::new();
    let mut patterns: HashMap<&str, &str> = HashMap::new();
    for rule in rules {
        let mut say = |message: String| lints.push(Lint { rule: rule.id.to_string(), message });
        if let Some(other) = patterns.insert(&rule.pattern, &rule.id) {
            say(format!("has the same pattern as `{other}`: one of them never wins"));
        }
        match crate::engine::compile(&rule.pattern) {
            Err(e) => say(format!("its pattern does not compile: {e}")),
            Ok(regex) if regex.memory_usage() > SLOW => {
                say(format!(
                    "its pattern takes {} KiB: shorten its repetitions",
                    regex.memory_usage() / 1024
                ));
            }
            Ok(regex) => {
                if regex.is_match("") {
                    say("its pattern matches the empty text".into());
                }
            }
        }
        if let Ok(hir) = wire::parse(&rule.pattern) {
            shape(rule, &hir, &mut say);
        }
        if rule.remediation.trim().is_empty() {
            say("says nothing on remediation".into());
        }
    }
    lints.extend(shadowed(rules));
    lints
}

fn shape(rule: &Rule, hir: &Hir, say: &mut impl FnMut(String)) {
    // Across lines the window bounds the match, and counted repetitions of that length make huge automata.
    if unbounded(hir) && !rule.multiline {
        say("its pattern repeats without a bound (`*` or `+`): write `{0,N}`, so that its reach is known"
            .into());
    }
    let longest = hir.properties().maximum_len();
    if let Some(longest) = longest.filter(|n| *n > 2 * rule.reach as usize) {
        say(format!("can match {longest} bytes, but its reach is {}: raise `reach`", rule.reach));
    }
    let texts: Vec<String> = rule.anchors.iter().map(|a| a.to_lowercase()).collect();
    for anchor in &texts {
        if let Some(part) = texts.iter().find(|other| *other != anchor && anchor.contains(other.as_str())) {
            say(format!("anchor `{anchor}` holds anchor `{part}`, which is enough"));
        }
    }
}

fn unbounded(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(r) => r.max.is_none() || unbounded(&r.sub),
        HirKind::Capture(c) => unbounded(&c.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(unbounded),
        _ => false,
    }
}

/// Rules none of whose own examples they win: another rule of the set takes them all.
fn shadowed(rules: &[Rule]) -> Vec<Lint> {
    let Ok(set) = super::RuleSet::new(rules.to_vec()) else { return Vec::new() };
    let Ok(engine) = crate::engine::Engine::new(set) else { return Vec::new() };
    let mut lints = Vec::new();
    for rule in rules.iter().filter(|r| r.kind != super::Kind::Generic && r.files.is_empty()) {
        let mut winners: Vec<String> = Vec::new();
        let won = rule.examples_match.iter().enumerate().any(|(at, template)| {
            let Ok(text) = super::fill(template, &format!("{}/{at}", rule.id)) else { return true };
            let found = engine.scan(text.as_bytes(), &crate::engine::Context::default());
            winners.extend(found.iter().map(|m| engine.rule(m.rule).id.to_string()));
            found.iter().any(|m| engine.rule(m.rule).id == rule.id)
        });
        if !won && !winners.is_empty() {
            winners.dedup();
            let message = format!("is shadowed: its examples are found by `{}`", winners.join("`, `"));
            lints.push(Lint { rule: rule.id.to_string(), message });
        }
    }
    lints
}
