//! X.509 client certificates: mutual TLS that ends by itself, with SPIFFE IDs where wanted.
//!
//! Servers trust the authority and, to end a certificate before its time, read the list that the broker keeps at `crl`
//! (PEM; `crl_der` for those that want DER). Names come from the role, with claims at places that the role leaves for
//! them (see [`parameters`]); from the caller comes a public key, with a proof that they hold the private one, and
//! nothing else. Every certificate is an end entity's (CA false, `digitalSignature`), has 128 random bits as its serial
//! number, which follow from the lease, and ends no later than its authority.
//!
//! A certificate cannot be renewed. A longer life is a new exchange: a fresh token, the role as it is then, and a new
//! proof of the key; no certificate is ever issued on the strength of another (CVE-2026-39388).

mod authority;
mod crl;
mod parameters;
mod subject;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::authority::{Authority, Content};
use self::crl::CrlFormat;
use self::parameters::Parameters;
use self::subject::Subject;
use super::revocation_file::{KEEP_S, RevocationFile};
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, Settings,
    SettingsError,
};
use crate::lease::LeaseId;
use crate::ttl::Ttl;

/// The longest certificate unless configured; step-ca has the same.
const MAX_TTL: Ttl = Ttl::minutes(24 * 60);
/// How long a revocation list is valid unless configured.
const CRL_LIFETIME: Ttl = Ttl::minutes(7 * 24 * 60);
/// A list must live this many times as long as a certificate; see [`X509::ready_crl`].
const CRL_SPANS: u64 = 3;
/// The most bytes of a file with certificates.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// X.509 certificates.
pub(crate) static KIND: Kind = Kind {
    name: "x509",
    about: "X.509 client certificates with SPIFFE ids, revocable through a CRL",
    variables: &[],
    example: "ca_certificate: /etc/claviger/ca.crt\nca_key: {file: /etc/claviger/ca.key}\n\
              crl: /var/lib/claviger/ca.crl\nmax_ttl: 1h\n",
    parameters: "spiffe_id: spiffe://ci.example.org/repository/{repository_id}\n",
    build: |settings| Ok(Arc::new(X509::new(settings)?)),
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct X509Settings {
    /// The authority's certificate, PEM. If it is not a root, the certificates above it follow it.
    ca_certificate: PathBuf,
    /// Its private key, PEM, without a passphrase.
    ca_key: Value,
    /// What servers are to trust, PEM, as it goes out with each certificate; the roots in `ca_certificate` if absent.
    #[serde(default)]
    trust_bundle: Option<PathBuf>,
    /// Where the list of revoked certificates is kept, PEM. Without it, certificates end by their expiry alone.
    #[serde(default)]
    crl: Option<PathBuf>,
    /// Where the same list is kept as DER.
    #[serde(default)]
    crl_der: Option<PathBuf>,
    /// Where clients fetch the list; stands in each certificate.
    #[serde(default)]
    crl_url: Option<String>,
    /// How long a list is valid; 168h if absent, at least three times `max_ttl`.
    #[serde(default)]
    crl_lifetime: Option<Ttl>,
    /// The longest life of a certificate; 24h if absent.
    #[serde(default)]
    max_ttl: Option<Ttl>,
}

struct X509 {
    authority: Arc<Authority>,
    bundle: String,
    crl: Option<RevocationFile<CrlFormat>>,
    crl_url: Option<String>,
    /// When the list is looked at again, in Unix seconds.
    next_look: AtomicI64,
    crl_lifetime: Ttl,
    max_ttl: Ttl,
}

impl X509 {
    fn new(settings: &Settings<'_>) -> Result<X509, SettingsError> {
        let wanted: X509Settings = SettingsError::parse(settings.value)?;
        let wrong = |at: &str, what: String| SettingsError::new(at, what);
        let certificates = read("ca_certificate", &wanted.ca_certificate)?;
        let key = settings.secrets.read(&wanted.ca_key).map_err(|what| wrong("ca_key", what))?;
        let authority = Authority::parse(&certificates, &key).map_err(|(at, what)| wrong(at, what))?;
        let bundle = match &wanted.trust_bundle {
            Some(path) => {
                let file = read("trust_bundle", path)?;
                let all = authority::read_certificates(&file).map_err(|what| wrong("trust_bundle", what))?;
                all.iter().map(|der| authority::pem("CERTIFICATE", der)).collect()
            }
            None => authority.roots.clone(),
        };
        let max_ttl = wanted.max_ttl.unwrap_or(MAX_TTL);
        let crl_lifetime = crl_lifetime(wanted.crl_lifetime, max_ttl)?;
        let authority = Arc::new(authority);
        let crl = match wanted.crl {
            None if wanted.crl_der.is_some() => {
                return Err(wrong("crl_der", "is a copy of `crl`, which is missing".into()));
            }
            None => None,
            Some(_) if !authority.signs_lists => {
                let what = "the authority's key usage does not let it sign revocation lists (cRLSign)";
                return Err(wrong("ca_certificate", what.into()));
            }
            Some(path) => {
                let der_path = wanted.crl_der;
                for (at, path) in [("crl", Some(&path)), ("crl_der", der_path.as_ref())] {
                    if path.is_some_and(|path| !path.is_absolute()) {
                        return Err(wrong(at, "must be an absolute path".into()));
                    }
                }
                let format =
                    CrlFormat { authority: Arc::clone(&authority), lifetime: crl_lifetime, der_path };
                Some(RevocationFile::new(path, format))
            }
        };
        let is_url =
            |text: &str| url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if wanted.crl_url.as_deref().is_some_and(|text| !text.is_ascii() || !is_url(text)) {
            return Err(wrong("crl_url", "must be an http or https address".into()));
        }
        let next_look = AtomicI64::new(i64::MIN);
        Ok(X509 { authority, bundle, crl, crl_url: wanted.crl_url, next_look, crl_lifetime, max_ttl })
    }

    /// Makes sure that the list can be written, and outlives what is issued now. It is renewed with half its life left
    /// and looked at each eighth of it, so three eighths are left at least: with three times the longest certificate's
    /// life, that is longer than any certificate.
    async fn ready_crl(&self, now: Timestamp) -> Result<(), ProviderError> {
        let seconds = now.as_second();
        if let Some(crl) = &self.crl
            && seconds >= self.next_look.load(Ordering::Acquire)
        {
            crl.write(None, now).await?;
            let pause = i64::try_from(self.crl_lifetime.seconds() / 8).unwrap_or(i64::MAX);
            self.next_look.store(seconds.saturating_add(pause), Ordering::Release);
        }
        Ok(())
    }

    /// When a certificate ends that is to end at `asked`.
    fn end(&self, asked: Timestamp, now: Timestamp) -> Result<i64, ProviderError> {
        let expires = asked.min(self.max_ttl.after(now)).as_second().min(self.authority.not_after);
        if now.as_second() < self.authority.not_before || expires <= now.as_second() {
            return Err(ProviderError::Misconfigured(format!(
                "the authority's certificate ({}) is not valid now; renew it",
                self.authority.name
            )));
        }
        Ok(expires)
    }
}

/// The life of a list, which must not end before the certificates do.
fn crl_lifetime(wanted: Option<Ttl>, max_ttl: Ttl) -> Result<Ttl, SettingsError> {
    let least = max_ttl.seconds() * CRL_SPANS;
    let seconds = wanted.map_or(CRL_LIFETIME.seconds().max(least), Ttl::seconds);
    match Ttl::from_secs(seconds) {
        Some(ttl) if seconds >= least => Ok(ttl),
        _ => Err(SettingsError::new(
            "crl_lifetime",
            "must be at least three times `max_ttl`: servers refuse everybody when a list is out of date",
        )),
    }
}

fn read(at: &str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let wrong = |e: std::io::Error| SettingsError::new(at, format!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(MAX_CERTIFICATES + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > MAX_CERTIFICATES {
        return Err(SettingsError::new(at, "is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// A lease's serial number: a 1, so that it is positive and as long as any other, and the lease's 128 random bits.
fn serial(lease: LeaseId) -> [u8; 17] {
    let mut serial = [1; 17];
    serial[1..].copy_from_slice(lease.as_bytes());
    serial
}

#[async_trait]
impl Provider for X509 {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: true,
            expires_itself: true,
            leaves_nothing: true,
            revocable: self.crl.is_some(),
            renewable: false,
            listable: false,
            ttl: (1, u32::try_from(self.max_ttl.seconds()).unwrap_or(u32::MAX)),
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        Parameters::parse(parameters).map(drop)
    }

    async fn issue(&self, request: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        let parameters =
            Parameters::parse(request.parameters).map_err(|e| ProviderError::Misconfigured(e.to_string()))?;
        let names = parameters.names(request.identity.claims())?;
        let end = self.end(request.expires, request.now)?;
        let subject = Subject::of(request.input)?;
        self.ready_crl(request.now).await?;
        let serial = serial(request.lease);
        let content = Content {
            names: &names,
            usages: &parameters.usages,
            serial: &serial,
            now: request.now.as_second(),
            expires: end,
            crl_url: self.crl_url.as_deref(),
        };
        let certificate = self
            .authority
            .certify(&subject, &content)
            .map_err(|e| ProviderError::Misconfigured(format!("cannot sign: {e}")))?;
        let mut credential = Credential::default().public("certificate", certificate);
        if !self.authority.chain.is_empty() {
            credential = credential.public("chain", self.authority.chain.as_str());
        }
        credential =
            credential.public("trust_bundle", self.bundle.as_str()).public("serial", hex::encode(serial));
        if let Some(id) = names.spiffe_id {
            credential = credential.public("spiffe_id", id);
        }
        if let Some(private) = subject.private {
            credential = credential.secret("private_key", private);
        }
        let expires = Timestamp::from_second(end)
            .map_err(|e| ProviderError::Misconfigured(format!("the end is out of range: {e}")))?;
        Ok(Issued { credential, expires, reference: None })
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        if held.now.as_second() >= held.expires.as_second().saturating_add(KEEP_S) {
            return Ok(());
        }
        match &self.crl {
            Some(crl) => {
                crl.write(Some(CrlFormat::entry(&serial(held.lease), held.now, held.expires)), held.now).await
            }
            None => Err(ProviderError::Unsupported(
                "no `crl` is configured, so that the certificate ends at its expiry".into(),
            )),
        }
    }

    async fn check(&self) -> Vec<Check> {
        let until = Timestamp::from_second(self.authority.not_after).map(|end| end.to_string());
        let until = until.unwrap_or_default();
        let mut checks = vec![Check::good(format!("authority {}, valid until {until}", self.authority.name))];
        let Some(crl) = &self.crl else {
            checks.push(Check::warn(
                "certificates can be revoked",
                "set `crl` to a path that servers read; until then certificates end at their expiry only",
            ));
            return checks;
        };
        let what = format!("revocation list {}", crl.path().display());
        checks.push(match crl.probe().await {
            Ok(true) => Check::good(what),
            Ok(false) => Check::warn(what, "is not there yet; it is written with the first certificate"),
            Err(e) => Check::bad(what, e.to_string()),
        });
        checks
    }
}

#[cfg(test)]
mod tests;
