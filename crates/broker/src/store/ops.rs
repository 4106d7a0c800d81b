//! The operations on one lease that SQLite and PostgreSQL have in common, word for word. Compiled twice: as a child of
//! [`sqlite`](super::super::sqlite) and of [`postgres`](super::super::postgres), each of which says what a `Connection`
//! and a `Database` are and whether rows that others hold are skipped.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row as _, query};

use super::Connection;
use crate::lease::{HandleHash, Lease, LeaseId, Reason, State};
use crate::store::row::{COLUMNS, Row, micros, plain};

pub(super) type Done<T> = Result<T, sqlx::Error>;

/// When an active lease is due that ends at `$end` and whose holder was heard of at `$heard`.
macro_rules! active_due {
    ($end:literal, $heard:literal) => {
        concat!(
            "CASE WHEN silence_s IS NOT NULL AND ",
            $heard,
            " + silence_s * 1000000 < ",
            $end,
            " THEN ",
            $heard,
            " + silence_s * 1000000 ELSE ",
            $end,
            " END"
        )
    };
}

pub(super) fn bytes(id: &LeaseId) -> &[u8] {
    id.as_bytes()
}

pub(super) async fn keep(conn: &mut Connection, id: LeaseId, reference: &[u8]) -> Done<bool> {
    let text = "UPDATE claviger_lease SET reference = $2 WHERE id = $1 AND closed IS NULL";
    Ok(query(text).bind(bytes(&id)).bind(reference).execute(conn).await?.rows_affected() == 1)
}

pub(super) async fn activate(
    conn: &mut Connection,
    id: LeaseId,
    expires: Timestamp,
    reference: Option<&[u8]>,
    fingerprints: &[String],
) -> Done<bool> {
    let text = concat!(
        "UPDATE claviger_lease SET state = 'active', expires = $2, reference = coalesce($3, reference),
            fingerprints = $4, due = ",
        active_due!("$2", "coalesce(heard, created)"),
        " WHERE id = $1 AND state = 'pending'"
    );
    let given = fingerprints_json(fingerprints);
    let statement = query(text).bind(bytes(&id)).bind(micros(expires)).bind(reference).bind(given.as_str());
    let done = statement.execute(&mut *conn).await?.rows_affected() == 1;
    let is_late = !done && late(conn, id, reference, &given).await?;
    if done || is_late {
        add_fingerprints(conn, id, fingerprints).await?;
    }
    Ok(done)
}

/// Something was issued for a lease that was given up meanwhile: it is to be revoked, again if need be.
async fn late(conn: &mut Connection, id: LeaseId, reference: Option<&[u8]>, given: &str) -> Done<bool> {
    let text = "SELECT fingerprints FROM claviger_lease
        WHERE id = $1 AND state IN ('revoking', 'revoked', 'expired')";
    let Some(row) = query(text).bind(bytes(&id)).fetch_optional(&mut *conn).await? else { return Ok(false) };
    remove_fingerprints(conn, bytes(&id), row.try_get(0)?).await?;
    let text = "UPDATE claviger_lease SET state = 'revoking', reference = coalesce($2, reference),
            fingerprints = $3, revoking_since = coalesce(revoking_since, created),
            due = coalesce(revoking_since, created), worker = NULL, closed = NULL
        WHERE id = $1 AND state IN ('revoking', 'revoked', 'expired')";
    let statement = query(text).bind(bytes(&id)).bind(reference).bind(given);
    Ok(statement.execute(conn).await?.rows_affected() == 1)
}

pub(super) async fn remove_fingerprints(conn: &mut Connection, id: &[u8], json: &str) -> Done<()> {
    let text = "DELETE FROM claviger_fingerprint WHERE lease = $1 AND fingerprint = $2";
    for fingerprint in serde_json::from_str::<Vec<String>>(json).unwrap_or_default() {
        query(text).bind(id).bind(fingerprint).execute(&mut *conn).await?;
    }
    Ok(())
}

pub(super) fn fingerprints_json(fingerprints: &[String]) -> String {
    let plain: Vec<String> = fingerprints.iter().map(|it| plain(it)).collect();
    serde_json::to_string(&plain).unwrap_or_else(|_| "[]".into())
}

pub(super) async fn add_fingerprints(
    conn: &mut Connection,
    id: LeaseId,
    fingerprints: &[String],
) -> Done<()> {
    let text = "INSERT INTO claviger_fingerprint (fingerprint, lease) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    for fingerprint in fingerprints {
        query(text).bind(plain(fingerprint)).bind(bytes(&id)).execute(&mut *conn).await?;
    }
    Ok(())
}

pub(super) async fn abandon(
    conn: &mut Connection,
    id: LeaseId,
    reason: Reason,
    reference: Option<&[u8]>,
    now: Timestamp,
) -> Done<bool> {
    let text = "UPDATE claviger_lease SET state = 'revoking',
            reason = CASE WHEN closed IS NULL THEN coalesce(reason, $2) ELSE $2 END,
            revoking_since = CASE WHEN closed IS NULL THEN coalesce(revoking_since, $4) ELSE $4 END,
            expires = CASE WHEN state = 'pending' THEN max_expires ELSE expires END,
            reference = coalesce($3, reference), due = $4, worker = NULL, closed = NULL
        WHERE id = $1";
    let statement = query(text).bind(bytes(&id)).bind(reason.as_str()).bind(reference).bind(micros(now));
    Ok(statement.execute(conn).await?.rows_affected() == 1)
}

pub(super) async fn find(conn: &mut Connection, id: LeaseId) -> Done<Option<Lease>> {
    let text = format!("SELECT {COLUMNS} FROM claviger_lease WHERE id = $1");
    let row = query(AssertSqlSafe(text)).bind(bytes(&id)).fetch_optional(conn).await?;
    row.map(|row| Row::read(&row)?.lease()).transpose()
}

pub(super) async fn find_held(conn: &mut Connection, handle: &HandleHash) -> Done<Option<Lease>> {
    let text = format!("SELECT {COLUMNS} FROM claviger_lease WHERE handle = $1");
    let row = query(AssertSqlSafe(text)).bind(&handle[..]).fetch_optional(conn).await?;
    row.map(|row| Row::read(&row)?.lease()).transpose()
}

pub(super) async fn renew(
    conn: &mut Connection,
    id: LeaseId,
    before: Timestamp,
    until: Timestamp,
) -> Done<bool> {
    let text = concat!(
        "UPDATE claviger_lease SET expires = $3, renewals = renewals + 1, due = ",
        active_due!("$3", "coalesce(heard, created)"),
        " WHERE id = $1 AND state = 'active' AND expires = $2 AND $3 <= max_expires"
    );
    let statement = query(text).bind(bytes(&id)).bind(micros(before)).bind(micros(until));
    Ok(statement.execute(conn).await?.rows_affected() == 1)
}

pub(super) async fn heard(conn: &mut Connection, handle: &HandleHash, now: Timestamp) -> Done<bool> {
    let text = concat!(
        "UPDATE claviger_lease SET heard = CASE WHEN heard > $2 THEN heard ELSE $2 END, due = ",
        active_due!("expires", "(CASE WHEN heard > $2 THEN heard ELSE $2 END)"),
        " WHERE handle = $1 AND state = 'active'"
    );
    Ok(query(text).bind(&handle[..]).bind(micros(now)).execute(conn).await?.rows_affected() == 1)
}

/// How a lease is taken: by $1, now $2, until $3.
pub(super) const CLAIM: &str = "UPDATE claviger_lease SET state = 'revoking', worker = $1, due = $3,
        reason = CASE WHEN state = 'pending' THEN 'unfinished' WHEN state <> 'active' THEN reason
            WHEN expires <= $2 THEN 'expiry' ELSE 'silence' END,
        revoking_since = coalesce(revoking_since, due),
        expires = CASE WHEN state = 'pending' THEN max_expires ELSE expires END";

pub(super) async fn take(
    conn: &mut Connection,
    worker: &str,
    id: LeaseId,
    now: Timestamp,
    until: Timestamp,
) -> Done<Option<Lease>> {
    let text = format!("{CLAIM} WHERE id = $4 AND state = 'revoking' AND due <= $2 RETURNING {COLUMNS}");
    let statement = query(AssertSqlSafe(text)).bind(worker).bind(micros(now)).bind(micros(until));
    let row = statement.bind(bytes(&id)).fetch_optional(conn).await?;
    row.map(|row| Row::read(&row)?.lease()).transpose()
}

pub(super) async fn close(
    conn: &mut Connection,
    worker: &str,
    id: LeaseId,
    state: State,
    now: Timestamp,
) -> Done<bool> {
    let text = "UPDATE claviger_lease SET state = $3, closed = $4, due = NULL, worker = NULL
        WHERE id = $2 AND worker = $1 AND state = 'revoking'";
    let statement = query(text).bind(worker).bind(bytes(&id)).bind(state.as_str()).bind(micros(now));
    Ok(statement.execute(conn).await?.rows_affected() == 1)
}

pub(super) async fn failed(
    conn: &mut Connection,
    worker: &str,
    id: LeaseId,
    next: Timestamp,
    error: &str,
) -> Done<bool> {
    let text = "UPDATE claviger_lease SET attempts = attempts + 1, due = $3, last_error = $4, worker = NULL
        WHERE id = $2 AND worker = $1 AND state = 'revoking'";
    let statement = query(text).bind(worker).bind(bytes(&id)).bind(micros(next)).bind(plain(error));
    Ok(statement.execute(conn).await?.rows_affected() == 1)
}
