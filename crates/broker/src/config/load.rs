//! Reading a configuration: the file, its policy files, the files that repositories keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Document, MAX_FILE, Place, Problem, closest, step_of};
use super::files::{text, yaml_files};
use super::{Config, ConfigError, ConfigFile, checks};
use crate::platform::Reach;
use crate::policy::file::{Caps, DelegatedFile, PolicyFile, RoleFile};
use crate::policy::{Builder, Delegation, Known};

/// Largest policy file of a repository, in bytes.
pub(super) const MAX_DELEGATED: usize = 256 << 10;
/// Most policy files of all kinds.
const MAX_FILES: usize = 20_000;
/// Most bytes of all files together.
const MAX_TOTAL: usize = 64 << 20;

/// A policy file still to be built into roles.
struct Source {
    document: usize,
    delegation: Option<Owner>,
}

/// Whose policy file it is.
struct Owner {
    /// Index in `delegated`.
    entry: usize,
    namespace: String,
    id: String,
}

/// What was read, and what is wrong with it.
pub(super) struct Loader {
    documents: Vec<Document>,
    sources: Vec<Source>,
    problems: Vec<Problem>,
    delegated: Vec<Problem>,
    total: usize,
}

pub(super) fn config(name: &str, text: String, base: &Path) -> Result<Config, ConfigError> {
    let only = |problem: Problem| ConfigError::new(vec![problem]);
    let main = Document::parse(name, text).map_err(only)?;
    let mut file: ConfigFile = main.read("").map_err(only)?;
    let mut loader = Loader {
        total: 0,
        documents: vec![main],
        sources: Vec::new(),
        problems: Vec::new(),
        delegated: Vec::new(),
    };
    let known = loader.known(&file);
    loader.sections(&file, &known);
    loader.policy_files(&file, base);
    let claims = loader.claims(&file, &known);
    loader.delegated_files(&file, base);
    let policy = loader.build(&file, &known, &claims);
    if !loader.problems.is_empty() {
        return Err(ConfigError::new(loader.problems));
    }
    // From here on it does not matter where the program stands.
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    checks::resolve(&mut file, &base);
    loader.delegated.sort();
    loader.documents.iter_mut().for_each(Document::forget);
    Ok(Config {
        base,
        audience: file.audience,
        issuers: file.issuers,
        environments: file.environments,
        providers: file.providers,
        policy: Arc::new(policy),
        server: file.server,
        store: file.store,
        audit: file.audit,
        keys: file.keys,
        job_status: file.job_status,
        delegated: file.delegated,
        delegated_problems: loader.delegated,
        documents: loader.documents,
    })
}

impl Loader {
    pub(super) fn no(&mut self, pointer: &str, what: impl Into<String>) {
        let problem = self.documents[0].problem(pointer, what);
        self.problems.push(problem);
    }

    /// What roles may refer to.
    fn known(&mut self, file: &ConfigFile) -> Known {
        let mut known = Known::default();
        for (name, issuer) in &file.issuers {
            self.plain_name("issuers", name);
            known.issuers.insert(name.clone(), issuer.platform.0);
        }
        for (name, environment) in &file.environments {
            self.plain_name("environments", name);
            known.environments.insert(name.clone(), environment.max_ttl);
        }
        for (name, provider) in &file.providers {
            self.plain_name("providers", name);
            known.providers.insert(name.clone(), provider.environment.clone());
            if !file.environments.contains_key(&provider.environment) {
                let near = closest(&provider.environment, file.environments.keys().map(String::as_str));
                let hint =
                    near.map_or("add it under `environments`".into(), |it| format!("did you mean `{it}`?"));
                let at = format!("/providers{}/environment", step_of(name));
                self.no(
                    &at,
                    format!("there is no environment `{}`; {hint}", provider.environment.escape_default()),
                );
            }
        }
        known
    }

    fn plain_name(&mut self, section: &str, name: &str) {
        let is_good = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_good) {
            let at = format!("/{section}{}", step_of(name));
            self.no(&at, "a name has 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`");
        }
    }

    /// Reads one more file; `None` if that is a problem, which goes where its kind belongs.
    fn read(&mut self, path: &Path, most: usize, is_delegated: bool) -> Option<usize> {
        let read = text(path, most).and_then(|text| {
            self.total += text.len();
            let no =
                |what: &str| Problem { at: Place::file(&path.display().to_string()), what: what.to_owned() };
            if self.documents.len() >= MAX_FILES {
                return Err(no("too many policy files"));
            }
            if self.total > MAX_TOTAL {
                return Err(no("the policy files are too large together"));
            }
            Document::parse(&path.display().to_string(), text)
        });
        match read {
            Ok(document) => {
                self.documents.push(document);
                Some(self.documents.len() - 1)
            }
            Err(problem) if is_delegated => {
                self.delegated.push(problem);
                None
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn policy_files(&mut self, file: &ConfigFile, base: &Path) {
        for (index, path) in file.policy.iter().enumerate() {
            let path = base.join(path);
            let files = if path.is_dir() {
                match yaml_files(&path) {
                    Ok(files) => files,
                    Err(problem) => {
                        self.problems.push(problem);
                        continue;
                    }
                }
            } else if path.exists() {
                vec![path]
            } else {
                self.no(
                    &format!("/policy/{index}"),
                    format!("{}: there is no such file or folder", path.display()),
                );
                continue;
            };
            for path in files {
                if let Some(document) = self.read(&path, MAX_FILE, false) {
                    self.sources.push(Source { document, delegation: None });
                }
            }
        }
    }

    /// For each entry of `delegated`, the claim with a repository's id, and what its roles may reach.
    fn claims(&mut self, file: &ConfigFile, known: &Known) -> Vec<Option<(String, Caps)>> {
        let mut claims = Vec::new();
        for (index, entry) in file.delegated.iter().enumerate() {
            claims.push(self.claim(index, entry, known).map(|claim| (claim, entry.ceiling.caps())));
        }
        claims
    }

    fn claim(&mut self, index: usize, entry: &DelegatedFile, known: &Known) -> Option<String> {
        let at = format!("/delegated/{index}");
        let Some(platform) = known.issuers.get(&entry.issuer) else {
            let names: Vec<&str> = known.issuers.keys().map(String::as_str).collect();
            self.no(
                &format!("{at}/issuer"),
                format!("there is no such issuer; there are {}", names.join(", ")),
            );
            return None;
        };
        let mut single = platform
            .immutable_claims()
            .iter()
            .filter(|binding| binding.reach == Reach::Project && binding.claims.len() == 1)
            .filter_map(|binding| binding.claims.first().copied());
        match &entry.claim {
            None => match single.next() {
                Some(claim) => Some(claim.to_owned()),
                None => {
                    let what =
                        "this platform has no one claim that names a repository; name it under `claim`";
                    self.no(&format!("{at}/issuer"), what);
                    None
                }
            },
            Some(claim) if single.clone().any(|it| it == claim) => Some(claim.clone()),
            Some(claim) => {
                let choices: Vec<&str> = single.collect();
                let what = format!(
                    "`{}` does not name one repository for ever; claims that do: {}",
                    claim.escape_default(),
                    choices.join(", ")
                );
                self.no(&format!("{at}/claim"), what);
                None
            }
        }
    }

    fn delegated_files(&mut self, file: &ConfigFile, base: &Path) {
        for (index, entry) in file.delegated.iter().enumerate() {
            let at = format!("/delegated/{index}");
            if entry.repositories.is_empty() && entry.directory.is_none() {
                self.no(&at, "name the files under `repositories`, or a folder with `directory`");
            }
            let listed = entry
                .repositories
                .iter()
                .map(|(name, it)| (name.clone(), it.id.clone(), base.join(&it.file)));
            let mut files: Vec<(String, String, PathBuf)> = listed.collect();
            if let Some(directory) = &entry.directory {
                match yaml_files(&base.join(directory)) {
                    Ok(found) => files.extend(found.into_iter().filter_map(|path| {
                        let id = path.file_stem()?.to_str()?.to_owned();
                        Some((id.clone(), id, path))
                    })),
                    Err(problem) => self.problems.push(problem),
                }
            }
            for (namespace, id, path) in files {
                if let Some(document) = self.read(&path, MAX_DELEGATED, true) {
                    let delegation = Some(Owner { entry: index, namespace, id });
                    self.sources.push(Source { document, delegation });
                }
            }
        }
    }

    fn build(
        &mut self,
        file: &ConfigFile,
        known: &Known,
        claims: &[Option<(String, Caps)>],
    ) -> crate::policy::Policy {
        let mut builder = Builder::new(known);
        let (documents, problems) = (&self.documents, &mut self.problems);
        for (index, ceiling) in file.ceilings.iter().enumerate() {
            builder.ceiling(&documents[0], &format!("/ceilings/{index}"), ceiling, problems);
        }
        for (index, caps) in claims.iter().enumerate() {
            if let Some((_, caps)) = caps {
                builder.caps(&documents[0], &format!("/delegated/{index}/ceiling"), caps, problems);
            }
        }
        for (name, role) in &file.roles {
            let at = format!("/roles{}", step_of(name));
            builder.role((0, &documents[0], &at), name, role, None, problems);
        }
        // Central files first: a repository's own role never takes a name from them.
        let (delegated, central): (Vec<&Source>, Vec<&Source>) =
            self.sources.iter().partition(|source| source.delegation.is_some());
        for source in central {
            let document = &documents[source.document];
            match document.read::<PolicyFile>("") {
                Ok(file) => add(&mut builder, source.document, document, &file.roles, None, problems),
                Err(problem) => problems.push(problem),
            }
        }
        let problems = &mut self.delegated;
        for source in delegated {
            let document = &documents[source.document];
            let Some(owner) = &source.delegation else { continue };
            let Some(Some((claim, caps))) = claims.get(owner.entry) else { continue };
            let Some(entry) = file.delegated.get(owner.entry) else { continue };
            let delegation =
                Delegation { namespace: &owner.namespace, issuer: &entry.issuer, claim, id: &owner.id, caps };
            match document.read::<PolicyFile>("") {
                Ok(file) => {
                    add(&mut builder, source.document, document, &file.roles, Some(&delegation), problems)
                }
                Err(problem) => problems.push(problem),
            }
        }
        builder.finish()
    }
}

fn add(
    builder: &mut Builder<'_>,
    index: usize,
    document: &Document,
    roles: &BTreeMap<String, RoleFile>,
    delegation: Option<&Delegation<'_>>,
    problems: &mut Vec<Problem>,
) {
    for (name, role) in roles {
        let at = format!("/roles{}", step_of(name));
        builder.role((index, document, &at), name, role, delegation, problems);
    }
}
