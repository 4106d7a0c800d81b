//! Looks whether the broker's account has what it needs at a node, and no more.

use redis::{Cmd, Value};

use super::acl;
use super::node::{Failure, Node, member, text, texts};
use crate::provider::Check;
use crate::provider::database::server::Security;

/// Commands that the broker runs, as access lists name them.
const NEEDED: [&str; 6] =
    ["acl|setuser", "acl|deluser", "acl|getuser", "acl|users", "acl|save", "client|kill"];

/// Looks at one node.
pub(super) async fn look(node: &Node) -> Vec<Check> {
    let name = node.name();
    // What is held now may have been made before somebody changed the server.
    node.forget().await;
    match account(node).await {
        Ok(checks) => checks
            .into_iter()
            .map(|check| Check { what: format!("{name} {}", check.what), ..check })
            .collect(),
        Err(failure) => {
            vec![Check::bad(format!("{name} connects"), failure.classify("connecting").to_string())]
        }
    }
}

async fn account(node: &Node) -> Result<Vec<Check>, Failure> {
    let me = node.server.user.clone();
    let mut commands = vec![acl(&["GETUSER", &me]), acl(&["SAVE"])];
    commands.extend(NEEDED.iter().map(|needed| dry_run(&me, needed)));
    let mut answers = node.run(&commands).await?.into_iter();
    let mut checks = vec![Check::good("connects, and its default user is closed")];
    if let Some(Ok(own)) = answers.next() {
        checks.push(no_more(&own, &me));
    }
    let saved = answers.next().map(|answer| node.saved(answer));
    for (needed, answer) in NEEDED.into_iter().zip(answers) {
        checks.push(may(needed, answer.ok().as_ref(), &me));
    }
    checks.push(match (saved, node.may_save()) {
        (Some(Ok(())), true) => Check::good("keeps its users in a file, and saved them"),
        (Some(Ok(())), false) => Check::good(
            "keeps its users in no file: a restart ends them, unless `CONFIG REWRITE` was run meanwhile",
        ),
        (Some(Err(failure)), _) => Check::bad("saves its users", failure.classify("saving").to_string()),
        (None, _) => Check::bad("saves its users", "no answer"),
    });
    checks.push(match &node.server.security {
        Security::Verified { .. } => Check::good("speaks TLS"),
        Security::Plaintext if node.server.is_near() => Check::good("is on this machine, not encrypted"),
        Security::Plaintext => {
            Check::warn("speaks TLS", "`tls.mode` says plaintext: anybody on the way reads along")
        }
    });
    Ok(checks)
}

/// Asks whether the account may run a command, without running it. From Redis 7 on.
fn dry_run(me: &str, command: &str) -> Cmd {
    let mut ask = acl(&["DRYRUN", me]);
    ask.arg(command.split('|').collect::<Vec<_>>());
    // The server wants as many arguments as the command takes.
    match command {
        "acl|setuser" | "acl|deluser" | "acl|getuser" => ask.arg("clv_x"),
        "client|kill" => ask.arg("USER").arg("clv_x"),
        _ => &mut ask,
    };
    ask
}

fn may(needed: &str, answer: Option<&Value>, me: &str) -> Check {
    let what = format!("may run {}", needed.replace('|', " ").to_uppercase());
    let fix = format!("run: ACL SETUSER {me} +{needed}");
    match answer.and_then(text) {
        Some(word) if word == "OK" => Check::good(what),
        Some(_) => Check::bad(what, fix),
        None => Check::warn(
            what,
            format!("not known: the account may not ask; run: ACL SETUSER {me} +acl|dryrun"),
        ),
    }
}

fn no_more(own: &Value, me: &str) -> Check {
    let what = "has no more rights than it needs";
    let commands = member(own, "commands").and_then(text).unwrap_or_default();
    let keys = member(own, "keys")
        .map(|keys| text(keys).unwrap_or_else(|| texts(keys).join(" ")))
        .unwrap_or_default();
    if commands.split(' ').any(|rule| rule == "+@all") {
        Check::warn(what, "it may run everything; begin its rules with -@all")
    } else if !keys.is_empty() {
        Check::warn(what, format!("it needs no keys; run: ACL SETUSER {me} resetkeys"))
    } else {
        Check::good(what)
    }
}
