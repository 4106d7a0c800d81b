//! Any OpenID Connect issuer: only what every token says. The subject is the identity, compared byte by byte.

use std::path::Path;

use async_trait::async_trait;
use claviger_audit::event::Who;

use super::env::{Env, TokenError};
use super::subject::{Mismatch, Subject, required};
use super::{Binding, Platform, Reach};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;

/// The variable that holds a token, where a CI puts tokens into variables that its users name.
pub const TOKEN_VARIABLE: &str = "CLAVIGER_ID_TOKEN";
/// The variable that names a file with a token. The file is read for each exchange, as its owner rewrites it.
pub const TOKEN_FILE_VARIABLE: &str = "CLAVIGER_ID_TOKEN_FILE";

/// See the module.
#[derive(Debug)]
pub struct Generic;

/// The generic platform.
pub static GENERIC: Generic = Generic;

#[async_trait]
impl Platform for Generic {
    fn name(&self) -> &'static str {
        "oidc"
    }

    fn about(&self) -> &'static str {
        "any OpenID Connect issuer, bound by its subject"
    }

    fn immutable_claims(&self) -> &'static [Binding] {
        &[Binding { claims: &["sub"], reach: Reach::Project }]
    }

    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch> {
        required(claims, "sub").map(|_| Subject::Custom)
    }

    fn who(&self, _: &Claims) -> Who {
        Who::default()
    }

    fn detect(&self, env: &dyn Env) -> bool {
        env.get(TOKEN_FILE_VARIABLE).is_some() || env.get(TOKEN_VARIABLE).is_some()
    }

    fn is_fresh(&self) -> bool {
        false
    }

    async fn token(&self, env: &dyn Env, audience: &str, _: &Fetch) -> Result<Secret, TokenError> {
        given(env, audience)?.ok_or_else(|| {
            TokenError::NotOffered(format!(
                "no token: name a file that holds it in {TOKEN_FILE_VARIABLE}, or put it into {TOKEN_VARIABLE}; its audience \
                 must be `{audience}`"
            ))
        })
    }
}

/// The token that [`TOKEN_FILE_VARIABLE`] or [`TOKEN_VARIABLE`] gives, if one of them is set.
pub(crate) fn given(env: &dyn Env, audience: &str) -> Result<Option<Secret>, TokenError> {
    if let Some(path) = env.get(TOKEN_FILE_VARIABLE) {
        let content = env.read(Path::new(&path)).map_err(|e| {
            TokenError::NotOffered(format!("{TOKEN_FILE_VARIABLE} names `{path}`, which cannot be read: {e}"))
        })?;
        return checked(&content, TOKEN_FILE_VARIABLE, audience).map(Some);
    }
    match env.get(TOKEN_VARIABLE).map(Secret::text) {
        Some(token) => checked(&token, TOKEN_VARIABLE, audience).map(Some),
        None => Ok(None),
    }
}

/// A token without the white space around it, if it is one and is meant for `audience`: what the broker would refuse
/// is said here, where its author can see it.
pub(crate) fn checked(token: &Secret, source: &str, audience: &str) -> Result<Secret, TokenError> {
    let wrong = |what: &str| TokenError::NotOffered(format!("{source} {what}"));
    let text = token.expose_text().map(str::trim).ok_or_else(|| wrong("holds no text"))?;
    let unverified = crate::identity::token::Unverified::parse(text.as_bytes())
        .map_err(|e| wrong(&format!("holds no token: {e}")))?;
    let audiences = unverified.audience_hint();
    if audiences != [audience] {
        let seen = audiences.join("`, `");
        return Err(wrong(&format!(
            "holds a token for the audience `{seen}`; the broker wants `{audience}` alone"
        )));
    }
    Ok(Secret::text(text.to_owned()))
}
