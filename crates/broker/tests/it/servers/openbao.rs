//! OpenBao with an empty, unsealed store.

use std::process::Command;

use claviger_broker::secret;
use reqwest::Method;
use serde_json::{Value, json};

use super::process::{Process, tool};

/// A running server.
pub(crate) struct OpenBao {
    process: Process,
    root: String,
}

impl OpenBao {
    /// Starts one; `None` where it is not installed.
    pub(crate) fn start() -> Option<OpenBao> {
        let program = tool("bao")?;
        let root = secret::password(24).expose_text().unwrap().to_owned();
        let process = Process::start(|port, folder| {
            let mut command = Command::new(program);
            command
                .args(["server", "-dev", "-dev-no-store-token"])
                .arg(format!("-dev-root-token-id={root}"))
                .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
                .env("HOME", folder);
            command
        });
        Some(OpenBao { process, root })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.process.url()
    }

    /// The token that may do everything.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A folder for the test's own files.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.process.folder()
    }

    /// Makes a call with `token`; gives status and body.
    pub(crate) async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = reqwest::Client::new()
            .request(method, format!("{}/v1/{path}", self.url()))
            .header("x-vault-token", token)
            .json(&body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Writes as root, which must succeed.
    pub(crate) async fn write(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(&self.root, Method::POST, path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Makes a policy.
    pub(crate) async fn policy(&self, name: &str, rules: &[(&str, &str)]) {
        let rules: String = rules
            .iter()
            .map(|(path, capability)| format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}\n"))
            .collect();
        self.write(&format!("sys/policies/acl/{name}"), json!({"policy": rules})).await;
    }

    /// Makes a token with these policies.
    pub(crate) async fn token(&self, policies: &[&str]) -> String {
        let made = self.write("auth/token/create-orphan", json!({"policies": policies, "ttl": "1h"})).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }
}
