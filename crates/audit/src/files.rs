//! The file layer: what a log needs of a file system, behind one trait.
//!
//! The trait exists so that tests can lose power, tear writes and fail any call; [`Directory`] is the real thing.
//! Paths are relative to the log's directory, with `/`, and made by this crate only.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A directory that a log lives in.
pub trait Files: Send + Sync {
    /// The whole file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Up to `length` bytes from `offset`; fewer at the end of the file.
    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Several stretches of one file, as [`read_at`](Files::read_at) gives them.
    fn read_parts(&self, path: &str, parts: &[(u64, usize)]) -> io::Result<Vec<Vec<u8>>> {
        parts.iter().map(|(offset, length)| self.read_at(path, *offset, *length)).collect()
    }
    /// Creates a file, or empties it, for writing.
    fn create(&self, path: &str) -> io::Result<Box<dyn Writer>>;
    /// Renames a file over another.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Creates a directory; it may exist. Its parent must.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// The names in a directory, sorted. A directory that is missing has none.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Takes the exclusive lock on a file, created if need be, until the guard is dropped.
    /// [`io::ErrorKind::WouldBlock`] when another holds it.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>>;
}

/// A file open for writing at its end.
pub trait Writer: Send {
    /// Writes all bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was written durable. After an error nothing written may be taken for durable, ever.
    fn sync(&mut self) -> io::Result<()>;
}

/// A real directory.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory at `root`, which need not exist before the first write.
    pub fn new(root: impl Into<PathBuf>) -> Directory {
        Directory { root: root.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// Opens a regular file. A symbolic link is refused: a log's directory may be written by others than its owner.
    fn open(&self, path: &str) -> io::Result<File> {
        let at = self.at(path);
        if !fs::symlink_metadata(&at)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not a regular file")));
        }
        File::open(at)
    }
}

impl Files for Directory {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut file = self.open(path)?;
        let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize + 1);
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        part_of(&self.open(path)?, offset, length)
    }

    fn read_parts(&self, path: &str, parts: &[(u64, usize)]) -> io::Result<Vec<Vec<u8>>> {
        let file = self.open(path)?;
        parts.iter().map(|(offset, length)| part_of(&file, *offset, *length)).collect()
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn Writer>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(self.at(path))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        match fs::create_dir(self.at(path)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.at(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        // Windows cannot open a directory for this, and makes renames durable by itself.
        if cfg!(windows) { Ok(()) } else { File::open(self.at(path))?.sync_all() }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.at(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.at(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

fn part_of(mut file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    // A length out of a damaged file must not reserve memory: no file of ours has parts this long.
    let mut bytes = Vec::with_capacity(length.min(1 << 16));
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Writer for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A group of files that become durable together: written beside their places, synced, renamed, and then their
/// directories synced. A crash before [`Group::finish`] returns leaves each file as it was or whole.
pub(crate) struct Group<'a> {
    files: &'a dyn Files,
    open: Vec<(String, Box<dyn Writer>)>,
    dirs: BTreeSet<String>,
}

/// So many files are open at once in a [`Group`].
const OPEN_AT_ONCE: usize = 64;
/// What the name of a file ends with that is not in its place yet.
pub(crate) const TEMPORARY: &str = ".tmp";

impl<'a> Group<'a> {
    pub(crate) fn new(files: &'a dyn Files) -> Group<'a> {
        Group { files, open: Vec::new(), dirs: BTreeSet::new() }
    }

    /// Writes a file. Its directory must have been made by [`Group::dir`] or before.
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.files.create(&format!("{path}{TEMPORARY}"))?;
        writer.write(bytes)?;
        self.open.push((path.to_owned(), writer));
        self.dirs.insert(parent(path).to_owned());
        if self.open.len() >= OPEN_AT_ONCE { self.settle() } else { Ok(()) }
    }

    /// Makes a directory and the ones above it.
    pub(crate) fn dir(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() || self.dirs.contains(path) {
            return Ok(());
        }
        self.dir(parent(path))?;
        self.files.create_dir(path)?;
        self.dirs.insert(parent(path).to_owned());
        self.dirs.insert(path.to_owned());
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        for (_, writer) in &mut self.open {
            writer.sync()?;
        }
        for (path, writer) in self.open.drain(..) {
            drop(writer);
            self.files.rename(&format!("{path}{TEMPORARY}"), &path)?;
        }
        Ok(())
    }

    /// Everything put before is durable when this returns.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.settle()?;
        self.dirs.iter().try_for_each(|dir| self.files.sync_dir(dir))
    }
}

/// The directory part of a path; empty for the log's own directory.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
