//! What must hold in the sections beside roles and providers, and paths made absolute.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::step_of;
use super::load::Loader;
use super::{ConfigFile, KeySource, MasterKey, StoreSection};
use crate::identity::issuer;
use crate::policy::Known;

impl Loader {
    pub(super) fn sections(&mut self, file: &ConfigFile, known: &Known) {
        if file.version != 1 {
            self.no(
                "/version",
                format!("version {} is not known; this claviger reads version 1", file.version),
            );
        }
        let mut urls: BTreeMap<String, &str> = BTreeMap::new();
        for (name, config) in &file.issuers {
            let at = format!("/issuers{}", step_of(name));
            match issuer::Issuer::new(name, config, &file.audience) {
                Ok(issuer) => {
                    if let Some(other) = urls.insert(issuer.url().to_owned(), name) {
                        self.no(
                            &at,
                            format!("the issuer `{}` is configured as `{other}` already", issuer.url()),
                        );
                    }
                }
                Err(e) => self.no(&at, e.what),
            }
        }
        if known.issuers.is_empty() && !file.roles.is_empty() {
            self.no("/roles", "there are roles and no `issuers`: nobody could take one");
        }
        self.store(&file.store);
        if let Some(tls) = &file.server.tls {
            if tls.cert == tls.key {
                self.no("/server/tls/key", "certificate and key are the same file");
            }
        } else if !file.server.listen.ip().is_loopback() && !file.server.behind_proxy {
            self.no(
                "/server/listen",
                "without `tls` only a loopback address can be listened on; tokens and credentials would cross the network \
                 in the clear. Where a proxy ends TLS, say `behind_proxy: true`",
            );
        }
        for (at, key) in file.keys.iter().flat_map(|keys| {
            let old = keys.old.iter().enumerate().map(|(index, key)| (format!("/keys/old/{index}"), key));
            [("/keys/current".to_owned(), &keys.current)].into_iter().chain(old)
        }) {
            self.key(&at, key);
        }
        if let Some(keys) = &file.keys {
            let mut ids: Vec<&str> = keys.old.iter().map(|key| key.id.as_str()).collect();
            ids.push(&keys.current.id);
            ids.sort_unstable();
            if ids.windows(2).any(|pair| pair[0] == pair[1]) {
                self.no("/keys", "two keys have the same id");
            }
        }
    }

    fn store(&mut self, store: &StoreSection) {
        let (scheme, rest) = store.url.split_once(':').unwrap_or((&store.url, ""));
        match scheme {
            "sqlite" if rest.trim_start_matches('/').is_empty() => {
                self.no("/store/url", "name the file: `sqlite:claviger-broker.db`");
            }
            "sqlite" | "memory" => {
                if store.password.is_some() {
                    self.no("/store/password", format!("`{scheme}:` has no password"));
                }
            }
            "postgres" | "postgresql" => match url::Url::parse(&store.url) {
                Ok(url)
                    if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") =>
                {
                    self.no(
                        "/store/url",
                        "a password stands in the URL; say where it lies under `password` instead",
                    );
                }
                Ok(url) if url.host().is_some() => {}
                _ => self.no("/store/url", "write `postgres://USER@HOST/DATABASE`"),
            },
            _ => self.no("/store/url", "write `sqlite:PATH`, `postgres://USER@HOST/DATABASE` or `memory:`"),
        }
    }

    fn key(&mut self, at: &str, key: &MasterKey) {
        let is_good = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
        if key.id.is_empty() || key.id.len() > 64 || !key.id.chars().all(is_good) {
            self.no(&format!("{at}/id"), "an id has 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`");
        }
        if matches!(&key.from, KeySource::Command(words) if words.is_empty()) {
            self.no(
                &format!("{at}/from/command"),
                "name the program and its arguments: `[program, argument]`",
            );
        }
    }
}

/// Makes paths independent of where the program stands; those of secrets are joined when they are read, in one place
/// for this file and for providers' settings.
pub(super) fn resolve(file: &mut ConfigFile, base: &Path) {
    let join = |path: &mut PathBuf| *path = base.join(&*path);
    for issuer in file.issuers.values_mut() {
        issuer.jwks_file.iter_mut().chain(&mut issuer.ca_file).for_each(join);
    }
    if let Some(tls) = &mut file.server.tls {
        [&mut tls.cert, &mut tls.key].into_iter().chain(&mut tls.client_ca).for_each(join);
    }
    if let Some(path) = file.store.url.strip_prefix("sqlite:") {
        let path = base.join(path.strip_prefix("//").unwrap_or(path));
        file.store.url = format!("sqlite:{}", path.display());
    }
    file.store.ca_file.iter_mut().for_each(join);
    if let Some(audit) = &mut file.audit {
        if audit.database().is_none() {
            join(&mut audit.log);
        }
        audit.pins.iter_mut().for_each(join);
    }
}
