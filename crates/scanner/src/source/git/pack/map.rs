//! A file in memory, as the system maps it. The one place of the pack reader with unsafe code.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file. Never empty.
#[derive(Debug)]
pub(super) struct Map(Mmap);

impl Map {
    /// Maps a file.
    ///
    /// # Errors
    /// The system's; `InvalidData` for what is no file or empty.
    #[expect(unsafe_code, reason = "the system may change a mapped file's bytes at any time")]
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: git never writes to a pack or an index under its final name; it makes new ones and unlinks old ones,
        // which leaves a mapping as it is. Whoever else may write there could change the bytes under us: all readers
        // of this module take each byte as foreign, check each bound against the mapping's own length, and keep no
        // reference whose validity depends on what the bytes say. Truncation ends the process with SIGBUS, as it
        // does git's own.
        unsafe { Mmap::map(&file) }.map(Map)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
