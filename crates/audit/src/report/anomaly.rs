//! Anomalies: what a person should look at, each with the rule that raised it and how to silence it.
//!
//! Baselines are learned from the log itself, so that the same log gives the same findings everywhere.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use super::rules;

/// A rule.
pub struct Rule {
    /// Its name, in findings and configuration.
    pub id: &'static str,
    /// What it looks for.
    pub about: &'static str,
    pub(super) run: fn(&rules::Context<'_>) -> Vec<rules::Found>,
}

/// Every rule, in the order of the documentation.
pub const RULES: &[Rule] = &[
    rule("new-identity", "an identity gets a role for the first time", rules::new_identity),
    rule("new-source", "an identity comes from a network address it never came from", rules::new_source),
    rule(
        "unusual-hour",
        "an identity is active at an hour of the day at which it never is",
        rules::unusual_hour,
    ),
    rule("burst", "an identity asks far more often than it does", rules::burst),
    rule("refused-then-allowed", "several refusals, then success", rules::refused_then_allowed),
    rule("replay", "a token was presented twice", rules::replay),
    rule("lease-in-two-places", "a lease is used from two network addresses", rules::lease_in_two_places),
    rule("use-after-job", "a lease is used after its job ended", rules::use_after_job),
    rule("revocation-overdue", "a credential that should be gone is not", rules::revocation_overdue),
    rule("clock-jump", "an event's time and the log's differ", rules::clock_jump),
    rule("policy-then-use", "the policy changed shortly before a first use", rules::policy_then_use),
    rule("secret-widely-read", "many identities read one static secret in a day", rules::secret_widely_read),
];

const fn rule(
    id: &'static str,
    about: &'static str,
    run: fn(&rules::Context<'_>) -> Vec<rules::Found>,
) -> Rule {
    Rule { id, about, run }
}

/// Thresholds, and what is silenced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Nothing is new in the first so many days of the log.
    pub learn_days: u32,
    /// An identity's rate is known after so many events.
    pub learn_events: u32,
    /// An identity's habits (addresses, hours) are known after so many, each counted once a day.
    pub learn_habit: u32,
    /// A new address or hour is reported if its estimated chance was at most this, between 0 and 1.
    #[schemars(range(min = 0, max = 1))]
    pub surprise: f64,
    /// A burst is so many events in ten minutes at least ...
    pub burst_events: u32,
    /// ... and so many times the identity's own mean over its busy ten minutes.
    #[schemars(range(min = 1))]
    pub burst_factor: f64,
    /// So many refusals ...
    pub refusals: u32,
    /// ... within so many minutes before the success.
    pub refusals_minutes: u32,
    /// A revocation may fail for so many minutes.
    pub revoke_minutes: u32,
    /// Clocks may differ by so many seconds.
    pub clock_seconds: u32,
    /// A first use so many minutes after a change of policy is reported.
    pub policy_minutes: u32,
    /// More identities than this reading one secret in a day are many.
    pub readers: u32,
    /// What is not to be reported.
    pub silence: Vec<Silence>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            learn_days: 14,
            learn_events: 50,
            learn_habit: 10,
            surprise: 0.02,
            burst_events: 60,
            burst_factor: 8.0,
            refusals: 5,
            refusals_minutes: 15,
            revoke_minutes: 15,
            clock_seconds: 300,
            policy_minutes: 15,
            readers: 10,
            silence: Vec::new(),
        }
    }
}

impl Config {
    /// The JSON Schema of the configuration.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Config).into()
    }
}

/// Findings that were looked at and are fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// The rule.
    #[schemars(extend("enum" = RULES.iter().map(|rule| rule.id).collect::<Vec<_>>()))]
    pub rule: String,
    /// What it is about; empty for everything that the rule finds.
    #[serde(default)]
    pub subject: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// The rule that raised it.
    pub rule: &'static str,
    /// When, RFC 3339.
    pub time: String,
    /// When, in milliseconds since 1970.
    #[serde(skip)]
    pub time_ms: i64,
    /// Whom or what it is about.
    pub subject: String,
    /// What was seen.
    pub what: String,
    /// The events that show it, by index.
    pub evidence: Vec<u64>,
    /// How not to see it again: an entry for the list `silence` of the configuration, as YAML and as JSON.
    pub silence: String,
}

/// A string of JSON is one of YAML too, whatever is in it.
fn silence(rule: &str, subject: &str) -> String {
    format!("{{ \"rule\": \"{rule}\", \"subject\": {} }}", serde_json::Value::from(subject))
}

/// Runs every rule. Findings are in order of time, then of the rules.
pub fn find_anomalies(rows: &Rows, config: &Config) -> Vec<Anomaly> {
    let context = rules::Context::new(rows, config);
    let silenced = |rule: &str, subject: &str| {
        config.silence.iter().any(|s| s.rule == rule && (s.subject.is_empty() || s.subject == subject))
    };
    let found: Vec<Vec<rules::Found>> = RULES.par_iter().map(|rule| (rule.run)(&context)).collect();
    let mut all = Vec::new();
    for (rule, found) in RULES.iter().zip(found) {
        for found in found {
            if silenced(rule.id, &found.subject) {
                continue;
            }
            all.push(Anomaly {
                rule: rule.id,
                time: super::time(found.time),
                time_ms: found.time,
                silence: silence(rule.id, &found.subject),
                subject: found.subject,
                what: found.what,
                evidence: found.evidence,
            });
        }
    }
    all.sort_by_key(|anomaly| anomaly.time_ms);
    all
}
