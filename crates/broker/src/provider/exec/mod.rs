//! Credentials that an operator's own program makes: for everything that has no provider here.
//!
//! The program is run once for each operation, with one JSON object on its standard input, and answers by one on its
//! standard output ([`contract`]; for its authors: `docs/exec-provider.md`). It gets no shell, no arguments but those
//! of the configuration, no environment but what is listed there, a process group of its own that is killed with it, a
//! time limit, and a limit on what it may say. It must be a file that only root or the broker's user can change.
//!
//! Secrets reach it by its environment or its standard input, never by arguments, which every user of a machine can
//! see. What it says on standard error is shown to operators when it fails, without anything that is known or looks to
//! be secret ([`words`]).

mod contract;
mod program;
mod settings;
mod words;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use self::contract::{Answer, Call, Class, Operation, Who};
use self::program::{End, Finished, NotRun, Program, trusted};
use super::{
    Abilities, Check, Credential, Held, Issued, Kind, Notes, Provider, ProviderError, Request, SettingsError,
};
use crate::secret::Secret;

/// The most bytes of an answer.
const MAX_ANSWER: usize = 64 << 10;
/// The most bytes of a list of names.
const MAX_LIST: usize = 4 << 20;
/// The most characters of the program's own words in an error.
const MAX_WORDS: usize = 400;
/// The most bytes of a role's parameters.
const MAX_PARAMETERS: usize = 16 << 10;
const MAX_FIELDS: usize = 64;

/// An operator's program.
pub(crate) static KIND: Kind = Kind {
    name: "exec",
    about: "whatever an operator's own program issues",
    variables: &[],
    example: "program: /usr/local/lib/claviger/registry-tokens\nenv:\n  REGISTRY: https://registry.example.org\n  \
              REGISTRY_TOKEN: {file: /etc/claviger/registry-token}\noperations: [issue, revoke, list, check]\n\
              timeout: 20s\n",
    parameters: "project: example\naccess: push\n",
    build: |settings| Ok(Arc::new(settings::build(settings)?)),
};

struct Exec {
    program: Program,
    /// What it reads as `secrets`.
    secrets: BTreeMap<String, Secret>,
    operations: Vec<Operation>,
    expires_itself: bool,
    leaves_nothing: bool,
    ttl: (u32, u32),
}

impl Exec {
    fn can(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// Runs the program for a call. `None` if what it should have ended was gone.
    async fn ask(&self, call: &Call<'_>) -> Result<Option<Answer>, ProviderError> {
        let operation = call.operation;
        if !self.can(operation) {
            let text = format!("the program does not {}", operation.as_str());
            return Err(ProviderError::Unsupported(text));
        }
        let input = call
            .encode()
            .map_err(|_| ProviderError::Misconfigured("a secret for the program is not text".into()))?;
        let max = if operation == Operation::List { MAX_LIST } else { MAX_ANSWER };
        let finished = self.program.run(input, max).await.map_err(|e| match e {
            NotRun::Unfit(what) => ProviderError::Misconfigured(what),
            NotRun::Busy(what) => ProviderError::Transient(what),
        })?;
        self.judge(call, &finished)
    }

    /// What a run amounts to.
    fn judge(&self, call: &Call<'_>, finished: &Finished) -> Result<Option<Answer>, ProviderError> {
        let operation = call.operation;
        let said = |what: &str, words: &str| {
            let colon = if words.is_empty() { "" } else { ": " };
            format!("the program {what} at `{}`{colon}{words}", operation.as_str())
        };
        // Nobody knows how far it came. What changes nothing may as well be tried again.
        let unclear = |text: String| match operation.changes() {
            true => Err(ProviderError::Ambiguous(text)),
            false => Err(ProviderError::Transient(text)),
        };
        let parsed = Answer::parse(&finished.out);
        let words = self.words(call, finished, parsed.as_ref().ok());
        let code = match finished.end {
            End::Exited(code) => code,
            End::TimedOut => {
                let limit = self.program.limit.as_secs();
                return unclear(said(&format!("did not end within {limit} s and was killed"), &words));
            }
            End::Flooded => return unclear(said("said too much and was killed", &words)),
            End::Signal(signal) => return unclear(said(&format!("was ended by signal {signal}"), &words)),
        };
        match parsed {
            Ok(ref answer @ Answer { error: Some(ref error), .. }) => {
                let message = self.clean(error.message.as_bytes(), call, finished, Some(answer));
                fail(operation, error.class, said("failed", &message))
            }
            Ok(answer) if code == 0 => Ok(Some(answer)),
            Err(what) if code == 0 => unclear(said(&what, &words)),
            _ => {
                let text = said(&format!("ended with status {code}"), &words);
                match Class::of_status(code) {
                    Some(class) => fail(operation, class, text),
                    None => unclear(text),
                }
            }
        }
    }

    /// The program's complaints, fit to be shown.
    fn words(&self, call: &Call<'_>, finished: &Finished, answer: Option<&Answer>) -> String {
        self.clean(&finished.complaints, call, finished, answer)
    }

    fn clean(&self, said: &[u8], call: &Call<'_>, finished: &Finished, answer: Option<&Answer>) -> String {
        let mut secrets: Vec<&[u8]> = self.program.env.iter().map(|(_, value)| value.expose()).collect();
        secrets.extend(self.secrets.values().map(Secret::expose));
        secrets.extend(call.target_token.iter().chain(&call.reference).map(|secret| secret.expose()));
        match answer {
            Some(answer) => secrets.extend(answer.secrets()),
            // No answer, and yet perhaps a credential: every word of it counts as one.
            None => secrets.extend(
                finished
                    .out
                    .split(|byte| byte.is_ascii_whitespace() || b"\"',:{}[]".contains(byte))
                    .filter(|word| word.len() >= 6),
            ),
        }
        let lease = call.lease.as_deref().unwrap_or_default();
        words::clean(said, &secrets, &[call.name.unwrap_or_default(), lease], MAX_WORDS)
    }

    fn credential(answer: Answer) -> Result<(Credential, Option<Secret>), String> {
        if answer.fields.is_empty() || answer.fields.len() > MAX_FIELDS {
            return Err(format!("gave no fields, or more than {MAX_FIELDS}"));
        }
        let mut names = HashSet::new();
        let mut credential = Credential::default();
        for field in answer.fields {
            if !is_field_name(&field.name) || !names.insert(field.name.clone()) {
                return Err("gave a field twice, or one whose name is not of a-z, 0-9 and `_`".into());
            }
            if field.value.is_empty() {
                return Err(format!("gave nothing as `{}`", field.name));
            }
            credential = match field.secret {
                true => credential.secret(field.name, field.value),
                false => credential.public(field.name, field.value.expose_text().unwrap_or_default()),
            };
        }
        Ok((credential, answer.reference))
    }
}

fn is_field_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A failure that the program named.
fn fail(operation: Operation, class: Class, text: String) -> Result<Option<Answer>, ProviderError> {
    Err(match class {
        Class::Gone if operation == Operation::Revoke => return Ok(None),
        // What is to be made or prolonged and is gone was ended by somebody.
        Class::Gone | Class::Denied => ProviderError::Denied(text),
        Class::Misconfigured => ProviderError::Misconfigured(text),
        Class::Transient => ProviderError::Transient(text),
        Class::Ambiguous => ProviderError::Ambiguous(text),
        Class::Unsupported => ProviderError::Unsupported(text),
    })
}

/// The end that a program gave; `asked` if it gave none, and never later than that.
fn end(answer: Option<&str>, asked: Timestamp, now: Timestamp) -> Result<Timestamp, ProviderError> {
    let Some(text) = answer else { return Ok(asked) };
    let unclear = |what: &str| ProviderError::Ambiguous(format!("the program gave {what} as `expires`"));
    let given: Timestamp = text.parse().map_err(|_| unclear("no time of RFC 3339"))?;
    if given <= now {
        return Err(unclear("a time that is over"));
    }
    Ok(given.min(asked))
}

/// A call about a lease that is there already.
fn about<'a>(operation: Operation, secrets: &'a BTreeMap<String, Secret>, held: &Held<'a>) -> Call<'a> {
    Call {
        lease: Some(held.lease.to_string()),
        name: Some(held.name),
        parameters: Some(held.parameters),
        reference: held.reference,
        now: Some(held.now.to_string()),
        expires: Some(held.expires.to_string()),
        ..Call::new(operation, secrets)
    }
}

#[async_trait]
impl Provider for Exec {
    fn abilities(&self) -> Abilities {
        Abilities {
            local: false,
            expires_itself: self.expires_itself,
            leaves_nothing: self.leaves_nothing,
            revocable: self.can(Operation::Revoke),
            renewable: self.can(Operation::Renew),
            listable: self.can(Operation::List),
            ttl: self.ttl,
        }
    }

    fn validate(&self, parameters: &Value) -> Result<(), SettingsError> {
        if !parameters.is_object() && !parameters.is_null() {
            return Err(SettingsError::new("", "parameters of a program are members, as it wants them"));
        }
        if parameters.to_string().len() > MAX_PARAMETERS {
            return Err(SettingsError::new("", "parameters are longer than 16 KiB"));
        }
        Ok(())
    }

    async fn issue(&self, request: &Request<'_>, _: &dyn Notes) -> Result<Issued, ProviderError> {
        let call = Call {
            lease: Some(request.lease.to_string()),
            name: Some(request.name),
            identity: Some(Who::of(request.identity)),
            parameters: Some(request.parameters),
            input: Some(request.input),
            target_token: request.target_token,
            ttl_s: Some(request.ttl.seconds()),
            now: Some(request.now.to_string()),
            expires: Some(request.expires.to_string()),
            ..Call::new(Operation::Issue, &self.secrets)
        };
        let unclear = |what: String| ProviderError::Ambiguous(format!("the program {what}"));
        let answer = self.ask(&call).await?.ok_or_else(|| unclear("gave nothing".into()))?;
        let expires = end(answer.expires.as_deref(), request.expires, request.now)?;
        let (credential, reference) = Exec::credential(answer).map_err(unclear)?;
        Ok(Issued { credential, expires, reference })
    }

    async fn renew(&self, held: &Held<'_>, until: Timestamp) -> Result<Timestamp, ProviderError> {
        let call = Call { until: Some(until.to_string()), ..about(Operation::Renew, &self.secrets, held) };
        let answer = self.ask(&call).await?;
        end(answer.as_ref().and_then(|answer| answer.expires.as_deref()), until, held.now)
    }

    async fn revoke(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        self.ask(&about(Operation::Revoke, &self.secrets, held)).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<String>, ProviderError> {
        let answer = self.ask(&Call::new(Operation::List, &self.secrets)).await?;
        Ok(answer.map(|answer| answer.names).unwrap_or_default())
    }

    async fn check(&self) -> Vec<Check> {
        let what = format!("program {}", self.program.path.display());
        let mut checks = match trusted(&self.program.path) {
            Ok(_) => vec![Check::good(what)],
            Err(problem) => return vec![Check::bad(what, problem)],
        };
        if !self.can(Operation::Revoke) && !self.expires_itself {
            let problem = "the program cannot `revoke`, and the target does not end them: they stay for ever";
            checks.push(Check::bad("credentials end", problem));
        }
        if !self.can(Operation::Check) {
            return checks;
        }
        let call = Call::new(Operation::Check, &self.secrets);
        match self.ask(&call).await {
            Ok(answer) => checks.extend(
                answer.map(|answer| answer.checks).unwrap_or_default().into_iter().map(|check| {
                    let clean =
                        |text: String| words::clean(text.as_bytes(), &self.own_secrets(), &[], MAX_WORDS);
                    Check {
                        what: clean(check.what),
                        problem: check.problem.map(clean),
                        is_warning: check.warning,
                    }
                }),
            ),
            Err(e) => checks.push(Check::bad("the program's own check", e.to_string())),
        }
        checks
    }
}

impl Exec {
    /// The secrets that the configuration gives it.
    fn own_secrets(&self) -> Vec<&[u8]> {
        let env = self.program.env.iter().map(|(_, value)| value.expose());
        env.chain(self.secrets.values().map(Secret::expose)).collect()
    }
}
