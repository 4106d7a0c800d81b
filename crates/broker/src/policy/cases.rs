//! Tests of a policy, written by its operator: claims, a role, and what must come out. For CI.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::explain::Explanation;
use super::file::read_instant;
use super::role::Context;
use crate::claims::Claims;
use crate::config::Config;
use crate::config::document::{Document, Problem, closest, step_of};

/// Largest file of tests, in bytes.
pub const MAX_FILE: usize = crate::config::document::MAX_FILE;

/// A file of tests.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "claviger policy tests")]
pub struct TestFile {
    /// Sets of claims that tests share, by name. Give all claims that a token has, without `aud` and times.
    #[serde(default)]
    pub claims: BTreeMap<String, Map<String, Value>>,
    /// The tests.
    pub tests: Vec<Test>,
}

/// A test.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// The role that is asked for.
    pub role: String,
    /// The issuer's name; by default that of the claim `iss`, else the role's own if it has one only.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The token's claims: the name of a set, or the claims themselves.
    pub claims: ClaimsOf,
    /// Claims that are different here.
    #[serde(default)]
    pub with: Map<String, Value>,
    /// Claims that are missing here.
    #[serde(default)]
    pub without: BTreeSet<String>,
    /// The caller's address.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub address: Option<IpAddr>,
    /// When it is asked: a day or an RFC 3339 instant; by default when the test runs.
    #[serde(default, deserialize_with = "instant")]
    #[schemars(with = "Option<String>")]
    pub now: Option<Timestamp>,
    /// What must come out.
    pub expect: Expect,
    /// Exactly these claims must be what fails (or `issuer`, `hazard`, `address`, `until`, `ceiling`).
    #[serde(default)]
    pub failed: Option<BTreeSet<String>>,
}

/// What must come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// The role is granted.
    Allow,
    /// It is refused.
    Refuse,
}

/// The name of a set of claims, or claims.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub enum ClaimsOf {
    /// A set's name.
    Set(String),
    /// The claims.
    These(Map<String, Value>),
}

impl<'de> Deserialize<'de> for ClaimsOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClaimsOf, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(ClaimsOf::Set(name)),
            Value::Object(claims) => Ok(ClaimsOf::These(claims)),
            _ => Err(serde::de::Error::custom("write the name of a set under `claims`, or claims by name")),
        }
    }
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    read_instant(&text).map(Some).map_err(serde::de::Error::custom)
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The test's name.
    pub name: String,
    /// Where it is written.
    pub place: String,
    /// The role.
    pub role: String,
    /// What was expected.
    pub expected: Expect,
    /// Why it failed; `None` if it did not.
    pub failure: Option<String>,
}

impl TestFile {
    /// Reads a file of tests.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn parse(name: &str, text: String) -> Result<(TestFile, Document), Problem> {
        let document = Document::parse(name, text)?;
        let file: TestFile = document.read("")?;
        if file.tests.is_empty() {
            return Err(document.problem("/tests", "there are no tests in it"));
        }
        for (index, test) in file.tests.iter().enumerate() {
            file.claims_of(test).map_err(|what| document.problem(&format!("/tests/{index}/claims"), what))?;
            if test.expect == Expect::Allow && test.failed.is_some() {
                let what = "`failed` goes with `expect: refuse`";
                return Err(document.problem(&format!("/tests/{index}/failed"), what));
            }
        }
        for name in file.claims.keys() {
            if name.is_empty() {
                return Err(document.problem(&format!("/claims{}", step_of(name)), "a set needs a name"));
            }
        }
        Ok((file, document))
    }

    /// JSON Schema (2020-12) of such files.
    pub fn schema() -> Value {
        schemars::schema_for!(TestFile).into()
    }

    fn claims_of(&self, test: &Test) -> Result<Claims, String> {
        let mut claims = match &test.claims {
            ClaimsOf::These(claims) => claims.clone(),
            ClaimsOf::Set(name) => self.claims.get(name).cloned().ok_or_else(|| {
                let near = closest(name, self.claims.keys().map(String::as_str));
                let hint = near.map_or(String::new(), |it| format!("; did you mean `{it}`?"));
                format!("there is no set `{}` under `claims`{hint}", name.escape_default())
            })?,
        };
        for (name, value) in &test.with {
            claims.insert(name.clone(), value.clone());
        }
        for name in &test.without {
            claims.remove(name);
        }
        // As a token's are read: the same bounds hold.
        Claims::parse(&serde_json::to_vec(&claims).map_err(|e| e.to_string())?).map_err(|e| e.to_string())
    }

    /// Runs the tests. `now` is for those that do not say when.
    pub fn run(&self, document: &Document, config: &Config, now: Timestamp) -> Vec<Outcome> {
        let one = |(index, test): (usize, &Test)| Outcome {
            name: test.name.clone(),
            place: document.place(&format!("/tests/{index}")).to_string(),
            role: test.role.clone(),
            expected: test.expect,
            failure: self.check(test, config, now).err(),
        };
        self.tests.iter().enumerate().map(one).collect()
    }

    fn check(&self, test: &Test, config: &Config, now: Timestamp) -> Result<(), String> {
        let claims = self.claims_of(test)?;
        let own = config.policy.only_issuer(&test.role).filter(|_| claims.get("iss").is_none());
        let supposed =
            config.suppose(claims, test.issuer.as_deref().or(own)).map_err(|error| error.to_string())?;
        let context = Context { address: test.address, now: test.now.unwrap_or(now) };
        if let Some(step) = config.objections(&supposed, context.now).first() {
            return wrong_token(test, &step.claim, &step.wanted, step.seen.as_deref());
        }
        let explanation = config.explain(&supposed, &test.role, &context);
        let failed: BTreeSet<String> = explanation.failed().map(|step| step.claim.clone()).collect();
        match (test.expect, explanation.is_allowed()) {
            (Expect::Allow, true) => Ok(()),
            (Expect::Refuse, true) => Err("it is allowed".to_owned()),
            (Expect::Allow, false) => Err(refused(&explanation)),
            (Expect::Refuse, false) => match &test.failed {
                Some(wanted) if *wanted != failed => Err(format!(
                    "it is refused for another reason: {} failed, expected {}",
                    names(&failed),
                    names(wanted)
                )),
                _ => Ok(()),
            },
        }
    }
}

/// A token that would be refused before any role is looked at.
fn wrong_token(test: &Test, claim: &str, wanted: &str, seen: Option<&str>) -> Result<(), String> {
    let is_meant =
        test.expect == Expect::Refuse && test.failed.as_ref().is_some_and(|it| it.iter().eq([claim]));
    if is_meant {
        return Ok(());
    }
    let seen = seen.unwrap_or("missing");
    Err(format!("no token has such claims: `{claim}` is {seen}, wanted {wanted}"))
}

fn refused(explanation: &Explanation) -> String {
    let each: Vec<String> = explanation
        .failed()
        .map(|step| {
            let seen = step.seen.as_deref().unwrap_or("missing");
            format!("`{}` is {seen}, wanted {}", step.claim, step.wanted)
        })
        .collect();
    match (&explanation.similar, each.is_empty()) {
        (Some(similar), true) => format!("there is no such role; did you mean `{similar}`?"),
        (None, true) => "there is no such role".to_owned(),
        (_, false) => format!("it is refused: {}", each.join("; ")),
    }
}

fn names(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
