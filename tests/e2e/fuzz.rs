//! The broker's interface, asked by a fuzzer that knows its OpenAPI document.

use std::process::Command;

use claviger_tests::tool;

use crate::broker::Ground;

#[test]
fn nothing_that_the_document_allows_or_forbids_is_answered_otherwise() {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let mut ground = Ground::ssh();
    let token = ground.operator();
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
