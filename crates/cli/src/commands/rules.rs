//! `claviger rules ...`.

use std::fmt::Write as _;

use anyhow::Context as _;
use claviger_scanner::rule::{self, Rule, RuleSet};

use super::print;
use crate::Outcome;
use crate::args::{RuleChoice, Rules, RulesVerb};

pub(crate) fn run(args: &Rules) -> anyhow::Result<Outcome> {
    match &args.verb {
        RulesVerb::List { rules, json } => list(&choose(rules)?, *json),
        RulesVerb::Show { id, rules } => show(choose(rules)?.get(id)?),
        RulesVerb::Test { rules } => test(&choose(rules)?),
        RulesVerb::Check { rules } => check(&choose(rules)?),
        RulesVerb::Schema => {
            print(&format!("{:#}\n", rule::schema()))?;
            Ok(Outcome::Clean)
        }
        RulesVerb::Fill { template } => {
            print(&format!("{}\n", rule::fill(template, template).map_err(anyhow::Error::msg)?))?;
            Ok(Outcome::Clean)
        }
    }
}

/// The set of rules that the flags choose.
pub(crate) fn choose(choice: &RuleChoice) -> anyhow::Result<RuleSet> {
    let mut more = Vec::new();
    for path in &choice.rules {
        more.extend(rule::read(path).context("rules")?);
    }
    combine(!choice.no_builtin_rules, more, &choice.only, &choice.skip)
}

/// Built-in and other rules, less those not chosen.
pub(crate) fn combine(
    builtin: bool,
    more: Vec<Rule>,
    only: &[String],
    skip: &[String],
) -> anyhow::Result<RuleSet> {
    let set = if !builtin {
        RuleSet::new(more)?
    } else if more.is_empty() {
        RuleSet::builtin()
    } else {
        RuleSet::builtin().with(more)?
    };
    let set = set.select(only, skip)?;
    anyhow::ensure!(!set.rules().is_empty(), "no rule is left: nothing could ever be found");
    Ok(set)
}

fn list(set: &RuleSet, json: bool) -> anyhow::Result<Outcome> {
    if json {
        let rules: Vec<_> = set.rules().iter().map(as_json).collect();
        print(&format!("{:#}\n", serde_json::Value::from(rules)))?;
        return Ok(Outcome::Clean);
    }
    let width = set.rules().iter().map(|r| r.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for rule in set.rules() {
        let _ =
            writeln!(text, "{:width$}  {:8}  {:6}  {}", rule.id, rule.severity, rule.confidence, rule.name);
    }
    let providers: std::collections::BTreeSet<&str> =
        set.rules().iter().map(|r| r.provider.as_ref()).collect();
    let _ = writeln!(text, "{} rules for {} providers", set.rules().len(), providers.len());
    print(&text)?;
    Ok(Outcome::Clean)
}

fn as_json(rule: &Rule) -> serde_json::Value {
    serde_json::json!({
        "id": rule.id, "name": rule.name, "description": rule.description, "provider": rule.provider,
        "kind": rule.kind.as_str(), "severity": rule.severity.as_str(), "confidence": rule.confidence.as_str(),
        "anchors": rule.anchors, "pattern": rule.pattern, "files": rule.files,
        "remediation": rule.remediation, "rotate": rule.rotate, "docs": rule.docs, "replace": rule.replace,
    })
}

fn show(rule: &Rule) -> anyhow::Result<Outcome> {
    print(&describe(rule))?;
    Ok(Outcome::Clean)
}

/// A rule for people.
pub(crate) fn describe(rule: &Rule) -> String {
    let mut text = format!("{}: {}\n\n{}\n\n", rule.id, rule.name, rule.description);
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:12} {value}");
        }
    };
    row("provider", &rule.provider);
    row("kind", rule.kind.as_str());
    row("severity", rule.severity.as_str());
    row("confidence", rule.confidence.as_str());
    row("anchors", &rule.anchors.join("  "));
    row("pattern", &rule.pattern);
    row("files", &rule.files.join("  "));
    row("reach", &format!("{} bytes{}", rule.reach, if rule.multiline { ", across lines" } else { "" }));
    for check in checks(rule) {
        row("check", &check);
    }
    row("to do", &rule.remediation);
    row("rotate", &rule.rotate);
    row("documented", &rule.docs);
    row("replace by", &rule.replace);
    text
}

fn checks(rule: &Rule) -> Vec<String> {
    let checks = &rule.checks;
    let mut out = Vec::new();
    out.extend(checks.entropy.map(|e| format!("entropy of at least {e} bits per byte")));
    out.extend((checks.digits > 0).then(|| format!("at least {} digits", checks.digits)));
    out.extend((checks.classes > 0).then(|| format!("at least {} classes of characters", checks.classes)));
    out.extend(checks.checksum.map(|c| format!("checksum: {c:?}")));
    out.extend(checks.decode.map(|d| format!("decodes as: {d:?}")));
    out.extend(checks.value.map(|v| format!("value analysis: {v:?}")));
    out.extend(checks.not.iter().map(|p| format!("secret must not match {p}")));
    out.extend(checks.not_line.iter().map(|p| format!("line must not match {p}")));
    if let Some(near) = &checks.near {
        let else_ = if near.lower { "else less sure" } else { "else dropped" };
        out.push(format!("within {} bytes one of: {} ({else_})", near.within, near.any.join("  ")));
    }
    out.extend(checks.placeholder.then(|| "no placeholder".to_owned()));
    out
}

fn test(set: &RuleSet) -> anyhow::Result<Outcome> {
    let outcomes = rule::run_examples(set.rules())?;
    let mut text = String::new();
    let mut failed = 0;
    for outcome in &outcomes {
        if let Err(why) = &outcome.result {
            failed += 1;
            let _ = writeln!(text, "{}: example `{}`: {why}", outcome.rule, outcome.template.escape_debug());
        }
    }
    let _ = writeln!(text, "{} rules, {} examples, {failed} failed", set.rules().len(), outcomes.len());
    print(&text)?;
    Ok(if failed == 0 { Outcome::Clean } else { Outcome::Findings })
}

fn check(set: &RuleSet) -> anyhow::Result<Outcome> {
    let lints = rule::lint(set.rules());
    let mut text = String::new();
    for lint in &lints {
        let _ = writeln!(text, "{}: {}", lint.rule, lint.message);
    }
    let _ = writeln!(text, "{} rules, {} remarks", set.rules().len(), lints.len());
    print(&text)?;
    Ok(if lints.is_empty() { Outcome::Clean } else { Outcome::Findings })
}
