//! Under which names a credential's fields are handed over.

use super::handover::{HandoverError, Variable, check_name};
use crate::server::wire::ReceivedExchange;

/// A name that the caller chose for a field: `PGPASSWORD=password`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The variable.
    pub name: String,
    /// The field.
    pub field: String,
}

impl std::str::FromStr for Choice {
    type Err = HandoverError;

    fn from_str(text: &str) -> Result<Choice, HandoverError> {
        let (name, field) = text
            .split_once('=')
            .ok_or_else(|| HandoverError::Name(text.chars().take(80).collect(), "write NAME=FIELD"))?;
        check_name(name)?;
        Ok(Choice { name: name.to_owned(), field: field.to_owned() })
    }
}

/// The variables of a credential: those that were chosen; otherwise every field under the name that programs know it
/// by (`usual`), or as `CLAVIGER_FIELD`.
///
/// # Errors
/// A chosen field is not there.
pub fn variables(
    received: &ReceivedExchange,
    chosen: &[Choice],
    usual: &[(&str, &str)],
) -> Result<Vec<Variable>, HandoverError> {
    let is_secret = |field: &str| received.secret_fields.iter().any(|secret| secret == field);
    if chosen.is_empty() {
        let named = received.credential.iter().map(|(field, value)| {
            let name = usual.iter().find(|(known, _)| known == field);
            let name = name.map_or_else(|| invented(field), |(_, name)| (*name).to_owned());
            Variable { name, value: value.duplicate(), is_secret: is_secret(field) }
        });
        return Ok(named.collect());
    }
    chosen
        .iter()
        .map(|choice| {
            let found = received.credential.iter().find(|(field, _)| *field == choice.field);
            let (field, value) = found.ok_or_else(|| {
                let fields: Vec<_> = received.credential.iter().map(|(field, _)| field.as_str()).collect();
                HandoverError::Missing(format!(
                    "the credential has no field `{}`; it has {}",
                    choice.field,
                    fields.join(", ")
                ))
            })?;
            Ok(Variable { name: choice.name.clone(), value: value.duplicate(), is_secret: is_secret(field) })
        })
        .collect()
}

fn invented(field: &str) -> String {
    let plain = field.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("CLAVIGER_{}", plain.collect::<String>())
}
