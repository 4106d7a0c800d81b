//! Where a server is and how it is trusted, read from a provider's settings.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::provider::{SecretSource, SettingsError};
use crate::secret::Secret;

/// The largest file of certificates, in bytes.
const MAX_CA_BYTES: u64 = 1 << 20;

/// The member `tls` of a provider's settings.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// How the server is trusted. Default: `verify-full`, and `plaintext` on the loopback address.
    pub(crate) mode: Option<TlsMode>,
    /// Certificates, PEM, that may have signed the server's. Default: the well-known authorities.
    pub(crate) ca_file: Option<PathBuf>,
}

/// How a server is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsMode {
    /// TLS; the certificate must be valid and carry the server's name.
    VerifyFull,
    /// No encryption: whoever is on the way reads everything.
    Plaintext,
}

/// The address that jobs are told, where it differs from the broker's own way.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Advertise {
    /// Its name or address.
    pub(crate) host: String,
    /// Its port, if it is another one.
    pub(crate) port: Option<u16>,
}

/// How a connection is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Security {
    /// Not at all.
    Plaintext,
    /// TLS with certificate and name checked, by these authorities (PEM) or the well-known ones.
    Verified { authorities: Option<Vec<u8>> },
}

/// The members of a provider's settings that say where its server is, as written.
pub(crate) struct Written<'a> {
    pub(crate) url: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    pub(crate) port: Option<u16>,
    pub(crate) user: Option<&'a str>,
    pub(crate) database: Option<&'a str>,
    pub(crate) tls: Option<&'a TlsSettings>,
}

/// What a kind of server expects.
pub(crate) struct Expected {
    /// Schemes of its URLs.
    pub(crate) schemes: &'static [&'static str],
    pub(crate) port: u16,
}

/// A server, and the broker's account there.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// A name, an address without brackets, or the path of a socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: Option<String>,
    pub(crate) security: Security,
}

impl Server {
    /// Reads the members.
    ///
    /// # Errors
    /// Something is missing, said twice or malformed, a password stands in the URL, or the file of authorities cannot
    /// be read.
    pub(crate) fn read(written: &Written<'_>, expected: &Expected) -> Result<Server, SettingsError> {
        let from_url = written.url.map(|url| parse(url, expected)).transpose()?.unwrap_or_default();
        let host = once("host", written.host.map(ToOwned::to_owned), from_url.host)?
            .filter(|host| !host.is_empty())
            .ok_or_else(|| SettingsError::new("host", "missing; write `url` or `host`"))?;
        let user = once("user", written.user.map(ToOwned::to_owned), from_url.user)?
            .filter(|user| !user.is_empty())
            .ok_or_else(|| SettingsError::new("user", "missing: the broker's own account at the server"))?;
        let database = once("database", written.database.map(ToOwned::to_owned), from_url.database)?;
        let port = once("port", written.port, from_url.port)?.unwrap_or(expected.port);
        let security = security(written.tls, is_near(&host))?;
        Ok(Server { host, port, user, database, security })
    }

    /// Whether it is on this machine.
    pub(crate) fn is_near(&self) -> bool {
        is_near(&self.host)
    }

    /// Whether `host` is the path of a socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The URL with which a client logs in there; it holds the password.
    pub(crate) fn login_url(
        &self,
        scheme: &str,
        at: (&str, u16),
        user: &str,
        password: &Secret,
        query: &str,
    ) -> Secret {
        let host = if at.0.contains(':') { format!("[{}]", at.0) } else { at.0.to_owned() };
        let mut url =
            format!("{scheme}://{user}:{}@{host}:{}", password.expose_text().unwrap_or_default(), at.1);
        if let Some(database) = &self.database {
            url.push('/');
            url.extend(url::form_urlencoded::byte_serialize(database.as_bytes()).map(|part| match part {
                "+" => "%20",
                part => part,
            }));
        }
        url.push_str(query);
        Secret::text(url)
    }

    /// The host and port that jobs are told.
    pub(crate) fn told<'a>(&'a self, advertise: Option<&'a Advertise>) -> (&'a str, u16) {
        match advertise {
            Some(told) => (&told.host, told.port.unwrap_or(self.port)),
            None => (&self.host, self.port),
        }
    }
}

/// What a URL says.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    database: Option<String>,
}

fn parse(text: &str, expected: &Expected) -> Result<Parts, SettingsError> {
    let wrong = |what: String| SettingsError::new("url", what);
    // The text is not repeated in errors: it may hold a password.
    let url = Url::parse(text).map_err(|e| wrong(format!("not a URL: {e}")))?;
    if !expected.schemes.contains(&url.scheme()) {
        return Err(wrong(format!("begins with one of {}", expected.schemes.join(", "))));
    }
    if url.password().is_some() {
        return Err(wrong("a password must not stand here; write `password: {file: PATH}`".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("takes no options; write them as members of their own".into()));
    }
    let plain = |member: &str, text: &str| match text {
        "" => Ok(None),
        text if text.contains('%') => Err(wrong(format!("write `{member}` as a member of its own"))),
        text => Ok(Some(text.to_owned())),
    };
    let host = url.host_str().unwrap_or_default();
    Ok(Parts {
        host: plain("host", host.trim_start_matches('[').trim_end_matches(']'))?,
        port: url.port(),
        user: plain("user", url.username())?,
        database: plain("database", url.path().trim_start_matches('/'))?,
    })
}

/// The one of two values that is there.
fn once<T>(member: &str, first: Option<T>, second: Option<T>) -> Result<Option<T>, SettingsError> {
    match (first, second) {
        (Some(_), Some(_)) => Err(SettingsError::new(member, "said twice, here and in `url`")),
        (first, second) => Ok(first.or(second)),
    }
}

fn is_near(host: &str) -> bool {
    host == "localhost" || host.starts_with('/') || host.parse().is_ok_and(|it: IpAddr| it.is_loopback())
}

fn security(tls: Option<&TlsSettings>, is_near: bool) -> Result<Security, SettingsError> {
    let authorities = tls.and_then(|tls| tls.ca_file.as_deref()).map(authorities).transpose()?;
    match tls.and_then(|tls| tls.mode) {
        Some(TlsMode::Plaintext) if authorities.is_some() => {
            Err(SettingsError::new("tls.ca_file", "means nothing with `mode: plaintext`"))
        }
        Some(TlsMode::Plaintext) => Ok(Security::Plaintext),
        None if is_near && authorities.is_none() => Ok(Security::Plaintext),
        Some(TlsMode::VerifyFull) | None => Ok(Security::Verified { authorities }),
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let wrong = |what: String| SettingsError::new("tls.ca_file", format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > MAX_CA_BYTES {
        return Err(wrong("larger than 1 MiB".into()));
    }
    let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) => Err(wrong("holds no certificate".into())),
        Err(e) => Err(wrong(e.to_string())),
    }
}

/// The password of the broker's own account, if the settings name one.
///
/// # Errors
/// It cannot be read, or is no text.
pub(crate) fn password(
    written: Option<&Value>,
    secrets: &dyn SecretSource,
) -> Result<Option<Secret>, SettingsError> {
    let Some(reference) = written else { return Ok(None) };
    let secret = secrets.read(reference).map_err(|what| SettingsError::new("password", what))?;
    match secret.expose_text() {
        Some(_) => Ok(Some(secret)),
        None => Err(SettingsError::new("password", "is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Expected = Expected { schemes: &["postgres", "postgresql"], port: 5432 };

    fn written(url: &str) -> Written<'_> {
        Written { url: Some(url), host: None, port: None, user: None, database: None, tls: None }
    }

    #[test]
    fn urls_and_members() {
        let server = Server::read(&written("postgres://me@db.internal/app"), &POSTGRES).expect("a URL");
        assert_eq!((server.host.as_str(), server.port), ("db.internal", 5432));
        assert_eq!((server.user.as_str(), server.database.as_deref()), ("me", Some("app")));
        assert_eq!(server.security, Security::Verified { authorities: None });
        let server = Server::read(&written("postgresql://me@[::1]:7"), &POSTGRES).expect("a URL");
        assert_eq!((server.host.as_str(), server.port, server.security), ("::1", 7, Security::Plaintext));
    }

    #[test]
    fn what_is_refused() {
        let word = secret_word();
        for (url, member) in [
            (format!("postgres://me:{word}@db/app"), "url"),
            ("postgres://me@db/app?sslmode=disable".into(), "url"),
            ("mysql://me@db/app".into(), "url"),
            ("postgres://db/app".into(), "user"),
            ("postgres://me@/app".into(), "url"),
            ("postgres://m%65@db/app".into(), "url"),
            (word.clone(), "url"),
        ] {
            let error = Server::read(&written(&url), &POSTGRES).expect_err(&url);
            assert_eq!(error.at, member, "{url}");
            assert!(!error.to_string().contains(&word), "{error}");
        }
        let twice = Written { host: Some("other"), ..written("postgres://me@db/app") };
        assert_eq!(Server::read(&twice, &POSTGRES).expect_err("twice").at, "host");
    }

    fn secret_word() -> String {
        crate::secret::password(20).expose_text().expect("text").to_owned()
    }

    #[test]
    fn plaintext_is_for_the_loopback_or_by_word() {
        let word = TlsSettings { mode: Some(TlsMode::Plaintext), ca_file: None };
        let by_word = Written { tls: Some(&word), ..written("postgres://me@db/app") };
        assert_eq!(Server::read(&by_word, &POSTGRES).expect("by word").security, Security::Plaintext);
        let full = TlsSettings { mode: Some(TlsMode::VerifyFull), ca_file: None };
        let near = Written { tls: Some(&full), ..written("postgres://me@localhost/app") };
        let security = Server::read(&near, &POSTGRES).expect("near").security;
        assert_eq!(security, Security::Verified { authorities: None });
    }

    #[test]
    fn login_urls_can_be_read_back() {
        let mut server = Server::read(&written("postgres://me@[::1]:7"), &POSTGRES).expect("a URL");
        server.database = Some("a b/ü".into());
        let told =
            server.login_url("postgresql", server.told(None), "clv_x", &Secret::text("p".into()), "?q=1");
        let url = Url::parse(told.expose_text().expect("text")).expect("a URL");
        assert_eq!((url.username(), url.password(), url.port()), ("clv_x", Some("p"), Some(7)));
        assert_eq!(url.path(), "/a%20b%2F%C3%BC");
    }
}
