//! `claviger audit witness ...`: cosigning the heads of others' logs, and having one's own cosigned.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use claviger_audit::clock::SystemClock;
use claviger_audit::files::Directory;
use claviger_audit::note::{KeyKind, SigningKey, is_key_name};
use claviger_audit::witness::{Cosigners, Policy, Transport, Witness, Witnesses};

use super::http::{Answer, Server};
use super::init::create_dir;
use super::place::directory;
use super::{key, keys, open, read_small};
use crate::Outcome;
use crate::args_audit::{WitnessArgs, WitnessInit, WitnessServe, WitnessSubmit, WitnessVerb};
use crate::commands::net::Net;
use crate::commands::print;

/// A witness must have answered after this time: publication waits for it.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes: sixteen signature lines are shorter.
const MOST_ANSWER: usize = 64 * 1024;
/// Longest request that a witness reads, in bytes.
const MOST_REQUEST: usize = 64 * 1024;

pub(super) fn run(args: &WitnessArgs) -> anyhow::Result<Outcome> {
    match &args.verb {
        WitnessVerb::Init(init) => run_init(init),
        WitnessVerb::Serve(serve) => run_serve(serve),
        WitnessVerb::Submit(submit) => run_submit(submit),
    }
}

fn run_init(args: &WitnessInit) -> anyhow::Result<Outcome> {
    let name = args.name.as_str();
    ensure!(
        is_key_name(name) && !name.contains("://") && !name.ends_with('/'),
        "--name: a URL without scheme, of one word, as in witness.example.com/w1"
    );
    create_dir(&args.dir)?;
    let path = key::own_file(&args.dir)?;
    let key = SigningKey::generate(name, KeyKind::Cosignature)?;
    key::write_keys(&path, &[&key])?;
    let public = key::beside(&args.dir, "vkey")?;
    key::write_public(&public, &[&key])?;
    print(&format!(
        "private key  {} (new; a witness has one place: two that share a key are none)\npublic key   {}\n             {}\n",
        path.display(),
        public.display(),
        key.verifying_key()
    ))?;
    Ok(Outcome::Clean)
}

fn run_serve(args: &WitnessServe) -> anyhow::Result<Outcome> {
    let logs = keys(&args.log).context("--log")?;
    ensure!(
        logs.iter().all(|key| key.kind() == KeyKind::Ed25519),
        "--log: one of the keys is a witness's, not a log's"
    );
    directory(&args.dir)?;
    let key = key::only_key(&args.dir, args.signing_key.as_deref())?;
    let files = Arc::new(Directory::new(&args.dir));
    let witness = Witness::open(files, key, logs, Arc::new(SystemClock))
        .with_context(|| args.dir.display().to_string())?;
    let server = Server { listen: args.listen, how: &args.how, most: MOST_REQUEST, path: "" };
    server.run(move |request| {
        let reply = match (request.method, request.path) {
            ("POST", "/add-checkpoint") => witness.add_checkpoint(request.body),
            ("GET" | "HEAD", path) => witness.get(path.trim_start_matches('/')),
            _ => return Answer::wrong_method("GET, HEAD, POST"),
        };
        Answer { content_type: reply.content_type, ..Answer::text(reply.status, &reply.body) }
    })?;
    Ok(Outcome::Clean)
}

fn run_submit(args: &WitnessSubmit) -> anyhow::Result<Outcome> {
    let reader = open(&args.dir, &args.trust)?;
    let mut head = reader.head().clone();
    let lines = cosigners(&args.policy)?.cosign(&head, &|old| reader.consistency(old))?;
    head.add_signatures(lines);
    match &args.output {
        Some(path) => fs::write(path, head.to_string()).with_context(|| format!("{}", path.display()))?,
        None => print(&head.to_string())?,
    }
    Ok(Outcome::Clean)
}

/// The policy in a file.
pub(super) fn policy(path: &Path) -> anyhow::Result<Policy> {
    Policy::parse(&read_small(path).context("--policy")?).with_context(|| format!("{}", path.display()))
}

/// The witnesses that a policy names, to be asked over HTTP.
pub(super) fn cosigners(path: &Path) -> anyhow::Result<Box<dyn Cosigners>> {
    let policy = policy(path)?;
    for (key, url) in policy.witnesses() {
        let url = url.map(reqwest::Url::parse).transpose();
        let known = url.with_context(|| format!("{}: witness {}", path.display(), key.name()))?;
        ensure!(
            known.is_none_or(|url| matches!(url.scheme(), "http" | "https")),
            "{}: witness {}: its URL is not http(s)",
            path.display(),
            key.name()
        );
    }
    Ok(Box::new(Witnesses::new(policy, Post(Net::new(ANSWER_TIME, false)?))))
}

struct Post(Net);

impl Transport for Post {
    fn add_checkpoint(&self, prefix: &str, body: &str) -> Result<(u16, String), String> {
        let request = self.0.client().post(format!("{prefix}/add-checkpoint")).body(body.to_owned());
        let answer = self.0.ask(request, MOST_ANSWER).map_err(|e| format!("{e:#}"))?;
        let body = String::from_utf8(answer.body).map_err(|_| "the answer is not text".to_owned())?;
        Ok((answer.status.as_u16(), body))
    }
}
