//! The statements, and the one place where names and values are quoted.
//!
//! DDL takes no bind parameters, so texts are put together; every name passes [`identifier`] and every value
//! [`literal`]. A batch is one message; the server runs it as one transaction, unless it says otherwise itself.

use jiff::Timestamp;

use super::settings::Parameters;

/// What every connection is set to: our quoting needs the first, and no one's function is found before the server's.
pub(super) const SESSION: [(&str, &str); 4] = [
    ("standard_conforming_strings", "on"),
    ("search_path", "pg_catalog"),
    // A change of owner must not queue for long: whoever comes later would queue behind it.
    ("lock_timeout", "5s"),
    ("client_min_messages", "error"),
];

/// How long one session gets to end when it is told to, in milliseconds.
const END_MS: u32 = 2000;

/// A name, quoted.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted; needs `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifiers(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| identifier(name.as_ref())).collect();
    quoted.join(", ")
}

/// What a role gets, in creating as in adopting it.
fn attributes(verifier: &str, expires: Timestamp, parameters: &Parameters) -> String {
    let (verifier, expires) = (literal(verifier), literal(&expires.to_string()));
    format!(
        "LOGIN PASSWORD {verifier} VALID UNTIL {expires} CONNECTION LIMIT {}",
        parameters.connection_limit
    )
}

/// Sessions begin as the group's role, so that what they create belongs to it.
fn acting(name: &str, parameters: &Parameters) -> String {
    match parameters.acts_as() {
        Some(role) => format!("ALTER ROLE {} SET role = {};\n", identifier(name), literal(role.as_ref())),
        None => format!("ALTER ROLE {} RESET role;\n", identifier(name)),
    }
}

/// Makes a role; answers its oid.
pub(super) fn create(name: &str, verifier: &str, expires: Timestamp, parameters: &Parameters) -> String {
    let (role, acting) = (identifier(name), acting(name, parameters));
    let attributes = attributes(verifier, expires, parameters);
    let groups = identifiers(&parameters.member_of);
    format!("CREATE ROLE {role} {attributes} IN ROLE {groups};\n{acting}{}", oid(name))
}

/// Gives a role that is there already what it would have got; answers its oid.
pub(super) fn adopt(name: &str, verifier: &str, expires: Timestamp, parameters: &Parameters) -> String {
    let (role, acting) = (identifier(name), acting(name, parameters));
    let attributes = attributes(verifier, expires, parameters);
    let groups = identifiers(&parameters.member_of);
    format!("ALTER ROLE {role} {attributes};\nGRANT {groups} TO {role};\n{acting}{}", oid(name))
}

/// Prolongs a role.
pub(super) fn renew(name: &str, until: Timestamp) -> String {
    format!("ALTER ROLE {} VALID UNTIL {}", identifier(name), literal(&until.to_string()))
}

/// The oid of a role; no row if there is none.
pub(super) fn oid(name: &str) -> String {
    format!("SELECT oid::text FROM pg_roles WHERE rolname = {}", literal(name))
}

// `pg_terminate_backend` stands in the list of columns only: as a condition it would be asked of every session, before
// the names of their users are compared.

/// Locks a role out, ends its sessions and drops it; answers its oid.
///
/// The lock is committed on its own: only then does no new session begin after those that are ended. It needs no sync of
/// its own, since the drop's covers it, and without that one nothing is reported as done. The drop is the last, since a session that outlives its role keeps the rights of its `SET role`.
pub(super) fn remove(name: &str) -> String {
    let (role, text) = (identifier(name), literal(name));
    format!(
        "BEGIN; SET LOCAL synchronous_commit = off; ALTER ROLE {role} NOLOGIN VALID UNTIL '-infinity'; COMMIT;\n{};\n\
         SELECT pid::text, pg_terminate_backend(pid, {END_MS})::text FROM pg_stat_activity WHERE usename = {text};\n\
         DROP ROLE IF EXISTS {role}",
        oid(name)
    )
}

/// Ends what is left of dropped roles: a login that was under way when its role went. Answers `session` for each that
/// was still there, and `role` if `name` is.
pub(super) fn sweep(name: &str, oids: &[u32]) -> String {
    let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
    let text = literal(name);
    // An oid is given again one day: a session whose role exists under another name is somebody else's.
    format!(
        "SELECT 'session', pg_terminate_backend(pid, {END_MS})::text FROM pg_stat_activity \
         WHERE usesysid = ANY ('{{{}}}'::oid[]) AND (usename IS NULL OR usename = {text});\n\
         SELECT 'role', '' FROM pg_roles WHERE rolname = {text}",
        oids.join(",")
    )
}

/// The databases in which something depends on a role; an empty name stands for objects of the whole server.
pub(super) fn databases_with(name: &str) -> String {
    format!(
        "SELECT DISTINCT coalesce(d.datname, '')::text, current_setting('server_version_num') FROM pg_shdepend s \
         JOIN pg_roles r ON r.oid = s.refobjid LEFT JOIN pg_database d ON d.oid = s.dbid \
         WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = {}",
        literal(name)
    )
}

/// Gives what a role owns in this database to `owner`, and takes away what it was granted here.
pub(super) fn hand_over(name: &str, owner: &str, version: u32) -> String {
    let (role, owner) = (identifier(name), identifier(owner));
    // From 16 on, whoever made a role may administer it and no more, until it grants itself the rest.
    let how = if version >= 160_000 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    format!("GRANT {role} TO CURRENT_USER{how};\nREASSIGN OWNED BY {role} TO {owner};\nDROP OWNED BY {role}")
}

/// Every role that a broker may have made.
pub(super) const LIST: &str = "SELECT rolname::text FROM pg_roles WHERE left(rolname, 4) = 'clv_'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_stay_inside_their_quotes() {
        assert_eq!(identifier("app_ro"), "\"app_ro\"");
        assert_eq!(identifier("a\"; DROP ROLE b; --"), "\"a\"\"; DROP ROLE b; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'; DROP ROLE b; --"), "'a\\''; DROP ROLE b; --'");
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_name_reads_back(name in "[^\0]{1,63}") {
            let quoted = identifier(&name);
            let inside = quoted.strip_prefix('"').and_then(|it| it.strip_suffix('"')).expect("quotes around");
            proptest::prop_assert!(!inside.replace("\"\"", "").contains('"'));
            proptest::prop_assert_eq!(inside.replace("\"\"", "\""), name);
        }
    }
}
