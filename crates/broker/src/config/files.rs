//! Files on the disk, read with bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::document::{Place, Problem};

/// Reads a text file: a regular one, of at most so many bytes, in UTF-8.
pub(super) fn text(path: &Path, most: usize) -> Result<String, Problem> {
    let no = |what: String| Problem { at: Place::file(&path.display().to_string()), what };
    let wrong = |e: std::io::Error| no(e.to_string());
    // Looked at first, as opening a FIFO would wait for ever.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err(no("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(wrong)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() > most {
        return Err(no(format!("larger than {} KiB; move roles to files of their own", most >> 10)));
    }
    String::from_utf8(bytes).map_err(|_| no("not UTF-8".to_owned()))
}

/// The `.yaml` files of a folder, by name.
pub(super) fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let wrong =
        |e: std::io::Error| Problem { at: Place::file(&folder.display().to_string()), what: e.to_string() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        // Editors leave hidden copies behind.
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_yaml && !is_hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
