//! Examples of rules: templates that are filled at run time, so that no secret stands in the repository.
//!
//! Values are random-looking but depend on nothing but the seed: an example that fails, fails everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::check::checksum;
use crate::engine::{Context, Engine};

use super::{Rule, RuleError, RuleSet};

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGIT: &str = "0123456789";

/// What an example did.
#[derive(Debug)]
pub struct Outcome {
    /// The rule.
    pub rule: String,
    /// The template, unfilled.
    pub template: String,
    /// Whether the rule had to match.
    pub must_match: bool,
    /// Whether it did as it should; otherwise why not.
    pub result: Result<(), String>,
}

/// Runs all examples of these rules, each rule on its own.
///
/// # Errors
/// Only what [`RuleSet::new`] and [`Engine::new`] refuse; a failed example is an [`Outcome`].
pub fn run_examples(rules: &[Rule]) -> Result<Vec<Outcome>, RuleError> {
    let mut outcomes = Vec::new();
    for rule in rules {
        let engine = Engine::new(RuleSet::new(vec![rule.clone()])?)?;
        let both = rule
            .examples_match
            .iter()
            .map(|t| (t, true))
            .chain(rule.examples_miss.iter().map(|t| (t, false)));
        for (at, (template, must_match)) in both.enumerate() {
            outcomes.push(Outcome {
                rule: rule.id.to_string(),
                template: template.to_string(),
                must_match,
                result: run(&engine, rule, template, at, must_match),
            });
        }
    }
    Ok(outcomes)
}

fn run(engine: &Engine, rule: &Rule, template: &str, at: usize, must_match: bool) -> Result<(), String> {
    let text = fill(template, &format!("{}/{at}", rule.id))?;
    let path = rule.files.first().map(|glob| glob.replace("**", "home").replace('*', "file"));
    let context = Context { path: path.as_deref().map(str::as_bytes), ..Context::default() };
    let found = engine.scan(text.as_bytes(), &context);
    match (must_match, found.is_empty()) {
        (true, true) => {
            let trail = engine.explain(text.as_bytes(), &context);
            let why = trail.last().map_or("no anchor was seen".to_owned(), ToString::to_string);
            Err(format!("does not match: {why}"))
        }
        (false, false) => Err("matches, and must not".into()),
        _ => Ok(()),
    }
}

/// Fills a template; the same seed gives the same text.
///
/// # Errors
/// A message that names the part of the template that cannot be read.
pub fn fill(template: &str, seed: &str) -> Result<String, String> {
    let mut random = Random::new(seed);
    expand(template, &mut random, 0)
}

fn expand(template: &str, random: &mut Random, depth: u32) -> Result<String, String> {
    if depth > 8 {
        return Err("templates nest deeper than 8".into());
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        out.push_str(&rest[..open]);
        let body = &rest[open + 2..];
        let close = closing(body).ok_or_else(|| format!("`{{{{` without `}}}}` in `{template}`"))?;
        out.push_str(&call(&body[..close], random, depth)?);
        rest = &body[close + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Offset of the `}}` that closes a template whose `{{` was just read.
fn closing(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let (mut depth, mut at) = (1, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"{{" => (depth, at) = (depth + 1, at + 2),
            b"}}" if depth == 1 => return Some(at),
            b"}}" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    None
}

fn call(body: &str, random: &mut Random, depth: u32) -> Result<String, String> {
    let (name, rest) = body.split_once(' ').unwrap_or((body, ""));
    let count = || rest.trim().parse::<usize>().map_err(|_| format!("`{{{{{body}}}}}` needs a number"));
    let alphabet = match name {
        "alnum" | "base62" => format!("{DIGIT}{UPPER}{LOWER}"),
        "alpha" => format!("{UPPER}{LOWER}"),
        "lower" => LOWER.into(),
        "upper" => UPPER.into(),
        "digit" => DIGIT.into(),
        "lowernum" => format!("{LOWER}{DIGIT}"),
        "uppernum" => format!("{UPPER}{DIGIT}"),
        "hex" => "0123456789abcdef".into(),
        "HEX" => "0123456789ABCDEF".into(),
        "base32" => format!("{UPPER}234567"),
        "base32l" => format!("{LOWER}234567"),
        "base58" => format!("{DIGIT}{UPPER}{LOWER}").replace(['0', 'O', 'I', 'l'], ""),
        "b64" => format!("{DIGIT}{UPPER}{LOWER}+/"),
        "b64url" => format!("{DIGIT}{UPPER}{LOWER}-_"),
        "password" => format!("{LOWER}{UPPER}{DIGIT}!@%^*-_+"),
        "from" | "repeat" => return two(name, rest, random),
        _ => return whole(name, rest, random, depth),
    };
    Ok(random.text(&alphabet, count()?))
}

/// `from CHARS N` and `repeat TEXT N`.
fn two(name: &str, rest: &str, random: &mut Random) -> Result<String, String> {
    let (text, count) = rest.rsplit_once(' ').ok_or_else(|| format!("`{name}` needs a text and a number"))?;
    let count: usize = count.parse().map_err(|_| format!("`{name} {rest}` does not end in a number"))?;
    Ok(if name == "from" { random.text(text, count) } else { text.repeat(count) })
}

/// Templates that make a whole token.
fn whole(name: &str, rest: &str, random: &mut Random, depth: u32) -> Result<String, String> {
    Ok(match name {
        "uuid" => {
            let h = random.text("0123456789abcdef", 30);
            format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[12..15], &h[15..18], &h[18..30])
        }
        "crc62" => {
            let (prefix, count) = rest.rsplit_once(' ').ok_or("`crc62` needs a prefix and a number")?;
            let count: usize = count.parse().map_err(|_| "`crc62 PREFIX N` needs a number")?;
            let body = random.text(&format!("{DIGIT}{UPPER}{LOWER}"), count);
            format!("{prefix}{body}{}", checksum::crc62(body.as_bytes()))
        }
        "gitlab-routable" => checksum::make_gitlab_routable(rest.trim(), &random.bytes(16), "c:1\no:a\n"),
        "grafana" => {
            let head = format!("{}{}", rest.trim(), random.text(&format!("{DIGIT}{UPPER}{LOWER}"), 32));
            format!("{head}_{}", checksum::grafana(head.as_bytes()))
        }
        "age" => checksum::make_bech32("AGE-SECRET-KEY-", &random.bytes(32)),
        "nats" => checksum::make_nats(rest.trim().bytes().next().unwrap_or(b'U'), &random.bytes(32)),
        "jwt" => jwt(rest, random),
        "b64of" => STANDARD.encode(expand(rest, random, depth + 1)?),
        "b64urlof" => URL_SAFE_NO_PAD.encode(expand(rest, random, depth + 1)?),
        "pem" => pem(rest.trim(), random),
        "der" => der(rest.trim(), random)?,
        "escaped" => expand(rest, random, depth + 1)?.replace('\\', "\\\\").replace('\n', "\\n"),
        "around" => {
            let (before, rest) = rest.split_once('|').ok_or("`around` needs `BEFORE|AFTER TEXT`")?;
            let (after, text) = rest.split_once(" {{").ok_or("`around` ends in a template")?;
            let lines = expand(&format!("{{{{{text}"), random, depth + 1)?;
            lines.lines().map(|line| format!("{before}{line}{after}")).collect::<Vec<_>>().join("\n")
        }
        _ => return Err(format!("no template is called `{name}`")),
    })
}

fn jwt(claims: &str, random: &mut Random) -> String {
    let (mut header, mut payload) = (serde_json::Map::new(), serde_json::Map::new());
    for (name, value) in claims.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        let value = value.parse::<i64>().map_or_else(|_| value.into(), serde_json::Value::from);
        let part = if matches!(name, "alg" | "typ" | "kid") { &mut header } else { &mut payload };
        part.insert(name.into(), value);
    }
    header.entry("alg").or_insert("HS256".into());
    header.entry("typ").or_insert("JWT".into());
    let part = |map| URL_SAFE_NO_PAD.encode(serde_json::Value::Object(map).to_string());
    format!("{}.{}.{}", part(header), part(payload), URL_SAFE_NO_PAD.encode(random.bytes(32)))
}

/// The base64 of something that begins as such a key does and has the length it says; its material is noise.
fn der(kind: &str, random: &mut Random) -> Result<String, String> {
    let head: &[u8] = match kind {
        "PKCS8" => {
            b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82\x01\x16"
        }
        "PKCS1" => b"\x02\x01\x00\x02\x82\x01\x01\x00",
        "SEC1" => b"\x02\x01\x01\x04\x20",
        "PKCS12" => b"\x02\x01\x03\x30\x82\x01\x20",
        _ => return Err(format!("`der {kind}`: PKCS1, PKCS8, PKCS12 and SEC1 are known")),
    };
    let mut bytes = if kind == "SEC1" { vec![0x30, 0x77] } else { vec![0x30, 0x82, 0x01, 0x2c] };
    let length = bytes.len() + if kind == "SEC1" { 0x77 } else { 0x012c };
    bytes.extend(head);
    bytes.extend(random.bytes(length - bytes.len()));
    Ok(STANDARD.encode(bytes))
}

/// A block whose body begins as keys of that label do; the key material itself is noise.
fn pem(label: &str, random: &mut Random) -> String {
    let mut body = match label {
        "OPENSSH PRIVATE KEY" => {
            let mut b = b"openssh-key-v1\0".to_vec();
            b.extend(b"\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01");
            b
        }
        _ => vec![0x30, 0x82, 0x01, 0x1c, 0x02, 0x01, 0x00],
    };
    body.extend(random.bytes(288 - body.len()));
    let text = STANDARD_NO_PAD.encode(body);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", lines.join("\n"))
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to look random. Never used for keys.
struct Random(u64);

impl Random {
    fn new(seed: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Random(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn text(&mut self, alphabet: &str, count: usize) -> String {
        let chars: Vec<char> = alphabet.chars().collect();
        if chars.is_empty() {
            return String::new();
        }
        (0..count.min(100_000)).map(|_| chars[(self.next() % chars.len() as u64) as usize]).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 24) as u8).collect()
    }
}
