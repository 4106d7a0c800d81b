//! `claviger policy explain`: which roles, and why not.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use claviger_broker::claims::Claims;
use claviger_broker::config::document::Document;
use claviger_broker::identity::token::{MAX_TOKEN, Unverified};
use claviger_broker::policy::Context;
use claviger_broker::policy::explain::{Decision, Explanation, Step, Supposed};
use claviger_scanner::path::printable;
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::load;
use crate::args_broker::{PolicyExplain, TextOrJson};
use crate::commands::print;
use crate::{Outcome, config};

/// Largest file of claims, in bytes.
const MAX_CLAIMS: u64 = 256 << 10;

/// What is said of every token, in every format.
const UNVERIFIED: &str = "not verified: signature, keys and times are the broker's to check";

pub(super) fn run(args: &PolicyExplain) -> anyhow::Result<Outcome> {
    let config = load(&args.config.config)?;
    let claims = match (&args.token, &args.claims) {
        (Some(path), _) => token(path)?,
        (None, Some(path)) => claims(path)?,
        (None, None) => bail!("name a file with --token or --claims"),
    };
    let supposed = config.suppose(claims, args.issuer.as_deref())?;
    let now = Timestamp::now();
    let context = Context { address: args.address, now };
    let objections = config.objections(&supposed, now);
    let explained = match &args.role {
        Some(role) => vec![config.explain(&supposed, role, &context)],
        None => config.explain_all(&supposed, &context),
    };
    let is_open = objections.is_empty() && explained.iter().any(Explanation::is_allowed);
    let text = match args.format {
        TextOrJson::Json => {
            let all = json!({
                "issuer": supposed.issuer,
                "verified": false,
                "policy": config.digest(),
                "objections": objections,
                "roles": explained,
            });
            format!("{all:#}\n")
        }
        TextOrJson::Text => text(&supposed, &objections, &explained, args.token.is_some()),
    };
    print(&text)?;
    Ok(if is_open { Outcome::Clean } else { Outcome::Findings })
}

/// Reads a file or standard input.
fn read(path: &Path, most: u64) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let name = || path.display().to_string();
    if path != Path::new("-") {
        return config::read_file(path, most).map(Zeroizing::new).with_context(name);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin().take(most + 1).read_to_end(&mut bytes).context("standard input")?;
    ensure!(bytes.len() as u64 <= most, "standard input: larger than {most} bytes");
    Ok(bytes)
}

fn token(path: &Path) -> anyhow::Result<Claims> {
    // A path that looks like a token is one, and is not repeated.
    let typed = path.to_string_lossy();
    ensure!(
        path.exists() || path == Path::new("-") || typed.matches('.').count() != 2 || typed.len() < 100,
        "--token takes a file with the token, not the token: what is typed there stands in the process list"
    );
    let bytes = read(path, 2 * MAX_TOKEN as u64)?;
    let unverified =
        Unverified::parse(bytes.trim_ascii()).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    Ok(unverified.unverified_claims().clone())
}

fn claims(path: &Path) -> anyhow::Result<Claims> {
    let bytes = read(path, MAX_CLAIMS)?;
    let text = String::from_utf8(bytes.to_vec()).with_context(|| format!("{}: not UTF-8", path.display()))?;
    // JSON is YAML, and people keep claims beside their policy.
    let name = path.display().to_string();
    let document = Document::parse(&name, text).map_err(|e| anyhow::anyhow!("{e}"))?;
    Claims::parse(document.value().to_string().as_bytes()).with_context(|| name)
}

fn text(supposed: &Supposed, objections: &[Step], explained: &[Explanation], is_token: bool) -> String {
    let mut text = String::new();
    let what = if is_token { "token" } else { "claims" };
    let _ = writeln!(text, "{what} of issuer `{}`, {UNVERIFIED}", supposed.issuer);
    if !objections.is_empty() {
        text.push_str("\nREFUSED for every role: the broker would not accept such a token\n");
        objections.iter().for_each(|step| row(step, &mut text));
    }
    for it in explained {
        text.push('\n');
        one(it, &mut text);
    }
    if explained.is_empty() {
        text.push_str("\nno role is open to it, and none is bound to what it names\n");
    }
    text
}

fn one(it: &Explanation, text: &mut String) {
    let place = it.place.as_ref().map_or(String::new(), |place| format!(" ({place})"));
    let word = if it.is_allowed() { "ALLOWED" } else { "REFUSED" };
    let _ = writeln!(text, "{word}  role {}{}", printable(it.role.as_bytes()), printable(place.as_bytes()));
    it.steps.iter().for_each(|step| row(step, text));
    match &it.decision {
        Decision::Allowed { provider, environment, parameters, ttl, max_ttl, single_use } => {
            let once = if *single_use { ", once a run" } else { "" };
            let line = format!(
                "  grants {provider} in {environment} for {ttl}, {max_ttl} in all{once}: {parameters}"
            );
            let _ = writeln!(text, "{}", printable(line.as_bytes()));
        }
        Decision::Refused { answer, .. } => {
            if let Some(similar) = &it.similar {
                let _ = writeln!(text, "  there is no such role; did you mean `{similar}`?");
            }
            let _ = writeln!(text, "  the caller hears: {}", printable(answer.message.as_bytes()));
        }
    }
}

fn row(step: &Step, text: &mut String) {
    let mark = if step.holds { "+" } else { "-" };
    let seen = step.seen.as_deref().unwrap_or("missing");
    let line = if step.holds {
        format!("  {mark} {:<22} {seen}", step.claim)
    } else {
        format!("  {mark} {:<22} {seen}; wanted {}", step.claim, step.wanted)
    };
    let _ = writeln!(text, "{}", printable(line.trim_end().as_bytes()));
}
