//! `claviger exchange`: a credential for the steps that follow.

use claviger_broker::client::handover::{self, Options, Step, Way};
use claviger_broker::client::variables::variables;
use claviger_broker::platform::Env as _;

use super::job::{Process, obtain, usual};
use super::{address, connect, harden, lease_file, runtime, steps};
use crate::Outcome;
use crate::args_client::Exchange;

/// Exchanges the job's token and hands the credential over. When that fails the credential is given back.
pub(crate) fn run(args: &Exchange) -> anyhow::Result<Outcome> {
    harden();
    let way = way(args.format.as_deref())?;
    let url = address(&args.reach, None)?;
    let broker = connect(&args.reach, None)?;
    runtime()?.block_on(async {
        let received = obtain(&broker, &url, &args.role, &args.ask, None).await?;
        let handle = received.lease.handle.duplicate();
        let options = Options { folder: args.folder.clone(), file: args.file.clone() };
        let handed = (|| {
            if let Some(path) = &args.lease {
                lease_file::write(path, &url, &received.lease)?;
            }
            let names = usual(&received.lease.kind);
            let variables = variables(&received, &args.ask.variables, names)?;
            steps::carry_out(&plan(way, &variables, &options)?)
        })();
        if let Err(error) = handed {
            // Nobody has it, so nobody will give it back.
            let given_back = broker.revoke(&handle).await;
            if let Some(path) = &args.lease {
                drop(std::fs::remove_file(path));
            }
            let note =
                if given_back.is_ok() { "" } else { ", and could not be given back: it ends by itself" };
            return Err(error.context(format!("the credential was not handed over{note}")));
        }
        Ok(Outcome::Clean)
    })
}

/// The steps of a way; under GitHub Actions, whatever the way, the masks come first.
fn plan(
    way: &Way,
    variables: &[handover::Variable],
    options: &Options,
) -> Result<Vec<Step>, handover::HandoverError> {
    let mut steps = Vec::new();
    let masks_itself = way.name.starts_with("github-");
    if Process.get("GITHUB_ACTIONS").is_some() && !masks_itself && way.name != "shell" && way.name != "json" {
        steps.extend(handover::github_masks(variables)?);
    }
    steps.extend((way.plan)(variables, options, &Process)?);
    Ok(steps)
}

/// The way that was named, or the CI's own.
fn way(named: Option<&str>) -> anyhow::Result<&'static Way> {
    let has = |name: &str| Process.get(name).is_some();
    let name = match named {
        Some(name) => name,
        None if has("GITHUB_ENV") => "github-env",
        None if has("TF_BUILD") => "azure",
        None if has("CIRCLECI") => "circleci",
        None if has("BUILDKITE") => "buildkite",
        None => "shell",
    };
    handover::by_name(name).ok_or_else(|| {
        let known: Vec<_> = handover::WAYS.iter().map(|way| way.name).collect();
        anyhow::anyhow!("--format: `{name}` is not known; it is one of {}", known.join(", "))
    })
}
