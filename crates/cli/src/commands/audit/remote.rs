//! A log on a file server (C2SP tlog-tiles over HTTP): read-only, and no file larger than its kind can be.

use std::io;
use std::time::Duration;

use claviger_audit::files::{Files, Writer};
use claviger_audit::tree::tile::{Row, Tile};
use reqwest::Url;

use crate::commands::net::Net;

/// One file must have come after this time.
const FILE_TIME: Duration = Duration::from_secs(60);
/// A checkpoint with every signature that is read is shorter.
const MOST_CHECKPOINT: usize = 1 << 20;

/// The published files below a URL.
pub(super) struct Remote {
    base: Url,
    net: Net,
}

impl Remote {
    /// `base` ends with a slash.
    pub(super) fn new(base: Url) -> anyhow::Result<Remote> {
        Ok(Remote { base, net: Net::new(FILE_TIME, true)? })
    }

    fn get(&self, path: &str, most: usize) -> io::Result<Vec<u8>> {
        // Paths are made by the library, of letters, digits, `.`, `-` and `/`.
        let url = self.base.join(path).map_err(io::Error::other)?;
        let answer =
            self.net.ask(self.net.client().get(url), most).map_err(|e| io::Error::other(format!("{e:#}")))?;
        match answer.status.as_u16() {
            200 => Ok(answer.body),
            404 | 410 => Err(io::ErrorKind::NotFound.into()),
            300..400 => Err(io::Error::other(format!(
                "the server answered {}; redirects are not followed",
                answer.status.as_u16()
            ))),
            status => Err(io::Error::other(format!("the server answered {status}"))),
        }
    }
}

/// The most bytes that a file of this name can have.
fn most(path: &str) -> usize {
    match Tile::parse(path) {
        Some(Tile { row: Row::Level(_), width, .. }) => usize::from(width) * 32,
        Some(Tile { row: Row::Entries, width, .. }) => usize::from(width) * (2 + usize::from(u16::MAX)),
        None => MOST_CHECKPOINT,
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "a file server is not written to"))
}

impl Files for Remote {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        // What is the operator's own is not given out, and not asked for.
        if path != "checkpoint" && Tile::parse(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.get(path, most(path))
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut content = self.read(path)?;
        content.drain(..content.len().min(usize::try_from(offset).unwrap_or(usize::MAX)));
        content.truncate(length);
        Ok(content)
    }

    fn read_parts(&self, path: &str, parts: &[(u64, usize)]) -> io::Result<Vec<Vec<u8>>> {
        let content = self.read(path)?;
        let cut = |(offset, length): &(u64, usize)| {
            let start = content.len().min(usize::try_from(*offset).unwrap_or(usize::MAX));
            content[start..content.len().min(start.saturating_add(*length))].to_vec()
        };
        Ok(parts.iter().map(cut).collect())
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn Writer>> {
        read_only()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn remove_dir(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    /// A server has no listing; what is asked for by name is found.
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn Send + Sync>> {
        read_only()
    }
}
