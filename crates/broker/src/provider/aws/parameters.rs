//! What a role asks of AWS.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::sts::MAX_POLICY;
use crate::claims::Claims;
use crate::provider::template::Template;
use crate::provider::{ProviderError, SettingsError};

/// A role's parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The AWS role to assume, as an ARN.
    pub(super) role: String,
    /// A session policy, as JSON or as a text of it: the session may do what the role *and* this allow.
    #[serde(default)]
    policy: Option<Value>,
    /// Managed policies that narrow the session in the same way.
    #[serde(default)]
    pub(super) policy_arns: Vec<String>,
    /// Session tags: name and value; `{claim}` in a value stands for a claim. Not with a caller's token, which brings
    /// its own.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Names of tags that stay when the session assumes a further role.
    #[serde(default)]
    pub(super) transitive_tags: Vec<String>,
    /// Who is behind the session; `{claim}` stands for a claim.
    #[serde(default)]
    source_identity: Option<String>,
    /// What the role's trust policy wants to hear. No secret.
    #[serde(default)]
    pub(super) external_id: Option<String>,
}

/// AWS's bounds.
const MAX_ROLE: usize = 2048;
const MAX_POLICY_ARNS: usize = 10;
const MAX_TAGS: usize = 50;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

impl Parameters {
    /// Reads and checks a role's parameters. `by_token` when the caller's token assumes the role; `accounts` those that
    /// roles may belong to, all if empty.
    pub(super) fn parse(
        value: &Value,
        by_token: bool,
        accounts: &[String],
    ) -> Result<Parameters, SettingsError> {
        let it: Parameters = SettingsError::parse(value)?;
        let account = check_role(&it.role).map_err(|what| SettingsError::new("role", what))?;
        if !accounts.is_empty() && !accounts.iter().any(|allowed| allowed == account) {
            let what = format!("the provider's `accounts` do not hold {account}");
            return Err(SettingsError::new("role", what));
        }
        it.session_policy()?;
        if it.policy_arns.len() > MAX_POLICY_ARNS
            || it.policy_arns.iter().any(|arn| !arn.starts_with("arn:") || !is_name(arn, 2048, ":/"))
        {
            return Err(SettingsError::new("policy_arns", "write at most 10 ARNs of managed policies"));
        }
        if by_token {
            it.check_unsigned()?;
        }
        it.check_tags()?;
        if let Some(template) = &it.source_identity {
            let template = self::template("source_identity", template)?;
            if !(2..=64).contains(&template.with_sample("xx").len()) {
                return Err(SettingsError::new("source_identity", "must have 2 to 64 characters"));
            }
        }
        if it.external_id.as_ref().is_some_and(|id| id.len() < 2 || !is_name(id, 1224, ":/")) {
            return Err(SettingsError::new(
                "external_id",
                "must have 2 to 1224 of letters, digits and `+=,.@:/-_`",
            ));
        }
        Ok(it)
    }

    /// The policy that narrows the session, as short as JSON can be.
    pub(super) fn session_policy(&self) -> Result<Option<String>, SettingsError> {
        let wrong = |what: &str| SettingsError::new("policy", what);
        let Some(policy) = &self.policy else { return Ok(None) };
        let parsed: Value;
        let policy = match policy {
            Value::String(text) => {
                parsed = serde_json::from_str(text).map_err(|e| wrong(&format!("not JSON: {e}")))?;
                &parsed
            }
            other => other,
        };
        if !policy.get("Statement").is_some_and(|it| it.is_array() || it.is_object()) {
            return Err(wrong("not a policy: it has no `Statement`"));
        }
        if policy.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
            return Err(wrong("write `Version: \"2012-10-17\"`, or variables in it are taken literally"));
        }
        let text = policy.to_string();
        if text.chars().count() > MAX_POLICY {
            return Err(wrong("longer than 2048 characters; use `policy_arns` for the rest"));
        }
        if text.chars().any(|c| !matches!(c, ' '..='\u{ff}')) {
            return Err(wrong("holds characters that AWS does not take in a policy"));
        }
        Ok(Some(text))
    }

    /// The tags of a session for these claims.
    pub(super) fn tags(&self, claims: &Claims) -> Result<Vec<(String, String)>, ProviderError> {
        let fill = |(key, value): (&String, &String)| {
            let value = filled(value, claims, is_tag_character)?;
            if value.chars().count() > MAX_TAG_VALUE {
                return Err(ProviderError::Denied(format!(
                    "tag `{key}` would be longer than {MAX_TAG_VALUE}"
                )));
            }
            Ok((key.clone(), value))
        };
        self.tags.iter().map(fill).collect()
    }

    /// Who is behind a session with these claims.
    pub(super) fn source_identity(&self, claims: &Claims) -> Result<Option<String>, ProviderError> {
        let Some(template) = &self.source_identity else { return Ok(None) };
        let value = filled(template, claims, |c| is_name_character(c, ""))?;
        if !(2..=64).contains(&value.len()) {
            return Err(ProviderError::Denied(
                "the source identity would not have 2 to 64 characters".into(),
            ));
        }
        Ok(Some(value))
    }

    /// With a caller's token the labels come from that token, or not at all.
    fn check_unsigned(&self) -> Result<(), SettingsError> {
        let what = "not with a caller's token: it carries these in claims of its own";
        let given = [
            ("tags", !self.tags.is_empty()),
            ("transitive_tags", !self.transitive_tags.is_empty()),
            ("source_identity", self.source_identity.is_some()),
            ("external_id", self.external_id.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((at, _)) => Err(SettingsError::new(at, what)),
            None => Ok(()),
        }
    }

    fn check_tags(&self) -> Result<(), SettingsError> {
        if self.tags.len() > MAX_TAGS {
            return Err(SettingsError::new("tags", "at most 50"));
        }
        for (key, value) in &self.tags {
            let at = format!("tags.{key}");
            let is_key = !key.is_empty()
                && key.chars().count() <= MAX_TAG_KEY
                && key.chars().all(is_tag_character)
                && !key.to_ascii_lowercase().starts_with("aws:");
            if !is_key {
                return Err(SettingsError::new(
                    at,
                    "not a tag's name: at most 128 letters, digits, spaces, `_.:/=+-@`",
                ));
            }
            let sample = template(&at, value)?.with_sample("x");
            if sample.chars().count() > MAX_TAG_VALUE || !sample.chars().all(is_tag_character) {
                return Err(SettingsError::new(
                    at,
                    "a tag's value has at most 256 letters, digits, spaces, `_.:/=+-@`",
                ));
            }
        }
        match self.transitive_tags.iter().find(|name| !self.tags.contains_key(*name)) {
            Some(name) => Err(SettingsError::new("transitive_tags", format!("`tags` has no `{name}`"))),
            None => Ok(()),
        }
    }
}

/// Checks the ARN of a role and gives its account.
pub(super) fn check_role(arn: &str) -> Result<&str, String> {
    let wrong = || "not the ARN of a role; write `arn:aws:iam::ACCOUNT:role/NAME`".to_owned();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, name] = parts[..] else { return Err(wrong()) };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_partition = partition.starts_with("aws") && is_name(partition, 16, "");
    let is_role = name.strip_prefix("role/").is_some_and(|name| is_name(name, 576, "/"));
    if arn.len() <= MAX_ROLE && is_account && is_partition && is_role { Ok(account) } else { Err(wrong()) }
}

fn is_name(text: &str, max: usize, more: &str) -> bool {
    !text.is_empty() && text.len() <= max && text.chars().all(|c| is_name_character(c, more))
}

/// `[\w+=,.@-]`, as IAM writes it, and `more`.
fn is_name_character(c: char, more: &str) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) || more.contains(c)
}

fn is_tag_character(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}

fn template(at: &str, text: &str) -> Result<Template, SettingsError> {
    Template::parse(text).map_err(|what| SettingsError::new(at, what))
}

fn filled(text: &str, claims: &Claims, allowed: fn(char) -> bool) -> Result<String, ProviderError> {
    Template::parse(text).map_err(ProviderError::Misconfigured)?.fill(claims, allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/path/deploy";

    fn parse(mut value: Value) -> Result<Parameters, SettingsError> {
        value.as_object_mut().unwrap().entry("role").or_insert(json!(ROLE));
        Parameters::parse(&value, false, &[])
    }

    #[test]
    fn roles() {
        assert_eq!(check_role(ROLE), Ok("123456789012"));
        assert_eq!(check_role("arn:aws-cn:iam::123456789012:role/x"), Ok("123456789012"));
        for bad in [
            "arn:aws:iam::1234:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:gcp:iam::123456789012:role/x",
            "arn:aws:sts::123456789012:role/x",
            "x",
        ] {
            assert!(check_role(bad).is_err(), "{bad}");
        }
        let elsewhere = Parameters::parse(&json!({"role": ROLE}), false, &["999999999999".into()]);
        assert_eq!(elsewhere.err().unwrap().at, "role");
    }

    #[test]
    fn policies_are_checked_and_made_short() {
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
        let read = |policy: Value| parse(json!({"policy": policy}))?.session_policy();
        assert_eq!(read(policy.clone()), Ok(Some(policy.to_string())));
        assert_eq!(read(json!(serde_json::to_string_pretty(&policy).unwrap())), Ok(Some(policy.to_string())));
        let long = json!({"Version": "2012-10-17", "Statement": [{"Sid": "x".repeat(2048)}]});
        for bad in [json!("{"), json!({}), json!([]), json!({"Statement": []}), long] {
            assert_eq!(read(bad.clone()).err().map(|e| e.at), Some("policy".into()), "{bad}");
        }
    }

    #[test]
    fn labels_come_from_claims_and_from_nothing_odd() {
        let it = parse(json!({"tags": {"Repository": "{repository}"}, "transitive_tags": ["Repository"], "source_identity": "gh-{id}"})).unwrap();
        let claims = |value: Value| Claims::parse(value.to_string().as_bytes()).unwrap();
        let good = claims(json!({"repository": "o/r", "id": "7"}));
        assert_eq!(it.tags(&good), Ok(vec![("Repository".into(), "o/r".into())]));
        assert_eq!(it.source_identity(&good), Ok(Some("gh-7".into())));
        for bad in [
            json!({}),
            json!({"repository": "a&b", "id": "a/b"}),
            json!({"repository": "a\n", "id": "x".repeat(70)}),
        ] {
            assert!(it.tags(&claims(bad.clone())).is_err() && it.source_identity(&claims(bad)).is_err());
        }
    }

    #[test]
    fn refuses_what_aws_would() {
        for (bad, at) in [
            (json!({"tags": {"aws:x": "y"}}), "tags.aws:x"),
            (json!({"tags": {"x": "{"}}), "tags.x"),
            (json!({"transitive_tags": ["x"]}), "transitive_tags"),
            (json!({"source_identity": "x"}), "source_identity"),
            (json!({"external_id": "a b"}), "external_id"),
            (json!({"policy_arns": ["x"]}), "policy_arns"),
            (json!({"role": "x"}), "role"),
            (json!({"unknown": 1}), "unknown"),
        ] {
            let error = parse(bad.clone()).err().unwrap();
            assert!(error.at == at || error.what.contains(at), "{bad}: {error}");
        }
    }

    #[test]
    fn a_token_brings_its_own_labels() {
        let value = json!({"role": ROLE, "tags": {"a": "b"}});
        assert_eq!(Parameters::parse(&value, true, &[]).err().unwrap().at, "tags");
    }
}
