//! One file, or one stream.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use crate::coverage::{Coverage, Reason};
use crate::engine::{CHUNK, Context, Engine, StreamError};
use crate::finding::{Match, Place, PlaceKind, Sighting};
use crate::path::RepoPath;
use crate::scan::{Harvest, Monitor};

/// Scans what a reader gives, to its end.
///
/// # Errors
/// What the reader says.
pub fn scan_reader(
    engine: &Engine,
    reader: &mut dyn Read,
    target: &str,
    now: i64,
    monitor: &Monitor,
) -> Result<Harvest, StreamError> {
    monitor.phase("scanning standard input", 1);
    let context = Context { path: None, now };
    let (found, bytes) = engine.scan_stream(reader, &context, &mut |_| !monitor.is_cancelled())?;
    monitor.advance(bytes, found.len() as u64);
    let mut coverage = Coverage::default();
    (coverage.files, coverage.bytes) = (1, bytes);
    if monitor.is_cancelled() {
        coverage.skip(Reason::Interrupted, b"<stdin>", "");
    }
    let sightings = found
        .into_iter()
        .map(|hit| Sighting { place: Place::of(&hit, PlaceKind::Stdin, target, RepoPath::default()), hit })
        .collect();
    Ok(Harvest { sightings, coverage })
}

/// What is needed to scan files, shared by all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileScan<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) target: &'a str,
    pub(crate) max_size: Option<u64>,
    pub(crate) now: i64,
    pub(crate) monitor: &'a Monitor,
}

impl FileScan<'_> {
    /// The target of a link is text of the tree; what it points to is not.
    pub(crate) fn symlink(&self, disk: &Path, path: &RepoPath, harvest: &mut Harvest) {
        harvest.coverage.skip(Reason::Symlink, path.as_bytes(), "its target path was read");
        let Ok(link) = std::fs::read_link(disk) else { return };
        self.text(RepoPath::from_path(&link).as_bytes(), PlaceKind::File, path, harvest);
    }

    /// Names can hold secrets too.
    pub(crate) fn name(&self, path: &RepoPath, harvest: &mut Harvest) {
        let name = path.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default();
        self.text(name, PlaceKind::PathName, path, harvest);
    }

    fn text(&self, text: &[u8], kind: PlaceKind, path: &RepoPath, harvest: &mut Harvest) {
        let context = Context { path: None, now: self.now };
        for hit in self.engine.scan(text, &context) {
            let place = Place::of(&hit, kind, self.target, path.clone());
            harvest.sightings.push(Sighting { hit, place });
        }
    }

    /// Scans one file into `harvest`. A file that cannot be read is an entry of the ledger. `buffer` is scratch space.
    pub(crate) fn file(&self, disk: &Path, path: &RepoPath, buffer: &mut Vec<u8>, harvest: &mut Harvest) {
        match self.read(disk, path, buffer, &mut harvest.coverage) {
            Ok(Some((found, bytes))) => {
                self.monitor.advance(bytes, found.len() as u64);
                harvest.coverage.files += 1;
                harvest.coverage.bytes += bytes;
                harvest.sightings.extend(found.into_iter().map(|hit| Sighting {
                    place: Place::of(&hit, PlaceKind::File, self.target, path.clone()),
                    hit,
                }));
            }
            Ok(None) => {}
            Err(error) => {
                let reason = if error.kind() == io::ErrorKind::NotFound {
                    Reason::Changed
                } else {
                    Reason::Unreadable
                };
                harvest.coverage.skip(reason, path.as_bytes(), &plain(&error));
            }
        }
    }

    fn read(
        &self,
        disk: &Path,
        path: &RepoPath,
        buffer: &mut Vec<u8>,
        coverage: &mut Coverage,
    ) -> io::Result<Option<(Vec<Match>, u64)>> {
        let mut file = open(disk)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            let detail = if meta.is_dir() { "a folder, not a file" } else { "" };
            coverage.skip(Reason::Special, path.as_bytes(), detail);
            return Ok(None);
        }
        if let Some(max) = self.max_size.filter(|max| meta.len() > *max) {
            coverage.skip(Reason::SizeLimit, path.as_bytes(), &format!("{} bytes, limit {max}", meta.len()));
            return Ok(None);
        }
        let context = Context { path: Some(path.as_bytes()), now: self.now };
        if meta.len() > CHUNK as u64 {
            return self.stream(&mut file, &meta, path, &context, coverage).map(Some);
        }
        buffer.clear();
        // One byte more than expected saves the second read that would only see the end.
        buffer.reserve(meta.len() as usize + 1);
        // A file that grows while it is read must not fill the memory: the rest is left to the ledger.
        let read = file.by_ref().take(2 * CHUNK as u64).read_to_end(buffer)? as u64;
        if read != meta.len() && (read < meta.len() || read == 2 * CHUNK as u64) {
            coverage.skip(
                Reason::Changed,
                path.as_bytes(),
                &format!("{} bytes at first, {read} read", meta.len()),
            );
        }
        Ok(Some((self.engine.scan(buffer, &context), read)))
    }

    fn stream(
        &self,
        file: &mut File,
        meta: &Metadata,
        path: &RepoPath,
        context: &Context<'_>,
        coverage: &mut Coverage,
    ) -> io::Result<(Vec<Match>, u64)> {
        let (found, bytes) = self
            .engine
            .scan_stream(file, context, &mut |_| !self.monitor.is_cancelled())
            .map_err(|StreamError::Io(e)| e)?;
        if self.monitor.is_cancelled() && bytes < meta.len() {
            coverage.skip(
                Reason::Interrupted,
                path.as_bytes(),
                &format!("{bytes} of {} bytes read", meta.len()),
            );
        } else if bytes < meta.len() {
            coverage.skip(
                Reason::Changed,
                path.as_bytes(),
                &format!("{} bytes at first, {bytes} read", meta.len()),
            );
        }
        Ok((found, bytes))
    }
}

/// The system's reason without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Opens a file for reading without ever waiting (a FIFO without a writer) and without following a link in its last
/// part, so that a file replaced by a link between listing and reading does not lead out of the target.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    /// Linux and macOS values; both flags are the same on all of Linux's common architectures.
    #[cfg(target_os = "linux")]
    const FLAGS: i32 = 0o4000 | 0o400_000;
    #[cfg(not(target_os = "linux"))]
    const FLAGS: i32 = 0x4 | 0x100;
    std::fs::OpenOptions::new().read(true).custom_flags(FLAGS).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}
