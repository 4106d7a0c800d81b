//! `completions`, `man` and `version`.

use std::io;

use clap::CommandFactory as _;
use claviger_scanner::rule::RuleSet;

use super::print;
use crate::Outcome;
use crate::args::Args;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "claviger", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Clean)
}

/// The manual: the page of the command, then one for each verb.
pub(crate) fn man() -> anyhow::Result<Outcome> {
    let mut page = Vec::new();
    let mut command = Args::command();
    command.build();
    pages(&command, "claviger", &mut page)?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Clean)
}

/// The page of a command and those of its verbs.
fn pages(command: &clap::Command, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
    clap_mangen::Man::new(command.clone().name(name.to_owned())).render(out)?;
    let verbs = command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set());
    for verb in verbs {
        pages(verb, &format!("{name}-{}", verb.get_name()), out)?;
    }
    Ok(())
}

pub(crate) fn version(json: bool) -> anyhow::Result<Outcome> {
    let rules = RuleSet::builtin();
    let version = env!("CARGO_PKG_VERSION");
    if json {
        let document = serde_json::json!({
            "name": "claviger",
            "version": version,
            "rules": rules.rules().len(),
            "rules_digest": rules.digest(),
            "formats": claviger_scanner::report::FORMATS.iter().map(|f| f.name).collect::<Vec<_>>(),
        });
        print(&format!("{document:#}\n"))?;
    } else {
        print(&format!("claviger {version} ({} built-in rules)\n", rules.rules().len()))?;
    }
    Ok(Outcome::Clean)
}
