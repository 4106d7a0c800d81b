//! What the configuration says about Redis servers, and what a role asks of them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::provider::SettingsError;
use crate::provider::database::server::{Advertise, TlsSettings};
use crate::secret::Secret;

/// Entries of each list.
const MAX_LIST: usize = 32;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 512;
/// Commands (and all below them) with which a user can make itself anything, read the server's configuration or its
/// whole content, or stop it.
const RULING: [&str; 24] = [
    "acl",
    "bgrewriteaof",
    "bgsave",
    "cluster",
    "config",
    "debug",
    "failover",
    "latency",
    "migrate",
    "module",
    "monitor",
    "pfdebug",
    "pfselftest",
    "psync",
    "replconf",
    "replicaof",
    "restore",
    "restore-asking",
    "save",
    "shutdown",
    "slaveof",
    "slowlog",
    "sync",
    "client",
];

/// A word that accepts something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Accepted {
    Accepted,
}

/// A provider's settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// `HOST:PORT` of each server that users are made on: access lists are not replicated, neither to replicas nor
    /// among the nodes of a cluster. Jobs are told the first one.
    pub(super) nodes: Vec<String>,
    /// The broker's own account.
    pub(super) user: String,
    /// Its password: `{file: PATH}`, `{env: NAME}` or `{secret: NAME}`.
    pub(super) password: Option<Value>,
    /// How the servers are trusted.
    pub(super) tls: Option<TlsSettings>,
    /// `accepted`: the servers' default user may be open to everybody.
    pub(super) open_default_user: Option<Accepted>,
    /// The address that jobs are told, if it differs.
    pub(super) advertise: Option<Advertise>,
}

/// What a role asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Patterns of keys that may be read and written: `app:*`.
    #[serde(default)]
    pub(super) keys: Vec<Pattern>,
    /// Patterns of keys that may be read. From Redis 7 on.
    #[serde(default)]
    pub(super) read_keys: Vec<Pattern>,
    /// Patterns of keys that may be written. From Redis 7 on.
    #[serde(default)]
    pub(super) write_keys: Vec<Pattern>,
    /// Patterns of channels.
    #[serde(default)]
    pub(super) channels: Vec<Pattern>,
    /// `+@read`, `+get`, `+config|get`, `-flushdb`. Categories are taken first, then `@admin` and `@dangerous` are taken
    /// away, then single commands are added, then those with `-` taken away.
    pub(super) commands: Vec<Rule>,
    /// `accepted`: commands that rule the server may be given.
    pub(super) dangerous: Option<Accepted>,
    /// The number of the database that the job is told; 0 by default. No right depends on it.
    #[serde(default)]
    pub(super) database: u16,
}

impl Parameters {
    /// Reads a role's parameters.
    ///
    /// # Errors
    /// They are malformed, or reach further than a role may.
    pub(super) fn read(value: &Value) -> Result<Parameters, SettingsError> {
        let parameters: Parameters = SettingsError::parse(value)?;
        let lists = [&parameters.keys, &parameters.read_keys, &parameters.write_keys, &parameters.channels];
        if lists.iter().any(|list| list.len() > MAX_LIST) || parameters.commands.len() > MAX_LIST {
            return Err(SettingsError::new("", format!("at most {MAX_LIST} entries in a list")));
        }
        if !parameters.commands.iter().any(|rule| rule.gives) {
            return Err(SettingsError::new("commands", "gives nothing; write `+@read` for example"));
        }
        if parameters.dangerous.is_none()
            && let Some(index) = parameters.commands.iter().position(Rule::is_ruling)
        {
            let rule = &parameters.commands[index];
            let what = format!(
                "`+{}` lets a user rule the server; write `dangerous: accepted` if it must be",
                rule.what
            );
            return Err(SettingsError::new(format!("commands[{index}]"), what));
        }
        Ok(parameters)
    }

    /// The arguments of `ACL SETUSER` behind the name. Whatever the user had is reset first.
    pub(super) fn rules(&self, password: &Secret) -> Vec<String> {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, password.expose());
        let mut rules =
            vec!["reset".to_owned(), "resetchannels".into(), "on".into(), format!("#{}", hex::encode(hash))];
        let patterns =
            [("~", &self.keys), ("%R~", &self.read_keys), ("%W~", &self.write_keys), ("&", &self.channels)];
        for (sign, list) in patterns {
            rules.extend(list.iter().map(|pattern| format!("{sign}{}", pattern.0)));
        }
        // Without it no client library gets past its greeting.
        rules.push("+@connection".into());
        let added = |is_category: bool| {
            let chosen =
                self.commands.iter().filter(move |rule| rule.gives && rule.is_category() == is_category);
            chosen.map(|rule| format!("+{}", rule.what))
        };
        rules.extend(added(true));
        if self.dangerous.is_none() {
            rules.extend(["-@admin".to_owned(), "-@dangerous".into()]);
        }
        rules.extend(added(false));
        rules.extend(self.commands.iter().filter(|rule| !rule.gives).map(|rule| format!("-{}", rule.what)));
        rules
    }
}

/// A pattern of keys or channels. Invariant: 1 to 512 bytes, no space and no control character.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct Pattern(String);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(format!("a pattern has 1 to {MAX_PATTERN} bytes"));
        }
        // The server's file of users is split at spaces and line ends.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("a pattern has no spaces and no control characters".into());
        }
        Ok(Pattern(text))
    }
}

/// A command or a category, given or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct Rule {
    gives: bool,
    /// `@read`, `get`, `config|get`. Invariant: of `a-z0-9_.-`, at most one `|` inside, `@` at the front only.
    what: String,
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(text: String) -> Result<Rule, String> {
        let (gives, what) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(what), _) => (true, what),
            (_, Some(what)) => (false, what),
            _ => return Err("begins with `+` or `-`".into()),
        };
        let what = what.to_ascii_lowercase();
        let is_word = |word: &str| {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
            !word.is_empty() && word.len() <= 64 && word.chars().all(is_plain)
        };
        let good = match (what.strip_prefix('@'), what.split_once('|')) {
            (Some(category), _) => is_word(category),
            (None, Some((command, below))) => is_word(command) && is_word(below),
            (None, None) => is_word(&what),
        };
        if good {
            Ok(Rule { gives, what })
        } else {
            Err("`+@CATEGORY`, `+COMMAND` or `+COMMAND|SUBCOMMAND`".into())
        }
    }
}

impl Rule {
    fn is_category(&self) -> bool {
        self.what.starts_with('@')
    }

    /// Whether it lets a user rule the server.
    fn is_ruling(&self) -> bool {
        let command = self.what.split_once('|').map_or(self.what.as_str(), |(command, _)| command);
        // Below these are harmless ones, which the category of connections gives already.
        self.gives && (["@all", "@admin", "@dangerous"].contains(&command) || RULING.contains(&command))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(value: &Value) -> String {
        let rules = Parameters::read(value).expect("good").rules(&Secret::text("word".into()));
        rules.into_iter().filter(|rule| !rule.starts_with('#')).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_order_of_rules() {
        let value = json!({
            "keys": ["app:*"], "read_keys": ["ref:*"], "channels": ["app:*"],
            "commands": ["-flushdb", "+keys", "+@read", "+@write"],
        });
        assert_eq!(
            rules(&value),
            "reset resetchannels on ~app:* %R~ref:* &app:* +@connection +@read +@write -@admin -@dangerous +keys -flushdb"
        );
        let value = json!({"keys": ["*"], "commands": ["+@all"], "dangerous": "accepted"});
        assert_eq!(rules(&value), "reset resetchannels on ~* +@connection +@all");
    }

    #[test]
    fn what_rules_the_server_is_refused() {
        for bad in [
            "+@all",
            "+@ADMIN",
            "+@dangerous",
            "+acl",
            "+acl|whoami",
            "+CONFIG|get",
            "+client|kill",
            "+shutdown",
        ] {
            let value = json!({"commands": ["+get", bad]});
            assert_eq!(Parameters::read(&value).expect_err(bad).at, "commands[1]", "{bad}");
        }
        for bad in
            ["get", "", "+", "+@", "+get key", "+a|b|c", "+@a|b", "~*", "+>word", "+on\n", "allcommands"]
        {
            let value = json!({"commands": ["+get", bad]});
            assert_eq!(Parameters::read(&value).expect_err(bad).at, "commands[1]", "{bad}");
        }
        for (bad, at) in [
            (json!({"commands": []}), "commands"),
            (json!({"commands": ["-get"]}), "commands"),
            (json!({"commands": ["+get"], "keys": ["a b"]}), "keys[0]"),
            (json!({"commands": ["+get"], "keys": ["a\n"]}), "keys[0]"),
            (json!({"commands": ["+get"], "keys": [""]}), "keys[0]"),
            (json!({"commands": ["+get"], "dangerous": "yes"}), "dangerous"),
        ] {
            assert_eq!(Parameters::read(&bad).expect_err("bad").at, at, "{bad}");
        }
    }
}
