//! `claviger policy ...`.

use std::fmt::Write as _;

use claviger_broker::config::Config;
use claviger_broker::policy::cases::{MAX_FILE, Outcome as TestOutcome, TestFile};
use claviger_broker::policy::file::PolicyFile;
use claviger_scanner::path::printable;
use jiff::Timestamp;
use serde_json::json;

use super::{check, explain, load};
use crate::args_broker::{Policy, PolicySchema, PolicyTest, PolicyVerb, SchemaOf, TextOrJson};
use crate::commands::print;
use crate::{Outcome, config};

pub(crate) fn run(args: &Policy) -> anyhow::Result<Outcome> {
    match &args.verb {
        PolicyVerb::Check(args) => check::run(args),
        PolicyVerb::Explain(args) => explain::run(args),
        PolicyVerb::Test(args) => test(args),
        PolicyVerb::Schema(args) => schema(args),
    }
}

fn schema(args: &PolicySchema) -> anyhow::Result<Outcome> {
    let schema = match args.of {
        SchemaOf::Config => Config::schema(),
        SchemaOf::Roles => schemars::schema_for!(PolicyFile).into(),
        SchemaOf::Tests => TestFile::schema(),
    };
    print(&format!("{schema:#}\n"))?;
    Ok(Outcome::Clean)
}

fn test(args: &PolicyTest) -> anyhow::Result<Outcome> {
    let config = load(&args.config.config)?;
    let now = Timestamp::now();
    let mut outcomes: Vec<TestOutcome> = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let bytes = config::read_file(path, MAX_FILE as u64).map_err(|e| anyhow::anyhow!("{name}: {e}"))?;
        let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name}: not UTF-8"))?;
        let (file, document) = TestFile::parse(&name, text).map_err(|e| anyhow::anyhow!("{e}"))?;
        outcomes.extend(file.run(&document, &config, now));
    }
    let failed = outcomes.iter().filter(|it| it.failure.is_some()).count();
    let text = match args.format {
        TextOrJson::Json => {
            let all = json!({ "policy": config.digest(), "tests": outcomes, "failed": failed });
            format!("{all:#}\n")
        }
        TextOrJson::Text => rows(&outcomes, failed),
    };
    print(&text)?;
    Ok(if failed == 0 { Outcome::Clean } else { Outcome::Findings })
}

fn rows(outcomes: &[TestOutcome], failed: usize) -> String {
    let mut text = String::new();
    let line = |text: &str| printable(text.as_bytes());
    for it in outcomes {
        match &it.failure {
            None => {
                let _ = writeln!(text, "ok      {}", line(&it.name));
            }
            Some(why) => {
                let _ =
                    writeln!(text, "FAILED  {}\n        {}: {}", line(&it.name), line(&it.place), line(why));
            }
        }
    }
    let _ = writeln!(text, "{} tests, {failed} failed", outcomes.len());
    text
}
