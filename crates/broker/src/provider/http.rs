//! What the providers that speak HTTP share: how they reach their target, when they try again, and how a target's
//! words are told on.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::{ProviderError, SettingsError};
use crate::fetch::{Answer, Call, Fetch, FetchError, Guard, Options};
use crate::secret::{self, Secret};
use crate::ttl::Ttl;

/// How a target is reached. Public addresses over HTTPS with the system's certificate authorities, unless it says
/// otherwise.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// A file of certificate authorities in PEM that are trusted besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The target may have a private address, and on the loopback address it may speak plain HTTP.
    #[serde(default)]
    pub internal: bool,
    /// The longest one call may take; 10 s if absent.
    #[serde(default)]
    pub timeout: Option<Ttl>,
}

/// Calls may take this long unless the configuration says otherwise: a database behind an engine takes its time.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer: a credential of many fields with certificate chains stays far below.
const MAX_ANSWER: usize = 256 * 1024;

impl Reach {
    /// A client that reaches such a target.
    ///
    /// # Errors
    /// The file of authorities cannot be read or holds none; `at` is the member that `self` was read from.
    pub fn fetch(&self, at: &str) -> Result<Fetch, SettingsError> {
        let wrong = |what: String| SettingsError::new(format!("{at}.ca_file"), what);
        let ca_pem = match &self.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?),
        };
        let options = Options {
            guard: if self.internal { Guard::Internal } else { Guard::Public },
            timeout: self.timeout.map_or(CALL_TIMEOUT, Ttl::duration),
            max_body: MAX_ANSWER,
            ca_pem,
        };
        Fetch::new(&options).map_err(|e| wrong(e.to_string()))
    }

    /// Reads a target's address: HTTPS, or HTTP where [`internal`](Reach::internal) allows it; no user name, query or
    /// fragment. Without a slash at its end, so that paths can be added.
    ///
    /// # Errors
    /// It is no such address; `at` names the member.
    pub fn base(&self, at: &str, text: &str) -> Result<String, SettingsError> {
        let wrong = |what: &str| SettingsError::new(at, what);
        let url = Url::parse(text).map_err(|e| wrong(&format!("not a URL: {e}")))?;
        match url.scheme() {
            "https" => {}
            "http" if self.internal => {}
            _ => return Err(wrong("write an `https://` address")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("leave out the user name"));
        }
        if url.query().is_some() || url.fragment().is_some() || url.host_str().is_none() {
            return Err(wrong("write scheme, host and path only"));
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

/// Makes a call whose effect does not outlive it or can be had twice: when the answer is lost, it may simply be
/// repeated.
///
/// # Errors
/// `Transient` when it may work later, `Misconfigured` when it never will.
pub(crate) async fn call_again(fetch: &Fetch, call: Call) -> Result<Answer, ProviderError> {
    call_once(fetch, call).await.map_err(|error| match error {
        ProviderError::Ambiguous(what) => ProviderError::Transient(what),
        other => other,
    })
}

/// Makes a call that leaves something at the target.
///
/// # Errors
/// `Ambiguous` when it may have been carried out, `Transient` when it was not, `Misconfigured` when it never will.
pub(crate) async fn call_once(fetch: &Fetch, call: Call) -> Result<Answer, ProviderError> {
    fetch.send(call).await.map_err(|error| not_answered(&error))
}

fn not_answered(error: &FetchError) -> ProviderError {
    let what = error.to_string();
    if matches!(error, FetchError::TooLong { .. }) || error.is_ambiguous() {
        ProviderError::Ambiguous(what)
    } else if error.is_transient() {
        ProviderError::Transient(what)
    } else {
        ProviderError::Misconfigured(what)
    }
}

/// Reads an answer's body. What is wrong with it is said by place, never by content, which may be a credential.
///
/// # Errors
/// `Misconfigured`: whatever answers there does not speak `what`.
pub(crate) fn json<T: DeserializeOwned>(answer: &Answer, what: &str) -> Result<T, ProviderError> {
    serde_json::from_slice(answer.body()).map_err(|e| {
        ProviderError::Misconfigured(format!(
            "the answer is not that of {what} (line {}, column {})",
            e.line(),
            e.column()
        ))
    })
}

/// Adds a JSON body that may hold secrets: it is written once, into memory that is wiped.
pub(crate) fn with_json(call: Call, body: &impl Serialize) -> Call {
    // Room for the longest tokens, so that the buffer does not grow and leave copies behind.
    let mut bytes = Vec::with_capacity(32 * 1024);
    serde_json::to_writer(&mut bytes, body).expect("memory takes it, and tokens are checked to be text");
    call.body("application/json", bytes)
}

/// Writes a secret into a request, for `serialize_with`.
pub(crate) fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    match secret.expose_text() {
        Some(text) => serializer.serialize_str(text),
        None => Err(serde::ser::Error::custom("a secret is not text")),
    }
}

/// Reads a secret out of an answer, for `deserialize_with`.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::text)
}

/// How long to wait before each further try of what may work soon, in milliseconds; lengthened by up to half.
pub(crate) const WAITS_MS: [u64; 2] = [200, 800];

/// Waits for `ms` milliseconds and up to half of that more, so that many brokers do not return in step.
pub(crate) async fn pause(ms: u64) {
    let [random] = secret::random();
    tokio::time::sleep(Duration::from_millis(ms + ms * u64::from(random) / 512)).await;
}

/// The most characters of a target's words that are told on.
const MAX_WORDS: usize = 240;

/// What a target said, fit for a log: one line, cut, and without anything that looks like a token: it may repeat what
/// it was sent.
#[derive(Debug)]
pub(crate) struct Words(String);

impl Words {
    /// Of a text, without each of `hidden`.
    pub(crate) fn of(text: &str, hidden: &[&Secret]) -> Words {
        let mut text = text.to_owned();
        for secret in hidden.iter().filter_map(|secret| secret.expose_text()).filter(|text| text.len() >= 4) {
            text = text.replace(secret, "(hidden)");
        }
        let mut out = String::new();
        for (index, word) in text.split(char::is_whitespace).filter(|word| !word.is_empty()).enumerate() {
            if index > 0 {
                out.push(' ');
            }
            // A JSON Web Token begins with the encoding of `{"`.
            out.push_str(word.find("eyJ").map_or(word, |at| &word[..at]));
            if word.contains("eyJ") {
                out.push_str("(hidden)");
            }
            if out.len() > 4 * MAX_WORDS {
                break;
            }
        }
        let cut: String = out.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        Words(cut)
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("(no words)") } else { f.write_str(&self.0) }
    }
}

/// Whether a text is one that can stand in a header or a file as it is: not empty, visible ASCII, at most `max` bytes.
pub(crate) fn is_token(text: &[u8], max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_no_token_and_stay_on_a_line() {
        let sent = secret::password(40);
        let said =
            format!("bad\nassertion {} and eyJhbGciOi.x.y{}", sent.expose_text().unwrap(), "z".repeat(4000));
        let words = Words::of(&said, &[&sent]).to_string();
        assert_eq!(words, "bad assertion (hidden) and (hidden)");
        assert_eq!(Words::of("", &[]).to_string(), "(no words)");
        assert_eq!(Words::of(&"ä ".repeat(5000), &[]).to_string().chars().count(), MAX_WORDS);
    }

    #[test]
    fn addresses() {
        let outside = Reach::default();
        let inside = Reach { internal: true, ..Reach::default() };
        assert_eq!(outside.base("u", "https://v.example:8200/").unwrap(), "https://v.example:8200");
        assert_eq!(inside.base("u", "http://127.0.0.1:8200").unwrap(), "http://127.0.0.1:8200");
        for bad in [
            "http://v.example",
            "https://u@v.example",
            "https://v.example/?q",
            "https://v/#f",
            "v.example",
            "ftp://v",
        ] {
            assert!(outside.base("u", bad).is_err(), "{bad}");
        }
    }
}
