//! The operations on many leases at once, on holds, and on everything, that SQLite and PostgreSQL have in common.
//! Compiled twice, as [`ops`](super::ops) is.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _, query};

use super::ops::{CLAIM, Done, bytes, remove_fingerprints};
use super::{Connection, Database, SKIP_LOCKED};
use crate::lease::hold::{Hold, HoldId, Scope};
use crate::lease::{Lease, LeaseId, Reason, State};
use crate::store::row::{COLUMNS, Row, array, micros, plain, timestamp};
use crate::store::{Counts, Filter, Overdue, Want};

pub(super) async fn revoke(
    conn: &mut Connection,
    filter: &Filter,
    reason: Reason,
    now: Timestamp,
) -> Done<Vec<LeaseId>> {
    let now = micros(now);
    let mut query = QueryBuilder::<Database>::new("UPDATE claviger_lease SET state = 'revoking', reason = ");
    query.push_bind(reason.as_str()).push(", revoking_since = ").push_bind(now).push(", due = ");
    match reason {
        Reason::Unfinished | Reason::Unrecorded => query.push_bind(now),
        _ => {
            query.push("CASE WHEN state = 'pending' AND expires > ").push_bind(now);
            query.push(" THEN expires ELSE ").push_bind(now).push(" END")
        }
    };
    query.push(
        ", expires = CASE WHEN state = 'pending' THEN max_expires ELSE expires END
        WHERE closed IS NULL AND state IN ('pending', 'active')",
    );
    restrict(&mut query, filter);
    query.push(" RETURNING id");
    let rows = query.build().fetch_all(conn).await?;
    let ids = rows.iter().map(|row| Ok(LeaseId::from_bytes(array("id", row.try_get(0)?)?)));
    let mut ids = ids.collect::<Done<Vec<_>>>()?;
    ids.sort_unstable();
    Ok(ids)
}

pub(super) async fn claim(
    conn: &mut Connection,
    worker: &str,
    wants: &[(String, u32)],
    now: Timestamp,
    until: Timestamp,
) -> Done<Vec<Lease>> {
    // Materialised: the selection must run once, or more rows than wanted are taken.
    let text = format!(
        "WITH chosen AS MATERIALIZED (SELECT id FROM claviger_lease
            WHERE provider = $4 AND due <= $2 ORDER BY due, id LIMIT $5 {SKIP_LOCKED})
        {CLAIM} WHERE id IN (SELECT id FROM chosen) RETURNING {COLUMNS}"
    );
    let mut claimed = Vec::new();
    for (provider, most) in wants {
        let statement = query(AssertSqlSafe(text.clone())).bind(worker).bind(micros(now)).bind(micros(until));
        let rows = statement.bind(plain(provider)).bind(i64::from(*most)).fetch_all(&mut *conn).await?;
        let first = claimed.len();
        for row in &rows {
            claimed.push(Row::read(row)?.lease()?);
        }
        claimed[first..].sort_by_key(|lease| (lease.revoking_since, lease.id));
    }
    Ok(claimed)
}

pub(super) fn wants(wants: &[Want<'_>]) -> Vec<(String, u32)> {
    wants.iter().map(|want| (want.provider.to_owned(), want.most)).collect()
}

pub(super) async fn wake(conn: &mut Connection, filter: &Filter, now: Timestamp) -> Done<u64> {
    let mut query = QueryBuilder::<Database>::new("UPDATE claviger_lease SET due = ");
    query.push_bind(micros(now));
    query.push(" WHERE closed IS NULL AND state = 'revoking' AND worker IS NULL AND attempts > 0 AND due > ");
    query.push_bind(micros(now));
    restrict(&mut query, filter);
    Ok(query.build().execute(conn).await?.rows_affected())
}

pub(super) async fn list(
    conn: &mut Connection,
    filter: &Filter,
    after: Option<LeaseId>,
    most: u32,
) -> Done<Vec<Lease>> {
    let mut query = QueryBuilder::<Database>::new("SELECT ");
    query.push(COLUMNS).push(" FROM claviger_lease WHERE created IS NOT NULL");
    restrict(&mut query, filter);
    if let Some(after) = &after {
        query.push(" AND (created, id) < (SELECT created, id FROM claviger_lease WHERE id = ");
        query.push_bind(bytes(after)).push(")");
    }
    query.push(" ORDER BY created DESC, id DESC LIMIT ").push_bind(i64::from(most));
    query.build().fetch_all(conn).await?.iter().map(|row| Row::read(row)?.lease()).collect()
}

/// Adds a filter's conditions.
fn restrict(query: &mut QueryBuilder<Database>, filter: &Filter) {
    let equal = [
        ("issuer", &filter.issuer),
        ("run", &filter.run),
        ("repository", &filter.repository),
        ("role", &filter.role),
        ("provider", &filter.provider),
        ("environment", &filter.environment),
    ];
    for (column, wanted) in equal {
        if let Some(wanted) = wanted {
            query.push(" AND ").push(column).push(" = ").push_bind(plain(wanted));
        }
    }
    if let Some(since) = filter.since {
        query.push(" AND created >= ").push_bind(micros(since));
    }
    if !filter.ids.is_empty() {
        any(query, " AND id IN (", filter.ids.iter().map(|id| id.as_bytes().to_vec()), ")");
    }
    if !filter.states.is_empty() {
        any(query, " AND state IN (", filter.states.iter().map(|state| state.as_str()), ")");
    }
    if !filter.fingerprints.is_empty() {
        let start = " AND id IN (SELECT lease FROM claviger_fingerprint WHERE fingerprint IN (";
        any(query, start, filter.fingerprints.iter().map(|it| plain(it)), "))");
    }
}

fn any<'t, T>(query: &mut QueryBuilder<Database>, start: &str, values: impl Iterator<Item = T>, end: &str)
where
    T: sqlx::Encode<'t, Database> + sqlx::Type<Database> + 't,
{
    query.push(start);
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    query.push(end);
}

pub(super) async fn counts(conn: &mut Connection) -> Done<Counts> {
    let mut counts = Counts::default();
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let states = "SELECT state, count(*) FROM claviger_lease GROUP BY state";
    for row in query(states).fetch_all(&mut *conn).await? {
        if let Some(state) = State::parse(row.try_get(0)?) {
            counts.by_state.push((state, number(row.try_get(1)?)));
        }
    }
    counts.by_state.sort_unstable_by_key(|it| it.0);
    let failing = "SELECT count(*), min(revoking_since) FROM claviger_lease
        WHERE closed IS NULL AND state = 'revoking' AND attempts > 0";
    let row = query(failing).fetch_one(&mut *conn).await?;
    counts.failing = number(row.try_get(0)?);
    counts.oldest_failing = row.try_get::<Option<i64>, _>(1)?.map(timestamp).transpose()?;
    let providers = "SELECT provider, count(*) FROM claviger_lease WHERE closed IS NULL GROUP BY provider";
    for row in query(providers).fetch_all(conn).await? {
        counts.by_provider.push((row.try_get(0)?, number(row.try_get(1)?)));
    }
    counts.by_provider.sort_unstable();
    Ok(counts)
}

const LATE: &str = "closed IS NULL AND coalesce(revoking_since, due) <= $1
    AND NOT (state = 'revoking' AND expires > $2 AND due >= expires)";

pub(super) async fn overdue(conn: &mut Connection, since: Timestamp, now: Timestamp) -> Done<Vec<Overdue>> {
    let (since, now) = (micros(since), micros(now));
    let text = format!("SELECT provider, count(*) FROM claviger_lease WHERE {LATE} GROUP BY provider");
    let rows = query(AssertSqlSafe(text)).bind(since).bind(now).fetch_all(&mut *conn).await?;
    let text = format!(
        "SELECT id, coalesce(revoking_since, due), last_error FROM claviger_lease
        WHERE {LATE} AND provider = $3 ORDER BY coalesce(revoking_since, due), id LIMIT 1"
    );
    let mut found = Vec::new();
    for row in rows {
        let (provider, leases): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let statement = query(AssertSqlSafe(text.clone())).bind(since).bind(now).bind(provider.as_str());
        // Between the two queries it may have been closed.
        let Some(row) = statement.fetch_optional(&mut *conn).await? else { continue };
        found.push(Overdue {
            provider,
            leases: u64::try_from(leases).unwrap_or(0),
            since: timestamp(row.try_get(1)?)?,
            lease: LeaseId::from_bytes(array("id", row.try_get(0)?)?),
            error: row.try_get(2)?,
        });
    }
    found.sort_by(|a, b| a.provider.cmp(&b.provider));
    Ok(found)
}

pub(super) async fn insert_hold(conn: &mut Connection, hold: &Hold) -> Done<()> {
    let text = "INSERT INTO claviger_hold
            (id, issuer, run, repository, role, provider, environment, reason, created, until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    let scope = &hold.scope;
    let column = |it: &Option<String>| it.as_deref().map(plain);
    query(text)
        .bind(&hold.id.as_bytes()[..])
        .bind(column(&scope.issuer))
        .bind(column(&scope.run))
        .bind(column(&scope.repository))
        .bind(column(&scope.role))
        .bind(column(&scope.provider))
        .bind(column(&scope.environment))
        .bind(plain(&hold.reason))
        .bind(micros(hold.created))
        .bind(hold.until.map(micros))
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn release(conn: &mut Connection, id: HoldId) -> Done<bool> {
    let text = "DELETE FROM claviger_hold WHERE id = $1";
    Ok(query(text).bind(&id.as_bytes()[..]).execute(conn).await?.rows_affected() == 1)
}

pub(super) async fn holds(conn: &mut Connection, now: Timestamp) -> Done<Vec<Hold>> {
    let text = "SELECT id, issuer, run, repository, role, provider, environment, reason, created, until
        FROM claviger_hold WHERE until IS NULL OR until > $1 ORDER BY created, id";
    let rows = query(text).bind(micros(now)).fetch_all(conn).await?;
    let hold = |row: &<Database as sqlx::Database>::Row| {
        Ok(Hold {
            id: HoldId::from_bytes(array("id", row.try_get(0)?)?),
            scope: Scope {
                issuer: row.try_get(1)?,
                run: row.try_get(2)?,
                repository: row.try_get(3)?,
                role: row.try_get(4)?,
                provider: row.try_get(5)?,
                environment: row.try_get(6)?,
            },
            reason: row.try_get(7)?,
            created: timestamp(row.try_get(8)?)?,
            until: row.try_get::<Option<i64>, _>(9)?.map(timestamp).transpose()?,
        })
    };
    rows.iter().map(hold).collect()
}

/// The most rows that one transaction of a purge removes: others wait meanwhile.
pub(super) const PURGE: i64 = 2000;

/// Removes one portion; gives the number of leases, and of all rows.
pub(super) async fn purge(conn: &mut Connection, now: Timestamp, before: Timestamp) -> Done<(u64, u64)> {
    let now = micros(now);
    let holds = query("DELETE FROM claviger_hold WHERE until <= $1").bind(now).execute(&mut *conn).await?;
    let text = "DELETE FROM claviger_token WHERE key IN
        (SELECT key FROM claviger_token WHERE keep_until < $1 ORDER BY keep_until LIMIT $2)";
    let tokens = query(text).bind(now).bind(PURGE).execute(&mut *conn).await?.rows_affected();
    // What was closed before was created before: the index on `created` leads there.
    let text = "DELETE FROM claviger_lease WHERE id IN (SELECT id FROM claviger_lease
            WHERE created < $1 AND closed < $1 ORDER BY created LIMIT $2) RETURNING id, fingerprints";
    let rows = query(text).bind(micros(before)).bind(PURGE).fetch_all(&mut *conn).await?;
    for row in &rows {
        remove_fingerprints(conn, row.try_get(0)?, row.try_get(1)?).await?;
    }
    let leases = rows.len() as u64;
    Ok((leases, leases + tokens + holds.rows_affected()))
}
