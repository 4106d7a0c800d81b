//! GitHub Actions: masks as workflow commands, values through the files that the runner names.
//!
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>

use std::path::PathBuf;

use super::{HandoverError, Step, Variable, Way, check_name, mask, text};
use crate::platform::Env;
use crate::secret::{self, Secret};

/// Into `GITHUB_ENV`.
pub(super) static ENVIRONMENT: Way = Way {
    name: "github-env",
    about: "GitHub Actions: masks, then variables for every later step of the job",
    plan: |variables, _, env| plan(variables, env, "GITHUB_ENV"),
};

/// Into `GITHUB_OUTPUT`.
pub(super) static OUTPUT: Way = Way {
    name: "github-output",
    about: "GitHub Actions: masks, then outputs of this step, which only steps that name them see",
    plan: |variables, _, env| plan(variables, env, "GITHUB_OUTPUT"),
};

fn plan(variables: &[Variable], env: &dyn Env, file: &'static str) -> Result<Vec<Step>, HandoverError> {
    let path = env.get(file).ok_or_else(|| {
        HandoverError::Missing(format!("{file} is not set: this is no step of a GitHub Actions job"))
    })?;
    let mut steps = masks(variables)?;
    for variable in variables {
        check(variable, file)?;
        steps.push(Step::Append { path: PathBuf::from(&path), text: entry(variable)? });
    }
    Ok(steps)
}

/// One command per form of each secret value.
pub(super) fn masks(variables: &[Variable]) -> Result<Vec<Step>, HandoverError> {
    let mut steps = Vec::new();
    for variable in variables.iter().filter(|variable| variable.is_secret) {
        for form in mask::forms(text(variable)?) {
            let form = form.expose_text().unwrap_or_default();
            steps.push(Step::Print(Secret::text(format!("::add-mask::{}\n", escape(form)))));
        }
    }
    Ok(steps)
}

/// Data of a workflow command: percent, carriage return and line feed are escaped.
fn escape(data: &str) -> String {
    data.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The runner takes no names of its own from the file.
fn check(variable: &Variable, file: &str) -> Result<(), HandoverError> {
    check_name(&variable.name)?;
    let upper = variable.name.to_ascii_uppercase();
    if file == "GITHUB_ENV" && (upper.starts_with("GITHUB_") || upper.starts_with("RUNNER_")) {
        return Err(HandoverError::Name(
            variable.name.clone(),
            "the runner keeps GITHUB_ and RUNNER_ to itself",
        ));
    }
    Ok(())
}

/// `name<<DELIMITER`, the value, `DELIMITER`: the delimiter is random, so that no value can end early.
fn entry(variable: &Variable) -> Result<Secret, HandoverError> {
    let value = text(variable)?;
    let delimiter = format!("claviger_{}", hex::encode(secret::random::<16>()));
    if value.contains(&delimiter) {
        return Err(HandoverError::Value(variable.name.clone(), "holds the delimiter; try again"));
    }
    Ok(Secret::text(format!("{}<<{delimiter}\n{value}\n{delimiter}\n", variable.name)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Job, shown, variable};
    use super::*;

    #[test]
    fn a_value_cannot_add_a_variable() {
        let job = Job([("GITHUB_ENV", "/env")].into());
        let hostile = "x\nEOF\nINJECTED=1";
        let steps = shown(&plan(&[variable("KEY", hostile)], &job, "GITHUB_ENV").expect("planned"));
        let entry = steps.last().expect("an entry");
        let delimiter = entry.split("<<").nth(1).and_then(|rest| rest.lines().next()).expect("a delimiter");
        assert_eq!(entry.matches(delimiter).count(), 2);
        assert!(entry.ends_with(&format!("{delimiter}\n")));
    }

    #[test]
    fn commands_are_escaped() {
        let job = Job([("GITHUB_ENV", "/env")].into());
        let steps = shown(&plan(&[variable("KEY", "100% sure")], &job, "GITHUB_ENV").expect("planned"));
        assert!(steps.contains(&"print ::add-mask::100%25 sure\n".to_owned()), "{steps:?}");
    }

    #[test]
    fn outside_of_a_job_nothing_happens() {
        let error = plan(&[variable("KEY", "value")], &Job([].into()), "GITHUB_ENV").expect_err("no file");
        assert!(error.to_string().contains("GITHUB_ENV"));
    }

    #[test]
    fn the_runners_names_are_refused() {
        let job = Job([("GITHUB_ENV", "/env")].into());
        for name in ["GITHUB_TOKEN", "RUNNER_TEMP", "NODE_OPTIONS"] {
            assert!(plan(&[variable(name, "value")], &job, "GITHUB_ENV").is_err(), "{name}");
        }
    }
}
