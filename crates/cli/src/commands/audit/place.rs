//! Where a log is: a directory, a file server, or a database. Everything that reads takes any of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::files::{Directory, Files};
use claviger_audit::log::{Database, Log, Options};
use claviger_audit::note::SigningKey;
use claviger_audit::recorder::Recorder;
use reqwest::Url;

use super::remote::Remote;

/// What the argument of a verb says.
pub(super) enum Place {
    Directory(PathBuf),
    /// Of a file server; ends with a slash.
    Server(Url),
    Database(Url),
}

impl Place {
    pub(super) fn of(argument: &Path) -> anyhow::Result<Place> {
        let text = argument.to_string_lossy();
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Place::Directory(argument.to_owned()));
        };
        // The text may hold a password, so it is not repeated.
        let parsed = Url::parse(&text).map_err(|e| anyhow::anyhow!("a log of scheme {scheme}: {e}"));
        match scheme {
            "http" | "https" => {
                let mut url = parsed?;
                ensure!(
                    url.username().is_empty() && url.password().is_none(),
                    "no user and password in the URL: others could read them"
                );
                ensure!(
                    url.query().is_none() && url.fragment().is_none(),
                    "a log's URL has no `?` and no `#`"
                );
                let path = url.path().trim_end_matches('/').to_owned() + "/";
                url.set_path(&path);
                Ok(Place::Server(url))
            }
            "postgres" | "postgresql" => {
                let url = parsed?;
                let secret = url.query_pairs().any(|(name, _)| name == "password");
                ensure!(
                    url.password().is_none() && !secret,
                    "no password in the URL, where others could read it: PostgreSQL takes it from PGPASSWORD or ~/.pgpass"
                );
                Ok(Place::Database(url))
            }
            _ => bail!("a log is a directory, http(s):// or postgres://, not {scheme}://"),
        }
    }

    /// The files of a log that is there. That something is wrong with a directory is said only of one that is a log's.
    pub(super) fn files(&self, origin: Option<&str>) -> anyhow::Result<Arc<dyn Files>> {
        match self {
            Place::Directory(dir) => {
                let files = directory(dir)?;
                let ours = ["log.json", "checkpoint", "journal", "tile"];
                if !ours.iter().any(|name| dir.join(name).symlink_metadata().is_ok()) {
                    bail!("{}: not a log of claviger; `claviger audit init` makes one", dir.display());
                }
                Ok(files)
            }
            Place::Server(url) => {
                ensure!(
                    origin.is_some(),
                    "{url}: a server's word is not enough for whose log it is: give --key"
                );
                Ok(Arc::new(Remote::new(url.clone())?))
            }
            Place::Database(url) => {
                let database = Database::reader(url.as_str())?;
                let origin = match origin {
                    Some(origin) => origin.to_owned(),
                    None => only_origin(&database)?,
                };
                let files = database.files(&origin);
                if matches!(files.read("checkpoint"), Err(e) if e.kind() == io::ErrorKind::NotFound) {
                    bail!("the database has no log `{origin}`");
                }
                Ok(files)
            }
        }
    }

    /// Opens the log to append. The last key named it, or will.
    pub(super) fn recorder(&self, keys: Vec<SigningKey>, options: Options) -> anyhow::Result<Recorder> {
        match self {
            Place::Directory(dir) => {
                let files = self.files(None)?;
                Recorder::open(files, keys, options).with_context(|| dir.display().to_string())
            }
            Place::Server(_) => bail!("a log is not written over HTTP"),
            Place::Database(url) => {
                let clock = Options { clock: Arc::clone(&options.clock), ..Options::default() };
                Ok(Recorder::on(append_to(url, keys, options)?, &clock)?)
            }
        }
    }
}

/// Opens a log in a database, or begins it.
pub(super) fn append_to(url: &Url, keys: Vec<SigningKey>, options: Options) -> anyhow::Result<Log> {
    Ok(Database::connect(url.as_str())?.open(keys, options)?)
}

/// The one log of a database that has no other.
fn only_origin(database: &Database) -> anyhow::Result<String> {
    let mut all = database.origins().context("a database that no log was written to?")?;
    match (all.pop(), all.is_empty()) {
        (Some(origin), true) => Ok(origin),
        (None, _) => bail!("the database has no log; `claviger audit init` makes one"),
        (Some(last), false) => {
            all.push(last);
            bail!("the database has several logs; say which with --key or --origin: {}", all.join(", "))
        }
    }
}

/// A directory that is there.
pub(super) fn directory(dir: &Path) -> anyhow::Result<Arc<dyn Files>> {
    ensure!(!dir.to_string_lossy().contains("://"), "expected a directory, not a URL");
    let meta = std::fs::metadata(dir).with_context(|| format!("{}", dir.display()))?;
    ensure!(meta.is_dir(), "{}: not a directory", dir.display());
    Ok(Arc::new(Directory::new(dir)))
}
