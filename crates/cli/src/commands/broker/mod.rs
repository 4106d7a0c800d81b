//! The verbs of a broker's operator.

mod check;
mod explain;
pub(crate) mod policy;
pub(crate) mod provider;

use std::path::Path;

use anyhow::Context as _;
use claviger_broker::config::{Config, secrets::Secrets};

/// Reads the configuration.
fn load(path: &Path) -> anyhow::Result<Config> {
    exists(path)?;
    Config::read(path).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Tells a file that is not there from one that is wrong.
fn exists(path: &Path) -> anyhow::Result<()> {
    std::fs::metadata(path)
        .map(|_| ())
        .with_context(|| format!("{}; name the broker's configuration with --config", path.display()))
}

/// The secrets that the configuration names, from files and this environment.
fn secrets(config: &Config) -> Secrets {
    config.secrets(Box::new(|name| std::env::var(name).ok()))
}

/// A table: columns as wide as their longest cell, two spaces between.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
