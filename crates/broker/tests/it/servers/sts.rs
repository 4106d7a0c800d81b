//! A strict stand-in of AWS STS: it computes each signature anew, by code of its own, holds requests to the documented
//! bounds, and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::standin::StandIn;

/// What one request said.
pub(crate) type Form = BTreeMap<String, String>;

/// A key that the stand-in knows.
struct Known {
    secret: String,
    session_token: Option<String>,
}

#[derive(Default)]
struct Inner {
    keys: BTreeMap<String, Known>,
    tokens: Vec<String>,
    /// Answers to give before anything is looked at: status and body.
    faults: VecDeque<(u16, String)>,
    seen: Vec<Form>,
    made: usize,
}

/// The stand-in.
pub(crate) struct Sts {
    server: StandIn,
    inner: Arc<Mutex<Inner>>,
}

impl Sts {
    /// Starts one that knows the key `id`.
    pub(crate) async fn start(id: &str, secret: &str) -> Sts {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let known = Known { secret: secret.to_owned(), session_token: None };
        inner.lock().unwrap().keys.insert(id.to_owned(), known);
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&inner));
        Sts { server: StandIn::start(router).await, inner }
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        self.server.url()
    }

    /// Takes this web identity token from now on.
    pub(crate) fn accept(&self, token: &str) {
        self.inner.lock().unwrap().tokens.push(token.to_owned());
    }

    /// Fails the next request with one of AWS's errors.
    pub(crate) fn fail(&self, status: u16, code: &str) {
        self.fail_with(status, &error_body(code, "told to"));
    }

    /// Answers the next request with this.
    pub(crate) fn fail_with(&self, status: u16, body: &str) {
        self.inner.lock().unwrap().faults.push_back((status, body.to_owned()));
    }

    /// The requests since the last look.
    pub(crate) fn seen(&self) -> Vec<Form> {
        std::mem::take(&mut self.inner.lock().unwrap().seen)
    }
}

type Answer = (StatusCode, String);

fn error_body(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    (StatusCode::from_u16(status).unwrap(), error_body(code, message))
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut inner = inner.lock().unwrap();
    let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
    inner.seen.push(form.clone());
    if let Some((status, body)) = inner.faults.pop_front() {
        return (StatusCode::from_u16(status).unwrap(), body);
    }
    match handle(&mut inner, &headers, &body, &form) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn handle(inner: &mut Inner, headers: &HeaderMap, body: &[u8], form: &Form) -> Result<Answer, Answer> {
    if form.get("Version").map(String::as_str) != Some("2011-06-15") {
        return Err(error(400, "InvalidAction", "version"));
    }
    let action = form.get("Action").map_or("", String::as_str);
    match action {
        "AssumeRoleWithWebIdentity" => {
            if headers.contains_key("authorization") {
                return Err(error(400, "ValidationError", "this is not signed"));
            }
            let token = form.get("WebIdentityToken").map_or("", String::as_str);
            if !inner.tokens.iter().any(|known| known == token) {
                return Err(error(400, "InvalidIdentityToken", &format!("cannot use {token}")));
            }
            for name in form.keys() {
                let is_known = ["Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds"];
                let is_known = is_known.contains(&name.as_str())
                    || matches!(name.as_str(), "Policy" | "WebIdentityToken")
                    || name.starts_with("PolicyArns.member.");
                if !is_known {
                    return Err(error(400, "ValidationError", name));
                }
            }
            session(inner, action, form, 43_200)
        }
        "AssumeRole" => {
            let id = signed_by(inner, headers, body)?;
            let is_session = inner.keys[&id].session_token.is_some();
            session(inner, action, form, if is_session { 3600 } else { 43_200 })
        }
        "GetCallerIdentity" => {
            let id = signed_by(inner, headers, body)?;
            let xml = format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/{id}</Arn>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>"
            );
            Ok((StatusCode::OK, xml))
        }
        _ => Err(error(400, "InvalidAction", action)),
    }
}

fn session(inner: &mut Inner, action: &str, form: &Form, max: u64) -> Result<Answer, Answer> {
    let text = |name: &str| form.get(name).map_or("", String::as_str);
    let (role, name, policy) = (text("RoleArn"), text("RoleSessionName"), text("Policy"));
    let seconds: u64 = text("DurationSeconds").parse().unwrap_or(0);
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if !(900..=max).contains(&seconds) || !(2..=64).contains(&name.len()) || !is_name || policy.len() > 2048 {
        return Err(error(400, "ValidationError", "out of bounds"));
    }
    let Some(role) = role.strip_prefix("arn:aws:iam::123456789012:role/") else {
        return Err(error(403, "AccessDenied", "no such role"));
    };
    inner.made += 1;
    let (id, secret, token) = (format!("ASIA{:012}", inner.made), random(), random());
    let expires = Timestamp::now() + SignedDuration::from_secs(i64::try_from(seconds).unwrap());
    let xml = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n <{action}Result>\n  <Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>{expires}</Expiration></Credentials>\n  <AssumedRoleUser><AssumedRoleId>ARO:{name}</AssumedRoleId>\
         <Arn>arn:aws:sts::123456789012:assumed-role/{role}/{name}</Arn></AssumedRoleUser>\n </{action}Result>\n\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    );
    inner.keys.insert(id, Known { secret, session_token: Some(token) });
    Ok((StatusCode::OK, xml))
}

fn random() -> String {
    claviger_broker::secret::password(40).expose_text().unwrap().to_owned()
}

/// The id of the key that signed the request.
fn signed_by(inner: &Inner, headers: &HeaderMap, body: &[u8]) -> Result<String, Answer> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization =
        header("authorization").ok_or_else(|| error(403, "MissingAuthenticationToken", ""))?;
    let parts = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=");
    let parts = parts.and_then(|rest| {
        let (credential, rest) = rest.split_once(", SignedHeaders=")?;
        let (signed, signature) = rest.split_once(", Signature=")?;
        Some((credential.split('/').collect::<Vec<_>>(), signed, signature))
    });
    let incomplete = || error(400, "IncompleteSignature", "");
    let (credential, signed, signature) = parts.ok_or_else(incomplete)?;
    let [id, day, region, "sts", "aws4_request"] = credential[..] else { return Err(incomplete()) };
    let known = inner.keys.get(id).ok_or_else(|| error(403, "InvalidClientTokenId", ""))?;
    let date = header("x-amz-date").ok_or_else(incomplete)?;
    let at = instant(date).ok_or_else(incomplete)?;
    if at.duration_since(Timestamp::now()).as_secs().abs() > 300 || &date[..8] != day {
        return Err(error(403, "RequestExpired", ""));
    }
    if header("x-amz-security-token").map(str::to_owned) != known.session_token {
        return Err(error(403, "InvalidClientTokenId", "session token"));
    }
    let names: Vec<&str> = signed.split(';').collect();
    let must = ["content-type", "host", "x-amz-date"]
        .into_iter()
        .chain(known.session_token.as_ref().map(|_| "x-amz-security-token"));
    if must.into_iter().any(|name| !names.contains(&name)) || !names.is_sorted() {
        return Err(incomplete());
    }
    let mut canonical = String::from("POST\n/\n\n");
    for name in &names {
        canonical += &format!("{name}:{}\n", header(name).ok_or_else(incomplete)?);
    }
    canonical += &format!("\n{signed}\n{}", hex::encode(Sha256::digest(body)));
    let digest = hex::encode(Sha256::digest(&canonical));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{day}/{region}/sts/aws4_request\n{digest}");
    let mut key = format!("AWS4{}", known.secret).into_bytes();
    for part in [day, region, "sts", "aws4_request", &text] {
        key = hmac(&key, part.as_bytes());
    }
    if hex::encode(key) == signature {
        Ok(id.to_owned())
    } else {
        Err(error(403, "SignatureDoesNotMatch", ""))
    }
}

/// Reads `20150830T123600Z`.
fn instant(date: &str) -> Option<Timestamp> {
    let part = |from: usize, to: usize| date.get(from..to);
    let (day, time) = ([part(0, 4)?, part(4, 6)?, part(6, 8)?], [part(9, 11)?, part(11, 13)?, part(13, 15)?]);
    format!("{}T{}Z", day.join("-"), time.join(":")).parse().ok()
}

/// RFC 2104 with SHA-256, spelled out.
fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36)[..], data].concat());
    Sha256::digest([&padded(0x5c)[..], &inner[..]].concat()).to_vec()
}
