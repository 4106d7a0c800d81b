-- Times are microseconds since 1970. `due` is when something is to be done about a lease next, and null once it is
-- closed; `worker` is who is at it until then.
CREATE TABLE claviger_lease (
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    handle BLOB NOT NULL UNIQUE,
    who TEXT NOT NULL,
    role TEXT NOT NULL,
    provider TEXT NOT NULL,
    environment TEXT NOT NULL,
    parameters TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    max_expires INTEGER NOT NULL,
    renewals INTEGER NOT NULL,
    heard INTEGER,
    silence_s INTEGER,
    reference BLOB,
    fingerprints TEXT NOT NULL,
    reason TEXT,
    revoking_since INTEGER,
    attempts INTEGER NOT NULL,
    due INTEGER,
    last_error TEXT,
    closed INTEGER,
    issuer TEXT,
    run TEXT,
    repository TEXT,
    -- The issuer and run, or the issuer and subject of a token that names no run: what the limit per run counts by.
    holder BLOB NOT NULL,
    worker TEXT
) STRICT;

-- What is due, for each provider, the longest due first.
CREATE INDEX claviger_lease_due ON claviger_lease (provider, due, id) WHERE due IS NOT NULL;
-- What limits count, and what a revocation looks through.
CREATE INDEX claviger_lease_live ON claviger_lease (role, holder) WHERE closed IS NULL;
-- Lists, newest first.
CREATE INDEX claviger_lease_age ON claviger_lease (created, id);

-- Which lease a leaked secret belongs to.
CREATE TABLE claviger_fingerprint (
    fingerprint TEXT NOT NULL,
    lease BLOB NOT NULL,
    PRIMARY KEY (fingerprint, lease)
) STRICT, WITHOUT ROWID;

-- What was used up: SHA-256 of issuer, token and role, or of issuer, run and role.
CREATE TABLE claviger_token (
    key BLOB NOT NULL PRIMARY KEY,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX claviger_token_end ON claviger_token (keep_until);

-- What is held back; a null member does not restrict.
CREATE TABLE claviger_hold (
    id BLOB NOT NULL PRIMARY KEY,
    issuer TEXT,
    run TEXT,
    repository TEXT,
    role TEXT,
    provider TEXT,
    environment TEXT,
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    until INTEGER
) STRICT, WITHOUT ROWID;
