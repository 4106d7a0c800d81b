//! An OAuth server that exchanges tokens: npm's oidc-provider with `oauth.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::is_installed;
use super::process::Process;

/// A running server.
pub(crate) struct OAuth(Process);

impl OAuth {
    /// Starts one that exchanges tokens of `issuer` for these clients; `None` where it is not installed.
    pub(crate) fn start(issuer: &str, clients: &Value) -> Option<OAuth> {
        let tools = std::env::var_os("CLAVIGER_TEST_TOOLS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/bin"),
            PathBuf::from,
        );
        let modules = tools.parent().unwrap().join("node");
        let package = modules.join("node_modules/oidc-provider/package.json");
        if !is_installed("node") || !is_installed(package.to_str()?) {
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/servers/oauth.mjs");
        Some(OAuth(Process::start(|port, _| {
            let mut command = Command::new("node");
            command
                .arg(script)
                .env("MODULES", modules.canonicalize().unwrap())
                .env("PORT", port.to_string())
                .env("ISSUER", issuer)
                .env("CLIENTS", clients.to_string());
            command
        })))
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    /// What the server says about a token.
    pub(crate) async fn introspect(&self, client: (&str, &str), token: &str) -> Value {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("client_id", client.0)
            .append_pair("client_secret", client.1)
            .finish();
        let call = reqwest::Client::new()
            .post(format!("{}/token/introspection", self.url()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        call.send().await.unwrap().json().await.unwrap()
    }
}
