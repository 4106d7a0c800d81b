//! Compiles `rules/*.yaml` into statics, so that the binary parses nothing at start-up.

#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "src/rule/model.rs"]
mod model;
#[path = "src/rule/run.rs"]
mod run;
#[path = "src/rule/wire.rs"]
mod wire;

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use model::{Checks, List, Rule, Text};
use sha2::{Digest as _, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let folder = env::var_os("CLAVIGER_RULES").map_or_else(|| manifest.join("../../rules"), PathBuf::from);
    println!("cargo::rerun-if-env-changed=CLAVIGER_RULES");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build.rs");
    let rules = read_all(&folder)?;
    let mut code = Code::default();
    for rule in &rules {
        code.rule(rule);
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("builtin.rs");
    fs::write(out, code.finish())?;
    Ok(())
}

fn read_all(folder: &Path) -> Result<Vec<Rule>, Box<dyn Error>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    let mut rules = Vec::new();
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path)?;
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file: wire::File = serde_yaml::from_str(&text).map_err(|e| at(&e))?;
        rules.extend(file.into_rules().map_err(|e| at(&e))?);
    }
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(pair) = rules.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!("two rules are called `{}`", pair[0].id).into());
    }
    Ok(rules)
}

/// Writes rules as Rust statics. Lists become statics of their own, because a list of `Cow`s cannot be promoted.
#[derive(Default)]
struct Code {
    lists: String,
    count: usize,
    rules: String,
    total: usize,
}

impl Code {
    fn list(&mut self, list: &List<Text>) -> String {
        if list.is_empty() {
            return "Cow::Borrowed(&[])".into();
        }
        let name = format!("L{}", self.count);
        self.count += 1;
        let items: Vec<String> = list.iter().map(text).collect();
        let _ = writeln!(self.lists, "static {name}: [Text; {}] = [{}];", items.len(), items.join(", "));
        format!("Cow::Borrowed(&{name})")
    }

    fn checks(&mut self, checks: &Checks) -> String {
        let near = match &checks.near {
            None => "None".to_owned(),
            Some(near) => format!(
                "Some(Near {{ any: {}, within: {}, lower: {} }})",
                self.list(&near.any),
                near.within,
                near.lower
            ),
        };
        let option = |prefix: &str, value: Option<String>| match value {
            None => "None".to_owned(),
            Some(v) => format!("Some({prefix}{v})"),
        };
        format!(
            "Checks {{ entropy: {}, digits: {}, classes: {}, checksum: {}, decode: {}, not: {}, not_line: {}, near: {near}, placeholder: {}, value: {} }}",
            option("", checks.entropy.map(|e| format!("{e:?}"))),
            checks.digits,
            checks.classes,
            option("Checksum::", checks.checksum.map(|c| format!("{c:?}"))),
            option("Decode::", checks.decode.map(|d| format!("{d:?}"))),
            self.list(&checks.not),
            self.list(&checks.not_line),
            checks.placeholder,
            option("ValueKind::", checks.value.map(|v| format!("{v:?}"))),
        )
    }

    fn rule(&mut self, rule: &Rule) {
        let anchors = self.list(&rule.anchors);
        let files = self.list(&rule.files);
        let examples_match = self.list(&rule.examples_match);
        let examples_miss = self.list(&rule.examples_miss);
        let checks = self.checks(&rule.checks);
        let _ = writeln!(
            self.rules,
            "Rule {{ id: {}, name: {}, description: {}, provider: {}, kind: Kind::{:?}, severity: Severity::{:?}, \
             confidence: Confidence::{:?}, anchors: {anchors}, anchors_ignore_case: {}, starts_with_anchor: {}, run: {}, \
             pattern: {}, boundary: Boundary::{:?}, reach: {}, multiline: {}, files: {files}, checks: {checks}, \
             remediation: {}, rotate: {}, docs: {}, replace: {}, examples_match: {examples_match}, \
             examples_miss: {examples_miss} }},",
            text(&rule.id),
            text(&rule.name),
            text(&rule.description),
            text(&rule.provider),
            rule.kind,
            rule.severity,
            rule.confidence,
            rule.anchors_ignore_case,
            rule.starts_with_anchor,
            rule.run.map_or("None".to_owned(), |run| format!("Some({run:?})")),
            text(&rule.pattern),
            rule.boundary,
            rule.reach,
            rule.multiline,
            text(&rule.remediation),
            text(&rule.rotate),
            text(&rule.docs),
            text(&rule.replace),
        );
        self.total += 1;
    }

    fn finish(self) -> String {
        let code = format!(
            "{}\npub(super) static BUILTIN: [Rule; {}] = [\n{}];\n",
            self.lists, self.total, self.rules
        );
        // The code holds everything that decides what is found: it stands for the rules.
        let digest = hex::encode(Sha256::digest(code.as_bytes()));
        format!("{code}\npub(super) const DIGEST: &str = \"{digest}\";\n")
    }
}

fn text(text: &Text) -> String {
    format!("Cow::Borrowed({:?})", text.as_ref())
}
