//! The issuers that are trusted: as configured, and checked.
//!
//! A token's `iss` is looked up byte by byte in this map and used for nothing else. No part of it is ever taken apart,
//! so that no trick with user names, ports or letter case can lead anywhere.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::platform::{self, PLATFORMS, Platform};
use crate::ttl::Ttl;

/// A signature algorithm with a public key. There are no others: a token that names one is refused while it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[expect(missing_docs, reason = "the names of RFC 7518 and RFC 8037")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    const ALL: [(&'static str, Algorithm); 9] = [
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("EdDSA", Algorithm::EdDSA),
    ];

    /// The algorithm of this name, letter case included.
    pub fn by_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Algorithm::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A platform, named in configuration.
#[derive(Debug, Clone, Copy)]
pub struct PlatformName(pub &'static dyn Platform);

impl<'de> Deserialize<'de> for PlatformName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PlatformName, D::Error> {
        let name = String::deserialize(deserializer)?;
        platform::by_name(&name).map(PlatformName).ok_or_else(|| {
            let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).collect();
            serde::de::Error::custom(format!("no such platform; there are {}", names.join(", ")))
        })
    }
}

impl schemars::JsonSchema for PlatformName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

/// An issuer in the configuration.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What its tokens look like.
    pub platform: PlatformName,
    /// The issuer exactly as its tokens name it. May be left out where a platform has one for everybody.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The audience that its tokens must name, where it cannot be the broker's own.
    #[serde(default)]
    pub audience: Option<String>,
    /// The algorithms its tokens may be signed with.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// The longest time from `iat` to `exp`. Each platform has its own default.
    #[serde(default)]
    pub max_token_life: Option<Ttl>,
    /// How far its clock may be off.
    #[serde(default = "default_leeway")]
    pub leeway: Ttl,
    /// It is inside: its name may resolve to private addresses, and plain HTTP is allowed on the loopback address.
    #[serde(default)]
    pub internal: bool,
    /// Hosts that may serve its keys besides its own.
    #[serde(default)]
    pub jwks_hosts: Vec<String>,
    /// A file with its keys (a JWK set). Nothing is fetched then.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// A file with certificate authorities (PEM) that are trusted for it besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long its keys may be used when they cannot be fetched again.
    #[serde(default = "default_keep_keys")]
    pub keep_keys: Ttl,
    /// The `typ` of its tokens' headers, where it is not `JWT`.
    #[serde(default)]
    pub token_type: Option<String>,
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::ES256]
}

fn default_leeway() -> Ttl {
    const { Ttl::from_secs(30).expect("within bounds") }
}

fn default_keep_keys() -> Ttl {
    Ttl::minutes(24 * 60)
}

/// The most that `leeway` may be: more would be a second life.
const MAX_LEEWAY_S: u64 = 300;

impl IssuerConfig {
    /// An issuer of `platform` with every default.
    pub fn new(platform: &'static dyn Platform) -> IssuerConfig {
        IssuerConfig {
            platform: PlatformName(platform),
            issuer: None,
            audience: None,
            algorithms: default_algorithms(),
            max_token_life: None,
            leeway: default_leeway(),
            internal: false,
            jwks_hosts: Vec::new(),
            jwks_file: None,
            ca_file: None,
            keep_keys: default_keep_keys(),
            token_type: None,
        }
    }
}

/// A configuration of issuers that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issuer `{name}`: {what}")]
pub struct IssuerError {
    /// The issuer's name in the configuration.
    pub name: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

/// An issuer, checked.
#[derive(Debug, Clone)]
pub struct Issuer {
    pub(crate) name: Arc<str>,
    pub(crate) url: Arc<str>,
    pub(crate) platform: &'static dyn Platform,
    pub(crate) audience: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) max_life_s: i64,
    pub(crate) leeway_s: i64,
    pub(crate) internal: bool,
    pub(crate) jwks_hosts: Vec<String>,
    pub(crate) jwks_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) keep_keys_s: i64,
    pub(crate) token_type: String,
}

impl Issuer {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name in tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its tokens look like.
    pub fn platform(&self) -> &'static dyn Platform {
        self.platform
    }

    /// The audience its tokens must name.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The issuer of this entry of the configuration, with the broker's own audience.
    ///
    /// # Errors
    /// The issuer is missing or oddly written, a bound is out of range, an algorithm list is empty.
    pub fn new(name: &str, config: &IssuerConfig, audience: &str) -> Result<Issuer, IssuerError> {
        let no = |what: String| IssuerError { name: name.to_owned(), what };
        let platform = config.platform.0;
        let url = config.issuer.as_deref().or(platform.issuer()).ok_or_else(|| {
            no(format!("`{}` has no issuer for everybody: say `issuer: https://...`", platform.name()))
        })?;
        check_url(url, config.internal).map_err(&no)?;
        let audience = config.audience.as_deref().unwrap_or(audience);
        if audience.is_empty() || audience.len() > 512 || audience.chars().any(char::is_control) {
            return Err(
                no("the audience must have 1 to 512 characters and no control characters".to_owned()),
            );
        }
        if config.algorithms.is_empty() {
            return Err(no("`algorithms` is empty: no token could be accepted".to_owned()));
        }
        if config.leeway.seconds() > MAX_LEEWAY_S {
            return Err(no(format!("`leeway` is more than {MAX_LEEWAY_S}s; mend the clocks instead")));
        }
        if config.jwks_file.is_some() && (config.ca_file.is_some() || !config.jwks_hosts.is_empty()) {
            return Err(no(
                "with `jwks_file` nothing is fetched: take `ca_file` and `jwks_hosts` away".to_owned()
            ));
        }
        for host in &config.jwks_hosts {
            check_host(host).map_err(&no)?;
        }
        let hosts = platform.jwks_hosts().iter().map(|host| (*host).to_owned());
        Ok(Issuer {
            name: name.into(),
            url: url.into(),
            platform,
            audience: audience.to_owned(),
            algorithms: config.algorithms.clone(),
            max_life_s: seconds(config.max_token_life.unwrap_or_else(|| platform.max_life())),
            leeway_s: seconds(config.leeway),
            internal: config.internal,
            jwks_hosts: hosts.chain(config.jwks_hosts.iter().cloned()).collect(),
            jwks_file: config.jwks_file.clone(),
            ca_file: config.ca_file.clone(),
            keep_keys_s: seconds(config.keep_keys),
            token_type: config.token_type.clone().unwrap_or_else(|| "JWT".to_owned()),
        })
    }

    /// Where the discovery document lies (OpenID Connect Discovery 1.0, section 4).
    pub(crate) fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url.trim_end_matches('/'))
    }
}

fn seconds(ttl: Ttl) -> i64 {
    i64::try_from(ttl.seconds()).expect("a Ttl is at most ten years")
}

/// All issuers of a configuration, by the name that their tokens give.
///
/// # Errors
/// One is wrong, or two have the same URL.
pub fn map<'a>(
    configs: impl IntoIterator<Item = (&'a str, &'a IssuerConfig)>,
    audience: &str,
) -> Result<HashMap<Arc<str>, Issuer>, IssuerError> {
    let mut issuers: HashMap<Arc<str>, Issuer> = HashMap::new();
    for (name, config) in configs {
        let issuer = Issuer::new(name, config, audience)?;
        if let Some(other) = issuers.get(&issuer.url) {
            let what = format!("`{}` is the issuer of `{}` already", issuer.url, other.name);
            return Err(IssuerError { name: name.to_owned(), what });
        }
        issuers.insert(Arc::clone(&issuer.url), issuer);
    }
    Ok(issuers)
}

/// Only the plainest way to write a URL is taken, as tokens are compared with it byte by byte.
fn check_url(text: &str, internal: bool) -> Result<(), String> {
    let url = Url::parse(text).map_err(|_| format!("`issuer` is not a URL: `{}`", cut(text)))?;
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("`issuer` has a user name".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("`issuer` has a query or a fragment".to_owned());
    }
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("`issuer` has no host".to_owned()),
    };
    match url.scheme() {
        "https" => {}
        "http" if internal && loopback => {}
        _ => return Err("`issuer` must begin with `https://`".to_owned()),
    }
    let plain = url.as_str();
    if text != plain && format!("{text}/") != plain {
        return Err(format!(
            "`issuer` is oddly written; did you mean `{}`?",
            cut(plain.trim_end_matches('/'))
        ));
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), String> {
    match url::Host::parse(host) {
        Ok(parsed) if parsed.to_string() == host => Ok(()),
        _ => Err(format!("`jwks_hosts`: `{}` is not a plain host name", cut(host))),
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
