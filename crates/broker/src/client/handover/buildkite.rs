//! Buildkite: the agent redacts what it is told, then the values go where the step can read them.
//!
//! <https://buildkite.com/docs/agent/v3/cli-redactor>

use super::{HandoverError, Options, Step, Variable, Way, file, text};
use crate::platform::Env;
use crate::secret::Secret;

/// Redacted, then files.
pub(super) static WAY: Way = Way {
    name: "buildkite",
    about: "Buildkite: tells the agent what to redact, then writes one file per field",
    plan,
};

fn plan(variables: &[Variable], options: &Options, env: &dyn Env) -> Result<Vec<Step>, HandoverError> {
    if env.get("BUILDKITE").is_none() {
        return Err(HandoverError::Missing("BUILDKITE is not set: this is no Buildkite job".into()));
    }
    let mut redact = serde_json::Map::new();
    for variable in variables.iter().filter(|variable| variable.is_secret) {
        redact.insert(variable.name.clone(), text(variable)?.into());
    }
    let command = ["buildkite-agent", "redactor", "add", "--format", "json", "-"];
    let mut steps = vec![Step::Run {
        command: command.map(str::to_owned).to_vec(),
        input: Secret::text(serde_json::Value::Object(redact).to_string()),
    }];
    steps.extend(file::files(variables, options)?);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Job, shown, variable};
    use super::*;

    #[test]
    fn redacts_before_it_writes() {
        let job = Job([("BUILDKITE", "true")].into());
        let options = Options { folder: Some("/tmp/x".into()), ..Options::default() };
        let steps = shown(&plan(&[variable("KEY", "some value")], &options, &job).expect("planned"));
        assert!(steps[0].starts_with("run buildkite-agent redactor add"), "{steps:?}");
        assert!(steps[1].starts_with("write "), "{steps:?}");
    }
}
