//! From a provider's entry to a provider that can issue.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize as _;
use serde_json::Value;

use super::document::{Problem, closest, step_of};
use super::secrets::SecretRef;
use super::{Config, ConfigError, ProviderEntry};
use crate::provider::{KINDS, Kind, Provider, SecretSource, Settings, SettingsError};
use crate::secret::Secret;

/// A provider, built.
#[derive(Clone)]
pub struct Built {
    /// Its kind.
    pub kind: &'static Kind,
    /// The environment it belongs to.
    pub environment: String,
    /// The provider.
    pub provider: Arc<dyn Provider>,
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Built").field("kind", &self.kind.name).finish_non_exhaustive()
    }
}

/// A provider that could not be built because a secret of it cannot be read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The provider.
    pub provider: String,
    /// Where it is written, and which secret.
    pub problem: Problem,
}

/// Remembers what could not be read, to tell that from wrong settings.
struct Watched<'a> {
    source: &'a dyn SecretSource,
    failed: Mutex<Option<String>>,
}

impl SecretSource for Watched<'_> {
    fn read(&self, reference: &Value) -> Result<Secret, String> {
        self.source.read(reference).inspect_err(|e| {
            // What is no reference at all is wrong on every machine.
            if SecretRef::deserialize(reference).is_err() {
                return;
            }
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.clone());
        })
    }
}

/// What became of one provider.
enum Outcome {
    Built(Built),
    Unread(Problem),
    Wrong(Problem),
}

impl Config {
    /// Builds all providers and lets them validate what roles ask of them. Touches no target.
    ///
    /// # Errors
    /// An unknown kind, wrong settings, a secret that cannot be read, parameters that a provider does not take.
    pub fn build(&self, secrets: &dyn SecretSource) -> Result<BTreeMap<String, Built>, ConfigError> {
        let (built, unread, mut problems) = self.try_build(secrets);
        problems.extend(unread.into_iter().map(|it| it.problem));
        if problems.is_empty() { Ok(built) } else { Err(ConfigError::new(problems)) }
    }

    /// As [`build`](Config::build), where secrets may be missing: a policy is checked on machines that have none.
    pub fn try_build(
        &self,
        secrets: &dyn SecretSource,
    ) -> (BTreeMap<String, Built>, Vec<Unread>, Vec<Problem>) {
        let (mut built, mut unread, mut problems) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, entry) in &self.providers {
            match self.provider(name, entry, secrets) {
                Outcome::Built(it) => {
                    built.insert(name.clone(), it);
                }
                Outcome::Unread(problem) => unread.push(Unread { provider: name.clone(), problem }),
                Outcome::Wrong(problem) => problems.push(problem),
            }
        }
        for granted in self.policy.granted() {
            let Some(it) = built.get(granted.provider) else { continue };
            if let Err(error) = it.provider.validate(granted.parameters) {
                let below = format!("/grant/parameters{}", pointer(&error.at));
                let what = format!("role `{}`, parameters of {}: {error}", granted.role, granted.provider);
                problems.push(Problem { at: self.place(granted.origin(), &below), what });
            }
        }
        (built, unread, problems)
    }

    /// Builds one provider.
    ///
    /// # Errors
    /// There is none of this name, or what [`build`](Config::build) says.
    pub fn build_one(&self, name: &str, secrets: &dyn SecretSource) -> Result<Built, ConfigError> {
        let Some(entry) = self.providers.get(name) else {
            let near = closest(name, self.providers.keys().map(String::as_str));
            let hint = near.map_or(String::new(), |it| format!("; did you mean `{it}`?"));
            let what = format!("there is no provider `{}`{hint}", name.escape_default());
            return Err(ConfigError::new(vec![self.documents[0].problem("/providers", what)]));
        };
        match self.provider(name, entry, secrets) {
            Outcome::Built(built) => Ok(built),
            Outcome::Unread(problem) | Outcome::Wrong(problem) => Err(ConfigError::new(vec![problem])),
        }
    }

    fn provider(&self, name: &str, entry: &ProviderEntry, secrets: &dyn SecretSource) -> Outcome {
        let at = format!("/providers{}", step_of(name));
        let no = |below: &str, what: String| self.documents[0].problem(&format!("{at}{below}"), what);
        let Some(kind) = KINDS.iter().copied().find(|kind| kind.name == entry.kind) else {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let hint = match closest(&entry.kind, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names.join(", ")),
            };
            let what = format!("there is no kind of provider `{}`; {hint}", entry.kind.escape_default());
            return Outcome::Wrong(no("/kind", what));
        };
        let watched = Watched { source: secrets, failed: Mutex::new(None) };
        let value = Value::Object(entry.settings.clone());
        match (kind.build)(&Settings { name, value: &value, secrets: &watched }) {
            Ok(provider) => Outcome::Built(Built { kind, environment: entry.environment.clone(), provider }),
            Err(error) => {
                let problem = no(&pointer(&error.at), worded(name, &error));
                let failed = watched.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
                if failed.is_some() { Outcome::Unread(problem) } else { Outcome::Wrong(problem) }
            }
        }
    }
}

fn worded(name: &str, error: &SettingsError) -> String {
    let hinted = super::document::with_hint(&error.what);
    if error.at.is_empty() {
        format!("provider `{name}`: {hinted}")
    } else {
        format!("provider `{name}`, `{}`: {hinted}", error.at)
    }
}

/// A settings path (`tls.ca_file`, `hosts[2]`) as a pointer. A name with a dot in it leads to what is around it.
fn pointer(path: &str) -> String {
    let mut pointer = String::new();
    for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty() && *step != "?") {
        pointer.push_str(&step_of(step));
    }
    pointer
}
