//! SSH certificates: a login that ends by itself, to any host that trusts the broker's certificate authority.
//!
//! Hosts need two lines of `sshd_config`: `TrustedUserCAKeys` with the authority's public key (`provider check` shows
//! it) and, to end a certificate before its time, `RevokedKeys` with the list that the broker keeps at `krl`. How the
//! list gets to the hosts is the operator's affair, hence certificates of minutes. A host that has `RevokedKeys` and no
//! such file lets nobody in: the broker writes an empty list before it issues anything.
//!
//! The serial number follows from the lease, so that a certificate can be revoked that nobody has seen. The key id, which
//! hosts write into their logs at each login, is the lease's name and the token's subject. Certificates get no extension
//! that the role does not name, are never issued without principals, and cannot be renewed: whoever needs a longer one
//! exchanges a fresh token for it, under the role as it is then.

mod authority;
mod krl;
mod parameters;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use ssh_key::certificate::{Builder, Certificate};

use self::authority::Authority;
use self::krl::KrlFormat;
use self::parameters::Parameters;
use self::subject::Subject;
use super::revocation_file::{KEEP_S, RevocationFile};
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, Settings,
    SettingsError,
};
use crate::lease::LeaseId;
use crate::secret;
use crate::ttl::Ttl;

/// A certificate is valid this long before it is issued, for hosts whose clock is slow.
const BACKDATE_S: u64 = 60;
/// The longest certificate unless configured: a working day and its evening.
const MAX_TTL: Ttl = Ttl::minutes(16 * 60);
/// The most characters of the key id; hosts cut their log lines at 1,024.
const MAX_KEY_ID: usize = 300;

/// SSH certificates.
pub(crate) static KIND: Kind = Kind {
    name: "ssh",
    about: "SSH certificates for users and hosts, revocable through a KRL",
    variables: &[],
    example: "ca_key: {file: /etc/claviger/ssh-ca}\nkrl: /var/lib/claviger/revoked-keys\nmax_ttl: 1h\n",
    parameters: "principals: [deploy]\nforce_command: rsync --server .\nsource_address: [10.0.0.0/8]\n",
    build: |settings| Ok(Arc::new(Ssh::new(settings)?)),
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SshSettings {
    /// The authority's private key in OpenSSH's format, without a passphrase: Ed25519 or ECDSA on P-256.
    ca_key: Value,
    /// Where the list of revoked certificates is kept. Without it, certificates end by their expiry alone.
    #[serde(default)]
    krl: Option<PathBuf>,
    /// The longest life of a certificate; 16h if absent.
    #[serde(default)]
    max_ttl: Option<Ttl>,
}

struct Ssh {
    authority: Authority,
    krl: Option<RevocationFile<KrlFormat>>,
    /// The list is there, as servers need it.
    is_krl_ready: AtomicBool,
    max_ttl: Ttl,
}

impl Ssh {
    fn new(settings: &Settings<'_>) -> Result<Ssh, SettingsError> {
        let SshSettings { ca_key, krl, max_ttl } = SettingsError::parse(settings.value)?;
        let wrong = |what: String| SettingsError::new("ca_key", what);
        let file = settings.secrets.read(&ca_key).map_err(wrong)?;
        let authority = Authority::parse(&file).map_err(wrong)?;
        if krl.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(SettingsError::new("krl", "must be an absolute path"));
        }
        let wire = authority.wire().map_err(|e| wrong(e.to_string()))?;
        let krl = krl.map(|path| RevocationFile::new(path, KrlFormat { authority: wire }));
        Ok(Ssh { authority, krl, is_krl_ready: AtomicBool::new(false), max_ttl: max_ttl.unwrap_or(MAX_TTL) })
    }

    /// Makes sure that the list can be written before something is issued that may have to go onto it.
    async fn ready_krl(&self, now: Timestamp) -> Result<(), ProviderError> {
        if let Some(krl) = &self.krl
            && !self.is_krl_ready.load(Ordering::Acquire)
        {
            krl.write(None, now).await?;
            self.is_krl_ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn certify(
        &self,
        request: &Request<'_>,
        parameters: &Parameters,
        subject: &Subject,
        expires: i64,
    ) -> Result<Certificate, ProviderError> {
        let principals = parameters.principals(request.identity.claims())?;
        if principals.is_empty() {
            // The role was checked when it was loaded. Here it must hold whatever happened since.
            return Err(ProviderError::Misconfigured("a certificate needs principals".into()));
        }
        let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
        let nonce: [u8; 32] = secret::random();
        let start = seconds(request.now.as_second()).saturating_sub(BACKDATE_S);
        let failed = |e: ssh_key::Error| ProviderError::Misconfigured(format!("cannot encode: {e}"));
        let mut builder =
            Builder::new(nonce, subject.public.clone(), start, seconds(expires)).map_err(failed)?;
        builder.serial(serial(request.lease)).map_err(failed)?;
        builder.key_id(key_id(request.name, request.identity.subject())).map_err(failed)?;
        builder.cert_type(parameters.kind.into()).map_err(failed)?;
        builder.comment(request.name).map_err(failed)?;
        for principal in principals {
            builder.valid_principal(principal).map_err(failed)?;
        }
        if let Some(command) = &parameters.force_command {
            builder.critical_option("force-command", command).map_err(failed)?;
        }
        if !parameters.source_address.is_empty() {
            builder.critical_option("source-address", parameters.source_address.join(",")).map_err(failed)?;
        }
        if parameters.verify_required {
            builder.critical_option("verify-required", "").map_err(failed)?;
        }
        for extension in &parameters.extensions {
            let (name, value) = extension.split_once('=').unwrap_or((extension, ""));
            builder.extension(name, value).map_err(failed)?;
        }
        builder.sign(&self.authority).map_err(failed)
    }
}

/// The serial number of a lease's certificate: 64 of the lease's random bits. Never 0, which OpenSSH takes for "none".
fn serial(lease: LeaseId) -> u64 {
    let (first, _) = lease.as_bytes().split_at(8);
    first.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)).max(1)
}

/// What hosts write into their log: name and subject. The subject is the caller's; nothing in it can end the field, look
/// like another one, or hide.
fn key_id(name: &str, subject: &str) -> String {
    let clean = subject.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c,
        ':' | '/' | '.' | '_' | '-' | '@' | '+' | '=' => c,
        _ => '_',
    });
    name.chars().chain(['=']).chain(clean).take(MAX_KEY_ID).collect()
}

#[async_trait]
impl Provider for Ssh {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: true,
            expires_itself: true,
            leaves_nothing: true,
            revocable: self.krl.is_some(),
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
        let subject = Subject::of(request.input, &parameters.key_types)?;
        if parameters.verify_required && !subject.is_hardware() {
            return Err(ProviderError::Denied("this role takes hardware keys only".into()));
        }
        self.ready_krl(request.now).await?;
        let expires = request.expires.min(self.max_ttl.after(request.now)).as_second();
        let certificate = self.certify(request, &parameters, &subject, expires)?;
        let failed = |e: ssh_key::Error| ProviderError::Misconfigured(format!("cannot encode: {e}"));
        let mut credential = Credential::default()
            .public("certificate", certificate.to_openssh().map_err(failed)?)
            .public("serial", certificate.serial().to_string())
            .public("key_id", certificate.key_id());
        if let Some(private) = subject.private {
            credential = credential.secret("private_key", private);
        }
        let expires = Timestamp::from_second(expires)
            .map_err(|e| ProviderError::Misconfigured(format!("the end is out of range: {e}")))?;
        Ok(Issued { credential, expires, reference: None })
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        if held.now.as_second() >= held.expires.as_second().saturating_add(KEEP_S) {
            return Ok(());
        }
        match &self.krl {
            Some(krl) => krl.write(Some(KrlFormat::entry(serial(held.lease), held.expires)), held.now).await,
            None => Err(ProviderError::Unsupported(
                "no `krl` is configured, so that the certificate ends at its expiry".into(),
            )),
        }
    }

    async fn check(&self) -> Vec<Check> {
        let about = format!(
            "authority {}; for TrustedUserCAKeys: {}",
            self.authority.fingerprint(),
            self.authority.line()
        );
        let mut checks = vec![Check::good(about)];
        let Some(krl) = &self.krl else {
            checks.push(Check::warn(
                "certificates can be revoked",
                "set `krl` to a path, and `RevokedKeys` on the hosts; until then they end at their expiry only",
            ));
            return checks;
        };
        let what = format!("revocation list {}", krl.path().display());
        // Writes an empty list where there is none, which is what a host needs to let anybody in.
        checks.push(match krl.write(None, Timestamp::UNIX_EPOCH).await {
            Ok(()) => Check::good(what),
            Err(e) => Check::bad(what, e.to_string()),
        });
        checks
    }
}

#[cfg(test)]
mod tests;
