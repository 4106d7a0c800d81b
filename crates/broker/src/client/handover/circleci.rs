//! CircleCI: `export` lines in the file that `BASH_ENV` names, which later steps source. Values made at run time are
//! not masked there.
//!
//! <https://circleci.com/docs/guides/security/env-vars/>

use std::path::PathBuf;

use super::{HandoverError, Options, Step, Variable, Way, shell};
use crate::platform::Env;

/// Lines for later steps.
pub(super) static WAY: Way = Way {
    name: "circleci",
    about: "CircleCI: variables for every later step of the job (this CI masks no values made at run time)",
    plan,
};

fn plan(variables: &[Variable], _: &Options, env: &dyn Env) -> Result<Vec<Step>, HandoverError> {
    let path = env.get("BASH_ENV").filter(|_| env.get("CIRCLECI").is_some()).map(PathBuf::from);
    let path = path.ok_or_else(|| {
        HandoverError::Missing(
            "CIRCLECI and BASH_ENV are not both set: this is no CircleCI job with bash".into(),
        )
    })?;
    let lines = shell::lines(variables)?;
    Ok(vec![Step::Append { path, text: lines }])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Job, shown, variable};
    use super::*;

    #[test]
    fn appends_quoted_lines() {
        let job = Job([("CIRCLECI", "true"), ("BASH_ENV", "/b")].into());
        let steps =
            shown(&plan(&[variable("KEY", "it's $HOME")], &Options::default(), &job).expect("planned"));
        assert_eq!(steps, ["append /b export KEY='it'\\''s $HOME'\n"]);
    }
}
