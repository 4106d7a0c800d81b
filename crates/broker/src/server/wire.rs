//! What goes over the wire, for server and client alike. The only place where a secret becomes JSON.
//!
//! The exchange speaks RFC 8693 (OAuth 2.0 Token Exchange) as a form, and the same as JSON. A credential of several
//! fields is no bearer token: `token_type` is `N_A` and the fields are members of their own (section 2.2.1 allows more
//! members).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::broker::{Exchanged, GivenBack, Prolonged, Refusal, RefusalKind};
use crate::secret::Secret;

/// RFC 8693, section 2.1.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693, section 3.
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// RFC 8693, section 3.
pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// A credential of named fields: our own kind of token.
pub const CREDENTIAL: &str = "urn:claviger:params:oauth:token-type:credential";

/// Writes a secret that leaves on purpose.
pub(crate) fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    match secret.expose_text() {
        Some(text) => serializer.serialize_str(text),
        None => Err(serde::ser::Error::custom("a field of the credential is not text")),
    }
}

/// Reads a secret.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::text)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<jiff::Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::text))
}

/// A request for an exchange. As a form it has `grant_type` and `subject_token_type` too.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// As a form: must be `urn:ietf:params:oauth:grant-type:token-exchange`.
    #[serde(default)]
    #[schema(example = "urn:ietf:params:oauth:grant-type:token-exchange")]
    pub grant_type: Option<String>,
    /// The CI's token.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, max_length = 16384)]
    pub subject_token: Secret,
    /// If present, the type for JWTs or for ID tokens.
    #[serde(default)]
    pub subject_token_type: Option<String>,
    /// If present, our own type of credential.
    #[serde(default)]
    pub requested_token_type: Option<String>,
    /// The role asked for. In RFC 8693's words the same can be said as `scope`.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub role: Option<String>,
    /// The role asked for, in the RFC's words.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub scope: Option<String>,
    /// How long it is to live: `15m`.
    #[serde(default)]
    #[schema(example = "15m", max_length = 32)]
    pub ttl: Option<String>,
    /// What the provider needs from the caller. In a form, members named `input.NAME`.
    #[serde(default)]
    pub input: BTreeMap<String, String>,
    /// A token of the caller for the target itself, where the role wants one.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 16384)]
    pub target_token: Option<Secret>,
    /// The caller promises to be heard of at least this often: `60s`.
    #[serde(default)]
    #[schema(example = "60s", max_length = 32)]
    pub heartbeat: Option<String>,
}

/// The answer to an exchange.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExchangeAnswer<'a> {
    /// The credential's first secret field: the whole credential where it is a single token.
    #[serde(serialize_with = "expose_ref")]
    #[schema(value_type = String)]
    access_token: &'a Secret,
    /// What `access_token` is.
    issued_token_type: &'static str,
    /// `N_A`: use the fields of `credential` as their names say.
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    /// The lease on it.
    lease: LeaseAnswer<'a>,
    /// The credential's fields by name.
    #[serde(serialize_with = "fields")]
    #[schema(value_type = BTreeMap<String, String>)]
    credential: &'a Exchanged,
    /// Which of the fields must be kept secret.
    secret_fields: Vec<&'a str>,
    /// Where the audit log has it.
    record: RecordAnswer,
}

/// The lease on a credential.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LeaseAnswer<'a> {
    /// Its id: names it, and opens nothing.
    id: String,
    /// Renews it and gives it back: keep it secret.
    #[serde(serialize_with = "expose_ref")]
    #[schema(value_type = String)]
    handle: &'a Secret,
    /// When it ends, RFC 3339.
    expires_at: String,
    /// Beyond this it cannot be renewed.
    max_expires_at: String,
    /// Whether it can be renewed.
    renewable: bool,
    /// Whether it can be ended early.
    revocable: bool,
    /// The role.
    role: &'a str,
    /// The provider.
    provider: &'a str,
    /// The provider's kind: `postgres`, `ssh`, ...
    kind: &'a str,
    /// The environment.
    environment: &'a str,
}

/// Where the audit log has it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RecordAnswer {
    /// The entry's index.
    index: u64,
    /// The receipt, a C2SP `tlog-proof`, for `claviger audit verify --receipt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

fn expose_ref<S: Serializer>(secret: &&Secret, serializer: S) -> Result<S::Ok, S::Error> {
    expose(secret, serializer)
}

fn fields<S: Serializer>(done: &&Exchanged, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap as _;
    struct Text<'a>(&'a Secret);
    impl Serialize for Text<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            expose(self.0, serializer)
        }
    }
    let mut map = serializer.serialize_map(Some(done.credential.fields.len()))?;
    for field in &done.credential.fields {
        map.serialize_entry(field.name.as_ref(), &Text(&field.value))?;
    }
    map.end()
}

impl<'a> ExchangeAnswer<'a> {
    /// The answer for an exchange that was done at `now`. `nothing` stands for the token of a credential without
    /// fields, which no provider makes.
    pub(super) fn new(done: &'a Exchanged, now: jiff::Timestamp, nothing: &'a Secret) -> ExchangeAnswer<'a> {
        let fields = &done.credential.fields;
        let first = fields.iter().find(|field| field.is_secret).or_else(|| fields.first());
        ExchangeAnswer {
            access_token: first.map_or(nothing, |field| &field.value),
            issued_token_type: CREDENTIAL,
            token_type: "N_A",
            expires_in: u64::try_from(done.expires.duration_since(now).as_secs()).unwrap_or(0),
            lease: LeaseAnswer {
                id: done.lease.to_string(),
                handle: done.handle.expose(),
                expires_at: done.expires.to_string(),
                max_expires_at: done.max_expires.to_string(),
                renewable: done.renewable,
                revocable: done.revocable,
                role: &done.role,
                provider: &done.provider,
                kind: done.kind,
                environment: &done.environment,
            },
            credential: done,
            secret_fields: fields
                .iter()
                .filter(|field| field.is_secret)
                .map(|field| field.name.as_ref())
                .collect(),
            record: RecordAnswer {
                index: done.record.index(),
                proof: done.record.receipt().map(|receipt| receipt.to_string()),
            },
        }
    }
}

/// What a client reads of the answer to an exchange.
#[derive(Debug, Deserialize)]
pub struct ReceivedExchange {
    /// In seconds.
    pub expires_in: u64,
    /// The lease.
    pub lease: ReceivedLease,
    /// The fields by name, in the order that the provider gave them.
    #[serde(deserialize_with = "received_fields")]
    pub credential: Vec<(String, Secret)>,
    /// Which of them must be kept secret.
    pub secret_fields: Vec<String>,
    /// Where the audit log has it.
    pub record: ReceivedRecord,
}

/// See [`LeaseAnswer`].
#[derive(Debug, Deserialize)]
pub struct ReceivedLease {
    /// Its id.
    pub id: String,
    /// Its handle.
    #[serde(deserialize_with = "secret")]
    pub handle: Secret,
    /// When it ends.
    #[serde(deserialize_with = "time")]
    pub expires_at: jiff::Timestamp,
    /// Beyond this it cannot be renewed.
    #[serde(deserialize_with = "time")]
    pub max_expires_at: jiff::Timestamp,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// Whether it can be ended early.
    pub revocable: bool,
    /// The provider.
    pub provider: String,
    /// The provider's kind: `postgres`, `ssh`, ...
    pub kind: String,
    /// The environment.
    pub environment: String,
}

impl ReceivedLease {
    /// What stands in the place of a lease that was taken out.
    pub fn nothing() -> ReceivedLease {
        ReceivedLease {
            id: String::new(),
            handle: Secret::new(Vec::new()),
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            max_expires_at: jiff::Timestamp::UNIX_EPOCH,
            renewable: false,
            revocable: false,
            provider: String::new(),
            kind: String::new(),
            environment: String::new(),
        }
    }
}

/// See [`RecordAnswer`].
#[derive(Debug, Default, Deserialize)]
pub struct ReceivedRecord {
    /// The entry's index.
    pub index: u64,
    /// The receipt.
    #[serde(default)]
    pub proof: Option<String>,
}

fn received_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Secret)>, D::Error> {
    struct Fields;
    impl<'de> serde::de::Visitor<'de> for Fields {
        type Value = Vec<(String, Secret)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the fields of a credential")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, String>()? {
                fields.push((name, Secret::text(value)));
            }
            Ok(fields)
        }
    }
    deserializer.deserialize_map(Fields)
}

/// A request that concerns the lease of a handle, which is in the `Authorization` header as a bearer token.
#[derive(Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// How long from now: `15m`. As much as at first if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "15m", max_length = 32)]
    pub ttl: Option<String>,
}

/// The answer to a renewal.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
pub struct RenewAnswer {
    /// The lease.
    pub id: String,
    /// Its new end, RFC 3339.
    pub expires_at: String,
    /// Beyond this it cannot be renewed.
    pub max_expires_at: String,
}

impl From<Prolonged> for RenewAnswer {
    fn from(done: Prolonged) -> RenewAnswer {
        RenewAnswer {
            id: done.lease.to_string(),
            expires_at: done.expires.to_string(),
            max_expires_at: done.max_expires.to_string(),
        }
    }
}

/// The answer to giving a lease back.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
pub struct RevokeAnswer {
    /// The lease.
    pub id: String,
    /// `revoked`, `expired`, or `revoking` when its target has not confirmed yet; that is tried until it does.
    pub state: String,
    /// Whether its target can end it at all before it expires.
    pub revocable: bool,
    /// If the credential still works: until when at most, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl From<GivenBack> for RevokeAnswer {
    fn from(done: GivenBack) -> RevokeAnswer {
        RevokeAnswer {
            id: done.lease.to_string(),
            state: done.state.as_str().to_owned(),
            revocable: done.revocable,
            until: done.until.map(|until| until.to_string()),
        }
    }
}

/// An error, in the shape of RFC 6749, section 5.2, with more members.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
pub struct ErrorAnswer {
    /// The RFC's word.
    pub error: String,
    /// What is wrong and what to do.
    pub error_description: String,
    /// Our own word, stable: `expired`, `replayed`, `held-back`, ...
    pub code: String,
    /// Whether the same request may work later.
    pub retry: bool,
    /// The claims that failed: their names and the caller's own values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedAnswer>,
    /// The request's id, which the broker's log has too.
    #[serde(default)]
    pub request_id: String,
}

/// A claim that failed.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
pub struct FailedAnswer {
    /// Its name.
    pub claim: String,
    /// What is wanted, where the caller may know that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What the token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// The HTTP status and the RFC's word for a kind of refusal.
pub(super) fn status(kind: RefusalKind) -> (u16, &'static str) {
    match kind {
        RefusalKind::Invalid => (400, "invalid_request"),
        RefusalKind::Unauthenticated => (401, "invalid_grant"),
        RefusalKind::Forbidden => (403, "access_denied"),
        RefusalKind::Limited => (429, "slow_down"),
        RefusalKind::Provider => (502, "invalid_target"),
        RefusalKind::Unavailable => (503, "temporarily_unavailable"),
    }
}

impl ErrorAnswer {
    pub(super) fn new(refusal: &Refusal, request_id: &str) -> ErrorAnswer {
        ErrorAnswer {
            error: status(refusal.kind).1.to_owned(),
            error_description: refusal.message.clone(),
            code: refusal.code.to_owned(),
            retry: refusal.kind.is_passing(),
            failed: refusal
                .told
                .iter()
                .map(|told| FailedAnswer {
                    claim: told.claim.clone(),
                    wanted: told.wanted.clone(),
                    found: told.seen.clone(),
                })
                .collect(),
            request_id: request_id.to_owned(),
        }
    }
}
