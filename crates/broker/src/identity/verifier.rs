//! The one way from a token to an [`Identity`].
//!
//! A verdict is never cached: each token is verified anew, with keys that are. The order is fixed: length and shape,
//! header, issuer, key, signature, and only then what the claims say. Nothing of a token is used before its signature
//! was found right, but for the issuer as a key into the configured map.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use claviger_audit::clock::Clock;
use jiff::Timestamp;
use serde_json::Value;

use super::issuer::{self, Issuer, IssuerConfig, IssuerError};
use super::rejection::{Code, Rejection};
use super::source::{KeyStatus, NoKey, Origin, Source};
use super::token::Unverified;
use super::{Identity, TokenId, Verified};
use crate::claims::Claims;
use crate::fetch::{Fetch, Guard, Options};
use crate::secret::Secret;

/// The years in which a token's times may lie, 2001 to 3000: whatever lies outside is not a time in seconds.
const SANE: std::ops::RangeInclusive<i64> = 1_000_000_000..=32_503_680_000;
/// How often the background looks whether keys are old.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Verifies tokens of the configured issuers.
pub struct Verifier {
    /// By the name that tokens give, byte by byte.
    sources: HashMap<Arc<str>, Arc<Source>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.sources.keys()).finish()
    }
}

impl Verifier {
    /// Verifies tokens of these issuers, by name, for the broker's `audience`. Touches no network.
    ///
    /// # Errors
    /// An issuer is wrong, two have one URL, or a file of certificate authorities cannot be used.
    pub fn new<'a>(
        configs: impl IntoIterator<Item = (&'a str, &'a IssuerConfig)>,
        audience: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Verifier, IssuerError> {
        let mut clients = HashMap::new();
        let mut sources = HashMap::new();
        for (url, issuer) in issuer::map(configs, audience)? {
            let origin = match &issuer.jwks_file {
                Some(path) => Origin::File(path.clone()),
                // A client costs the reading of all the system's certificate authorities: one for all alike.
                None => match clients.entry((issuer.internal, issuer.ca_file.clone())) {
                    Entry::Occupied(known) => Origin::Network(Fetch::clone(known.get())),
                    Entry::Vacant(place) => Origin::Network(place.insert(client(&issuer)?).clone()),
                },
            };
            sources.insert(url, Arc::new(Source::new(issuer, origin, Arc::clone(&clock))));
        }
        Ok(Verifier { sources, clock })
    }

    /// The issuers, in no order.
    pub fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.sources.values().map(|source| source.issuer())
    }

    /// Verifies a token. Fetches keys if it names one that is not known.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub async fn verify(&self, token: &Secret) -> Result<Identity, Rejection> {
        let token = Unverified::parse(token.expose())?;
        let source = self.source(&token)?;
        let (issuer, header) = (source.issuer(), token.header());
        if !issuer.algorithms.contains(&header.algorithm) {
            let wanted: Vec<&str> = issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect();
            return Err(Rejection::new(Code::Algorithm, "header.alg", wanted.join(" or "))
                .seeing_text(header.algorithm.name()));
        }
        if header.kind.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case(&issuer.token_type)) {
            return Err(Rejection::new(Code::Header, "header.typ", format!("`{}`", issuer.token_type))
                .seeing_text(header.kind.as_deref().unwrap_or_default()));
        }
        let keys = source.keys_with(&header.kid).await.map_err(|why| no_key(&why, issuer, &header.kid))?;
        let key = keys.get(&header.kid).ok_or_else(|| no_key(&NoKey::Unknown, issuer, &header.kid))?;
        if !key.fits(header.algorithm) {
            return Err(Rejection::new(
                Code::Algorithm,
                "header.alg",
                "the algorithm of the key that `kid` names",
            )
            .seeing_text(header.algorithm.name()));
        }
        if !key.verifies(&token) {
            return Err(Rejection::new(Code::Signature, "token", "signed by its issuer"));
        }
        let signed = token.signed();
        accept(issuer, token.into_claims(), signed, self.clock.now())
    }

    /// Fetches keys that are old. Failures are in [`status`](Verifier::status).
    pub async fn refresh(&self) {
        let mut tasks = tokio::task::JoinSet::new();
        for source in self.sources.values() {
            let source = Arc::clone(source);
            tasks.spawn(async move { source.refresh().await });
        }
        tasks.join_all().await;
    }

    /// Keeps all keys fresh, without end: for a task of the server.
    pub async fn keep_fresh(&self) {
        loop {
            self.refresh().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is known of each issuer's keys, by name.
    pub fn status(&self) -> Vec<KeyStatus> {
        let mut all: Vec<KeyStatus> = self.sources.values().map(|source| source.status()).collect();
        all.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        all
    }

    fn source(&self, token: &Unverified<'_>) -> Result<&Arc<Source>, Rejection> {
        let issuer = token.issuer_hint()?;
        self.sources.get(issuer).ok_or_else(|| {
            Rejection::new(Code::UnknownIssuer, "iss", "an issuer that the broker is configured for")
                .seeing_text(issuer)
        })
    }
}

fn client(issuer: &Issuer) -> Result<Fetch, IssuerError> {
    let no = |what: String| IssuerError { name: issuer.name.to_string(), what };
    let mut options = Options::new(if issuer.internal { Guard::Internal } else { Guard::Public });
    if let Some(path) = &issuer.ca_file {
        let pem = std::fs::read(path).map_err(|e| no(format!("`ca_file`: {}: {e}", path.display())))?;
        options.ca_pem = Some(pem);
    }
    Fetch::new(&options).map_err(|e| no(e.to_string()))
}

fn no_key(why: &NoKey, issuer: &Issuer, kid: &str) -> Rejection {
    let (code, wanted) = match why {
        NoKey::Unknown => (Code::UnknownKey, format!("a key of `{}`", issuer.url)),
        NoKey::Unavailable => {
            (Code::KeysUnavailable, format!("a key of `{}`, which could not be asked", issuer.url))
        }
    };
    Rejection::new(code, "header.kid", wanted).seeing_text(kid)
}

/// Checks the claims of a token whose signature is right.
fn accept(issuer: &Issuer, claims: Claims, signed: &[u8], now: Timestamp) -> Result<Identity, Rejection> {
    let now_s = now.as_second();
    for name in ["iss", "sub"] {
        if claims.text(name).is_none_or(str::is_empty) {
            return Err(Rejection::new(Code::ClaimType, name, "a text").seeing(claims.get(name)));
        }
    }
    audience(issuer, &claims)?;
    let exp = required_time(&claims, "exp")?;
    let iat = required_time(&claims, "iat")?;
    let nbf = time(&claims, "nbf")?;
    if exp.saturating_add(issuer.leeway_s) <= now_s {
        return Err(at(Code::Expired, "exp", "after", now).seeing_text(&moment(exp)));
    }
    for (name, from) in [("iat", Some(iat)), ("nbf", nbf)] {
        if let Some(from) = from
            && from > now_s.saturating_add(issuer.leeway_s)
        {
            return Err(at(Code::NotYet, name, "not after", now).seeing_text(&moment(from)));
        }
    }
    let life = exp - iat;
    if life <= 0 || life > issuer.max_life_s {
        let wanted = format!("1 to {} seconds after `iat`", issuer.max_life_s);
        return Err(Rejection::new(Code::TooLongLived, "exp", wanted).seeing_text(&format!("{life} seconds")));
    }
    if let Err(mismatch) = issuer.platform.subject(&claims) {
        return Err(
            Rejection::new(Code::Subject, mismatch.claim, mismatch.wanted).seeing(mismatch.seen.as_ref())
        );
    }
    let token_id = TokenId::of(&claims, signed)?;
    let instant = |second| Timestamp::from_second(second).expect("the times are in the sane range");
    Ok(Identity::assemble(Verified {
        issuer: Arc::clone(&issuer.name),
        issuer_url: Arc::clone(&issuer.url),
        platform: issuer.platform,
        token_id,
        expires: instant(exp),
        keep_until: instant(exp + issuer.leeway_s + 1),
        claims,
    }))
}

/// One audience, and it is ours: a token that several may use could be used here by any of them.
fn audience(issuer: &Issuer, claims: &Claims) -> Result<(), Rejection> {
    let seen = claims.get("aud");
    let one = match seen {
        Some(Value::String(one)) => Some(one.as_str()),
        Some(Value::Array(items)) if items.len() == 1 => items[0].as_str(),
        _ => None,
    };
    if one == Some(issuer.audience.as_str()) {
        return Ok(());
    }
    Err(Rejection::new(Code::Audience, "aud", format!("`{}` alone", issuer.audience)).seeing(seen))
}

fn required_time(claims: &Claims, name: &'static str) -> Result<i64, Rejection> {
    let missing = || Rejection::new(Code::ClaimType, name, "a time in whole seconds").seeing(None);
    time(claims, name)?.ok_or_else(missing)
}

/// A claim that is a time. One that is there must be a whole number: no text, no fraction, no null.
fn time(claims: &Claims, name: &'static str) -> Result<Option<i64>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    match value.as_i64() {
        Some(seconds) if SANE.contains(&seconds) => Ok(Some(seconds)),
        _ => Err(Rejection::new(Code::ClaimType, name, "a time in whole seconds").seeing(Some(value))),
    }
}

fn at(code: Code, claim: &'static str, relation: &str, now: Timestamp) -> Rejection {
    Rejection::new(code, claim, format!("{relation} {now:.0}, the broker's time"))
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
