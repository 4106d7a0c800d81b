//! Subjects taken apart, and held against the claims beside them.
//!
//! A subject is never compared as a whole: names joined by separators can be made to collide. Each platform's grammar
//! gives fields, and each field must equal the claim that says the same.

use std::borrow::Cow;

use serde_json::Value;

use crate::claims::Claims;

/// What a subject says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// In one of the platform's own forms.
    Known(Vec<Field<'a>>),
    /// In a form that users of the platform define.
    Custom,
}

/// One field of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its value, escapes undone.
    pub value: Cow<'a, str>,
}

impl<'a> Subject<'a> {
    /// The field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self {
            Subject::Known(fields) => fields.iter().find(|field| field.name == name).map(|it| &*it.value),
            Subject::Custom => None,
        }
    }

    /// A subject of these fields.
    pub(crate) fn known<const N: usize>(fields: [(&'static str, &'a str); N]) -> Subject<'a> {
        let field = |(name, value)| Field { name, value: Cow::Borrowed(value) };
        Subject::Known(fields.map(field).into())
    }
}

/// A claim that contradicts the subject, or is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The claim.
    pub claim: &'static str,
    /// What it must be.
    pub wanted: String,
    /// What it is; `None` if it is missing.
    pub seen: Option<Value>,
}

/// Refuses if the claim is not the text `wanted`.
pub(crate) fn agree(claims: &Claims, claim: &'static str, wanted: &str) -> Result<(), Mismatch> {
    match claims.get(claim) {
        Some(Value::String(seen)) if seen == wanted => Ok(()),
        seen => Err(Mismatch { claim, wanted: format!("`{wanted}`, as in `sub`"), seen: seen.cloned() }),
    }
}

/// Like [`agree`], if the claim is there at all.
pub(crate) fn agree_if_there(claims: &Claims, claim: &'static str, wanted: &str) -> Result<(), Mismatch> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => agree(claims, claim, wanted),
    }
}

/// The claim's text; refuses if there is none.
pub(crate) fn required<'a>(claims: &'a Claims, claim: &'static str) -> Result<&'a str, Mismatch> {
    match claims.get(claim) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        seen => Err(Mismatch { claim, wanted: "a text that is not empty".to_owned(), seen: seen.cloned() }),
    }
}

/// The claim's text, if it has one that is not empty, for the audit log's words.
pub(crate) fn word(claims: &Claims, claim: &str) -> Option<String> {
    match claims.get(claim)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
