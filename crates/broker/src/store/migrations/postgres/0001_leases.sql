-- Times are microseconds since 1970. `due` is when something is to be done about a lease next, and null once it is
-- closed; `worker` is who is at it until then.
CREATE TABLE claviger_lease (
    id bytea NOT NULL PRIMARY KEY,
    state text NOT NULL,
    handle bytea NOT NULL UNIQUE,
    who text NOT NULL,
    role text NOT NULL,
    provider text NOT NULL,
    environment text NOT NULL,
    parameters text NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    max_expires bigint NOT NULL,
    renewals bigint NOT NULL,
    heard bigint,
    silence_s bigint,
    reference bytea,
    fingerprints text NOT NULL,
    reason text,
    revoking_since bigint,
    attempts bigint NOT NULL,
    due bigint,
    last_error text,
    closed bigint,
    issuer text,
    run text,
    repository text,
    -- The issuer and run, or the issuer and subject of a token that names no run: what the limit per run counts by.
    holder bytea NOT NULL,
    worker text
);

-- What is due, for each provider, the longest due first.
CREATE INDEX claviger_lease_due ON claviger_lease (provider, due, id) WHERE due IS NOT NULL;
-- What limits count, and what a revocation looks through.
CREATE INDEX claviger_lease_live ON claviger_lease (role, holder) WHERE closed IS NULL;
-- Lists, newest first.
CREATE INDEX claviger_lease_age ON claviger_lease (created, id);

-- Which lease a leaked secret belongs to.
CREATE TABLE claviger_fingerprint (
    fingerprint text NOT NULL,
    lease bytea NOT NULL,
    PRIMARY KEY (fingerprint, lease)
);

-- What was used up: SHA-256 of issuer, token and role, or of issuer, run and role.
CREATE TABLE claviger_token (
    key bytea NOT NULL PRIMARY KEY,
    keep_until bigint NOT NULL
);

CREATE INDEX claviger_token_end ON claviger_token (keep_until);

-- What is held back; a null member does not restrict.
CREATE TABLE claviger_hold (
    id bytea NOT NULL PRIMARY KEY,
    issuer text,
    run text,
    repository text,
    role text,
    provider text,
    environment text,
    reason text NOT NULL,
    created bigint NOT NULL,
    until bigint
);
