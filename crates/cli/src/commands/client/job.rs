//! The job around this process: which CI it is, and an exchange with its token.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use claviger_broker::client::{Broker, Patience, Wish, exchange};
use claviger_broker::fetch::{Fetch, Guard, Options};
use claviger_broker::platform::{self, Env, Platform};
use claviger_broker::provider;
use claviger_broker::server::wire::ReceivedExchange;
use claviger_broker::ttl::Ttl;

use crate::args_client::Ask;

/// The longest file that `--input NAME=@FILE` reads, in bytes: what the broker takes.
const MAX_INPUT: u64 = 32 * 1024;

/// This process's environment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process;

impl Env for Process {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// The CI this runs in.
pub(super) fn platform() -> anyhow::Result<&'static dyn Platform> {
    match platform::detect(&Process) {
        Some(found) => Ok(found),
        None => bail!(
            "no identity: this is no CI that claviger knows, or the job was not given what it needs to ask for a \
             token (GitHub: `permissions: id-token: write`; GitLab: `id_tokens:` with a variable CLAVIGER_ID_TOKEN). \
             A token from elsewhere can be put into CLAVIGER_ID_TOKEN, or its file named in CLAVIGER_ID_TOKEN_FILE"
        ),
    }
}

/// Exchanges the job's token for a credential of `role`.
pub(super) async fn obtain(
    broker: &Broker,
    address: &str,
    role: &str,
    ask: &Ask,
    heartbeat: Option<Ttl>,
) -> anyhow::Result<ReceivedExchange> {
    let platform = platform()?;
    // The CI's own addresses: some of them are on private networks, and a few on plain http.
    let http = Fetch::new(&Options { timeout: Duration::from_secs(20), ..Options::new(Guard::Ambient) })?;
    let wish = Wish {
        role: role.to_owned(),
        ttl: ask.ttl,
        input: input(&ask.input)?,
        heartbeat,
        target_audience: ask.target_audience.clone(),
    };
    let audience = ask.audience.clone().unwrap_or_else(|| address.trim_end_matches('/').to_owned());
    let patience = Patience { total: ask.patience.duration(), ..Patience::default() };
    exchange(broker, platform, &Process, &http, &audience, &wish, patience)
        .await
        .with_context(|| format!("no credential for the role `{role}`"))
}

/// The names by which programs know the fields of what this kind of provider issues.
pub(super) fn usual(kind: &str) -> &'static [(&'static str, &'static str)] {
    provider::KINDS.iter().find(|known| known.name == kind).map_or(&[], |known| known.variables)
}

/// Reads `NAME=VALUE` and `NAME=@FILE`.
fn input(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut input = BTreeMap::new();
    for one in given {
        let (name, value) = one.split_once('=').context("--input: write NAME=VALUE or NAME=@FILE")?;
        let value = match value.strip_prefix('@') {
            Some(path) => file(Path::new(path)).with_context(|| format!("--input {name}=@{path}"))?,
            None => value.to_owned(),
        };
        if input.insert(name.to_owned(), value).is_some() {
            bail!("--input: `{name}` is there twice");
        }
    }
    Ok(input)
}

fn file(path: &Path) -> anyhow::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_INPUT {
        bail!("it has {length} bytes, more than {MAX_INPUT}");
    }
    Ok(std::fs::read_to_string(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_comes_from_text_and_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("id.pub");
        std::fs::write(&path, "ssh-ed25519 AAAA").expect("written");
        let given = ["a=1=2".to_owned(), format!("key=@{}", path.display())];
        let read = input(&given).expect("reads");
        assert_eq!((read["a"].as_str(), read["key"].as_str()), ("1=2", "ssh-ed25519 AAAA"));
        for bad in [vec!["a".to_owned()], vec!["a=1".into(), "a=2".into()], vec!["a=@/nowhere/at/all".into()]]
        {
            assert!(input(&bad).is_err(), "{bad:?}");
        }
    }
}
