//! `export` lines for `eval "$(claviger exchange ...)"`.

use super::{HandoverError, Options, Step, Variable, Way, check_name, text};
use crate::platform::Env;
use crate::secret::Secret;

/// Lines for a POSIX shell.
pub(super) static WAY: Way = Way {
    name: "shell",
    about: "export lines on standard output: eval \"$(claviger exchange ... --format shell)\"",
    plan,
};

fn plan(variables: &[Variable], _: &Options, env: &dyn Env) -> Result<Vec<Step>, HandoverError> {
    refuse_trace(env)?;
    Ok(vec![Step::Print(lines(variables)?)])
}

/// GitLab's debug trace prints every command's output and every variable into the job's log.
pub(super) fn refuse_trace(env: &dyn Env) -> Result<(), HandoverError> {
    let traced =
        env.get("CI_DEBUG_TRACE").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    if traced {
        return Err(HandoverError::Exposed(
            "CI_DEBUG_TRACE is on and would print the credential; use `claviger exec` or switch it off",
        ));
    }
    Ok(())
}

/// One line per variable, its value in single quotes.
pub(super) fn lines(variables: &[Variable]) -> Result<Secret, HandoverError> {
    let mut out = String::new();
    for variable in variables {
        check_name(&variable.name)?;
        let quoted = text(variable)?.replace('\'', "'\\''");
        out.push_str(&format!("export {}='{quoted}'\n", variable.name));
    }
    Ok(Secret::text(out))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::{Job, variable};
    use super::*;

    #[test]
    fn a_real_shell_reads_every_value_back() {
        for value in ["plain", "it's", "$(id) `id` \"x\" \\ ! * ~", "two\nlines\n", " ", "-n", "é\t"] {
            let lines = lines(&[variable("KEY", value)]).expect("lines");
            let script = format!("{}printf %s \"$KEY\"", lines.expose_text().expect("text"));
            let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout), value);
        }
    }

    #[test]
    fn not_while_everything_is_traced() {
        let job = Job([("CI_DEBUG_TRACE", "true")].into());
        assert!(matches!(
            plan(&[variable("KEY", "value")], &Options::default(), &job),
            Err(HandoverError::Exposed(_))
        ));
    }
}
