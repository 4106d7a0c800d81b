//! What an operator does at a running broker, over its HTTP interface.

pub(crate) mod lease;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use claviger_broker::client::operator::Operator;
use claviger_broker::config::secrets::{SecretRef, Secrets};
use claviger_scanner::path::printable;
use serde_json::Value;

use super::broker::table;
use super::client::connect;
use super::print;
use crate::args_operator::{Desk, ListFormat};

/// The variable that holds an operator's token.
const TOKEN: &str = "CLAVIGER_OPERATOR_TOKEN";

/// The broker, and who asks: the token comes from a private file or the environment, never from the command line.
fn desk(args: &Desk) -> anyhow::Result<Operator> {
    let (reference, why) = match &args.token_file {
        Some(path) => (SecretRef::File(path.clone()), "--token-file".to_owned()),
        None => (SecretRef::Env(TOKEN.into()), format!("who asks? Set {TOKEN} or use --token-file")),
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let token =
        Secrets::new(".", Box::new(variable)).get(&reference).map_err(anyhow::Error::msg).context(why)?;
    Ok(Operator::new(connect(&args.reach, None)?, token))
}

/// Prints a list: as it came, or the members that a table's columns name by their JSON pointers.
fn print_list(rows: &[Value], format: ListFormat, columns: &[(&str, &str)]) -> anyhow::Result<()> {
    let text = match format {
        ListFormat::Json => format!("{:#}\n", Value::from(rows.to_vec())),
        ListFormat::Jsonl => rows.iter().map(|row| format!("{row}\n")).collect(),
        ListFormat::Table => {
            let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            let cells = |row: &Value| columns.iter().map(|(_, at)| cell(row.pointer(at))).collect();
            table(&[head].into_iter().chain(rows.iter().map(cells)).collect::<Vec<Vec<String>>>())
        }
    };
    print(&text)
}

/// A value in a table's cell. It may come from a token of a stranger: nothing in it acts on the terminal.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => printable(text.as_bytes()),
        Some(other) => printable(other.to_string().as_bytes()),
    }
}

/// Asks before something that cannot be undone. Without a terminal nobody can answer, and it is not done.
fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("{question} Nobody can be asked here: say --yes");
    }
    let mut out = io::stderr().lock();
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).context("standard error")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("standard input")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was done");
    }
    Ok(())
}
