//! AWS KMS: encrypts and decrypts with a key that never leaves it. For the master key of a broker's own store.
//!
//! JSON over signed requests; source: the API reference of the Key Management Service, version 2014-11-01.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::failure::{self, Failure, Patience};
use super::sigv4::Keys;
use crate::fetch::{Call, Fetch};
use crate::provider::ProviderError;
use crate::provider::http;
use crate::secret::Secret;

const KIND: &str = "application/x-amz-json-1.1";

/// The most bytes that KMS encrypts at once under a symmetric key.
pub const MAX_PLAIN: usize = 4096;
/// The longest ciphertext that is sent for decryption: KMS's own bound.
pub const MAX_CIPHER: usize = 6144;

/// A client of KMS for one key.
#[derive(Debug)]
pub struct Kms {
    fetch: Fetch,
    endpoint: Endpoint,
    key_id: String,
    /// Must be the same when decrypting; stands in AWS's log, so nothing secret belongs here.
    context: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ask<'a> {
    key_id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    encryption_context: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    key_id: String,
    #[serde(default)]
    plaintext: Option<Text>,
    #[serde(default)]
    ciphertext_blob: Option<String>,
}

/// The encoding of a secret.
#[derive(Deserialize)]
struct Text(#[serde(deserialize_with = "http::secret")] Secret);

impl Kms {
    /// A client for the key `key_id`: its id, ARN or alias. `endpoint` must be one of `kms`.
    pub fn new(
        fetch: Fetch,
        endpoint: Endpoint,
        key_id: impl Into<String>,
        context: BTreeMap<String, String>,
    ) -> Kms {
        Kms { fetch, endpoint, key_id: key_id.into(), context }
    }

    /// Encrypts at most [`MAX_PLAIN`] bytes; gives the ciphertext, which names its key.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn encrypt(
        &self,
        keys: &Keys,
        plain: &Secret,
        now: Timestamp,
    ) -> Result<Vec<u8>, ProviderError> {
        if plain.is_empty() || plain.len() > MAX_PLAIN {
            return Err(ProviderError::Misconfigured(format!("KMS encrypts 1 to {MAX_PLAIN} bytes")));
        }
        let text = Zeroizing::new(STANDARD.encode(plain.expose()));
        let ask = Ask { plaintext: Some(&text), ..self.ask() };
        let answer = self.call("TrentService.Encrypt", &ask, keys, now).await?;
        let cipher = answer.ciphertext_blob.and_then(|text| STANDARD.decode(text).ok());
        cipher.filter(|cipher| !cipher.is_empty()).ok_or_else(not_kms)
    }

    /// Decrypts what [`encrypt`](Kms::encrypt) gave under the same key and context.
    ///
    /// # Errors
    /// See [`ProviderError`]; `Misconfigured` when it was encrypted under another key or context.
    pub async fn decrypt(&self, keys: &Keys, cipher: &[u8], now: Timestamp) -> Result<Secret, ProviderError> {
        if cipher.is_empty() || cipher.len() > MAX_CIPHER {
            return Err(ProviderError::Misconfigured(format!("KMS decrypts 1 to {MAX_CIPHER} bytes")));
        }
        let text = STANDARD.encode(cipher);
        let ask = Ask { ciphertext_blob: Some(&text), ..self.ask() };
        let answer = self.call("TrentService.Decrypt", &ask, keys, now).await?;
        let Text(text) = answer.plaintext.ok_or_else(not_kms)?;
        let mut plain = Vec::with_capacity(text.len());
        STANDARD.decode_vec(text.expose(), &mut plain).map_err(|_| not_kms())?;
        Ok(Secret::new(plain))
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            key_id: &self.key_id,
            encryption_context: &self.context,
            plaintext: None,
            ciphertext_blob: None,
        }
    }

    async fn call(
        &self,
        target: &'static str,
        ask: &Ask<'_>,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Answer, ProviderError> {
        let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
        serde_json::to_writer(&mut *body, ask).expect("memory takes it, and every key is text");
        let mut patience = Patience::new();
        loop {
            let call = self.endpoint.signed_post(keys, KIND, Some(target), body.to_vec(), now);
            match self.once(call, &[&keys.secret_access_key]).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    async fn once(&self, call: Call, hidden: &[&Secret]) -> Result<Answer, Failure> {
        let answer = http::call_again(&self.fetch, call).await?;
        if !answer.is_success() {
            return Err(failure::of_json(&answer, hidden));
        }
        let answer: Answer = http::json(&answer, "KMS")?;
        if answer.key_id.is_empty() { Err(not_kms().into()) } else { Ok(answer) }
    }
}

fn not_kms() -> ProviderError {
    ProviderError::Misconfigured("the answer is not that of KMS".into())
}
