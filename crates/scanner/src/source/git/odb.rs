//! Reading objects: loose ones by own code, packed ones through libgit2.
//!
//! libgit2 1.9 never returns from a loose object whose zlib stream is cut off, so a damaged or hostile repository could
//! hold a scan for ever. Which objects are loose is listed once; what the list does not name is left to libgit2.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use git2::{ObjectFormat, ObjectType, Oid};

use super::object::parse_id;

/// Longest header of a loose object: a kind, a space, a decimal size and a NUL.
const MAX_HEADER: usize = 64;
/// Memory that is reserved on the word of a header, in bytes.
const RESERVE: usize = 1 << 20;
/// Longest chain of repositories that borrow objects from each other; git's own limit.
const MAX_ALTERNATES: usize = 5;
/// Largest list of alternates that is read, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// The loose objects of a repository and of those it borrows from.
#[derive(Debug, Default)]
pub(super) struct Loose {
    files: HashMap<Oid, PathBuf>,
}

impl Loose {
    /// Lists the loose objects below these object folders and their alternates.
    pub(super) fn list(folders: &[PathBuf], format: ObjectFormat) -> Self {
        let mut loose = Loose::default();
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut level: Vec<PathBuf> = folders.to_vec();
        for _ in 0..=MAX_ALTERNATES {
            let mut next = Vec::new();
            for folder in level {
                if seen.contains(&folder) {
                    continue;
                }
                loose.folder(&folder, format);
                next.extend(alternates(&folder));
                seen.push(folder);
            }
            level = next;
        }
        loose
    }

    fn folder(&mut self, folder: &Path, format: ObjectFormat) {
        let Ok(list) = fs::read_dir(folder) else { return };
        for entry in list.flatten() {
            let name = entry.file_name();
            let Some(first) = name.to_str().filter(|n| n.len() == 2) else { continue };
            let Ok(files) = fs::read_dir(entry.path()) else { continue };
            for file in files.flatten() {
                let id = file.file_name().to_str().map(|rest| format!("{first}{rest}"));
                if let Some(id) = id.and_then(|id| parse_id(id.as_bytes(), format)) {
                    self.files.entry(id).or_insert_with(|| file.path());
                }
            }
        }
    }

    /// An object, if it is loose.
    fn read(&self, id: Oid) -> Option<Result<(ObjectType, Vec<u8>), git2::Error>> {
        let (mut stream, kind, size) = match self.open(id)? {
            Ok(opened) => opened,
            Err(e) => return Some(Err(e)),
        };
        let mut data = Vec::with_capacity(size.min(RESERVE));
        // One byte more than promised: a longer object is as damaged as a shorter one.
        let read = stream.by_ref().take(size as u64 + 1).read_to_end(&mut data);
        Some(match read {
            Ok(read) if read == size => Ok((kind, data)),
            Ok(_) => Err(broken(id, "its size is not the one its header says")),
            Err(e) => Err(broken(id, &e.to_string())),
        })
    }

    /// The stream of a loose object after its header, its kind and its size.
    fn open(&self, id: Oid) -> Option<Result<(impl Read, ObjectType, usize), git2::Error>> {
        let file = match File::open(self.files.get(&id)?) {
            Ok(file) => file,
            // Packed since the list was made.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Err(e) => return Some(Err(broken(id, &e.to_string()))),
        };
        let mut stream = std::io::BufReader::new(ZlibDecoder::new(file));
        let mut header = Vec::with_capacity(MAX_HEADER);
        let read = std::io::BufRead::read_until(&mut stream.by_ref().take(MAX_HEADER as u64), 0, &mut header);
        Some(match read.map(|_| parse_header(&header)) {
            Ok(Some((kind, size))) => Ok((stream, kind, size)),
            Ok(None) => Err(broken(id, "its header makes no sense")),
            Err(e) => Err(broken(id, &e.to_string())),
        })
    }
}

fn parse_header(header: &[u8]) -> Option<(ObjectType, usize)> {
    let text = std::str::from_utf8(header.strip_suffix(b"\0")?).ok()?;
    let (kind, size) = text.split_once(' ')?;
    let kind = match kind {
        "blob" => ObjectType::Blob,
        "tree" => ObjectType::Tree,
        "commit" => ObjectType::Commit,
        "tag" => ObjectType::Tag,
        _ => return None,
    };
    Some((kind, size.parse().ok()?))
}

fn broken(id: Oid, why: &str) -> git2::Error {
    git2::Error::from_str(&format!("loose object {id} is damaged: {why}"))
}

/// Object folders that a folder borrows from.
pub(super) fn alternates(folder: &Path) -> Vec<PathBuf> {
    let Ok(file) = File::open(folder.join("info/alternates")) else { return Vec::new() };
    let mut text = String::new();
    if file.take(MAX_LIST).read_to_string(&mut text).is_err() {
        return Vec::new();
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| folder.join(line)).collect()
}

/// A reader of a repository's objects.
pub(super) struct Odb<'a> {
    inner: git2::Odb<'a>,
    loose: &'a Loose,
}

impl<'a> Odb<'a> {
    pub(super) fn new(inner: git2::Odb<'a>, loose: &'a Loose) -> Self {
        Odb { inner, loose }
    }

    /// Reads an object.
    pub(super) fn read(&self, id: Oid) -> Result<Object<'_>, git2::Error> {
        match self.loose.read(id) {
            Some(read) => {
                let (kind, data) = read?;
                Ok(Object { id, kind, data: Data::Own(data) })
            }
            None => {
                let object = self.inner.read(id)?;
                Ok(Object { id, kind: object.kind(), data: Data::Git(object) })
            }
        }
    }

    /// Size and kind of an object.
    pub(super) fn read_header(&self, id: Oid) -> Result<(usize, ObjectType), git2::Error> {
        match self.loose.open(id) {
            Some(opened) => opened.map(|(_, kind, size)| (size, kind)),
            None => self.inner.read_header(id),
        }
    }

    /// Calls back with the id of every object there is.
    pub(super) fn foreach(&self, callback: impl FnMut(&Oid) -> bool) -> Result<(), git2::Error> {
        self.inner.foreach(callback)
    }
}

/// An object, read.
pub(super) struct Object<'a> {
    id: Oid,
    kind: ObjectType,
    data: Data<'a>,
}

enum Data<'a> {
    Own(Vec<u8>),
    Git(git2::OdbObject<'a>),
}

impl Object<'_> {
    pub(super) fn id(&self) -> Oid {
        self.id
    }

    pub(super) fn kind(&self) -> ObjectType {
        self.kind
    }

    pub(super) fn data(&self) -> &[u8] {
        match &self.data {
            Data::Own(bytes) => bytes,
            Data::Git(object) => object.data(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
        out.write_all(bytes).expect("memory takes everything");
        out.finish().expect("memory takes everything")
    }

    fn read(file: &[u8]) -> Result<(ObjectType, Vec<u8>), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = folder.path().join("ab");
        fs::create_dir(&objects).expect("a folder");
        fs::write(objects.join("c".repeat(38)), file).expect("a file");
        let loose = Loose::list(&[folder.path().to_owned()], ObjectFormat::Sha1);
        let id = Oid::from_str(&format!("ab{}", "c".repeat(38))).expect("an id");
        loose.read(id).expect("it is loose").map_err(|e| e.message().to_owned())
    }

    #[test]
    fn whole_objects_are_read_and_broken_ones_end() {
        let good = packed(b"blob 5\0hello");
        assert_eq!(read(&good), Ok((ObjectType::Blob, b"hello".to_vec())));
        for cut in 0..good.len() - 5 {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        for lie in [
            &b"blob 4\0hello"[..],
            b"blob 6\0hello",
            b"bolb 5\0hello",
            b"blob -5\0hello",
            b"blob 99999999999\0hello",
            b"blob 5hello",
        ] {
            assert!(read(&packed(lie)).is_err(), "{}", lie.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_file_ends(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
