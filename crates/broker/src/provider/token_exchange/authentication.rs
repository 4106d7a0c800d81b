//! How a client shows an OAuth server who it is.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::fetch::Call;
use crate::provider::{ProviderError, SecretSource, SettingsError};
use crate::secret::{self, Secret};

/// Who the broker is at the server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientSettings {
    /// The client's id.
    id: String,
    /// How it is shown.
    authentication: Method,
    /// With `basic` and `post`: where the client's secret is read from.
    #[serde(default)]
    secret: Option<Value>,
    /// With `private_key_jwt`: where the private key is read from, in PEM.
    #[serde(default)]
    key: Option<Value>,
    /// With `private_key_jwt`: the key's algorithm.
    #[serde(default)]
    algorithm: Option<KeyAlgorithm>,
    /// With `private_key_jwt`: the key's name, if the server wants one.
    #[serde(default)]
    key_id: Option<String>,
    /// With `private_key_jwt`: what the server wants to be called; its token endpoint if absent.
    #[serde(default)]
    audience: Option<String>,
}

/// The methods of OpenID Connect Core, section 9, without the one that signs with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    Basic,
    Post,
    PrivateKeyJwt,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum KeyAlgorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A client that can show who it is.
pub struct Client {
    id: String,
    proof: Proof,
}

enum Proof {
    /// A public client has none.
    None,
    Basic(Secret),
    Post(Secret),
    Key(Box<Signer>),
}

/// A private key and what its assertions say.
struct Signer {
    key: EncodingKey,
    header: Header,
    audience: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    /// A client without a secret, as a job is that has no broker.
    pub fn public(id: impl Into<String>) -> Client {
        Client { id: id.into(), proof: Proof::None }
    }

    pub(super) fn read(
        settings: ClientSettings,
        token_endpoint: &str,
        secrets: &dyn SecretSource,
    ) -> Result<Client, SettingsError> {
        let method = settings.authentication;
        let read = |at: &str, reference: &Option<Value>| {
            let at = format!("client.{at}");
            let reference = reference.as_ref().ok_or_else(|| SettingsError::new(&at, "missing"))?;
            secrets.read(reference).map_err(|what| SettingsError::new(&at, what))
        };
        let needs_secret = matches!(method, Method::Basic | Method::Post);
        if settings.secret.is_some() && !needs_secret {
            return Err(SettingsError::new("client.secret", "is not used with this `authentication`"));
        }
        if settings.key.is_some() && method != Method::PrivateKeyJwt {
            return Err(SettingsError::new("client.key", "is for `authentication: private_key_jwt`"));
        }
        let proof = match method {
            Method::None => Proof::None,
            Method::Basic => Proof::Basic(read("secret", &settings.secret)?),
            Method::Post => Proof::Post(read("secret", &settings.secret)?),
            Method::PrivateKeyJwt => {
                let pem = read("key", &settings.key)?;
                let algorithm = settings
                    .algorithm
                    .ok_or_else(|| SettingsError::new("client.algorithm", "write RS256, ES256 or EdDSA"))?;
                let (algorithm, key) = algorithm.read(&pem)?;
                Proof::Key(Box::new(Signer {
                    key,
                    header: Header { kid: settings.key_id, ..Header::new(algorithm) },
                    audience: settings.audience.unwrap_or_else(|| token_endpoint.to_owned()),
                }))
            }
        };
        Ok(Client { id: settings.id, proof })
    }

    /// The secret that must not come back in an error.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match &self.proof {
            Proof::Basic(secret) | Proof::Post(secret) => Some(secret),
            Proof::None | Proof::Key(_) => None,
        }
    }

    /// Puts form and proof into a call.
    pub(super) fn authenticate(
        &self,
        call: Call,
        form: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<Call, ProviderError> {
        let assertion;
        let mut form = form.to_vec();
        let call = match &self.proof {
            Proof::None => {
                form.push(("client_id", &self.id));
                call
            }
            Proof::Basic(secret) => call.secret_header("authorization", &self.basic(secret)),
            Proof::Post(secret) => {
                form.push(("client_id", &self.id));
                form.push(("client_secret", secret.expose_text().ok_or_else(not_text)?));
                call
            }
            Proof::Key(signer) => {
                assertion = self.assertion(signer, now)?;
                form.push(("client_id", &self.id));
                // RFC 7523, section 2.2.
                form.push((
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
                form.push(("client_assertion", &assertion));
                call
            }
        };
        Ok(call.form(&form))
    }

    /// RFC 6749, section 2.3.1: both parts encoded as in a form before they are joined.
    fn basic(&self, secret: &Secret) -> Secret {
        let encode = |bytes: &[u8]| url::form_urlencoded::byte_serialize(bytes).collect::<String>();
        let joined = Zeroizing::new(format!(
            "{}:{}",
            encode(self.id.as_bytes()),
            *Zeroizing::new(encode(secret.expose()))
        ));
        Secret::text(format!("Basic {}", *Zeroizing::new(STANDARD.encode(joined.as_bytes()))))
    }

    /// RFC 7523, section 3.
    fn assertion(&self, signer: &Signer, now: Timestamp) -> Result<Zeroizing<String>, ProviderError> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            sub: &'a str,
            aud: &'a str,
            jti: String,
            iat: i64,
            exp: i64,
        }
        let iat = now.as_second();
        let jti = hex::encode(secret::random::<16>());
        let claims =
            Claims { iss: &self.id, sub: &self.id, aud: &signer.audience, jti, iat, exp: iat + ASSERTION_S };
        jsonwebtoken::encode(&signer.header, &claims, &signer.key)
            .map(Zeroizing::new)
            .map_err(|e| ProviderError::Misconfigured(format!("the client's key does not sign: {e}")))
    }
}

/// How long an assertion is good for, in seconds: it is used at once.
const ASSERTION_S: i64 = 60;

fn not_text() -> ProviderError {
    ProviderError::Misconfigured("the client's secret is not text".into())
}

impl KeyAlgorithm {
    fn read(self, pem: &Secret) -> Result<(Algorithm, EncodingKey), SettingsError> {
        let (algorithm, key) = match self {
            KeyAlgorithm::Rs256 => (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.expose())),
            KeyAlgorithm::Es256 => (Algorithm::ES256, EncodingKey::from_ec_pem(pem.expose())),
            KeyAlgorithm::EdDsa => (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem.expose())),
        };
        let key =
            key.map_err(|_| SettingsError::new("client.key", "not a private key of this algorithm, in PEM"))?;
        Ok((algorithm, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_encodes_both_parts_first() {
        let client = Client { id: "a:b".into(), proof: Proof::None };
        let header = client.basic(&Secret::text("c d/€".into()));
        let encoded = header.expose_text().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"a%3Ab:c+d%2F%E2%82%AC");
    }
}
