//! One file per field, readable by its owner alone: for keys, certificates and whatever reads files.

use super::{HandoverError, Options, Step, Variable, Way, check_name};
use crate::platform::Env;

/// Files in a folder.
pub(super) static WAY: Way = Way {
    name: "file",
    about: "one file per field, mode 0600, in --folder (outside of the checkout)",
    plan: |variables, options, _: &dyn Env| files(variables, options),
};

/// One file per variable, named like it.
pub(super) fn files(variables: &[Variable], options: &Options) -> Result<Vec<Step>, HandoverError> {
    let folder = options.folder.as_ref().ok_or_else(|| {
        HandoverError::Missing("say where: `--folder PATH`, outside of the checkout".into())
    })?;
    variables
        .iter()
        .map(|variable| {
            check_name(&variable.name)?;
            Ok(Step::Write { path: folder.join(&variable.name), content: variable.value.duplicate() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shown, variable};
    use super::*;

    #[test]
    fn names_cannot_leave_the_folder() {
        let options = Options { folder: Some("/t".into()), ..Options::default() };
        assert_eq!(shown(&files(&[variable("KEY", "v")], &options).expect("planned")), ["write /t/KEY v"]);
        for bad in ["../x", "/etc/x", "a/b", "."] {
            assert!(files(&[variable(bad, "v")], &options).is_err(), "{bad}");
        }
    }
}
