//! Beginning a lease: the one operation that every exchange waits for, so it is one call of the driver.

use sqlx::{Row as _, query};

use super::{Connection, ops};
use crate::store::row::{Beginning, ONCE_LIMIT, ROLE_LIMIT, RUN_LIMIT, counted};

/// What became of it.
pub(super) enum Begun {
    Done,
    HeldBack(String),
    Replayed,
    Limit(&'static str),
}

/// The holds that cover the new lease.
macro_rules! held {
    () => {
        "FROM claviger_hold WHERE (until IS NULL OR until > $9) AND (issuer IS NULL OR issuer = $23)
            AND (run IS NULL OR run = $24) AND (repository IS NULL OR repository = $25)
            AND (role IS NULL OR role = $5) AND (provider IS NULL OR provider = $6)
            AND (environment IS NULL OR environment = $7)"
    };
}

/// The number of leases that count towards the limits of the role.
macro_rules! count {
    () => {
        concat!("SELECT count(*) FROM claviger_lease WHERE role = $5 AND ", counted!())
    };
}

/// Three statements with the same arguments, each of which does something only if the one before did. One writer has
/// the file during that, so nothing happens in between.
const BEGIN: &str = concat!(
    "INSERT INTO claviger_token (key, keep_until) SELECT $27, $28 WHERE NOT EXISTS (SELECT 1 ",
    held!(),
    ") AND ($31 IS NULL OR (",
    count!(),
    ") < $31) AND ($32 IS NULL OR (",
    count!(),
    " AND holder = $26) < $32) AND ($29 IS NULL OR NOT EXISTS (SELECT 1 FROM claviger_token WHERE key = $29))
    ON CONFLICT DO NOTHING;
    INSERT INTO claviger_lease (id, state, handle, who, role, provider, environment, parameters, created, expires,
        max_expires, renewals, heard, silence_s, reference, fingerprints, reason, revoking_since, attempts, due,
        last_error, closed, issuer, run, repository, holder)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
        $24, $25, $26 WHERE changes() = 1;
    INSERT INTO claviger_token (key, keep_until) SELECT $29, $30 WHERE changes() = 1 AND $29 IS NOT NULL;"
);

/// Why it did not; asked in the order of [`BeginError`](crate::store::BeginError)'s precedence.
const WHY: &str = concat!(
    "SELECT (SELECT reason ",
    held!(),
    " ORDER BY created, id LIMIT 1), EXISTS (SELECT 1 FROM claviger_token WHERE key = $27),
    ($31 IS NOT NULL AND (",
    count!(),
    ") >= $31), ($32 IS NOT NULL AND (",
    count!(),
    " AND holder = $26) >= $32)"
);

pub(super) async fn begin(conn: &mut Connection, new: &Beginning) -> Result<Begun, sqlx::Error> {
    let inserted = bind(query(BEGIN), new).execute(&mut *conn).await?.rows_affected();
    if inserted > 0 {
        ops::add_fingerprints(conn, new.row.id, &new.row.fingerprints).await?;
        return Ok(Begun::Done);
    }
    let why = bind(query(WHY), new).fetch_one(conn).await?;
    Ok(match why.try_get::<Option<String>, _>(0)? {
        Some(reason) => Begun::HeldBack(reason),
        None if why.try_get(1)? => Begun::Replayed,
        None if why.try_get(2)? => Begun::Limit(ROLE_LIMIT),
        None if why.try_get(3)? => Begun::Limit(RUN_LIMIT),
        None => Begun::Limit(ONCE_LIMIT),
    })
}

type Query<'q> = sqlx::query::Query<'q, super::Database, sqlx::sqlite::SqliteArguments>;

/// Binds what both queries number.
fn bind<'q>(query: Query<'q>, new: &'q Beginning) -> Query<'q> {
    let row = &new.row;
    query
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
