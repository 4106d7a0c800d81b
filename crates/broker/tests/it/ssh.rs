//! SSH certificates against OpenSSH's own server and tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use claviger_broker::provider::{Provider, ProviderError};
use claviger_broker::testing;
use serde_json::{Value, json};

use crate::ground::{Asking, build, field};
use crate::servers::sshd::{Sshd, run};

/// A folder with an authority's key, and the provider that uses it.
struct Ground {
    folder: tempfile::TempDir,
    provider: Arc<dyn Provider>,
    krl: PathBuf,
}

fn keygen(path: &Path, kind: &[&str], passphrase: &str) {
    let made =
        run(Command::new("ssh-keygen").args(["-q", "-N", passphrase, "-C", "ca", "-f"]).arg(path).args(kind));
    assert!(made.success, "{made:?}");
}

fn ground(kind: &[&str]) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ca");
    keygen(&key, kind, "");
    let krl = folder.path().join("revoked");
    let provider = build("ssh", &json!({"ca_key": {"file": key}, "krl": krl})).unwrap();
    Ground { folder, provider, krl }
}

impl Ground {
    fn authority(&self) -> String {
        fs::read_to_string(self.folder.path().join("ca.pub")).unwrap()
    }

    /// What `ssh-keygen -Q` says about a certificate: whether the list revokes it.
    fn is_revoked(&self, certificate: &str) -> bool {
        let file = self.folder.path().join("q.pub");
        fs::write(&file, certificate).unwrap();
        let said = run(Command::new("ssh-keygen").arg("-Q").arg("-f").arg(&self.krl).arg(&file));
        assert!(said.out.contains("REVOKED") || said.out.contains(": ok"), "{said:?}");
        said.out.contains("REVOKED")
    }
}

fn asking(parameters: Value) -> Asking {
    let identity = testing::identity(json!({"sub": "repo:example/app:ref:refs/heads/main", "actor": "root"}));
    Asking::new(identity, parameters)
}

#[tokio::test(flavor = "multi_thread")]
async fn sshd_lets_a_certificate_in_until_it_is_revoked() {
    if !Sshd::is_installed() {
        return;
    }
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"]] {
        let ground = ground(kind);
        let provider = &*ground.provider;
        let ask = asking(json!({"principals": ["root"]})).with("generate", "true");
        let issued = ask.issue(provider).await.unwrap();
        let (key, certificate) = (field(&issued, "private_key").as_bytes(), field(&issued, "certificate"));
        let server = Sshd::start(ground.folder.path(), &ground.authority(), &ground.krl);

        let said = server.run("root", key, certificate, "echo in as $(id -un)");
        assert_eq!((said.out.as_str(), said.success), ("in as root\n", true), "{said:?} {}", server.log());
        let id = format!(
            "ID {}=repo:example/app:ref:refs/heads/main (serial {})",
            ask.lease.object_name(),
            field(&issued, "serial")
        );
        assert!(server.log().contains(&id), "{}", server.log());

        // Another lease's revocation changes nothing for this one.
        let other = asking(json!({"principals": ["root"]})).with("generate", "true");
        let others = other.issue(provider).await.unwrap();
        other.revoke(provider, None).await.unwrap();
        assert!(ground.is_revoked(field(&others, "certificate")) && !ground.is_revoked(certificate));
        assert!(server.run("root", key, certificate, "true").success);

        ask.revoke(provider, None).await.unwrap();
        assert!(ground.is_revoked(certificate) && ground.is_revoked(field(&others, "certificate")));
        let said = server.run("root", key, certificate, "echo in");
        assert!(!said.success && said.out.is_empty() && said.err.contains("Permission denied"), "{said:?}");
        ask.revoke(provider, None).await.expect("again is no error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sshd_refuses_it_after_its_end_and_for_others() {
    if !Sshd::is_installed() {
        return;
    }
    let ground = ground(&["-t", "ed25519"]);
    let provider = &*ground.provider;
    let short = asking(json!({"principals": ["root"]}))
        .with("generate", "true")
        .lasting(4)
        .issue(provider)
        .await
        .unwrap();
    let server = Sshd::start(ground.folder.path(), &ground.authority(), &ground.krl);
    let (key, certificate) = (field(&short, "private_key").as_bytes(), field(&short, "certificate"));
    assert!(server.run("root", key, certificate, "true").success, "{}", server.log());

    let stranger = asking(json!({"principals": ["nobody-here", "{actor}x"]})).with("generate", "true");
    let stranger = stranger.issue(provider).await.unwrap();
    let said = server.run(
        "root",
        field(&stranger, "private_key").as_bytes(),
        field(&stranger, "certificate"),
        "true",
    );
    assert!(
        !said.success && server.log().contains("name is not a listed principal"),
        "{said:?} {}",
        server.log()
    );

    let host = asking(json!({"principals": ["root"], "type": "host"}))
        .with("generate", "true")
        .issue(provider)
        .await
        .unwrap();
    let said =
        server.run("root", field(&host, "private_key").as_bytes(), field(&host, "certificate"), "true");
    assert!(!said.success, "a host's certificate is no user's: {said:?}");

    std::thread::sleep(std::time::Duration::from_secs(5));
    let said = server.run("root", key, certificate, "true");
    assert!(!said.success && server.log().contains("expired"), "{said:?} {}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sshd_honours_options() {
    if !Sshd::is_installed() {
        return;
    }
    let ground = ground(&["-t", "ed25519"]);
    let provider = &*ground.provider;
    let forced = json!({"principals": ["root"], "force_command": "echo forced: $SSH_ORIGINAL_COMMAND"});
    let forced = asking(forced).with("generate", "true").issue(provider).await.unwrap();
    let server = Sshd::start(ground.folder.path(), &ground.authority(), &ground.krl);
    let try_it = |issued, command: &str| {
        server.run("root", field(issued, "private_key").as_bytes(), field(issued, "certificate"), command)
    };
    assert_eq!(try_it(&forced, "echo mine").out, "forced: echo mine\n");

    let elsewhere = json!({"principals": ["root"], "source_address": ["192.0.2.0/24"]});
    let elsewhere = asking(elsewhere).with("generate", "true").issue(provider).await.unwrap();
    assert!(!try_it(&elsewhere, "true").success);
    let here = json!({"principals": ["root"], "source_address": ["127.0.0.0/8", "::1"]});
    let here = asking(here).with("generate", "true").issue(provider).await.unwrap();
    assert!(try_it(&here, "true").success, "{}", server.log());
}

/// The caller's own keys of every kind that `ssh-keygen` makes here, and the server's reading of their certificates.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_callers_are_certified() {
    if !Sshd::is_installed() {
        return;
    }
    let ground = ground(&["-t", "ed25519"]);
    let provider = &*ground.provider;
    let first =
        asking(json!({"principals": ["root"]})).with("generate", "true").issue(provider).await.unwrap();
    drop(first);
    let server = Sshd::start(ground.folder.path(), &ground.authority(), &ground.krl);
    for kind in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "3072"],
    ] {
        let key = ground.folder.path().join(format!("key{}", kind.concat()));
        keygen(&key, kind, "");
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        let issued =
            asking(json!({"principals": ["root"]})).with("public_key", public).issue(provider).await.unwrap();
        assert!(issued.credential.field("private_key").is_none());
        let said = server.run("root", &fs::read(&key).unwrap(), field(&issued, "certificate"), "echo in");
        assert_eq!(said.out, "in\n", "{kind:?}: {said:?} {}", server.log());
    }
    let weak = ground.folder.path().join("weak");
    keygen(&weak, &["-t", "rsa", "-b", "2048"], "");
    let public = fs::read_to_string(weak.with_extension("pub")).unwrap();
    let refused = asking(json!({"principals": ["root"]})).with("public_key", public).issue(provider).await;
    assert!(matches!(refused, Err(ProviderError::Denied(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_list_and_so_does_a_second_broker() {
    if !Sshd::is_installed() {
        return;
    }
    let ground = ground(&["-t", "ed25519"]);
    let key = ground.folder.path().join("ca");
    let mut certificates = Vec::new();
    for _ in 0..3 {
        let provider = build("ssh", &json!({"ca_key": {"file": key}, "krl": ground.krl})).unwrap();
        let ask = asking(json!({"principals": ["root"]})).with("generate", "true");
        let issued = ask.issue(&*provider).await.unwrap();
        ask.revoke(&*provider, None).await.unwrap();
        certificates.push(field(&issued, "certificate").to_owned());
        assert!(certificates.iter().all(|certificate| ground.is_revoked(certificate)));
    }
    // A list that somebody else keeps is left alone.
    let theirs = ground.folder.path().join("theirs");
    let made =
        run(Command::new("ssh-keygen").args(["-q", "-k", "-f"]).arg(&theirs).arg(key.with_extension("pub")));
    assert!(made.success, "{made:?}");
    let before = fs::read(&theirs).unwrap();
    let provider = build("ssh", &json!({"ca_key": {"file": key}, "krl": theirs})).unwrap();
    let refused = asking(json!({"principals": ["root"]})).revoke(&*provider, None).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    assert_eq!(fs::read(&theirs).unwrap(), before);
    // An empty one, as an operator makes it for a new host, is taken over.
    let empty = ground.folder.path().join("empty");
    assert!(run(Command::new("ssh-keygen").args(["-q", "-k", "-f"]).arg(&empty)).success);
    let provider = build("ssh", &json!({"ca_key": {"file": key}, "krl": empty})).unwrap();
    asking(json!({"principals": ["root"]})).revoke(&*provider, None).await.unwrap();
}

#[test]
fn a_key_with_a_passphrase_is_refused_in_clear_words() {
    if !Sshd::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let refusal = |name: &str, kind: &[&str], passphrase: &str| {
        let key = folder.path().join(name);
        keygen(&key, kind, passphrase);
        let refused = build("ssh", &json!({"ca_key": {"file": key}})).err().unwrap();
        assert_eq!(refused.at, "ca_key");
        refused.what
    };
    assert!(refusal("locked", &["-t", "ed25519"], "not empty").contains("passphrase"));
    assert!(refusal("rsa", &["-t", "rsa", "-b", "3072"], "").contains("Ed25519 or ECDSA"));
    assert!(refusal("p384", &["-t", "ecdsa", "-b", "384"], "").contains("Ed25519 or ECDSA"));
}

/// Without a list certificates end at their expiry, and the provider says so.
#[tokio::test]
async fn without_a_list_revoking_is_not_supported() {
    if !Sshd::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ca");
    keygen(&key, &["-t", "ed25519"], "");
    let provider = build("ssh", &json!({"ca_key": {"file": key}})).unwrap();
    assert!(!provider.abilities().revocable && provider.abilities().local);
    let refused = asking(json!({"principals": ["root"]})).revoke(&*provider, None).await;
    assert!(matches!(refused, Err(ProviderError::Unsupported(_))));
    let checks = provider.check().await;
    let line = fs::read_to_string(key.with_extension("pub")).unwrap();
    assert!(checks[0].what.contains(line.split(' ').nth(1).unwrap()), "{checks:?}");
    assert!(checks[1].is_warning);
}
