//! The operator's program: what it is given, what is made of its answers, and what happens when it misbehaves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use claviger_broker::provider::{Provider, ProviderError};
use claviger_broker::secret::{self, Secret};
use claviger_broker::testing;
use serde_json::{Value, json};

use crate::ground::{Asking, build, field};
use crate::servers::is_installed;

/// A folder with a program, and the provider that runs it.
struct Ground {
    folder: tempfile::TempDir,
    provider: Arc<dyn Provider>,
}

fn ground(script: &str, settings: Value) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    let script = script.replace("@", &folder.path().display().to_string());
    let first = if script.starts_with("import") { "#!/usr/bin/env python3\n" } else { "#!/bin/sh\n" };
    fs::write(&path, format!("{first}{script}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut value = json!({"program": path, "timeout": "10s", "operations": ["issue", "renew", "revoke", "list", "check"]});
    value.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    Ground { provider: build("exec", &value).unwrap(), folder }
}

impl Ground {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Whether the process whose number the program left in this file is gone.
    fn is_gone(&self, name: &str) -> bool {
        let number = self.read(name);
        assert!(!number.trim().is_empty(), "the program left its number in {name}");
        let give_up = Instant::now() + Duration::from_secs(3);
        while Path::new("/proc").join(number.trim()).exists() {
            // One that its parent has left is reaped by the system's first process in its own time.
            let status =
                fs::read_to_string(Path::new("/proc").join(number.trim()).join("stat")).unwrap_or_default();
            if status.contains(") Z ") {
                return true;
            }
            if Instant::now() > give_up {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

fn asking() -> Asking {
    let identity = testing::identity(json!({"sub": "repo:a/b", "repository_id": "7"}));
    Asking::new(identity, json!({"project": "p"}))
}

/// A secret that is not in any file, and does not look random.
fn word() -> String {
    let bytes: [u8; 9] = secret::random();
    bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

async fn issue(ground: &Ground) -> Result<claviger_broker::provider::Issued, ProviderError> {
    asking().issue(&*ground.provider).await
}

async fn refusal(script: &str, settings: Value) -> ProviderError {
    let ground = ground(script, settings);
    match issue(&ground).await {
        Err(e) => e,
        Ok(issued) => panic!("issued {issued:?} by {script}"),
    }
}

const SERVICE: &str = r#"import json, os, sys
call = json.load(sys.stdin)
assert call["version"] == 1
store = "@/store"
try:
    users = json.load(open(store))
except FileNotFoundError:
    users = {}
answer = {"version": 1}
if call["operation"] == "issue":
    assert call["parameters"] == {"project": "p"} and call["identity"]["claims"]["repository_id"] == "7", call
    assert call["secrets"]["key"] == call["input"]["key"] and call["target_token"] == "t" and call["ttl_s"] == 900
    users[call["name"]] = call["expires"]
    answer["fields"] = [{"name": "username", "value": call["name"], "secret": False}, {"name": "password", "value": "pw-" + call["lease"]}]
    answer["expires"] = call["expires"]
    answer["reference"] = "r-" + call["lease"]
elif call["operation"] == "renew":
    assert call["reference"] == "r-" + call["lease"]
    users[call["name"]] = answer["expires"] = call["until"]
elif call["operation"] == "revoke":
    if users.pop(call["name"], None) is None:
        answer["error"] = {"class": "gone", "message": "no such user"}
elif call["operation"] == "list":
    answer["names"] = sorted(users)
else:
    answer["checks"] = [{"what": "may create"}, {"what": "quota", "problem": "nearly full", "warning": True}]
json.dump(users, open(store, "w"))
json.dump(answer, sys.stdout)
"#;

#[tokio::test]
async fn a_credential_lives_and_ends() {
    if !is_installed("python3") {
        return;
    }
    let key = word();
    let ground = ground(
        SERVICE,
        json!({"secrets": {"key": {"value": key}}, "env": {"PATH": std::env::var("PATH").unwrap()}}),
    );
    let provider = &*ground.provider;
    let mut ask = asking().with("key", key.as_str());
    ask.target_token = Some(Secret::text("t".into()));
    let issued = ask.issue(provider).await.unwrap();
    assert_eq!(field(&issued, "username"), ask.lease.object_name());
    assert_eq!(field(&issued, "password"), format!("pw-{}", ask.lease));
    let secret: Vec<_> =
        issued.credential.fields.iter().map(|field| (field.name.as_ref(), field.is_secret)).collect();
    assert_eq!(secret, [("username", false), ("password", true)]);
    assert_eq!(provider.list().await.unwrap(), [ask.lease.object_name()]);

    let name = ask.lease.object_name();
    let held = ask.held(&name, issued.reference.as_ref());
    let until = held.expires + jiff::SignedDuration::from_mins(5);
    assert_eq!(provider.renew(&held, until).await.unwrap(), until);
    ask.revoke(provider, issued.reference.as_ref()).await.unwrap();
    ask.revoke(provider, issued.reference.as_ref()).await.expect("what is gone is revoked");
    assert!(provider.list().await.unwrap().is_empty());

    let checks = provider.check().await;
    assert_eq!(checks.len(), 3, "{checks:?}");
    assert!(checks[2].is_warning && checks[2].problem.as_deref() == Some("nearly full"));
}

const GOOD: &str = r#"{"version":1,"fields":[{"name":"password","value":"x"}]}"#;

#[tokio::test]
async fn the_environment_is_what_is_listed_and_nothing_secret_is_in_argv() {
    let key = word();
    let settings = json!({"args": ["--fast"], "env": {"A": "b", "KEY": {"value": key}}});
    let ground = ground(
        &format!("cat /proc/$$/environ > @/env; cat /proc/$$/cmdline > @/argv; pwd > @/cwd; echo '{GOOD}'"),
        settings,
    );
    issue(&ground).await.unwrap();
    let env = ground.read("env");
    let mut names: Vec<_> = env.split('\0').filter_map(|pair| pair.split_once('=')).collect();
    names.sort_unstable();
    assert_eq!(names, [("A", "b"), ("KEY", &key), ("PATH", "/usr/local/bin:/usr/bin:/bin")]);
    let argv = ground.read("argv");
    let argv: Vec<_> = argv.split('\0').filter(|arg| !arg.is_empty()).collect();
    assert_eq!(argv, ["/bin/sh", &ground.file("program").display().to_string(), "--fast"]);
    assert_eq!(ground.read("cwd"), "/\n");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_it_started() {
    let ground =
        ground("echo $$ > @/leader; sleep 60 & echo $! > @/child; sleep 60", json!({"timeout": "1s"}));
    let start = Instant::now();
    let refused = issue(&ground).await.unwrap_err();
    assert!(
        matches!(&refused, ProviderError::Ambiguous(text) if text.contains("did not end within 1 s")),
        "{refused}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(ground.is_gone("leader") && ground.is_gone("child"));
    assert!(
        matches!(ground.provider.list().await, Err(ProviderError::Transient(_))),
        "a list changes nothing"
    );
}

#[tokio::test]
async fn a_program_that_ignores_signals_is_killed_too() {
    let ground = ground(
        "trap '' TERM INT HUP; echo $$ > @/leader; while :; do sleep 1; done",
        json!({"timeout": "1s"}),
    );
    assert!(issue(&ground).await.is_err());
    assert!(ground.is_gone("leader"));
}

#[tokio::test]
async fn floods_are_cut() {
    for script in [
        "echo $$ > @/leader; yes",
        "echo $$ > @/leader; yes >&2",
        "echo $$ > @/leader; head -c 70000 /dev/zero",
    ] {
        let ground = ground(script, json!({}));
        let start = Instant::now();
        let refused = issue(&ground).await.unwrap_err();
        assert!(
            matches!(&refused, ProviderError::Ambiguous(text) if text.contains("too much")),
            "{script}: {refused}"
        );
        assert!(start.elapsed() < Duration::from_secs(8) && refused.to_string().len() < 1000);
        assert!(ground.is_gone("leader"), "{script}");
    }
}

#[tokio::test]
async fn answers_that_are_none_leave_the_end_unclear() {
    let value = word();
    for script in [
        "true".to_owned(),
        "echo hello".into(),
        format!("printf '%s' '{{\"version\":1,\"fields\":[{{\"name\":\"password\",\"value\":\"{value}\"'"),
        format!("echo '{GOOD}{GOOD}'"),
        r#"echo '{"version":2,"fields":[{"name":"p","value":"x"}]}'"#.into(),
        r#"echo '{"version":1}'"#.into(),
        r#"echo '{"version":1,"fields":[{"name":"P W","value":"x"}]}'"#.into(),
        r#"echo '{"version":1,"fields":[{"name":"p","value":""}]}'"#.into(),
        r#"echo '{"version":1,"fields":[{"name":"p","value":"x"},{"name":"p","value":"y"}]}'"#.into(),
        r#"echo '{"version":1,"fields":[{"name":"p","value":"x"}],"expiry":"2030-01-01T00:00:00Z"}'"#.into(),
        r#"echo '{"version":1,"fields":[{"name":"p","value":"x"}],"expires":"soon"}'"#.into(),
        r#"echo '{"version":1,"fields":[{"name":"p","value":"x"}],"expires":"2001-01-01T00:00:00Z"}'"#.into(),
        format!("echo '{GOOD}'; exit 1"),
        format!("echo '{GOOD}'; kill -9 $$"),
    ] {
        let refused = refusal(&script, json!({})).await;
        assert!(matches!(refused, ProviderError::Ambiguous(_)), "{script}: {refused:?}");
        assert!(!refused.to_string().contains(&value), "{refused}");
    }
}

#[tokio::test]
async fn an_end_is_never_later_than_asked() {
    let ground = ground(
        r#"echo '{"version":1,"fields":[{"name":"p","value":"x"}],"expires":"2999-01-01T00:00:00Z"}'"#,
        json!({}),
    );
    let ask = asking();
    let issued = ask.issue(&*ground.provider).await.unwrap();
    assert_eq!(issued.expires, ask.ttl.after(ask.now));
}

#[tokio::test]
async fn statuses_and_answers_name_their_class() {
    let classes = [
        (2, "denied"),
        (3, "misconfigured"),
        (4, "transient"),
        (5, "ambiguous"),
        (6, "unsupported"),
        (7, "denied"),
        (1, "ambiguous"),
        (127, "ambiguous"),
    ];
    for (status, class) in classes {
        assert_eq!(refusal(&format!("exit {status}"), json!({})).await.class(), class, "{status}");
    }
    for class in ["denied", "misconfigured", "transient", "ambiguous", "unsupported"] {
        for end in ["", "; exit 1"] {
            let script = format!(
                "echo '{{\"version\":1,\"error\":{{\"class\":\"{class}\",\"message\":\"quota of 5 used up\"}}}}'{end}"
            );
            let refused = refusal(&script, json!({})).await;
            assert_eq!(refused.class(), class);
            assert!(refused.to_string().contains("quota of 5 used up"), "{refused}");
        }
    }
    let gone = ground("exit 7", json!({}));
    asking().revoke(&*gone.provider, None).await.expect("what is gone is revoked");
    let unclear = ground("exit 1", json!({}));
    assert!(asking().revoke(&*unclear.provider, None).await.unwrap_err().is_passing());
}

/// GHSA-444v-8vxr-p36h: a rendered secret was printed when a command failed.
#[tokio::test]
async fn no_secret_reaches_an_error() {
    let (made, own, input) = (word(), word(), word());
    let answer = format!("{{\"version\":1,\"fields\":[{{\"name\":\"password\",\"value\":\"{made}\"}}]}}");
    let random = hex::encode(secret::random::<12>());
    for script in [
        format!("echo '{answer}'; echo 'cannot set {made} for x' >&2; exit 1"),
        format!("printf '%s' '{}'; echo 'cannot set {made} for x' >&2", &answer[..answer.len() - 3]),
        format!("echo '{answer}'; echo 'cannot set {made} for x' >&2; kill -9 $$"),
        format!("echo 'cannot log in with '$OWN >&2; echo '{made}' ; exit 3"),
        format!("set -x; P={random}; echo x >&2; exit 1"),
        "read line; echo \"$line\" >&2; exit 1".to_owned(),
        format!(
            "echo '{{\"version\":1,\"fields\":[{{\"name\":\"p\",\"value\":\"{made}\"}}],\"error\":{{\"class\":\"denied\",\"message\":\"not {made} and not '$OWN'\"}}}}'"
        ),
        format!(
            "head -c 5000 /dev/zero | tr '\\0' 'y' >&2; echo '{made}' >&2; echo 'bad: {made}' >&2; echo '{answer}'; exit 1"
        ),
    ] {
        let ground =
            ground(&script, json!({"env": {"OWN": {"value": own}}, "secrets": {"k": {"value": input}}}));
        let refused = issue(&ground).await.unwrap_err().to_string();
        for secret in [&made, &own, &input, &random] {
            assert!(!refused.contains(secret.as_str()), "{script}: {refused}");
        }
    }
    let shown =
        refusal("echo 'registry.example: connection refused' >&2; exit 4", json!({})).await.to_string();
    assert!(shown.contains("registry.example: connection refused"), "{shown}");
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_the_answer() {
    let left = ground(&format!("sleep 60 & echo $! > @/child; echo '{GOOD}'"), json!({}));
    let start = Instant::now();
    issue(&left).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3) && left.is_gone("child"));

    if is_installed("setsid") {
        // One that left the group keeps the pipe open; the answer is taken all the same.
        let escaped = ground(
            &format!("setsid sh -c 'echo $$ > @/child; sleep 8' & echo '{GOOD}'; sleep 0.3"),
            json!({}),
        );
        let start = Instant::now();
        issue(&escaped).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_program_need_not_read() {
    let ground = ground(&format!("exec 0<&-; echo '{GOOD}'"), json!({}));
    let ask = asking().with("big", "x".repeat(1 << 20));
    ask.issue(&*ground.provider).await.unwrap();
}

#[tokio::test]
async fn a_run_goes_on_when_its_caller_has_gone() {
    let ground =
        ground(&format!("echo $$ > @/leader; sleep 0.5; echo done > @/done; echo '{GOOD}'"), json!({}));
    let gone = tokio::time::timeout(Duration::from_millis(200), issue(&ground)).await;
    assert!(gone.is_err());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ground.read("done"), "done\n");
    assert!(ground.is_gone("leader"));
}

#[tokio::test]
async fn runs_wait_for_one_another() {
    let ground = ground(
        &format!("mkdir @/busy || exit 3; sleep 0.2; rmdir @/busy; echo '{GOOD}'"),
        json!({"runs": 1}),
    );
    let (one, two, three) = tokio::join!(issue(&ground), issue(&ground), issue(&ground));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
}

#[tokio::test]
async fn programs_that_others_can_change_are_not_run() {
    let ground = ground(&format!("touch @/ran; echo '{GOOD}'"), json!({}));
    fs::set_permissions(ground.file("program"), fs::Permissions::from_mode(0o757)).unwrap();
    let refused = issue(&ground).await.unwrap_err();
    assert!(
        matches!(&refused, ProviderError::Misconfigured(text) if text.contains("writable by others")),
        "{refused}"
    );
    assert!(!ground.file("ran").exists());
    assert!(ground.provider.check().await[0].problem.is_some());
}

#[tokio::test]
async fn what_it_cannot_do_is_not_asked_of_it() {
    let ground = ground("touch @/ran", json!({"operations": ["issue"]}));
    let abilities = ground.provider.abilities();
    assert!(!abilities.revocable && !abilities.renewable && !abilities.listable && !abilities.local);
    let unsupported =
        |result: Result<(), ProviderError>| matches!(result, Err(ProviderError::Unsupported(_)));
    assert!(unsupported(asking().revoke(&*ground.provider, None).await));
    assert!(unsupported(ground.provider.list().await.map(drop)));
    assert!(!ground.file("ran").exists());
    assert!(
        ground
            .provider
            .check()
            .await
            .iter()
            .any(|check| check.what.contains("credentials end") && !check.is_warning)
    );
}

#[test]
fn settings_are_strict() {
    let at = |value: Value| build("exec", &value).err().map(|e| e.at);
    for (settings, place) in [
        (json!({"program": "relative"}), "program"),
        (json!({"program": "/p", "args": ["a\u{0}"]}), "args"),
        (json!({"program": "/p", "env": {"A=B": "c"}}), "env.A=B"),
        (json!({"program": "/p", "env": {"A": 1}}), "env.A"),
        (json!({"program": "/p", "env": {"A": {"file": "/nonexistent"}}}), "env.A"),
        (json!({"program": "/p", "secrets": {"k": {"file": "/nonexistent"}}}), "secrets.k"),
        (json!({"program": "/p", "operations": ["revoke"]}), "operations"),
        (json!({"program": "/p", "operations": ["issue", "rotate"]}), "operations[1]"),
        (json!({"program": "/p", "timeout": "6m"}), "timeout"),
        (json!({"program": "/p", "runs": 0}), "runs"),
        (json!({"program": "/p", "leaves_nothing": true}), "leaves_nothing"),
        (json!({"program": "/p", "min_ttl": "2h", "max_ttl": "1h"}), "min_ttl"),
        (json!({"program": "/p", "shell": true}), "shell"),
    ] {
        assert_eq!(at(settings.clone()).as_deref(), Some(place), "{settings}");
    }
    assert_eq!(at(json!({"program": "/p"})), None);
}
