//! AWS STS: a role's credentials for a web identity token or for signed requests, and who one is.
//!
//! The query protocol: a form goes in, XML comes out. Every call may be repeated, since its answer is all it leaves.
//! Source: the API reference of the Security Token Service, version 2011-06-15.

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::failure::{self, Failure, Patience, Proof};
use super::sigv4::Keys;
use super::xml::Element;
use crate::fetch::{Call, Fetch};
use crate::provider::http::{self, is_token};
use crate::provider::{Credential, ProviderError};
use crate::secret::Secret;

/// The bounds of a session's life, in seconds.
pub const SESSION_S: (u32, u32) = (900, 43_200);
/// The most a session may live that was begun with another session's keys ("role chaining"), in seconds.
pub const CHAINED_S: u32 = 3600;
/// The longest session policy, in characters.
pub const MAX_POLICY: usize = 2048;

const VERSION: &str = "2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded";

/// The session that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The role to assume.
    pub role_arn: &'a str,
    /// Names the session in AWS's own log: 2 to 64 of `[\w+=,.@-]`.
    pub session_name: &'a str,
    /// Within [`SESSION_S`] and the role's own maximum.
    pub seconds: u64,
    /// A policy as JSON that narrows what the session may do; at most [`MAX_POLICY`] characters.
    pub policy: Option<&'a str>,
    /// At most 10 managed policies that narrow it too.
    pub policy_arns: &'a [String],
}

/// What a signed request may say about a session beside that.
#[derive(Debug, Default)]
pub struct Labels<'a> {
    /// At most 50 tags: key, value.
    pub tags: &'a [(String, String)],
    /// The keys of tags that stay when the session assumes a further role.
    pub transitive: &'a [String],
    /// What the role's trust policy wants to hear.
    pub external_id: Option<&'a str>,
    /// Who is behind it; stays through all further roles and stands in AWS's log.
    pub source_identity: Option<&'a str>,
}

/// A session's credentials.
#[derive(Debug)]
pub struct Session {
    /// The keys, with a session token.
    pub keys: Keys,
    /// When they end.
    pub expires: Timestamp,
    /// The assumed role and session, as an ARN.
    pub arn: String,
}

impl Session {
    /// As a credential for a job.
    pub fn into_credential(self, region: &str) -> Credential {
        let Keys { access_key_id, secret_access_key, session_token } = self.keys;
        let credential = Credential::default()
            .public("access_key_id", access_key_id)
            .secret("secret_access_key", secret_access_key);
        let credential = match session_token {
            Some(token) => credential.secret("session_token", token),
            None => credential,
        };
        credential.public("region", region)
    }
}

/// Assumes a role with a token of an identity provider that the account trusts. Unsigned: the token is the proof.
///
/// # Errors
/// See [`ProviderError`]. An expired token is `Transient`: the same call with a fresh one may work.
pub async fn assume_role_with_web_identity(
    fetch: &Fetch,
    endpoint: &Endpoint,
    wanted: &Wanted<'_>,
    token: &Secret,
    now: Timestamp,
) -> Result<Session, ProviderError> {
    // AWS's own bounds; a token is visible ASCII.
    if token.len() < 4 || !is_token(token.expose(), 20_000) {
        return Err(ProviderError::Denied("the token for AWS has no form of a token".into()));
    }
    let text = token.expose_text().unwrap_or_default();
    let mut form = Form::new("AssumeRoleWithWebIdentity");
    form.wanted(wanted);
    form.add("WebIdentityToken", text);
    let body = form.finish();
    let answer = send(fetch, Proof::Token, &[token], || endpoint.post(FORM, body.to_vec())).await?;
    session(&answer, "AssumeRoleWithWebIdentity", wanted, now)
}

/// Assumes a role with keys of our own.
///
/// # Errors
/// See [`ProviderError`].
pub async fn assume_role(
    fetch: &Fetch,
    endpoint: &Endpoint,
    wanted: &Wanted<'_>,
    labels: &Labels<'_>,
    keys: &Keys,
    now: Timestamp,
) -> Result<Session, ProviderError> {
    let mut form = Form::new("AssumeRole");
    form.wanted(wanted);
    form.labels(labels);
    let body = form.finish();
    let answer = send(fetch, Proof::Keys, &[&keys.secret_access_key], || {
        endpoint.signed_post(keys, FORM, None, body.to_vec(), now)
    })
    .await?;
    session(&answer, "AssumeRole", wanted, now)
}

/// Who the holder of these keys is, as an ARN. Needs no permission.
///
/// # Errors
/// See [`ProviderError`].
pub async fn get_caller_identity(
    fetch: &Fetch,
    endpoint: &Endpoint,
    keys: &Keys,
    now: Timestamp,
) -> Result<String, ProviderError> {
    let body = Form::new("GetCallerIdentity").finish();
    let answer = send(fetch, Proof::Keys, &[&keys.secret_access_key], || {
        endpoint.signed_post(keys, FORM, None, body.to_vec(), now)
    })
    .await?;
    answer
        .text(&["GetCallerIdentityResult", "Arn"])
        .filter(|arn| arn.starts_with("arn:"))
        .map(str::to_owned)
        .ok_or_else(|| not_sts("GetCallerIdentity"))
}

/// Whether something answers there that speaks as STS does: it is asked without a signature and must refuse in STS's way.
///
/// # Errors
/// `Transient` when it does not answer now, `Misconfigured` when it is something else.
pub async fn probe(fetch: &Fetch, endpoint: &Endpoint) -> Result<(), ProviderError> {
    let body = Form::new("GetCallerIdentity").finish();
    let answer = http::call_again(fetch, endpoint.post(FORM, body.to_vec())).await?;
    match failure::of_query(&answer, Proof::Token, &[]) {
        Failure { code: Some(_), .. } if !answer.is_success() => Ok(()),
        failure if failure.error.is_passing() => Err(failure.error),
        _ => Err(not_sts("GetCallerIdentity")),
    }
}

/// Sends a request until it is answered, or its error is final.
async fn send(
    fetch: &Fetch,
    proof: Proof,
    hidden: &[&Secret],
    call: impl Fn() -> Call,
) -> Result<Element, ProviderError> {
    let mut patience = Patience::new();
    loop {
        match once(fetch, proof, hidden, call()).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => patience.after(failure).await?,
        }
    }
}

async fn once(fetch: &Fetch, proof: Proof, hidden: &[&Secret], call: Call) -> Result<Element, Failure> {
    let answer = http::call_again(fetch, call).await?;
    if !answer.is_success() {
        return Err(failure::of_query(&answer, proof, hidden));
    }
    Element::parse(answer.body())
        .map_err(|e| Failure::from(ProviderError::Misconfigured(format!("the answer of STS: {e}"))))
}

/// Reads a session out of an answer, and makes sure that it is the one that was asked for.
fn session(
    answer: &Element,
    action: &str,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Session, ProviderError> {
    let result = format!("{action}Result");
    let text = |path: [&str; 2]| answer.text(&[&result, path[0], path[1]]);
    let part = |name: &str, max: usize| {
        text(["Credentials", name])
            .filter(|value| is_token(value.as_bytes(), max))
            .ok_or_else(|| not_sts(action))
    };
    if answer.name() != format!("{action}Response") {
        return Err(not_sts(action));
    }
    let keys = Keys {
        access_key_id: part("AccessKeyId", 128)?.to_owned(),
        secret_access_key: Secret::text(part("SecretAccessKey", 1024)?.to_owned()),
        session_token: Some(Secret::text(part("SessionToken", 16 * 1024)?.to_owned())),
    };
    let expires: Timestamp = part("Expiration", 40)?.parse().map_err(|_| not_sts(action))?;
    let arn = text(["AssumedRoleUser", "Arn"]).ok_or_else(|| not_sts(action))?.to_owned();
    if !arn.ends_with(&format!("/{}", wanted.session_name)) {
        return Err(ProviderError::Misconfigured(
            "STS answered with another session than was asked for".into(),
        ));
    }
    if expires <= now {
        return Err(ProviderError::Misconfigured(
            "STS answered with a session that is over; set this machine's clock".into(),
        ));
    }
    Ok(Session { keys, expires, arn })
}

fn not_sts(action: &str) -> ProviderError {
    ProviderError::Misconfigured(format!("the answer is not that of STS to {action}"))
}

/// A request of the query protocol.
struct Form(Vec<(String, String)>);

impl Form {
    fn new(action: &str) -> Form {
        let mut form = Form(Vec::new());
        form.add("Action", action);
        form.add("Version", VERSION);
        form
    }

    fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    fn wanted(&mut self, wanted: &Wanted<'_>) {
        self.add("RoleArn", wanted.role_arn);
        self.add("RoleSessionName", wanted.session_name);
        self.add("DurationSeconds", wanted.seconds.to_string());
        if let Some(policy) = wanted.policy {
            self.add("Policy", policy);
        }
        for (index, arn) in wanted.policy_arns.iter().enumerate() {
            self.add(format!("PolicyArns.member.{}.arn", index + 1), arn);
        }
    }

    fn labels(&mut self, labels: &Labels<'_>) {
        for (index, (key, value)) in labels.tags.iter().enumerate() {
            self.add(format!("Tags.member.{}.Key", index + 1), key);
            self.add(format!("Tags.member.{}.Value", index + 1), value);
        }
        for (index, key) in labels.transitive.iter().enumerate() {
            self.add(format!("TransitiveTagKeys.member.{}", index + 1), key);
        }
        if let Some(id) = labels.external_id {
            self.add("ExternalId", id);
        }
        if let Some(identity) = labels.source_identity {
            self.add("SourceIdentity", identity);
        }
    }

    fn finish(self) -> Zeroizing<Vec<u8>> {
        let fields = Zeroizing::new(self.0);
        // Each byte may become three.
        let room = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut body = url::form_urlencoded::Serializer::new(String::with_capacity(room));
        body.extend_pairs(fields.iter());
        Zeroizing::new(body.finish().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(arn_tail: &str, expires: &str, secret: &str) -> Element {
        let xml = format!(
            "<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/{arn_tail}</Arn>\
             </AssumedRoleUser><Credentials><AccessKeyId>ID</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        );
        Element::parse(xml.as_bytes()).unwrap()
    }

    const WANTED: Wanted<'_> = Wanted {
        role_arn: "arn:aws:iam::123456789012:role/r",
        session_name: "clv_x",
        seconds: 900,
        policy: None,
        policy_arns: &[],
    };

    fn read(answer: &Element) -> Result<Session, ProviderError> {
        session(answer, "AssumeRole", &WANTED, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn reads_the_session_that_was_asked_for() {
        let session = read(&answer("clv_x", "2026-01-01T00:15:00Z", "k+/")).unwrap();
        assert_eq!(session.keys.access_key_id, "ID");
        assert!(session.keys.secret_access_key.matches(b"k+/"));
        assert_eq!(session.expires.to_string(), "2026-01-01T00:15:00Z");
        assert!(!format!("{session:?}").contains("k+/"));
    }

    #[test]
    fn refuses_another_session_and_odd_answers() {
        for bad in [
            answer("clv_y", "2026-01-01T00:15:00Z", "k"),
            answer("clv_x", "2025-01-01T00:15:00Z", "k"),
            answer("clv_x", "soon", "k"),
            answer("clv_x", "2026-01-01T00:15:00Z", ""),
            answer("clv_x", "2026-01-01T00:15:00Z", "a b"),
        ] {
            assert!(matches!(read(&bad), Err(ProviderError::Misconfigured(_))));
        }
    }

    #[test]
    fn numbers_its_lists() {
        let mut form = Form::new("AssumeRole");
        form.wanted(&Wanted { policy_arns: &["arn:1".into(), "arn:2".into()], ..WANTED });
        form.labels(&Labels {
            tags: &[("k".into(), "v v".into())],
            transitive: &["k".into()],
            ..Labels::default()
        });
        let body = form.finish();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("PolicyArns.member.2.arn=arn%3A2"));
        assert!(body.contains("Tags.member.1.Value=v+v&TransitiveTagKeys.member.1=k"));
    }
}
