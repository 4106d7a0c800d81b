//! `claviger audit anomalies`: what a person should look at.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use claviger_audit::report::{Anomaly, Config, Rows, find_anomalies};
use claviger_scanner::path::printable;

use super::report::config;
use super::screen::Screen;
use super::{open, span};
use crate::Outcome;
use crate::args_audit::{Anomalies, AnomalyFormat};
use crate::commands::print;

/// Events of evidence that are named in text; JSON has all.
const EVIDENCE: usize = 10;

pub(super) fn run(args: &Anomalies) -> anyhow::Result<Outcome> {
    if args.schema {
        print(&format!("{:#}\n", Config::schema()))?;
        return Ok(Outcome::Clean);
    }
    let dir = args.dir.as_deref().context("which log?")?;
    let config = config(args.config.as_deref())?;
    let (since, until) = span(&args.span)?;
    let reader = open(dir, &args.trust)?;
    let rows = Rows::read(&reader).with_context(|| format!("{}", dir.display()))?;
    let mut found = find_anomalies(&rows, &config);
    found.retain(|a| since.is_none_or(|at| a.time_ms >= at) && until.is_none_or(|at| a.time_ms < at));
    let text = match args.format {
        AnomalyFormat::Text => text(&found),
        AnomalyFormat::Json => format!("{}\n", serde_json::to_string_pretty(&found)?),
        AnomalyFormat::Jsonl => {
            let lines = found.iter().map(|a| Ok(serde_json::to_string(a)? + "\n"));
            lines.collect::<serde_json::Result<String>>()?
        }
    };
    let mut screen = Screen::new();
    screen.write_all(text.as_bytes()).and_then(|()| screen.flush()).context("standard output")?;
    Ok(if found.is_empty() { Outcome::Clean } else { Outcome::Findings })
}

fn text(found: &[Anomaly]) -> String {
    let mut text = String::new();
    for anomaly in found {
        let line = |text: &str| printable(text.as_bytes());
        let _ = writeln!(text, "{}  {}: {}", anomaly.time, line(&anomaly.subject), line(&anomaly.what));
        let mut events: Vec<String> = anomaly.evidence.iter().take(EVIDENCE).map(u64::to_string).collect();
        if anomaly.evidence.len() > EVIDENCE {
            events.push(format!("and {} more", anomaly.evidence.len() - EVIDENCE));
        }
        let _ = writeln!(text, "  rule     {}", anomaly.rule);
        let _ = writeln!(text, "  events   {}", events.join(", "));
        let _ = writeln!(text, "  silence  - {}", line(&anomaly.silence));
    }
    let _ = writeln!(text, "{} anomalies", found.len());
    text
}
