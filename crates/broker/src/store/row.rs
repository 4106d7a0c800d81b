//! A lease as a row: what every store keeps of it, and how it is read back.

use std::fmt;
use std::sync::Arc;

use claviger_audit::event::Who;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{ColumnIndex, Decode, Type};

use super::StoreError;
use crate::lease::{HandleHash, Intent, Lease, LeaseId, Reason, State};

/// The columns that [`Row::read`] reads, in its order.
pub(super) const COLUMNS: &str = "id, state, handle, who, role, provider, environment, parameters, created, \
    expires, max_expires, renewals, heard, silence_s, reference, fingerprints, reason, revoking_since, attempts, \
    due, last_error, closed";

/// How long it is remembered that a run took a role that it may take once. A run can be started again with the same id
/// for 30 days and may last 35 (GitHub).
const ONCE_KEPT_US: i64 = 90 * 86_400 * 1_000_000;

/// A lease, in columns. Texts that many leases share are shared, for the store in memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: LeaseId,
    pub(super) state: State,
    pub(super) handle: HandleHash,
    /// JSON.
    pub(super) who: Box<str>,
    pub(super) role: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) environment: Arc<str>,
    /// JSON.
    pub(super) parameters: Arc<str>,
    pub(super) created: i64,
    pub(super) expires: i64,
    pub(super) max_expires: i64,
    pub(super) renewals: u32,
    pub(super) heard: Option<i64>,
    pub(super) silence_s: Option<u32>,
    pub(super) reference: Option<Box<[u8]>>,
    pub(super) fingerprints: Box<[String]>,
    pub(super) reason: Option<Reason>,
    pub(super) revoking_since: Option<i64>,
    pub(super) attempts: u32,
    /// When something is to be done about it next; `None` once it is closed.
    pub(super) due: Option<i64>,
    pub(super) last_error: Option<Box<str>>,
    pub(super) closed: Option<i64>,
}

/// Something that no version of this program wrote.
#[derive(Debug)]
struct Unreadable(&'static str, String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a lease's {}: {}", self.0, self.1)
    }
}

impl std::error::Error for Unreadable {}

fn unreadable(column: &'static str, why: impl fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(Unreadable(column, why.to_string())))
}

impl Row {
    /// The row of a lease that is begun.
    pub(super) fn new(lease: &Lease) -> Row {
        let mut row = Row {
            id: lease.id,
            state: lease.state,
            handle: lease.handle,
            who: serde_json::to_string(&lease.who).unwrap_or_else(|_| "{}".into()).into(),
            role: plain(&lease.role).into(),
            provider: plain(&lease.provider).into(),
            environment: plain(&lease.environment).into(),
            parameters: lease.parameters.to_string().into(),
            created: micros(lease.created),
            expires: micros(lease.expires),
            max_expires: micros(lease.max_expires),
            renewals: lease.renewals,
            heard: lease.heard.map(micros),
            silence_s: lease.silence_s,
            reference: lease.reference.as_deref().map(Into::into),
            fingerprints: lease.fingerprints.iter().map(|it| plain(it)).collect(),
            reason: lease.reason,
            revoking_since: lease.revoking_since.map(micros),
            attempts: lease.attempts,
            due: None,
            last_error: lease.last_error.as_deref().map(|it| plain(it).into()),
            closed: lease.closed.map(micros),
        };
        row.due = row.first_due();
        row
    }

    /// When something is to be done about it, by its state and times alone.
    pub(super) fn first_due(&self) -> Option<i64> {
        match self.state {
            State::Pending => Some(self.expires),
            State::Active => Some(self.silent_at().map_or(self.expires, |at| at.min(self.expires))),
            State::Revoking => self.revoking_since.or(Some(self.created)),
            State::Revoked | State::Expired => None,
        }
    }

    /// When its holder counts as silent.
    fn silent_at(&self) -> Option<i64> {
        let silence = i64::from(self.silence_s?) * 1_000_000;
        Some(self.heard.unwrap_or(self.created).saturating_add(silence))
    }

    /// The lease.
    ///
    /// # Errors
    /// A column holds what no version of this program wrote.
    pub(super) fn lease(&self) -> Result<Lease, sqlx::Error> {
        let who: Who = serde_json::from_str(&self.who).map_err(|e| unreadable("who", e))?;
        let parameters: Value =
            serde_json::from_str(&self.parameters).map_err(|e| unreadable("parameters", e))?;
        let instant = |at: Option<i64>| at.map(timestamp).transpose();
        Ok(Lease {
            id: self.id,
            state: self.state,
            handle: self.handle,
            who,
            role: self.role.to_string(),
            provider: self.provider.to_string(),
            environment: self.environment.to_string(),
            parameters,
            created: timestamp(self.created)?,
            expires: timestamp(self.expires)?,
            max_expires: timestamp(self.max_expires)?,
            renewals: self.renewals,
            heard: instant(self.heard)?,
            silence_s: self.silence_s,
            reference: self.reference.as_deref().map(<[u8]>::to_vec),
            fingerprints: self.fingerprints.to_vec(),
            reason: self.reason,
            revoking_since: instant(self.revoking_since)?,
            attempts: self.attempts,
            next_attempt: if self.state == State::Revoking { instant(self.due)? } else { None },
            last_error: self.last_error.as_deref().map(str::to_owned),
            closed: instant(self.closed)?,
        })
    }

    /// Reads [`COLUMNS`].
    ///
    /// # Errors
    /// As of [`Row::lease`].
    pub(super) fn read<'r, R>(row: &'r R) -> Result<Row, sqlx::Error>
    where
        R: sqlx::Row,
        usize: ColumnIndex<R>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        &'r str: Decode<'r, R::Database> + Type<R::Database>,
        &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    {
        let text = |at: usize| row.try_get::<&str, _>(at);
        let optional_text = |at: usize| row.try_get::<Option<&str>, _>(at);
        let bytes = |at: usize| row.try_get::<&[u8], _>(at);
        let number = |at: usize| row.try_get::<i64, _>(at);
        let optional = |at: usize| row.try_get::<Option<i64>, _>(at);
        let small = |name, value: i64| u32::try_from(value).map_err(|e| unreadable(name, e));
        let state = State::parse(text(1)?).ok_or_else(|| unreadable("state", "unknown word"))?;
        let reason = optional_text(16)?.map(|word| {
            Reason::parse(word).ok_or_else(|| unreadable("reason", "unknown word; a newer version's?"))
        });
        Ok(Row {
            id: LeaseId::from_bytes(array("id", bytes(0)?)?),
            state,
            handle: array("handle", bytes(2)?)?,
            who: text(3)?.into(),
            role: text(4)?.into(),
            provider: text(5)?.into(),
            environment: text(6)?.into(),
            parameters: text(7)?.into(),
            created: number(8)?,
            expires: number(9)?,
            max_expires: number(10)?,
            renewals: small("renewals", number(11)?)?,
            heard: optional(12)?,
            silence_s: optional(13)?.map(|it| small("silence_s", it)).transpose()?,
            reference: row.try_get::<Option<&[u8]>, _>(14)?.map(Into::into),
            fingerprints: serde_json::from_str(text(15)?).map_err(|e| unreadable("fingerprints", e))?,
            reason: reason.transpose()?,
            revoking_since: optional(17)?,
            attempts: small("attempts", number(18)?)?,
            due: optional(19)?,
            last_error: optional_text(20)?.map(Into::into),
            closed: optional(21)?,
        })
    }
}

/// What is written with a lease's row at its begin and is not read back.
pub(super) struct Beginning {
    pub(super) row: Row,
    pub(super) issuer: Option<String>,
    pub(super) run: Option<String>,
    pub(super) repository: Option<String>,
    /// See the schema.
    pub(super) holder: [u8; 16],
    /// The use of the token.
    pub(super) token: [u8; 32],
    pub(super) keep_until: i64,
    /// The use of the run, for a role that a run may take once.
    pub(super) once: Option<[u8; 32]>,
    pub(super) once_until: i64,
    pub(super) role_limit: Option<u32>,
    pub(super) run_limit: Option<u32>,
}

impl Beginning {
    pub(super) fn new(intent: &Intent) -> Beginning {
        let (lease, token) = (&intent.lease, &intent.token);
        let who = &lease.who;
        let issuer = who.issuer.as_deref().unwrap_or_default();
        // A token that names no run is counted by its subject: stricter, never looser.
        let (kind, name) = match &who.run_id {
            Some(run) => ("run", run.as_str()),
            None => ("subject", who.subject.as_deref().unwrap_or_default()),
        };
        let holder = digest(&["holder", issuer, kind, name]);
        let once = digest(&["once", issuer, kind, name, &lease.role]);
        let row = Row::new(lease);
        Beginning {
            issuer: who.issuer.as_deref().map(plain),
            run: who.run_id.as_deref().map(plain),
            repository: who.repository.as_deref().map(plain),
            holder: holder[..16].try_into().expect("16 of 32 bytes"),
            token: digest(&["token", &token.issuer, &token.token_id, &lease.role]),
            keep_until: micros(token.keep_until),
            once: intent.limits.once_per_run.then_some(once),
            once_until: row.created.saturating_add(ONCE_KEPT_US),
            role_limit: intent.limits.role,
            run_limit: intent.limits.run,
            row,
        }
    }
}

/// The texts of [`BeginError::LimitReached`](super::BeginError::LimitReached).
pub(super) const ROLE_LIMIT: &str = "live leases of the role";
pub(super) const RUN_LIMIT: &str = "live leases of the run under the role";
pub(super) const ONCE_LIMIT: &str = "one lease of the run under the role";

/// Whether a lease counts towards limits, in SQL: it is not closed, and somebody may hold its credential.
macro_rules! counted {
    () => {
        "closed IS NULL AND NOT (state = 'revoking' AND coalesce(reason, '') IN ('unfinished', 'unrecorded'))"
    };
}
pub(super) use counted;

/// Text as every database takes it: PostgreSQL knows no NUL, and a stranger's claim may hold one.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn timestamp(micros: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_microsecond(micros).map_err(|e| unreadable("time", e))
}

pub(super) fn array<const N: usize>(column: &'static str, bytes: &[u8]) -> Result<[u8; N], sqlx::Error> {
    bytes.try_into().map_err(|e| unreadable(column, e))
}

/// SHA-256 of texts, each behind its length, so that no two lists of texts meet.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Errors that mean the same in every database.
pub(super) fn common(error: &sqlx::Error) -> Option<StoreError> {
    use sqlx::Error::{
        ColumnDecode, ColumnIndexOutOfBounds, ColumnNotFound, Decode, PoolClosed, PoolTimedOut,
    };
    match error {
        Decode(_) | ColumnDecode { .. } | ColumnNotFound(_) | ColumnIndexOutOfBounds { .. } => {
            Some(StoreError::Damaged(error.to_string()))
        }
        PoolTimedOut => {
            Some(StoreError::Unavailable("all connections are in use, or none can be made".into()))
        }
        PoolClosed => Some(StoreError::Unavailable("it was closed".into())),
        _ => None,
    }
}
