//! What a role asks of client certificates: which names they bear.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::claims::Claims;
use crate::provider::template::Template;
use crate::provider::{ProviderError, SettingsError};

const SCHEME: &str = "spiffe://";
/// The SPIFFE ID specification, section 2.3.
const MAX_SPIFFE_ID: usize = 2048;
/// RFC 5280, upper bound of a common name.
const MAX_COMMON_NAME: usize = 64;
const MAX_DNS_NAMES: usize = 32;

/// A role's parameters for X.509 certificates. `{claim}` in a name stands for a claim of the token; one that holds a
/// character which the name may not hold at that place is refused.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// `spiffe://trust.domain/path/{repository_id}`. A claim fills (a part of) one segment of the path.
    #[serde(default)]
    pub(crate) spiffe_id: Option<String>,
    /// DNS names. A claim fills (a part of) one label.
    #[serde(default)]
    pub(crate) dns_names: Vec<String>,
    /// The subject's common name, for servers that look at nothing else; no subject if absent.
    #[serde(default)]
    pub(crate) common_name: Option<String>,
    /// What it is good for: `client`, `server`, or both; `client` by default.
    #[serde(default = "client")]
    pub(crate) usages: Vec<Usage>,
}

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Usage {
    /// To show itself to a server.
    Client,
    /// To serve.
    Server,
}

fn client() -> Vec<Usage> {
    vec![Usage::Client]
}

/// The names of one certificate, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The SPIFFE ID.
    pub(crate) spiffe_id: Option<String>,
    /// DNS names.
    pub(crate) dns_names: Vec<String>,
    /// The common name.
    pub(crate) common_name: Option<String>,
}

impl Parameters {
    /// Reads and checks a role's parameters.
    ///
    /// # Errors
    /// There is no name, or one could not stand in a certificate.
    pub(crate) fn parse(value: &Value) -> Result<Parameters, SettingsError> {
        let parameters: Parameters = SettingsError::parse(value)?;
        let wrong = |at: &str, what: &str| Err(SettingsError::new(at, what));
        if parameters.spiffe_id.is_none()
            && parameters.dns_names.is_empty()
            && parameters.common_name.is_none()
        {
            return wrong("", "a certificate needs a name: `spiffe_id`, `dns_names` or `common_name`");
        }
        if parameters.usages.is_empty() {
            return wrong("usages", "name `client`, `server` or both");
        }
        if parameters.dns_names.len() > MAX_DNS_NAMES {
            return wrong("dns_names", "at most 32");
        }
        let templates =
            |at: &str, text: &str| Template::parse(text).map_err(|what| SettingsError::new(at, what));
        if let Some(text) = &parameters.spiffe_id {
            let template = templates("spiffe_id", text)?;
            if template.has_claim_before(SCHEME, '/') {
                return wrong("spiffe_id", "the trust domain is fixed: claims belong into the path");
            }
            check_spiffe_id(&template.with_sample("x"))
                .map_err(|what| SettingsError::new("spiffe_id", what))?;
        }
        for text in &parameters.dns_names {
            let sample = templates("dns_names", text)?.with_sample("x");
            check_dns_name(&sample).map_err(|what| SettingsError::new("dns_names", what))?;
        }
        if let Some(text) = &parameters.common_name {
            let sample = templates("common_name", text)?.with_sample("x");
            check_common_name(&sample).map_err(|what| SettingsError::new("common_name", what))?;
        }
        Ok(parameters)
    }

    /// The names for these claims.
    ///
    /// # Errors
    /// `Denied`: a claim is missing, or makes a name that may not be.
    pub(crate) fn names(&self, claims: &Claims) -> Result<Names, ProviderError> {
        let spiffe_id = self.spiffe_id.as_ref();
        let common_name = self.common_name.as_ref();
        let dns_names = self.dns_names.iter().map(|text| fill(text, claims, is_label_char, check_dns_name));
        Ok(Names {
            spiffe_id: spiffe_id.map(|text| fill(text, claims, is_name_char, check_spiffe_id)).transpose()?,
            dns_names: dns_names.collect::<Result<_, _>>()?,
            common_name: common_name
                .map(|text| fill(text, claims, is_name_char, check_common_name))
                .transpose()?,
        })
    }
}

/// A template filled and checked as a whole.
fn fill(
    text: &str,
    claims: &Claims,
    allowed: fn(char) -> bool,
    check: fn(&str) -> Result<(), String>,
) -> Result<String, ProviderError> {
    let template = Template::parse(text).map_err(ProviderError::Misconfigured)?;
    let name = template.fill(claims, allowed)?;
    check(&name).map_err(|what| ProviderError::Denied(format!("with the token's claims, {what}")))?;
    Ok(name)
}

/// What a segment of a SPIFFE ID's path may hold (section 2.2); never the separators of a path, a URL or a name.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// What a claim may put into a DNS name: not the dot, or it could add labels.
fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

fn check_spiffe_id(id: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a SPIFFE ID {what}"));
    let Some((domain, path)) = id.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
        return wrong("reads `spiffe://trust.domain/path`, with a path");
    };
    let is_domain_char =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if domain.is_empty() || domain.len() > 255 || !domain.chars().all(is_domain_char) {
        return wrong("has a trust domain of 1 to 255 of a-z, 0-9, `.`, `_` and `-`");
    }
    let is_segment = |text: &str| !matches!(text, "" | "." | "..") && text.chars().all(is_name_char);
    if !path.split('/').all(is_segment) {
        return wrong("has segments of letters, digits, `.`, `_` and `-`, none of them empty, `.` or `..`");
    }
    if id.len() > MAX_SPIFFE_ID {
        return wrong("has at most 2048 bytes");
    }
    Ok(())
}

fn check_dns_name(name: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(is_label_char)
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("a DNS name has labels of letters, digits and `-`, and no wildcard".into());
    }
    Ok(())
}

fn check_common_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if name.trim() != name || name.is_empty() || name.len() > MAX_COMMON_NAME || !name.chars().all(is_plain) {
        return Err("a common name has 1 to 64 printable ASCII characters".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "takes `json!` as it comes")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        Claims::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn names_come_from_claims() {
        let parameters = Parameters::parse(&json!({
            "spiffe_id": "spiffe://ci.example/repo/{repository_id}/{/k/ns}", "dns_names": ["r{repository_id}.ci.example"],
            "common_name": "ci {repository_id}",
        }));
        let names = parameters
            .unwrap()
            .names(&claims(json!({"repository_id": "42", "k": {"ns": "a.b_c-d"}})))
            .unwrap();
        assert_eq!(names.spiffe_id.as_deref(), Some("spiffe://ci.example/repo/42/a.b_c-d"));
        assert_eq!(names.dns_names, ["r42.ci.example"]);
        assert_eq!(names.common_name.as_deref(), Some("ci 42"));
    }

    #[test]
    fn roles_that_reach_too_far_do_not_load() {
        for (bad, place) in [
            (json!({}), ""),
            (json!({"spiffe_id": "spiffe://{owner}/a"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://a{owner}/a"}), "spiffe_id"),
            (json!({"spiffe_id": "{owner}"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://ci.example"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://ci.example/"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://ci.example/a/../b"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://ci.example/a//b"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://ci.example/a%2fb"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://CI.example/a"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://user@ci.example/a"}), "spiffe_id"),
            (json!({"spiffe_id": "spiffe://ci.example:80/a"}), "spiffe_id"),
            (json!({"spiffe_id": "https://ci.example/a"}), "spiffe_id"),
            (json!({"dns_names": ["*.example"]}), "dns_names"),
            (json!({"dns_names": ["a..b"]}), "dns_names"),
            (json!({"dns_names": ["-a.b"]}), "dns_names"),
            (json!({"common_name": ""}), "common_name"),
            (json!({"common_name": "a\nb"}), "common_name"),
            (json!({"common_name": "x".repeat(65)}), "common_name"),
            (json!({"common_name": "a", "usages": []}), "usages"),
            (json!({"common_name": "a", "usages": ["ca"]}), "usages[0]"),
        ] {
            let refused = Parameters::parse(&bad).err().unwrap_or_else(|| panic!("accepted: {bad}"));
            assert_eq!(refused.at, place, "{bad}");
        }
    }

    /// GHSA-59w7-v8rr-pr4p, for paths and names: `..`, `/`, `*` and the like in a claim issue nothing.
    #[test]
    fn claims_never_reach_another_path() {
        let path = Parameters::parse(&json!({"spiffe_id": "spiffe://ci.example/r/{c}/x"})).unwrap();
        let dns = Parameters::parse(&json!({"dns_names": ["{c}.ci.example"]})).unwrap();
        for bad in ["..", ".", "a/b", "a%2Fb", "*", "", "a b", "a?b", "a#b", "é", "a\u{0}", "{x}", "a:b"] {
            let refused = path.names(&claims(json!({"c": bad})));
            assert!(matches!(refused, Err(ProviderError::Denied(_))), "{bad}: {refused:?}");
        }
        for bad in ["a.b", "*", "-a", "_a", "", "a b", "é", &"x".repeat(64)] {
            let refused = dns.names(&claims(json!({"c": bad})));
            assert!(matches!(refused, Err(ProviderError::Denied(_))), "{bad}: {refused:?}");
        }
    }

    proptest! {
        /// Two tokens get the same name only if the claim in it is the same.
        #[test]
        fn different_claims_give_different_names(a in "[a-z./_-]{0,6}", b in "[a-z./_-]{0,6}") {
            let parameters = Parameters::parse(&json!({"spiffe_id": "spiffe://d/{a}/{b}"})).unwrap();
            let there = parameters.names(&claims(json!({"a": a, "b": b})));
            let back = parameters.names(&claims(json!({"a": b, "b": a})));
            if let (Ok(there), Ok(back)) = (there, back) {
                prop_assert_eq!(there == back, a == b);
            }
        }
    }
}
