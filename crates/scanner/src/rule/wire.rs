//! Rules as written in YAML, and their way into [`Rule`].
//!
//! Kept apart from the model so that the file format can stand still while the model moves. Also compiled into the
//! build script.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

use super::model::{
    Boundary, Checks, Checksum, Confidence, Decode, Kind, List, Near, Rule, Run, Severity, Text, ValueKind,
};

/// Default of [`Rule::reach`] in bytes: longer than any single-line token known, short enough for minified files.
const REACH: u32 = 1024;
/// Largest reach a rule may ask for.
const MAX_REACH: u32 = 64 * 1024;
/// Default of `near.within` in bytes.
const WITHIN: u32 = 200;
/// Shortest anchor in bytes; shorter ones occur everywhere.
const MIN_ANCHOR: usize = 3;
/// Longest anchor in bytes; keeps the prefilter small.
const MAX_ANCHOR: usize = 64;
/// Most anchors of one rule.
const MAX_ANCHORS: usize = 4096;
/// Longest pattern in bytes.
const MAX_PATTERN: usize = 8192;

/// What lies between a name and its value: the rest of the name, closing quote or bracket, an optional type, a
/// separator, an optional call or cast, and the opening quote.
const ASSIGN: &str = concat!(
    r#"[\w.-]{0,32}(?:["'`\]]|\\"|&quot;){0,3}"#,
    r#"(?:[ \t]{0,3}:[ \t]{0,2}[A-Za-z][\w.<>\[\]?&' ]{0,24})?"#,
    r#"(?:[ \t]{0,24}(?::=|=>|={1,3}|\?=|:|,|\(|\|{1,2}|>)|[ \t]{1,8}value[ \t]{0,2}=|[ \t]{1,3}|[ \t]{0,3}</?\w{1,20}>)"#,
    r#"(?:[ \t]{0,24}(?:[\w.]{1,40}\()?[ \t]{0,2}(?:[a-zA-Z]{0,2}(?:["'`]{1,3}|\\"|&quot;)|<!\[CDATA\[|<\w{1,20}>)?)"#,
);

/// A stricter [`ASSIGN`] for values without a format of their own: the name ends here, there is no call in between, and
/// `,` and `(` count only before a quote.
const IS: &str = concat!(
    r#"(?:["'`\]})]|\\"|&quot;){0,3}"#,
    // An array's size, a type, a property's accessors.
    r#"(?:[ \t]{0,2}\[[ \w]{0,12}\])?"#,
    r#"(?:[ \t]{0,3}:[ \t]{0,2}[&A-Za-z][\w.<>\[\]?&' ]{0,24}|[ \t]{1,2}(?:string|String|str|text)|[ \t]{0,2}\{[ \t]{0,2}(?:private )?get;[ \w;]{0,24}\})?"#,
    r#"(?:[ \t]{0,24}(?::=|=>|->|\|\|=|\?\?=|!?={1,3}|\?=|:|>)[ \t]{0,24}"#,
    // Wrappers that leave their argument as it is, and lists.
    r#"(?:(?:(?:new )?(?:\[\]byte|SecretStr|SecureString|String(?:::from|\.new)?|(?:std::)?string|Secret|Buffer\.from|Encoding\.\w{1,8}\.GetBytes|bytes|str|decode|Q(?:String|StringLiteral|Latin1String))[({]|[\[(]|\{ ?)?@?[a-zA-Z]{0,2}(?:["'`]{1,3}|\\"|&quot;)|<!\[CDATA\[|<\w{1,20}>)?"#,
    r#"|[ \t]{0,3}[,(][ \t]{0,3}(?:new |\[\]byte\(|Some\()?@?[a-zA-Z]{0,2}(?:["'`](?:\\?")?|\\")"#,
    // What a value is when nobody sets it; a comparison.
    r#"|[ \t]{0,3}(?:\|\||\?\?|\?:|\bor)[ \t]{1,3}["'`]|\.(?:[eE]quals(?:IgnoreCase)?|compareTo)\([ \t]{0,2}["']"#,
    r#"|[ \t]{1,8}(?i:value)[ \t]{0,2}=[ \t]{0,2}["'])"#,
);

/// A rule file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Whose secrets these are.
    pub(crate) provider: String,
    /// Where the formats are documented, unless a rule says otherwise.
    #[serde(default)]
    pub(crate) docs: String,
    /// The detectors.
    pub(crate) rules: Vec<Entry>,
}

/// A rule in a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Stable name in kebab-case.
    pub(crate) id: String,
    name: String,
    description: String,
    kind: KindName,
    severity: SeverityName,
    confidence: ConfidenceName,
    #[serde(default)]
    anchors: Vec<String>,
    #[serde(default)]
    anchors_ignore_case: bool,
    pattern: String,
    #[serde(default)]
    boundary: BoundaryName,
    #[serde(default)]
    reach: Option<u32>,
    #[serde(default)]
    multiline: bool,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    checks: ChecksEntry,
    remediation: String,
    #[serde(default)]
    rotate: String,
    #[serde(default)]
    docs: Option<String>,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    replace: Option<ReplaceName>,
    examples: Examples,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Examples {
    #[serde(rename = "match")]
    must: Vec<String>,
    miss: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChecksEntry {
    entropy: Option<f32>,
    #[serde(default)]
    digits: u32,
    #[serde(default)]
    classes: u32,
    checksum: Option<ChecksumName>,
    decode: Option<DecodeName>,
    #[serde(default)]
    not: Vec<String>,
    #[serde(default)]
    not_line: Vec<String>,
    near: Option<NearEntry>,
    placeholder: Option<bool>,
    value: Option<ValueName>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NearEntry {
    any: Vec<String>,
    within: Option<u32>,
    #[serde(default)]
    absent: Absent,
}

/// Declares an enum of the file format and its mapping to the model.
macro_rules! names {
    ($name:ident -> $model:ident { $($variant:ident),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        enum $name { $($variant),+ }
        impl From<$name> for $model {
            fn from(name: $name) -> $model {
                match name { $($name::$variant => $model::$variant),+ }
            }
        }
    };
}

names!(KindName -> Kind { Token, Pair, Structured, Generic });
names!(SeverityName -> Severity { Critical, High, Medium, Low });
names!(ConfidenceName -> Confidence { High, Medium, Low });
names!(ChecksumName -> Checksum { Crc62, GitlabRoutable, Grafana, Bech32, Nats });
names!(DecodeName -> Decode { Jwt, Base64, Base64Json, Basic, Pem, PemEncrypted, Der, Discord, AzureStorage, Macaroon });
names!(ValueName -> ValueKind { Password, Token, Prose, Embedded, KubernetesSecret });

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum BoundaryName {
    #[default]
    Word,
    None,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Absent {
    #[default]
    Drop,
    Lower,
}

/// The broker providers a rule may name.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ReplaceName {
    Aws,
    Gcp,
    Azure,
    Postgres,
    Mysql,
    Redis,
    Ssh,
    X509,
    Vault,
    Github,
    Gitlab,
    Kubernetes,
}

impl ReplaceName {
    fn as_str(self) -> &'static str {
        match self {
            ReplaceName::Aws => "aws",
            ReplaceName::Gcp => "gcp",
            ReplaceName::Azure => "azure",
            ReplaceName::Postgres => "postgres",
            ReplaceName::Mysql => "mysql",
            ReplaceName::Redis => "redis",
            ReplaceName::Ssh => "ssh",
            ReplaceName::X509 => "x509",
            ReplaceName::Vault => "vault",
            ReplaceName::Github => "github",
            ReplaceName::Gitlab => "gitlab",
            ReplaceName::Kubernetes => "kubernetes",
        }
    }
}

impl File {
    /// Turns the file into rules. The error names the rule and what to do.
    pub(crate) fn into_rules(self) -> Result<Vec<Rule>, String> {
        let File { provider, docs, rules } = self;
        rules
            .into_iter()
            .map(|entry| {
                let id = entry.id.clone();
                entry.into_rule(&provider, &docs).map_err(|why| format!("rule `{id}`: {why}"))
            })
            .collect()
    }
}

impl Entry {
    fn into_rule(self, provider: &str, docs: &str) -> Result<Rule, String> {
        check_id(&self.id)?;
        check_anchors(&self.anchors, &self.files)?;
        if self.examples.must.len() < 2 || self.examples.miss.len() < 2 {
            return Err("give at least two examples that match and two that do not".into());
        }
        let reach = self.reach.unwrap_or(REACH);
        if reach == 0 || reach > MAX_REACH {
            return Err(format!("`reach` is {reach}; it must be between 1 and {MAX_REACH} bytes"));
        }
        let pattern = self.pattern.replace("${assign}", ASSIGN).replace("${is}", IS);
        if pattern.len() > MAX_PATTERN {
            return Err(format!("`pattern` is longer than {MAX_PATTERN} bytes"));
        }
        let hir = parse(&pattern).map_err(|e| format!("`pattern` is no valid regex: {e}"))?;
        for text in self.checks.patterns() {
            parse(text).map_err(|e| format!("a pattern in `checks` is no valid regex: {e}"))?;
        }
        Ok(Rule {
            starts_with_anchor: starts_with_anchor(&hir, &self.anchors, self.anchors_ignore_case),
            run: Run::of(&hir),
            id: self.id.into(),
            name: self.name.into(),
            description: self.description.into(),
            provider: self.provider.unwrap_or_else(|| provider.to_owned()).into(),
            kind: self.kind.into(),
            severity: self.severity.into(),
            confidence: self.confidence.into(),
            anchors: list(self.anchors),
            anchors_ignore_case: self.anchors_ignore_case,
            pattern: pattern.into(),
            boundary: match self.boundary {
                BoundaryName::Word => Boundary::Word,
                BoundaryName::None => Boundary::None,
            },
            reach,
            multiline: self.multiline,
            files: list(self.files),
            checks: self.checks.into_checks(),
            remediation: self.remediation.into(),
            rotate: self.rotate.into(),
            docs: self.docs.unwrap_or_else(|| docs.to_owned()).into(),
            replace: self.replace.map_or("", ReplaceName::as_str).into(),
            examples_match: list(self.examples.must),
            examples_miss: list(self.examples.miss),
        })
    }
}

impl ChecksEntry {
    fn patterns(&self) -> impl Iterator<Item = &String> {
        let near = self.near.iter().flat_map(|near| near.any.iter());
        self.not.iter().chain(&self.not_line).chain(near)
    }

    fn into_checks(self) -> Checks {
        Checks {
            entropy: self.entropy,
            digits: self.digits,
            classes: self.classes,
            checksum: self.checksum.map(Into::into),
            decode: self.decode.map(Into::into),
            not: list(self.not),
            not_line: list(self.not_line),
            near: self.near.map(|near| Near {
                any: list(near.any),
                within: near.within.unwrap_or(WITHIN),
                lower: matches!(near.absent, Absent::Lower),
            }),
            placeholder: self.placeholder.unwrap_or(true),
            value: self.value.map(Into::into),
        }
    }
}

fn list(texts: Vec<String>) -> List<Text> {
    Cow::Owned(texts.into_iter().map(Cow::Owned).collect())
}

fn check_id(id: &str) -> Result<(), String> {
    let kebab = id
        .split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    if kebab && id.len() <= 64 {
        Ok(())
    } else {
        Err("`id` must be kebab-case, `[a-z0-9]` joined by single `-`, at most 64 characters".into())
    }
}

fn check_anchors(anchors: &[String], files: &[String]) -> Result<(), String> {
    if anchors.is_empty() && files.is_empty() {
        return Err(
            "no `anchors`: name a literal that every match holds, or limit the rule to `files`".into()
        );
    }
    if anchors.len() > MAX_ANCHORS {
        return Err(format!("{} anchors; {MAX_ANCHORS} at most", anchors.len()));
    }
    match anchors.iter().find(|a| a.len() < MIN_ANCHOR || a.len() > MAX_ANCHOR) {
        Some(bad) => Err(format!("anchor `{bad}` must have between {MIN_ANCHOR} and {MAX_ANCHOR} bytes")),
        None => Ok(()),
    }
}

/// Parses a pattern the way the engine compiles it: ASCII classes, bytes.
pub(crate) fn parse(pattern: &str) -> Result<regex_syntax::hir::Hir, String> {
    regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(64)
        .build()
        .parse(pattern)
        .map_err(|e| e.to_string())
}

/// Whether every match begins with one of the anchors, so that a match can only start where an anchor was seen.
fn starts_with_anchor(hir: &regex_syntax::hir::Hir, anchors: &[String], ignore_case: bool) -> bool {
    let mut extractor = regex_syntax::hir::literal::Extractor::new();
    extractor.limit_total(512);
    let prefixes = extractor.extract(hir);
    let Some(literals) = prefixes.literals() else { return false };
    !literals.is_empty()
        && !anchors.is_empty()
        && literals.iter().all(|literal| {
            anchors.iter().any(|anchor| {
                let head = literal.as_bytes().get(..anchor.len());
                head.is_some_and(|head| {
                    head == anchor.as_bytes() || ignore_case && head.eq_ignore_ascii_case(anchor.as_bytes())
                })
            })
        })
}
