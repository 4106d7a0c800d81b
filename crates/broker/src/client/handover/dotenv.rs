//! A `.env` file, readable by its owner alone.

use super::{HandoverError, Options, Step, Variable, Way, check_name, text};
use crate::platform::Env;
use crate::secret::Secret;

/// A file of `NAME="value"` lines.
pub(super) static WAY: Way = Way {
    name: "dotenv",
    about: "a file of NAME=\"value\" lines, mode 0600, at --file; not for GitLab's dotenv reports, which others can read",
    plan,
};

fn plan(variables: &[Variable], options: &Options, _: &dyn Env) -> Result<Vec<Step>, HandoverError> {
    let path =
        options.file.clone().ok_or_else(|| HandoverError::Missing("say where: `--file PATH`".into()))?;
    let mut out = String::new();
    for variable in variables {
        check_name(&variable.name)?;
        out.push_str(&format!("{}=\"{}\"\n", variable.name, quoted(text(variable)?)));
    }
    Ok(vec![Step::Write { path, content: Secret::text(out) }])
}

/// Between double quotes: what the common readers agree on.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' | '"' | '$' | '`' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Job, shown, variable};
    use super::*;

    #[test]
    fn one_line_per_variable() {
        let options = Options { file: Some("/t/.env".into()), ..Options::default() };
        let steps = shown(&plan(&[variable("KEY", "a\"b\n$c")], &options, &Job([].into())).expect("planned"));
        assert_eq!(steps, ["write /t/.env KEY=\"a\\\"b\\n\\$c\"\n"]);
    }
}
