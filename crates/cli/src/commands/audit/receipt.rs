//! `claviger audit receipt`: the proof that an entry is in the log.

use std::fs;

use anyhow::Context as _;

use super::open;
use crate::Outcome;
use crate::args_audit::ReceiptArgs;
use crate::commands::print;

pub(super) fn run(args: &ReceiptArgs) -> anyhow::Result<Outcome> {
    let reader = open(&args.dir, &args.trust)?;
    let name = || format!("{}", args.dir.display());
    let receipt = reader.receipt(args.index).with_context(name)?.to_string();
    if let Some(path) = &args.entry {
        let entry = reader.entry(args.index).with_context(name)?;
        fs::write(path, entry).with_context(|| format!("{}", path.display()))?;
    }
    match &args.output {
        Some(path) => fs::write(path, receipt).with_context(|| format!("{}", path.display()))?,
        None => print(&receipt)?,
    }
    Ok(Outcome::Clean)
}
