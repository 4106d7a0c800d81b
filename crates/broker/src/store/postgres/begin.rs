//! Beginning a lease: one transaction of three round trips.

use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, query};

use super::{Connection, LOCK, ops};
use crate::store::row::{Beginning, ONCE_LIMIT, ROLE_LIMIT, RUN_LIMIT, counted};

/// What became of it.
pub(super) enum Begun {
    Done,
    HeldBack(String),
    Replayed,
    Limit(&'static str),
}

/// How the transaction begins. The locks come before the statement that looks, whose snapshot is taken after them: so
/// a hold is seen or waits, and of two brokers that count a role's leases the second counts the first one's.
pub(super) fn first(new: &Beginning) -> String {
    let mut text = format!("BEGIN; SELECT pg_advisory_xact_lock_shared({LOCK}, 0)");
    if new.role_limit.is_some() || new.run_limit.is_some() {
        let hash = Sha256::digest(new.row.role.as_bytes());
        // Two roles with one key wait for each other, no more. Zero is the key of holds.
        let key = i32::from_be_bytes([hash[0], hash[1], hash[2], hash[3] | 1]);
        text.push_str(&format!("; SELECT pg_advisory_xact_lock({LOCK}, {key})"));
    }
    text
}

/// One row: the reason of a hold; whether a limit of the role, of the run, or of the run's one time is reached; and how
/// many rows of leases were written. What is written depends on what was looked at.
const BEGIN: &str = concat!(
    "WITH held AS MATERIALIZED (SELECT reason FROM claviger_hold
        WHERE (until IS NULL OR until > $9) AND (issuer IS NULL OR issuer = $23)
            AND (run IS NULL OR run = $24) AND (repository IS NULL OR repository = $25)
            AND (role IS NULL OR role = $5) AND (provider IS NULL OR provider = $6)
            AND (environment IS NULL OR environment = $7)
        ORDER BY created, id LIMIT 1),
    seen AS MATERIALIZED (SELECT
        EXISTS (SELECT 1 FROM claviger_token WHERE key = $27) AS token,
        CASE WHEN $31::bigint IS NULL THEN false ELSE $31 <= (SELECT count(*) FROM claviger_lease WHERE role = $5
            AND ",
    counted!(),
    ") END AS role,
        CASE WHEN $32::bigint IS NULL THEN false ELSE $32 <= (SELECT count(*) FROM claviger_lease WHERE role = $5
            AND holder = $26 AND ",
    counted!(),
    ") END AS run,
        CASE WHEN $29::bytea IS NULL THEN false ELSE EXISTS (SELECT 1 FROM claviger_token WHERE key = $29) END
            AS once),
    allowed AS MATERIALIZED (SELECT 1 FROM seen
        WHERE NOT EXISTS (SELECT 1 FROM held) AND NOT (token OR role OR run OR once)),
    used AS (INSERT INTO claviger_token (key, keep_until) SELECT $27, $28::bigint FROM allowed
        ON CONFLICT DO NOTHING RETURNING 1),
    once AS (INSERT INTO claviger_token (key, keep_until) SELECT $29, $30::bigint FROM used WHERE $29 IS NOT NULL
        ON CONFLICT DO NOTHING RETURNING 1),
    written AS (INSERT INTO claviger_lease (id, state, handle, who, role, provider, environment, parameters, created,
            expires, max_expires, renewals, heard, silence_s, reference, fingerprints, reason, revoking_since,
            attempts, due, last_error, closed, issuer, run, repository, holder)
        SELECT $1::bytea, $2::text, $3::bytea, $4::text, $5, $6, $7, $8::text, $9, $10::bigint, $11::bigint,
            $12::bigint, $13::bigint, $14::bigint, $15::bytea, $16::text, $17::text, $18::bigint, $19::bigint,
            $20::bigint, $21::text, $22::bigint, $23, $24, $25, $26
        FROM used WHERE $29 IS NULL OR EXISTS (SELECT 1 FROM once)
        RETURNING 1)
    SELECT (SELECT reason FROM held), seen.token, seen.role, seen.run, seen.once,
        EXISTS (SELECT 1 FROM used) AS used, EXISTS (SELECT 1 FROM written) AS written FROM seen"
);

pub(super) async fn begin(conn: &mut Connection, new: &Beginning) -> Result<Begun, sqlx::Error> {
    let found = bind(new).fetch_one(&mut *conn).await?;
    if found.try_get(6)? {
        ops::add_fingerprints(conn, new.row.id, &new.row.fingerprints).await?;
        return Ok(Begun::Done);
    }
    if let Some(reason) = found.try_get::<Option<String>, _>(0)? {
        return Ok(Begun::HeldBack(reason));
    }
    if found.try_get(1)? {
        return Ok(Begun::Replayed);
    }
    for (column, limit) in [(2, ROLE_LIMIT), (3, RUN_LIMIT), (4, ONCE_LIMIT)] {
        if found.try_get(column)? {
            return Ok(Begun::Limit(limit));
        }
    }
    if !found.try_get::<bool, _>(5)? {
        // Another broker wrote the token between the look and the insert.
        return Ok(Begun::Replayed);
    }
    // The same of the run: the token of this try is given back.
    query("DELETE FROM claviger_token WHERE key = $1").bind(&new.token[..]).execute(conn).await?;
    Ok(Begun::Limit(ONCE_LIMIT))
}

type Query<'q> = sqlx::query::Query<'q, super::Database, sqlx::postgres::PgArguments>;

fn bind(new: &Beginning) -> Query<'_> {
    let row = &new.row;
    query(BEGIN)
        .bind(&row.id.as_bytes()[..])
        .bind(row.state.as_str())
        .bind(&row.handle[..])
        .bind(&*row.who)
        .bind(&*row.role)
        .bind(&*row.provider)
        .bind(&*row.environment)
        .bind(&*row.parameters)
        .bind(row.created)
        .bind(row.expires)
        .bind(row.max_expires)
        .bind(i64::from(row.renewals))
        .bind(row.heard)
        .bind(row.silence_s.map(i64::from))
        .bind(row.reference.as_deref())
        .bind(ops::fingerprints_json(&row.fingerprints))
        .bind(row.reason.map(|reason| reason.as_str()))
        .bind(row.revoking_since)
        .bind(i64::from(row.attempts))
        .bind(row.due)
        .bind(row.last_error.as_deref())
        .bind(row.closed)
        .bind(new.issuer.as_deref())
        .bind(new.run.as_deref())
        .bind(new.repository.as_deref())
        .bind(&new.holder[..])
        .bind(&new.token[..])
        .bind(new.keep_until)
        .bind(new.once.as_ref().map(|once| &once[..]))
        .bind(new.once_until)
        .bind(new.role_limit.map(i64::from))
        .bind(new.run_limit.map(i64::from))
}
