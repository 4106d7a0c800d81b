//! What a role asks of SSH certificates.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;

use crate::claims::Claims;
use crate::provider::template::Template;
use crate::provider::{ProviderError, SettingsError};

/// OpenSSH takes no more principals in one certificate.
const MAX_PRINCIPALS: usize = 256;
/// The most bytes of a principal.
const MAX_PRINCIPAL: usize = 255;
/// The most bytes of a forced command.
const MAX_COMMAND: usize = 4096;

/// OpenSSH's own extensions; others bear a domain: `name@example.org`.
const EXTENSIONS: [&str; 6] = [
    "no-touch-required",
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];

/// A role's parameters for SSH certificates.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// The login names (for `type: host`, the host names) that the certificate is good for. `{claim}` stands for a
    /// claim of the token, which may hold letters, digits, `.`, `_` and `-`.
    pub(crate) principals: Vec<String>,
    /// Whom it certifies.
    #[serde(default, rename = "type")]
    pub(crate) kind: Kind,
    /// The only command that may be run, whatever the client asks for.
    #[serde(default)]
    pub(crate) force_command: Option<String>,
    /// The networks from which it may be used: `10.0.0.0/8`.
    #[serde(default)]
    pub(crate) source_address: Vec<String>,
    /// Wants the user verified at a hardware key, by PIN or finger.
    #[serde(default)]
    pub(crate) verify_required: bool,
    /// What is permitted beside a command: `permit-pty`, ...; none by default. `name@domain=value` for a server's own.
    #[serde(default)]
    pub(crate) extensions: Vec<String>,
    /// The kinds of keys that are certified; all by default.
    #[serde(default = "all_key_types")]
    pub(crate) key_types: Vec<KeyType>,
}

/// Whom a certificate certifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A user, to a host.
    #[default]
    User,
    /// A host, to its users.
    Host,
}

impl From<Kind> for CertType {
    fn from(kind: Kind) -> CertType {
        match kind {
            Kind::User => CertType::User,
            Kind::Host => CertType::Host,
        }
    }
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyType {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256, P-384 or P-521.
    Ecdsa,
    /// RSA of at least 3,072 bits.
    Rsa,
    /// In a hardware key.
    Sk,
}

impl KeyType {
    /// Every kind.
    pub(crate) const ALL: &[KeyType] = &[KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa, KeyType::Sk];

    /// A key's kind; `None` if it is not certified here.
    pub(crate) fn of(key: &KeyData) -> Option<KeyType> {
        match key {
            KeyData::Ed25519(_) => Some(KeyType::Ed25519),
            KeyData::Ecdsa(_) => Some(KeyType::Ecdsa),
            KeyData::Rsa(_) => Some(KeyType::Rsa),
            KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => Some(KeyType::Sk),
            _ => None,
        }
    }

    /// The word in configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ed25519",
            KeyType::Ecdsa => "ecdsa",
            KeyType::Rsa => "rsa",
            KeyType::Sk => "sk",
        }
    }
}

fn all_key_types() -> Vec<KeyType> {
    KeyType::ALL.to_vec()
}

impl Parameters {
    /// Reads and checks a role's parameters.
    ///
    /// # Errors
    /// A certificate with them would be good for everybody, or servers would refuse it.
    pub(crate) fn parse(value: &Value) -> Result<Parameters, SettingsError> {
        let parameters: Parameters = SettingsError::parse(value)?;
        parameters.check_principals()?;
        parameters.check_options()?;
        Ok(parameters)
    }

    fn check_principals(&self) -> Result<(), SettingsError> {
        let wrong = |what: &str| Err(SettingsError::new("principals", what));
        if self.principals.is_empty() {
            return wrong("name at least one: a certificate without principals is good for every user");
        }
        if self.principals.len() > MAX_PRINCIPALS {
            return wrong("OpenSSH takes at most 256");
        }
        for text in &self.principals {
            let template = Template::parse(text).map_err(|what| SettingsError::new("principals", what))?;
            if !self.is_principal(&template.with_sample("x")) {
                return wrong(
                    "a principal has 1 to 255 visible ASCII characters without quotes and commas; \
                     only those of hosts may hold `*` or `?`, and not alone",
                );
            }
        }
        Ok(())
    }

    fn is_principal(&self, text: &str) -> bool {
        let is_pattern = text.contains(['*', '?', '!']);
        let reaches_far = text.chars().all(|c| matches!(c, '*' | '?' | '!' | '.'));
        !text.is_empty()
            && text.len() <= MAX_PRINCIPAL
            && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, ',' | '"' | '\'' | '\\'))
            && !reaches_far
            && (!is_pattern || self.kind == Kind::Host)
    }

    fn check_options(&self) -> Result<(), SettingsError> {
        let wrong = |at: &str, what: &str| Err(SettingsError::new(at, what));
        let has_options = self.force_command.is_some()
            || !self.source_address.is_empty()
            || self.verify_required
            || !self.extensions.is_empty();
        if self.kind == Kind::Host && has_options {
            return wrong("type", "certificates of hosts take no options and no extensions");
        }
        if let Some(command) = &self.force_command
            && (command.trim().is_empty()
                || command.len() > MAX_COMMAND
                || command.contains(char::is_control))
        {
            return wrong("force_command", "must be one line of at most 4096 bytes");
        }
        for text in &self.source_address {
            let is_whole = text.parse::<IpNet>().is_ok_and(|net| net.trunc() == net);
            if !is_whole && text.parse::<std::net::IpAddr>().is_err() {
                return wrong(
                    "source_address",
                    "write addresses or whole networks: `192.0.2.7`, `10.0.0.0/8`",
                );
            }
        }
        for text in &self.extensions {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let is_own =
                name.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
            let is_plain = text.chars().all(|c| c.is_ascii_graphic());
            if !is_plain || !(is_own || EXTENSIONS.contains(&name) && value.is_empty()) {
                return wrong(
                    "extensions",
                    &format!("`name@domain[=value]`, or one of {}", EXTENSIONS.join(", ")),
                );
            }
        }
        if self.key_types.is_empty() {
            return wrong("key_types", "name at least one, or leave it out for all");
        }
        if self.verify_required && self.key_types != [KeyType::Sk] {
            return wrong("verify_required", "only hardware keys can do this: add `key_types: [sk]`");
        }
        Ok(())
    }

    /// The principals for these claims.
    ///
    /// # Errors
    /// `Denied`: a claim is missing or may not stand in a principal.
    pub(crate) fn principals(&self, claims: &Claims) -> Result<Vec<String>, ProviderError> {
        let mut principals = Vec::with_capacity(self.principals.len());
        for text in &self.principals {
            let template = Template::parse(text).map_err(ProviderError::Misconfigured)?;
            let filled =
                template.fill(claims, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))?;
            if !self.is_principal(&filled) {
                return Err(ProviderError::Denied(
                    "a principal would be empty, too long or a pattern".into(),
                ));
            }
            principals.push(filled);
        }
        Ok(principals)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(value: &Value) -> String {
        Parameters::parse(value).err().map(|e| e.at).unwrap_or_else(|| panic!("accepted: {value}"))
    }

    #[test]
    fn takes_what_servers_take() {
        for good in [
            json!({"principals": ["deploy"]}),
            json!({"principals": ["repo-{repository_id}", "deploy"], "extensions": ["permit-pty"]}),
            json!({"principals": ["*.build.example.org"], "type": "host"}),
            json!({"principals": ["a"], "force_command": "rsync --server .", "source_address": ["10.0.0.0/8", "::1"]}),
            json!({"principals": ["a"], "verify_required": true, "key_types": ["sk"]}),
            json!({"principals": ["git"], "extensions": ["login@github.com=alice"]}),
        ] {
            assert!(Parameters::parse(&good).is_ok(), "{good}: {:?}", Parameters::parse(&good).err());
        }
    }

    /// CVE-2024-7594: a certificate without principals was valid for every user.
    #[test]
    fn empty_principals_are_refused() {
        for bad in [
            json!({"principals": []}),
            json!({"principals": [""]}),
            json!({"principals": ["a", ""]}),
            json!({"principals": ["*"]}),
            json!({"principals": ["*"], "type": "host"}),
            json!({"principals": ["*.*"], "type": "host"}),
            json!({"principals": ["a,b"]}),
            json!({"principals": ["a b"]}),
            json!({"principals": ["a\nb"]}),
            json!({"principals": ["web*"]}),
            json!({"principals": ["{"]}),
            json!({"principals": vec!["a"; 257]}),
        ] {
            assert_eq!(at(&bad), "principals", "{bad}");
        }
        assert!(Parameters::parse(&json!({})).is_err());
    }

    #[test]
    fn options_that_servers_would_refuse_are_refused() {
        for (bad, place) in [
            (json!({"principals": ["a"], "force_command": "a\nb"}), "force_command"),
            (json!({"principals": ["a"], "force_command": " "}), "force_command"),
            (json!({"principals": ["a"], "source_address": ["10.0.0.1/8"]}), "source_address"),
            (json!({"principals": ["a"], "source_address": ["10.0.0.0/8,::/0"]}), "source_address"),
            (json!({"principals": ["a"], "extensions": ["permit-everything"]}), "extensions"),
            (json!({"principals": ["a"], "extensions": ["permit-pty=1"]}), "extensions"),
            (json!({"principals": ["a"], "key_types": []}), "key_types"),
            (json!({"principals": ["a"], "key_types": ["dsa"]}), "key_types[0]"),
            (json!({"principals": ["a"], "verify_required": true}), "verify_required"),
            (json!({"principals": ["a"], "type": "host", "force_command": "id"}), "type"),
            (json!({"principals": ["a"], "typ": "host"}), "typ"),
        ] {
            assert_eq!(at(&bad), place, "{bad}");
        }
    }

    /// GHSA-59w7-v8rr-pr4p: a claim with `,` or `*` became several principals or a pattern.
    #[test]
    fn claims_stay_one_principal() {
        let parameters = Parameters::parse(&json!({"principals": ["{who}"]})).unwrap();
        let fill = |who: &str| {
            parameters.principals(&Claims::parse(json!({"who": who}).to_string().as_bytes()).unwrap())
        };
        assert_eq!(fill("alice"), Ok(vec!["alice".into()]));
        for bad in ["root,alice", "*", "a b", "", "a/b", "ro\u{0}ot", "r\u{43e}ot", "{x}"] {
            assert!(matches!(fill(bad), Err(ProviderError::Denied(_))), "{bad}");
        }
    }
}
