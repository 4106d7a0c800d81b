//! The broker's interface, asked by a fuzzer that knows its OpenAPI document.

use std::fs;
use std::process::Command;

use claviger_tests::tool;

use crate::broker::{Ground, private};
use crate::replicas::sha256;

#[test]
fn nothing_that_the_document_allows_or_forbids_is_answered_otherwise() {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let ssh = "{kind: ssh, environment: test, ca_key: {file: ca}}";
    let mut ground = Ground::new(ssh, "{principals: [demo]}");
    let authority = claviger_broker::run::dev::ssh_authority().expect("a key");
    private(&ground.folder().join("ca"), authority.expose());
    let path = ground.folder().join("claviger-broker.yaml");
    let token = format!("operator {}", std::process::id());
    let server = format!(
        ", operators: [{{name: ops, token_sha256: {}, rights: write}}], \
         limits: {{identity_per_minute: 1000000, address_per_minute: 1000000}}}}\nstore:",
        sha256(&token, ground.folder())
    );
    let text = fs::read_to_string(&path).expect("read").replacen("}\nstore:", &server, 1);
    fs::write(&path, text).expect("written");
    ground.start();
    let output = Command::new(schemathesis)
        .args(["run", &format!("{}/openapi.json", ground.url()), "--no-color", "--seed", "1"])
        .args(["--max-examples", "25", "-H", &format!("Authorization: Bearer {token}")])
        // No schema says what makes a signed token valid.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .current_dir(ground.folder())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ground.stop();
}
