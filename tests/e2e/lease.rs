//! What an operator sees and does: `claviger lease` against a running broker.

use claviger_tests::{Ran, claviger_with};

use crate::broker::Ground;

#[test]
fn an_operator_lists_shows_revokes_and_holds_back() {
    let mut ground = Ground::ssh();
    let token = ground.operator();
    ground.start();
    let lease = |token: &str, args: &[&str]| -> Ran {
        let variables = [("CLAVIGER_BROKER", ground.url()), ("CLAVIGER_OPERATOR_TOKEN", token)];
        claviger_with(ground.folder(), &[&["lease"], args].concat(), b"", &variables)
    };
    let exchange = |changes: &[(&str, &str)]| {
        let args = ["exchange", "--role", "reader", "--format", "json", "--input", "generate=true"];
        ground.job(&ground.token(changes), &args)
    };
    let issued: Vec<_> = (0..3).map(|_| exchange(&[])).collect();
    assert!(issued.iter().all(|(status, ..)| *status == 0), "{issued:?}");

    let listed = lease(&token, &["list", "--state", "active", "--since", "1h"]);
    assert_eq!((listed.status, listed.stdout.lines().count()), (0, 4), "{}{}", listed.stdout, listed.stderr);
    let ids: Vec<String> = lease(&token, &["list", "--format", "jsonl"])
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"]
                .as_str()
                .expect("an id")
                .to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 3);
    let shown = lease(&token, &["show", &ids[0]]);
    assert!(shown.stdout.contains("reader") && shown.stdout.contains("active"), "{}", shown.stdout);

    // Nobody there to ask; nothing said; somebody else.
    let asked = lease(&token, &["revoke", &ids[0]]);
    assert!(
        asked.status == 2 && asked.stderr.contains("Revoke 1 leases? Nobody can be asked here"),
        "{}",
        asked.stderr
    );
    let vague = lease(&token, &["revoke", "--yes"]);
    assert!(vague.status == 2 && vague.stderr.contains("which leases?"), "{}", vague.stderr);
    let stranger = lease("somebody else", &["revoke", &ids[0], "--yes"]);
    assert!(stranger.status == 2 && !stranger.stderr.contains("somebody else"), "{}", stranger.stderr);

    let revoked = lease(&token, &["revoke", &ids[0], "--yes"]);
    assert!(revoked.stdout.starts_with("1 lease is being revoked\n"), "{}{}", revoked.stdout, revoked.stderr);
    let held = lease(&token, &["hold", "--role", "reader", "--reason", "INC-7", "--for", "1h", "--yes"]);
    assert!(held.stdout.starts_with("2 leases are being revoked\n"), "{}{}", held.stdout, held.stderr);
    let (status, _, why) = exchange(&[]);
    assert!(status == 2 && why.contains("INC-7"), "{why}");
    let holds = lease(&token, &["holds", "--format", "json"]).json();
    let id = holds[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(lease(&token, &["release", &id]).stdout, "released\n");
    let (status, _, why) = exchange(&[]);
    assert_eq!(status, 0, "{why}");
    ground.stop();
}
