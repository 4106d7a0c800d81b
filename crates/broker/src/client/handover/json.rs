//! One JSON object on standard output, for programs.

use super::{HandoverError, Options, Step, Variable, Way, shell, text};
use crate::platform::Env;
use crate::secret::Secret;

/// An object of names and values.
pub(super) static WAY: Way =
    Way { name: "json", about: "one JSON object on standard output, for a program that reads it", plan };

fn plan(variables: &[Variable], _: &Options, env: &dyn Env) -> Result<Vec<Step>, HandoverError> {
    shell::refuse_trace(env)?;
    let mut object = serde_json::Map::new();
    for variable in variables {
        object.insert(variable.name.clone(), text(variable)?.into());
    }
    Ok(vec![Step::Print(Secret::text(format!("{}\n", serde_json::Value::Object(object))))])
}
