//! What a rule is, once read.
//!
//! Every text is a `Cow<'static, str>`, so that the built-in rules are plain statics (no parse, no allocation at
//! start-up) while rules read at run time own their texts. This file is also compiled into the build script, which
//! writes the statics; it must not name anything else of the crate but what is compiled there too.

use std::borrow::Cow;
use std::fmt;

pub use super::run::Run;

/// A text that is static for built-in rules and owned for the others.
pub type Text = Cow<'static, str>;

/// A list with the same property as [`Text`].
pub type List<T> = Cow<'static, [T]>;

/// What a thief can do with the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Little harm: a sandbox key, a webhook that only posts.
    Low,
    /// Limited reach.
    Medium,
    /// Acts in somebody's name.
    High,
    /// Owns an account, a cloud or a supply chain.
    Critical,
}

impl Severity {
    /// The lower-case name used in rules and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Probably not a live secret: a test value, a bad checksum, a weak context.
    Low,
    /// A person should look.
    Medium,
    /// The format leaves hardly a doubt.
    High,
}

impl Confidence {
    /// The lower-case name used in rules and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }

    /// One level less, never under [`Confidence::Low`].
    pub fn lowered(self) -> Self {
        match self {
            Confidence::High => Confidence::Medium,
            _ => Confidence::Low,
        }
    }

    /// One level more, never over [`Confidence::High`].
    pub fn raised(self) -> Self {
        match self {
            Confidence::Low => Confidence::Medium,
            _ => Confidence::High,
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a rule recognises its secret; decides which of two overlapping findings stays (the greater one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A name that says "secret" and some value.
    Generic,
    /// A format of its own: PEM, JWT, a URL with a password, a credential file.
    Structured,
    /// Recognisable only beside a name or another value.
    Pair,
    /// Recognisable alone, by a prefix or a marker.
    Token,
}

impl Kind {
    /// The lower-case name used in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Generic => "generic",
            Kind::Structured => "structured",
            Kind::Pair => "pair",
            Kind::Token => "token",
        }
    }
}

/// What must surround the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// No letter, digit or `_` directly before or after.
    Word,
    /// Anything.
    None,
}

/// A checksum that a provider put into its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Last six characters are the base62 CRC-32 of the thirty before (GitHub, npm).
    Crc62,
    /// GitLab's routable tokens: length and CRC-32 in base36.
    GitlabRoutable,
    /// Grafana: last eight hex digits are a little-endian CRC-32.
    Grafana,
    /// BIP-173 (age).
    Bech32,
    /// CRC-16/XMODEM inside base32 (NATS nkeys).
    Nats,
}

/// A decoder that the secret must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// RFC 7519.
    Jwt,
    /// Standard base64, at least 8 bytes.
    Base64,
    /// Base64 or base64url of a JSON object.
    Base64Json,
    /// RFC 7617: base64 of `user:password`.
    Basic,
    /// A private key in any armour, not encrypted.
    Pem,
    /// A private key in any armour, encrypted.
    PemEncrypted,
    /// A private key in base64 without armour, told by its DER or OpenSSH beginning.
    Der,
    /// First part is base64 of a decimal user id.
    Discord,
    /// Base64 of 64 bytes.
    AzureStorage,
    /// A version-2 macaroon after a `pypi-` prefix.
    Macaroon,
}

/// Analysis of a value that has no format of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Chosen by a person: words, digits, punctuation.
    Password,
    /// Made by a machine: random characters.
    Token,
    /// A password or token told in a sentence.
    Prose,
    /// Inside a larger format, whose pattern knows where the value ends.
    Embedded,
    /// An entry of a Kubernetes Secret manifest.
    KubernetesSecret,
}

/// A context that must be close to the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Patterns, one of which must match.
    pub any: List<Text>,
    /// Bytes before and after the secret that are looked at.
    pub within: u32,
    /// Without a match: `true` lowers the confidence, `false` drops the match.
    pub lower: bool,
}

/// What a match must pass. See `rules/README.md`.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    /// Least Shannon entropy in bits per byte.
    pub entropy: Option<f32>,
    /// Least number of digits.
    pub digits: u32,
    /// Least number of classes among lower case, upper case, digit.
    pub classes: u32,
    /// Checksum to verify.
    pub checksum: Option<Checksum>,
    /// Decoder to pass.
    pub decode: Option<Decode>,
    /// Patterns over the secret that drop the match.
    pub not: List<Text>,
    /// Patterns over the secret's line that drop the match.
    pub not_line: List<Text>,
    /// Context that must be near.
    pub near: Option<Near>,
    /// Whether values that look like placeholders are dropped.
    pub placeholder: bool,
    /// Analysis for values without a format.
    pub value: Option<ValueKind>,
}

/// One detector.
///
/// Invariants, kept by the reader: `id` is kebab-case and unique in its set; there are anchors of at least three
/// bytes, or `files`; `pattern` compiles; there are examples of both sorts.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Stable name.
    pub id: Text,
    /// Name for people.
    pub name: Text,
    /// What the secret gives access to.
    pub description: Text,
    /// Whose secret it is.
    pub provider: Text,
    /// How it is recognised.
    pub kind: Kind,
    /// What a thief can do.
    pub severity: Severity,
    /// How sure the pattern alone is.
    pub confidence: Confidence,
    /// Literals, one of which every match holds.
    pub anchors: List<Text>,
    /// Whether anchors match in any case.
    pub anchors_ignore_case: bool,
    /// Whether every match begins with an anchor (worked out from the pattern).
    pub starts_with_anchor: bool,
    /// A run of bytes that every match holds (worked out from the pattern).
    pub run: Option<Run>,
    /// The regex, macros expanded.
    pub pattern: Text,
    /// What must surround the secret.
    pub boundary: Boundary,
    /// Bytes a match may extend from an anchor, in either direction.
    pub reach: u32,
    /// Whether a match may cross line ends.
    pub multiline: bool,
    /// Globs of the only paths the rule looks at; empty for all.
    pub files: List<Text>,
    /// What a match must pass.
    pub checks: Checks,
    /// What to do about a leak.
    pub remediation: Text,
    /// The provider's page on rotation; may be empty.
    pub rotate: Text,
    /// Where the format is documented; may be empty.
    pub docs: Text,
    /// The broker provider that makes the secret unneeded; may be empty.
    pub replace: Text,
    /// Templates that must match.
    pub examples_match: List<Text>,
    /// Templates that must not match.
    pub examples_miss: List<Text>,
}
