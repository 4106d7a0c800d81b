//! Small configurations, and who asks.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::config::Config;
use crate::policy::{Context, Refusal};
use crate::testing;

/// What every configuration here begins with.
pub(super) const HEAD: &str = "\
audience: https://broker.test
issuers:
  github: {platform: github}
  gitlab: {platform: gitlab}
  test: {platform: oidc, issuer: https://issuer.test}
environments:
  dev: {}
  prod: {protected: true, max_ttl: 2h}
providers:
  dev-db: {kind: none, environment: dev}
  prod-db: {kind: none, environment: prod}
  prod-aws: {kind: none, environment: prod}
";

/// A configuration with this behind the head.
pub(super) fn parse(rest: &str) -> Result<Config, String> {
    Config::parse("broker.yaml", format!("{HEAD}{rest}"), Path::new(".")).map_err(|e| e.to_string())
}

/// A configuration that is good.
pub(super) fn config(rest: &str) -> Config {
    parse(rest).unwrap_or_else(|e| panic!("{e}"))
}

/// What is wrong with a configuration.
pub(super) fn wrong(rest: &str) -> String {
    parse(rest).map(|_| ()).expect_err(rest)
}

/// A role for `acme/shop` on GitHub with more members, in flow style.
pub(super) fn role(name: &str, more: &str) -> String {
    format!(
        "  {name}:\n    issuer: github\n    match: {{repository_id: \"4711\"}}\n    environment: dev\n    \
         grant: {{provider: dev-db}}\n{more}"
    )
}

pub(super) fn now() -> Context {
    Context { address: None, now: Timestamp::UNIX_EPOCH }
}

/// Decides for a GitHub token with these changes to a push to main.
pub(super) fn github(config: &Config, role: &str, changes: Value) -> Result<(), Refusal> {
    let who = testing::identity_of("github", testing::claims::github(changes));
    config.policy.decide(&who, role, &now()).map(|_| ())
}

/// The claims that failed.
pub(super) fn failed(result: Result<(), Refusal>) -> Vec<String> {
    match result {
        Ok(()) => Vec::new(),
        Err(refusal) => refusal.failed().iter().map(|it| it.claim.clone()).collect(),
    }
}
