//! What a role asks of Vault.

use std::collections::BTreeMap;

use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::path;
use crate::claims::Claims;
use crate::provider::template::Template;
use crate::provider::{ProviderError, SettingsError};
use crate::ttl::Ttl;

/// A role's parameters: exactly one of `read`, `write`, `kv` and `token`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// A path to read: `database/creds/app`. `{claim}` stands for a claim.
    #[serde(default)]
    read: Option<String>,
    /// A path to write to: `ssh/sign/deploy`.
    #[serde(default)]
    write: Option<String>,
    /// What to write: values, or `{input: NAME}`, `{claim: NAME}`, `{lease: ttl}` (as `900s`), `{lease: name}`.
    #[serde(default)]
    data: BTreeMap<String, Value>,
    /// A secret of a key-value engine, version 2.
    #[serde(default)]
    kv: Option<Kv>,
    /// The token itself, which may do what its policies say.
    #[serde(default)]
    token: bool,
    /// The policies of the token that reads: what it takes for the path and no more.
    #[serde(default)]
    pub(super) policies: Vec<String>,
    /// The answer waits in Vault for this long, and the job gets a token that opens it once: the broker never sees it.
    #[serde(default)]
    pub(super) wrap: Option<Ttl>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kv {
    /// Where the engine is mounted.
    mount: String,
    /// The secret's path in it. `{claim}` stands for a claim.
    path: String,
    /// The version; the newest if absent.
    #[serde(default)]
    version: Option<u32>,
}

/// How an answer is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Fields of a credential, leased or not.
    Plain,
    /// Fields one level deeper, all of them secret and none leased.
    Kv,
}

/// A call that a role's parameters ask for.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) method: Method,
    /// Below `/v1/`, checked.
    pub(super) path: String,
    /// With its query, if it has one.
    pub(super) address: String,
    pub(super) body: Option<Map<String, Value>>,
    pub(super) shape: Shape,
    /// Something of the caller goes into it: when it is refused, the caller hears it.
    pub(super) has_input: bool,
}

/// What is filled into a plan.
pub(super) struct Facts<'a> {
    pub(super) claims: &'a Claims,
    pub(super) input: &'a BTreeMap<String, String>,
    pub(super) name: &'a str,
    pub(super) ttl: Ttl,
}

/// The longest value that a caller may bring in, in bytes: a public key or a signing request.
const MAX_INPUT: usize = 16 * 1024;

impl Parameters {
    /// Reads and checks a role's parameters. `allowed` are the provider's patterns.
    pub(super) fn parse(value: &Value, allowed: &[String]) -> Result<Parameters, SettingsError> {
        let it: Parameters = SettingsError::parse(value)?;
        let kinds = [it.read.is_some(), it.write.is_some(), it.kv.is_some(), it.token];
        if kinds.into_iter().filter(|is_there| *is_there).count() != 1 {
            return Err(SettingsError::new("", "write one of `read`, `write`, `kv` and `token: true`"));
        }
        if it.policies.iter().any(|policy| policy == "root" || !is_policy(policy)) {
            return Err(SettingsError::new("policies", "names of policies, and never `root`"));
        }
        if it.write.is_none() && !it.data.is_empty() {
            return Err(SettingsError::new("data", "is for `write`"));
        }
        if it.token && it.wrap.is_some() {
            return Err(SettingsError::new("wrap", "a token is not wrapped"));
        }
        for (name, value) in &it.data {
            Source::of(value).map_err(|what| SettingsError::new(format!("data.{name}"), what))?;
        }
        if let Some((at, template)) = it.template()? {
            let sample = template.with_sample("x");
            path::check(&sample).map_err(|what| SettingsError::new(at, what))?;
            // A claim can only be a part of a word, so a sample for it shows which pattern allows the path.
            if !allowed.iter().any(|pattern| path::allows(pattern, &sample)) {
                return Err(SettingsError::new(at, "the provider's `paths` do not allow it"));
            }
        }
        Ok(it)
    }

    /// The path, and the member it comes from.
    fn template(&self) -> Result<Option<(&'static str, Template)>, SettingsError> {
        let (at, text) = match (&self.read, &self.write, &self.kv) {
            (Some(path), ..) => ("read", path.clone()),
            (_, Some(path), _) => ("write", path.clone()),
            (.., Some(kv)) => ("kv", format!("{}/data/{}", kv.mount, kv.path)),
            _ => return Ok(None),
        };
        let template = Template::parse(&text).map_err(|what| SettingsError::new(at, what))?;
        Ok(Some((at, template)))
    }

    /// The call to make; `None` when the token itself is what is wanted.
    pub(super) fn plan(&self, allowed: &[String], facts: &Facts<'_>) -> Result<Option<Plan>, ProviderError> {
        let wrong = |error: SettingsError| ProviderError::Misconfigured(error.to_string());
        let Some((_, template)) = self.template().map_err(wrong)? else { return Ok(None) };
        let path = template.fill(facts.claims, path::is_claim_character)?;
        path::check(&path).map_err(ProviderError::Denied)?;
        if !allowed.iter().any(|pattern| path::allows(pattern, &path)) {
            return Err(ProviderError::Denied(
                "the provider's `paths` do not allow what the claims lead to".into(),
            ));
        }
        let version = self.kv.as_ref().and_then(|kv| kv.version);
        let address = match version {
            Some(version) => format!("{path}?version={version}"),
            None => path.clone(),
        };
        let (body, has_input) = self.body(facts)?;
        let method = if self.write.is_some() { Method::POST } else { Method::GET };
        let shape = if self.kv.is_some() { Shape::Kv } else { Shape::Plain };
        Ok(Some(Plan { method, path, address, body, shape, has_input }))
    }

    fn body(&self, facts: &Facts<'_>) -> Result<(Option<Map<String, Value>>, bool), ProviderError> {
        if self.write.is_none() {
            return Ok((None, false));
        }
        let mut has_input = false;
        let mut body = Map::new();
        for (name, value) in &self.data {
            let source = Source::of(value).map_err(ProviderError::Misconfigured)?;
            has_input |= matches!(source, Source::Input(_) | Source::Claim(_));
            body.insert(name.clone(), source.value(facts)?);
        }
        Ok((Some(body), has_input))
    }
}

fn is_policy(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-/".contains(&byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_part)
}

/// Where a value that is written comes from.
enum Source<'a> {
    Here(&'a Value),
    Input(&'a str),
    Claim(&'a str),
    Ttl,
    Name,
}

impl<'a> Source<'a> {
    fn of(value: &'a Value) -> Result<Source<'a>, String> {
        let Value::Object(members) = value else { return Ok(Source::Here(value)) };
        let mut members = members.iter();
        match (members.next(), members.next()) {
            (Some((kind, Value::String(name))), None) => match (kind.as_str(), name.as_str()) {
                ("input", name) => Ok(Source::Input(name)),
                ("claim", name) => Ok(Source::Claim(name)),
                ("lease", "ttl") => Ok(Source::Ttl),
                ("lease", "name") => Ok(Source::Name),
                _ => Err("write `{input: NAME}`, `{claim: NAME}`, `{lease: ttl}` or `{lease: name}`".into()),
            },
            _ => {
                Err("write a plain value, or one of `{input: NAME}`, `{claim: NAME}`, `{lease: ttl}`".into())
            }
        }
    }

    fn value(&self, facts: &Facts<'_>) -> Result<Value, ProviderError> {
        match self {
            Source::Here(value) => Ok((*value).clone()),
            Source::Ttl => Ok(Value::from(format!("{}s", facts.ttl.seconds()))),
            Source::Name => Ok(Value::from(facts.name)),
            Source::Claim(name) => match facts.claims.text(name) {
                Some(text) if text.len() <= MAX_INPUT => Ok(Value::from(text)),
                _ => Err(ProviderError::Denied(format!("the token has no claim `{name}` that is text"))),
            },
            Source::Input(name) => match facts.input.get(*name) {
                Some(text) if text.len() <= MAX_INPUT => Ok(Value::from(text.as_str())),
                Some(_) => {
                    Err(ProviderError::Denied(format!("input `{name}` is longer than {MAX_INPUT} bytes")))
                }
                None => Err(ProviderError::Denied(format!("send the input `{name}` along"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed() -> Vec<String> {
        vec!["database/creds/*".into(), "ssh/sign/*".into(), "secret/data/*/deploy".into()]
    }

    #[expect(clippy::needless_pass_by_value, reason = "a test takes `json!` as it comes")]
    fn plan(parameters: Value, claims: Value, input: &[(&str, &str)]) -> Result<Option<Plan>, String> {
        let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
        let input = input.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let facts = Facts { claims: &claims, input: &input, name: "clv_x", ttl: Ttl::minutes(15) };
        let parameters = Parameters::parse(&parameters, &allowed()).map_err(|e| e.to_string())?;
        parameters.plan(&allowed(), &facts).map_err(|e| e.to_string())
    }

    #[test]
    fn plans() {
        let read = plan(json!({"read": "database/creds/app"}), json!({}), &[]).unwrap().unwrap();
        assert_eq!((read.method, read.address.as_str()), (Method::GET, "database/creds/app"));
        let kv = json!({"kv": {"mount": "secret", "path": "{id}/deploy", "version": 3}});
        let kv = plan(kv, json!({"id": "7"}), &[]).unwrap().unwrap();
        assert_eq!((kv.address.as_str(), kv.shape), ("secret/data/7/deploy?version=3", Shape::Kv));
        assert!(plan(json!({"token": true, "policies": ["p"]}), json!({}), &[]).unwrap().is_none());
    }

    #[test]
    fn what_is_written_is_filled_in() {
        let write = json!({"write": "ssh/sign/deploy", "data": {
            "public_key": {"input": "public_key"}, "ttl": {"lease": "ttl"}, "key_id": {"lease": "name"},
            "who": {"claim": "sub"}, "cert_type": "user"}});
        let made = plan(write.clone(), json!({"sub": "s"}), &[("public_key", "k")]).unwrap().unwrap();
        let wanted =
            json!({"public_key": "k", "ttl": "900s", "key_id": "clv_x", "who": "s", "cert_type": "user"});
        assert_eq!(Value::Object(made.body.unwrap()), wanted);
        assert!(made.has_input);
        assert!(plan(write.clone(), json!({"sub": "s"}), &[]).unwrap_err().contains("public_key"));
        assert!(plan(write, json!({}), &[("public_key", "k")]).unwrap_err().contains("sub"));
    }

    #[test]
    fn claims_do_not_lead_elsewhere() {
        let parameters = json!({"kv": {"mount": "secret", "path": "{id}/deploy"}});
        for bad in ["..", "a/b", "a?", "%2e%2e", "", "ä"] {
            assert!(plan(parameters.clone(), json!({"id": bad}), &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses() {
        for bad in [
            json!({}),
            json!({"read": "database/creds/app", "token": true}),
            json!({"read": "database/config/app"}),
            json!({"read": "sys/mounts"}),
            json!({"read": "database/creds/../x"}),
            json!({"read": "database/creds/app", "data": {"a": 1}}),
            json!({"write": "ssh/sign/x", "data": {"a": {"b": "c"}}}),
            json!({"write": "ssh/sign/x", "data": {"a": {"lease": "id"}}}),
            json!({"token": true, "policies": ["root"]}),
            json!({"token": true, "wrap": "5m"}),
        ] {
            assert!(plan(bad.clone(), json!({}), &[]).is_err(), "{bad}");
        }
    }
}
