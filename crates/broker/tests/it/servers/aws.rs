//! Programs that act as AWS: moto, which takes everything, and ministack, which looks at signatures and trust policies.

use std::process::Command;

use claviger_broker::provider::aws::sigv4::{Keys, Scope, Unsigned, authorization, date};
use claviger_broker::secret::{self, Secret};
use jiff::Timestamp;

use super::free_port;
use super::process::{Process, tool};

/// A running stand-in for AWS.
pub(crate) struct Cloud {
    process: Process,
    /// The keys of the account's owner.
    keys: Keys,
}

impl Cloud {
    /// Starts moto; `None` where it is not installed.
    pub(crate) fn moto() -> Option<Cloud> {
        let program = tool("moto_server")?;
        let process = Process::start(|port, _| {
            let mut command = Command::new(program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        });
        Some(Cloud { process, keys: owner() })
    }

    /// Starts ministack; `None` where it is not installed.
    pub(crate) fn ministack() -> Option<Cloud> {
        let program = tool("ministack")?;
        let keys = owner();
        let process = Process::start(|port, folder| {
            let mut command = Command::new(program);
            command
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("IOT_MTLS_PORT", free_port().to_string())
                .env("AUTH", "true")
                .env("HOME", folder)
                .env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
                .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose_text().unwrap())
                .current_dir(folder);
            command
        });
        Some(Cloud { process, keys })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.process.url()
    }

    /// The keys of the account's owner.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A signed call of the query protocol; gives status and body.
    pub(crate) async fn query(&self, service: &str, keys: &Keys, form: &[(&str, &str)]) -> (u16, String) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(service, keys, "application/x-www-form-urlencoded", None, body).await
    }

    /// A signed call of the JSON protocol.
    pub(crate) async fn json(
        &self,
        service: &str,
        target: &str,
        body: serde_json::Value,
    ) -> serde_json::Value {
        let kind = "application/x-amz-json-1.1";
        let (status, body) = self.send(service, &self.keys, kind, Some(target), body.to_string()).await;
        assert_eq!(status, 200, "{target}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn send(
        &self,
        service: &str,
        keys: &Keys,
        kind: &str,
        target: Option<&str>,
        body: String,
    ) -> (u16, String) {
        let now = Timestamp::now();
        let (date, host) = (date(now), format!("127.0.0.1:{}", self.process.port()));
        let mut headers = vec![("content-type", kind), ("host", &host), ("x-amz-date", &date)];
        let token = keys.session_token.as_ref().map(|token| token.expose_text().unwrap());
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        headers.extend(target.map(|target| ("x-amz-target", target)));
        let request =
            Unsigned { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let proof = authorization(keys, Scope { region: "us-east-1", service }, &request, now);
        let mut call = reqwest::Client::new().post(self.url()).header("authorization", proof);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            call = call.header(*name, *value);
        }
        let response = call.body(body.clone()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

fn owner() -> Keys {
    Keys {
        access_key_id: format!("AKIA{}", secret::password(16).expose_text().unwrap().to_uppercase()),
        secret_access_key: Secret::text(secret::password(40).expose_text().unwrap().to_owned()),
        session_token: None,
    }
}
