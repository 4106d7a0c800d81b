//! Where AWS's services answer, and requests to them.

use jiff::Timestamp;
use url::Url;

use super::sigv4::{self, Keys, Scope, Unsigned};
use crate::fetch::Call;
use crate::provider::SettingsError;

/// A service's address in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The service's name in signatures: `sts`, `kms`.
    service: &'static str,
    region: String,
    /// Without a slash at its end.
    url: String,
    /// As the header `Host` will have it.
    host: String,
}

impl Endpoint {
    /// The public endpoint of `service` in `region`.
    ///
    /// # Errors
    /// That is no region's name.
    pub fn regional(service: &'static str, region: &str) -> Result<Endpoint, SettingsError> {
        check_region(region)?;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        Endpoint::at(service, region, &format!("https://{service}.{region}.{domain}"))
    }

    /// An endpoint at an address of its own: in a private network, or a stand-in. `url` has a host and no path.
    ///
    /// # Errors
    /// `region` is no region's name, or `url` no address of a host.
    pub fn at(service: &'static str, region: &str, url: &str) -> Result<Endpoint, SettingsError> {
        check_region(region)?;
        let wrong = |what: &str| SettingsError::new("endpoint", what);
        let parsed = Url::parse(url).map_err(|e| wrong(&format!("not a URL: {e}")))?;
        let host = parsed.host_str().ok_or_else(|| wrong("a URL without a host"))?;
        if parsed.path() != "/" {
            return Err(wrong("write scheme, host and port only"));
        }
        let host = match parsed.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let url = parsed.as_str().trim_end_matches('/').to_owned();
        Ok(Endpoint { service, region: region.to_owned(), url, host })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// An unsigned `POST`.
    pub(super) fn post(&self, kind: &'static str, body: Vec<u8>) -> Call {
        Call::post(format!("{}/", self.url)).body(kind, body)
    }

    /// A signed `POST`. `target` is the operation where the service wants it in `X-Amz-Target`.
    pub(super) fn signed_post(
        &self,
        keys: &Keys,
        kind: &'static str,
        target: Option<&str>,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Call {
        let date = sigv4::date(now);
        let mut headers =
            vec![("content-type", kind), ("host", self.host.as_str()), ("x-amz-date", date.as_str())];
        let session = keys.session_token.as_ref();
        headers.extend(session.and_then(|token| Some(("x-amz-security-token", token.expose_text()?))));
        headers.extend(target.map(|target| ("x-amz-target", target)));
        let request = Unsigned { method: "POST", path: "/", query: "", headers: &headers, body: &body };
        let scope = Scope { region: &self.region, service: self.service };
        let authorization = sigv4::authorization(keys, scope, &request, now);
        let mut call = Call::post(format!("{}/", self.url))
            .header("x-amz-date", &date)
            .header("authorization", &authorization);
        if let Some(token) = session {
            call = call.secret_header("x-amz-security-token", token);
        }
        if let Some(target) = target {
            call = call.header("x-amz-target", target);
        }
        call.body(kind, body)
    }
}

/// Regions are words of small letters and digits, joined by hyphens; nothing else may come into a host's name.
fn check_region(region: &str) -> Result<(), SettingsError> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if region.len() <= 32 && region.contains('-') && region.split('-').all(is_word) {
        return Ok(());
    }
    Err(SettingsError::new("region", "not the name of a region; write for example `eu-central-1`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_make_hosts() {
        let host = |region: &str| Endpoint::regional("sts", region).map(|endpoint| endpoint.host);
        assert_eq!(host("eu-central-1").as_deref(), Ok("sts.eu-central-1.amazonaws.com"));
        assert_eq!(host("cn-north-1").as_deref(), Ok("sts.cn-north-1.amazonaws.com.cn"));
        for bad in ["", "eu", "eu-central-1.evil.example/", "EU-central-1", "eu--1", "-", "a@b-1"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn own_addresses_keep_their_port() {
        let endpoint = Endpoint::at("sts", "us-east-1", "http://127.0.0.1:4566/").unwrap();
        assert_eq!(
            (endpoint.host.as_str(), endpoint.url.as_str()),
            ("127.0.0.1:4566", "http://127.0.0.1:4566")
        );
        assert!(Endpoint::at("sts", "us-east-1", "https://h/path").is_err());
    }
}
