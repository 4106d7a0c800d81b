//! Azure Pipelines: logging commands. Secret variables are not in later steps' environment until their author maps
//! them with `env:`.
//!
//! <https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands>

use super::{HandoverError, Options, Step, Variable, Way, check_name, mask, text};
use crate::platform::Env;
use crate::secret::Secret;

/// Secret variables of the job.
pub(super) static WAY: Way = Way {
    name: "azure",
    about: "Azure Pipelines: masks, then secret variables for later steps that map them with `env:`",
    plan,
};

fn plan(variables: &[Variable], _: &Options, env: &dyn Env) -> Result<Vec<Step>, HandoverError> {
    if env.get("TF_BUILD").is_none() {
        return Err(HandoverError::Missing(
            "TF_BUILD is not set: this is no step of an Azure pipeline".into(),
        ));
    }
    let mut steps = Vec::new();
    for variable in variables.iter().filter(|variable| variable.is_secret) {
        for form in mask::forms(text(variable)?) {
            let form = escape(form.expose_text().unwrap_or_default());
            steps.push(Step::Print(Secret::text(format!("##vso[task.setsecret]{form}\n"))));
        }
    }
    for variable in variables {
        check_name(&variable.name)?;
        let (name, value) = (&variable.name, escape(text(variable)?));
        let secret = variable.is_secret;
        let command =
            format!("##vso[task.setvariable variable={name};issecret={secret};isreadonly=true]{value}\n");
        steps.push(Step::Print(Secret::text(command)));
    }
    Ok(steps)
}

/// Line ends would end the command: they are escaped, and the escape's own sign with them.
fn escape(value: &str) -> String {
    value.replace('%', "%AZP25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Job, shown, variable};
    use super::*;

    #[test]
    fn a_value_cannot_give_a_second_command() {
        let job = Job([("TF_BUILD", "True")].into());
        let hostile = "x\n##vso[task.complete result=Succeeded]";
        let steps = shown(&plan(&[variable("KEY", hostile)], &Options::default(), &job).expect("planned"));
        assert!(steps.iter().all(|step| step.matches('\n').count() == 1), "{steps:?}");
        assert!(plan(&[], &Options::default(), &Job([].into())).is_err());
    }
}
