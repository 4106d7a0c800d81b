//! `claviger audit report`: what the log says about a period.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::report::{Config, Period, RULES, Report, Rows, html, json, markdown, terminal};

use super::screen::Screen;
use super::{open, read_small, span};
use crate::Outcome;
use crate::args_audit::{ReportArgs, ReportFormat};

pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let format = match (args.format, output) {
        (Some(format), _) => format,
        (None, Some(path)) => by_ending(path)?,
        (None, None) => ReportFormat::Text,
    };
    let config = config(args.config.as_deref())?;
    let (since, until) = span(&args.span)?;
    let until = until.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
    let mut period = Period::until(until);
    if let Some(since) = since {
        ensure!(since < until, "--since is not before --until");
        period.since_ms = since;
    }
    period.roles.clone_from(&args.role);
    period.rotate_days = args.rotate_days;

    let reader = open(&args.dir, &args.trust)?;
    let rows = Rows::read(&reader).with_context(|| format!("{}", args.dir.display()))?;
    let report = Report::of(&rows, reader.head().checkpoint(), &period, &config);
    let page = match format {
        ReportFormat::Text => terminal(&report, args.limit),
        ReportFormat::Markdown => markdown(&report, args.limit),
        ReportFormat::Json => json(&report),
        ReportFormat::Html => html(&report),
    };
    match output {
        Some(path) => fs::write(path, page).with_context(|| format!("{}", path.display()))?,
        None => {
            let mut screen = Screen::new();
            screen.write_all(page.as_bytes()).and_then(|()| screen.flush()).context("standard output")?;
        }
    }
    Ok(Outcome::Clean)
}

fn by_ending(path: &Path) -> anyhow::Result<ReportFormat> {
    Ok(match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "html" | "htm" => ReportFormat::Html,
        "md" => ReportFormat::Markdown,
        "json" => ReportFormat::Json,
        "txt" | "" => ReportFormat::Text,
        other => bail!("{}: no format is known for `.{other}`; say which with --format", path.display()),
    })
}

/// Thresholds and silences; the defaults without a file.
pub(super) fn config(path: Option<&Path>) -> anyhow::Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let name = || format!("{}", path.display());
    let text = read_small(path)?;
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    let config: Config = serde_yaml::from_str(&text).with_context(name)?;
    for silence in &config.silence {
        if !RULES.iter().any(|rule| rule.id == silence.rule) {
            let all: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
            bail!("{}: silence: no rule is called `{}`; there are {}", name(), silence.rule, all.join(", "));
        }
    }
    ensure!((0.0..=1.0).contains(&config.surprise), "{}: surprise: between 0 and 1", name());
    ensure!(config.burst_factor >= 1.0, "{}: burst_factor: at least 1", name());
    Ok(config)
}
